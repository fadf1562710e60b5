//! Which runs are closed before what is deleted, and what is refused.

use super::*;
use crate::testing::{Calls, FakeRegistry, Say, configured_handoff, count, running, task};
use handoff_store::RegistryError;
use prost::Message;
use std::sync::Arc;
use temporalio_common::protos::temporal::api::workflowservice::v1::{
    DescribeWorkflowExecutionRequest, TerminateWorkflowExecutionRequest,
};
use tonic::Status;

const DESCRIBE: &str = "DescribeWorkflowExecution";
const TERMINATE: &str = "TerminateWorkflowExecution";

type Says = fn() -> Say;

fn done() -> Say {
    Say::Message(vec![])
}

fn gone() -> Say {
    Say::Error(Status::not_found("workflow not found"))
}

fn denied() -> Say {
    Say::Error(Status::permission_denied("no"))
}

fn seen(version: i64) -> Seen {
    Seen { created_at: 7, version }
}

fn kept(version: i64) -> Result<Cleared, RegistryError> {
    Ok(Cleared::Kept { seen: seen(version) })
}

/// One request in the sandbox, of which the registry says this each time.
fn holding(cleared: impl IntoIterator<Item = Result<Cleared, RegistryError>>) -> FakeRegistry {
    let request = SandboxRequest { task: task(), seen: seen(1), has_webhook: false };
    FakeRegistry {
        sandboxed: vec![request].into(),
        cleared: std::sync::Mutex::new(cleared.into_iter().collect()),
        ..FakeRegistry::default()
    }
}

async fn handoff(
    registry: FakeRegistry,
    answer: impl Fn(&str, usize) -> Say + Send + Sync + 'static,
) -> (Handoff, Arc<FakeRegistry>, Calls) {
    let config = Config { compliance_testing: true, ..Config::default() };
    configured_handoff(config, registry, answer).await
}

/// What comes of that request, what it was to be when it was cleared, and how many runs were terminated.
async fn reset(registry: FakeRegistry, run: Says, terminate: Says) -> (ClearedRequest, Vec<Option<i64>>, usize) {
    let says = move |name: &str, _| match name {
        DESCRIBE => run(),
        TERMINATE => terminate(),
        _ => done(),
    };
    let (handoff, registry, calls) = handoff(registry, says).await;
    let mut report = handoff.reset_sandbox(None, false).await.unwrap();
    let clearing = registry.clearing.lock().unwrap().iter().map(|seen| seen.map(|seen| seen.version)).collect();
    (report.requests.remove(0), clearing, count(&calls, TERMINATE))
}

#[tokio::test(start_paused = true)]
async fn a_task_is_deleted_once_its_run_is_closed() {
    let cases: [(Says, Says, usize); 3] = [(running, done, 1), (running, gone, 1), (gone, done, 0)];
    for (run, terminate, runs) in cases {
        let (cleared, clearing, terminated) = reset(holding([kept(1), Ok(Cleared::Deleted)]), run, terminate).await;
        assert_eq!(cleared, ClearedRequest { task: task(), runs, action: ClearAction::Cleared });
        assert_eq!((clearing, terminated), (vec![None, Some(1)], runs));
    }
    let broken: [(Says, Says, usize); 2] = [(running, denied, 1), (denied, done, 0)];
    for (run, terminate, looked) in broken {
        let (cleared, clearing, _) = reset(holding([kept(1)]), run, terminate).await;
        assert!(matches!(cleared.action, ClearAction::Skipped { .. }), "{cleared:?}");
        assert_eq!(clearing, vec![None; looked], "nothing is deleted whose run may be open");
    }
}

#[tokio::test(start_paused = true)]
async fn what_changes_meanwhile_is_looked_at_again_so_often() {
    let changed = [kept(1), kept(2), kept(2), Ok(Cleared::Deleted)];
    let (cleared, clearing, terminated) = reset(holding(changed), running, done).await;
    assert_eq!((cleared.action, cleared.runs, terminated), (ClearAction::Cleared, 2, 2));
    assert_eq!(clearing, [None, Some(1), None, Some(2)]);
    let (cleared, clearing, _) = reset(holding((0..100).map(kept)), gone, done).await;
    assert_eq!((cleared.action, clearing.len()), (ClearAction::Kept, 2 * ATTEMPTS));
    // Another was faster; and the run that is there is nobody's any more.
    let (cleared, clearing, terminated) = reset(holding([Ok(Cleared::Missing)]), running, done).await;
    assert_eq!((cleared.action, clearing, terminated), (ClearAction::Cleared, vec![None], 0));
}

