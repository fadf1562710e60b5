//! A registry and a Temporal that answer as a test says, and remember what they were asked.

use crate::{Config, Handoff, codec};
use async_trait::async_trait;
use futures::FutureExt;
use handoff_proto::{
    v1::{
        AdcpError, Completion, Decision, HistoryEntry, Outcome, Progress, Resolution, Settlement, Standing, TaskRecord,
        TaskRef, outcome,
    },
    wire::{Bought, ListTasksRequest, OfferedProposal, TaskStatus},
};
use handoff_store::{
    Backend, Candidate, CipherError, Claim, ClaimView, Cleared, DirectView, Directive, Forced, GovernanceBinding,
    GovernanceStore, Health, KeptProposals, Lease, NewClaim, NonceStore, NonceUse, Notification, Observation,
    OpenTasks, Proposal, ProposalCause, ProposalEntry, ProposalFilter, ProposalKey, ProposalRecord, ProposalRef,
    ProposalStore, ProposalUse, Reconciled, Registry, RegistryError, Resealed, Ruled, SandboxRequest, SandboxStore,
    Seen, SweepBounds, Swept, TaskPage, UsedNonce, Viewer, WebhookAttempt, WebhookDelivery, WebhookFilter,
    WebhookRecord, WebhookState,
};
use prost::Message;
use serde::Serialize;
use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex},
};
use temporalio_client::{
    Client, ClientOptions, Connection, ConnectionOptions,
    callback_based::{CallbackBasedGrpcService, GrpcSuccessResponse},
};
use temporalio_common::protos::temporal::api::{
    common::v1::{Payload, Payloads, WorkflowExecution},
    enums::v1::{UpdateWorkflowExecutionLifecycleStage, WorkflowExecutionStatus},
    history::v1::{History, HistoryEvent, WorkflowExecutionStartedEventAttributes, history_event::Attributes},
    update::v1 as update,
    workflow::v1::{WorkflowExecutionConfig, WorkflowExecutionInfo},
    workflowservice::v1::{
        DescribeWorkflowExecutionResponse, ExecuteMultiOperationResponse, GetWorkflowExecutionHistoryResponse,
        StartWorkflowExecutionResponse, UpdateWorkflowExecutionResponse,
        execute_multi_operation_response::{Response, response},
    },
};
use tonic::Status;

type Result<T> = std::result::Result<T, RegistryError>;

/// A registry whose answers were written down before; the last of each kind is repeated.
#[derive(Default)]
pub(crate) struct FakeRegistry {
    pub(crate) claims: Mutex<VecDeque<Result<Claim>>>,
    pub(crate) views: Mutex<VecDeque<Result<ClaimView>>>,
    pub(crate) tasks: Mutex<VecDeque<Option<TaskRecord>>>,
    /// How many times yet the connection breaks when a task is read.
    pub(crate) breaks: Mutex<usize>,
    /// What a task stands at that is not among `tasks`.
    pub(crate) standing: Mutex<Standing>,
    /// The key that is missing to read where a task stands.
    pub(crate) missing_key: Option<&'static str>,
    pub(crate) unfinished: Mutex<Vec<Observation>>,
    pub(crate) reconciled: Mutex<Vec<String>>,
    pub(crate) purgeable: Mutex<Vec<Candidate>>,
    pub(crate) purged: Mutex<Vec<String>>,
    pub(crate) claimed: Mutex<Vec<NewClaim>>,
    /// What is owed when it is listed, and how far it is when it is looked at again.
    pub(crate) webhook: Mutex<Option<(WebhookRecord, WebhookState)>>,
    pub(crate) webhooks_recorded: Mutex<Vec<WebhookState>>,
    pub(crate) directive: Mutex<Option<Directive>>,
    pub(crate) forced: Mutex<VecDeque<Result<Forced>>>,
    /// What comes of it that a proposal is to expire.
    pub(crate) expired: Mutex<VecDeque<Result<Ruled>>>,
    /// The claims under the directive, and what each was to replace.
    pub(crate) forcing: Mutex<Vec<(NewClaim, Option<Seen>)>>,
    pub(crate) sandboxed: Mutex<Vec<SandboxRequest>>,
    pub(crate) offered_in_sandbox: Mutex<Vec<Proposal>>,
    /// What comes of it that a request or proposal is to be cleared.
    pub(crate) cleared: Mutex<VecDeque<Result<Cleared>>>,
    /// How each of them was to be.
    pub(crate) clearing: Mutex<Vec<Option<Seen>>>,
}

