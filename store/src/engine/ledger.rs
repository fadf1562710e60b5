//! The ledger of proposals, inside the registry's transactions.

use super::{Engine, Result};
use crate::{
    KeptProposals, Proposal, ProposalCause, ProposalKey, ProposalRef, RegistryError, check,
    proposals::Refusal,
    rules::{
        Request, Step,
        proposals::{self, Change, Surroundings},
        purchase::{Ledger, follow, has_just_ended},
    },
    sql::proposals::{self as sql, Offered},
    store::{Store, Transaction},
};
use handoff_proto::{
    v1::TaskRef,
    wire::{Bought, OfferedProposal, ProposalKind, ProposalNews, purchase},
};

// A row that is found missing and then there was written in between. Once is rare.
const PUT_ATTEMPTS: usize = 3;

/// What a rule has to know of the proposal that its request names.
#[derive(Clone, Copy)]
pub(super) enum Look<'a> {
    /// Nothing: it can't consume it.
    Away,
    /// Whether it can be reserved.
    Reserve,
    /// Whether it can be consumed with this result, if there is one.
    Conclude(Option<&'a str>),
}

impl<S: Store> Engine<S> {
    /// What is known before the rule decides. The request's row is locked.
    pub(super) async fn look(
        &self,
        transaction: &mut S::Transaction,
        request: &Request,
        look: Look<'_>,
    ) -> Result<Ledger> {
        let mut ledger = Ledger { grace: self.proposal_grace, ..Ledger::default() };
        let bought = match look {
            // Most requests name none, and their results need not be read; and what has ended changes nothing any more.
            _ if request.proposal.is_none() || request.stage().is_none() => return Ok(ledger),
            Look::Conclude(result) => result.and_then(purchase),
            Look::Reserve if request.may_be_decided() => None,
            Look::Reserve | Look::Away => return Ok(ledger),
        };
        ledger.named = self.named(transaction, request).await?;
        if let Some(named) = &ledger.named {
            ledger.around = self.surroundings(transaction, named, &request.task.scope, bought.as_ref()).await?;
        }
        Ok(ledger)
    }

    /// Writes what followed for the ledger from what a rule did to a request. Its row is locked, and written.
    pub(super) async fn follow(
        &self,
        transaction: &mut S::Transaction,
        before: &Request,
        after: &Request,
        step: &mut Step,
    ) -> Result<()> {
        if step.ledger.named.is_none() && has_just_ended(before, after) {
            step.ledger.named = self.named(transaction, after).await?;
        }
        follow(before, after, step);
        let cause = cause(after);
        if let Some(change) = step.ledger.change.take() {
            self.change(transaction, &change, None, &cause).await?;
        }
        let news = std::mem::take(&mut step.ledger.news);
        let kept = self.keep(transaction, &after.task, after.sandbox, news, &cause, step.now).await?;
        for proposal_id in &kept.left {
            tracing::warn!(task_id = after.task.task_id, proposal_id, "a result says what can't be true of a proposal");
        }
        if step.forgets {
            // Nothing is left to be found: an end has released it. What a defect left behind goes with the task.
            self.release_all(transaction, &after.task.task_id, &cause, step.now).await?;
        }
        Ok(())
    }

    async fn named(&self, transaction: &mut S::Transaction, request: &Request) -> Result<Option<Proposal>> {
        let Some(wanted) = &request.proposal else { return Ok(None) };
        let named = ProposalRef::new(&request.task.scope, &request.task.principal, &wanted.proposal_id)
            .or_of_brand(wanted.brand_scope.clone());
        self.locate(transaction, &named).await
    }

    /// Locks the row of a proposal.
    pub(super) async fn locate(
        &self,
        transaction: &mut S::Transaction,
        proposal: &ProposalRef,
    ) -> Result<Option<Proposal>> {
        for key in keys(proposal) {
            let statement = sql::locking(sql::by_key(&key), S::DIALECT);
            if let Some(row) = transaction.proposals(statement).await?.pop() {
                return row.try_into().map(Some);
            }
        }
        Ok(None)
    }

    pub(super) async fn surroundings(
        &self,
        transaction: &mut S::Transaction,
        proposal: &Proposal,
        buyer_scope: &str,
        bought: Option<&Bought>,
    ) -> Result<Surroundings> {
        let mut around = Surroundings::default();
        if let Some(base) = &proposal.base_media_buy_id {
            let latest = sql::latest(buyer_scope, &proposal.key.principal, base);
            let latest = transaction.proposals(sql::locking(latest, S::DIALECT)).await?.pop();
            around.latest = latest.map(Proposal::try_from).transpose()?;
            around.rival = self.others(transaction, sql::changing(buyer_scope, base), proposal).await?;
        }
        let made = bought.and_then(|bought| bought.media_buy_id.as_ref()).filter(|made| check::is_storable_id(made));
        if let Some(made) = made.filter(|_| proposal.kind == ProposalKind::NewMediaBuy) {
            around.taken = self.others(transaction, sql::made(buyer_scope, made), proposal).await?;
        }
        Ok(around)
    }

