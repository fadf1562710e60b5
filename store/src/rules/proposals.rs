//! The transitions of a proposal.
//!
//! ```text
//! DRAFT ─► COMMITTED ◄─► CONSUMING ─► CONSUMED        DRAFT, COMMITTED ─► DECLINED
//! ```
//!
//! Invariants:
//! - What is being bought, was bought or was declined is never overwritten.
//! - A reservation is its task's: only that task consumes or releases it.
//! - Expiry is looked at where a proposal is reserved, and never again: a review may outlast it.

use crate::{Proposal, ProposalKey, ProposalState, ProposalUse, proposals::Refusal};
use handoff_proto::{
    v1::TaskRef,
    wire::{Bought, OfferedProposal, ProposalKind},
};

// A minute: the clock of another process, by which a purchase begins, may be behind.
const WELL_PAST: i64 = 60_000_000;

/// What a transition made of a proposal, and how its history calls it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Change {
    pub(crate) after: Proposal,
    pub(crate) event: &'static str,
}

/// `None`: it is so already.
pub(crate) type Changed = Result<Option<Change>, Refusal>;

/// What else is true when a proposal is reserved or consumed.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Surroundings {
    /// What was accepted last of the media buy that it changes.
    pub(crate) latest: Option<Proposal>,
    /// Another task is about to change that media buy.
    pub(crate) rival: bool,
    /// Another proposal made the media buy that this one is said to have made.
    pub(crate) taken: bool,
}

impl Proposal {
    fn has_expired(&self, now: i64, grace: i64) -> bool {
        self.expires_at.is_some_and(|at| at.saturating_add(grace) < now)
    }

    /// Reserved by this task.
    pub(crate) fn is_held_by(&self, task_id: &str) -> bool {
        self.state == ProposalState::Consuming && self.held_by.as_deref() == Some(task_id)
    }

    /// Consumed by this task, with this.
    pub(crate) fn is_bought_by(&self, task_id: &str, bought: &Bought) -> bool {
        let meant = bought.media_buy_id.as_ref().or(self.base_media_buy_id.as_ref());
        self.state == ProposalState::Consumed
            && self.held_by.as_deref() == Some(task_id)
            && self.media_buy_id.as_ref() == meant
    }

    fn becoming(&self, state: ProposalState, event: &'static str, now: i64) -> Change {
        let mut after = Self { state, version: self.version + 1, updated_at: now.max(self.updated_at), ..self.clone() };
        if !matches!(state, ProposalState::Consuming | ProposalState::Consumed) {
            after.held_by = None;
            after.buyer_scope = None;
        }
        Change { after, event }
    }
}

/// An offer, written over what is there. `same`: its body is the one that is there.
pub(crate) fn put(
    found: Option<&Proposal>,
    key: &ProposalKey,
    offer: &OfferedProposal,
    same: bool,
    (now, grace): (i64, i64),
) -> Changed {
    let (state, event) =
        if offer.committed { (ProposalState::Committed, "committed") } else { (ProposalState::Draft, "drafted") };
    let after = Proposal {
        key: key.clone(),
        kind: offer.kind,
        state,
        terms_digest: offer.terms_digest.clone(),
        expires_at: offer.expires_at,
        io_id: offer.io_id.clone(),
        parent_proposal_id: offer.parent_proposal_id.clone(),
        base_media_buy_id: offer.base_media_buy_id.clone(),
        base_media_buy_revision: offer.base_media_buy_revision,
        held_by: None,
        buyer_scope: None,
        media_buy_id: None,
        media_buy_revision: None,
        accepted_at: None,
        created_at: found.map_or(now, |found| found.created_at),
        updated_at: found.map_or(now, |found| found.updated_at.max(now)),
        version: found.map_or(0, |found| found.version) + 1,
    };
    match found {
        Some(found)
            if same
                && after == (Proposal { version: after.version, updated_at: after.updated_at, ..found.clone() }) =>
        {
            return Ok(None);
        }
        Some(found) => match found.state {
            ProposalState::Draft => {}
            ProposalState::Committed if offer.committed => {}
            // Its inventory is held until then.
            ProposalState::Committed if found.has_expired(now, grace) => {}
            state => return Err(Refusal::State(state)),
        },
        None => {}
    }
    Ok(Some(Change { after, event }))
}

/// A committed proposal, for a task that buys it.
pub(crate) fn reserve(
    found: Option<&Proposal>,
    wanted: &ProposalUse,
    task: &TaskRef,
    around: &Surroundings,
    (now, grace): (i64, i64),
) -> Changed {
    let found = found.ok_or(Refusal::NotFound)?;
    let own = found.held_by.as_deref() == Some(&task.task_id);
    match found.state {
        ProposalState::Consuming | ProposalState::Consumed if own => return Ok(None),
        ProposalState::Consuming => return Err(Refusal::Held),
        ProposalState::Consumed | ProposalState::Declined => return Err(Refusal::State(found.state)),
        ProposalState::Draft => return Err(Refusal::NotCommitted),
        ProposalState::Committed => {}
    }
    if found.has_expired(now, grace) {
        return Err(Refusal::Expired);
    }
    if wanted.terms_digest.is_some() && wanted.terms_digest != found.terms_digest {
        return Err(Refusal::OtherTerms);
    }
    if found.io_id.is_some() && wanted.io_id != found.io_id {
        return Err(Refusal::IoRequired);
    }
    if found.kind != ProposalKind::NewMediaBuy {
        fits_its_buy(found, wanted, task, around)?;
    }
    let mut change = found.becoming(ProposalState::Consuming, "reserved", now);
    change.after.held_by = Some(task.task_id.clone());
    change.after.buyer_scope = Some(task.scope.clone());
    Ok(Some(change))
}

