//! Polls and lists on a registry with many tasks.

use crate::{report::grid, stats::Spread};
use anyhow::{Context, Result, ensure};
use comfy_table::Table;
use futures::future::try_join_all;
use handoff_client::Tasks;
use handoff_proto::{
    releases::Release,
    v1::{Decision, HandoffToTask, TaskRef, decision::Kind},
    wire::{GetTaskStatusRequest, ListTasksRequest, TaskStatus},
};
use handoff_store::{NewClaim, Registry, RegistryOptions, Viewer};
use handoff_tests::{Database, Kind as DatabaseKind};
use rand::Rng;
use serde::Serialize;
use sqlx::{Column, Connection, PgConnection, Row, SqliteConnection};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

/// How many accounts share the tasks.
pub(crate) const ACCOUNTS: usize = 100;
/// Whose they all are.
pub(crate) const PRINCIPAL: &str = "agent.bench.example";
/// The task of which all others are copies; the n-th is called so, and `-n`.
pub(crate) const TEMPLATE: &str = "template";
const AT_ONCE: usize = 16;

/// A request on one database.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Polled {
    pub(crate) database: &'static str,
    pub(crate) request: &'static str,
    pub(crate) tasks: usize,
    /// One at a time.
    pub(crate) ms: Spread,
    /// With [`AT_ONCE`] under way.
    pub(crate) per_second: f64,
}

/// Measures on a fresh database of this kind.
pub(crate) async fn measure(kind: DatabaseKind, tasks: usize, patience: Duration) -> Result<Vec<Polled>> {
    let database = Database::create(kind).await?;
    let registry = handoff_store::connect(database.url(), RegistryOptions::default()).await?;
    fill(kind, database.url(), &registry, tasks).await?;
    let reader = Arc::new(Reader { tasks: Tasks::new(registry.clone()), number: tasks });
    let mut polled = Vec::new();
    for request in [Request::Poll, Request::PollWithHistory, Request::List, Request::ListOpen] {
        polled.push(Polled {
            database: if kind == DatabaseKind::Sqlite { "sqlite" } else { "postgres" },
            request: request.name(),
            tasks,
            ms: sequential(&reader, request, patience).await?,
            per_second: loaded(&reader, request, patience).await?,
        });
    }
    registry.close().await;
    Ok(polled)
}

/// Each request on each database.
pub(crate) fn table(polls: &[Polled]) -> Table {
    let mut table = grid(&["database", "request", "tasks", "p50/p99 ms", "per second"]);
    for polled in polls {
        table.add_row([
            polled.database.to_owned(),
            polled.request.to_owned(),
            polled.tasks.to_string(),
            polled.ms.to_string(),
            format!("{:.0}", polled.per_second),
        ]);
    }
    table
}

#[derive(Clone, Copy)]
enum Request {
    Poll,
    PollWithHistory,
    List,
    ListOpen,
}

impl Request {
    fn name(self) -> &'static str {
        match self {
            Self::Poll => "poll",
            Self::PollWithHistory => "poll with history",
            Self::List => "list, newest 50",
            Self::ListOpen => "list, submitted 50",
        }
    }
}

struct Reader {
    tasks: Tasks,
    number: usize,
}

impl Reader {
    async fn send(&self, request: Request) -> Result<()> {
        let n = rand::rng().random_range(1..=self.number);
        let viewer = Viewer::Buyer { scope: account(n % ACCOUNTS), principal: PRINCIPAL.to_owned() };
        let body = match request {
            Request::Poll | Request::PollWithHistory => {
                let request = GetTaskStatusRequest {
                    task_id: format!("{TEMPLATE}-{n}"),
                    include_history: matches!(request, Request::PollWithHistory),
                    ..Default::default()
                };
                self.tasks.get_task_status(&viewer, &request).await?
            }
            Request::List | Request::ListOpen => {
                let mut list = ListTasksRequest::default();
                if matches!(request, Request::ListOpen) {
                    list.filters.status = Some(TaskStatus::Submitted);
                }
                let body = self.tasks.list_tasks(&viewer, &list).await?;
                ensure!(body["tasks"].as_array().is_some_and(|tasks| !tasks.is_empty()), "an empty list: {body}");
                body
            }
        };
        // As a front door would.
        std::hint::black_box(body.to_string());
        Ok(())
    }
}

async fn sequential(reader: &Reader, request: Request, patience: Duration) -> Result<Spread> {
    let (until, mut ms) = (Instant::now() + patience, Vec::new());
    while Instant::now() < until {
        let begun = Instant::now();
        reader.send(request).await?;
        ms.push(begun.elapsed().as_secs_f64() * 1_000.0);
    }
    Ok(Spread::of(&ms))
}

