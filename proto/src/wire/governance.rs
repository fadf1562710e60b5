//! Governance: which agent an account is given (account/sync-governance-request.json), what it is asked before a purchase is decided,
//! and what it says (governance/check-governance-request.json and -response.json, of 3.2 and of 3.0).

use super::{AdcpError, strip_write_only};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::fmt;

/// The tool by which buyers give their accounts governance agents.
pub const SYNC_GOVERNANCE: &str = "sync_governance";
/// The tool by which such an agent is asked.
pub const CHECK_GOVERNANCE: &str = "check_governance";

const MAX_ACCOUNTS: usize = 100;
const LEAST_CREDENTIALS: usize = 32;
const MAX_CREDENTIALS: usize = 4096;
const MAX_CONTEXT: usize = 4096;

/// The agent that an account is to have.
#[derive(Clone, PartialEq)]
pub struct WantedAgent {
    /// The account, as the buyer refers to it.
    pub account: Value,
    /// Where the agent is asked.
    pub url: String,
    /// What it is asked with: a secret.
    pub credentials: String,
}

impl fmt::Debug for WantedAgent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WantedAgent").field("account", &self.account).finish_non_exhaustive()
    }
}

/// The agents that a `sync_governance` names, one for each account.
pub fn wanted_agents(request: &Value) -> Result<Vec<WantedAgent>, AdcpError> {
    let accounts = request.get("accounts").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    if accounts.is_empty() || accounts.len() > MAX_ACCOUNTS {
        return Err(wrong("accounts", "must be 1 to 100 accounts"));
    }
    accounts.iter().enumerate().map(|(index, entry)| wanted_agent(&format!("accounts[{index}]"), entry)).collect()
}

fn wanted_agent(at: &str, entry: &Value) -> Result<WantedAgent, AdcpError> {
    let account = entry.get("account").filter(|account| account.is_object());
    let account = account.ok_or_else(|| wrong(&format!("{at}.account"), "must be a reference to an account"))?;
    let agents = format!("{at}.governance_agents");
    let Some([agent]) = entry.get("governance_agents").and_then(Value::as_array).map(Vec::as_slice) else {
        return Err(wrong(&agents, "must be one agent"));
    };
    let text = |value: Option<&Value>| value.and_then(Value::as_str).map(str::to_owned);
    let url = text(agent.get("url")).ok_or_else(|| wrong(&format!("{agents}[0].url"), "is required"))?;
    let at = format!("{agents}[0].authentication");
    let authentication = agent.get("authentication");
    if authentication.and_then(|authentication| authentication.get("schemes")) != Some(&json!(["Bearer"])) {
        return Err(wrong(&format!("{at}.schemes"), "must be [\"Bearer\"]"));
    }
    let credentials = text(authentication.and_then(|authentication| authentication.get("credentials")));
    let credentials = credentials.filter(|credentials| {
        (LEAST_CREDENTIALS..=MAX_CREDENTIALS).contains(&credentials.len())
            && credentials.bytes().all(|byte| byte.is_ascii_graphic())
    });
    let credentials =
        credentials.ok_or_else(|| wrong(&format!("{at}.credentials"), "must be 32 to 4096 printable characters"))?;
    Ok(WantedAgent { account: account.clone(), url, credentials })
}

/// What `sync_governance` says of one account: that this URL is its agent now, or why it is not. Never the credentials.
pub fn synced_agent(account: &Value, outcome: Result<&str, &AdcpError>) -> Value {
    match outcome {
        Ok(url) => json!({"account": account, "status": "synced", "governance_agents": [{"url": url}]}),
        Err(error) => json!({"account": account, "status": "failed", "errors": [error.to_json()]}),
    }
}

/// What a purchase says about who may authorise it.
#[derive(Clone, Default, PartialEq)]
pub struct Authorization {
    /// The opaque context of the approval that the buyer got.
    pub context: Option<String>,
    /// The plan that it belongs to, as buyers of 3.0 name it.
    pub plan_id: Option<String>,
    /// Who is to be billed instead of the account, as the agent may see it.
    pub invoice_recipient: Option<Value>,
}

