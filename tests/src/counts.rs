//! What a Temporal server has counted: billable actions, and requests to its frontend.

use crate::eventually;
use anyhow::{Context, Result};
use std::{collections::BTreeMap, net::SocketAddr};
use temporalio_client::Client;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

// A request that nothing else here makes. The server publishes its counters once a second, and this one says when.
const MARKER: &str = "CountWorkflowExecutions";

/// A server's counters, by name; from two of them, what happened in between.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Billable actions, by the server's name for their type.
    pub actions: BTreeMap<String, u64>,
    /// Requests to the frontend, by operation.
    pub requests: BTreeMap<String, u64>,
}

impl Counts {
    /// All that the server counted until now. `metrics` is the address of its metrics.
    pub async fn read(client: &Client, metrics: SocketAddr) -> Result<Self> {
        // One publication may have begun before the last of what is to be counted; the second one did not.
        for _ in 0..2 {
            let seen = marked(&fetch(metrics).await?);
            client.count_workflows("", Default::default()).await?;
            eventually("the server publishes its counters", || async {
                let text = fetch(metrics).await.ok()?;
                (marked(&text) > seen).then_some(())
            })
            .await;
        }
        let mut counts = Self::parse(&fetch(metrics).await?);
        counts.requests.remove(MARKER);
        Ok(counts)
    }

    /// What was counted between `earlier` and this.
    pub fn since(&self, earlier: &Self) -> Self {
        let difference = |now: &BTreeMap<String, u64>, then: &BTreeMap<String, u64>| {
            let grown = now.iter().map(|(name, count)| (name.clone(), count - then.get(name).copied().unwrap_or(0)));
            grown.filter(|(_, count)| *count > 0).collect()
        };
        Self {
            actions: difference(&self.actions, &earlier.actions),
            requests: difference(&self.requests, &earlier.requests),
        }
    }

    // In Prometheus' text format. What the server does on its own account is in namespaces of its own.
    fn parse(text: &str) -> Self {
        let mut counts = Self::default();
        for line in text.lines() {
            let Some((name, rest)) = line.split_once('{') else { continue };
            let Some((labels, value)) = rest.rsplit_once('}') else { continue };
            let label = |name: &str| {
                let start = labels.find(&format!("{name}=\""))? + name.len() + 2;
                labels[start..].split('"').next()
            };
            let is_ours = label("namespace").is_some_and(|namespace| !namespace.starts_with("temporal"));
            let kind = match name {
                "action" => (label("action_type"), &mut counts.actions),
                "service_requests" if label("service_name") == Some("frontend") => {
                    (label("operation"), &mut counts.requests)
                }
                _ => continue,
            };
            if let ((Some(kind), counts), true, Ok(value)) = (kind, is_ours, value.trim().parse::<u64>()) {
                *counts.entry(kind.to_owned()).or_default() += value;
            }
        }
        counts
    }
}

fn marked(text: &str) -> u64 {
    Counts::parse(text).requests.get(MARKER).copied().unwrap_or(0)
}

async fn fetch(address: SocketAddr) -> Result<String> {
    let mut connection = TcpStream::connect(address).await?;
    connection.write_all(format!("GET /metrics HTTP/1.0\r\nHost: {address}\r\n\r\n").as_bytes()).await?;
    let mut answer = String::new();
    connection.read_to_string(&mut answer).await?;
    let (head, body) = answer.split_once("\r\n\r\n").context("the metrics are no HTTP answer")?;
    anyhow::ensure!(head.contains(" 200 "), "the metrics answer {head}");
    Ok(body.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn actions_and_frontend_requests_are_read_and_the_servers_own_are_not() {
        let text = r#"
# TYPE action counter
action{action_type="grpc_SignalWorkflowExecution",namespace="default",service_name="frontend"} 2
action{action_type="grpc_StartWorkflowExecution",namespace="temporal_system",service_name="frontend"} 9
service_requests{namespace="default",operation="SignalWorkflowExecution",service_name="frontend"} 3
service_requests{namespace="default",operation="SignalWorkflowExecution",service_name="history"} 7
service_requests{namespace="_unknown_",operation="GetSystemInfo",service_name="frontend"} 1
service_latency_bucket{namespace="default",operation="X",service_name="frontend",le="0.1"} 4
"#;
        let counts = Counts::parse(text);
        assert_eq!(counts.actions, [("grpc_SignalWorkflowExecution".to_owned(), 2)].into());
        let requests = [("GetSystemInfo".to_owned(), 1), ("SignalWorkflowExecution".to_owned(), 3)].into();
        assert_eq!(counts.requests, requests);
        let mut later = counts.clone();
        later.actions.insert("grpc_SignalWorkflowExecution".to_owned(), 5);
        let grown = later.since(&counts);
        assert_eq!((grown.actions.values().sum::<u64>(), grown.requests.len()), (3, 0));
    }
}
