//! Temporal: reachable, with namespace, retention and search attributes as needed, and with workers at work.

use super::{Check, runs};
use crate::{
    Config, Environment, Error, duration,
    production::{self, Persistence},
    queue, temporal,
};
use handoff_proto::workflows::{SCOPE_ATTRIBUTE, TASK_TYPE_ATTRIBUTE};
use std::{collections::HashMap, time::Duration};
use temporalio_client::{
    Client,
    grpc::{OperatorService, WorkflowService},
};
use temporalio_common::protos::temporal::api::{
    enums::v1::IndexedValueType,
    operatorservice::v1::ListSearchAttributesRequest,
    workflowservice::v1::{DescribeNamespaceRequest, GetSearchAttributesRequest},
};
use tonic::Code;

// A buyer's late retry, and an operator's look at what happened, should find the closed run.
const LEAST_RETENTION: Duration = Duration::from_secs(86_400);

pub(super) async fn checks(config: &Config) -> Vec<Check> {
    let client = match temporal::open(config).await {
        Ok(client) => client,
        Err(Error::Connect(error)) => {
            return vec![Check::fail("temporal", format!("{}: {}", error.address, error.reason), error.help)];
        }
        Err(error) => return vec![Check::fail("temporal", error.to_string(), "Correct Temporal's settings.")],
    };
    let namespace = client.options().namespace.clone();
    let mut checks = vec![Check::ok("temporal", "reachable"), persistence(config, &client).await];
    let described = self::namespace(&client, &namespace).await;
    let exists = described.iter().all(|check| check.status != super::CheckStatus::Fail);
    checks.extend(described);
    if exists {
        checks.push(search_attributes(&client, &namespace).await);
        checks.push(workers(&client, &config.task_queue).await);
        checks.push(super::housekeeping::check(&client, &config.task_queue).await);
        checks.extend(runs::check(config, &client).await);
    }
    checks
}

async fn persistence(config: &Config, client: &Client) -> Check {
    let name = "persistence";
    let mend = "In production use a Temporal server on PostgreSQL, MySQL or Cassandra, or Temporal Cloud.";
    match (production::persistence(client).await, config.environment) {
        (Ok(Persistence::Other(store)), _) => Check::ok(name, format!("Temporal stores in {store}")),
        (Ok(Persistence::Sqlite), Environment::Production) => Check::fail(name, "Temporal stores in SQLite", mend),
        (Ok(Persistence::Sqlite), Environment::Development) => Check::warn(name, "Temporal stores in SQLite", mend),
        (Ok(Persistence::Unsaid), _) => Check::warn(
            name,
            "Temporal does not say what it stores in",
            "Nothing to do with a managed service; else make sure that it is not SQLite.",
        ),
        (Err(error), _) => Check::warn(name, error.to_string(), "Run `handoff doctor` again."),
    }
}

async fn namespace(client: &Client, namespace: &str) -> Vec<Check> {
    let request = DescribeNamespaceRequest { namespace: namespace.to_owned(), ..Default::default() };
    let described = match WorkflowService::describe_namespace(&mut client.clone(), queue::brief(request)).await {
        Ok(described) => described.into_inner(),
        Err(status) if status.code() == Code::NotFound => {
            let mend = format!("temporal operator namespace create --namespace {namespace} --retention 168h");
            return vec![Check::fail("namespace", format!("{namespace:?} does not exist"), mend)];
        }
        Err(status) => {
            let found = format!("{namespace:?}: {} ({:?})", status.message(), status.code());
            let mend = "Check that this user may describe the namespace.";
            return vec![Check::fail("namespace", found, mend)];
        }
    };
    let retention = described.config.and_then(|config| config.workflow_execution_retention_ttl);
    let retention = Duration::from_secs(retention.map_or(0, |ttl| u64::try_from(ttl.seconds).unwrap_or(0)));
    let found = format!("closed runs are kept for {}", duration::format(retention));
    vec![
        Check::ok("namespace", format!("{namespace:?} exists")),
        if retention < LEAST_RETENTION {
            let mend = format!("temporal operator namespace update --namespace {namespace} --retention 168h");
            Check::warn("retention", found, mend)
        } else {
            Check::ok("retention", found)
        },
    ]
}

