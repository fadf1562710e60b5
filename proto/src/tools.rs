//! The plain tools: those of the protocol's manifest that are always answered at once.

use crate::verbs::IdempotencyKey;

/// A tool that is never answered `submitted`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tool {
    /// Name of the AdCP tool.
    pub name: &'static str,
    /// The AdCP protocol it belongs to, in kebab case.
    pub protocol: &'static str,
    /// Does a request need an idempotency key?
    pub idempotency_key: IdempotencyKey,
    /// Its answer carries the envelope's `status`.
    pub status_in_result: bool,
}

/// All of them.
pub static TOOLS: &[Tool] = &[
    tool("acquire_rights", "brand", IdempotencyKey::Required),
    tool("activate_signal", "signals", IdempotencyKey::Required),
    tool("calibrate_content", "content-standards", IdempotencyKey::Required),
    bare(tool("check_governance", "governance", IdempotencyKey::Ignored)),
    tool("comply_test_controller", "compliance", IdempotencyKey::Ignored),
    tool("create_collection_list", "collection", IdempotencyKey::Required),
    tool("create_content_standards", "content-standards", IdempotencyKey::Required),
    tool("create_property_list", "property", IdempotencyKey::Required),
    tool("delete_collection_list", "collection", IdempotencyKey::Required),
    tool("delete_property_list", "property", IdempotencyKey::Required),
    tool("get_account_financials", "account", IdempotencyKey::Ignored),
    tool("get_adcp_capabilities", "protocol", IdempotencyKey::Ignored),
    tool("get_brand_identity", "brand", IdempotencyKey::Ignored),
    tool("get_collection_list", "collection", IdempotencyKey::Ignored),
    tool("get_content_standards", "content-standards", IdempotencyKey::Ignored),
    tool("get_creative_delivery", "creative", IdempotencyKey::Ignored),
    tool("get_media_buy_artifacts", "content-standards", IdempotencyKey::Ignored),
    tool("get_media_buy_delivery", "media-buy", IdempotencyKey::Ignored),
    tool("get_media_buys", "media-buy", IdempotencyKey::Ignored),
    tool("get_plan_audit_logs", "governance", IdempotencyKey::Ignored),
    tool("get_principal", "protocol", IdempotencyKey::Ignored),
    tool("get_property_list", "property", IdempotencyKey::Ignored),
    tool("get_reporting_status", "media-buy", IdempotencyKey::Ignored),
    tool("get_rights", "brand", IdempotencyKey::Ignored),
    tool("get_task_status", "protocol", IdempotencyKey::Ignored),
    tool("list_account_changes", "account", IdempotencyKey::Ignored),
    tool("list_accounts", "account", IdempotencyKey::Ignored),
    tool("list_collection_lists", "collection", IdempotencyKey::Ignored),
    tool("list_content_standards", "content-standards", IdempotencyKey::Ignored),
    tool("list_creative_formats", "media-buy", IdempotencyKey::Ignored),
    tool("list_creatives", "creative", IdempotencyKey::Ignored),
    bare(tool("list_products", "media-buy", IdempotencyKey::Optional)),
    tool("list_property_lists", "property", IdempotencyKey::Ignored),
    tool("list_tasks", "protocol", IdempotencyKey::Ignored),
    tool("list_transformers", "creative", IdempotencyKey::Ignored),
    tool("log_event", "media-buy", IdempotencyKey::Required),
    tool("provide_performance_feedback", "media-buy", IdempotencyKey::Required),
    bare(tool("report_plan_adjustment", "governance", IdempotencyKey::Required)),
    bare(tool("report_plan_outcome", "governance", IdempotencyKey::Required)),
    tool("report_usage", "account", IdempotencyKey::Required),
    tool("search_brands", "brand", IdempotencyKey::Ignored),
    tool("si_get_offering", "sponsored-intelligence", IdempotencyKey::Ignored),
    tool("si_initiate_session", "sponsored-intelligence", IdempotencyKey::Required),
    tool("si_send_message", "sponsored-intelligence", IdempotencyKey::Required),
    tool("si_terminate_session", "sponsored-intelligence", IdempotencyKey::Ignored),
    tool("sync_accounts", "account", IdempotencyKey::Required),
    tool("sync_agent_notification_configs", "protocol", IdempotencyKey::Required),
    tool("sync_event_sources", "media-buy", IdempotencyKey::Required),
    tool("sync_governance", "account", IdempotencyKey::Required),
    tool("sync_plans", "governance", IdempotencyKey::Required),
    tool("sync_principal", "protocol", IdempotencyKey::Required),
    tool("sync_reporting_receipts", "media-buy", IdempotencyKey::Required),
    tool("sync_reporting_status", "media-buy", IdempotencyKey::Required),
    tool("update_collection_list", "collection", IdempotencyKey::Required),
    tool("update_content_standards", "content-standards", IdempotencyKey::Required),
    tool("update_property_list", "property", IdempotencyKey::Required),
    tool("update_rights", "brand", IdempotencyKey::Required),
    tool("validate_content_delivery", "content-standards", IdempotencyKey::Ignored),
    tool("validate_input", "creative", IdempotencyKey::Ignored),
    tool("validate_property_delivery", "property", IdempotencyKey::Ignored),
    tool("verify_brand_claim", "brand", IdempotencyKey::Ignored),
    tool("verify_brand_claims", "brand", IdempotencyKey::Ignored),
];

