//! What results say about proposals (core/proposal.json and core/canonical-proposal.json): what was offered, declined and
//! bought.
//!
//! Reads leniently: a result was checked, or not, when it was given; here only what the ledger of proposals needs is taken.

use chrono::{DateTime, SecondsFormat};
use serde_json::Value;
use std::collections::BTreeSet;

// Each is looked up. The compact verbs' schemas allow 25; get_products has no limit.
const MAX_NAMED: usize = 100;

/// What accepting a proposal does (canonical-proposal.json, `proposal_kind`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ProposalKind {
    /// Makes a media buy. Every proposal without a kind.
    NewMediaBuy,
    /// Amends one.
    MediaBuyUpdate,
    /// Cancels one.
    MediaBuyCancellation,
}

impl ProposalKind {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::NewMediaBuy, Self::MediaBuyUpdate, Self::MediaBuyCancellation];

    /// The protocol's spelling.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NewMediaBuy => "new_media_buy",
            Self::MediaBuyUpdate => "media_buy_update",
            Self::MediaBuyCancellation => "media_buy_cancellation",
        }
    }

    /// The kind of this name.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }
}

/// A proposal that a seller offered.
#[derive(Clone, Debug, PartialEq)]
pub struct OfferedProposal {
    /// Its id, the seller's.
    pub proposal_id: String,
    /// What accepting it does.
    pub kind: ProposalKind,
    /// Ready to be bought. A legacy proposal without `proposal_status` is.
    pub committed: bool,
    /// The proposal that this one was refined from.
    pub parent_proposal_id: Option<String>,
    /// The media buy that it amends or cancels.
    pub base_media_buy_id: Option<String>,
    /// The revision of that buy which its terms are for.
    pub base_media_buy_revision: Option<i64>,
    /// `terms_digest`.
    pub terms_digest: Option<String>,
    /// When it ends, in microseconds since 1970.
    pub expires_at: Option<i64>,
    /// The insertion order that has to be signed before it can be bought.
    pub io_id: Option<String>,
    /// The proposal as it was offered, as JSON text.
    pub body_json: String,
}

/// What a verb's completed result says about proposals.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ProposalNews {
    /// Each id once, the last that was said of it.
    pub offered: Vec<OfferedProposal>,
    /// Ids of proposals that were declined for good.
    pub declined: Vec<String>,
    /// A media buy, and the revision that it has now.
    pub revised: Option<(String, i64)>,
}

/// What was bought or changed by a purchase.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bought {
    /// The media buy.
    pub media_buy_id: Option<String>,
    /// Its revision now.
    pub revision: Option<i64>,
}

/// Reads a verb's completed result. A result that is no success says nothing.
pub fn proposal_news(verb: &str, result_json: &str) -> ProposalNews {
    if !matters(verb) {
        return ProposalNews::default();
    }
    let Some(result) = success(result_json) else { return ProposalNews::default() };
    let mut news = ProposalNews::default();
    let results = || items(&result, "results");
    match verb {
        "get_products" | "request_proposals" => news.offered = offered(items(&result, "proposals")),
        "refine_proposals" => {
            news.offered =
                offered(results().flat_map(|one| one.get("proposal").into_iter().chain(items(one, "proposals"))));
        }
        "decline_proposals" => {
            let declined = results().filter(|one| text(one, "outcome").as_deref() == Some("declined"));
            news.declined = declined.filter_map(|one| text(one, "proposal_id")).collect();
            news.declined.sort_unstable();
            news.declined.dedup();
        }
        _ => news.revised = bought(&result).media_buy_id.zip(integer(&result, "revision")),
    }
    news
}

/// What a purchase's result bought; `None`: the result is no success.
pub fn purchase(result_json: &str) -> Option<Bought> {
    success(result_json).as_ref().map(bought)
}

/// Does this request buy a proposal?
pub fn is_purchase(verb: &str, request: &Value) -> bool {
    matches!(verb, "create_media_buy" | "accept_proposal") && request.get("proposal_id").is_some_and(|id| !id.is_null())
}