async fn loaded(reader: &Arc<Reader>, request: Request, patience: Duration) -> Result<f64> {
    let begun = Instant::now();
    let client = || {
        let reader = reader.clone();
        tokio::spawn(async move {
            let mut answered = 0_u32;
            while begun.elapsed() < patience {
                reader.send(request).await?;
                answered += 1;
            }
            anyhow::Ok(answered)
        })
    };
    let answered = try_join_all((0..AT_ONCE).map(|_| client())).await?;
    let answered = answered.into_iter().collect::<Result<Vec<u32>>>()?;
    Ok(f64::from(answered.iter().sum::<u32>()) / begun.elapsed().as_secs_f64())
}

/// Fills a registry: one task by the registry's own means, then copies of it, because a hundred thousand claims would take
/// longer than all the rest. The n-th copy, counted from 1, is [`account`] `n % ACCOUNTS`'s.
pub(crate) async fn fill(kind: DatabaseKind, url: &str, registry: &Arc<dyn Registry>, tasks: usize) -> Result<()> {
    let task = TaskRef {
        task_id: TEMPLATE.to_owned(),
        scope: account(0),
        principal: PRINCIPAL.to_owned(),
        verb: "create_media_buy".to_owned(),
    };
    let claim = NewClaim {
        task: task.clone(),
        protocol: "media-buy".to_owned(),
        idempotency_key: Some(TEMPLATE.to_owned()),
        request_hash: "0".repeat(64),
        context_json: Some(r#"{"correlation_id":"bench"}"#.to_owned()),
        webhook: None,
        proposal: None,
        release: Release::LATEST,
        sandbox: false,
    };
    registry.claim(&claim).await?;
    let handoff = HandoffToTask { handler: "work".into(), input_json: "{}".into(), ..Default::default() };
    registry.record_decision(&task, &Decision { kind: Some(Kind::HandoffToTask(handoff)) }).await?;
    match kind {
        DatabaseKind::Sqlite => {
            let path = url.strip_prefix("sqlite:").context("a SQLite URL")?;
            let mut connection = SqliteConnection::connect(&format!("sqlite:{path}")).await?;
            for table in ["requests", "request_history"] {
                let row = sqlx::query(template(table)).fetch_one(&mut connection).await?;
                let columns: Vec<&str> = row.columns().iter().map(Column::name).collect();
                sqlx::query(sqlx::AssertSqlSafe(copy(table, &columns, tasks))).execute(&mut connection).await?;
            }
            sqlx::query("ANALYZE").execute(&mut connection).await?;
        }
        DatabaseKind::Postgres => {
            let mut connection = PgConnection::connect(url).await?;
            for table in ["requests", "request_history"] {
                let row = sqlx::query(template(table)).fetch_one(&mut connection).await?;
                let columns: Vec<&str> = row.columns().iter().map(Column::name).collect();
                sqlx::query(sqlx::AssertSqlSafe(copy(table, &columns, tasks))).execute(&mut connection).await?;
            }
            sqlx::query("VACUUM ANALYZE").execute(&mut connection).await?;
        }
    }
    Ok(())
}

fn template(table: &str) -> &'static str {
    match table {
        "requests" => "SELECT * FROM requests LIMIT 1",
        _ => "SELECT * FROM request_history LIMIT 1",
    }
}

// In SQL that both databases understand.
fn copy(table: &str, columns: &[&str], tasks: usize) -> String {
    let value = |column: &&str| match *column {
        "task_id" => "t.task_id || '-' || CAST(s.n AS TEXT)".to_owned(),
        "idempotency_key" => "t.idempotency_key || '-' || CAST(s.n AS TEXT)".to_owned(),
        "scope" => format!("'acct_' || CAST(s.n % {ACCOUNTS} AS TEXT)"),
        "created_at" | "updated_at" => format!("t.{column} + s.n"),
        other => format!("t.{other}"),
    };
    let (names, values) = (columns.join(", "), columns.iter().map(value).collect::<Vec<_>>().join(", "));
    format!(
        "WITH RECURSIVE s(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < {tasks}) \
         INSERT INTO {table} ({names}) SELECT {values} FROM {table} t CROSS JOIN s WHERE t.task_id = '{TEMPLATE}'"
    )
}

/// An account's id.
pub(crate) fn account(number: usize) -> String {
    format!("acct_{number}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn every_request_is_answered_on_a_filled_registry() {
        let polled = measure(DatabaseKind::Sqlite, 300, Duration::from_millis(20)).await.unwrap();
        assert_eq!(polled.len(), 4);
        for measured in polled {
            assert!(measured.ms.p50 > 0.0 && measured.ms.p50 <= measured.ms.p99, "{measured:?}");
            assert!(measured.per_second > 0.0, "{measured:?}");
        }
    }
}
