//! A registry whose calls are measured.

use crate::{
    CallOutcome, Candidate, Claim, ClaimView, Cleared, DirectView, Directive, Forced, GovernanceBinding,
    GovernanceStore, Health, KeptProposals, Lease, NewClaim, NonceStore, NonceUse, Notification, Observation, Observer,
    OpenTasks, Proposal, ProposalCause, ProposalEntry, ProposalFilter, ProposalKey, ProposalRecord, ProposalRef,
    ProposalStore, ProposalUse, Reconciled, Registry, RegistryError, Resealed, Ruled, SandboxRequest, SandboxStore,
    Seen, SweepBounds, Swept, TaskPage, UsedNonce, Viewer, WebhookAttempt, WebhookDelivery, WebhookFilter,
    WebhookRecord, WebhookState,
};
use async_trait::async_trait;
use handoff_proto::{
    v1::{AdcpError, Completion, Decision, HistoryEntry, Progress, Settlement, Standing, TaskRecord, TaskRef},
    wire::{Bought, ListTasksRequest, OfferedProposal},
};
use std::{sync::Arc, time::Instant};

type Result<T> = std::result::Result<T, RegistryError>;

/// Does what another registry does, and tells an observer how long it took.
pub(crate) struct Observed<R> {
    inner: R,
    observer: Arc<dyn Observer>,
}

impl<R: Registry> Observed<R> {
    pub(crate) fn new(inner: R, observer: Arc<dyn Observer>) -> Self {
        Self { inner, observer }
    }

    async fn measure<T>(&self, operation: &'static str, call: impl Future<Output = Result<T>>) -> Result<T> {
        let began = Instant::now();
        let result = call.await;
        let outcome = match &result {
            Ok(_) => CallOutcome::Ok,
            Err(error) if error.is_transient() => CallOutcome::Unavailable,
            // The caller's mistake, not the registry's trouble.
            Err(RegistryError::InvalidCursor | RegistryError::InvalidQuery { .. }) => CallOutcome::Ok,
            Err(_) => CallOutcome::Failed,
        };
        self.observer.called(operation, began.elapsed(), outcome);
        result
    }
}

#[async_trait]
impl<R: Registry> Registry for Observed<R> {
    async fn claim(&self, claim: &NewClaim) -> Result<Claim> {
        self.measure("claim", self.inner.claim(claim)).await
    }

    async fn claim_directly(&self, claim: &NewClaim, lease: &Lease) -> Result<Claim> {
        self.measure("claim_directly", self.inner.claim_directly(claim, lease)).await
    }

    async fn direct_view(&self, task: &TaskRef) -> Result<DirectView> {
        self.measure("direct_view", self.inner.direct_view(task)).await
    }

    async fn take_over(&self, task: &TaskRef, lease: &Lease) -> Result<bool> {
        self.measure("take_over", self.inner.take_over(task, lease)).await
    }

    async fn record_direct(&self, task: &TaskRef, decision: &Decision, lease: &Lease) -> Result<Standing> {
        self.measure("record_direct", self.inner.record_direct(task, decision, lease)).await
    }

    async fn hand_over(&self, task: &TaskRef, lease: Option<&Lease>) -> Result<()> {
        self.measure("hand_over", self.inner.hand_over(task, lease)).await
    }

    async fn claim_view(&self, task: &TaskRef) -> Result<ClaimView> {
        self.measure("claim_view", self.inner.claim_view(task)).await
    }

    async fn standing(&self, task: &TaskRef) -> Result<Standing> {
        self.measure("standing", self.inner.standing(task)).await
    }

    async fn begin(&self, task: &TaskRef) -> Result<Standing> {
        self.measure("begin", self.inner.begin(task)).await
    }

    async fn record_decision(&self, task: &TaskRef, decision: &Decision) -> Result<Standing> {
        self.measure("record_decision", self.inner.record_decision(task, decision)).await
    }

    async fn accept(&self, task: &TaskRef) -> Result<Standing> {
        self.measure("accept", self.inner.accept(task)).await
    }

    async fn update_progress(&self, task: &TaskRef, progress: &Progress) -> Result<bool> {
        self.measure("update_progress", self.inner.update_progress(task, progress)).await
    }

    async fn begin_notification(&self, task: &TaskRef, at_most: u32) -> Result<Option<Notification>> {
        self.measure("begin_notification", self.inner.begin_notification(task, at_most)).await
    }

    async fn end_notification(&self, task: &TaskRef, number: u32) -> Result<()> {
        self.measure("end_notification", self.inner.end_notification(task, number)).await
    }

    async fn settle(&self, task: &TaskRef, completion: &Completion) -> Result<Option<Settlement>> {
        let recorded = self.measure("settle", self.inner.settle(task, completion)).await?;
        if let (Some(recorded), Some(asked)) = (&recorded, completion.to_settlement())
            && !recorded.same_outcome(&asked)
        {
            self.observer.conflicted(&task.verb);
        }
        Ok(recorded)
    }

    async fn discard(&self, task: &TaskRef, error: &AdcpError) -> Result<Option<Settlement>> {
        self.measure("discard", self.inner.discard(task, error)).await
    }

