//! Every setting, as the command line's own definitions have it: what it is called, what it is unless set, what it means,
//! and what it is now, from where. There is no second list.

mod reference;
mod temporal;
mod unknown;

pub use reference::markdown;
pub use unknown::{UnknownVariable, unknown_variables};

pub(crate) use unknown::of_this_process;

use crate::{TemporalConfig, config::redact_url};
use clap::{Arg, ArgMatches, Command, parser::ValueSource};
use serde::Serialize;
use std::ffi::OsStr;

const HIDDEN: &str = "***";

/// A setting.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Setting {
    /// Its environment variable, if it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub variable: Option<String>,
    /// Its flag, if it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flag: Option<String>,
    /// The heading that it stands under, or the commands that alone have it.
    pub group: String,
    /// What it is unless set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default: Option<String>,
    /// What it means.
    pub meaning: String,
    /// Its value is never shown.
    pub secret: bool,
    #[serde(skip)]
    id: String,
    #[serde(skip)]
    shown: Shown,
}

/// How a value may be shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shown {
    Plain,
    /// Without password and parameters.
    Url,
    Never,
}

/// What a setting is now. Secrets are only said to be there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Effective {
    /// The value; none if there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// Where it is from.
    pub source: Source,
}

/// Where a value is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// The command line.
    Flag,
    /// An environment variable.
    Environment,
    /// Temporal's own configuration file.
    #[serde(rename = "temporal.toml")]
    TemporalToml,
    /// Nobody set it.
    Default,
}

impl Source {
    /// For people.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Flag => "flag",
            Self::Environment => "environment",
            Self::TemporalToml => "temporal.toml",
            Self::Default => "default",
        }
    }
}

/// All settings of a command and its subcommands, then those that only Temporal's SDK reads, in the order of the definitions.
pub fn settings(command: &Command) -> Vec<Setting> {
    let mut found = Vec::new();
    collect(command, "", &mut found);
    found.extend(temporal::settings());
    // Each group in one piece, where it first appears.
    let groups: Vec<String> = found.iter().map(|setting| setting.group.clone()).collect();
    found.sort_by_key(|setting| groups.iter().position(|group| *group == setting.group));
    found
}

/// What each of these settings is in this process. Flags are read from the matches, if they are global.
pub fn effective(settings: &[Setting], matches: &ArgMatches) -> Vec<Effective> {
    let named = |id: &str| matches.try_get_raw(id).ok().flatten().and_then(|mut values| Some(text(values.next()?)));
    let profile = TemporalConfig { profile: named("temporal_profile"), ..TemporalConfig::default() }.load().ok();
    let current = |setting: &Setting| {
        let shown = |value: String| setting.shown(&value);
        let set = |value, source| Effective { value: Some(shown(value)), source };
        if let Some((value, source)) = matched(setting, matches) {
            return set(value, source);
        }
        let variable = setting.variable.as_deref().and_then(std::env::var_os).filter(|value| !value.is_empty());
        if let Some(value) = variable {
            return set(text(&value), Source::Environment);
        }
        let filed = profile.as_ref().zip(setting.variable.as_deref());
        if let Some(value) = filed.and_then(|(profile, variable)| temporal::in_profile(variable, profile)) {
            return set(value, Source::TemporalToml);
        }
        Effective { value: setting.default.clone(), source: Source::Default }
    };
    settings.iter().map(current).collect()
}

fn matched(setting: &Setting, matches: &ArgMatches) -> Option<(String, Source)> {
    let source = match matches.try_contains_id(&setting.id) {
        Ok(true) => match matches.value_source(&setting.id)? {
            ValueSource::CommandLine => Source::Flag,
            ValueSource::EnvVariable => Source::Environment,
            _ => return None,
        },
        _ => return None,
    };
    let values = matches.try_get_raw(&setting.id).ok()??;
    let value = values.map(text).collect::<Vec<_>>().join(",");
    (!value.is_empty()).then_some((value, source))
}

fn text(value: &OsStr) -> String {
    value.to_string_lossy().into_owned()
}

