//! X.509 certificates (RFC 5280) with P-256 keys, as far as a machine's own authority needs them: written, never read.

use anyhow::{Result, anyhow};
use chrono::{DateTime, Datelike, Utc};
use ring::{
    digest,
    rand::{SecureRandom, SystemRandom},
    signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair},
};

const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const BOOLEAN: u8 = 0x01;
const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const OCTET_STRING: u8 = 0x04;
const OBJECT_ID: u8 = 0x06;
const UTF8_STRING: u8 = 0x0c;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

const EC_PUBLIC_KEY: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
const P256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
const ECDSA_WITH_SHA256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02];
const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];
const SUBJECT_KEY_ID: &[u8] = &[0x55, 0x1d, 0x0e];
const KEY_USAGE: &[u8] = &[0x55, 0x1d, 0x0f];
const SUBJECT_ALT_NAME: &[u8] = &[0x55, 0x1d, 0x11];
const BASIC_CONSTRAINTS: &[u8] = &[0x55, 0x1d, 0x13];
const AUTHORITY_KEY_ID: &[u8] = &[0x55, 0x1d, 0x23];
const EXTENDED_KEY_USAGE: &[u8] = &[0x55, 0x1d, 0x25];
const SERVER_AUTH: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x01];

/// What a certificate is for.
pub(super) enum Purpose<'a> {
    /// To sign others' certificates.
    Authority,
    /// To be a server of these names and addresses.
    Server { names: &'a [&'a str], addresses: &'a [&'a [u8]] },
}

/// What a certificate says, beside its key.
pub(super) struct Draft<'a> {
    pub(super) subject: &'a str,
    pub(super) purpose: Purpose<'a>,
    pub(super) not_before: DateTime<Utc>,
    pub(super) not_after: DateTime<Utc>,
}

/// A key, and the name under which it signs certificates.
pub(super) struct Issuer<'a> {
    pub(super) name: &'a str,
    pub(super) key: &'a EcdsaKeyPair,
}

/// A fresh private key as PKCS #8, and the pair.
pub(super) fn generate_key() -> Result<(Vec<u8>, EcdsaKeyPair)> {
    let random = SystemRandom::new();
    let private = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &random)
        .map_err(|_| anyhow!("the system gives no random bytes"))?;
    let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, private.as_ref(), &random)
        .map_err(|error| anyhow!("a fresh key can't be used: {error}"))?;
    Ok((private.as_ref().to_vec(), pair))
}

/// The certificate of this key, signed by the issuer.
pub(super) fn certificate(draft: &Draft<'_>, key: &EcdsaKeyPair, issuer: &Issuer<'_>) -> Result<Vec<u8>> {
    let algorithm = sequence(&[object_id(ECDSA_WITH_SHA256)]);
    let random = SystemRandom::new();
    let no_random = |_| anyhow!("the system gives no random bytes");
    let mut serial = [0; 16];
    random.fill(&mut serial).map_err(no_random)?;
    // Positive, and without a leading zero.
    serial[0] = (serial[0] & 0x3f) | 0x40;
    let to_be_signed = sequence(&[
        tagged(0xa0, &tagged(INTEGER, &[2])),
        tagged(INTEGER, &serial),
        algorithm.clone(),
        name(issuer.name),
        sequence(&[time(draft.not_before), time(draft.not_after)]),
        name(draft.subject),
        sequence(&[sequence(&[object_id(EC_PUBLIC_KEY), object_id(P256)]), bit_string(0, key.public_key().as_ref())]),
        tagged(0xa3, &sequence(&extensions(&draft.purpose, key, issuer.key))),
    ]);
    let signature = issuer.key.sign(&random, &to_be_signed).map_err(no_random)?;
    Ok(sequence(&[to_be_signed, algorithm, bit_string(0, signature.as_ref())]))
}