/// The proposals that a request refines, finalizes or declines, by their ids: of a request that names more than anyone is offered,
/// the first hundred.
pub fn proposals_named<'a>(verb: &str, request: &'a Value) -> BTreeSet<&'a str> {
    let list = match verb {
        "decline_proposals" => "declines",
        "refine_proposals" => "refinements",
        "get_products" => "refine",
        _ => return BTreeSet::new(),
    };
    let named = items(request, list).filter_map(|entry| entry.get("proposal_id")?.as_str());
    named.take(MAX_NAMED).collect()
}

fn matters(verb: &str) -> bool {
    matches!(
        verb,
        "get_products"
            | "request_proposals"
            | "refine_proposals"
            | "decline_proposals"
            | "create_media_buy"
            | "update_media_buy"
            | "accept_proposal"
            | "buy_products"
            | "control_media_buy"
    )
}

// A body with the status of another arm, or with errors and nothing bought, is a seller's no.
fn success(result_json: &str) -> Option<Value> {
    let result: Value = serde_json::from_str(result_json).ok()?;
    let status = result.get("status").and_then(Value::as_str);
    let other_arm = status.is_some_and(|status| {
        matches!(
            status,
            "failed"
                | "rejected"
                | "canceled"
                | "input-required"
                | "auth-required"
                | "submitted"
                | "working"
                | "unknown"
        )
    });
    let only_errors = result.get("adcp_error").is_some_and(|error| !error.is_null())
        || (items(&result, "errors").next().is_some()
            && !["media_buy_id", "products", "proposals", "results"].iter().any(|field| result.get(field).is_some()));
    (result.is_object() && !other_arm && !only_errors).then_some(result)
}

fn bought(result: &Value) -> Bought {
    Bought { media_buy_id: text(result, "media_buy_id"), revision: integer(result, "revision") }
}

fn offered<'a>(proposals: impl Iterator<Item = &'a Value>) -> Vec<OfferedProposal> {
    let mut offered: Vec<OfferedProposal> = Vec::new();
    for proposal in proposals.filter_map(offer) {
        offered.retain(|earlier| earlier.proposal_id != proposal.proposal_id);
        offered.push(proposal);
    }
    offered
}

// An accepted proposal is the snapshot of a purchase, and no offer.
fn offer(proposal: &Value) -> Option<OfferedProposal> {
    let committed = match proposal.get("proposal_status") {
        None | Some(Value::Null) => true,
        Some(status) if status == "committed" => true,
        Some(status) if status == "accepted" => return None,
        Some(_) => false,
    };
    let kind = text(proposal, "proposal_kind").and_then(|kind| ProposalKind::parse(&kind));
    let kind = kind.unwrap_or(ProposalKind::NewMediaBuy);
    let amends = kind != ProposalKind::NewMediaBuy;
    let io = proposal.get("insertion_order").filter(|io| io.get("requires_signature") == Some(&Value::Bool(true)));
    Some(OfferedProposal {
        proposal_id: text(proposal, "proposal_id")?,
        kind,
        committed,
        parent_proposal_id: text(proposal, "parent_proposal_id"),
        base_media_buy_id: text(proposal, "media_buy_id").filter(|_| amends),
        base_media_buy_revision: integer(proposal, "base_media_buy_revision").filter(|_| amends),
        terms_digest: text(proposal, "terms_digest"),
        expires_at: text(proposal, "expires_at").and_then(|at| micros(&at)),
        io_id: io.and_then(|io| text(io, "io_id")),
        body_json: proposal.to_string(),
    })
}

/// A proposal's body with the end that the ledger has, in microseconds since 1970: another one than the seller wrote where a
/// sandbox's compliance controller let it pass.
pub fn proposal_ending(mut body: Value, expires_at: Option<i64>) -> Value {
    let written = text(&body, "expires_at").and_then(|at| micros(&at));
    if let (Some(at), Some(fields)) = (expires_at.filter(|at| written != Some(*at)), body.as_object_mut())
        && let Some(at) = DateTime::from_timestamp_micros(at)
    {
        fields.insert("expires_at".into(), at.to_rfc3339_opts(SecondsFormat::Micros, true).into());
    }
    body
}

fn items<'a>(value: &'a Value, field: &str) -> impl Iterator<Item = &'a Value> {
    value.get(field).and_then(Value::as_array).into_iter().flatten()
}

// A text with U+0000 can't be stored; a result must not fail for ever because of one.
fn text(value: &Value, field: &str) -> Option<String> {
    let text = value.get(field).and_then(Value::as_str)?;
    (!text.is_empty() && !text.contains('\0')).then(|| text.to_owned())
}

