//! The protocol's releases that are spoken: which one a request is of, and what each brought.

use crate::wire::AdcpError;
use serde_json::{Value, json};
use std::fmt;

/// A release of AdCP 3 whose buyers are served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Release {
    /// Its media buys have their state in `status`.
    V3_0,
    /// It brought polls, and `media_buy_status`.
    V3_1,
    /// What sellers are written for.
    V3_2,
}

impl Release {
    /// All of them, oldest first.
    pub const ALL: [Self; 3] = [Self::V3_0, Self::V3_1, Self::V3_2];
    /// The one that sellers are written for.
    pub const LATEST: Self = Self::V3_2;

    /// As the protocol writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::V3_0 => "3.0",
            Self::V3_1 => "3.1",
            Self::V3_2 => "3.2",
        }
    }

    /// The release that a request is served as of: the newest that is not newer than what it asks for (schema
    /// core/version-envelope.json). Only 3.0's buyers name the major version alone; who says nothing gets the latest. Whether
    /// the major version is spoken is for the caller to check.
    pub fn of(request: &Value) -> Self {
        match request.get("adcp_version") {
            Some(Value::String(pin)) => Self::at_most(pin),
            _ if request.get("adcp_major_version").is_some_and(Value::is_u64) => Self::V3_0,
            _ => Self::LATEST,
        }
    }

    /// The same for what `adcp_version` says: of a release that is not known, because it is newer, the latest.
    pub fn at_most(pin: &str) -> Self {
        let (release, tag) = pin.split_once('-').map_or((pin, None), |(release, tag)| (release, Some(tag)));
        let minor = release.split_once('.').and_then(|(_, minor)| minor.parse::<u32>().ok());
        // What comes before a release is not yet that release.
        let minor = minor.map(|minor| if tag.is_some() { minor.saturating_sub(1) } else { minor });
        match minor {
            Some(0) => Self::V3_0,
            Some(1) => Self::V3_1,
            _ => Self::LATEST,
        }
    }

    /// Does the release have this tool? One that no release has is a seller's own, and has none of them to fit.
    pub fn has_tool(self, tool: &str) -> bool {
        self >= brought_tool(tool)
    }

    /// May this tool be answered `submitted` in the release? Whether the request may is another matter.
    pub fn has_submitted(self, tool: &str) -> bool {
        self >= brought_tool(tool) && self >= brought_submitted(tool)
    }

    /// The refusal of what the release does not have, which is never degraded to what it has.
    pub fn refuses(self, what: &str) -> AdcpError {
        AdcpError::correctable("UNSUPPORTED_FEATURE", format!("{what} in release {self} of the protocol."))
            .field("adcp_version")
            .suggestion(format!("Send the request as of release {}.", Self::LATEST))
            .details(json!({"adcp_version": self.as_str(), "supported_versions": Self::ALL.map(Self::as_str)}))
    }
}

impl fmt::Display for Release {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

// From the releases' manifests: 3.0.18, 3.1.27, 3.2.4. 3.0 has the polls, too, under the names that they had before they were
// the protocol's.
fn brought_tool(tool: &str) -> Release {
    match tool {
        "list_transformers" | "search_brands" | "validate_input" | "verify_brand_claim" | "verify_brand_claims" => {
            Release::V3_1
        }
        "accept_proposal"
        | "buy_products"
        | "control_media_buy"
        | "decline_proposals"
        | "get_principal"
        | "get_reporting_status"
        | "list_account_changes"
        | "list_products"
        | "refine_proposals"
        | "report_plan_adjustment"
        | "request_proposals"
        | "sync_agent_notification_configs"
        | "sync_principal"
        | "sync_reporting_receipts"
        | "sync_reporting_status" => Release::V3_2,
        _ => Release::V3_0,
    }
}

fn brought_submitted(verb: &str) -> Release {
    match verb {
        "get_signals" => Release::V3_1,
        "get_creative_features" | "preview_creative" => Release::V3_2,
        _ => Release::V3_0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{tools, verbs};
    use serde_json::json;

    #[test]
    fn a_request_is_served_as_of_the_newest_release_that_it_knows() {
        for (request, release) in [
            (json!({}), Release::V3_2),
            (json!({"adcp_version": null}), Release::V3_2),
            (json!({"adcp_major_version": 3}), Release::V3_0),
            (json!({"adcp_version": null, "adcp_major_version": 3}), Release::V3_0),
            (json!({"adcp_version": "3.0", "adcp_major_version": 3}), Release::V3_0),
            (json!({"adcp_version": "3.1"}), Release::V3_1),
            (json!({"adcp_version": "3.2", "adcp_major_version": 3}), Release::V3_2),
            (json!({"adcp_version": "3.9"}), Release::V3_2),
            (json!({"adcp_version": "3.2-rc.7"}), Release::V3_1),
            (json!({"adcp_version": "3.1-beta"}), Release::V3_0),
            (json!({"adcp_version": "3.0-rc.1"}), Release::V3_0),
            (json!({"adcp_version": "3.9-beta.1"}), Release::V3_2),
        ] {
            assert_eq!(Release::of(&request), release, "{request}");
        }
        assert!(Release::ALL.is_sorted());
        assert_eq!(Release::ALL.map(|release| Release::at_most(release.as_str())), Release::ALL);
        assert_eq!(Release::ALL.last(), Some(&Release::LATEST));
    }

    #[test]
    fn what_a_release_brought_no_older_one_has() {
        let names = || tools::TOOLS.iter().map(|tool| tool.name).chain(verbs::VERBS.iter().map(|verb| verb.name));
        let has = |release: Release| names().filter(|name| release.has_tool(name)).count();
        // The manifests': with the two polls, which 3.0 has under other names, and without creative_approval, which is a
        // webhook's.
        assert_eq!(Release::ALL.map(has), [58, 63, 78]);
        let submits = |release: Release| verbs::VERBS.iter().filter(|verb| release.has_submitted(verb.name)).count();
        assert_eq!(Release::ALL.map(submits), [7, 8, 16]);
        assert!(Release::V3_0.has_tool("a_sellers_own"));
        assert!(!Release::V3_1.has_submitted("preview_creative") && Release::V3_1.has_submitted("get_signals"));
    }
}
