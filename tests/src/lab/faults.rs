//! A registry that dies, once, right before or right after one of its transactions; or that is late to say what it did.

use super::{Calls, calls::die};
use handoff_proto::{
    v1::{AdcpError, Completion, Decision, HistoryEntry, Progress, Settlement, Standing, TaskRecord, TaskRef},
    wire::{Bought, ListTasksRequest, OfferedProposal},
};
use handoff_store::{
    Candidate, Claim, ClaimView, Cleared, DirectView, Directive, Forced, GovernanceBinding, GovernanceStore, Health,
    KeptProposals, Lease, NewClaim, NonceStore, NonceUse, Notification, Observation, OpenTasks, Proposal,
    ProposalCause, ProposalEntry, ProposalFilter, ProposalKey, ProposalRecord, ProposalRef, ProposalStore, ProposalUse,
    Reconciled, Registry, RegistryError, Resealed, Ruled, SandboxRequest, SandboxStore, Seen, SweepBounds, Swept,
    TaskPage, UsedNonce, Viewer, WebhookAttempt, WebhookDelivery, WebhookFilter, WebhookRecord, WebhookState,
};
use std::{fmt, str::FromStr, sync::Arc};

/// Before the transaction begins, or after it was committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// Nothing is written.
    Before,
    /// Everything is written, and nobody knows.
    After,
    /// Everything is written, and nobody is told, each time, until the gate `fault` is open.
    Held,
}

/// Where to die, or to wait.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The registry's method.
    pub transaction: String,
    /// Before or after it.
    pub moment: Moment,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let moment = match self.moment {
            Moment::Before => "before",
            Moment::After => "after",
            Moment::Held => "held",
        };
        write!(f, "{moment}:{}", self.transaction)
    }
}

impl FromStr for Fault {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        let moment = |name: &str| match name {
            "before" => Ok(Moment::Before),
            "after" => Ok(Moment::After),
            "held" => Ok(Moment::Held),
            other => Err(anyhow::anyhow!("{other:?} is none of before, after and held")),
        };
        let (name, transaction) = text.split_once(':').ok_or_else(|| anyhow::anyhow!("write MOMENT:TRANSACTION"))?;
        Ok(Self { transaction: transaction.to_owned(), moment: moment(name)? })
    }
}

/// The registry with a fault in it.
pub struct FaultyRegistry {
    inner: Arc<dyn Registry>,
    fault: Fault,
    calls: Calls,
}

impl FaultyRegistry {
    /// Around a sound one.
    pub fn new(inner: Arc<dyn Registry>, fault: Fault, calls: Calls) -> Self {
        Self { inner, fault, calls }
    }

    async fn around<T>(&self, transaction: &str, commit: impl Future<Output = T>) -> T {
        let due = |moment| self.fault.transaction == transaction && self.fault.moment == moment;
        if due(Moment::Before) && self.calls.first_time("fault") {
            die();
        }
        let committed = commit.await;
        if due(Moment::After) && self.calls.first_time("fault") {
            die();
        }
        if due(Moment::Held) {
            self.calls.pass("fault").await;
        }
        committed
    }
}

type Result<T> = std::result::Result<T, RegistryError>;

#[async_trait::async_trait]
impl Registry for FaultyRegistry {
    async fn claim(&self, claim: &NewClaim) -> Result<Claim> {
        self.inner.claim(claim).await
    }

    async fn claim_directly(&self, claim: &NewClaim, lease: &Lease) -> Result<Claim> {
        self.around("claim_directly", self.inner.claim_directly(claim, lease)).await
    }

    async fn direct_view(&self, task: &TaskRef) -> Result<DirectView> {
        self.inner.direct_view(task).await
    }

    async fn take_over(&self, task: &TaskRef, lease: &Lease) -> Result<bool> {
        self.around("take_over", self.inner.take_over(task, lease)).await
    }

