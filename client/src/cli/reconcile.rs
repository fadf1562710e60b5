//! `handoff reconcile`.

use super::{
    args::ReconcileArgs,
    exit::Exit,
    output::{Output, table},
    problem::Problem,
};
use crate::{Handoff, ReconcileAction, ReconciledRequest};
use handoff_store::ObservedStage;
use serde_json::{Value, json};

pub(super) async fn run(args: ReconcileArgs, handoff: &Handoff, output: &Output) -> Result<Exit, Problem> {
    let report = handoff.reconcile(args.dry_run, args.min_age).await?;
    let requests = report.requests.iter().map(to_json).collect::<Value>();
    output.data(&json!({"dry_run": report.dry_run, "requests": requests}), || {
        let rows = report.requests.iter().map(|request| {
            let task = &request.task;
            let seen = request.run.to_string();
            [task.task_id.clone(), task.verb.clone(), stage(request.stage).into(), seen, request.action.to_string()]
        });
        table(&["TASK", "VERB", "STAGE", "RUN", if report.dry_run { "WOULD BE" } else { "WAS" }], rows)
    });
    let left = report.count(&ReconcileAction::Left);
    output.talk(&format!("{} unfinished, {left} left alone", report.requests.len()));
    Ok(if report.is_partial() { Exit::Unavailable } else { Exit::Ok })
}

fn to_json(request: &ReconciledRequest) -> Value {
    let task = &request.task;
    let mut shown = json!({
        "task_id": task.task_id,
        "task_type": task.verb,
        "account": task.scope,
        "principal": task.principal,
        "stage": stage(request.stage),
        "run": request.run.to_string(),
    });
    match &request.action {
        ReconcileAction::Skipped { reason } => {
            shown["action"] = "skipped".into();
            shown["reason"] = reason.clone().into();
        }
        action => shown["action"] = action.to_string().into(),
    }
    shown
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