impl Authorization {
    /// Of a purchase.
    pub fn of(request: &Value) -> Self {
        let text = |name| request.get(name).and_then(Value::as_str).filter(|text| !text.is_empty()).map(str::to_owned);
        let recipient = request.get("invoice_recipient").filter(|recipient| recipient.is_object()).cloned();
        let invoice_recipient = recipient.map(|mut recipient| {
            strip_write_only(&mut recipient);
            recipient
        });
        Self { context: text("governance_context"), plan_id: text("plan_id"), invoice_recipient }
    }

    /// What the account's agent is asked about a purchase that comes to this delivery. By the context, and with it a plan's id if
    /// there is one: an execution check of 3.2. By the plan alone: 3.0's, whose requests are closed to anything newer. `None`: the
    /// purchase says neither.
    pub fn question(&self, caller: &str, planned_delivery: &Value) -> Option<Value> {
        let mut question = json!({"caller": caller, "phase": "purchase", "planned_delivery": planned_delivery});
        match (&self.context, &self.plan_id) {
            (None, None) => return None,
            (Some(context), _) => {
                question["adcp_version"] = json!("3.2");
                question["governance_context"] = json!(context);
            }
            // 3.0's has no field that would say so.
            (None, Some(_)) => {}
        }
        if let Some(plan_id) = &self.plan_id {
            question["plan_id"] = json!(plan_id);
        }
        if let Some(recipient) = &self.invoice_recipient {
            question["invoice_recipient"] = recipient.clone();
        }
        Some(question)
    }
}

// A token is nobody's to read.
impl fmt::Debug for Authorization {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { context, plan_id, .. } = self;
        f.debug_struct("Authorization").field("context", &context.is_some()).field("plan_id", plan_id).finish()
    }
}

/// What a governance agent decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Go on.
    Approved,
    /// Don't.
    Denied,
    /// Not as it is.
    Conditions,
}

/// What a purchase has to be like.
#[derive(Clone, Debug, PartialEq)]
pub struct Condition {
    /// Whether a field has to have a value that it has not; otherwise it is advice.
    pub binding: bool,
    /// As the agent wrote it.
    pub text: Value,
}

/// A governance agent's answer.
#[derive(Clone, PartialEq)]
pub struct Ruling {
    /// What was decided.
    pub verdict: Verdict,
    /// The agent's id of the check.
    pub check_id: String,
    /// Why, for people.
    pub explanation: String,
    /// What was found, as the agent wrote it.
    pub findings: Vec<Value>,
    /// What the purchase has to be like.
    pub conditions: Vec<Condition>,
    /// The context of this approval.
    pub context: Option<String>,
    /// Until when it is one, as RFC 3339 has it.
    pub expires_at: Option<String>,
}

impl fmt::Debug for Ruling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { verdict, check_id, .. } = self;
        f.debug_struct("Ruling").field("verdict", verdict).field("check_id", check_id).finish_non_exhaustive()
    }
}

impl Ruling {
    /// Reads an answer. An error says what it lacks.
    pub fn read(answer: &Value) -> Result<Self, &'static str> {
        #[derive(Deserialize)]
        struct Wire {
            check_id: String,
            #[serde(default)]
            explanation: String,
            #[serde(default)]
            findings: Option<Vec<Value>>,
            #[serde(default)]
            conditions: Option<Vec<Value>>,
            #[serde(default)]
            governance_context: Option<String>,
            #[serde(default)]
            expires_at: Option<String>,
        }
        // 3.1 made room for the envelope's own status.
        let verdict = answer.get("verdict").or(answer.get("status")).cloned().unwrap_or_default();
        let verdict: Verdict = serde_json::from_value(verdict).map_err(|_| "verdict")?;
        let wire: Wire = serde_json::from_value(answer.clone()).map_err(|_| "shape")?;
        let conditions = wire.conditions.unwrap_or_default();
        if verdict == Verdict::Conditions && conditions.is_empty() {
            return Err("conditions");
        }
        let readable = |context: &String| {
            (1..=MAX_CONTEXT).contains(&context.len()) && context.bytes().all(|byte| (0x20..0x7f).contains(&byte))
        };
        if !wire.governance_context.as_ref().is_none_or(readable) {
            return Err("governance_context");
        }
        Ok(Self {
            verdict,
            check_id: wire.check_id,
            explanation: wire.explanation,
            findings: wire.findings.unwrap_or_default(),
            conditions: conditions.into_iter().map(Condition::read).collect(),
            context: wire.governance_context,
            expires_at: wire.expires_at,
        })
    }

    /// The refusal of a purchase that the agent did not let pass: with what it found, as it wrote it.
    pub fn denial(&self) -> AdcpError {
        let said = if self.explanation.is_empty() { "It gave no reason." } else { &self.explanation };
        let mut details = json!({"check_id": self.check_id, "findings": self.findings});
        if !self.conditions.is_empty() {
            details["conditions"] = self.conditions.iter().map(|condition| condition.text.clone()).collect();
        }
        AdcpError::correctable("GOVERNANCE_DENIED", format!("The account's governance agent denied it: {said}"))
            .suggestion("Change the purchase as the findings say, or ask whoever operates the governance agent.")
            .details(details)
            .without_write_only()
    }
}