impl Setting {
    fn of(arg: &Arg, group: &str) -> Option<Self> {
        let variable = arg.get_env().map(text);
        if variable.is_none() && arg.get_help_heading().is_none() {
            return None;
        }
        let is_url = arg.get_value_names().is_some_and(|names| names.iter().any(|name| name == "URL"));
        let shown = match (arg.is_hide_env_values_set(), is_url) {
            (false, _) => Shown::Plain,
            (true, true) => Shown::Url,
            (true, false) => Shown::Never,
        };
        let defaults: Vec<String> = arg.get_default_values().iter().map(|value| text(value)).collect();
        let default = (arg.get_action().takes_values() && !defaults.is_empty()).then(|| defaults.join(","));
        let default = default.or_else(|| temporal::default_of(variable.as_deref()?).map(str::to_owned));
        Some(Self {
            variable,
            flag: arg.get_long().map(|long| format!("--{long}")),
            group: arg.get_help_heading().unwrap_or(group).to_owned(),
            default,
            meaning: meaning(arg),
            secret: shown == Shown::Never,
            id: arg.get_id().to_string(),
            shown,
        })
    }

    /// The variable, or else the flag.
    pub fn name(&self) -> &str {
        self.variable.as_deref().or(self.flag.as_deref()).unwrap_or_default()
    }

    /// It stands under a heading; else its group are the commands that alone have it.
    fn has_heading(&self) -> bool {
        self.group.starts_with(char::is_uppercase)
    }

    fn shown(&self, value: &str) -> String {
        match self.shown {
            Shown::Plain => value.to_owned(),
            Shown::Url => redact_url(value),
            Shown::Never => HIDDEN.to_owned(),
        }
    }
}

fn meaning(arg: &Arg) -> String {
    let help = arg.get_long_help().or(arg.get_help()).map(ToString::to_string).unwrap_or_default();
    let values: Vec<String> = arg
        .get_possible_values()
        .iter()
        .filter(|value| !value.is_hide_set())
        .map(|value| value.get_name().to_owned())
        .collect();
    let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
    if values.is_empty() || !arg.get_action().takes_values() {
        help
    } else {
        format!("{help}: {}", values.join(" or "))
    }
}

// Several commands may have the same setting; it is one.
fn collect(command: &Command, path: &str, found: &mut Vec<Setting>) {
    for arg in command.get_arguments() {
        let Some(setting) = Setting::of(arg, path) else { continue };
        match found.iter_mut().find(|known| known.name() == setting.name()) {
            // A heading says more than the commands that have it too.
            Some(known) if known.group != setting.group && !known.has_heading() => {
                known.group = format!("{}, {}", known.group, setting.group);
            }
            Some(_) => {}
            None => found.push(setting),
        }
    }
    for subcommand in command.get_subcommands() {
        let path = format!("{path} {}", subcommand.get_name());
        collect(subcommand, path.trim_start(), found);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Cli;
    use clap::CommandFactory;

    fn shown(line: &[&str], variable: &str) -> (Option<String>, Source) {
        let command = Cli::command();
        let settings = settings(&command);
        let matches = command.get_matches_from([&["handoff"], line, &["doctor"]].concat());
        let values = effective(&settings, &matches);
        let place = settings.iter().position(|setting| setting.name() == variable).unwrap();
        (values[place].value.clone(), values[place].source)
    }

    #[test]
    fn every_setting_says_what_it_means() {
        for setting in settings(&Cli::command()) {
            assert!(!setting.meaning.is_empty() && !setting.group.is_empty(), "{setting:?}");
        }
    }

    #[test]
    fn flags_win_and_secrets_are_not_shown() {
        let (value, source) = shown(&["--sync-deadline", "7s"], "HANDOFF_SYNC_DEADLINE");
        assert_eq!((value.as_deref(), source), (Some("7s"), Source::Flag));
        let (value, source) = shown(&[], "HANDOFF_TASK_QUEUE");
        assert_eq!((value.as_deref(), source), (Some("handoff"), Source::Default));
        let (value, _) = shown(&["--registry", "postgres://u:s3cret@db/h"], "HANDOFF_REGISTRY_URL");
        assert_eq!(value.as_deref(), Some("postgres://u:***@db/h"));
        let (value, _) = shown(&["--encryption-keys", "k://s3cret"], "HANDOFF_ENCRYPTION_KEYS");
        assert_eq!(value.as_deref(), Some("***"));
    }

    #[test]
    fn one_setting_of_several_commands_is_one() {
        let settings = settings(&Cli::command());
        let actors: Vec<_> = settings.iter().filter(|setting| setting.name() == "HANDOFF_ACTOR").collect();
        assert_eq!(actors.len(), 1);
        assert_eq!(actors[0].group, "task complete, task fail, task cancel, task progress, proposal release");
    }
}