    async fn webhook(&self, task: &TaskRef) -> Result<Option<String>> {
        self.measure("webhook", self.inner.webhook(task)).await
    }

    async fn webhook_delivery(&self, task: &TaskRef) -> Result<Option<WebhookDelivery>> {
        self.measure("webhook_delivery", self.inner.webhook_delivery(task)).await
    }

    async fn record_webhook(
        &self,
        task: &TaskRef,
        idempotency_key: &str,
        attempt: Option<&WebhookAttempt>,
        state: WebhookState,
    ) -> Result<Option<WebhookState>> {
        self.measure("record_webhook", self.inner.record_webhook(task, idempotency_key, attempt, state)).await
    }

    async fn renew_webhook(&self, task: &TaskRef) -> Result<Option<WebhookState>> {
        self.measure("renew_webhook", self.inner.renew_webhook(task)).await
    }

    async fn webhooks(&self, filter: &WebhookFilter, limit: u32) -> Result<Vec<WebhookRecord>> {
        self.measure("webhooks", self.inner.webhooks(filter, limit)).await
    }

    async fn webhook_log(&self, task_id: &str) -> Result<Option<(WebhookRecord, Vec<WebhookAttempt>)>> {
        self.measure("webhook_log", self.inner.webhook_log(task_id)).await
    }

    async fn append_history(&self, task: &TaskRef, entries: &[(String, HistoryEntry)]) -> Result<()> {
        self.measure("append_history", self.inner.append_history(task, entries)).await
    }

    async fn get(&self, viewer: &Viewer, task_id: &str, include_history: bool) -> Result<Option<TaskRecord>> {
        self.measure("get", self.inner.get(viewer, task_id, include_history)).await
    }

    async fn list(&self, viewer: &Viewer, request: &ListTasksRequest) -> Result<TaskPage> {
        self.measure("list", self.inner.list(viewer, request)).await
    }

    async fn find(&self, viewer: &Viewer, task_id: &str) -> Result<Option<TaskRef>> {
        self.measure("find", self.inner.find(viewer, task_id)).await
    }

    async fn unfinished(&self, updated_before: i64, after: Option<&str>, limit: u32) -> Result<Vec<Observation>> {
        self.measure("unfinished", self.inner.unfinished(updated_before, after, limit)).await
    }

    async fn reconcile(&self, observed: &Observation, error: &AdcpError) -> Result<Reconciled> {
        self.measure("reconcile", self.inner.reconcile(observed, error)).await
    }

    async fn purgeable(&self, updated_before: i64, after: Option<&Candidate>, limit: u32) -> Result<Vec<Candidate>> {
        self.measure("purgeable", self.inner.purgeable(updated_before, after, limit)).await
    }

    async fn purge(&self, task: &TaskRef) -> Result<bool> {
        self.measure("purge", self.inner.purge(task)).await
    }

    async fn tombstones(&self, purged_before: i64, after: Option<&Candidate>, limit: u32) -> Result<Vec<Candidate>> {
        self.measure("tombstones", self.inner.tombstones(purged_before, after, limit)).await
    }

    async fn forget(&self, task: &TaskRef) -> Result<bool> {
        self.measure("forget", self.inner.forget(task)).await
    }

    async fn reseal(&self, after: Option<&str>, limit: u32, dry_run: bool) -> Result<Resealed> {
        self.measure("reseal", self.inner.reseal(after, limit, dry_run)).await
    }

    async fn open_tasks(&self) -> Result<Vec<OpenTasks>> {
        self.measure("open_tasks", self.inner.open_tasks()).await
    }

    async fn health(&self) -> Result<Health> {
        self.measure("health", self.inner.health()).await
    }

    async fn close(&self) {
        self.inner.close().await;
    }
}

#[async_trait]
impl<R: Registry> ProposalStore for Observed<R> {
    async fn put_draft(&self, proposal: &ProposalRef, offer: &OfferedProposal, cause: &ProposalCause) -> Result<Ruled> {
        self.measure("put_draft", self.inner.put_draft(proposal, offer, cause)).await
    }

    async fn commit_proposal(
        &self,
        proposal: &ProposalRef,
        offer: &OfferedProposal,
        cause: &ProposalCause,
    ) -> Result<Ruled> {
        self.measure("commit_proposal", self.inner.commit_proposal(proposal, offer, cause)).await
    }

    async fn get_proposal(&self, proposal: &ProposalRef) -> Result<Option<ProposalRecord>> {
        self.measure("get_proposal", self.inner.get_proposal(proposal)).await
    }

    async fn get_reserved(&self, task: &TaskRef) -> Result<Option<ProposalRecord>> {
        self.measure("get_reserved", self.inner.get_reserved(task)).await
    }

    async fn get_by_media_buy_id(
        &self,
        scope: &str,
        principal: &str,
        media_buy_id: &str,
    ) -> Result<Option<ProposalRecord>> {
        self.measure("get_by_media_buy_id", self.inner.get_by_media_buy_id(scope, principal, media_buy_id)).await
    }

