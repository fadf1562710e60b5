//! Where a test's world will be: a registry database, a task queue, a lab directory.

use crate::{Database, Kind, Temporal, eventually};
use anyhow::Result;
use handoff_client::{Config, TemporalConfig, codec::KeySource, temporal};
use secrecy::ExposeSecret;
use std::{ffi::OsStr, time::Duration};
use tempfile::TempDir;
use temporalio_client::grpc::WorkflowService;
use temporalio_common::protos::temporal::api::{
    enums::v1::TaskQueueType, taskqueue::v1::TaskQueue, workflowservice::v1::DescribeTaskQueueRequest,
};
use tokio::process::Command;
use tonic::IntoRequest;

/// Where a world will be. Nothing of this build has been there.
pub(crate) struct Site {
    pub(crate) temporal: Temporal,
    pub(crate) database: Database,
    pub(crate) lab: TempDir,
    pub(crate) config: Config,
}

impl Site {
    pub(crate) async fn new(temporal: Temporal, kind: Kind, configure: impl FnOnce(&mut Config)) -> Result<Self> {
        let (database, lab) = (Database::create(kind).await?, tempfile::tempdir()?);
        let mut config = Config {
            temporal: TemporalConfig {
                address: Some(temporal.address()),
                namespace: Some("default".to_owned()),
                use_environment: false,
                ..TemporalConfig::default()
            },
            registry_url: database.url().to_owned(),
            task_queue: format!("it-{}", uuid::Uuid::now_v7().simple()),
            // Long enough that a busy machine neither promotes nor only records by accident.
            sync_deadline: Duration::from_secs(30),
            resolve_timeout: Duration::from_secs(30),
            ..Config::default()
        };
        configure(&mut config);
        Ok(Self { temporal, database, lab, config })
    }

    /// That program as a worker.
    pub(crate) fn lab_seller(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command.envs(environment(&self.config, &self.temporal, &self.database)).env("LAB_DIR", self.lab.path());
        command
    }

    /// Waits until a worker polls.
    pub(crate) async fn is_worked_at(&self) -> Result<()> {
        let client = temporal::connect(&self.config).await?;
        eventually("a worker polls", || async {
            let polled = DescribeTaskQueueRequest {
                namespace: client.options().namespace.clone(),
                task_queue: Some(TaskQueue { name: self.config.task_queue.clone(), ..Default::default() }),
                task_queue_type: TaskQueueType::Workflow.into(),
                ..Default::default()
            };
            let described =
                WorkflowService::describe_task_queue(&mut client.clone(), polled.into_request()).await.ok()?;
            (!described.into_inner().pollers.is_empty()).then_some(())
        })
        .await;
        Ok(())
    }
}

/// The environment in which `handoff`, `acme-seller` and the like find what is there.
pub(crate) fn environment(config: &Config, temporal: &Temporal, database: &Database) -> Vec<(&'static str, String)> {
    let mut variables = vec![
        ("TEMPORAL_ADDRESS", temporal.address()),
        ("TEMPORAL_NAMESPACE", "default".to_owned()),
        ("HANDOFF_REGISTRY_URL", database.url().to_owned()),
        ("HANDOFF_TASK_QUEUE", config.task_queue.clone()),
        // A schedule would outlive the test.
        ("HANDOFF_HOUSEKEEPING_EVERY", "off".to_owned()),
    ];
    if let KeySource::Text(keys) = &config.encryption {
        variables.push(("HANDOFF_ENCRYPTION_KEYS", keys.expose_secret().to_owned()));
    }
    variables
}