async fn search_attributes(client: &Client, namespace: &str) -> Check {
    let name = "search attributes";
    let Some(registered) = registered_attributes(client, namespace).await else {
        let mend = format!("Check by hand that {SCOPE_ATTRIBUTE} and {TASK_TYPE_ATTRIBUTE} are registered as Keyword.");
        return Check::warn(name, "this server does not list them", mend);
    };
    let problems = attribute_problems(&registered);
    if problems.is_empty() {
        return Check::ok(name, format!("{SCOPE_ATTRIBUTE} and {TASK_TYPE_ATTRIBUTE} are registered as Keyword"));
    }
    let mend = format!(
        "temporal operator search-attribute create --namespace {namespace} --name {SCOPE_ATTRIBUTE} --type Keyword \
         --name {TASK_TYPE_ATTRIBUTE} --type Keyword"
    );
    Check::fail(name, problems.join("; "), mend)
}

fn attribute_problems(registered: &HashMap<String, i32>) -> Vec<String> {
    [SCOPE_ATTRIBUTE, TASK_TYPE_ATTRIBUTE]
        .into_iter()
        .filter_map(|name| match registered.get(name) {
            None => Some(format!("{name} is not registered")),
            Some(kind) if *kind == i32::from(IndexedValueType::Keyword) => None,
            Some(_) => Some(format!("{name} is not of type Keyword")),
        })
        .collect()
}

// Temporal Cloud has no operator service, and older servers list only through it.
async fn registered_attributes(client: &Client, namespace: &str) -> Option<HashMap<String, i32>> {
    let request = ListSearchAttributesRequest { namespace: namespace.to_owned() };
    if let Ok(listed) = OperatorService::list_search_attributes(&mut client.clone(), queue::brief(request)).await {
        return Some(listed.into_inner().custom_attributes);
    }
    let request = queue::brief(GetSearchAttributesRequest {});
    let listed = WorkflowService::get_search_attributes(&mut client.clone(), request).await.ok()?;
    Some(listed.into_inner().keys)
}

async fn workers(client: &Client, task_queue: &str) -> Check {
    let name = "workers";
    let mend = "Start a worker of your seller (`your-seller worker`), with the same HANDOFF_TASK_QUEUE and TEMPORAL_NAMESPACE.";
    let pollers = match queue::pollers(client, task_queue).await {
        Err(error) => return Check::warn(name, error.to_string(), mend),
        Ok(pollers) => pollers,
    };
    let found = format!(
        "task queue {task_queue:?}: {} poll for workflows, {} for activities",
        pollers.workflow, pollers.activity
    );
    if pollers.workflow > 0 && pollers.activity > 0 {
        return Check::ok(name, found);
    }
    match runs::newest_task_queue(client).await.filter(|queue| queue != task_queue) {
        Some(other) => Check::fail(
            name,
            format!("{found}; the newest run is on task queue {other:?}"),
            format!("Set HANDOFF_TASK_QUEUE={other} if that is yours. Else: {mend}"),
        ),
        None => Check::fail(name, found, mend),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_attributes_must_be_keywords() {
        let keyword = i32::from(IndexedValueType::Keyword);
        let text = i32::from(IndexedValueType::Text);
        let registered = |scope: Option<i32>, task_type: Option<i32>| {
            let named = [(SCOPE_ATTRIBUTE, scope), (TASK_TYPE_ATTRIBUTE, task_type)];
            named.into_iter().filter_map(|(name, kind)| Some((name.to_owned(), kind?))).collect::<HashMap<_, _>>()
        };
        assert!(attribute_problems(&registered(Some(keyword), Some(keyword))).is_empty());
        assert_eq!(attribute_problems(&registered(Some(text), None)).len(), 2);
    }
}