/// A tool that the protocol does not know, such as a seller's own: with a key the replay contract holds.
pub static UNLISTED: Tool =
    Tool { name: "", protocol: "unlisted", idempotency_key: IdempotencyKey::Optional, status_in_result: true };

/// The plain tool of this name.
pub fn find(name: &str) -> Option<&'static Tool> {
    TOOLS.iter().find(|tool| tool.name == name)
}

const fn tool(name: &'static str, protocol: &'static str, idempotency_key: IdempotencyKey) -> Tool {
    Tool { name, protocol, idempotency_key, status_in_result: true }
}

// Its answer is no envelope: a closed schema without a `status`, or one whose `status` is its own.
const fn bare(tool: Tool) -> Tool {
    Tool { status_in_result: false, ..tool }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verbs;
    use serde_json::Value;
    use std::{collections::BTreeSet, fs, path::PathBuf};

    #[test]
    fn the_tables_are_the_manifests() {
        let directory = std::env::var_os("HANDOFF_ADCP_SCHEMAS").filter(|directory| !directory.is_empty());
        let directory = PathBuf::from(directory.expect("run make test, or set HANDOFF_ADCP_SCHEMAS"));
        let json = |path: &str| -> Value { serde_json::from_slice(&fs::read(directory.join(path)).unwrap()).unwrap() };
        let manifest = json("manifest.json");
        let listed = manifest["tools"].as_object().unwrap();
        for (name, entry) in listed {
            let requirement = match entry["idempotency_requirement"].as_str().unwrap() {
                "required" => IdempotencyKey::Required,
                "optional" => IdempotencyKey::Optional,
                "none" => IdempotencyKey::Ignored,
                other => panic!("{name}: {other}"),
            };
            let (protocol, key) = match (verbs::find(name), find(name)) {
                (Some(verb), None) => (verb.protocol, verb.idempotency_key),
                (None, Some(tool)) => {
                    let response = fs::read_to_string(directory.join(entry["response_schema"].as_str().unwrap()));
                    assert_eq!(
                        tool.status_in_result,
                        response.unwrap().contains("core/protocol-envelope.json"),
                        "{name}"
                    );
                    (tool.protocol, tool.idempotency_key)
                }
                other => panic!("{name}: {other:?}"),
            };
            assert_eq!((protocol, key), (entry["protocol"].as_str().unwrap(), requirement), "{name}");
        }
        let ours: BTreeSet<&str> =
            TOOLS.iter().map(|tool| tool.name).chain(verbs::VERBS.iter().map(|verb| verb.name)).collect();
        assert_eq!(ours, listed.keys().map(String::as_str).collect());
        assert_eq!(ours.len(), TOOLS.len() + verbs::VERBS.len());
    }
}
