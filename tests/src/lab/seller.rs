//! The handlers of the lab seller. A request says in `lab` what is to happen:
//!
//! - `arm`: complete, task, workflow, refuse
//! - `show`: the name of a field; what the handler gets of it is written down
//! - `see`: a proposal's id; what the handler sees of it, or of the one that it buys, is written down
//! - `hold`: handler name (`decide`, `work`, `review`, `tool`), or `step-N`, to gate name
//! - `blocks`: `work` blocks a thread for ever
//! - `later`: what `decide` is told instead from its second attempt on
//! - `panics`: handler name to the number of attempts that panic
//! - `die_in`: a handler name (`decide`, `work`, `review`, `tool`); once, by SIGKILL
//! - `steps`; `fails`: attempts of `work` that fail, with `recovery`
//! - `review`: wilco, roger, unable, error
//! - `deadline_ms`, `remind_ms`, `escalate_ms`, `at_once`
//! - `approval`: what a review in the sandbox approves itself with
//! - `error_bytes`: of the details of every error
//! - `result`: any value; or `result_json`, its text; or `result_bytes` times `filler`
//!
//! A result of [`HOOKED_VERB`] says in `ext` what its hook does: `hold` a gate's name, `fail` or `fail_once` an error's recovery,
//! `die_once`, `panic`.

use super::{Calls, calls::die};
use handoff::{
    prelude::*,
    seller::{Handlers, tool},
};
use handoff_proto::verbs::VERBS;
use std::time::Duration;

/// A verb whose handler is registered as quick; the others are regular.
pub const QUICK_VERB: &str = "update_media_buy";

/// Verbs of different protocols and key rules, for tests that run over several.
pub const LAB_VERBS: [&str; 4] = ["create_media_buy", QUICK_VERB, "sync_creatives", "get_signals"];

/// A verb with hooks.
pub const HOOKED_VERB: &str = "sync_catalogs";

/// How long a handler's worker may be silent. A busy machine must not take a slow worker for a dead one.
pub const HEARTBEAT_TIMEOUT: Duration = Duration::from_secs(5);

/// A plain tool that needs a key, and must not be called again when nobody knows what it did.
pub const TOOL: &str = "sync_accounts";

/// One that may be.
pub const RERUNNABLE_TOOL: &str = "sync_governance";

/// A plain tool that reads, and needs no key.
pub const READING_TOOL: &str = "get_media_buys";

/// The lab seller's handlers.
pub fn handlers(calls: Calls) -> Handlers {
    seller(calls).into_handlers().expect("the lab seller is wired well")
}

/// The lab seller.
pub fn seller(calls: Calls) -> Seller<Calls> {
    let mut seller = Seller::new("lab-seller", calls.clone());
    for known in VERBS {
        let registration = verb(decide)
            .hands_off_to(["work", "review"])
            .answers_at_once_if(|_, request| async move { request["lab"]["at_once"] == true });
        let registration = match known.name {
            QUICK_VERB | "accept_proposal" => registration.quick(),
            HOOKED_VERB => registration.on_complete(hook).on_failure(failure_hook),
            "create_media_buy" => registration.on_failure(failure_hook),
            _ => registration,
        };
        seller = seller.verb(known.name, registration);
    }
    let (completed, failed, canceled, reminded, overdue, discarded) =
        (calls.clone(), calls.clone(), calls.clone(), calls.clone(), calls.clone(), calls);
    seller
        .tool(TOOL, answer)
        .tool(RERUNNABLE_TOOL, tool(answer).rerunnable())
        .tool(READING_TOOL, answer)
        .scenario("seed_product", stage)
        .scenario("force_media_buy_status", stage)
        .scenario("a_labs_own", stage)
        .scenario("compact_product_lifecycle_probe", stage)
        .task(
            "work",
            task(work)
                .retry(Duration::from_millis(50), Duration::from_millis(200), 5)
                .heartbeat_timeout(HEARTBEAT_TIMEOUT),
        )
        .enqueue(
            "review",
            enqueue(review)
                .attempt_timeout(Duration::from_secs(4))
                .retry(Duration::from_millis(50), Duration::from_millis(500)),
        )
        .on(move |event: TaskCompleted| {
            let status = event.result["status"].as_str().unwrap_or_default().to_owned();
            record(completed.clone(), "completed", event.task.task_id, status)
        })
        .on(move |event: TaskFailed| record(failed.clone(), "failed", event.task.task_id, event.error.code))
        .on(move |event: TaskCanceled| record(canceled.clone(), "canceled", event.task.task_id, event.actor))
        .on(move |event: ReviewReminder| {
            record(reminded.clone(), "reminded", event.task.task_id, event.number.to_string())
        })
        .on(move |event: ReviewOverdue| record(overdue.clone(), "overdue", event.task.task_id, String::new()))
        .on(move |event: DecisionDiscarded| record(discarded.clone(), "discarded", event.task.task_id, String::new()))
}

