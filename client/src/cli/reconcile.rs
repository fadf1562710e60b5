//! `handoff reconcile`.

use super::{
    args::ReconcileArgs,
    exit::Exit,
    output::{Output, table},
    problem::Problem,
};
use crate::{Handoff, ReconcileAction, ReconciledRequest, ReconciledWebhook, RedeliverAction, RunSeen};
use handoff_proto::v1::TaskRef;
use handoff_store::ObservedStage;
use serde_json::{Value, json};

// How far a task is whose webhook is told yet.
const WEBHOOK: &str = "webhook";

pub(super) async fn run(args: ReconcileArgs, handoff: &Handoff, output: &Output) -> Result<Exit, Problem> {
    let report = handoff.reconcile(args.dry_run, args.min_age).await?;
    let requests = report.requests.iter().map(to_json).collect::<Value>();
    let webhooks = report.webhooks.iter().map(webhook_json).collect::<Value>();
    output.data(&json!({"dry_run": report.dry_run, "requests": requests, "webhooks": webhooks}), || {
        let row = |task: &TaskRef, stage: &str, run: &RunSeen, action: String| {
            [task.task_id.clone(), task.verb.clone(), stage.to_owned(), run.to_string(), action]
        };
        let requests = report
            .requests
            .iter()
            .map(|request| row(&request.task, stage(request.stage), &request.run, request.action.to_string()));
        let webhooks =
            report.webhooks.iter().map(|webhook| row(&webhook.task, WEBHOOK, &webhook.run, webhook.action.to_string()));
        let done = if report.dry_run { "WOULD BE" } else { "WAS" };
        table(&["TASK", "VERB", "STAGE", "RUN", done], requests.chain(webhooks))
    });
    let left = report.count(&ReconcileAction::Left);
    output.talk(&format!("{} unfinished, {left} left alone", report.requests.len()));
    if !report.webhooks.is_empty() {
        let told = report.webhooks.iter().filter(|webhook| webhook.action == RedeliverAction::Redelivered).count();
        output.talk(&format!("{} webhooks pending, {told} without a run", report.webhooks.len()));
    }
    Ok(if report.is_partial() { Exit::Unavailable } else { Exit::Ok })
}

fn to_json(request: &ReconciledRequest) -> Value {
    let mut shown = seen_json(&request.task, stage(request.stage), &request.run);
    match &request.action {
        ReconcileAction::Skipped { reason } => skipped(&mut shown, reason),
        action => shown["action"] = action.to_string().into(),
    }
    shown
}

fn webhook_json(webhook: &ReconciledWebhook) -> Value {
    let mut shown = seen_json(&webhook.task, WEBHOOK, &webhook.run);
    match &webhook.action {
        RedeliverAction::Skipped { reason } => skipped(&mut shown, reason),
        action => shown["action"] = action.to_string().into(),
    }
    shown
}

fn seen_json(task: &TaskRef, stage: &str, run: &RunSeen) -> Value {
    json!({
        "task_id": task.task_id,
        "task_type": task.verb,
        "account": task.scope,
        "principal": task.principal,
        "stage": stage,
        "run": run.to_string(),
    })
}

fn skipped(shown: &mut Value, reason: &str) {
    shown["action"] = "skipped".into();
    shown["reason"] = reason.into();
}

fn stage(stage: ObservedStage) -> &'static str {
    match stage {
        ObservedStage::Claimed => "claimed",
        ObservedStage::Leased => "leased",
        ObservedStage::Lapsed => "lapsed",
        ObservedStage::Pending => "pending",
        ObservedStage::Submitted => "submitted",
    }
}
