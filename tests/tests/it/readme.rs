//! The README's code is the code of hello-seller, and its commands do what it says.

use handoff_tests::{Kind, Schemas, World, binary};
use serde_json::{Value, json};
use std::{
    path::{Path, PathBuf},
    process::Output,
};
use tokio::process::Command;

const TUTORIAL: &str = "Write a seller";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The README's sections, each with its title.
fn sections() -> Vec<(String, String)> {
    let readme = std::fs::read_to_string(root().join("README.md")).expect("the README");
    let titled = |section: &str| section.split_once('\n').map(|(title, text)| (title.to_owned(), text.to_owned()));
    readme.split("\n## ").skip(1).filter_map(titled).collect()
}

/// The blocks of this language in the sections of which this is true.
fn blocks(language: &str, wanted: impl Fn(&str) -> bool) -> Vec<String> {
    let fence = format!("```{language}\n");
    sections()
        .iter()
        .filter(|(title, _)| wanted(title))
        .flat_map(|(_, text)| text.split(&fence).skip(1).map(|rest| rest.split("```").next().unwrap().to_owned()))
        .collect()
}

/// Runs commands as a reader would, in this world.
async fn run(world: &World, commands: &[String]) -> Output {
    let path = format!("{}:{}", binary("handoff").parent().unwrap().display(), std::env::var("PATH").unwrap());
    Command::new("bash")
        .args(["-euxo", "pipefail", "-c", &commands.join("\n")])
        .current_dir(root())
        .envs(world.environment())
        .env("PATH", path)
        .output()
        .await
        .unwrap()
}

fn worker(world: &World, seller: &str) -> Command {
    let mut command = Command::new(binary(seller));
    command.arg("worker").envs(world.environment()).env("HANDOFF_LOG", "off").kill_on_drop(true);
    command
}

#[tokio::test(flavor = "multi_thread")]
async fn every_command_in_the_readme_works() {
    let world = World::new(Kind::Sqlite).await.unwrap();
    let acme = tempfile::tempdir().unwrap();
    let _worker = worker(&world, "acme-seller").env("ACME_DATA_DIR", acme.path()).spawn().unwrap();
    let commands = blocks("sh", |title| title != TUTORIAL);
    assert!(commands.concat().contains("handoff task complete"), "the README has its commands: {commands:?}");
    let done = run(&world, &commands).await;
    let (out, log) = (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    assert!(done.status.success(), "{out}\n{log}");
    assert!(out.contains("accepted") && out.contains("ana@acme.example"), "{out}");
}

#[test]
fn the_tutorial_builds_hello_seller() {
    let code = std::fs::read_to_string(root().join("examples/hello-seller/src/main.rs")).unwrap();
    assert_eq!(blocks("rust", |title| title == TUTORIAL).join("\n"), code);
    assert!(code.lines().count() < 60);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_tutorials_commands_work_and_its_answers_are_the_protocols() {
    let world = World::new(Kind::Sqlite).await.unwrap();
    let _worker = worker(&world, "hello-seller").spawn().unwrap();
    let commands = blocks("sh", |title| title == TUTORIAL);
    let done = run(&world, &commands).await;
    let (out, log) = (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    assert!(done.status.success(), "{out}\n{log}");
    assert!(out.contains("accepted") && out.contains("poster"), "{out}");

    // The same requests again, to see the answers themselves.
    let call = |verb: &str| {
        format!(
            "handoff --json verb call {verb} --file examples/hello-seller/requests/{verb}.json --account a --principal p"
        )
    };
    let schemas = Schemas::find().expect("the protocol's schemas");
    for (verb, schema) in [
        ("get_products", "media-buy/get-products-response.json"),
        ("sync_creatives", "creative/sync-creatives-response.json"),
        ("create_media_buy", "media-buy/create-media-buy-response.json"),
    ] {
        let done = run(&world, &[call(verb)]).await;
        let answer: Value = serde_json::from_slice(&done.stdout).unwrap();
        schemas.check(schema, &answer);
        let request = root().join(format!("examples/hello-seller/requests/{verb}.json"));
        let request: Value = serde_json::from_slice(&std::fs::read(request).unwrap()).unwrap();
        schemas.check(&schema.replace("-response", "-request"), &request);
    }
    for (file, status) in [("approval.json", "completed"), ("rejection.json", "rejected")] {
        let decided = std::fs::read(root().join("examples/hello-seller").join(file)).unwrap();
        let mut decided: Value = serde_json::from_slice(&decided).unwrap();
        // The engine says that of an approval.
        decided["status"] = json!(status);
        schemas.check("media-buy/create-media-buy-response.json", &decided);
    }
}

/// A crate outside this workspace, with the README's manifest and the tutorial's code: its dependencies resolve, and the code
/// compiles with nothing but `handoff`. Compiled against what is built already, because building it anew takes minutes.
#[tokio::test(flavor = "multi_thread")]
async fn a_crate_of_its_own_needs_nothing_but_handoff() {
    let directory = tempfile::tempdir().unwrap();
    let own = directory.path();
    let [manifest] = &blocks("toml", |title| title == TUTORIAL)[..] else { panic!("one manifest") };
    let handoff = root().join("handoff").canonicalize().unwrap();
    let path = "../handoff/handoff";
    assert!(manifest.contains(path), "{manifest}");
    std::fs::write(own.join("Cargo.toml"), manifest.replace(path, handoff.to_str().unwrap())).unwrap();
    std::fs::copy(root().join("Cargo.lock"), own.join("Cargo.lock")).unwrap();
    std::fs::create_dir(own.join("src")).unwrap();
    let code = std::fs::read_to_string(root().join("examples/hello-seller/src/main.rs")).unwrap();
    std::fs::write(own.join("src/main.rs"), code.replace("#[cfg(test)]\nmod tests;\n", "")).unwrap();

    // Of this platform alone: nobody has fetched what the others need.
    let resolve = ["tree", "--offline", "--quiet"];
    let resolved = Command::new("cargo").args(resolve).current_dir(own).output().await.unwrap();
    assert!(resolved.status.success(), "{}", String::from_utf8_lossy(&resolved.stderr));

    let dependencies = binary("handoff").parent().unwrap().join("deps");
    let library = newest_library(&dependencies, "libhandoff-");
    let compiled = Command::new("rustc")
        .args(["--edition", "2024", "--emit", "metadata", "src/main.rs", "--extern"])
        .arg(format!("handoff={}", library.display()))
        .arg("-L")
        .arg(format!("dependency={}", dependencies.display()))
        .current_dir(own)
        .output()
        .await
        .unwrap();
    assert!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));
}

/// The library of this name that was built last.
fn newest_library(directory: &Path, name: &str) -> PathBuf {
    let is_it = |path: &PathBuf| {
        let file = path.file_name().unwrap_or_default().to_string_lossy();
        file.starts_with(name) && file.ends_with(".rlib")
    };
    let entries = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).filter(is_it);
    entries.max_by_key(|path| path.metadata().unwrap().modified().unwrap()).expect("the library is built")
}