    async fn try_reserve(&self, task: &TaskRef, proposal: &ProposalUse) -> Result<Ruled> {
        self.measure("try_reserve", self.inner.try_reserve(task, proposal)).await
    }

    async fn finalize_proposal(
        &self,
        proposal: &ProposalRef,
        task_id: &str,
        bought: &Bought,
        cause: &ProposalCause,
    ) -> Result<Ruled> {
        self.measure("finalize_proposal", self.inner.finalize_proposal(proposal, task_id, bought, cause)).await
    }

    async fn release_proposal(
        &self,
        proposal: &ProposalRef,
        task_id: &str,
        cause: &ProposalCause,
    ) -> Result<Option<Proposal>> {
        self.measure("release_proposal", self.inner.release_proposal(proposal, task_id, cause)).await
    }

    async fn decline_proposal(&self, proposal: &ProposalRef, cause: &ProposalCause) -> Result<Ruled> {
        self.measure("decline_proposal", self.inner.decline_proposal(proposal, cause)).await
    }

    async fn expire_proposal(&self, proposal: &ProposalRef, cause: &ProposalCause) -> Result<Ruled> {
        self.measure("expire_proposal", self.inner.expire_proposal(proposal, cause)).await
    }

    async fn discard_proposal(&self, proposal: &ProposalRef) -> Result<bool> {
        self.measure("discard_proposal", self.inner.discard_proposal(proposal)).await
    }

    async fn keep_proposals(&self, task: &TaskRef, result_json: &str, sandbox: bool) -> Result<KeptProposals> {
        self.measure("keep_proposals", self.inner.keep_proposals(task, result_json, sandbox)).await
    }

    async fn list_proposals(&self, filter: &ProposalFilter, limit: u32) -> Result<Vec<Proposal>> {
        self.measure("list_proposals", self.inner.list_proposals(filter, limit)).await
    }

    async fn proposal_history(&self, proposal: &ProposalRef) -> Result<Option<Vec<ProposalEntry>>> {
        self.measure("proposal_history", self.inner.proposal_history(proposal)).await
    }

    async fn sweep_proposals(&self, bounds: &SweepBounds, limit: u32) -> Result<Swept> {
        self.measure("sweep_proposals", self.inner.sweep_proposals(bounds, limit)).await
    }
}

#[async_trait]
impl<R: Registry> SandboxStore for Observed<R> {
    async fn put_directive(&self, directive: &Directive) -> Result<bool> {
        self.measure("put_directive", self.inner.put_directive(directive)).await
    }

    async fn directive(&self, request: &TaskRef) -> Result<Option<Directive>> {
        self.measure("directive", self.inner.directive(request)).await
    }

    async fn claim_forced(&self, claim: &NewClaim, directive: &Directive, replaces: Option<Seen>) -> Result<Forced> {
        self.measure("claim_forced", self.inner.claim_forced(claim, directive, replaces)).await
    }

    async fn sandbox_requests(
        &self,
        scope: Option<&str>,
        after: Option<&TaskRef>,
        limit: u32,
    ) -> Result<Vec<SandboxRequest>> {
        self.measure("sandbox_requests", self.inner.sandbox_requests(scope, after, limit)).await
    }

    async fn clear_request(&self, task: &TaskRef, seen: Option<Seen>) -> Result<Cleared> {
        self.measure("clear_request", self.inner.clear_request(task, seen)).await
    }

    async fn sandbox_proposals(
        &self,
        scope: Option<&str>,
        after: Option<&ProposalKey>,
        limit: u32,
    ) -> Result<Vec<Proposal>> {
        self.measure("sandbox_proposals", self.inner.sandbox_proposals(scope, after, limit)).await
    }

    async fn clear_proposal(&self, proposal: &ProposalKey, seen: Seen) -> Result<Cleared> {
        self.measure("clear_proposal", self.inner.clear_proposal(proposal, seen)).await
    }

    async fn clear_directives(&self, scope: Option<&str>, dry_run: bool) -> Result<u64> {
        self.measure("clear_directives", self.inner.clear_directives(scope, dry_run)).await
    }

    async fn clear_governance(&self, scope: Option<&str>, dry_run: bool) -> Result<u64> {
        self.measure("clear_governance", self.inner.clear_governance(scope, dry_run)).await
    }
}

#[async_trait]
impl<R: Registry> NonceStore for Observed<R> {
    async fn use_nonce(&self, used: &UsedNonce) -> Result<NonceUse> {
        self.measure("use_nonce", self.inner.use_nonce(used)).await
    }

    async fn prune_nonces(&self, now: i64) -> Result<()> {
        self.measure("prune_nonces", self.inner.prune_nonces(now)).await
    }
}

#[async_trait]
impl<R: Registry> GovernanceStore for Observed<R> {
    async fn bind_governance(&self, binding: &GovernanceBinding) -> Result<()> {
        self.measure("bind_governance", self.inner.bind_governance(binding)).await
    }

    async fn governance(&self, scope: &str) -> Result<Option<GovernanceBinding>> {
        self.measure("governance", self.inner.governance(scope)).await
    }
}
