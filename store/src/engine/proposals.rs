//! The ledger of proposals, for everybody who is not the registry's own transaction.

use super::{Engine, MAX_ROWS, Result, ledger::keys, now};
use crate::{
    KeptProposals, Proposal, ProposalCause, ProposalEntry, ProposalFilter, ProposalRecord, ProposalRef, ProposalStore,
    ProposalUse, Ruled, SweepBounds, Swept, check,
    proposals::Refusal,
    rules::proposals::{self, Changed},
    sql::{
        proposals::{self as sql, Old, ProposalRow},
        requests,
    },
    store::{Store, Transaction},
};
use async_trait::async_trait;
use handoff_proto::{
    errors,
    v1::TaskRef,
    wire::{self, Bought, OfferedProposal},
};

const SWEEPER: &str = "sweep";

impl<S: Store> Engine<S> {
    async fn put_offer(
        &self,
        proposal: &ProposalRef,
        offer: &OfferedProposal,
        committed: bool,
        cause: &ProposalCause,
    ) -> Result<Ruled> {
        check::proposal_key(&proposal.key)?;
        check::offer(offer)?;
        check::cause(cause)?;
        let offer = OfferedProposal { committed, ..offer.clone() };
        let mut transaction = self.store.write().await?;
        let put = self.put(&mut transaction, &proposal.key, &offer, false, cause, now()).await?;
        transaction.commit().await?;
        Ok(put.map_err(|refusal| refusal.error("")))
    }

    /// Writes what a rule makes of a locked proposal.
    async fn ruled(
        &self,
        mut transaction: S::Transaction,
        found: Option<Proposal>,
        changed: Changed,
        cause: &ProposalCause,
        field: &str,
    ) -> Result<Ruled> {
        let after = match changed {
            Ok(Some(change)) => {
                self.change(&mut transaction, &change, None, cause).await?;
                Some(change.after)
            }
            Ok(None) => found,
            Err(refusal) => return Ok(Err(refusal.error(field))),
        };
        transaction.commit().await?;
        Ok(after.ok_or_else(|| Refusal::NotFound.error(field)))
    }

    async fn opened(&self, mut row: ProposalRow) -> Result<ProposalRecord> {
        let stored = row.body_json.take().unwrap_or_default();
        let proposal = Proposal::try_from(row)?;
        let body_json = self.vault.open_body(&proposal.key, stored).await?;
        Ok(ProposalRecord { proposal, body_json })
    }

    /// Releases a reservation whose task has ended or is gone. Locks the task's row first, as its own transactions do.
    async fn release_stranded(&self, stranded: Proposal, bounds: &SweepBounds) -> Result<Option<String>> {
        let (Some(task_id), Some(scope)) = (stranded.held_by, stranded.buyer_scope) else { return Ok(None) };
        let task = TaskRef { task_id, scope, principal: stranded.key.principal.clone(), ..Default::default() };
        let mut transaction = self.store.write().await?;
        let holder = transaction.rows(requests::lock_outline(S::DIALECT, &task)).await?;
        if self.one(holder).await?.is_some_and(|holder| holder.stage().is_some()) {
            return Ok(None);
        }
        let statement = sql::locking(sql::by_key(&stranded.key), S::DIALECT);
        let Some(row) = transaction.proposals(statement).await?.pop() else { return Ok(None) };
        let found = Proposal::try_from(row)?;
        if found.updated_at >= bounds.reserved_before {
            return Ok(None);
        }
        let Some(change) = proposals::release(&found, &task.task_id, now()) else { return Ok(None) };
        let cause = ProposalCause {
            actor: SWEEPER.to_owned(),
            reason: "its task has ended or is gone".to_owned(),
            ..ProposalCause::task(&task.task_id)
        };
        self.change(&mut transaction, &change, None, &cause).await?;
        transaction.commit().await?;
        Ok(Some(task.task_id))
    }
}

