//! The proposal that a request buys.

use super::request::invalid;
use handoff_proto::wire::{AdcpError, is_purchase};
use handoff_store::ProposalUse;
use serde_json::Value;

/// The proposal that the request names to be bought, which the run reserves before the seller is called.
pub(super) fn bought(tool: &str, request: &Value, brand_scope: Option<&str>) -> Result<Option<ProposalUse>, AdcpError> {
    if !is_purchase(tool, request) {
        return Ok(None);
    }
    let proposal_id = match request.get("proposal_id") {
        Some(Value::String(id)) if !id.is_empty() => id.clone(),
        _ => return Err(invalid("proposal_id is malformed.").field("proposal_id")),
    };
    let text = |value: Option<&Value>| value.and_then(Value::as_str).map(ToOwned::to_owned);
    Ok(Some(ProposalUse {
        proposal_id,
        brand_scope: brand_scope.map(ToOwned::to_owned),
        terms_digest: text(request.get("proposal_terms_digest")),
        io_id: text(request.pointer("/io_acceptance/io_id")),
        ..ProposalUse::default()
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_buys_a_proposal_names_it() {
        let request = json!({
            "proposal_id": "p", "proposal_terms_digest": "sha256:x", "io_acceptance": {"io_id": "io", "signatory": "ann"},
        });
        let expected = ProposalUse {
            proposal_id: "p".into(),
            brand_scope: Some("b".into()),
            terms_digest: Some("sha256:x".into()),
            io_id: Some("io".into()),
            ..ProposalUse::default()
        };
        for verb in ["create_media_buy", "accept_proposal"] {
            assert_eq!(bought(verb, &request, Some("b")), Ok(Some(expected.clone())), "{verb}");
            for none in [json!({}), json!({"proposal_id": null})] {
                assert_eq!(bought(verb, &none, None), Ok(None), "{verb}");
            }
            for wrong in [json!({"proposal_id": ""}), json!({"proposal_id": 5}), json!({"proposal_id": ["p"]})] {
                let error = bought(verb, &wrong, None).unwrap_err();
                assert_eq!((error.code.as_str(), error.field.as_deref()), ("INVALID_REQUEST", Some("proposal_id")));
            }
        }
        assert_eq!(bought("get_products", &request, None), Ok(None));
    }
}
