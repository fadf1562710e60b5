//! `handoff doctor` finds set-ups that are really broken, and says how to mend each.

use handoff_client::codec::{Key, KeySource};
use handoff_tests::{Database, Kind, World, binary, eventually};
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use sqlx::Connection;
use std::{collections::BTreeMap, process::Output};
use tokio::process::Command;

/// An environment that is broken in one way, and what doctor must say of it.
struct Broken {
    how: &'static str,
    set: Vec<(&'static str, String)>,
    unset: &'static [&'static str],
    check: &'static str,
    found: &'static str,
    mend: &'static str,
}

struct Environment(BTreeMap<&'static str, String>);

impl Environment {
    fn of(world: &World) -> Self {
        Self(world.environment().into_iter().collect())
    }

    fn broken(&self, broken: &Broken) -> Self {
        let mut variables = self.0.clone();
        variables.retain(|name, _| !broken.unset.contains(name));
        variables.extend(broken.set.iter().cloned());
        Self(variables)
    }

    async fn run(&self, program: &str, arguments: &[&str]) -> Output {
        let directory = tempfile::tempdir().unwrap();
        let path = format!("{}:{}", temporal_directory(), std::env::var("PATH").unwrap_or_default());
        Command::new(program)
            .args(arguments)
            .current_dir(directory.path())
            .envs(&self.0)
            .env("PATH", path)
            .output()
            .await
            .expect("it runs")
    }

    /// The exit code, and the checks.
    async fn doctor(&self) -> (Option<i32>, Vec<Value>) {
        let program = binary("handoff");
        let done = self.run(program.to_str().unwrap(), &["doctor", "--json"]).await;
        let out = String::from_utf8(done.stdout).unwrap();
        assert!(!out.contains("s3cret"), "a password is shown: {out}");
        let report: Value = serde_json::from_str(&out).unwrap_or_else(|_| panic!("{out}"));
        (done.status.code(), report["checks"].as_array().unwrap().clone())
    }

    /// What doctor says under this name.
    async fn check(&self, name: &str) -> Option<Value> {
        self.doctor().await.1.into_iter().find(|check| check["name"] == name)
    }

    /// Does what doctor says. The parts of a server learn of a new namespace one after the other, so it may take a few tries.
    async fn mend(&self, check: &Value) {
        let command = check["mend"].as_str().unwrap();
        eventually(command, || async {
            let done = self.run("bash", &["-euc", command]).await;
            done.status.success().then_some(())
        })
        .await;
    }
}

fn temporal_directory() -> String {
    let temporal = std::env::var("HANDOFF_TEMPORAL_BIN").unwrap_or_default();
    temporal.rsplit_once('/').map(|(directory, _)| directory.to_owned()).unwrap_or_default()
}

fn key(id: &str) -> String {
    Key::generate(id).unwrap().expose_secret().to_owned()
}

async fn world() -> World {
    World::configured(Kind::Sqlite, |config| config.encryption = KeySource::Text(key("k1").into())).await.unwrap()
}

/// A registry that a later build has migrated.
async fn migrated_later() -> Database {
    let database = Database::create(Kind::Sqlite).await.unwrap();
    handoff_store::connect(database.url(), Default::default()).await.unwrap().close().await;
    let path = database.url().trim_start_matches("sqlite:");
    let mut connection = sqlx::SqliteConnection::connect(&format!("sqlite://{path}")).await.unwrap();
    let later = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
                 VALUES (9999, 'later', 1, x'00', 1)";
    sqlx::query(later).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    database
}

fn with_wrong_password(url: &str) -> String {
    let mut url = url::Url::parse(url).unwrap();
    url.set_password(Some("s3cret")).unwrap();
    url.to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn doctor_finds_what_is_broken_and_says_how_to_mend_it() {
    let world = world().await;
    let _worker = world.worker().await.unwrap();
    world.submit("create_media_buy", json!({"arm": "workflow"})).await;
    let whole = Environment::of(&world);
    eventually("a whole set-up is found whole", || async {
        let (code, checks) = whole.doctor().await;
        let stored = checks.iter().any(|check| check["name"] == "stored payloads" && check["status"] == "ok");
        (code == Some(0) && stored).then_some(())
    })
    .await;

    let later = migrated_later().await;
    let postgres = Database::create(Kind::Postgres).await.unwrap();
    let file = tempfile::NamedTempFile::new().unwrap();
    let one = |name, value: &str| vec![(name, value.to_owned())];
    let keys: &[&str] = &["HANDOFF_ENCRYPTION_KEYS"];
    let broken = |how, set, check, found, mend| Broken { how, set, unset: &[], check, found, mend };
    let set_ups = [
        broken("no server", one("TEMPORAL_ADDRESS", "127.0.0.1:1"), "temporal", "127.0.0.1:1", "TEMPORAL_ADDRESS"),
        broken(
            "an address that is none",
            one("TEMPORAL_ADDRESS", "://"),
            "configuration",
            "Temporal's settings",
            "Correct",
        ),
        broken(
            "another namespace",
            one("TEMPORAL_NAMESPACE", "nowhere"),
            "namespace",
            "does not exist",
            "temporal operator namespace create --namespace nowhere",
        ),
        broken(
            "another task queue",
            one("HANDOFF_TASK_QUEUE", "nobodys"),
            "workers",
            "\"nobodys\": 0 poll",
            "HANDOFF_TASK_QUEUE",
        ),
        broken(
            "no database server",
            one("HANDOFF_REGISTRY_URL", "postgres://u:s3cret@127.0.0.1:1/none"),
            "registry",
            "refused",
            "Check that the database runs",
        ),
        broken(
            "a wrong password",
            vec![("HANDOFF_REGISTRY_URL", with_wrong_password(postgres.url()))],
            "registry",
            "authentication failed",
            "Correct user and password",
        ),
        broken(
            "no such database",
            vec![("HANDOFF_REGISTRY_URL", format!("{}_not", postgres.url()))],
            "registry",
            "does not exist",
            "createdb",
        ),
        broken(
            "a later schema",
            one("HANDOFF_REGISTRY_URL", later.url()),
            "registry",
            "newer than this build",
            "at least as new",
        ),
        broken(
            "a file where the directory should be",
            vec![("HANDOFF_REGISTRY_URL", format!("sqlite:{}/registry.db", file.path().display()))],
            "registry",
            "registry refused",
            "that this user may write to",
        ),
        broken(
            "no such kind of database",
            one("HANDOFF_REGISTRY_URL", "mysql://db/h"),
            "configuration",
            "sqlite: or postgres:",
            "Correct",
        ),
        broken(
            "a key that is too short",
            one("HANDOFF_ENCRYPTION_KEYS", "k1:c2hvcnQ="),
            "encryption",
            "must have 32",
            "handoff codec generate-key",
        ),
        Broken {
            how: "a key file that is not there",
            set: one("HANDOFF_ENCRYPTION_KEYS_FILE", "/none/such"),
            unset: keys,
            check: "encryption",
            found: "/none/such",
            mend: "Correct the keys",
        },
        Broken {
            how: "no keys, where others have some",
            set: vec![],
            unset: keys,
            check: "stored payloads",
            found: "this process has no keys",
            mend: "the same HANDOFF_ENCRYPTION_KEYS",
        },
        broken(
            "other keys than the worker's",
            vec![("HANDOFF_ENCRYPTION_KEYS", key("k2"))],
            "stored payloads",
            "not in the key ring",
            "the same HANDOFF_ENCRYPTION_KEYS",
        ),
        broken(
            "another key under the same id",
            vec![("HANDOFF_ENCRYPTION_KEYS", key("k1"))],
            "stored payloads",
            "another key under that id",
            "the same HANDOFF_ENCRYPTION_KEYS",
        ),
        broken(
            "production on a development server",
            vec![("HANDOFF_ENV", "production".into()), ("HANDOFF_REGISTRY_URL", postgres.url().into())],
            "persistence",
            "SQLite",
            "PostgreSQL, MySQL or Cassandra",
        ),
        broken(
            "production on a file",
            one("HANDOFF_ENV", "production"),
            "configuration",
            "refuses a SQLite registry",
            "Correct",
        ),
        broken(
            "a URL that is none",
            one("HANDOFF_PUBLIC_URL", "ads.example"),
            "configuration",
            "HANDOFF_PUBLIC_URL",
            "Correct",
        ),
        broken(
            "a duration out of range",
            one("HANDOFF_SYNC_DEADLINE", "1h"),
            "configuration",
            "HANDOFF_SYNC_DEADLINE",
            "Correct",
        ),
    ];
    assert!(set_ups.len() >= 10);
    for set_up in &set_ups {
        let (code, checks) = whole.broken(set_up).doctor().await;
        let of_name = checks.iter().find(|check| check["name"] == set_up.check);
        let check = of_name.unwrap_or_else(|| panic!("{}: {checks:#?}", set_up.how));
        let part = |field: &str, text: &str| check[field].as_str().is_some_and(|value| value.contains(text));
        let as_expected = check["status"] == "fail" && part("found", set_up.found) && part("mend", set_up.mend);
        assert!(as_expected, "{}: {check:#}", set_up.how);
        assert_eq!(code, Some(1), "{}", set_up.how);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_doctor_says_mends_a_server_that_knows_nothing_of_handoff() {
    let world = World::new(Kind::Sqlite).await.unwrap();
    let mut environment = Environment::of(&world);
    environment.0.insert("TEMPORAL_NAMESPACE", format!("fresh-{}", uuid::Uuid::now_v7().simple()));
    let missing = environment.check("namespace").await.unwrap();
    assert_eq!(missing["status"], "fail", "{missing}");
    environment.mend(&missing).await;
    // The server learns of new namespaces now and then.
    let missing = eventually("the namespace is there, and its search attributes are missing", || async {
        environment.check("search attributes").await.filter(|check| check["status"] == "fail")
    })
    .await;
    assert!(missing["found"].as_str().unwrap().contains("HandoffScope is not registered"), "{missing}");
    environment.mend(&missing).await;
    eventually("the search attributes are there", || async {
        environment.check("search attributes").await.filter(|check| check["status"] == "ok")
    })
    .await;
    let nobody = environment.check("workers").await.unwrap();
    assert_eq!(nobody["status"], "fail", "{nobody}");
    assert!(nobody["mend"].as_str().unwrap().contains("your-seller worker"), "{nobody}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_typo_in_a_variable_is_a_warning_with_the_right_name() {
    let world = World::new(Kind::Sqlite).await.unwrap();
    let mut environment = Environment::of(&world);
    assert_eq!(environment.check("variables").await, None);
    environment.0.insert("HANDOFF_STICKY_TIMOUT", "1s".into());
    let warning = environment.check("variables").await.unwrap();
    assert_eq!(warning["status"], "warn");
    assert_eq!(warning["found"], "HANDOFF_STICKY_TIMOUT is no setting; is HANDOFF_STICKY_TIMEOUT meant?");
    let shown = environment.run(binary("handoff").to_str().unwrap(), &["config"]).await;
    assert!(String::from_utf8_lossy(&shown.stderr).contains("is HANDOFF_STICKY_TIMEOUT meant?"));
}
