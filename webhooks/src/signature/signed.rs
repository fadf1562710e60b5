//! A signed request, checked step by step in the order of the protocol's checklist: what costs nothing first. Whoever checks brings the
//! key, and remembers the nonces.

use super::{
    LABEL, derived,
    fields::{Item, Member, Value, dictionary},
    profile::{ContentDigest, Profile, VerifyError},
    signature_base,
};
use crate::{
    Target,
    keys::{Algorithm, Jwk},
};
use ring::digest::{self, SHA256, SHA512};
use std::borrow::Cow;

const MAX_SKEW_SECONDS: i64 = 60;
const MAX_WINDOW_SECONDS: i64 = 300;
const MIN_NONCE_BYTES: usize = 16;
// Enough for whoever means it, and fit to be a key in a database.
const MAX_NAME_BYTES: usize = 256;
const BASIC: [&str; 3] = ["@method", "@target-uri", "@authority"];

/// What comes before a request's body.
#[derive(Clone, Copy, Debug)]
pub struct Head<'a> {
    /// Its method.
    pub method: &'a str,
    /// Its headers, by name in any case; one that came twice is there twice.
    pub headers: &'a [(&'a str, &'a str)],
    /// Does a body follow?
    pub has_body: bool,
}

impl<'a> Head<'a> {
    fn lines(&self, name: &str) -> impl Iterator<Item = &'a str> {
        let own = self.headers.iter().filter(move |(other, _)| other.eq_ignore_ascii_case(name));
        own.map(|(_, value)| value.trim())
    }

    /// A field's value: several lines are one list (RFC 9421, 2.1).
    fn field(&self, name: &str) -> Option<Cow<'a, str>> {
        let mut lines = self.lines(name);
        let first = lines.next()?;
        Some(lines.fold(Cow::Borrowed(first), |value, line| format!("{value}, {line}").into()))
    }

    /// A field that must come once.
    fn only(&self, name: &str) -> Option<&'a str> {
        let mut lines = self.lines(name);
        lines.next().filter(|_| lines.next().is_none())
    }
}

/// The head of a signed request that passed steps 1 to 6.
#[derive(Debug)]
pub struct Signed<'a> {
    profile: &'a Profile,
    head: Head<'a>,
    components: Vec<String>,
    params: String,
    signature: Vec<u8>,
    /// What covers the body, by algorithm; none: nothing does.
    digests: Option<Vec<(&'static digest::Algorithm, Vec<u8>)>>,
    algorithm: Algorithm,
    keyid: String,
    nonce: String,
    expires: i64,
}

