//! The issuer of access tokens: its keys can be read, and there are some.

use super::Check;
use crate::Config;

const NAME: &str = "issuer";

/// Nothing is said where no tokens are taken, or where the settings are wrong, which another check says.
pub(super) async fn check(config: &Config) -> Option<Check> {
    let settings = config.jwt.as_ref().filter(|_| config.check().is_ok())?;
    let mend = "Check HANDOFF_JWT_ISSUER and HANDOFF_JWT_JWKS_URL, HANDOFF_JWT_CA_FILE for an authority of your own, and HANDOFF_JWT_ALLOW for a private network.";
    let fetched = match settings.source(config.environment) {
        Ok(source) => source.fetch().await,
        Err(error) => Err(error),
    };
    Some(match fetched {
        Ok(keys) if keys.is_empty() => Check::fail(NAME, "the issuer of access tokens publishes no key", mend),
        Ok(keys) => Check::ok(NAME, format!("the issuer of access tokens publishes {} key(s)", keys.len())),
        Err(error) => Check::fail(NAME, error.to_string(), mend),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{CheckStatus, JwtSettings};
    use axum::{Json, Router, routing::get};
    use serde_json::{Value, json};
    use tokio::net::TcpListener;

    /// An issuer that answers these at `/jwks`, and in its metadata names `issuer`.
    async fn issuer(keys: Value, issuer: Option<&str>) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let metadata = json!({"issuer": issuer.unwrap_or(&base), "jwks_uri": format!("{base}/jwks")});
        let router = Router::new()
            .route("/jwks", get(move || async move { Json(keys) }))
            .route("/.well-known/openid-configuration", get(move || async move { Json(metadata) }));
        tokio::spawn(async move { axum::serve(listener, router).await });
        base
    }

    async fn checked(settings: JwtSettings) -> (CheckStatus, String) {
        let config =
            Config { public_url: Some("https://ads.example".into()), jwt: Some(settings), ..Config::default() };
        let check = check(&config).await.unwrap();
        (check.status, check.found)
    }

    #[tokio::test]
    async fn keys_are_looked_for_where_they_are_said_to_be() {
        let good = issuer(json!({"keys": [{"kty": "OKP"}, {}]}), None).await;
        let by_metadata = checked(JwtSettings::of(good.as_str())).await;
        assert_eq!(by_metadata, (CheckStatus::Ok, "the issuer of access tokens publishes 2 key(s)".to_owned()));
        let at = |path: &str| JwtSettings {
            jwks_url: Some(format!("{good}{path}")),
            ..JwtSettings::of("https://i.example")
        };
        assert_eq!(checked(at("/jwks")).await.0, CheckStatus::Ok);
        let gone = "http://127.0.0.1:1";
        for (settings, found) in [
            (at("/elsewhere"), "answers 404"),
            (at("/.well-known/openid-configuration"), "not its keys"),
            (JwtSettings::of(gone), "connect"),
            (JwtSettings::of(issuer(json!({"keys": []}), None).await), "no key"),
            (JwtSettings::of(issuer(json!({"keys": [{}]}), Some("https://other.example")).await), "another issuer"),
            (JwtSettings { allowed: Some(Default::default()), ..at("/jwks") }, "url_refused"),
        ] {
            let (status, said) = checked(settings.clone()).await;
            assert!(status == CheckStatus::Fail && said.contains(found), "{settings:?}: {said}");
        }
        assert!(check(&Config::default()).await.is_none());
    }
}
