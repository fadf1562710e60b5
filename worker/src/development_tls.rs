//! TLS on a developer's machine, where no proxy brings it: a certificate of this machine's own names, and the authority that signed it,
//! which clients are told to trust.
//!
//! The authority signs one certificate and its private key is forgotten at once: whoever trusts it trusts this one server, and
//! nobody can make it sign for another name later.

use anyhow::{Context, Result};
use base64::{Engine, prelude::BASE64_STANDARD};
use chrono::{DateTime, TimeDelta, Utc};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls::{
    RootCertStore, ServerConfig,
    client::{WebPkiServerVerifier, danger::ServerCertVerifier},
    crypto::{CryptoProvider, ring::default_provider},
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject},
};
use std::{
    fs::{self, OpenOptions},
    io::Write,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

const NAMES: [&str; 3] = ["localhost", "127.0.0.1", "::1"];
const AUTHORITY: &str = "Handoff development authority";
// Clocks of containers differ.
const EARLIER: TimeDelta = TimeDelta::days(1);
const LIFETIME: TimeDelta = TimeDelta::days(365);
const RENEWED_BEFORE: TimeDelta = TimeDelta::days(30);

/// A certificate of `localhost`, `127.0.0.1` and `::1`, and the authority that signed it.
#[derive(Clone, Debug)]
pub struct DevelopmentTls {
    authority: PathBuf,
    server: Arc<ServerConfig>,
}

impl DevelopmentTls {
    /// What is in this directory; made anew if there is nothing, nothing usable, or a certificate in its last month. Not for two
    /// processes at once.
    pub fn open(directory: &Path) -> Result<Self> {
        Self::open_at(directory, Utc::now())
    }

    fn open_at(directory: &Path, now: DateTime<Utc>) -> Result<Self> {
        let (authority, server) = (directory.join("ca.pem"), directory.join("server.pem"));
        let kept = fs::read(&server).ok().and_then(|pem| Bundle::read(&pem, now));
        let bundle = match kept {
            Some(bundle) => bundle,
            None => {
                fs::create_dir_all(directory).with_context(|| format!("can't make {}", directory.display()))?;
                let pem = make(now)?;
                write(&server, &pem, 0o600)?;
                Bundle::read(pem.as_bytes(), now).context("a certificate that was just made can't be used")?
            }
        };
        // The bundle is what counts: the two files can't be of different makings for long.
        let pem = to_pem("CERTIFICATE", &bundle.authority);
        if fs::read_to_string(&authority).ok().as_ref() != Some(&pem) {
            write(&authority, &pem, 0o644)?;
        }
        Ok(Self { authority, server: bundle.server })
    }

    /// The file with the authority's certificate in PEM, which clients have to trust.
    pub fn authority(&self) -> &Path {
        &self.authority
    }

    /// What a server serves with, over HTTP/1.1.
    pub fn server(&self) -> Arc<ServerConfig> {
        self.server.clone()
    }
}

struct Bundle {
    authority: CertificateDer<'static>,
    server: Arc<ServerConfig>,
}

impl Bundle {
    /// None if it is no bundle, if its parts don't belong together, or if a client would refuse it now or in a month.
    fn read(pem: &[u8], now: DateTime<Utc>) -> Option<Self> {
        let certificates: Vec<_> = CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>().ok()?;
        let [certificate, authority] = <[CertificateDer<'static>; 2]>::try_from(certificates).ok()?;
        let provider = Arc::new(default_provider());
        if ![now, now + RENEWED_BEFORE].into_iter().all(|at| is_good(&provider, &certificate, &authority, at)) {
            return None;
        }
        let mut server = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .ok()?
            .with_no_client_auth()
            .with_single_cert(vec![certificate], PrivateKeyDer::from_pem_slice(pem).ok()?)
            .ok()?;
        server.alpn_protocols = vec![b"http/1.1".to_vec()];
        Some(Self { authority, server: Arc::new(server) })
    }
}

/// Would a client that trusts the authority take the certificate at this time, for all names?
fn is_good(
    provider: &Arc<CryptoProvider>,
    certificate: &CertificateDer<'_>,
    authority: &CertificateDer<'static>,
    at: DateTime<Utc>,
) -> bool {
    let mut roots = RootCertStore::empty();
    let added = roots.add(authority.clone());
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build();
    let (Ok(()), Ok(verifier), Ok(seconds)) = (added, verifier, u64::try_from(at.timestamp())) else { return false };
    let at = UnixTime::since_unix_epoch(Duration::from_secs(seconds));
    NAMES.into_iter().all(|name| {
        let name = ServerName::try_from(name);
        name.is_ok_and(|name| verifier.verify_server_cert(certificate, &[], &name, &[], at).is_ok())
    })
}

/// The server's key and certificate, and the authority's certificate.
fn make(now: DateTime<Utc>) -> Result<String> {
    let authority_key = KeyPair::generate()?;
    let mut authority = draft(AUTHORITY, now, CertificateParams::default());
    // With none below it.
    authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let trusted = authority.self_signed(&authority_key)?;
    let key = KeyPair::generate()?;
    let mut server = draft(NAMES[0], now, CertificateParams::new(NAMES.map(str::to_owned))?);
    server.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    server.use_authority_key_identifier_extension = true;
    let certificate = server.signed_by(&key, &Issuer::new(authority, authority_key))?;
    Ok([
        to_pem("PRIVATE KEY", &key.serialize_der()),
        to_pem("CERTIFICATE", certificate.der()),
        to_pem("CERTIFICATE", trusted.der()),
    ]
    .concat())
}

fn draft(name: &str, now: DateTime<Utc>, mut draft: CertificateParams) -> CertificateParams {
    draft.distinguished_name = DistinguishedName::new();
    draft.distinguished_name.push(DnType::CommonName, name);
    draft.not_before = SystemTime::from(now - EARLIER).into();
    draft.not_after = SystemTime::from(now + LIFETIME).into();
    draft
}

fn to_pem(label: &str, der: &[u8]) -> String {
    let encoded = BASE64_STANDARD.encode(der);
    let lines: Vec<&str> =
        (0..encoded.len()).step_by(64).filter_map(|at| encoded.get(at..(at + 64).min(encoded.len()))).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}

// Under another name first: whoever reads the file finds it whole.
fn write(path: &Path, content: &str, mode: u32) -> Result<()> {
    let temporary = path.with_extension("tmp");
    let written = || {
        let _ = fs::remove_file(&temporary);
        let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&temporary)?;
        file.write_all(content.as_bytes())?;
        file.sync_all()?;
        fs::rename(&temporary, path)
    };
    written().with_context(|| format!("can't write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn it_is_made_once_kept_and_renewed_in_its_last_month() {
        let directory = tempfile::tempdir().unwrap();
        let directory = directory.path().join("tls");
        let now = Utc::now();
        let authority = |at: DateTime<Utc>| {
            let tls = DevelopmentTls::open_at(&directory, at).unwrap();
            assert_eq!(tls.authority(), directory.join("ca.pem"));
            fs::read_to_string(tls.authority()).unwrap()
        };
        let made = authority(now);
        assert!(made.starts_with("-----BEGIN CERTIFICATE-----\n") && !made.contains("PRIVATE"));
        let mode = |name: &str| fs::metadata(directory.join(name)).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode("server.pem"), 0o600);
        assert_eq!(authority(now + TimeDelta::days(334)), made);
        let renewed = authority(now + TimeDelta::days(336));
        assert_ne!(renewed, made);
        assert_eq!(authority(now + TimeDelta::days(336)), renewed);
        // A clock that was set back.
        assert_ne!(authority(now), renewed);
        assert_eq!((mode("server.pem"), fs::read_dir(&directory).unwrap().count()), (0o600, 2));
    }

    #[test]
    fn what_does_not_belong_together_is_made_anew() {
        let directory = tempfile::tempdir().unwrap();
        let directory = directory.path();
        let (bundle, authority) = (directory.join("server.pem"), directory.join("ca.pem"));
        let now = Utc::now();
        let open = || DevelopmentTls::open_at(directory, now).unwrap();
        open();
        let (kept, other) = (fs::read_to_string(&bundle).unwrap(), make(now).unwrap());
        let split = |text: &str| text.split_at(text.find("-----BEGIN CERTIFICATE").unwrap()).0.to_owned();
        let another_key = kept.replacen(&split(&kept), &split(&other), 1);
        let another_authority = kept.replacen(
            &kept[kept.rfind("-----BEGIN CERTIFICATE").unwrap()..],
            &other[other.rfind("-----BEGIN CERTIFICATE").unwrap()..],
            1,
        );
        for broken in ["", "nonsense", &kept[..200], &split(&kept), &another_key, &another_authority] {
            fs::write(&bundle, broken).unwrap();
            open();
            assert_ne!(fs::read_to_string(&bundle).unwrap(), broken);
        }
        // What clients trust follows what the server has.
        let trusted = fs::read_to_string(&authority).unwrap();
        assert!(fs::read_to_string(&bundle).unwrap().ends_with(&trusted));
        fs::write(&authority, "nonsense").unwrap();
        open();
        assert_eq!(fs::read_to_string(&authority).unwrap(), trusted);
    }
}
