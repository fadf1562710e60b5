//! `handoff config`.

use super::{CommandLine, args::ShowConfigArgs, exit::Exit, output::Output};
use crate::settings::{self, Effective, Setting};
use serde_json::{Value, json};

pub(super) fn run(args: &ShowConfigArgs, line: &CommandLine, output: &Output) -> Exit {
    let settings = settings::settings(&line.definition);
    if args.markdown {
        output.data(&Value::Null, || settings::markdown(&settings).trim_end().to_owned());
        return Exit::Ok;
    }
    let values = settings::effective(&settings, &line.matches);
    let unknown = settings::unknown_variables(settings::of_this_process());
    let as_json = json!({"settings": merged(&settings, &values), "unknown": unknown});
    output.data(&as_json, || shown(&settings, &values));
    for unknown in unknown {
        output.talk(&format!("warning: {unknown}"));
    }
    Exit::Ok
}

fn merged(settings: &[Setting], values: &[Effective]) -> Vec<Value> {
    let one = |(setting, value): (&Setting, &Effective)| {
        let mut merged = json!(setting);
        merged["value"] = json!(value.value);
        merged["source"] = json!(value.source);
        merged
    };
    settings.iter().zip(values).map(one).collect()
}

fn shown(settings: &[Setting], values: &[Effective]) -> String {
    let mut lines = Vec::new();
    let mut group = "";
    for (setting, value) in settings.iter().zip(values) {
        if setting.group != group {
            group = &setting.group;
            if !lines.is_empty() {
                lines.push(String::new());
            }
            lines.push(group.to_owned());
        }
        let now = value.value.as_deref().unwrap_or("-");
        lines.push(format!("  {} = {now}  ({})", setting.name(), value.source.as_str()));
        let also = setting.variable.as_ref().and(setting.flag.as_ref());
        let also = also.map(|flag| format!("{flag}: ")).unwrap_or_default();
        let default = setting.default.as_ref().map(|default| format!(" [default: {default}]")).unwrap_or_default();
        lines.push(format!("      {also}{}{default}", setting.meaning));
    }
    lines.join("\n")
}