    async fn record_direct(&self, task: &TaskRef, decision: &Decision, lease: &Lease) -> Result<Standing> {
        self.around("record_direct", self.inner.record_direct(task, decision, lease)).await
    }

    async fn hand_over(&self, task: &TaskRef, lease: Option<&Lease>) -> Result<()> {
        self.around("hand_over", self.inner.hand_over(task, lease)).await
    }

    async fn claim_view(&self, task: &TaskRef) -> Result<ClaimView> {
        self.inner.claim_view(task).await
    }

    async fn standing(&self, task: &TaskRef) -> Result<Standing> {
        self.around("standing", self.inner.standing(task)).await
    }

    async fn begin(&self, task: &TaskRef) -> Result<Standing> {
        self.around("begin", self.inner.begin(task)).await
    }

    async fn record_decision(&self, task: &TaskRef, decision: &Decision) -> Result<Standing> {
        self.around("record_decision", self.inner.record_decision(task, decision)).await
    }

    async fn accept(&self, task: &TaskRef) -> Result<Standing> {
        self.around("accept", self.inner.accept(task)).await
    }

    async fn update_progress(&self, task: &TaskRef, progress: &Progress) -> Result<bool> {
        self.around("update_progress", self.inner.update_progress(task, progress)).await
    }

    async fn settle(&self, task: &TaskRef, completion: &Completion) -> Result<Option<Settlement>> {
        self.around("settle", self.inner.settle(task, completion)).await
    }

    async fn discard(&self, task: &TaskRef, error: &AdcpError) -> Result<Option<Settlement>> {
        self.around("discard", self.inner.discard(task, error)).await
    }

    async fn webhook_delivery(&self, task: &TaskRef) -> Result<Option<WebhookDelivery>> {
        self.around("webhook_delivery", self.inner.webhook_delivery(task)).await
    }

    async fn record_webhook(
        &self,
        task: &TaskRef,
        idempotency_key: &str,
        attempt: Option<&WebhookAttempt>,
        state: WebhookState,
    ) -> Result<Option<WebhookState>> {
        self.around("record_webhook", self.inner.record_webhook(task, idempotency_key, attempt, state)).await
    }

    async fn renew_webhook(&self, task: &TaskRef) -> Result<Option<WebhookState>> {
        self.inner.renew_webhook(task).await
    }

    async fn webhooks(&self, filter: &WebhookFilter, limit: u32) -> Result<Vec<WebhookRecord>> {
        self.inner.webhooks(filter, limit).await
    }

    async fn webhook_log(&self, task_id: &str) -> Result<Option<(WebhookRecord, Vec<WebhookAttempt>)>> {
        self.inner.webhook_log(task_id).await
    }

    async fn append_history(&self, task: &TaskRef, entries: &[(String, HistoryEntry)]) -> Result<()> {
        self.around("append_history", self.inner.append_history(task, entries)).await
    }

    async fn begin_notification(&self, task: &TaskRef, at_most: u32) -> Result<Option<Notification>> {
        self.around("begin_notification", self.inner.begin_notification(task, at_most)).await
    }

    async fn end_notification(&self, task: &TaskRef, number: u32) -> Result<()> {
        self.around("end_notification", self.inner.end_notification(task, number)).await
    }

    async fn webhook(&self, task: &TaskRef) -> Result<Option<String>> {
        self.inner.webhook(task).await
    }

    async fn reseal(&self, after: Option<&str>, limit: u32, dry_run: bool) -> Result<Resealed> {
        self.inner.reseal(after, limit, dry_run).await
    }

    async fn get(&self, viewer: &Viewer, task_id: &str, include_history: bool) -> Result<Option<TaskRecord>> {
        self.inner.get(viewer, task_id, include_history).await
    }

    async fn list(&self, viewer: &Viewer, request: &ListTasksRequest) -> Result<TaskPage> {
        self.inner.list(viewer, request).await
    }