fn fits_its_buy(found: &Proposal, wanted: &ProposalUse, task: &TaskRef, around: &Surroundings) -> Result<(), Refusal> {
    if task.verb == "create_media_buy" {
        return Err(Refusal::AcceptInstead);
    }
    if found.base_media_buy_id.is_none()
        || (wanted.media_buy_id.is_some() && wanted.media_buy_id != found.base_media_buy_id)
    {
        return Err(Refusal::OtherBuy);
    }
    let latest = around.latest.as_ref();
    if latest.is_some_and(|latest| latest.kind == ProposalKind::MediaBuyCancellation) {
        return Err(Refusal::BuyEnded);
    }
    if around.rival {
        return Err(Refusal::BuyHeld);
    }
    // The ledger need not know of every change; the caller may.
    let known = latest.and_then(|latest| latest.media_buy_revision);
    let base = found.base_media_buy_revision;
    if known.is_some_and(|known| base < Some(known))
        || wanted.media_buy_revision.is_some_and(|revision| base != Some(revision))
    {
        return Err(Refusal::OtherRevision);
    }
    Ok(())
}

/// Why a purchase can't be recorded as this task's of this proposal; `None`: it can.
pub(crate) fn unfit(found: Option<&Proposal>, task_id: &str, bought: &Bought, taken: bool) -> Option<&'static str> {
    const NOT_HELD: &str = "its reservation was taken away, or was never made";
    let Some(found) = found else { return Some(NOT_HELD) };
    if found.is_bought_by(task_id, bought) {
        return None;
    }
    if !found.is_held_by(task_id) {
        return Some(NOT_HELD);
    }
    match (&bought.media_buy_id, &found.base_media_buy_id) {
        (Some(bought), _) if !crate::check::is_storable_id(bought) => Some("its media_buy_id can't be stored"),
        (None, _) if found.kind == ProposalKind::NewMediaBuy => Some("it has no media_buy_id"),
        (Some(_), _) if found.kind == ProposalKind::NewMediaBuy => {
            taken.then_some("its media_buy_id is another proposal's")
        }
        (Some(bought), Some(base)) if bought != base => Some("its media_buy_id is not the one that was to be changed"),
        (_, None) => Some("the proposal names no media buy to change"),
        _ => None,
    }
}

/// A purchase that fits.
pub(crate) fn consume(found: &Proposal, bought: &Bought, around: &Surroundings, now: i64) -> Change {
    let mut change = found.becoming(ProposalState::Consumed, "consumed", now);
    let after = &mut change.after;
    after.media_buy_id = bought.media_buy_id.clone().or_else(|| found.base_media_buy_id.clone());
    after.media_buy_revision = bought.revision;
    // The order of acceptance, whatever the clocks of two processes say.
    let latest = around.latest.as_ref().and_then(|latest| latest.accepted_at);
    after.accepted_at = Some(latest.map_or(now, |latest| now.max(latest + 1)));
    change
}

/// The end of a task's reservation; another's stays.
pub(crate) fn release(found: &Proposal, task_id: &str, now: i64) -> Option<Change> {
    found.is_held_by(task_id).then(|| found.becoming(ProposalState::Committed, "released", now))
}

/// Declined by the buyer.
pub(crate) fn decline(found: Option<&Proposal>, now: i64) -> Changed {
    let found = found.ok_or(Refusal::NotFound)?;
    match found.state {
        ProposalState::Declined => Ok(None),
        ProposalState::Draft | ProposalState::Committed => {
            Ok(Some(found.becoming(ProposalState::Declined, "declined", now)))
        }
        ProposalState::Consuming => Err(Refusal::Held),
        ProposalState::Consumed => Err(Refusal::State(found.state)),
    }
}

/// A committed proposal whose time is over now, whenever it was to be.
pub(crate) fn expire(found: Option<&Proposal>, (now, grace): (i64, i64)) -> Changed {
    let found = found.ok_or(Refusal::NotFound)?;
    match found.state {
        ProposalState::Committed if found.has_expired(now, grace) => Ok(None),
        ProposalState::Committed => {
            let mut change = found.becoming(ProposalState::Committed, "expired", now);
            change.after.expires_at = Some(now.saturating_sub(grace).saturating_sub(WELL_PAST));
            Ok(Some(change))
        }
        ProposalState::Draft => Err(Refusal::NotCommitted),
        ProposalState::Consuming => Err(Refusal::Held),
        ProposalState::Consumed | ProposalState::Declined => Err(Refusal::State(found.state)),
    }
}

/// Nothing depends on it.
pub(crate) fn may_discard(found: &Proposal) -> bool {
    matches!(found.state, ProposalState::Draft | ProposalState::Declined)
}
