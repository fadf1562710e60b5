//! `handoff registry`: which keys the registry's values need, and sealing them with the active one.

use super::{
    args::ResealArgs,
    exit::Exit,
    output::{Output, table},
    problem::Problem,
};
use crate::{ResealReport, Tasks};
use serde_json::{Map, Value, json};

pub(super) async fn reseal(args: ResealArgs, tasks: &Tasks, output: &Output) -> Result<Exit, Problem> {
    let report = tasks.reseal(args.dry_run).await?;
    output.data(&to_json(&report), || {
        let rows = report
            .values
            .iter()
            .map(|(key, values)| [key.clone().unwrap_or_else(|| "(in clear)".to_owned()), values.to_string()]);
        table(&["KEY", "VALUES"], rows)
    });
    let verb = if report.dry_run { "would be" } else { "were" };
    output.talk(&format!("{} tasks, {} {verb} sealed anew", report.tasks, report.resealed));
    if report.unreadable > 0 {
        output.talk(&format!("{} tasks were left as they are: a key of theirs is missing", report.unreadable));
        return Ok(Exit::Unexpected);
    }
    Ok(Exit::Ok)
}

fn to_json(report: &ResealReport) -> Value {
    let keys = report.values.iter().filter_map(|(key, values)| Some((key.clone()?, Value::from(*values))));
    json!({
        "dry_run": report.dry_run,
        "tasks": report.tasks,
        "resealed": report.resealed,
        "unreadable": report.unreadable,
        "values": keys.collect::<Map<_, _>>(),
        "values_in_clear": report.values.get(&None).copied().unwrap_or(0),
    })
}