async fn answer(context: Context<Calls>, request: Value) -> Result<Value, AdcpError> {
    let lab = request["lab"].clone();
    show(&context, &request);
    enter(&context, "tool", &lab).await;
    if lab["arm"] == "refuse" {
        return Err(AdcpError::transient("SERVICE_UNAVAILABLE", "Not now."));
    }
    let executed = json!({"execution": context.idempotency_token()});
    Ok(lab.get("result").cloned().unwrap_or_else(|| json!({"accounts": [], "media_buys": [], "ext": executed})))
}

// The parameters say what comes of them: `answer`, `error` with its `code`, or `panic`.
async fn stage(context: Context<Calls>, params: Value) -> Result<Value, AdcpError> {
    let who = json!({"account": context.account, "principal": context.principal, "sandbox": context.sandbox});
    context.state().record("stage", "scenario", &who.to_string());
    assert_ne!(params["panic"], true, "the lab was told to panic");
    if let Some(code) = params["error"].as_str() {
        let details = json!({"current_state": params["current_state"]});
        return Err(AdcpError::correctable(code, "It can't be staged.").details(details));
    }
    Ok(params["answer"].clone())
}

fn show(context: &Context<Calls>, request: &Value) {
    if let Some(field) = request["lab"]["show"].as_str() {
        context.state().record("shown", &context.task_id, &request[field].to_string());
    }
}

fn see(context: &Context<Calls>, lab: &Value) {
    let Some(proposal_id) = lab["see"].as_str() else { return };
    let named =
        context.named_proposal(proposal_id).map(|named| json!({"state": named.state.as_str(), "body": named.body}));
    let seen = json!({"buys": context.proposal(), "names": named});
    context.state().record("seen", &context.task_id, &seen.to_string());
}

async fn decide(context: Context<Calls>, request: Value) -> Result<Decision, AdcpError> {
    let lab = &request["lab"];
    let lab = lab.get("later").filter(|_| context.attempt > 1).unwrap_or(lab).clone();
    show(&context, &request);
    see(&context, &lab);
    enter(&context, "decide", &lab).await;
    let input = json!({"lab": lab});
    match lab["arm"].as_str().unwrap_or("complete") {
        "task" => Ok(Decision::handoff_to_task("work", input)),
        "workflow" => {
            let mut decision = Decision::handoff_to_workflow("review", input);
            if let Some(deadline) = millis(&lab["deadline_ms"]) {
                decision = decision.deadline(deadline);
            }
            for reminder in lab["remind_ms"].as_array().into_iter().flatten().filter_map(millis) {
                decision = decision.remind_after(reminder);
            }
            if let Some(result) = lab.get("approval") {
                decision = decision.sandbox_approval(result);
            }
            Ok(match millis(&lab["escalate_ms"]) {
                Some(after) => decision.escalate_after(after),
                None => decision,
            })
        }
        "refuse" => {
            let error = AdcpError::correctable("BUDGET_TOO_LOW", "The budget is too low.");
            Err(detailed(error.field("total_budget.amount"), &lab))
        }
        _ => Ok(Decision::complete(result(&lab, &context.task_id))),
    }
}

async fn work(context: TaskContext<Calls>, input: Value) -> Result<Value, AdcpError> {
    let lab = input["lab"].clone();
    enter(&context, "work", &lab).await;
    let fails = u32::try_from(lab["fails"].as_u64().unwrap_or(0)).unwrap_or(0);
    if context.attempt <= fails {
        let message = "The order system is away.";
        return Err(match lab["recovery"].as_str() {
            Some("transient") => detailed(AdcpError::transient("SERVICE_UNAVAILABLE", message), &lab),
            _ => detailed(AdcpError::correctable("POLICY_VIOLATION", message), &lab),
        });
    }
    let steps = u32::try_from(lab["steps"].as_u64().unwrap_or(0)).unwrap_or(0);
    let done: u32 = context.last_heartbeat().unwrap_or(0);
    for step in done + 1..=steps {
        context.progress(Progress::step(step, steps, format!("step {step}"))).await;
        context.state().record("step", &context.task_id, &step.to_string());
        context.heartbeat(step).await?;
        if let Some(gate) = lab["hold"][format!("step-{step}")].as_str() {
            tokio::select! {
                () = context.state().pass(gate) => {}
                () = context.cancelled() => return Err(stopped(&context)),
            }
        }
    }
    if lab["blocks"] == true {
        let (calls, task_id) = (context.state().clone(), context.task_id.clone());
        let blocked = tokio::task::spawn_blocking(move || {
            calls.record("blocked", &task_id, "");
            loop {
                std::thread::park();
            }
        });
        tokio::select! {
            _ = blocked => {}
            () = context.cancelled() => return Err(stopped(&context)),
        }
    }
    context.state().record("returned", &context.task_id, &context.attempt.to_string());
    Ok(result(&lab, &context.task_id))
}

