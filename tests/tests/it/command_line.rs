//! What the programs say about themselves: settings, errors, completions.

use handoff_tests::binary;
use serde_json::Value;
use std::{path::Path, process::Output};
use tokio::process::Command;

async fn output(program: &str, arguments: &[&str], environment: &[(&str, &str)]) -> String {
    let done = ran(program, arguments, environment).await;
    assert!(done.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).unwrap()
}

async fn ran(program: &str, arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    let directory = tempfile::tempdir().unwrap();
    let mut command = Command::new(binary(program));
    command.args(arguments).current_dir(directory.path()).envs(environment.iter().copied());
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("HANDOFF_") || name.starts_with("TEMPORAL_"))
    {
        if !environment.iter().any(|(set, _)| *set == name) {
            command.env_remove(name);
        }
    }
    command.output().await.unwrap()
}

#[tokio::test]
async fn a_buyer_names_the_seller_by_variable_or_flag() {
    let buyer = ["buyer", "tools"];
    let nobody = ran("handoff", &buyer, &[]).await;
    let said = String::from_utf8_lossy(&nobody.stderr).into_owned();
    assert!(nobody.status.code() == Some(2) && said.contains("--seller"), "{said}");
    // Nobody listens there.
    let named = [("HANDOFF_BUYER_URL", "http://127.0.0.1:9/mcp")];
    let flag = ["buyer", "tools", "--seller", "http://127.0.0.1:9/mcp"];
    for away in [ran("handoff", &buyer, &named).await, ran("handoff", &flag, &[]).await] {
        let said = String::from_utf8_lossy(&away.stderr).into_owned();
        assert!(away.status.code() == Some(6) && said.contains("can't be reached"), "{said}");
    }
}

#[tokio::test]
async fn the_reference_of_settings_is_what_the_program_prints() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/configuration.md");
    let written = std::fs::read_to_string(page).unwrap();
    assert_eq!(output("hello-seller", &["config", "--markdown"], &[]).await, written, "run `make docs`");
}

#[tokio::test]
async fn each_setting_has_its_value_and_its_source() {
    let directory = tempfile::tempdir().unwrap();
    let toml = directory.path().join("temporal.toml");
    let profile = "[profile.default]\naddress = \"temporal.example:7233\"\napi_key = \"s3cret\"\n";
    std::fs::write(&toml, profile).unwrap();
    let environment = [
        ("TEMPORAL_CONFIG_FILE", toml.to_str().unwrap()),
        ("HANDOFF_REGISTRY_URL", "postgres://u:s3cret@db/h?password=s3cret"),
        ("HANDOFF_ENCRYPTION_KEYS", "k:s3cret"),
        ("HANDOFF_CODEC_TOKEN", "s3cret"),
        ("HANDOFF_STICKY_TIMEOUT", "3s"),
    ];
    let arguments = ["--sync-deadline", "7s", "config", "--json"];
    let shown = output("hello-seller", &arguments, &environment).await;
    assert!(!shown.contains("s3cret"), "{shown}");
    let shown: Value = serde_json::from_str(&shown).unwrap();
    for (variable, value, source) in [
        ("HANDOFF_SYNC_DEADLINE", "7s", "flag"),
        ("HANDOFF_REGISTRY_URL", "postgres://u:***@db/h", "environment"),
        ("HANDOFF_ENCRYPTION_KEYS", "***", "environment"),
        ("HANDOFF_CODEC_TOKEN", "***", "environment"),
        ("HANDOFF_STICKY_TIMEOUT", "3s", "environment"),
        ("HANDOFF_MAX_CACHED_WORKFLOWS", "1000", "default"),
        ("HANDOFF_DATA_DIR", ".handoff", "default"),
        ("TEMPORAL_ADDRESS", "temporal.example:7233", "temporal.toml"),
        ("TEMPORAL_API_KEY", "***", "temporal.toml"),
    ] {
        let settings = shown["settings"].as_array().unwrap();
        let setting = settings.iter().find(|setting| setting["variable"] == variable);
        let setting = setting.unwrap_or_else(|| panic!("{variable} is missing"));
        assert_eq!((setting["value"].as_str(), setting["source"].as_str()), (Some(value), Some(source)), "{variable}");
    }
    let text = output("handoff", &["config"], &environment).await;
    assert!(text.contains("HANDOFF_ENCRYPTION_KEYS = ***  (environment)") && !text.contains("s3cret"), "{text}");
}

#[tokio::test]
async fn errors_are_explained() {
    let page = output("handoff", &["explain", "X_HANDOFF_RUN_LOST"], &[]).await;
    assert!(page.contains("## Is a retry safe?"), "{page}");
    let all = output("hello-seller", &["explain"], &[]).await;
    assert!(handoff_proto::errors::CODES.iter().all(|code| all.contains(code)), "{all}");
}

#[tokio::test]
async fn completions_load_and_complete() {
    for (program, words, expected) in
        [("handoff", "handoff task co", "complete"), ("hello-seller", "hello-seller de", "dev")]
    {
        let script = output(program, &["completions", "bash"], &[]).await;
        let ask = format!(
            "{script}\nCOMP_WORDS=({words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))\n\
             function=$(complete -p {program} | sed 's/.*-F \\([^ ]*\\).*/\\1/')\n\
             \"$function\" {program} \"${{COMP_WORDS[COMP_CWORD]}}\" \"${{COMP_WORDS[COMP_CWORD - 1]}}\"\n\
             printf '%s\\n' \"${{COMPREPLY[@]}}\""
        );
        // Longer than an argument may be.
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), ask).unwrap();
        let done = Command::new("bash").arg("--norc").arg(file.path()).output().await.unwrap();
        let completed = String::from_utf8_lossy(&done.stdout).into_owned();
        let problem = String::from_utf8_lossy(&done.stderr).into_owned();
        assert!(completed.lines().any(|word| word == expected), "{completed}{problem}");
    }
    for (shell, check) in [("zsh", "-n"), ("fish", "--no-execute")] {
        let script = output("handoff", &["completions", shell], &[]).await;
        assert!(script.contains("doctor"), "{shell}");
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), script).unwrap();
        // Only where there is such a shell.
        if let Ok(done) = Command::new(shell).arg(check).arg(file.path()).output().await {
            assert!(done.status.success(), "{shell}: {}", String::from_utf8_lossy(&done.stderr));
        }
    }
}
