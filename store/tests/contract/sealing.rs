//! What the database holds of what came and went, and what keys have to do with it.

use crate::{
    database::{Database, Kind},
    support::*,
};
use handoff_proto::{
    releases::Release,
    v1::{HistoryEntry, Progress, TaskRef},
    wire::{ListTasksFilters, ListTasksRequest, Pagination},
};
use handoff_store::{CipherError, Claim, Registry, RegistryError, Viewer, WebhookState};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, postgres::PgConnectOptions};
use std::{collections::BTreeMap, path::Path, sync::Arc};

const MARKS: [&str; 11] = [
    "MARK-key-0000001",
    "MARK-context",
    "MARK-token",
    "MARK-input",
    "MARK-progress",
    "MARK-result",
    "MARK-actor",
    "MARK-reason",
    "MARK-noticed",
    "MARK-detail",
    "MARK-refusal",
];

const RESULT: &str = r#"{"media_buy_id":"MARK-result","media_buy_status":"active"}"#;

/// A task that was submitted, worked on and completed, and a request that was refused; all with marks in them.
async fn marked(registry: &dyn Registry, has_secret: bool) -> TaskRef {
    let task = new_task();
    let mut claim = claim_of(&task, Some("MARK-key-0000001"));
    claim.context_json = Some(r#"{"note":"MARK-context"}"#.into());
    claim.webhook = webhook(r#"{"url":"https://b.example","token":"MARK-token"}"#, has_secret);
    // Its buyer is told in other words than the seller's, which are stored too.
    claim.release = Release::V3_0;
    registry.claim(&claim).await.unwrap();
    let mut handoff = to_task();
    if let Some(handoff_proto::v1::decision::Kind::HandoffToTask(task)) = &mut handoff.kind {
        task.input_json = r#"{"note":"MARK-input"}"#.into();
    }
    registry.record_decision(&task, &handoff).await.unwrap();
    let progress = Progress { current_step: "MARK-progress".into(), ..Default::default() };
    registry.update_progress(&task, &progress).await.unwrap();
    let noticed = HistoryEntry {
        event: "noticed".into(),
        reason: "MARK-noticed".into(),
        detail_json: r#"{"note":"MARK-detail"}"#.into(),
        ..Default::default()
    };
    registry.append_history(&task, &[("noticed".into(), noticed)]).await.unwrap();
    let mut completion = result(RESULT);
    (completion.actor, completion.reason) = ("MARK-actor".into(), "MARK-reason".into());
    registry.settle(&task, &completion).await.unwrap();
    let refused = new_task();
    registry.claim(&claim_of(&refused, None)).await.unwrap();
    registry.record_decision(&refused, &refuse("MARK-refusal")).await.unwrap();
    task
}

/// Everything that the database holds: its files, or its rows as text.
pub(crate) async fn held(database: &Database) -> Vec<u8> {
    match database.kind {
        Kind::Sqlite => {
            let path = Path::new(database.url.trim_start_matches("sqlite:"));
            let files = std::fs::read_dir(path.parent().unwrap()).unwrap();
            files.flat_map(|file| std::fs::read(file.unwrap().path()).unwrap()).collect()
        }
        Kind::Postgres => {
            let mut connection = database.url.parse::<PgConnectOptions>().unwrap().connect().await.unwrap();
            let rows = "SELECT r::text FROM requests r UNION ALL SELECT h::text FROM request_history h \
                 UNION ALL SELECT p::text FROM proposals p UNION ALL SELECT h::text FROM proposal_history h";
            let rows: Vec<String> = sqlx::query_scalar(AssertSqlSafe(rows)).fetch_all(&mut connection).await.unwrap();
            connection.close().await.unwrap();
            rows.concat().into_bytes()
        }
    }
}

async fn marks(database: &Database) -> Vec<&'static str> {
    let held = held(database).await;
    let holds = |mark: &&str| held.windows(mark.len()).any(|window| window == mark.as_bytes());
    MARKS.into_iter().filter(holds).collect()
}

pub(crate) async fn nothing_that_came_or_went_is_readable_with_keys(database: Arc<Database>) {
    let registry = registry(&database).await;
    let task = marked(&*registry, database.sealed).await;
    let record = record(&*registry, &task).await.unwrap();
    assert_eq!(record.result_json, RESULT);
    assert_eq!(record.told_json, r#"{"status":"active","media_buy_id":"MARK-result","media_buy_status":"active"}"#);
    let told = format!("{record:?}");
    for mark in ["MARK-context", "MARK-progress", "MARK-actor", "MARK-reason", "MARK-noticed", "MARK-detail"] {
        assert!(told.contains(mark), "{mark}");
    }
    let config = registry.webhook(&task).await.unwrap().unwrap();
    assert_eq!(config, r#"{"url":"https://b.example","token":"MARK-token"}"#);
    // A key is a digest with or without keys.
    let expected: &[&str] = if database.sealed { &[] } else { &MARKS[1..] };
    assert_eq!(marks(&database).await, expected);
    registry.close().await;
}

pub(crate) async fn values_that_were_moved_do_not_open(database: Arc<Database>) {
    let registry = registry_with_keys(&database, &["k"]).await;
    // To another task, column, account, and column and task of the history.
    for moving in [
        "UPDATE requests SET result_json = (SELECT result_json FROM requests WHERE task_id = 'OTHER') WHERE task_id = 'TASK'",
        "UPDATE requests SET reason = actor WHERE task_id = 'TASK'",
        "UPDATE requests SET told_json = result_json WHERE task_id = 'TASK'",
        "UPDATE requests SET scope = 'acct_2' WHERE task_id = 'TASK'",
        "UPDATE request_history SET reason = actor WHERE actor <> '' AND task_id = 'TASK'",
        "UPDATE request_history SET actor = (SELECT actor FROM request_history WHERE actor <> '' AND task_id = 'OTHER')
             WHERE actor <> '' AND task_id = 'TASK'",
    ] {
        let (task, other) = (completed(&*registry).await, completed(&*registry).await);
        database.execute(&moving.replace("TASK", &task.task_id).replace("OTHER", &other.task_id)).await;
        let error = registry.get(&Viewer::Operator, &task.task_id, true).await.expect_err(moving);
        let fits = |error: &CipherError| *error == CipherError::NotAuthentic { key: "k".into() };
        assert!(matches!(&error, RegistryError::Sealed { error, .. } if fits(error)), "{moving}: {error}");
        assert!(error.to_string().contains(&task.task_id), "{error}");
        registry.get(&Viewer::Operator, &other.task_id, true).await.unwrap();
    }
    registry.close().await;
}

pub(crate) async fn what_was_written_in_clear_is_read_and_sealed_anew(database: Arc<Database>) {
    let clear = registry_with_keys(&database, &[]).await;
    let task = marked(&*clear, false).await;
    let before = everything(&*clear, &task).await;
    assert!(matches!(clear.reseal(None, 100, false).await, Err(RegistryError::NoKeys)));
    let sealing = registry_with_keys(&database, &["k"]).await;
    assert_eq!(everything(&*sealing, &task).await, before);
    let counted = sealing.reseal(None, 100, true).await.unwrap();
    assert_eq!((counted.tasks, counted.resealed, counted.unreadable, counted.next.as_ref()), (2, 2, 0, None));
    assert!(counted.values.keys().all(Option::is_none), "{counted:?}");
    // In batches of one, to the end.
    let (mut after, mut tasks) = (None, 0);
    loop {
        let batch = sealing.reseal(after.as_deref(), 1, false).await.unwrap();
        tasks += batch.tasks;
        match batch.next {
            Some(next) => after = Some(next),
            None => break,
        }
    }
    assert_eq!(tasks, 2);
    let counted = sealing.reseal(None, 100, true).await.unwrap();
    assert_eq!((counted.resealed, counted.values.into_keys().collect()), (0, vec![Some("k".to_owned())]));
    assert_eq!(everything(&*sealing, &task).await, before, "nothing else has changed");
    if database.kind == Kind::Sqlite {
        // Its free pages and its log would still show what was there.
        database.execute("VACUUM; PRAGMA wal_checkpoint(TRUNCATE)").await;
    }
    assert!(marks(&database).await.is_empty());
    // Without the key nobody reads it, and nobody takes it for something else.
    let error = clear.get(&buyer(), &task.task_id, false).await.unwrap_err();
    assert!(error.to_string().contains("\"k\"") && error.to_string().contains("HANDOFF_ENCRYPTION_KEYS"), "{error}");
    let looking = ListTasksFilters { context_contains: Some("no such".into()), ..Default::default() };
    let request = ListTasksRequest { filters: looking, ..Default::default() };
    assert!(matches!(clear.list(&buyer(), &request).await, Err(RegistryError::Sealed { .. })));
    assert_eq!(clear.reseal(None, 100, true).await.unwrap().unreadable, 2);
    clear.close().await;
    sealing.close().await;
}

pub(crate) async fn keys_that_were_stored_in_clear_are_found(database: Arc<Database>) {
    let registry = registry(&database).await;
    let task = new_task();
    registry.claim(&claim_of(&task, Some("the-key-of-a-buyer"))).await.unwrap();
    database.execute("UPDATE requests SET idempotency_key = 'the-key-of-a-buyer'").await;
    let again = registry.claim(&claim_of(&new_task(), Some("the-key-of-a-buyer"))).await.unwrap();
    assert_eq!(again, Claim::InFlight { task_id: task.task_id.clone() });
    registry.record_decision(&task, &refuse("NO")).await.unwrap();
    assert_eq!(registry.claim(&claim_of(&new_task(), Some("the-key-of-a-buyer"))).await.unwrap(), Claim::New);
    registry.close().await;
}

pub(crate) async fn a_rotated_ring_reads_everything_and_writes_with_its_active_key(database: Arc<Database>) {
    let old = registry_with_keys(&database, &["old"]).await;
    let (ended, open) = (marked(&*old, true).await, submitted(&*old).await);
    let before = everything(&*old, &ended).await;
    let rotated = registry_with_keys(&database, &["new", "old"]).await;
    assert_eq!(everything(&*rotated, &ended).await, before);
    rotated.settle(&open, &result("{}")).await.unwrap();
    let keys = |values: BTreeMap<Option<String>, u64>| values.into_keys().flatten().collect::<Vec<_>>();
    assert_eq!(keys(rotated.reseal(None, 100, true).await.unwrap().values), ["new", "old"]);
    rotated.reseal(None, 100, false).await.unwrap();
    let new = registry_with_keys(&database, &["new"]).await;
    assert_eq!(keys(new.reseal(None, 100, true).await.unwrap().values), ["new"]);
    assert_eq!(everything(&*new, &ended).await, before);
    assert!(new.webhook(&ended).await.unwrap().unwrap().contains("MARK-token"));
    for registry in [old, rotated, new] {
        registry.close().await;
    }
}

pub(crate) async fn a_missing_key_is_named_and_changes_nothing(database: Arc<Database>) {
    let right = registry_with_keys(&database, &["right"]).await;
    let task = submitted(&*right).await;
    let before = held_rows(&database, &task).await;
    for keys in [&["wrong"][..], &[]] {
        let wrong = registry_with_keys(&database, keys).await;
        for error in [
            wrong.settle(&task, &result("{}")).await.unwrap_err(),
            wrong.accept(&task).await.unwrap_err(),
            wrong.standing(&task).await.unwrap_err(),
            wrong.update_progress(&task, &Progress::default()).await.unwrap_err(),
            wrong.claim(&claim_of(&new_task(), Some(&format!("key-{}", task.task_id)))).await.unwrap_err(),
        ] {
            let missing = matches!(&error, RegistryError::Sealed { error: CipherError::MissingKey { key }, .. } if key == "right");
            assert!(missing, "{error}");
            assert!(!error.is_transient() && error.to_string().contains(&task.task_id), "{error}");
        }
        assert_eq!(wrong.find(&buyer(), &task.task_id).await.unwrap().as_ref(), Some(&task));
        assert_eq!(wrong.unfinished(i64::MAX, None, 10).await.unwrap().len(), 1, "what is left to do is known");
        assert_eq!(wrong.reseal(None, 10, true).await.unwrap().unreadable, 1);
        wrong.close().await;
    }
    assert_eq!(held_rows(&database, &task).await, before);
    right.settle(&task, &result("{}")).await.unwrap();
    assert_eq!(status(&*right, &task).await.as_deref(), Some("completed"));
    right.close().await;
}

/// The stored decision and version of a task.
async fn held_rows(database: &Database, task: &TaskRef) -> (String, i64) {
    let sql = format!("SELECT decision, version FROM requests WHERE task_id = '{}'", task.task_id);
    match database.kind {
        Kind::Sqlite => {
            let path = database.url.trim_start_matches("sqlite:");
            let options = sqlx::sqlite::SqliteConnectOptions::new().filename(path);
            let mut connection = options.connect().await.unwrap();
            sqlx::query_as(AssertSqlSafe(sql)).fetch_one(&mut connection).await.unwrap()
        }
        Kind::Postgres => {
            let mut connection = database.url.parse::<PgConnectOptions>().unwrap().connect().await.unwrap();
            sqlx::query_as(AssertSqlSafe(sql)).fetch_one(&mut connection).await.unwrap()
        }
    }
}

pub(crate) async fn what_cannot_be_opened_can_be_purged(database: Arc<Database>) {
    let lost = registry_with_keys(&database, &["lost"]).await;
    let (ended, open) = (marked(&*lost, true).await, submitted(&*lost).await);
    lost.close().await;
    let registry = registry_with_keys(&database, &["k"]).await;
    end_webhook(&*registry, &ended).await;
    assert!(registry.purge(&ended).await.unwrap() && !registry.purge(&open).await.unwrap());
    assert_eq!(record(&*registry, &ended).await, None);
    assert_eq!(registry.standing(&ended).await.unwrap().decision, void());
    assert_eq!(registry.webhook(&ended).await.unwrap(), None);
    let again = registry.claim(&claim_of(&new_task(), Some("MARK-key-0000001"))).await.unwrap();
    assert_eq!(again, Claim::Expired);
    registry.close().await;
}

pub(crate) async fn a_webhook_is_kept_as_long_as_it_may_be_sent(database: Arc<Database>) {
    let registry = registry_with_keys(&database, &["k"]).await;
    let claim = async |key: &str, config: &str| {
        let mut claim = claim_of(&new_task(), Some(key));
        claim.webhook = webhook(config, true);
        (claim.task.clone(), registry.claim(&claim).await.unwrap())
    };
    let kept = async |task: &TaskRef| registry.webhook(task).await.unwrap();
    let first = Some(r#"{"token":"first"}"#.to_owned());
    let (task, _) = claim("submitted", r#"{"token":"first"}"#).await;
    let (_, again) = claim("submitted", r#"{"token":"second"}"#).await;
    assert_eq!(again, Claim::InFlight { task_id: task.task_id.clone() });
    assert_eq!(kept(&task).await, first, "the first registration stays");
    registry.record_decision(&task, &to_task()).await.unwrap();
    registry.settle(&task, &result("{}")).await.unwrap();
    assert_eq!(kept(&task).await, first, "it is still to be sent");
    let stranger = TaskRef { principal: "another".into(), ..task.clone() };
    assert_eq!(kept(&stranger).await, None);
    assert!(!registry.purge(&task).await.unwrap());
    end_webhook(&*registry, &task).await;
    assert!(registry.purge(&task).await.unwrap());
    assert_eq!(kept(&task).await, None);
    for (key, decision) in [("completed", complete("{}")), ("refused", refuse("NO"))] {
        let (task, _) = claim(key, r#"{"token":"first"}"#).await;
        assert_eq!(kept(&task).await, first);
        registry.record_decision(&task, &decision).await.unwrap();
        assert_eq!(kept(&task).await, None, "{key} at once: nothing is ever sent");
    }
    let (task, _) = claim("pending", r#"{"token":"first"}"#).await;
    registry.record_decision(&task, &to_workflow()).await.unwrap();
    assert_eq!(kept(&task).await, first);
    registry.discard(&task, &error("NO")).await.unwrap();
    assert_eq!(kept(&task).await, None);
    registry.close().await;
}

pub(crate) async fn a_secret_without_keys_leaves_nothing(database: Arc<Database>) {
    let registry = registry_with_keys(&database, &[]).await;
    let mut claim = claim_of(&new_task(), Some("the-key-of-a-buyer"));
    claim.webhook = webhook(r#"{"token":"MARK-token"}"#, true);
    let error = registry.claim(&claim).await.unwrap_err();
    assert!(matches!(error, RegistryError::NoKeys) && error.to_string().contains("HANDOFF_ENCRYPTION_KEYS"));
    assert!(registry.unfinished(i64::MAX, None, 10).await.unwrap().is_empty());
    assert!(marks(&database).await.is_empty());
    registry.close().await;
}

async fn looked_for(registry: &dyn Registry, max_results: u32) -> (Vec<String>, Vec<Option<u64>>) {
    let filters = ListTasksFilters { context_contains: Some("needle".into()), ..Default::default() };
    let pagination = Pagination { max_results, cursor: None };
    let mut request = ListTasksRequest { filters, pagination, ..Default::default() };
    let (mut found, mut totals) = (Vec::new(), Vec::new());
    loop {
        let page = registry.list(&buyer(), &request).await.unwrap();
        assert!(page.tasks.len() <= max_results as usize);
        found.extend(page.tasks.into_iter().map(|task| task.task.unwrap().task_id));
        totals.push(page.total);
        match page.next_cursor {
            Some(cursor) => request.pagination.cursor = Some(cursor),
            None => return (found, totals),
        }
    }
}

async fn with_context(registry: &dyn Registry, context: &str) -> String {
    let mut claim = claim_of(&new_task(), None);
    claim.context_json = Some(context.to_owned());
    registry.claim(&claim).await.unwrap();
    registry.record_decision(&claim.task, &to_task()).await.unwrap();
    claim.task.task_id
}

pub(crate) async fn contexts_are_looked_into_page_by_page(database: Arc<Database>) {
    let registry = registry(&database).await;
    let mut expected = Vec::new();
    for number in 0..12 {
        let context = if number % 3 == 0 { r#"{"note":"a needle"}"# } else { r#"{"note":"hay"}"# };
        let task_id = with_context(&*registry, context).await;
        if number % 3 == 0 {
            expected.insert(0, task_id);
        }
    }
    for max_results in [1, 2, 3, 4, 5] {
        let (found, totals) = looked_for(&*registry, max_results).await;
        assert_eq!(found, expected, "{max_results}");
        assert_eq!(totals[0], Some(4));
        assert_eq!(totals.len(), expected.len().div_ceil(max_results as usize), "no page is empty");
    }
    registry.close().await;
}

pub(crate) async fn looking_into_contexts_is_bounded(database: Arc<Database>) {
    let registry = registry_with_keys(&database, &["k"]).await;
    let oldest = with_context(&*registry, r#"{"note":"needle"}"#).await;
    let columns = "scope, principal, verb, protocol, request_hash, has_webhook, claim_state, task_status, visible, \
         created_at, updated_at, version, unfinished";
    let copies = format!(
        "WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 1100)
         INSERT INTO requests (task_id, {columns}, context_json)
         SELECT 'z_copy_' || n, {columns}, '{{\"note\":\"hay\"}}' FROM requests, n WHERE task_id = '{oldest}'"
    );
    database.execute(&copies).await;
    let newest = with_context(&*registry, r#"{"note":"needle"}"#).await;
    let (found, totals) = looked_for(&*registry, 50).await;
    assert_eq!(found, [newest, oldest]);
    // The first page ends after a thousand; nobody knows the total.
    assert_eq!(totals, [None, None]);
    registry.close().await;
}

/// A receiver that could not be reached in time.
pub(crate) async fn end_webhook(registry: &dyn Registry, task: &TaskRef) {
    let (webhook, _) = registry.webhook_log(&task.task_id).await.unwrap().unwrap();
    let ended = registry.record_webhook(task, &webhook.idempotency_key, None, WebhookState::Expired).await.unwrap();
    assert_eq!(ended, Some(WebhookState::Expired));
}
