//! How a request names an account (schema core/account-ref.json).

use handoff_proto::{json, wire::AdcpError};
use serde::Deserialize;
use serde_json::Value;

/// A reference to an account, by id or by natural key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AccountRef {
    /// The seller's own id.
    Id(String),
    /// What buyers know.
    Natural(Box<NaturalKey>),
}

/// The natural key of an account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NaturalKey {
    /// The advertiser's domain.
    pub brand: String,
    /// Which brand of that domain.
    pub brand_id: Option<String>,
    /// The domain of whoever places orders.
    pub operator: String,
    /// Which unit of the operator.
    pub operator_unit: Option<String>,
    /// The account's currency, if it has only one.
    pub currency: Option<String>,
    /// The account's time zone.
    pub timezone: Option<String>,
    /// The sandbox beside the live account.
    pub sandbox: bool,
}

/// An advertiser's brand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Brand {
    /// The advertiser's domain, in lower case.
    pub domain: String,
    /// Which brand of that domain.
    pub brand_id: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ById {
    account_id: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ByKey {
    brand: BrandKey,
    operator: String,
    operator_unit: Option<Unit>,
    currency: Option<String>,
    timezone: Option<String>,
    #[serde(default)]
    sandbox: bool,
}

#[derive(Deserialize)]
struct BrandKey {
    domain: String,
    brand_id: Option<String>,
}

#[derive(Deserialize)]
struct Unit {
    id: String,
}

impl AccountRef {
    /// Reads one.
    pub fn read(value: &Value) -> Result<Self, AdcpError> {
        let wrong = |why: String| {
            AdcpError::correctable("INVALID_REQUEST", format!("account can't be read: {why}."))
                .field("account")
                .suggestion(r#"Send {"account_id": …}, or {"brand": {"domain": …}, "operator": …}."#)
        };
        let read = if value.get("account_id").is_some() {
            serde_json::from_value(value.clone()).map(|ById { account_id }| Self::Id(account_id))
        } else {
            serde_json::from_value(value.clone()).map(|key: ByKey| {
                Self::Natural(Box::new(NaturalKey {
                    brand: key.brand.domain.to_ascii_lowercase(),
                    brand_id: key.brand.brand_id,
                    operator: key.operator.to_ascii_lowercase(),
                    operator_unit: key.operator_unit.map(|unit| unit.id),
                    currency: key.currency,
                    timezone: key.timezone,
                    sandbox: key.sandbox,
                }))
            })
        };
        read.map_err(|error| wrong(error.to_string()))
    }
}

impl Brand {
    /// Domains are the same in whatever case.
    pub fn new(domain: &str, brand_id: Option<String>) -> Self {
        Self { domain: domain.to_ascii_lowercase(), brand_id }
    }

    /// Reads a reference to one (schema core/brand-ref.json).
    pub(crate) fn read(value: &Value) -> Option<Self> {
        let text = |name| value.get(name).and_then(Value::as_str);
        Some(Self::new(text("domain")?, text("brand_id").map(ToOwned::to_owned)))
    }
}

impl NaturalKey {
    /// Its brand.
    pub fn brand(&self) -> Brand {
        Brand::new(&self.brand, self.brand_id.clone())
    }

    /// A name that is different for every key, apart from `sandbox`; readable where the key is simple.
    pub fn to_id(&self) -> String {
        let rest = [&self.brand_id, &self.operator_unit, &self.currency, &self.timezone];
        let simple = format!("{}@{}", self.brand, self.operator);
        if rest.iter().all(|part| part.is_none()) && simple.len() <= 120 {
            return simple;
        }
        let parts = serde_json::json!([self.brand, self.operator, rest]);
        let digest = json::digest(&parts).unwrap_or_default();
        let name: String = simple.chars().take(60).collect();
        format!("{name}#{}", &digest[..digest.len().min(32)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_reference_is_an_id_or_a_key_and_not_both() {
        assert_eq!(AccountRef::read(&json!({"account_id": "a"})), Ok(AccountRef::Id("a".into())));
        let key = json!({"brand": {"domain": "Nova.example"}, "operator": "pinnacle.example", "currency": "USD"});
        let Ok(AccountRef::Natural(key)) = AccountRef::read(&key) else { panic!("a natural key") };
        assert_eq!((key.brand.as_str(), key.currency.as_deref(), key.sandbox), ("nova.example", Some("USD"), false));
        for wrong in [
            json!({}),
            json!("a"),
            json!({"account_id": 5}),
            json!({"account_id": "a", "operator": "o"}),
            json!({"brand": {"domain": "d"}}),
            json!({"brand": {"domain": "d"}, "operator": "o", "extra": 1}),
        ] {
            let error = AccountRef::read(&wrong).unwrap_err();
            assert_eq!((error.code.as_str(), error.field.as_deref()), ("INVALID_REQUEST", Some("account")), "{wrong}");
        }
    }

    #[test]
    fn different_keys_have_different_ids() {
        let id = |value: Value| match AccountRef::read(&value).unwrap() {
            AccountRef::Natural(key) => key.to_id(),
            AccountRef::Id(id) => id,
        };
        let brand = |domain: &str| json!({"domain": domain});
        let ids = [
            id(json!({"brand": brand("d"), "operator": "o"})),
            id(json!({"brand": brand("d"), "operator": "p"})),
            id(json!({"brand": brand("d"), "operator": "o", "currency": "USD"})),
            id(json!({"brand": brand("d"), "operator": "o", "timezone": "USD"})),
            id(json!({"brand": {"domain": "d", "brand_id": "USD"}, "operator": "o"})),
            id(json!({"brand": brand(&"d".repeat(300)), "operator": "o"})),
            id(json!({"brand": brand(&"d".repeat(301)), "operator": "o"})),
        ];
        for (at, one) in ids.iter().enumerate() {
            assert!(one.len() < 150 && !ids[..at].contains(one), "{ids:?}");
        }
        assert_eq!(ids[0], "d@o");
    }
}