#[async_trait]
impl<S: Store> ProposalStore for Engine<S> {
    async fn put_draft(&self, proposal: &ProposalRef, offer: &OfferedProposal, cause: &ProposalCause) -> Result<Ruled> {
        self.put_offer(proposal, offer, false, cause).await
    }

    async fn commit_proposal(
        &self,
        proposal: &ProposalRef,
        offer: &OfferedProposal,
        cause: &ProposalCause,
    ) -> Result<Ruled> {
        self.put_offer(proposal, offer, true, cause).await
    }

    async fn get_proposal(&self, proposal: &ProposalRef) -> Result<Option<ProposalRecord>> {
        for key in keys(proposal) {
            if let Some(row) = self.store.proposals(sql::whole(&key)).await?.pop() {
                return self.opened(row).await.map(Some);
            }
        }
        Ok(None)
    }

    async fn get_reserved(&self, task: &TaskRef) -> Result<Option<ProposalRecord>> {
        if !check::may_exist(task) {
            return Ok(None);
        }
        match self.store.proposals(sql::reserved_by(task)).await?.pop() {
            Some(row) => self.opened(row).await.map(Some),
            None => Ok(None),
        }
    }

    async fn get_by_media_buy_id(
        &self,
        scope: &str,
        principal: &str,
        media_buy_id: &str,
    ) -> Result<Option<ProposalRecord>> {
        if [scope, principal, media_buy_id].iter().any(|name| name.contains('\0')) {
            return Ok(None);
        }
        match self.store.proposals(sql::latest(scope, principal, media_buy_id)).await?.pop() {
            Some(row) => self.opened(row).await.map(Some),
            None => Ok(None),
        }
    }

    async fn try_reserve(&self, task: &TaskRef, proposal: &ProposalUse) -> Result<Ruled> {
        check::proposal_use(proposal)?;
        if !check::may_exist(task) {
            return Ok(Err(Refusal::NotFound.error(&proposal.field)));
        }
        let named = ProposalRef::new(&task.scope, &task.principal, &proposal.proposal_id)
            .or_of_brand(proposal.brand_scope.clone());
        let mut transaction = self.store.write().await?;
        let found = self.locate(&mut transaction, &named).await?;
        let around = match &found {
            Some(found) => self.surroundings(&mut transaction, found, &task.scope, None).await?,
            None => proposals::Surroundings::default(),
        };
        let clock = (now(), self.proposal_grace);
        let changed = proposals::reserve(found.as_ref(), proposal, task, &around, clock);
        let cause = ProposalCause::task(&task.task_id);
        self.ruled(transaction, found, changed, &cause, &proposal.field).await
    }

    async fn finalize_proposal(
        &self,
        proposal: &ProposalRef,
        task_id: &str,
        bought: &Bought,
        cause: &ProposalCause,
    ) -> Result<Ruled> {
        check::cause(cause)?;
        let mut transaction = self.store.write().await?;
        let Some(found) = self.locate(&mut transaction, proposal).await? else {
            return Ok(Err(Refusal::NotFound.error("")));
        };
        if found.is_bought_by(task_id, bought) {
            return Ok(Ok(found));
        }
        let scope = found.buyer_scope.as_ref().unwrap_or(&found.key.scope);
        let around = self.surroundings(&mut transaction, &found, scope, Some(bought)).await?;
        if let Some(why) = proposals::unfit(Some(&found), task_id, bought, around.taken) {
            return Ok(Err(errors::not_finalized(why)));
        }
        let change = proposals::consume(&found, bought, &around, now());
        self.ruled(transaction, Some(found), Ok(Some(change)), cause, "").await
    }

    async fn release_proposal(
        &self,
        proposal: &ProposalRef,
        task_id: &str,
        cause: &ProposalCause,
    ) -> Result<Option<Proposal>> {
        check::cause(cause)?;
        let mut transaction = self.store.write().await?;
        let Some(found) = self.locate(&mut transaction, proposal).await? else { return Ok(None) };
        let released = proposals::release(&found, task_id, now());
        Ok(self.ruled(transaction, Some(found), Ok(released), cause, "").await?.ok())
    }