    async fn others(
        &self,
        transaction: &mut S::Transaction,
        statement: crate::sql::Statement,
        proposal: &Proposal,
    ) -> Result<bool> {
        for row in transaction.proposals(statement).await? {
            if Proposal::try_from(row)?.key != proposal.key {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Writes a change of a locked proposal, and its history.
    pub(super) async fn change(
        &self,
        transaction: &mut S::Transaction,
        change: &Change,
        offered: Option<Offered<'_>>,
        cause: &ProposalCause,
    ) -> Result<()> {
        transaction.execute(sql::update(&change.after, offered)).await?;
        self.note(transaction, change, cause).await
    }

    async fn note(&self, transaction: &mut S::Transaction, change: &Change, cause: &ProposalCause) -> Result<()> {
        let after = &change.after;
        let cause = self.vault.seal_cause(&after.key, after.version, cause).await?;
        transaction.execute(sql::append_history(change, &cause, after.updated_at)).await?;
        tracing::debug!(proposal_id = after.key.proposal_id, event = change.event, "a proposal changed");
        Ok(())
    }

    /// Writes an offer over what is there, if that may be.
    pub(super) async fn put(
        &self,
        transaction: &mut S::Transaction,
        key: &ProposalKey,
        offer: &OfferedProposal,
        sandbox: bool,
        cause: &ProposalCause,
        now: i64,
    ) -> Result<std::result::Result<Proposal, Refusal>> {
        for _ in 0..PUT_ATTEMPTS {
            let row = transaction.proposals(sql::locking(sql::whole(key), S::DIALECT)).await?.pop();
            let mut same = false;
            let mut found = None;
            let leaves_sandbox = row.as_ref().is_some_and(|row| row.sandbox) && !sandbox;
            if let Some(mut row) = row {
                let stored = row.body_json.take().unwrap_or_default();
                // What can't be opened any more can still be replaced.
                same = self.vault.open_body(key, stored).await.is_ok_and(|body| body == offer.body_json);
                found = Some(Proposal::try_from(row)?);
            }
            let change = match proposals::put(found.as_ref(), key, offer, same, (now, self.proposal_grace)) {
                Ok(Some(change)) => change,
                Ok(None) => {
                    if leaves_sandbox {
                        transaction.execute(sql::leave_sandbox(key)).await?;
                    }
                    return Ok(found.ok_or(Refusal::NotFound));
                }
                Err(refusal) => return Ok(Err(refusal)),
            };
            let body = self.vault.seal_body(key, &offer.body_json).await?;
            let offered = Offered { body: &body, sandbox };
            if found.is_some() {
                self.change(transaction, &change, Some(offered), cause).await?;
            } else if transaction.execute(sql::insert(&change.after, offered)).await? > 0 {
                self.note(transaction, &change, cause).await?;
            } else {
                continue;
            }
            return Ok(Ok(change.after));
        }
        Err(RegistryError::Unavailable("the proposal is written by another".to_owned()))
    }

    /// Writes what a result says about proposals. In the order of their ids, so that two results do not wait for each other.
    pub(super) async fn keep(
        &self,
        transaction: &mut S::Transaction,
        task: &TaskRef,
        sandbox: bool,
        mut news: ProposalNews,
        cause: &ProposalCause,
        now: i64,
    ) -> Result<KeptProposals> {
        let mut kept = KeptProposals::default();
        let key = |proposal_id: &String| ProposalKey {
            scope: task.scope.clone(),
            principal: task.principal.clone(),
            proposal_id: proposal_id.clone(),
        };
        news.offered.sort_by(|one, other| one.proposal_id.cmp(&other.proposal_id));
        for offer in &news.offered {
            let storable = [Some(&offer.proposal_id), offer.base_media_buy_id.as_ref()];
            let storable = storable.into_iter().flatten().all(|id| check::is_storable_id(id));
            let put = if storable {
                self.put(transaction, &key(&offer.proposal_id), offer, sandbox, cause, now).await?
            } else {
                Err(Refusal::NotFound)
            };
            let ids = if put.is_ok() { &mut kept.written } else { &mut kept.left };
            ids.push(offer.proposal_id.clone());
        }
        for proposal_id in &news.declined {
            let statement = sql::locking(sql::by_key(&key(proposal_id)), S::DIALECT);
            let found = transaction.proposals(statement).await?.pop().map(Proposal::try_from).transpose()?;
            let ids = match proposals::decline(found.as_ref(), now) {
                Ok(change) => {
                    if let Some(change) = change {
                        self.change(transaction, &change, None, cause).await?;
                    }
                    &mut kept.declined
                }
                Err(_) => &mut kept.left,
            };
            ids.push(proposal_id.clone());
        }
        if let Some((media_buy_id, revision)) = news.revised.filter(|(id, _)| check::is_storable_id(id)) {
            transaction.execute(sql::revise(&task.scope, &media_buy_id, revision)).await?;
        }
        Ok(kept)
    }

    pub(super) async fn release_all(
        &self,
        transaction: &mut S::Transaction,
        task_id: &str,
        cause: &ProposalCause,
        now: i64,
    ) -> Result<()> {
        for row in transaction.proposals(sql::locking(sql::held_by(task_id), S::DIALECT)).await? {
            if let Some(change) = proposals::release(&Proposal::try_from(row)?, task_id, now) {
                self.change(transaction, &change, None, cause).await?;
            }
        }
        Ok(())
    }
}

/// Where a proposal may be, in the order in which it is looked for.
pub(super) fn keys(proposal: &ProposalRef) -> impl Iterator<Item = ProposalKey> + use<> {
    let own = proposal.key.clone();
    let brand = proposal.brand_scope.clone().filter(|scope| *scope != own.scope);
    let brand = brand.map(|scope| ProposalKey { scope, ..own.clone() });
    [Some(own), brand].into_iter().flatten().filter(check::may_be_proposal)
}

/// The request, as the cause of what happens to its proposal.
fn cause(request: &Request) -> ProposalCause {
    let error = request.error.as_ref().or(request.refusal());
    ProposalCause {
        task_id: Some(request.task.task_id.clone()),
        actor: request.actor.clone().unwrap_or_default(),
        reason: error.map(|error| error.code.clone()).unwrap_or_default(),
    }
}
