//! A plain ledger in memory: what must come of each operation, written down a second time.

use handoff_proto::{errors, v1::TaskRef};
use handoff_store::ProposalState;
use std::collections::BTreeMap;

pub(crate) const NEVER: i64 = i64::MAX;
pub(crate) const LONG_AGO: i64 = 1_000;

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Plain {
    pub(crate) state: ProposalState,
    pub(crate) terms: u64,
    pub(crate) expires_at: Option<i64>,
    pub(crate) holder: Option<usize>,
    pub(crate) media_buy: Option<String>,
    pub(crate) transitions: usize,
}

/// How far a request is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Stage {
    Claimed,
    Pending,
    Visible { decided: bool },
    Ended,
}

#[derive(Debug)]
pub(crate) struct Buyer {
    pub(crate) task: TaskRef,
    pub(crate) proposal: String,
    pub(crate) stage: Stage,
}

/// The ledger as it should be.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    pub(crate) proposals: BTreeMap<String, Plain>,
    pub(crate) buyers: Vec<Buyer>,
}

/// `Ok`, or the code of the refusal.
pub(crate) type Told = Result<(), &'static str>;

impl Ledger {
    pub(crate) fn becomes(&mut self, id: &str, state: ProposalState, holder: Option<usize>) {
        let plain = self.proposals.get_mut(id).unwrap();
        (plain.state, plain.holder) = (state, holder);
        plain.transitions += 1;
    }

    pub(crate) fn put(&mut self, id: &str, terms: u64, committed: bool, expires_at: Option<i64>) -> Told {
        let state = if committed { ProposalState::Committed } else { ProposalState::Draft };
        let mut transitions = 0;
        if let Some(found) = self.proposals.get(id) {
            if (found.state, found.terms) == (state, terms) {
                return Ok(());
            }
            let held = found.state == ProposalState::Committed && found.expires_at != Some(LONG_AGO);
            match found.state {
                ProposalState::Draft => {}
                ProposalState::Committed if committed || !held => {}
                _ => return Err("INVALID_STATE"),
            }
            transitions = found.transitions;
        }
        let plain = Plain { state, terms, expires_at, holder: None, media_buy: None, transitions: transitions + 1 };
        self.proposals.insert(id.to_owned(), plain);
        Ok(())
    }

    pub(crate) fn reserve(&mut self, id: &str, buyer: usize) -> Told {
        let Some(found) = self.proposals.get(id) else { return Err("PROPOSAL_NOT_FOUND") };
        match found.state {
            ProposalState::Consuming | ProposalState::Consumed if found.holder == Some(buyer) => return Ok(()),
            ProposalState::Consuming => return Err("CONFLICT"),
            ProposalState::Consumed | ProposalState::Declined => return Err("INVALID_STATE"),
            ProposalState::Draft => return Err("PROPOSAL_NOT_COMMITTED"),
            ProposalState::Committed if found.expires_at == Some(LONG_AGO) => return Err("PROPOSAL_EXPIRED"),
            ProposalState::Committed => {}
        }
        self.becomes(id, ProposalState::Consuming, Some(buyer));
        Ok(())
    }

    pub(crate) fn release(&mut self, id: &str, buyer: usize) {
        let held = self.proposals.get(id).map(|found| (found.state, found.holder));
        if held == Some((ProposalState::Consuming, Some(buyer))) {
            self.becomes(id, ProposalState::Committed, None);
        }
    }

    pub(crate) fn finalize(&mut self, id: &str, buyer: usize, media_buy: Option<&str>) -> Told {
        let taken = |other: &(&String, &Plain)| other.0 != id && other.1.media_buy.as_deref() == media_buy;
        let Some(found) = self.proposals.get(id) else { return Err("PROPOSAL_NOT_FOUND") };
        if found.state == ProposalState::Consumed
            && found.holder == Some(buyer)
            && found.media_buy.as_deref() == media_buy
        {
            return Ok(());
        }
        let held = (found.state, found.holder) == (ProposalState::Consuming, Some(buyer));
        if !held || media_buy.is_none() || self.proposals.iter().any(|other| taken(&other)) {
            return Err(errors::NOT_FINALIZED);
        }
        self.becomes(id, ProposalState::Consumed, Some(buyer));
        self.proposals.get_mut(id).unwrap().media_buy = media_buy.map(Into::into);
        Ok(())
    }

    pub(crate) fn decline(&mut self, id: &str) -> Told {
        match self.proposals.get(id).map(|found| found.state) {
            None => Err("PROPOSAL_NOT_FOUND"),
            Some(ProposalState::Declined) => Ok(()),
            Some(ProposalState::Consuming) => Err("CONFLICT"),
            Some(ProposalState::Consumed) => Err("INVALID_STATE"),
            Some(_) => {
                self.becomes(id, ProposalState::Declined, None);
                Ok(())
            }
        }
    }

    /// A request ends: with a success that the ledger takes, or with a failure.
    pub(crate) fn end(&mut self, buyer: usize, media_buy: Option<&str>, success: bool) -> Told {
        let id = self.buyers[buyer].proposal.clone();
        let fits = if success { self.finalize(&id, buyer, media_buy) } else { Ok(()) };
        let fits = fits.map_err(|_| errors::NOT_FINALIZED);
        if !success || fits.is_err() {
            self.release(&id, buyer);
        }
        self.buyers[buyer].stage = Stage::Ended;
        fits
    }

    pub(crate) fn may_decide(&self, buyer: usize) -> bool {
        matches!(self.buyers[buyer].stage, Stage::Claimed | Stage::Visible { decided: false })
    }

    /// What becomes of a decision that is the first.
    pub(crate) fn decide(&mut self, buyer: usize, decision: Decided) -> Told {
        match decision {
            Decided::Complete(media_buy) => self.end(buyer, media_buy.as_deref(), true),
            Decided::Refuse => self.end(buyer, None, false),
            Decided::ToWorkflow if self.buyers[buyer].stage == Stage::Claimed => {
                self.buyers[buyer].stage = Stage::Pending;
                Ok(())
            }
            Decided::ToTask | Decided::ToWorkflow => {
                self.buyers[buyer].stage = Stage::Visible { decided: true };
                Ok(())
            }
        }
    }
}

/// What a seller decides.
#[derive(Clone, Debug)]
pub(crate) enum Decided {
    Complete(Option<String>),
    Refuse,
    ToTask,
    ToWorkflow,
}
