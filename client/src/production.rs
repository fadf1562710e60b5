//! The part of the production gate that asks the server: which database does Temporal itself store in?

use crate::{Config, ConfigError, Environment, Error, queue};
use temporalio_client::{Client, grpc::WorkflowService};
use temporalio_common::protos::temporal::api::workflowservice::v1::{GetClusterInfoRequest, GetClusterInfoResponse};
use tonic::{Code, Status};

/// What is known of the server's database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Persistence {
    /// A file or the memory of a development server.
    Sqlite,
    /// Another, by the server's name for it.
    Other(String),
    /// The server does not say; managed services don't.
    Unsaid,
}

/// In production, refuses a server that is not durable.
pub(crate) async fn admit(config: &Config, client: &Client) -> Result<(), Error> {
    if config.environment != Environment::Production {
        return Ok(());
    }
    match persistence(client).await? {
        Persistence::Sqlite => Err(ConfigError::SqliteTemporalInProduction.into()),
        Persistence::Other(store) => {
            tracing::debug!(store, "Temporal's persistence");
            Ok(())
        }
        Persistence::Unsaid => {
            tracing::warn!("this Temporal server does not say what it stores in; a managed service need not");
            Ok(())
        }
    }
}

/// Asks the server.
pub(crate) async fn persistence(client: &Client) -> Result<Persistence, Error> {
    let request = queue::brief(GetClusterInfoRequest {});
    judge(WorkflowService::get_cluster_info(&mut client.clone(), request).await.map(tonic::Response::into_inner))
}

fn judge(told: Result<GetClusterInfoResponse, Status>) -> Result<Persistence, Error> {
    match told {
        Ok(info) if info.persistence_store.is_empty() => Ok(Persistence::Unsaid),
        Ok(info) if info.persistence_store.to_ascii_lowercase().contains("sqlite") => Ok(Persistence::Sqlite),
        Ok(info) => Ok(Persistence::Other(info.persistence_store)),
        Err(status) if matches!(status.code(), Code::Unimplemented | Code::PermissionDenied) => Ok(Persistence::Unsaid),
        // No answer is no permission.
        Err(status) => Err(Error::temporal("say what it stores in", &status)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Say, fake_temporal};
    use prost::Message;

    fn stores_in(store: &str) -> GetClusterInfoResponse {
        GetClusterInfoResponse { persistence_store: store.into(), ..Default::default() }
    }

    #[test]
    fn the_server_is_judged_by_what_it_says() {
        assert_eq!(judge(Ok(stores_in("sqlite"))).unwrap(), Persistence::Sqlite);
        for store in ["postgres12", "postgres12_pgx", "mysql8", "cassandra"] {
            assert_eq!(judge(Ok(stores_in(store))).unwrap(), Persistence::Other(store.into()));
        }
        assert_eq!(judge(Ok(stores_in(""))).unwrap(), Persistence::Unsaid);
        assert_eq!(judge(Err(Status::unimplemented(""))).unwrap(), Persistence::Unsaid);
        assert!(judge(Err(Status::unavailable("away"))).unwrap_err().is_transient());
    }

    #[tokio::test]
    async fn production_refuses_a_sqlite_backed_temporal() {
        let production = Config { environment: Environment::Production, ..Config::default() };
        let says = |store: &'static str| {
            fake_temporal(move |name, _| {
                assert_eq!(name, "GetClusterInfo");
                Say::Message(stores_in(store).encode_to_vec())
            })
        };
        let refused = admit(&production, &says("sqlite").await.0).await.unwrap_err();
        assert!(matches!(refused, Error::Config(ConfigError::SqliteTemporalInProduction)));
        assert!(refused.to_string().contains("TEMPORAL_ADDRESS"), "{refused}");
        admit(&production, &says("postgres12").await.0).await.unwrap();
        // In development nobody asks.
        let (client, calls) = says("sqlite").await;
        admit(&Config::default(), &client).await.unwrap();
        assert!(calls.lock().unwrap().is_empty());
    }
}
