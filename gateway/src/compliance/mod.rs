//! `comply_test_controller`: what the protocol's compliance tests let happen in a sandbox account (schema
//! compliance/comply-test-controller-request.json). There only with `HANDOFF_COMPLIANCE_TESTING`.
//!
//! Its requests are not checked against the schema before it sees them, and its refusals have a shape of their own: a test asks
//! for both. Whether an account is a sandbox is what the seller's accounts say, never what the request says.

mod answer;
mod forced;
mod request;

pub(crate) use answer::is_refusal;

use crate::{
    account::{self, Resolved},
    door::{Asked, Door},
};
use answer::Refusal;
use handoff_activities::seller::Handlers;
use handoff_client::Caller;
use handoff_proto::{
    TaskId, convert,
    v1::{TaskInput, TaskRef},
    wire::AdcpError,
};
use request::Request;
use serde_json::{Map, Value, json};

/// The tool's name.
pub(crate) const CONTROLLER: &str = "comply_test_controller";

const LIST: &str = "list_scenarios";

type Fields = Map<String, Value>;

/// The scenarios that there are: the seller's, and those that are the engine's.
pub(crate) fn scenarios(handlers: &Handlers) -> Vec<&str> {
    let forced = forced::scenarios(|verb| handlers.verbs().any(|registered| registered == verb));
    let mut all: Vec<&str> = forced.collect();
    all.extend(handlers.scenarios());
    all.sort_unstable();
    all
}

/// Answers a request, whatever is wrong with it.
pub(crate) async fn control(door: &Door, asked: &Asked) -> Value {
    let correlation_id = &asked.call.correlation_id;
    let answered = match controlled(door, asked).await {
        Ok(fields) => answer::checked(&door.contract, fields, correlation_id),
        refused => refused,
    };
    match answered {
        Ok(fields) => answer::success(fields),
        Err(refusal) => refusal.into_body(correlation_id),
    }
}

async fn controlled(door: &Door, asked: &Asked) -> Result<Fields, Refusal> {
    let request = Request::read(&asked.request)?;
    let scenarios = scenarios(door.activities.handlers());
    if request.scenario != LIST && !scenarios.contains(&request.scenario) {
        return Err(Refusal::new("UNKNOWN_SCENARIO", "This seller has no such scenario."));
    }
    request.check_params()?;
    let caller = sandbox(door, asked, &request).await?;
    if request.scenario == LIST {
        return Ok(Fields::from_iter([("scenarios".to_owned(), json!(scenarios))]));
    }
    // Whoever lists needs no account; the names are among the capabilities, too.
    let caller = caller.ok_or_else(not_a_sandbox)?;
    match forced::Scenario::find(request.scenario, request.params) {
        Some(scenario) => scenario.force(door, &caller, request.params).await,
        None => stage(door, asked, &caller, request).await,
    }
}

/// The sandbox that the request is for; `None`: it names no account, and its agent has not only one.
async fn sandbox(door: &Door, asked: &Asked, request: &Request<'_>) -> Result<Option<Caller>, Refusal> {
    let named = match &request.account {
        Some(account) => json!({"account": account}),
        None => json!({}),
    };
    let resolved = account::resolve(&*door.accounts, &asked.call.principal, &named, false).await;
    let Resolved { caller, has_account } = resolved.map_err(|error| match error.code.as_str() {
        // Of an account that it may not use an agent learns nothing.
        "ACCOUNT_NOT_FOUND" => not_a_sandbox(),
        _ => error.into(),
    })?;
    match (has_account, caller.sandbox) {
        (true, true) => Ok(Some(caller.correlated(&asked.call.correlation_id))),
        (true, false) => Err(not_a_sandbox()),
        (false, _) => Ok(None),
    }
}

fn not_a_sandbox() -> Refusal {
    Refusal::new("FORBIDDEN", "Only a sandbox account of the agent's can be controlled.")
}

/// Has the seller stage it.
async fn stage(door: &Door, asked: &Asked, caller: &Caller, request: Request<'_>) -> Result<Fields, Refusal> {
    let task = TaskRef {
        task_id: TaskId::generate().into(),
        scope: caller.scope.clone(),
        principal: caller.principal.clone(),
        verb: CONTROLLER.to_owned(),
    };
    let patience = door.settings.tool_timeout;
    let input = TaskInput {
        task: Some(task),
        request_json: asked.call.text.to_string(),
        sync_deadline: Some(convert::to_proto_duration(patience)),
        sandbox: true,
        correlation_id: asked.call.correlation_id.clone(),
        ..TaskInput::default()
    };
    let (activities, scenario) = (door.activities.clone(), request.scenario.to_owned());
    let params = Value::Object(request.params.clone());
    // A handler is not interrupted half way.
    let staging = tokio::spawn(async move { activities.stage(&input, &scenario, params).await });
    let staged = match tokio::time::timeout(patience, staging).await {
        Ok(Ok(Some(staged))) => staged,
        Ok(Ok(None)) => return Err(Refusal::new("UNKNOWN_SCENARIO", "This seller has no such scenario.")),
        Ok(Err(_)) => return Err(Refusal::internal("the scenario's handler failed")),
        Err(_) => return Err(Refusal::internal("the scenario's handler did not answer in time")),
    };
    match staged? {
        Value::Object(fields) => Ok(fields),
        _ => Ok(Fields::new()),
    }
}

impl From<AdcpError> for Refusal {
    fn from(error: AdcpError) -> Self {
        Self::of(&error)
    }
}