fn integer(value: &Value, field: &str) -> Option<i64> {
    value.get(field).and_then(Value::as_i64)
}

fn micros(time: &str) -> Option<i64> {
    DateTime::parse_from_rfc3339(time).ok().map(|time| time.timestamp_micros())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn news(verb: &str, result: &Value) -> ProposalNews {
        proposal_news(verb, &result.to_string())
    }

    fn ids(news: &ProposalNews) -> Vec<(&str, bool)> {
        news.offered.iter().map(|offer| (offer.proposal_id.as_str(), offer.committed)).collect()
    }

    #[test]
    fn a_legacy_proposal_without_status_is_ready_to_be_bought() {
        let result = json!({"products": [], "proposals": [
            {"proposal_id": "ready", "name": "a", "allocations": []},
            {"proposal_id": "draft", "proposal_status": "draft"},
            {"proposal_id": "firm", "proposal_status": "committed", "expires_at": "2026-01-02T03:04:05.6+01:00",
             "insertion_order": {"io_id": "io_1", "requires_signature": true}},
            {"proposal_id": "bought", "proposal_status": "accepted"},
            {"name": "no id"},
            {"proposal_id": "strange", "proposal_status": "paused"},
        ]});
        let news = news("get_products", &result);
        assert_eq!(ids(&news), [("ready", true), ("draft", false), ("firm", true), ("strange", false)]);
        let firm = &news.offered[2];
        assert_eq!((firm.expires_at, firm.io_id.as_deref()), (Some(1_767_319_445_600_000), Some("io_1")));
        assert_eq!(firm.kind, ProposalKind::NewMediaBuy);
        assert_eq!(serde_json::from_str::<Value>(&firm.body_json).unwrap(), result["proposals"][2]);
    }

    #[test]
    fn a_body_stays_as_it_was_written() {
        let text = r#"{"proposals":[{"z":1.10,"proposal_id":"p","a":1e+2}]}"#;
        let news = proposal_news("request_proposals", text);
        assert_eq!(news.offered[0].body_json, r#"{"z":1.10,"proposal_id":"p","a":1e+2}"#);
    }

    #[test]
    fn a_body_ends_when_the_ledger_says() {
        let body = json!({"proposal_id": "p", "expires_at": "2026-01-02T03:04:05.6+01:00"});
        for same in [None, Some(1_767_319_445_600_000)] {
            assert_eq!(proposal_ending(body.clone(), same), body);
        }
        let told = json!({"proposal_id": "p", "expires_at": "2025-01-01T00:00:00.000001Z"});
        assert_eq!(proposal_ending(body, Some(1_735_689_600_000_001)), told);
        assert_eq!(proposal_ending(json!({"a": 1}), Some(0))["expires_at"], "1970-01-01T00:00:00.000000Z");
        assert_eq!(proposal_ending(json!({"a": 1}), None), json!({"a": 1}));
        assert_eq!(proposal_ending(json!({"a": 1}), Some(i64::MAX)), json!({"a": 1}), "no year has it");
        assert_eq!(proposal_ending(json!(null), Some(0)), json!(null));
    }

    #[test]
    fn refinements_bring_children_and_committed_proposals() {
        let result = json!({"status": "completed", "products": [], "results": [
            {"source_proposal_id": "p", "outcome": "revised", "proposals": [
                {"proposal_id": "p1", "parent_proposal_id": "p", "proposal_status": "draft"},
                {"proposal_id": "p2", "parent_proposal_id": "p", "proposal_status": "draft"},
            ]},
            {"source_proposal_id": "q", "outcome": "finalized", "proposal": {
                "proposal_id": "q1", "parent_proposal_id": "q", "proposal_status": "committed",
                "proposal_kind": "media_buy_update", "media_buy_id": "mb", "base_media_buy_revision": 3,
                "terms_digest": "sha256:x"}},
            {"source_proposal_id": "r", "outcome": "unable", "reason_code": "uninterpreted", "reason": "no"},
        ]});
        let news = news("refine_proposals", &result);
        assert_eq!(ids(&news), [("p1", false), ("p2", false), ("q1", true)]);
        assert_eq!(news.offered[0].parent_proposal_id.as_deref(), Some("p"));
        let amendment = &news.offered[2];
        assert_eq!(amendment.kind, ProposalKind::MediaBuyUpdate);
        assert_eq!((amendment.base_media_buy_id.as_deref(), amendment.base_media_buy_revision), (Some("mb"), Some(3)));
        assert_eq!(amendment.terms_digest.as_deref(), Some("sha256:x"));
    }

    #[test]
    fn only_what_was_declined_is_declined() {
        let result = json!({"results": [
            {"proposal_id": "b", "outcome": "declined"},
            {"proposal_id": "a", "outcome": "declined"},
            {"proposal_id": "c", "outcome": "unable", "reason": "it is bought"},
        ]});
        assert_eq!(news("decline_proposals", &result).declined, ["a", "b"]);
    }

    #[test]
    fn what_is_said_last_of_a_proposal_counts() {
        let result = json!({"proposals": [
            {"proposal_id": "p", "proposal_status": "draft"},
            {"proposal_id": "p", "proposal_status": "committed"},
        ]});
        assert_eq!(ids(&news("get_products", &result)), [("p", true)]);
    }

    #[test]
    fn other_verbs_and_other_arms_say_nothing() {
        let result = json!({"proposals": [{"proposal_id": "p"}], "media_buy_id": "mb", "revision": 2});
        assert_eq!(news("get_signals", &result), ProposalNews::default());
        for status in ["rejected", "failed", "submitted", "input-required"] {
            let mut result = result.clone();
            result["status"] = status.into();
            assert_eq!(news("get_products", &result), ProposalNews::default(), "{status}");
            assert_eq!(purchase(&result.to_string()), None, "{status}");
        }
        for broken in ["", "[]", "null", "{\"proposals\": 7}", r#"{"proposals": [7, {}, {"proposal_id": "a\u0000"}]}"#]
        {
            assert_eq!(proposal_news("get_products", broken), ProposalNews::default(), "{broken}");
        }
    }

    #[test]
    fn a_purchase_is_a_success_with_or_without_its_media_buy() {
        let bought = |result: Value| purchase(&result.to_string());
        let some = |id: Option<&str>, revision| Some(Bought { media_buy_id: id.map(Into::into), revision });
        assert_eq!(bought(json!({"media_buy_id": "mb", "revision": 1})), some(Some("mb"), Some(1)));
        assert_eq!(bought(json!({"status": "completed", "media_buy_id": ""})), some(None, None));
        assert_eq!(bought(json!({"media_buy_id": "mb", "errors": [{"code": "W"}]})), some(Some("mb"), None));
        assert_eq!(bought(json!({"errors": [{"code": "BUDGET_TOO_LOW"}]})), None);
        assert_eq!(bought(json!({"adcp_error": {"code": "X"}})), None);
    }

    #[test]
    fn the_proposals_of_a_request_are_those_it_changes() {
        let request = json!({
            "declines": [{"proposal_id": "a"}, {"proposal_id": "a"}, {"proposal_id": 5}, 7],
            "refinements": [{"proposal_id": "b"}, {"proposal_id": "c"}],
            "refine": [{"scope": "request", "ask": "x"}, {"scope": "proposal", "proposal_id": "d", "action": "finalize"}],
        });
        let of = |verb: &str| proposals_named(verb, &request).into_iter().collect::<Vec<_>>();
        assert_eq!(of("decline_proposals"), ["a"]);
        assert_eq!(of("refine_proposals"), ["b", "c"]);
        assert_eq!(of("get_products"), ["d"]);
        assert!(of("create_media_buy").is_empty());
        assert!(proposals_named("decline_proposals", &json!({"declines": "x"})).is_empty());
        let many: Vec<Value> = (0..1_000).map(|number| json!({"proposal_id": format!("p{number}")})).collect();
        assert_eq!(proposals_named("refine_proposals", &json!({"refinements": many})).len(), MAX_NAMED);
    }

    #[test]
    fn any_verb_of_a_media_buy_tells_its_revision() {
        let result = json!({"media_buy_id": "mb", "revision": 4});
        assert_eq!(news("control_media_buy", &result).revised, Some(("mb".to_owned(), 4)));
        assert_eq!(news("update_media_buy", &json!({"media_buy_id": "mb"})).revised, None);
    }
}
