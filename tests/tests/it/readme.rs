//! The README's commands do what it says. (Its Rust code is a documentation test of the crate `handoff`.)

use handoff_tests::{Kind, World, binary};
use std::path::Path;
use tokio::process::Command;

/// The README's blocks of this language.
fn blocks(language: &str) -> Vec<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let readme = std::fs::read_to_string(root.join("README.md")).expect("the README");
    readme
        .split("```")
        .skip(1)
        .step_by(2)
        .filter_map(|block| block.strip_prefix(language)?.strip_prefix('\n').map(str::to_owned))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_command_in_the_readme_works() {
    let world = World::new(Kind::Sqlite).await.unwrap();
    let acme = tempfile::tempdir().unwrap();
    let _worker = Command::new(binary("acme-seller"))
        .arg("worker")
        .envs(world.environment())
        .env("ACME_DATA_DIR", acme.path())
        .env("HANDOFF_LOG", "off")
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let script = blocks("sh").join("\n");
    assert!(script.contains("handoff task complete"), "the README has its commands: {script}");
    let path = format!("{}:{}", binary("handoff").parent().unwrap().display(), std::env::var("PATH").unwrap());
    let done = Command::new("bash")
        .args(["-euxo", "pipefail", "-c", &script])
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(".."))
        .envs(world.environment())
        .env("PATH", path)
        .output()
        .await
        .unwrap();
    let (out, log) = (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    assert!(done.status.success(), "{out}\n{log}");
    assert!(out.contains("accepted") && out.contains("ana@acme.example"), "{out}");
}
