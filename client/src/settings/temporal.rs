//! What Temporal's SDK reads by itself, which no command line of ours defines.

use super::{Setting, Shown};
use crate::temporal::DEFAULT_NAMESPACE;
use temporalio_client::envconfig::ClientConfigProfile;
use temporalio_common::envconfig::{ClientConfigTLS, DataSource};

const GROUP: &str = "Temporal";

type Read = fn(&ClientConfigProfile) -> Option<String>;

/// A variable of the SDK's: how its value may be shown, what it means, and where a profile of `temporal.toml` has it.
struct Variable(&'static str, Shown, &'static str, Read);

const VARIABLES: [Variable; 11] = [
    Variable("TEMPORAL_CONFIG_FILE", Shown::Plain, "Path of temporal.toml", |_| None),
    Variable("TEMPORAL_API_KEY", Shown::Never, "API key; with one, TLS is on", |profile| profile.api_key.clone()),
    Variable("TEMPORAL_TLS", Shown::Plain, "Whether TLS is used", |profile| {
        tls(profile)?.disabled.map(|disabled| (!disabled).to_string())
    }),
    Variable("TEMPORAL_TLS_CLIENT_CERT_PATH", Shown::Plain, "File with the client's certificate", |profile| {
        path(tls(profile)?.client_cert.as_ref())
    }),
    Variable("TEMPORAL_TLS_CLIENT_CERT_DATA", Shown::Never, "The client's certificate itself", |profile| {
        data(tls(profile)?.client_cert.as_ref())
    }),
    Variable("TEMPORAL_TLS_CLIENT_KEY_PATH", Shown::Plain, "File with the client's key", |profile| {
        path(tls(profile)?.client_key.as_ref())
    }),
    Variable("TEMPORAL_TLS_CLIENT_KEY_DATA", Shown::Never, "The client's key itself", |profile| {
        data(tls(profile)?.client_key.as_ref())
    }),
    Variable(
        "TEMPORAL_TLS_SERVER_CA_CERT_PATH",
        Shown::Plain,
        "File with the server's certificate authority",
        |profile| path(tls(profile)?.server_ca_cert.as_ref()),
    ),
    Variable(
        "TEMPORAL_TLS_SERVER_CA_CERT_DATA",
        Shown::Never,
        "The server's certificate authority itself",
        |profile| data(tls(profile)?.server_ca_cert.as_ref()),
    ),
    Variable("TEMPORAL_TLS_SERVER_NAME", Shown::Plain, "The name that the server's certificate must have", |profile| {
        tls(profile)?.server_name.clone()
    }),
    Variable(
        "TEMPORAL_TLS_DISABLE_HOST_VERIFICATION",
        Shown::Plain,
        "Whether the server's name is not checked",
        |profile| tls(profile)?.disable_host_verification.then(|| "true".to_owned()),
    ),
];

pub(super) fn settings() -> impl Iterator<Item = Setting> {
    VARIABLES.iter().map(|Variable(name, shown, meaning, _)| Setting {
        variable: Some((*name).to_owned()),
        flag: None,
        group: GROUP.to_owned(),
        default: None,
        meaning: (*meaning).to_owned(),
        secret: *shown == Shown::Never,
        id: String::new(),
        shown: *shown,
    })
}

/// What the SDK takes if nobody says.
pub(super) fn default_of(variable: &str) -> Option<&'static str> {
    match variable {
        "TEMPORAL_ADDRESS" => Some("localhost:7233"),
        "TEMPORAL_NAMESPACE" => Some(DEFAULT_NAMESPACE),
        "TEMPORAL_PROFILE" => Some("default"),
        _ => None,
    }
}

/// What the profile says of a setting.
pub(super) fn in_profile(variable: &str, profile: &ClientConfigProfile) -> Option<String> {
    match variable {
        "TEMPORAL_ADDRESS" => profile.address.clone(),
        "TEMPORAL_NAMESPACE" => profile.namespace.clone(),
        _ => VARIABLES.iter().find(|Variable(name, ..)| *name == variable).and_then(|Variable(.., read)| read(profile)),
    }
}

fn tls(profile: &ClientConfigProfile) -> Option<&ClientConfigTLS> {
    profile.tls.as_ref()
}

fn path(source: Option<&DataSource>) -> Option<String> {
    match source? {
        DataSource::Path(path) => Some(path.clone()),
        _ => None,
    }
}

fn data(source: Option<&DataSource>) -> Option<String> {
    match source? {
        DataSource::Data(_) => Some(String::new()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use temporalio_client::ConnectionOptions;

    #[test]
    fn the_address_is_the_sdks() {
        let options = ConnectionOptions::try_from(ClientConfigProfile::default()).unwrap();
        let address = default_of("TEMPORAL_ADDRESS").unwrap();
        assert!(options.target.as_str().contains(address), "{}", options.target);
    }

    #[test]
    fn a_profile_is_read_and_what_it_holds_itself_is_not() {
        let mut profile = ClientConfigProfile::default();
        profile.tls = Some(ClientConfigTLS::default());
        assert_eq!(in_profile("TEMPORAL_TLS_CLIENT_KEY_DATA", &profile), None);
        profile.tls.as_mut().unwrap().client_key = Some(DataSource::Data(b"s3cret".to_vec()));
        assert_eq!(in_profile("TEMPORAL_TLS_CLIENT_KEY_DATA", &profile).as_deref(), Some(""));
        assert_eq!(in_profile("TEMPORAL_TLS_CLIENT_KEY_PATH", &profile), None);
    }
}