impl FakeRegistry {
    pub(crate) fn claiming(claims: impl IntoIterator<Item = Result<Claim>>) -> Self {
        Self { claims: Mutex::new(claims.into_iter().collect()), ..Self::default() }
    }

    pub(crate) fn viewed(self, views: impl IntoIterator<Item = Result<ClaimView>>) -> Self {
        Self { views: Mutex::new(views.into_iter().collect()), ..self }
    }

    pub(crate) fn with_tasks(tasks: impl IntoIterator<Item = Option<TaskRecord>>) -> Self {
        Self { tasks: Mutex::new(tasks.into_iter().collect()), ..Self::default() }
    }

    /// One whose task was submitted and has not ended.
    pub(crate) fn waiting() -> Self {
        Self { standing: Standing { submitted: true, ..Default::default() }.into(), ..Self::default() }
    }

    fn next_task(&self) -> Result<Option<TaskRecord>> {
        let mut breaks = self.breaks.lock().unwrap();
        if *breaks > 0 {
            *breaks -= 1;
            return Err(RegistryError::Unavailable("the connection is lost".into()));
        }
        let mut tasks = self.tasks.lock().unwrap();
        if tasks.len() > 1 { Ok(tasks.pop_front().flatten()) } else { Ok(tasks.front().cloned().flatten()) }
    }
}

#[async_trait]
impl Registry for FakeRegistry {
    async fn claim(&self, claim: &NewClaim) -> Result<Claim> {
        self.claimed.lock().unwrap().push(claim.clone());
        self.claims.lock().unwrap().pop_front().unwrap_or(Ok(Claim::New))
    }

    async fn claim_directly(&self, claim: &NewClaim, _: &Lease) -> Result<Claim> {
        self.claim(claim).await
    }

    async fn direct_view(&self, _: &TaskRef) -> Result<DirectView> {
        unreachable!()
    }

    async fn take_over(&self, _: &TaskRef, _: &Lease) -> Result<bool> {
        unreachable!()
    }

    async fn record_direct(&self, _: &TaskRef, _: &Decision, _: &Lease) -> Result<Standing> {
        unreachable!()
    }

    async fn hand_over(&self, _: &TaskRef, _: Option<&Lease>) -> Result<()> {
        unreachable!()
    }

    async fn claim_view(&self, _: &TaskRef) -> Result<ClaimView> {
        self.views.lock().unwrap().pop_front().unwrap_or(Ok(ClaimView::InFlight))
    }

    async fn standing(&self, task: &TaskRef) -> Result<Standing> {
        if let Some(key) = self.missing_key {
            let error = CipherError::MissingKey { key: key.into() };
            return Err(RegistryError::Sealed { task_id: task.task_id.clone(), column: "decision", error });
        }
        Ok(match self.next_task()? {
            Some(task) => {
                let decision = self.standing.lock().unwrap().decision.clone();
                Standing { settlement: settlement_of(task), submitted: true, decision, ..Default::default() }
            }
            None => self.standing.lock().unwrap().clone(),
        })
    }

    async fn begin(&self, task: &TaskRef) -> Result<Standing> {
        self.standing(task).await
    }

    async fn get(&self, _: &Viewer, _: &str, _: bool) -> Result<Option<TaskRecord>> {
        self.next_task()
    }

    async fn find(&self, viewer: &Viewer, task_id: &str) -> Result<Option<TaskRef>> {
        let own = !matches!(viewer, Viewer::Reviewer { scopes } if !scopes.iter().any(|scope| scope == "acct"));
        Ok((own && task_id == "t").then(task))
    }