fn stopped(context: &TaskContext<Calls>) -> AdcpError {
    context.state().record("stopped", &context.task_id, "");
    AdcpError::transient("CANCELED", "stopped")
}

async fn review(context: Context<Calls>, input: Value) -> Result<Acknowledgement, AdcpError> {
    let lab = input["lab"].clone();
    enter(&context, "review", &lab).await;
    match lab["review"].as_str().unwrap_or("wilco") {
        "roger" => Ok(Acknowledgement::roger()),
        "unable" => {
            Ok(Acknowledgement::unable(AdcpError::transient("RATE_LIMITED", "The desk is full.").retry_after(30)))
        }
        "error" => Err(detailed(AdcpError::correctable("POLICY_VIOLATION", "The desk does not take this."), &lab)),
        "slow_once" if context.attempt == 1 => {
            std::future::pending::<()>().await;
            Ok(Acknowledgement::wilco())
        }
        _ => Ok(Acknowledgement::wilco()),
    }
}

// What every handler does first, as the request has it for this handler.
async fn enter(context: &Context<Calls>, handler: &str, lab: &Value) {
    let calls = context.state();
    calls.record(handler, &context.task_id, &context.attempt.to_string());
    if lab["die_in"] == handler && calls.first_time(&format!("{handler}-{}", context.task_id)) {
        die();
    }
    if let Some(gate) = lab["hold"][handler].as_str() {
        calls.pass(gate).await;
    }
    let panics = lab["panics"][handler].as_u64().unwrap_or(0);
    assert!(u64::from(context.attempt) > panics, "the lab was told to panic");
}

fn hook(context: HookContext<Calls>, result: Value) -> impl Future<Output = Result<(), AdcpError>> + Send {
    assert_ne!(result["ext"]["panic"], "at once", "the lab was told to panic");
    take_note(context, result)
}

async fn take_note(context: HookContext<Calls>, result: Value) -> Result<(), AdcpError> {
    let (calls, task_id) = (context.state(), context.idempotency_token());
    calls.record("on_complete", task_id, "");
    let told = &result["ext"];
    if let Some(gate) = told["hold"].as_str() {
        calls.pass(gate).await;
    }
    if told["die_once"] == true && calls.first_time(&format!("hook-{task_id}")) {
        die();
    }
    assert_ne!(told["panic"], true, "the lab was told to panic");
    let once = told["fail_once"].as_str().filter(|_| calls.first_time(&format!("hook-{task_id}")));
    match told["fail"].as_str().or(once) {
        Some("transient") => Err(AdcpError::transient("SERVICE_UNAVAILABLE", "The ledger is away.")),
        Some(_) => Err(AdcpError::correctable("POLICY_VIOLATION", "The ledger does not take this.")),
        None => Ok(()),
    }
}

async fn failure_hook(context: HookContext<Calls>, failure: Failure) {
    let what = match failure {
        Failure::Refused(error) => format!("refused {}", error.code),
        Failure::Failed(error) => format!("failed {}", error.code),
        Failure::Rejected(result) => format!("rejected {}", result["reason"]),
        Failure::Canceled { actor, .. } => format!("canceled {actor}"),
        _ => "unknown".to_owned(),
    };
    context.state().record("on_failure", context.idempotency_token(), &what);
}

async fn record(calls: Calls, what: &'static str, task_id: String, detail: String) -> Acknowledgement {
    calls.record(what, &task_id, &detail);
    Acknowledgement::roger()
}

fn result(lab: &Value, task_id: &str) -> Value {
    if let Some(result) = lab.get("result") {
        return result.clone();
    }
    if let Some(text) = lab["result_json"].as_str() {
        return serde_json::from_str(text).expect("the lab's result is JSON");
    }
    let bytes = usize::try_from(lab["result_bytes"].as_u64().unwrap_or(0)).unwrap_or(0);
    let filler = lab["filler"].as_str().unwrap_or("x").repeat(bytes);
    json!({"media_buy_id": format!("mb_{task_id}"), "ext": {"filler": filler}})
}

fn detailed(error: AdcpError, lab: &Value) -> AdcpError {
    match lab["error_bytes"].as_u64().and_then(|bytes| usize::try_from(bytes).ok()) {
        Some(bytes) => error.details(json!({"filler": "x".repeat(bytes)})),
        None => error,
    }
}

fn millis(value: &Value) -> Option<Duration> {
    value.as_u64().map(Duration::from_millis)
}
