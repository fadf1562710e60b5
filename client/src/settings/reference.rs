//! The reference of all settings, as docs/configuration.md has it.

use super::Setting;

const HEAD: &str = "\
# Settings

Each setting is a flag and an environment variable; the flag wins, then the variable, then, for Temporal, `temporal.toml`.
Durations are written as `500ms`, `10s`, `5m`, `24h`, `7d`. `handoff config`, or `your-seller config`, prints what each one
is now, and from where.

This page is the output of a seller's `config --markdown`; `make docs` writes it anew.
";

const TAIL: &str = "
## Build and tests

These are read by the scripts that build and test Handoff, not by its programs: `HANDOFF_CACHE` (where tools are installed),
`HANDOFF_POSTGRES_BIN`, `HANDOFF_PYTHON`, `HANDOFF_BUYER_PYTHON`, `HANDOFF_BUYER_NODE`, `HANDOFF_BUYER_NODE_MODULES`,
`HANDOFF_ADCP_SCHEMAS`, `HANDOFF_ADCP_VECTORS`, `HANDOFF_TEST_PREVIOUS_LAB_SELLER` (set by `scripts/env`),
`HANDOFF_TEST_POSTGRES_URL`, `HANDOFF_TEST_TEMPORAL` (set by `scripts/with-services`), `HANDOFF_TEST_FUZZ` (how many broken requests), `HANDOFF_TEST_SEED` (which),
`HANDOFF_TEST_PARKED` (how many parked tasks), `HANDOFF_TEST_WEBHOOKS` (how many webhooks that a poll must agree with),
`HANDOFF_TEST_KILLS` (how many purchases whose worker dies).
";

/// The reference, as Markdown.
pub fn markdown(settings: &[Setting]) -> String {
    let mut page = HEAD.to_owned();
    let mut groups: Vec<&str> = Vec::new();
    for setting in settings {
        if !groups.contains(&setting.group.as_str()) {
            groups.push(&setting.group);
        }
    }
    for group in groups {
        page.push_str(&format!("\n## {}\n\n", title(group)));
        page.push_str("| variable | flag | default | meaning |\n|---|---|---|---|\n");
        for setting in settings.iter().filter(|setting| setting.group == group) {
            let cells =
                [code(setting.variable.as_deref()), code(setting.flag.as_deref()), code(setting.default.as_deref())];
            page.push_str(&format!("| {} | {} |\n", cells.join(" | "), escaped(&setting.meaning)));
        }
    }
    page.push_str(TAIL);
    page
}

// A heading is written as it is; commands are named as such.
fn title(group: &str) -> String {
    if group.starts_with(char::is_uppercase) {
        return group.to_owned();
    }
    let commands = group.split(", ").map(|command| format!("`{command}`"));
    format!("Only {}", commands.collect::<Vec<_>>().join(", "))
}

fn code(text: Option<&str>) -> String {
    text.map(|text| format!("`{}`", escaped(text))).unwrap_or_default()
}

fn escaped(text: &str) -> String {
    text.replace('|', "\\|")
}