    async fn unfinished(&self, _: i64, after: Option<&str>, _: u32) -> Result<Vec<Observation>> {
        Ok(if after.is_none() { self.unfinished.lock().unwrap().clone() } else { vec![] })
    }

    async fn reconcile(&self, observed: &Observation, _: &AdcpError) -> Result<Reconciled> {
        self.reconciled.lock().unwrap().push(observed.task.task_id.clone());
        Ok(Reconciled::Settled)
    }

    async fn list(&self, _: &Viewer, request: &ListTasksRequest) -> Result<TaskPage> {
        match request.pagination.cursor.as_deref() {
            None => Ok(TaskPage { next_cursor: Some("next".into()), ..Default::default() }),
            Some("next") => Ok(TaskPage::default()),
            Some(_) => Err(RegistryError::InvalidCursor),
        }
    }

    async fn update_progress(&self, _: &TaskRef, _: &Progress) -> Result<bool> {
        Ok(true)
    }

    async fn begin_notification(&self, _: &TaskRef, _: u32) -> Result<Option<Notification>> {
        unreachable!()
    }

    async fn end_notification(&self, _: &TaskRef, _: u32) -> Result<()> {
        unreachable!()
    }

    async fn webhook(&self, _: &TaskRef) -> Result<Option<String>> {
        Ok(None)
    }

    async fn webhook_delivery(&self, _: &TaskRef) -> Result<Option<WebhookDelivery>> {
        Ok(None)
    }

    async fn record_webhook(
        &self,
        _: &TaskRef,
        _: &str,
        _: Option<&WebhookAttempt>,
        state: WebhookState,
    ) -> Result<Option<WebhookState>> {
        self.webhooks_recorded.lock().unwrap().push(state);
        Ok(Some(state))
    }

    async fn renew_webhook(&self, _: &TaskRef) -> Result<Option<WebhookState>> {
        Ok(None)
    }

    async fn webhooks(&self, filter: &WebhookFilter, _: u32) -> Result<Vec<WebhookRecord>> {
        let webhook = self.webhook.lock().unwrap().clone().filter(|_| filter.after.is_none());
        Ok(webhook.into_iter().map(|(listed, _)| listed).collect())
    }

    async fn webhook_log(&self, _: &str) -> Result<Option<(WebhookRecord, Vec<WebhookAttempt>)>> {
        let webhook = self.webhook.lock().unwrap().clone();
        Ok(webhook.map(|(listed, state)| (WebhookRecord { state, ..listed }, Vec::new())))
    }

    async fn reseal(&self, after: Option<&str>, _: u32, _: bool) -> Result<Resealed> {
        let values = [(Some("old".to_owned()), 2), (None, 1)].into();
        let next = if after.is_none() { Some("t".to_owned()) } else { None };
        Ok(Resealed { tasks: 1, values, resealed: 1, unreadable: 0, next })
    }

    async fn record_decision(&self, _: &TaskRef, _: &Decision) -> Result<Standing> {
        unreachable!()
    }

    async fn accept(&self, _: &TaskRef) -> Result<Standing> {
        unreachable!()
    }

    async fn settle(&self, _: &TaskRef, _: &Completion) -> Result<Option<Settlement>> {
        unreachable!()
    }

    async fn discard(&self, _: &TaskRef, _: &AdcpError) -> Result<Option<Settlement>> {
        unreachable!()
    }

    async fn append_history(&self, _: &TaskRef, _: &[(String, HistoryEntry)]) -> Result<()> {
        unreachable!()
    }

    async fn purgeable(&self, _: i64, after: Option<&Candidate>, _: u32) -> Result<Vec<Candidate>> {
        Ok(if after.is_none() { self.purgeable.lock().unwrap().clone() } else { vec![] })
    }

    async fn purge(&self, task: &TaskRef) -> Result<bool> {
        self.purged.lock().unwrap().push(task.task_id.clone());
        Ok(true)
    }

    async fn tombstones(&self, _: i64, _: Option<&Candidate>, _: u32) -> Result<Vec<Candidate>> {
        Ok(vec![])
    }