impl Condition {
    fn read(text: Value) -> Self {
        Self { binding: text.get("required_value").is_some(), text }
    }
}

/// Puts into a purchase's result what its buyer is told of its approval: the context (core/protocol-envelope.json), what was
/// approved, and the advice that came with it, for which the protocol has no field.
pub fn tell_approval(result: &mut Value, ruling: &Ruling, planned_delivery: &Value) {
    let Some(fields) = result.as_object_mut() else { return };
    if let Some(context) = &ruling.context {
        fields.insert("governance_context".into(), json!(context));
    }
    fields.insert("planned_delivery".into(), planned_delivery.clone());
    if ruling.conditions.is_empty() {
        return;
    }
    let conditions: Vec<&Value> = ruling.conditions.iter().map(|condition| &condition.text).collect();
    let ext = fields.entry("ext").or_insert_with(|| Value::Object(Map::new()));
    if let Some(ext) = ext.as_object_mut() {
        ext.insert("governance".into(), json!({"check_id": ruling.check_id, "conditions": conditions}));
    }
}

fn wrong(field: &str, why: &str) -> AdcpError {
    AdcpError::correctable("INVALID_REQUEST", format!("{field} {why}.")).field(field)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "gov-token-xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx";

    fn entry() -> Value {
        json!({"account": {"account_id": "a"}, "governance_agents": [{"url": "https://g.example/mcp",
            "authentication": {"schemes": ["Bearer"], "credentials": SECRET}, "categories": ["budget_authority"]}]})
    }

    #[test]
    fn each_account_is_given_one_agent() {
        let wanted = wanted_agents(&json!({"accounts": [entry(), entry()]})).unwrap();
        assert_eq!((wanted.len(), &*wanted[1].url, &*wanted[1].credentials), (2, "https://g.example/mcp", SECRET));
        assert!(!format!("{wanted:?}").contains(SECRET));
        for (pointer, value, field) in [
            ("/account", Value::Null, "accounts[0].account"),
            ("/governance_agents", json!([]), "accounts[0].governance_agents"),
            ("/governance_agents", json!([1, 2]), "accounts[0].governance_agents"),
            ("/governance_agents/0/url", json!(1), "accounts[0].governance_agents[0].url"),
            (
                "/governance_agents/0/authentication/schemes",
                json!(["HMAC-SHA256"]),
                "accounts[0].governance_agents[0].authentication.schemes",
            ),
            (
                "/governance_agents/0/authentication/credentials",
                json!("short"),
                "accounts[0].governance_agents[0].authentication.credentials",
            ),
            (
                "/governance_agents/0/authentication/credentials",
                json!(format!("{SECRET}\r\nX-Evil: 1")),
                "accounts[0].governance_agents[0].authentication.credentials",
            ),
        ] {
            let mut bad = entry();
            *bad.pointer_mut(pointer).unwrap() = value;
            let error = wanted_agents(&json!({"accounts": [bad]})).unwrap_err();
            assert_eq!((error.code.as_str(), error.field.as_deref()), ("INVALID_REQUEST", Some(field)));
            assert!(!error.to_json().to_string().contains(SECRET));
        }
        let many: Vec<Value> = (0..101).map(|_| entry()).collect();
        for bad in [json!({}), json!({"accounts": []}), json!({"accounts": 1}), json!({"accounts": many})] {
            assert_eq!(wanted_agents(&bad).unwrap_err().field.as_deref(), Some("accounts"));
        }
    }

    #[test]
    fn a_purchase_is_checked_by_its_context_or_by_its_plan() {
        let asked =
            |request: Value| Authorization::of(&request).question("https://s.example/mcp", &json!({"total_budget": 1}));
        let question = asked(json!({"governance_context": "token", "plan_id": "p"})).unwrap();
        assert_eq!(
            question,
            json!({"caller": "https://s.example/mcp", "phase": "purchase", "planned_delivery": {"total_budget": 1},
                "adcp_version": "3.2", "governance_context": "token", "plan_id": "p"})
        );
        let question = asked(json!({"plan_id": "p", "governance_context": ""})).unwrap();
        let of_3_0 = json!({"caller": "https://s.example/mcp", "phase": "purchase", "planned_delivery": {"total_budget": 1},
            "plan_id": "p"});
        assert_eq!(question, of_3_0);
        assert_eq!(asked(json!({"plan_id": 7})), None);
        let recipient = json!({"legal_name": "P", "bank": {"iban": "DE02"}});
        let question = asked(json!({"plan_id": "p", "invoice_recipient": recipient})).unwrap();
        assert_eq!(question["invoice_recipient"], json!({"legal_name": "P"}));
        let shown = format!("{:?}", Authorization::of(&json!({"governance_context": "a-token"})));
        assert!(!shown.contains("a-token"), "{shown}");
    }

    #[test]
    fn verdicts_of_either_shape_are_read() {
        let modern = json!({"status": "completed", "verdict": "approved", "check_id": "c", "check_type": "execution",
            "explanation": "fine", "governance_context": "t", "expires_at": "2027-01-01T00:00:00Z"});
        let ruling = Ruling::read(&modern).unwrap();
        assert_eq!((ruling.verdict, ruling.context.as_deref()), (Verdict::Approved, Some("t")));
        let old = json!({"status": "conditions", "check_id": "c", "plan_id": "p", "explanation": "mind",
            "conditions": [{"field": "channels", "reason": "weekly"}, {"field": "total_budget", "required_value": 1, "reason": "less"}]});
        let ruling = Ruling::read(&old).unwrap();
        assert_eq!(ruling.verdict, Verdict::Conditions);
        assert_eq!(ruling.conditions.iter().map(|condition| condition.binding).collect::<Vec<_>>(), [false, true]);
        for (bad, why) in [
            (json!({}), "verdict"),
            (json!({"status": "submitted", "task_id": "t"}), "verdict"),
            (json!({"verdict": "maybe", "check_id": "c"}), "verdict"),
            (json!({"verdict": "approved"}), "shape"),
            (json!({"verdict": "approved", "check_id": 5}), "shape"),
            (json!({"verdict": "denied", "check_id": "c", "findings": 5}), "shape"),
            (json!({"verdict": "conditions", "check_id": "c"}), "conditions"),
            (json!({"verdict": "approved", "check_id": "c", "governance_context": "a\nb"}), "governance_context"),
            (
                json!({"verdict": "approved", "check_id": "c", "governance_context": "x".repeat(5000)}),
                "governance_context",
            ),
        ] {
            assert_eq!(Ruling::read(&bad).unwrap_err(), why, "{bad}");
        }
    }

    #[test]
    fn a_denial_tells_what_was_found_and_an_approval_what_was_approved() {
        let finding = json!({"category_id": "budget_authority", "severity": "critical", "explanation": "too much"});
        let denied = json!({"verdict": "denied", "check_id": "c", "explanation": "Too much.", "findings": [finding]});
        let error = Ruling::read(&denied).unwrap().denial();
        assert_eq!((error.code.as_str(), error.is_transient()), ("GOVERNANCE_DENIED", false));
        assert_eq!(error.details.as_deref(), Some(&json!({"check_id": "c", "findings": [finding]})));
        let condition = json!({"field": "channels", "reason": "weekly reports"});
        let approved =
            json!({"status": "conditions", "check_id": "c", "governance_context": "t", "conditions": [condition]});
        let mut result = json!({"media_buy_id": "m", "ext": {"own": 1}});
        tell_approval(&mut result, &Ruling::read(&approved).unwrap(), &json!({"total_budget": 5}));
        assert_eq!(
            result,
            json!({"media_buy_id": "m", "governance_context": "t", "planned_delivery": {"total_budget": 5},
                "ext": {"own": 1, "governance": {"check_id": "c", "conditions": [condition]}}})
        );
    }
}
