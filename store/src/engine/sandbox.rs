//! Directives, and the requests that use them up.

use super::{CLAIM_ATTEMPTS, Engine, Result};
use crate::{
    Arm, Cleared, Directive, Forced, NewClaim, Proposal, ProposalKey, RegistryError, SandboxRequest, SandboxStore,
    Seen, Transition, check, observe,
    rules::{self, Request},
    sql::{self, directives, requests, reset::Few},
    store::{Store, Transaction},
};
use async_trait::async_trait;
use handoff_proto::v1::{TaskRef, decision::Kind};

impl<S: Store> Engine<S> {
    /// `None`: the key or the task id changed hands while this looked. `key` is the claim's own, before it was made what is
    /// stored.
    async fn try_force(
        &self,
        claim: &NewClaim,
        key: Option<&str>,
        directive: &Directive,
        kind: Kind,
        replaces: Option<Seen>,
    ) -> Result<Option<Forced>> {
        let mut transaction = self.store.write().await?;
        let mut step = self.step();
        let waiting = transaction.directives(directives::lock(S::DIALECT, &claim.task)).await?.pop();
        let holder = requests::lock_id(S::DIALECT, &claim.task.task_id);
        let holder = self.one(transaction.rows(holder).await?).await?;
        if waiting.is_none_or(|waiting| waiting.directive_id != directive.id) {
            return Ok(Some(rules::sandbox::used_up(holder.as_ref(), claim, step.now)));
        }
        if let Some(key) = key
            && !transaction.rows(requests::lock_key(S::DIALECT, &claim.task, key)).await?.is_empty()
        {
            return Ok(Some(Forced::Passed));
        }
        if let Some(holder) = holder {
            if !rules::sandbox::may_replace(&holder, &claim.task) {
                return Ok(Some(Forced::Taken));
            }
            let seen = rules::sandbox::seen(&holder);
            if replaces != Some(seen) {
                return Ok(Some(Forced::Held { seen }));
            }
            self.delete(&mut transaction, &claim.task.task_id).await?;
        }
        let before = Request::new(claim, &mut step);
        let mut request = before.clone();
        let forced = rules::sandbox::decide(&mut request, kind, &mut step);
        let mut columns = requests::columns(&request)?;
        if let Some(webhook) = claim.webhook.as_ref().filter(|_| request.needs_webhook()) {
            columns.push((requests::WEBHOOK, (&webhook.config_json).into()));
        }
        let columns = self.vault.seal_changes(&claim.task, columns).await?;
        if transaction.execute(requests::insert(&claim.task, key, columns)).await? == 0 {
            return Ok(None);
        }
        self.follow(&mut transaction, &before, &request, &mut step).await?;
        let events = observe::events(&before, &request, &step.entries);
        self.append(&mut transaction, &claim.task, step.entries).await?;
        transaction.execute(directives::delete(&claim.task)).await?;
        transaction.commit().await?;
        if let Some(observer) = self.watch.observer() {
            let (verb, arm) = (request.task.verb.as_str(), Arm::of(&request));
            for event in events {
                observer.wrote(&Transition { verb, arm, event });
            }
        }
        Ok(Some(forced))
    }

    /// Nothing is left of a task.
    pub(super) async fn delete(&self, transaction: &mut S::Transaction, task_id: &str) -> Result<()> {
        for statement in sql::webhooks::delete(task_id) {
            transaction.execute(statement).await?;
        }
        transaction.execute(requests::delete_history(task_id)).await?;
        transaction.execute(requests::delete(task_id)).await?;
        Ok(())
    }
}

#[async_trait]
impl<S: Store> SandboxStore for Engine<S> {
    async fn put_directive(&self, directive: &Directive) -> Result<bool> {
        let decision = check::directive(directive)?;
        let sealed = self.vault.seal_directive(&directive.task, &decision).await?;
        let mut transaction = self.store.write().await?;
        // In the order in which a claim locks them.
        transaction.directives(directives::lock(S::DIALECT, &directive.task)).await?;
        let holder = requests::lock_id(S::DIALECT, &directive.task.task_id);
        let holder = self.one(transaction.rows(holder).await?).await?;
        if holder.is_some_and(|holder| !rules::sandbox::may_replace(&holder, &directive.task)) {
            return Ok(false);
        }
        transaction.execute(directives::put(directive, &sealed)).await?;
        transaction.commit().await?;
        Ok(true)
    }

    async fn directive(&self, request: &TaskRef) -> Result<Option<Directive>> {
        if !check::may_exist(request) || request.verb.contains('\0') {
            return Ok(None);
        }
        match self.store.directives(directives::waiting(request)).await?.pop() {
            Some(row) => self.vault.open_directive(row).await.map(Some),
            None => Ok(None),
        }
    }

    async fn claim_forced(&self, claim: &NewClaim, directive: &Directive, replaces: Option<Seen>) -> Result<Forced> {
        if !claim.sandbox {
            return Err(check::invalid("sandbox", "only a request of a sandbox account can be forced"));
        }
        let kind = check::decision(&directive.decision)?;
        let (claim, key) = self.storable_claim(claim)?;
        for _ in 0..CLAIM_ATTEMPTS {
            let forced = self.try_force(&claim, key.as_deref(), directive, kind.clone(), replaces).await?;
            if let Some(forced) = forced {
                return Ok(forced);
            }
        }
        Err(RegistryError::Unavailable("the task id changes hands too fast".to_owned()))
    }

    async fn sandbox_requests(
        &self,
        scope: Option<&str>,
        after: Option<&TaskRef>,
        limit: u32,
    ) -> Result<Vec<SandboxRequest>> {
        self.requests_to_clear(scope, after, limit).await
    }

    async fn clear_request(&self, task: &TaskRef, seen: Option<Seen>) -> Result<Cleared> {
        self.clear_one(task, seen).await
    }

    async fn sandbox_proposals(
        &self,
        scope: Option<&str>,
        after: Option<&ProposalKey>,
        limit: u32,
    ) -> Result<Vec<Proposal>> {
        self.proposals_to_clear(scope, after, limit).await
    }

    async fn clear_proposal(&self, proposal: &ProposalKey, seen: Seen) -> Result<Cleared> {
        self.clear_offered(proposal, seen).await
    }

    async fn clear_directives(&self, scope: Option<&str>, dry_run: bool) -> Result<u64> {
        self.clear_few(Few::Directives, scope, dry_run).await
    }

    async fn clear_governance(&self, scope: Option<&str>, dry_run: bool) -> Result<u64> {
        self.clear_few(Few::Governance, scope, dry_run).await
    }
}