#[tokio::test(start_paused = true)]
async fn the_run_that_tells_a_webhook_once_more_is_closed_too() {
    for (has_webhook, ids) in [(false, vec!["acct/t"]), (true, vec!["acct/t", "webhook_redelivery/t"])] {
        let registry = holding([kept(1), Ok(Cleared::Deleted)]);
        registry.sandboxed.lock().unwrap()[0].has_webhook = has_webhook;
        let (handoff, _, calls) = handoff(registry, |name, _| if name == DESCRIBE { running() } else { done() }).await;
        let report = handoff.reset_sandbox(None, false).await.unwrap();
        assert_eq!(report.runs(), ids.len());
        let calls = calls.lock().unwrap();
        let described = calls.iter().filter(|(name, _)| name == DESCRIBE).map(|(_, request)| {
            let request = DescribeWorkflowExecutionRequest::decode(request.as_slice()).unwrap();
            request.execution.unwrap().workflow_id
        });
        assert_eq!(described.collect::<Vec<_>>(), ids);
        let terminated = calls.iter().filter(|(name, _)| name == TERMINATE).map(|(_, request)| {
            let request = TerminateWorkflowExecutionRequest::decode(request.as_slice()).unwrap();
            (request.workflow_execution.unwrap().workflow_id, request.reason)
        });
        let expected = ids.iter().map(|id| ((*id).to_owned(), REASON.to_owned())).collect::<Vec<_>>();
        assert_eq!(terminated.collect::<Vec<_>>(), expected);
    }
}

#[tokio::test(start_paused = true)]
async fn a_dry_run_changes_nothing() {
    let registry = holding([kept(1)]);
    registry.offered_in_sandbox.lock().unwrap().push(proposal());
    let (handoff, registry, calls) =
        handoff(registry, |name, _| if name == DESCRIBE { running() } else { done() }).await;
    let report = handoff.reset_sandbox(None, true).await.unwrap();
    assert_eq!(
        (report.runs(), report.requests(&ClearAction::Cleared), report.proposals(&ClearAction::Cleared)),
        (1, 1, 1)
    );
    assert!(!report.is_partial() && report.dry_run);
    assert_eq!((count(&calls, TERMINATE), registry.clearing.lock().unwrap().len()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_proposal_that_a_task_is_buying_is_kept() {
    let cases: [(Vec<i64>, ClearAction, usize); 3] = [
        (vec![], ClearAction::Cleared, 1),
        // It changes once, and then it is as it was seen, and still there.
        (vec![2, 2], ClearAction::Kept, 2),
        ((2..100).collect(), ClearAction::Kept, ATTEMPTS),
    ];
    for (versions, action, asked) in cases {
        let registry = FakeRegistry {
            cleared: std::sync::Mutex::new(versions.into_iter().map(kept).chain([Ok(Cleared::Deleted)]).collect()),
            ..FakeRegistry::default()
        };
        registry.offered_in_sandbox.lock().unwrap().push(proposal());
        let (handoff, registry, _) = handoff(registry, |_, _| done()).await;
        let report = handoff.reset_sandbox(None, false).await.unwrap();
        assert_eq!((report.proposals(&action), report.is_partial()), (1, action != ClearAction::Cleared), "{report:?}");
        assert_eq!(registry.clearing.lock().unwrap().len(), asked);
    }
}

fn proposal() -> Proposal {
    Proposal {
        key: ProposalKey { scope: "acct".into(), principal: "p".into(), proposal_id: "prop".into() },
        kind: handoff_proto::wire::ProposalKind::NewMediaBuy,
        state: handoff_store::ProposalState::Committed,
        terms_digest: None,
        expires_at: None,
        io_id: None,
        parent_proposal_id: None,
        base_media_buy_id: None,
        base_media_buy_revision: None,
        held_by: None,
        buyer_scope: None,
        media_buy_id: None,
        media_buy_revision: None,
        accepted_at: None,
        created_at: 7,
        updated_at: 7,
        version: 1,
    }
}

#[tokio::test(start_paused = true)]
async fn it_is_refused_where_nothing_is_tested_and_where_runs_can_not_be_seen() {
    let (refusing, registry, calls) = configured_handoff(Config::default(), holding([kept(1)]), |_, _| done()).await;
    let refused = refusing.reset_sandbox(None, false).await.unwrap_err();
    assert!(matches!(refused, Error::Config(ConfigError::NoComplianceTesting)));
    assert!(refused.to_string().contains("HANDOFF_COMPLIANCE_TESTING=true"), "{refused}");
    assert_eq!((calls.lock().unwrap().len(), registry.clearing.lock().unwrap().len()), (0, 0));
    let wrong = |_: &str, _| Say::Error(Status::not_found("namespace not found"));
    let (handoff, registry, _) = handoff(holding([kept(1)]), wrong).await;
    assert!(handoff.reset_sandbox(None, false).await.is_err());
    assert!(registry.clearing.lock().unwrap().is_empty());
}