    async fn forget(&self, _: &TaskRef) -> Result<bool> {
        unreachable!()
    }

    async fn open_tasks(&self) -> Result<Vec<OpenTasks>> {
        Ok(Vec::new())
    }

    async fn health(&self) -> Result<Health> {
        Ok(Health { backend: Backend::Sqlite, schema_version: 1 })
    }

    async fn close(&self) {}
}

// Hardly a test here speaks of proposals.
#[async_trait]
impl ProposalStore for FakeRegistry {
    async fn put_draft(&self, _: &ProposalRef, _: &OfferedProposal, _: &ProposalCause) -> Result<Ruled> {
        unreachable!()
    }

    async fn commit_proposal(&self, _: &ProposalRef, _: &OfferedProposal, _: &ProposalCause) -> Result<Ruled> {
        unreachable!()
    }

    async fn get_proposal(&self, _: &ProposalRef) -> Result<Option<ProposalRecord>> {
        Ok(None)
    }

    async fn get_reserved(&self, _: &TaskRef) -> Result<Option<ProposalRecord>> {
        Ok(None)
    }

    async fn get_by_media_buy_id(&self, _: &str, _: &str, _: &str) -> Result<Option<ProposalRecord>> {
        Ok(None)
    }

    async fn try_reserve(&self, _: &TaskRef, _: &ProposalUse) -> Result<Ruled> {
        unreachable!()
    }

    async fn finalize_proposal(&self, _: &ProposalRef, _: &str, _: &Bought, _: &ProposalCause) -> Result<Ruled> {
        unreachable!()
    }

    async fn release_proposal(&self, _: &ProposalRef, _: &str, _: &ProposalCause) -> Result<Option<Proposal>> {
        unreachable!()
    }

    async fn decline_proposal(&self, _: &ProposalRef, _: &ProposalCause) -> Result<Ruled> {
        unreachable!()
    }

    async fn expire_proposal(&self, _: &ProposalRef, _: &ProposalCause) -> Result<Ruled> {
        self.expired.lock().unwrap().pop_front().unwrap_or(Err(RegistryError::Unavailable("away".into())))
    }

    async fn discard_proposal(&self, _: &ProposalRef) -> Result<bool> {
        unreachable!()
    }

    async fn keep_proposals(&self, _: &TaskRef, _: &str, _: bool) -> Result<KeptProposals> {
        Ok(KeptProposals::default())
    }

    async fn list_proposals(&self, _: &ProposalFilter, _: u32) -> Result<Vec<Proposal>> {
        Ok(Vec::new())
    }

    async fn proposal_history(&self, _: &ProposalRef) -> Result<Option<Vec<ProposalEntry>>> {
        Ok(None)
    }

    async fn sweep_proposals(&self, _: &SweepBounds, _: u32) -> Result<Swept> {
        Ok(Swept::default())
    }
}

#[async_trait]
impl SandboxStore for FakeRegistry {
    async fn put_directive(&self, directive: &Directive) -> Result<bool> {
        Ok(self.directive.lock().unwrap().replace(directive.clone()).is_none())
    }

    async fn directive(&self, _: &TaskRef) -> Result<Option<Directive>> {
        Ok(self.directive.lock().unwrap().clone())
    }

    async fn claim_forced(&self, claim: &NewClaim, _: &Directive, replaces: Option<Seen>) -> Result<Forced> {
        self.forcing.lock().unwrap().push((claim.clone(), replaces));
        self.forced.lock().unwrap().pop_front().unwrap_or(Ok(Forced::Passed))
    }

    async fn sandbox_requests(&self, _: Option<&str>, after: Option<&TaskRef>, _: u32) -> Result<Vec<SandboxRequest>> {
        Ok(if after.is_none() { self.sandboxed.lock().unwrap().clone() } else { vec![] })
    }

    async fn clear_request(&self, _: &TaskRef, seen: Option<Seen>) -> Result<Cleared> {
        self.clearing.lock().unwrap().push(seen);
        self.cleared.lock().unwrap().pop_front().unwrap_or(Ok(Cleared::Missing))
    }