fn extensions(purpose: &Purpose<'_>, key: &EcdsaKeyPair, issuer: &EcdsaKeyPair) -> Vec<Vec<u8>> {
    let own_id = extension(SUBJECT_KEY_ID, false, &tagged(OCTET_STRING, &key_id(key)));
    match purpose {
        Purpose::Authority => vec![
            // An authority, with none below it; it signs certificates and nothing else.
            extension(BASIC_CONSTRAINTS, true, &sequence(&[tagged(BOOLEAN, &[0xff]), tagged(INTEGER, &[0])])),
            extension(KEY_USAGE, true, &bit_string(2, &[0x04])),
            own_id,
        ],
        Purpose::Server { names, addresses } => {
            let names = names.iter().map(|name| tagged(0x82, name.as_bytes()));
            let all: Vec<_> = names.chain(addresses.iter().map(|address| tagged(0x87, address))).collect();
            vec![
                // It signs handshakes.
                extension(KEY_USAGE, true, &bit_string(7, &[0x80])),
                extension(EXTENDED_KEY_USAGE, false, &sequence(&[object_id(SERVER_AUTH)])),
                extension(SUBJECT_ALT_NAME, false, &sequence(&all)),
                own_id,
                extension(AUTHORITY_KEY_ID, false, &sequence(&[tagged(0x80, &key_id(issuer))])),
            ]
        }
    }
}

// RFC 7093, method 1.
fn key_id(key: &EcdsaKeyPair) -> Vec<u8> {
    digest::digest(&digest::SHA256, key.public_key().as_ref()).as_ref().iter().take(20).copied().collect()
}

fn extension(id: &[u8], critical: bool, content: &[u8]) -> Vec<u8> {
    let critical = if critical { tagged(BOOLEAN, &[0xff]) } else { Vec::new() };
    sequence(&[object_id(id), critical, tagged(OCTET_STRING, content)])
}

fn name(common: &str) -> Vec<u8> {
    let attribute = sequence(&[object_id(COMMON_NAME), tagged(UTF8_STRING, common.as_bytes())]);
    sequence(&[tagged(SET, &attribute)])
}

// RFC 5280 has the one form until 2049, the other from then on.
fn time(time: DateTime<Utc>) -> Vec<u8> {
    if time.year() < 2050 {
        tagged(UTC_TIME, time.format("%y%m%d%H%M%SZ").to_string().as_bytes())
    } else {
        tagged(GENERALIZED_TIME, time.format("%Y%m%d%H%M%SZ").to_string().as_bytes())
    }
}

fn object_id(id: &[u8]) -> Vec<u8> {
    tagged(OBJECT_ID, id)
}

fn bit_string(unused_bits: u8, bytes: &[u8]) -> Vec<u8> {
    tagged(BIT_STRING, &[&[unused_bits], bytes].concat())
}

fn sequence(parts: &[Vec<u8>]) -> Vec<u8> {
    tagged(SEQUENCE, &parts.concat())
}

// The distinguished encoding: a tag, the length in as few bytes as it needs, the content.
fn tagged(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len().to_be_bytes();
    let significant = &length[length.iter().take_while(|byte| **byte == 0).count()..];
    let mut der = vec![tag];
    match significant {
        [] => der.push(0),
        [short] if *short < 0x80 => der.push(*short),
        // At most eight.
        long => {
            der.push(0x80 | u8::try_from(long.len()).unwrap_or_default());
            der.extend_from_slice(long);
        }
    }
    der.extend_from_slice(content);
    der
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_as_short_as_they_can_be() {
        for (length, head) in [
            (0, &[0x04, 0x00][..]),
            (1, &[0x04, 0x01]),
            (127, &[0x04, 0x7f]),
            (128, &[0x04, 0x81, 0x80]),
            (255, &[0x04, 0x81, 0xff]),
            (256, &[0x04, 0x82, 0x01, 0x00]),
            (65_535, &[0x04, 0x82, 0xff, 0xff]),
        ] {
            let der = tagged(OCTET_STRING, &vec![7; length]);
            assert_eq!((&der[..head.len()], der.len()), (head, head.len() + length));
        }
    }

    #[test]
    fn times_have_the_form_of_their_century() {
        let at = |text: &str| text.parse::<DateTime<Utc>>().unwrap();
        assert_eq!(time(at("2049-12-31T23:59:59Z")), tagged(UTC_TIME, b"491231235959Z"));
        assert_eq!(time(at("2050-01-01T00:00:00Z")), tagged(GENERALIZED_TIME, b"20500101000000Z"));
    }
}