    async fn find(&self, viewer: &Viewer, task_id: &str) -> Result<Option<TaskRef>> {
        self.inner.find(viewer, task_id).await
    }

    async fn unfinished(&self, updated_before: i64, after: Option<&str>, limit: u32) -> Result<Vec<Observation>> {
        self.inner.unfinished(updated_before, after, limit).await
    }

    async fn reconcile(&self, observed: &Observation, error: &AdcpError) -> Result<Reconciled> {
        self.around("reconcile", self.inner.reconcile(observed, error)).await
    }

    async fn purgeable(&self, updated_before: i64, after: Option<&Candidate>, limit: u32) -> Result<Vec<Candidate>> {
        self.inner.purgeable(updated_before, after, limit).await
    }

    async fn purge(&self, task: &TaskRef) -> Result<bool> {
        self.around("purge", self.inner.purge(task)).await
    }

    async fn tombstones(&self, purged_before: i64, after: Option<&Candidate>, limit: u32) -> Result<Vec<Candidate>> {
        self.inner.tombstones(purged_before, after, limit).await
    }

    async fn forget(&self, task: &TaskRef) -> Result<bool> {
        self.around("forget", self.inner.forget(task)).await
    }

    async fn open_tasks(&self) -> Result<Vec<OpenTasks>> {
        self.inner.open_tasks().await
    }

    async fn health(&self) -> Result<Health> {
        self.inner.health().await
    }

    async fn close(&self) {
        self.inner.close().await;
    }
}

#[async_trait::async_trait]
impl ProposalStore for FaultyRegistry {
    async fn put_draft(&self, proposal: &ProposalRef, offer: &OfferedProposal, cause: &ProposalCause) -> Result<Ruled> {
        self.around("put_draft", self.inner.put_draft(proposal, offer, cause)).await
    }

    async fn commit_proposal(
        &self,
        proposal: &ProposalRef,
        offer: &OfferedProposal,
        cause: &ProposalCause,
    ) -> Result<Ruled> {
        self.around("commit_proposal", self.inner.commit_proposal(proposal, offer, cause)).await
    }

    async fn get_proposal(&self, proposal: &ProposalRef) -> Result<Option<ProposalRecord>> {
        self.around("get_proposal", self.inner.get_proposal(proposal)).await
    }

    async fn get_reserved(&self, task: &TaskRef) -> Result<Option<ProposalRecord>> {
        self.around("get_reserved", self.inner.get_reserved(task)).await
    }

    async fn get_by_media_buy_id(
        &self,
        scope: &str,
        principal: &str,
        media_buy_id: &str,
    ) -> Result<Option<ProposalRecord>> {
        self.around("get_by_media_buy_id", self.inner.get_by_media_buy_id(scope, principal, media_buy_id)).await
    }

    async fn try_reserve(&self, task: &TaskRef, proposal: &ProposalUse) -> Result<Ruled> {
        self.around("try_reserve", self.inner.try_reserve(task, proposal)).await
    }

    async fn finalize_proposal(
        &self,
        proposal: &ProposalRef,
        task_id: &str,
        bought: &Bought,
        cause: &ProposalCause,
    ) -> Result<Ruled> {
        self.around("finalize_proposal", self.inner.finalize_proposal(proposal, task_id, bought, cause)).await
    }

    async fn release_proposal(
        &self,
        proposal: &ProposalRef,
        task_id: &str,
        cause: &ProposalCause,
    ) -> Result<Option<Proposal>> {
        self.around("release_proposal", self.inner.release_proposal(proposal, task_id, cause)).await
    }

    async fn decline_proposal(&self, proposal: &ProposalRef, cause: &ProposalCause) -> Result<Ruled> {
        self.around("decline_proposal", self.inner.decline_proposal(proposal, cause)).await
    }

    async fn expire_proposal(&self, proposal: &ProposalRef, cause: &ProposalCause) -> Result<Ruled> {
        self.around("expire_proposal", self.inner.expire_proposal(proposal, cause)).await
    }

