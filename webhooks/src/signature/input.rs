//! `Signature-Input` and `Signature`, as far as this profile needs structured fields (RFC 8941).

use super::LABEL;
use base64::{
    Engine,
    alphabet::{STANDARD, URL_SAFE},
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use std::collections::HashMap;

const LENIENT: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);

/// What the label `sig1` of `Signature-Input` says.
#[derive(Debug, PartialEq)]
pub(super) struct Input<'a> {
    pub(super) components: Vec<&'a str>,
    pub(super) params: HashMap<&'a str, &'a str>,
    /// Components and parameters as they stand in the header.
    pub(super) text: &'a str,
}

impl<'a> Input<'a> {
    /// `None`: malformed, or there is no such label.
    pub(super) fn read(header: &'a str) -> Option<Self> {
        let text = member(header)?;
        let (list, mut rest) = text.strip_prefix('(')?.split_once(')')?;
        let mut components = Vec::new();
        for name in list.split_ascii_whitespace() {
            let name = name.strip_prefix('"')?.strip_suffix('"')?;
            if components.contains(&name) || name.contains('"') {
                return None;
            }
            components.push(name);
        }
        let mut params = HashMap::new();
        while !rest.is_empty() {
            let param = rest.strip_prefix(';')?;
            let end = unquoted(param, ';').unwrap_or(param.len());
            let (name, value) = param[..end].trim().split_once('=')?;
            let value = match value.strip_prefix('"') {
                Some(quoted) => quoted.strip_suffix('"').filter(|inner| !inner.contains(['"', '\\']))?,
                None if value.is_empty() || value.contains(['"', '(', ' ']) => return None,
                None => value,
            };
            if params.insert(name, value).is_some() {
                return None;
            }
            rest = &param[end..];
        }
        Some(Self { components, params, text })
    }

    pub(super) fn text(&self, name: &str) -> Option<&'a str> {
        self.params.get(name).copied().filter(|value| !value.is_empty())
    }

    pub(super) fn number(&self, name: &str) -> Option<i64> {
        self.text(name)?.parse().ok()
    }
}

/// The bytes of `Signature`'s label. Either alphabet is read, a mixture of both is not.
pub(super) fn signature(header: &str) -> Option<Vec<u8>> {
    bytes(member(header)?)
}

/// The SHA-256 of `Content-Digest`.
pub(super) fn sha256(header: &str) -> Option<Vec<u8>> {
    let mut members = header.split(',').map(str::trim);
    bytes(members.find_map(|member| member.strip_prefix("sha-256="))?)
}

fn bytes(item: &str) -> Option<Vec<u8>> {
    let token = item.strip_prefix(':')?.strip_suffix(':')?;
    let alphabet = match (token.contains(['+', '/']), token.contains(['-', '_'])) {
        (true, true) => return None,
        (true, false) => STANDARD,
        (false, _) => URL_SAFE,
    };
    GeneralPurpose::new(&alphabet, LENIENT).decode(token).ok()
}

/// The member of a dictionary that is this profile's; a second one of its name makes it malformed.
fn member(header: &str) -> Option<&str> {
    let mut found = None;
    let mut rest = header;
    loop {
        let end = unquoted(rest, ',').unwrap_or(rest.len());
        if let Some((name, value)) = rest[..end].trim().split_once('=')
            && name == LABEL
            && found.replace(value).is_some()
        {
            return None;
        }
        match rest.get(end + 1..) {
            Some(next) => rest = next,
            None => return found,
        }
    }
}

fn unquoted(text: &str, wanted: char) -> Option<usize> {
    let mut quoted = false;
    text.char_indices().find_map(|(at, char)| {
        quoted ^= char == '"';
        (char == wanted && !quoted).then_some(at)
    })
}
