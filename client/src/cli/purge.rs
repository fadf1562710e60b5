//! `handoff purge`.

use super::{
    args::PurgeArgs,
    exit::Exit,
    output::{Output, table},
    problem::Problem,
};
use crate::{Config, Error, Handoff, HousekeepingSettings, PurgeAction, PurgedRequest};
use chrono::{DateTime, SecondsFormat};
use serde_json::{Value, json};

pub(super) async fn run(args: PurgeArgs, config: Config, output: &Output) -> Result<Exit, Problem> {
    // What the schedule would not purge, no command does.
    let ages = HousekeepingSettings {
        retention: args.older_than,
        tombstone_retention: args.tombstones_older_than,
        ..HousekeepingSettings::default()
    };
    ages.check(config.idempotency_ttl).map_err(Error::from)?;
    let handoff = Handoff::connect(config).await?;
    let report = handoff.purge(args.dry_run, args.older_than, args.tombstones_older_than).await?;
    let requests = report.requests.iter().map(to_json).collect::<Value>();
    let purged = report.count(&PurgeAction::Purged);
    let forgotten = report.count(&PurgeAction::Forgotten);
    let kept = report.count(&PurgeAction::Kept);
    let shown = json!({
        "dry_run": report.dry_run, "purged": purged, "forgotten": forgotten, "kept": kept, "requests": requests,
    });
    output.data(&shown, || {
        let rows = report.requests.iter().map(|request| {
            let task = &request.task;
            [task.task_id.clone(), task.verb.clone(), time(request.updated_at), request.action.to_string()]
        });
        table(&["TASK", "VERB", "SINCE", if report.dry_run { "WOULD BE" } else { "WAS" }], rows)
    });
    output.talk(&format!("{purged} purged, {forgotten} forgotten, {kept} kept because their run is open"));
    Ok(if report.is_partial() { Exit::Unavailable } else { Exit::Ok })
}

fn to_json(request: &PurgedRequest) -> Value {
    let task = &request.task;
    let mut shown = json!({
        "task_id": task.task_id,
        "task_type": task.verb,
        "account": task.scope,
        "principal": task.principal,
        "since": time(request.updated_at),
    });
    match &request.action {
        PurgeAction::Skipped { reason } => {
            shown["action"] = "skipped".into();
            shown["reason"] = reason.clone().into();
        }
        action => shown["action"] = action.to_string().into(),
    }
    shown
}

fn time(micros: i64) -> String {
    let time = DateTime::from_timestamp_micros(micros).unwrap_or_default();
    time.to_rfc3339_opts(SecondsFormat::Secs, true)
}