    async fn discard_proposal(&self, proposal: &ProposalRef) -> Result<bool> {
        self.around("discard_proposal", self.inner.discard_proposal(proposal)).await
    }

    async fn keep_proposals(&self, task: &TaskRef, result_json: &str, sandbox: bool) -> Result<KeptProposals> {
        self.around("keep_proposals", self.inner.keep_proposals(task, result_json, sandbox)).await
    }

    async fn list_proposals(&self, filter: &ProposalFilter, limit: u32) -> Result<Vec<Proposal>> {
        self.around("list_proposals", self.inner.list_proposals(filter, limit)).await
    }

    async fn proposal_history(&self, proposal: &ProposalRef) -> Result<Option<Vec<ProposalEntry>>> {
        self.around("proposal_history", self.inner.proposal_history(proposal)).await
    }

    async fn sweep_proposals(&self, bounds: &SweepBounds, limit: u32) -> Result<Swept> {
        self.around("sweep_proposals", self.inner.sweep_proposals(bounds, limit)).await
    }
}

#[async_trait::async_trait]
impl SandboxStore for FaultyRegistry {
    async fn put_directive(&self, directive: &Directive) -> Result<bool> {
        self.around("put_directive", self.inner.put_directive(directive)).await
    }

    async fn directive(&self, request: &TaskRef) -> Result<Option<Directive>> {
        self.inner.directive(request).await
    }

    async fn claim_forced(&self, claim: &NewClaim, directive: &Directive, replaces: Option<Seen>) -> Result<Forced> {
        let transaction = if replaces.is_some() { "replace_forced" } else { "claim_forced" };
        self.around(transaction, self.inner.claim_forced(claim, directive, replaces)).await
    }

    async fn sandbox_requests(
        &self,
        scope: Option<&str>,
        after: Option<&TaskRef>,
        limit: u32,
    ) -> Result<Vec<SandboxRequest>> {
        self.inner.sandbox_requests(scope, after, limit).await
    }

    async fn clear_request(&self, task: &TaskRef, seen: Option<Seen>) -> Result<Cleared> {
        let transaction = if seen.is_some() { "clear_request" } else { "look_to_clear" };
        self.around(transaction, self.inner.clear_request(task, seen)).await
    }

    async fn sandbox_proposals(
        &self,
        scope: Option<&str>,
        after: Option<&ProposalKey>,
        limit: u32,
    ) -> Result<Vec<Proposal>> {
        self.inner.sandbox_proposals(scope, after, limit).await
    }

    async fn clear_proposal(&self, proposal: &ProposalKey, seen: Seen) -> Result<Cleared> {
        self.around("clear_proposal", self.inner.clear_proposal(proposal, seen)).await
    }

    async fn clear_directives(&self, scope: Option<&str>, dry_run: bool) -> Result<u64> {
        self.around("clear_directives", self.inner.clear_directives(scope, dry_run)).await
    }

    async fn clear_governance(&self, scope: Option<&str>, dry_run: bool) -> Result<u64> {
        self.around("clear_governance", self.inner.clear_governance(scope, dry_run)).await
    }
}

#[async_trait::async_trait]
impl NonceStore for FaultyRegistry {
    async fn use_nonce(&self, used: &UsedNonce) -> Result<NonceUse> {
        self.around("use_nonce", self.inner.use_nonce(used)).await
    }

    async fn prune_nonces(&self, now: i64) -> Result<()> {
        self.inner.prune_nonces(now).await
    }
}

#[async_trait::async_trait]
impl GovernanceStore for FaultyRegistry {
    async fn bind_governance(&self, binding: &GovernanceBinding) -> Result<()> {
        self.around("bind_governance", self.inner.bind_governance(binding)).await
    }

    async fn governance(&self, scope: &str) -> Result<Option<GovernanceBinding>> {
        self.inner.governance(scope).await
    }
}