    async fn sandbox_proposals(&self, _: Option<&str>, after: Option<&ProposalKey>, _: u32) -> Result<Vec<Proposal>> {
        Ok(if after.is_none() { self.offered_in_sandbox.lock().unwrap().clone() } else { vec![] })
    }

    async fn clear_proposal(&self, proposal: &ProposalKey, seen: Seen) -> Result<Cleared> {
        let task = TaskRef { task_id: proposal.proposal_id.clone(), ..TaskRef::default() };
        self.clear_request(&task, Some(seen)).await
    }

    async fn clear_directives(&self, _: Option<&str>, dry_run: bool) -> Result<u64> {
        let mut directive = self.directive.lock().unwrap();
        let waiting = u64::from(directive.is_some());
        if !dry_run {
            *directive = None;
        }
        Ok(waiting)
    }

    async fn clear_governance(&self, _: Option<&str>, _: bool) -> Result<u64> {
        Ok(0)
    }
}

#[async_trait]
impl NonceStore for FakeRegistry {
    async fn use_nonce(&self, _: &UsedNonce) -> Result<NonceUse> {
        unreachable!()
    }

    async fn prune_nonces(&self, _: i64) -> Result<()> {
        unreachable!()
    }
}

#[async_trait]
impl GovernanceStore for FakeRegistry {
    async fn bind_governance(&self, _: &GovernanceBinding) -> Result<()> {
        Ok(())
    }

    async fn governance(&self, _: &str) -> Result<Option<GovernanceBinding>> {
        Ok(None)
    }
}

fn settlement_of(task: TaskRecord) -> Option<Settlement> {
    let ended = task.status.parse::<TaskStatus>().is_ok_and(TaskStatus::is_terminal);
    ended.then_some(Settlement {
        status: task.status,
        result_json: task.result_json,
        error: task.error,
        decision_id: task.decision_id,
        actor: task.actor,
        reason: task.reason,
        ..Default::default()
    })
}

/// The task that [`FakeRegistry::find`] finds.
pub(crate) fn task() -> TaskRef {
    TaskRef { task_id: "t".into(), scope: "acct".into(), principal: "p".into(), verb: "create_media_buy".into() }
}

/// What a fake Temporal answers to one call.
pub(crate) enum Say {
    /// These bytes.
    Message(Vec<u8>),
    /// This error.
    Error(Status),
    /// Nothing, ever.
    Nothing,
}

/// The names and bodies of the calls that a fake Temporal got.
pub(crate) type Calls = Arc<Mutex<Vec<(String, Vec<u8>)>>>;

/// A client whose Temporal answers the n-th call of a name with `answer(name, n)`, n from 0.
pub(crate) async fn fake_temporal(answer: impl Fn(&str, usize) -> Say + Send + Sync + 'static) -> (Client, Calls) {
    let calls = Calls::default();
    let seen = calls.clone();
    let service = CallbackBasedGrpcService {
        callback: Arc::new(move |request| {
            if request.rpc == "GetSystemInfo" {
                return async { Ok(GrpcSuccessResponse { headers: Default::default(), proto: vec![] }) }.boxed();
            }
            let number = {
                let mut seen = seen.lock().unwrap();
                seen.push((request.rpc.clone(), request.proto.to_vec()));
                seen.iter().filter(|(name, _)| *name == request.rpc).count() - 1
            };
            match answer(&request.rpc, number) {
                Say::Message(proto) => async { Ok(GrpcSuccessResponse { headers: Default::default(), proto }) }.boxed(),
                Say::Error(status) => async { Err(status) }.boxed(),
                Say::Nothing => futures::future::pending().boxed(),
            }
        }),
    };
    let options = ConnectionOptions::new(url::Url::parse("http://fake:7233").unwrap())
        .service_override(service)
        .dns_load_balancing(None)
        .build();
    let connection = Connection::connect(options).await.unwrap();
    let options = ClientOptions::new("default").data_converter(codec::data_converter(None)).build();
    (Client::new(connection, options).unwrap(), calls)
}

