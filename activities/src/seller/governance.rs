//! The governance agent of a request's account, as its handler asks it.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use handoff_proto::wire::{AdcpError, Authorization, Ruling, Verdict, tell_approval};
use serde::Serialize;
use serde_json::{Value, json};
use std::{fmt, sync::Arc};

/// Which governance agents a seller takes for its buyers' accounts: see `Seller::governance`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GovernancePolicy {
    accepted: Option<Vec<String>>,
}

impl GovernancePolicy {
    /// Any that can be asked by https, at addresses that webhooks may have, too.
    pub fn any() -> Self {
        Self::default()
    }

    /// These alone: the exact URLs that buyers give.
    pub fn only(urls: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self { accepted: Some(urls.into_iter().map(Into::into).collect()) }
    }

    /// `None`: it is taken. Otherwise which are, as the protocol says it (governance/accepted-governance-agents.json).
    pub(crate) fn refuses(&self, url: &str) -> Option<Value> {
        let accepted = self.accepted.as_ref()?;
        if accepted.iter().any(|accepted| accepted == url) {
            return None;
        }
        let matchers: Vec<Value> = accepted.iter().map(|url| json!({"kind": "agent_url", "agent_url": url})).collect();
        Some(json!({"any_of": matchers}))
    }
}

/// What asks accounts' agents.
#[async_trait]
pub(crate) trait GovernanceDesk: Send + Sync {
    /// The answer of the account's agent to a question. `None`: the account has none. The question may be a refusal, which counts
    /// only where there is an agent.
    async fn ask(&self, account: &str, question: Question<'_>) -> Result<Option<Value>, AdcpError>;
}

/// What is to be asked, given how this seller calls itself.
pub(crate) type Question<'a> = &'a (dyn Fn(&str) -> Result<Value, AdcpError> + Send + Sync);

/// The governance of a request's account.
#[derive(Clone, Default)]
pub struct Governance {
    desk: Option<Arc<dyn GovernanceDesk>>,
    account: String,
    authorization: Authorization,
}

impl Governance {
    pub(crate) fn new(desk: Option<Arc<dyn GovernanceDesk>>, account: &str, request: &Value) -> Self {
        Self { desk, account: account.to_owned(), authorization: Authorization::of(request) }
    }

    /// Asks the account's agent whether this purchase may be made: `planned_delivery` is what the seller would deliver
    /// (core/planned-delivery.json). Call it once everything else about the request is fine, and before anything is booked; asked
    /// again by a later attempt, it is another check. `None`: the account has no agent, and nobody has to be asked.
    ///
    /// An error is the answer that the buyer is to get: `GOVERNANCE_DENIED` with the findings, `GOVERNANCE_UNAVAILABLE` if the agent
    /// gave no verdict, `PERMISSION_DENIED` if the request says neither `governance_context` nor `plan_id`.
    pub async fn check(&self, planned_delivery: impl Serialize) -> Result<Option<Approval>, AdcpError> {
        let Some(desk) = &self.desk else { return Ok(None) };
        let planned_delivery = serde_json::to_value(planned_delivery).map_err(handoff_proto::errors::result_invalid)?;
        let question = |caller: &str| self.authorization.question(caller, &planned_delivery).ok_or_else(unauthorized);
        let Some(answer) = desk.ask(&self.account, &question).await? else { return Ok(None) };
        let ruling = Ruling::read(&answer).map_err(|lacks| {
            tracing::warn!(account = self.account, lacks, "a governance agent gave no verdict");
            unavailable("no_verdict")
        })?;
        match ruling.verdict {
            Verdict::Approved if lapsed(&ruling) => Err(unavailable("lapsed")),
            Verdict::Approved => Ok(Some(Approval { ruling, planned_delivery })),
            // 3.2: never an authorisation. 3.0's have what must be so, and what is advice.
            Verdict::Conditions if self.authorization.context.is_none() && only_advice(&ruling) => {
                if lapsed(&ruling) {
                    Err(unavailable("lapsed"))
                } else {
                    Ok(Some(Approval { ruling, planned_delivery }))
                }
            }
            Verdict::Conditions | Verdict::Denied => Err(ruling.denial()),
        }
    }
}

impl fmt::Debug for Governance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Governance").field("authorization", &self.authorization).finish_non_exhaustive()
    }
}

/// That a purchase may be made.
#[derive(Clone, Debug)]
pub struct Approval {
    ruling: Ruling,
    planned_delivery: Value,
}

impl Approval {
    /// The agent's id of the check.
    pub fn check_id(&self) -> &str {
        &self.ruling.check_id
    }

    /// The context of the approval, for what happens to the purchase later.
    pub fn context(&self) -> Option<&str> {
        self.ruling.context.as_deref()
    }

    /// When it is none any more: what is booked later is to be checked again.
    pub fn expires_at(&self) -> Option<DateTime<Utc>> {
        expires_at(&self.ruling)
    }

    /// What the agent advises, as it wrote it: of buyers of 3.0 alone.
    pub fn conditions(&self) -> impl Iterator<Item = &Value> {
        self.ruling.conditions.iter().map(|condition| &condition.text)
    }

    /// Puts into the purchase's result what its buyer is told: `governance_context`, `planned_delivery`, and the conditions, in
    /// `ext.governance`.
    pub fn tell(&self, result: &mut Value) {
        tell_approval(result, &self.ruling, &self.planned_delivery);
    }
}

