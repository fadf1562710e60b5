//! Opening a registry.

use crate::{
    database::{Database, Kind},
    support::*,
};
use handoff_store::{Backend, RegistryError, RegistryOptions, connect};
use std::sync::Arc;

pub(crate) async fn boots_at_once_migrate_once(database: Arc<Database>) {
    let boots = (0..8).map(|_| {
        let url = database.url.clone();
        tokio::spawn(async move { connect(&url, RegistryOptions { max_connections: 2, ..Default::default() }).await })
    });
    let registries = futures::future::join_all(boots).await;
    let mut tasks = Vec::new();
    for registry in registries {
        let registry = registry.unwrap().unwrap();
        tasks.push(claimed(&*registry).await);
        registry.close().await;
    }
    let registry = registry(&database).await;
    for task in &tasks {
        assert_eq!(registry.find(&buyer(), &task.task_id).await.unwrap().as_ref(), Some(task));
    }
    registry.close().await;
}

pub(crate) async fn every_boot_is_safe_and_keeps_data(database: Arc<Database>) {
    let first = registry(&database).await;
    let task = completed(&*first).await;
    let before = everything(&*first, &task).await;
    first.close().await;
    for _ in 0..3 {
        let again = registry(&database).await;
        assert_eq!(everything(&*again, &task).await, before);
        again.close().await;
    }
}

pub(crate) async fn health_names_database_and_schema(database: Arc<Database>) {
    let registry = registry(&database).await;
    let health = registry.health().await.unwrap();
    let expected = if database.kind == Kind::Sqlite { Backend::Sqlite } else { Backend::Postgres };
    assert_eq!(health.backend, expected);
    assert!(health.schema_version >= 1);
    registry.close().await;
}

pub(crate) async fn newer_schema_is_refused(database: Arc<Database>) {
    registry(&database).await.close().await;
    database
        .execute(
            "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
             SELECT 9999, 'from the future', success, checksum, 0 FROM _sqlx_migrations WHERE version = 1",
        )
        .await;
    let error = connect(&database.url, RegistryOptions::default()).await.err().unwrap();
    assert!(matches!(&error, RegistryError::Schema(message) if message.contains("9999")), "{error}");
    assert!(!error.is_transient());
}

pub(crate) async fn changed_migration_is_refused(database: Arc<Database>) {
    registry(&database).await.close().await;
    let checksum = if database.kind == Kind::Sqlite { "x'00'" } else { "'\\x00'" };
    database.execute(&format!("UPDATE _sqlx_migrations SET checksum = {checksum}")).await;
    let error = connect(&database.url, RegistryOptions::default()).await.err().unwrap();
    assert!(matches!(error, RegistryError::Schema(_)), "{error}");
}

pub(crate) async fn closed_registry_is_unavailable(database: Arc<Database>) {
    let registry = registry(&database).await;
    registry.close().await;
    assert!(registry.health().await.unwrap_err().is_transient());
    assert!(registry.claim(&claim_of(&new_task(), None)).await.unwrap_err().is_transient());
}

pub(crate) async fn urls_are_checked_and_never_repeated() {
    for url in [
        "",
        "registry.db",
        "mysql://u:hunter2@h/d",
        "sqlite::memory:",
        "sqlite:",
        "sqlite:/proc/hunter2/registry.db",
        "sqlite:x.db?mode=memory&hunter2=1",
        "postgres://u:hunter2@127.0.0.1:1/d",
        "postgres://u:hunter2@[::bad/d",
        "postgres://u:hunter2@127.0.0.1:1/d?sslmode=hunter2",
        "postgresql://u:hunter2@127.0.0.1:notaport/d",
    ] {
        let error = connect(url, RegistryOptions::default()).await.err().unwrap_or_else(|| panic!("{url} was opened"));
        let told = format!("{error} {error:?}");
        assert!(!told.contains("hunter2") || url.starts_with("sqlite:/proc"), "{told}");
    }
    let refused = connect("postgres://u:p@127.0.0.1:1/d", RegistryOptions::default()).await.err().unwrap();
    assert!(refused.is_transient(), "{refused}");
}