impl<'a> Signed<'a> {
    /// Reads the headers (1, 2), and looks at what they say: what for (3), how (4), when (5) and of what (6). `now`: seconds since
    /// 1970.
    pub fn read(profile: &'a Profile, head: Head<'a>, now: i64) -> Result<Self, VerifyError> {
        // 1
        let malformed = VerifyError::HeaderMalformed;
        let (Some(inputs), Some(signatures)) = (head.field("signature-input"), head.field("signature")) else {
            return Err(malformed);
        };
        let (inputs, signatures) = (dictionary(&inputs).ok_or(malformed)?, dictionary(&signatures).ok_or(malformed)?);
        let input = chosen(&inputs).ok_or(malformed)?;
        let components = names(&input.value).ok_or(malformed)?;
        let signature = signatures.iter().find(|member| member.key == input.key).ok_or(malformed)?;
        let Value::Item(Item::Bytes(signature)) = signature.value else { return Err(malformed) };
        let signature = profile.bytes(signature).ok_or(malformed)?;
        let covers = |name: &str| components.contains(&name);
        if covers("content-type") && head.lines("content-type").count() > 0 && content_type(&head).is_none() {
            return Err(malformed);
        }
        let digests = match head.field("content-digest").filter(|_| covers("content-digest")) {
            Some(field) => Some(digests(profile, &field).ok_or(malformed)?),
            None => None,
        };
        // 2
        let (created, expires) = (integer(input, "created")?, integer(input, "expires")?);
        let (nonce, keyid) = (text(input, "nonce")?, text(input, "keyid")?);
        let (algorithm, tag) = (text(input, "alg")?, text(input, "tag")?);
        if !is_nonce(nonce) || keyid.len() > MAX_NAME_BYTES {
            return Err(VerifyError::ParamsIncomplete);
        }
        // 3, 4, 5
        if tag != profile.tag() {
            return Err(VerifyError::TagInvalid);
        }
        let algorithm = Algorithm::from_name(algorithm).ok_or(VerifyError::AlgNotAllowed)?;
        let window = expires.saturating_sub(created);
        if !(1..=MAX_WINDOW_SECONDS).contains(&window)
            || created > now.saturating_add(MAX_SKEW_SECONDS)
            || expires < now.saturating_sub(MAX_SKEW_SECONDS)
        {
            return Err(VerifyError::WindowInvalid);
        }
        // 6
        let whole = BASIC.into_iter().all(covers) && (!head.has_body || covers("content-type"));
        match (profile.content_digest(), covers("content-digest")) {
            (ContentDigest::Forbidden, true) => return Err(VerifyError::ComponentsUnexpected),
            (ContentDigest::Required, false) if head.has_body => return Err(VerifyError::ComponentsIncomplete),
            (_, true) if digests.is_none() => return Err(VerifyError::ComponentsIncomplete),
            _ if !whole => return Err(VerifyError::ComponentsIncomplete),
            _ => {}
        }
        Ok(Self {
            profile,
            head,
            components: components.into_iter().map(str::to_owned).collect(),
            params: input.text.to_owned(),
            signature,
            digests,
            algorithm,
            keyid: keyid.to_owned(),
            nonce: nonce.to_owned(),
            expires,
        })
    }

    /// The key that it says it is signed by.
    pub fn keyid(&self) -> &str {
        &self.keyid
    }

    /// What tells it from all others by this key.
    pub fn nonce(&self) -> &str {
        &self.nonce
    }

    /// Until when its nonce must not come again, in seconds since 1970: until nobody takes the signature any more, nor one whose clock is
    /// behind that of whoever forgets the nonce.
    pub fn remembered_until(&self) -> i64 {
        self.expires.saturating_add(2 * MAX_SKEW_SECONDS)
    }

    /// Is the body a part of what is signed?
    pub fn covers_body(&self) -> bool {
        self.digests.is_some()
    }

    /// Is the key for this (8)?
    pub fn check_key(&self, key: &Jwk) -> Result<(), VerifyError> {
        let verifies = key.usage == "sig" && key.key_ops.iter().any(|operation| operation == "verify");
        let fits = key.is_consistent() && key.algorithm() == self.algorithm;
        let is_for_this = verifies && fits && self.profile.takes_keys_for(&key.adcp_use);
        if is_for_this { Ok(()) } else { Err(VerifyError::KeyPurposeInvalid) }
    }

    /// Is it the key's signature over this request, which came at `url` (10)? The URL's host is in ASCII, and is the one that the request
    /// itself names.
    pub fn check_signature(&self, url: &str, key: &Jwk) -> Result<(), VerifyError> {
        let target = target(url, &self.head)?;
        let value = |name: &str| match name {
            "content-type" => content_type(&self.head).map(str::to_owned),
            name => derived(&target, self.head.method, name).or_else(|| self.head.field(name).map(Cow::into_owned)),
        };
        let base = signature_base(self.components.iter().map(String::as_str), value, &self.params);
        let base = base.ok_or(VerifyError::ComponentsIncomplete)?;
        if key.verifies(base.as_bytes(), &self.signature) { Ok(()) } else { Err(VerifyError::Invalid) }
    }