/// The error of a governance agent that gave no verdict, for this reason.
pub(crate) fn unavailable(reason: &str) -> AdcpError {
    AdcpError::transient("GOVERNANCE_UNAVAILABLE", "The account's governance agent gave no verdict.")
        .suggestion("Send the same request again, with the same idempotency_key; if that does not help, ask whoever operates the agent.")
        .retry_after(30)
        .details(json!({"reason": reason}))
}

fn unauthorized() -> AdcpError {
    AdcpError::correctable(
        "PERMISSION_DENIED",
        "The account has a governance agent, and the request no authorization of its.",
    )
    .field("governance_context")
    .suggestion(
        "Have the governance agent approve the request, and send it with the governance_context of the approval.",
    )
}

fn only_advice(ruling: &Ruling) -> bool {
    ruling.conditions.iter().all(|condition| !condition.binding)
}

// What is no time lets nothing pass.
fn lapsed(ruling: &Ruling) -> bool {
    ruling.expires_at.is_some() && expires_at(ruling).is_none_or(|at| at <= Utc::now())
}

fn expires_at(ruling: &Ruling) -> Option<DateTime<Utc>> {
    DateTime::parse_from_rfc3339(ruling.expires_at.as_deref()?).ok().map(|at| at.to_utc())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seller::testing::TestRequest;

    const LATER: &str = "2126-01-01T00:00:00Z";

    async fn check(request: Value, answer: Value) -> Result<Option<Approval>, AdcpError> {
        let request = TestRequest::new("create_media_buy").governed(&request, answer);
        request.context(()).governance().check(json!({"total_budget": 5})).await
    }

    fn by_context() -> Value {
        json!({"governance_context": "token"})
    }

    fn by_plan() -> Value {
        json!({"plan_id": "p"})
    }

    #[tokio::test]
    async fn an_approval_is_told_to_the_buyer() {
        let answer = json!({"verdict": "approved", "check_id": "c", "governance_context": "t2", "expires_at": LATER});
        let approval = check(by_context(), answer).await.unwrap().unwrap();
        assert_eq!((approval.check_id(), approval.context()), ("c", Some("t2")));
        assert!(approval.expires_at().is_some() && approval.conditions().next().is_none());
        let mut result = json!({"media_buy_id": "m"});
        approval.tell(&mut result);
        assert_eq!(
            result,
            json!({"media_buy_id": "m", "governance_context": "t2", "planned_delivery": {"total_budget": 5}})
        );
    }

    #[tokio::test]
    async fn conditions_let_nothing_pass_but_the_advice_of_3_0() {
        let conditions = |conditions: Value| json!({"status": "conditions", "check_id": "c", "expires_at": LATER, "conditions": conditions});
        let advice = json!([{"field": "channels", "reason": "weekly reports"}]);
        let demand = json!([{"field": "total_budget", "required_value": 3, "reason": "less"}]);
        let approval = check(by_plan(), conditions(advice.clone())).await.unwrap().unwrap();
        assert_eq!(approval.conditions().collect::<Vec<_>>(), [&advice[0]]);
        for (request, answer) in [(by_plan(), demand.clone()), (by_context(), advice), (by_context(), demand.clone())] {
            let error = check(request, conditions(answer.clone())).await.unwrap_err();
            assert_eq!((error.code.as_str(), &error.details.unwrap()["conditions"]), ("GOVERNANCE_DENIED", &answer));
        }
    }

    #[tokio::test]
    async fn what_is_no_verdict_lets_nothing_pass() {
        let finding = json!({"category_id": "budget", "severity": "critical", "explanation": "too much"});
        for (request, answer, code) in [
            (by_context(), json!({"verdict": "denied", "check_id": "c", "findings": [finding]}), "GOVERNANCE_DENIED"),
            (by_context(), json!({"status": "submitted", "task_id": "t"}), "GOVERNANCE_UNAVAILABLE"),
            (
                by_context(),
                json!({"verdict": "approved", "check_id": "c", "expires_at": "2020-01-01T00:00:00Z"}),
                "GOVERNANCE_UNAVAILABLE",
            ),
            (
                by_context(),
                json!({"verdict": "approved", "check_id": "c", "expires_at": "soon"}),
                "GOVERNANCE_UNAVAILABLE",
            ),
            (by_context(), json!([]), "GOVERNANCE_UNAVAILABLE"),
            (json!({}), json!({"verdict": "approved", "check_id": "c"}), "PERMISSION_DENIED"),
        ] {
            let error = check(request, answer.clone()).await.unwrap_err();
            assert_eq!(error.code, code, "{answer}");
            assert_eq!(error.is_transient(), code == "GOVERNANCE_UNAVAILABLE");
        }
    }

    #[tokio::test]
    async fn an_account_without_an_agent_asks_nobody() {
        let ungoverned = TestRequest::new("create_media_buy").context(());
        assert!(ungoverned.governance().check(json!({})).await.unwrap().is_none());
    }

    #[test]
    fn a_seller_may_take_some_agents_alone() {
        assert_eq!(GovernancePolicy::any().refuses("https://a.example"), None);
        let policy = GovernancePolicy::only(["https://a.example/mcp"]);
        assert_eq!(policy.refuses("https://a.example/mcp"), None);
        let told = json!({"any_of": [{"kind": "agent_url", "agent_url": "https://a.example/mcp"}]});
        assert_eq!(policy.refuses("https://a.example/mcp/"), Some(told));
    }
}