    async fn decline_proposal(&self, proposal: &ProposalRef, cause: &ProposalCause) -> Result<Ruled> {
        check::cause(cause)?;
        let mut transaction = self.store.write().await?;
        let found = self.locate(&mut transaction, proposal).await?;
        let changed = proposals::decline(found.as_ref(), now());
        self.ruled(transaction, found, changed, cause, "").await
    }

    async fn expire_proposal(&self, proposal: &ProposalRef, cause: &ProposalCause) -> Result<Ruled> {
        check::cause(cause)?;
        let mut transaction = self.store.write().await?;
        let found = self.locate(&mut transaction, proposal).await?;
        let changed = proposals::expire(found.as_ref(), (now(), self.proposal_grace));
        self.ruled(transaction, found, changed, cause, "").await
    }

    async fn discard_proposal(&self, proposal: &ProposalRef) -> Result<bool> {
        let mut transaction = self.store.write().await?;
        let found = self.locate(&mut transaction, proposal).await?;
        let Some(found) = found.filter(proposals::may_discard) else { return Ok(false) };
        transaction.execute(sql::delete(&found.key)).await?;
        transaction.commit().await?;
        Ok(true)
    }

    async fn keep_proposals(&self, task: &TaskRef, result_json: &str, sandbox: bool) -> Result<KeptProposals> {
        let news = wire::proposal_news(&task.verb, result_json);
        if news == wire::ProposalNews::default() {
            return Ok(KeptProposals::default());
        }
        check::owner(task)?;
        let mut transaction = self.store.write().await?;
        let cause =
            ProposalCause { task_id: Some(task.task_id.clone()).filter(|id| !id.is_empty()), ..Default::default() };
        let kept = self.keep(&mut transaction, task, sandbox, news, &cause, now()).await?;
        transaction.commit().await?;
        Ok(kept)
    }

    async fn list_proposals(&self, filter: &ProposalFilter, limit: u32) -> Result<Vec<Proposal>> {
        let wanted = filter.proposal_id.as_deref().unwrap_or_default();
        let Some(viewer) = check::viewer(&filter.viewer, wanted) else { return Ok(Vec::new()) };
        let after = filter.after.clone().filter(check::may_be_proposal);
        let filter = ProposalFilter { viewer, after, ..filter.clone() };
        let rows = self.store.proposals(sql::list(&filter, limit.min(MAX_ROWS))).await?;
        rows.into_iter().map(Proposal::try_from).collect()
    }

    async fn proposal_history(&self, proposal: &ProposalRef) -> Result<Option<Vec<ProposalEntry>>> {
        let mut transaction = self.store.read().await?;
        for key in keys(proposal) {
            if transaction.proposals(sql::by_key(&key)).await?.is_empty() {
                continue;
            }
            let mut entries = Vec::new();
            for row in transaction.proposal_history(sql::history(&key)).await? {
                entries.push(self.vault.open_entry(&key, row).await?.into());
            }
            transaction.commit().await?;
            return Ok(Some(entries));
        }
        Ok(None)
    }

    async fn sweep_proposals(&self, bounds: &SweepBounds, limit: u32) -> Result<Swept> {
        let limit = limit.clamp(1, MAX_ROWS);
        let mut swept = Swept::default();
        for (old, count) in
            [(Old::Expired, &mut swept.expired), (Old::Drafts, &mut swept.drafts), (Old::Idle, &mut swept.idle)]
        {
            let mut transaction = self.store.write().await?;
            *count = transaction.execute(sql::delete_old(old, bounds, limit)).await?;
            transaction.commit().await?;
        }
        for row in self.store.proposals(sql::stranded(bounds.reserved_before, limit)).await? {
            swept.released.extend(self.release_stranded(row.try_into()?, bounds).await?);
        }
        Ok(swept)
    }
}