/// A client of both.
pub(crate) async fn fake_handoff(
    registry: FakeRegistry,
    answer: impl Fn(&str, usize) -> Say + Send + Sync + 'static,
) -> (Handoff, Arc<FakeRegistry>, Calls) {
    configured_handoff(Config::default(), registry, answer).await
}

/// The same with a configuration of its own.
pub(crate) async fn configured_handoff(
    config: Config,
    registry: FakeRegistry,
    answer: impl Fn(&str, usize) -> Say + Send + Sync + 'static,
) -> (Handoff, Arc<FakeRegistry>, Calls) {
    let (temporal, calls) = fake_temporal(answer).await;
    let registry = Arc::new(registry);
    (Handoff::from_parts(temporal, registry.clone(), config), registry, calls)
}

/// The answer to a look at a run that is open.
pub(crate) fn running() -> Say {
    let execution = WorkflowExecution { workflow_id: "acct/t".into(), run_id: "run".into() };
    let info = WorkflowExecutionInfo {
        execution: Some(execution),
        status: WorkflowExecutionStatus::Running.into(),
        ..Default::default()
    };
    let response = DescribeWorkflowExecutionResponse {
        execution_config: Some(WorkflowExecutionConfig::default()),
        workflow_execution_info: Some(info),
        ..Default::default()
    };
    Say::Message(response.encode_to_vec())
}

/// The answer to Update-With-Start once the run has said this.
pub(crate) fn told(kind: outcome::Kind) -> Say {
    let start = StartWorkflowExecutionResponse { run_id: "run".into(), started: true, ..Default::default() };
    let update = updated(&Outcome { kind: Some(kind) });
    let responses = [response::Response::StartWorkflow(start), response::Response::UpdateWorkflow(update)];
    let responses = responses.map(|response| Response { response: Some(response) }).to_vec();
    Say::Message(ExecuteMultiOperationResponse { responses }.encode_to_vec())
}

/// The answer to a look at a run's history: its beginning, with this input.
pub(crate) fn begun(input: Payload) -> Say {
    let started = WorkflowExecutionStartedEventAttributes {
        input: Some(Payloads { payloads: vec![input] }),
        ..Default::default()
    };
    let attributes = Some(Attributes::WorkflowExecutionStartedEventAttributes(started));
    let history = History { events: vec![HistoryEvent { attributes, ..Default::default() }] };
    let response = GetWorkflowExecutionHistoryResponse { history: Some(history), ..Default::default() };
    Say::Message(response.encode_to_vec())
}

/// The answer to the update `resolve`.
pub(crate) fn resolution(resolution: &Resolution) -> Say {
    Say::Message(updated(resolution).encode_to_vec())
}

/// The same, as a worker with other keys than this process gives it.
pub(crate) fn sealed_resolution() -> Say {
    Say::Message(answered(sealed()).encode_to_vec())
}

/// A payload that is sealed with key `k`.
pub(crate) fn sealed() -> Payload {
    let metadata = [("encoding", "binary/encrypted"), ("encryption-key-id", "k")];
    let metadata = metadata.map(|(name, value)| (name.to_owned(), value.as_bytes().to_vec()));
    Payload { metadata: HashMap::from(metadata), data: vec![1; 64], ..Default::default() }
}

fn updated<T: Serialize>(result: &T) -> UpdateWorkflowExecutionResponse {
    answered(Payload {
        metadata: HashMap::from([("encoding".to_owned(), b"json/plain".to_vec())]),
        data: serde_json::to_vec(result).unwrap(),
        ..Default::default()
    })
}

fn answered(payload: Payload) -> UpdateWorkflowExecutionResponse {
    let value = update::outcome::Value::Success(Payloads { payloads: vec![payload] });
    UpdateWorkflowExecutionResponse {
        outcome: Some(update::Outcome { value: Some(value) }),
        stage: UpdateWorkflowExecutionLifecycleStage::Completed.into(),
        ..Default::default()
    }
}

/// How often a call of this name was made.
pub(crate) fn count(calls: &Calls, name: &str) -> usize {
    calls.lock().unwrap().iter().filter(|(called, _)| called == name).count()
}