    /// Is this the body that it covers, if it covers one (11)?
    pub fn check_body(&self, body: &[u8]) -> Result<(), VerifyError> {
        let Some(digests) = &self.digests else { return Ok(()) };
        let same = digests.iter().all(|(algorithm, told)| digest::digest(algorithm, body).as_ref() == told.as_slice());
        if same && !digests.is_empty() { Ok(()) } else { Err(VerifyError::DigestMismatch) }
    }
}

/// The one signature that is looked at: that of the usual label, or the only one.
fn chosen<'m, 'a>(inputs: &'m [Member<'a>]) -> Option<&'m Member<'a>> {
    let usual = inputs.iter().find(|member| member.key == LABEL);
    usual.or_else(|| inputs.first().filter(|_| inputs.len() == 1))
}

fn names<'a>(value: &Value<'a>) -> Option<Vec<&'a str>> {
    let Value::List(items) = value else { return None };
    let mut names = Vec::with_capacity(items.len());
    for item in items {
        match item {
            Item::Text(name) if !names.contains(name) => names.push(*name),
            _ => return None,
        }
    }
    Some(names)
}

fn param<'a>(input: &Member<'a>, name: &str) -> Result<Item<'a>, VerifyError> {
    let found = input.params.iter().find(|(other, _)| *other == name);
    found.map(|(_, item)| *item).ok_or(VerifyError::ParamsIncomplete)
}

fn text<'a>(input: &Member<'a>, name: &str) -> Result<&'a str, VerifyError> {
    match param(input, name)? {
        Item::Text("") => Err(VerifyError::ParamsIncomplete),
        Item::Text(text) => Ok(text),
        _ => Err(VerifyError::HeaderMalformed),
    }
}

fn integer(input: &Member<'_>, name: &str) -> Result<i64, VerifyError> {
    match param(input, name)? {
        Item::Integer(number) => Ok(number),
        _ => Err(VerifyError::HeaderMalformed),
    }
}

// The vectors' own nonces are not all of whole bytes: what is asked for is the alphabet, and enough of it.
fn is_nonce(nonce: &str) -> bool {
    let alphabet = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    nonce.bytes().all(alphabet) && nonce.len() * 6 / 8 >= MIN_NONCE_BYTES && nonce.len() <= MAX_NAME_BYTES
}

/// `Content-Type` is no list: it comes once, with one value.
fn content_type<'a>(head: &Head<'a>) -> Option<&'a str> {
    head.only("content-type").filter(|value| {
        let mut quoted = false;
        !value.chars().any(|char| {
            quoted ^= char == '"';
            char == ',' && !quoted
        })
    })
}

/// The digests that can be told (RFC 9530). All of them are looked at: who knows only one of them must see the same body.
fn digests(profile: &Profile, field: &str) -> Option<Vec<(&'static digest::Algorithm, Vec<u8>)>> {
    let mut known = Vec::new();
    for member in dictionary(field)? {
        let Value::Item(Item::Bytes(token)) = member.value else { return None };
        let bytes = profile.bytes(token)?;
        match member.key {
            "sha-256" => known.push((&SHA256, bytes)),
            "sha-512" => known.push((&SHA512, bytes)),
            _ => {}
        }
    }
    Some(known)
}

/// `@target-uri` and `@authority`. The request names its host itself, which a proxy may have changed: then it is another's.
fn target(url: &str, head: &Head<'_>) -> Result<Target, VerifyError> {
    let malformed = |_| VerifyError::TargetMalformed;
    let (scheme, rest) = url.split_once("://").ok_or(VerifyError::TargetMalformed)?;
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let target = Target::canonical(url).map_err(malformed)?;
    let named = match head.lines("host").count() {
        0 => None,
        1 => Some(Target::canonical(&format!("{scheme}://{}/", head.only("host").unwrap_or_default()))),
        _ => return Err(VerifyError::TargetMalformed),
    };
    let named = named.transpose().map_err(malformed)?;
    if host.is_ascii() && named.is_none_or(|named| named.authority == target.authority) {
        Ok(target)
    } else {
        Err(VerifyError::TargetMalformed)
    }
}
