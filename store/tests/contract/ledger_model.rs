//! Random operations on the registry and on the ledger, beside a plain ledger in memory that says what must come of each.

use crate::{database::Database, ledger_support::*, life::Dice, support::*};
use handoff_proto::{
    errors,
    v1::{Completion, Decision, Standing, TaskRef, completion::Outcome, decision::Kind},
    wire::OfferedProposal,
};
use handoff_store::{ProposalState, Registry, Ruled, SweepBounds};
use std::{collections::BTreeMap, sync::Arc};

const LIVES: u64 = 25;
const STEPS: usize = 60;
const PROPOSALS: u64 = 3;
const MEDIA_BUYS: u64 = 4;
const NEVER: i64 = i64::MAX;
const LONG_AGO: i64 = 1_000;

#[derive(Clone, Debug, PartialEq)]
struct Plain {
    state: ProposalState,
    terms: u64,
    expires_at: Option<i64>,
    holder: Option<usize>,
    media_buy: Option<String>,
    transitions: usize,
}

/// How far a request is.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Stage {
    Claimed,
    Pending,
    Visible { decided: bool },
    Ended,
}

#[derive(Debug)]
struct Buyer {
    task: TaskRef,
    proposal: String,
    stage: Stage,
}

/// The ledger as it should be.
#[derive(Debug, Default)]
struct Ledger {
    proposals: BTreeMap<String, Plain>,
    buyers: Vec<Buyer>,
}

type Told = Result<(), &'static str>;

impl Ledger {
    fn becomes(&mut self, id: &str, state: ProposalState, holder: Option<usize>) {
        let plain = self.proposals.get_mut(id).unwrap();
        (plain.state, plain.holder) = (state, holder);
        plain.transitions += 1;
    }

    fn put(&mut self, id: &str, terms: u64, committed: bool, expires_at: Option<i64>) -> Told {
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

    fn reserve(&mut self, id: &str, buyer: usize) -> Told {
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

    fn release(&mut self, id: &str, buyer: usize) {
        let held = self.proposals.get(id).map(|found| (found.state, found.holder));
        if held == Some((ProposalState::Consuming, Some(buyer))) {
            self.becomes(id, ProposalState::Committed, None);
        }
    }

    fn finalize(&mut self, id: &str, buyer: usize, media_buy: Option<&str>) -> Told {
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

    fn decline(&mut self, id: &str) -> Told {
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
    fn end(&mut self, buyer: usize, media_buy: Option<&str>, success: bool) -> Told {
        let id = self.buyers[buyer].proposal.clone();
        let fits = if success { self.finalize(&id, buyer, media_buy) } else { Ok(()) };
        let fits = fits.map_err(|_| errors::NOT_FINALIZED);
        if !success || fits.is_err() {
            self.release(&id, buyer);
        }
        self.buyers[buyer].stage = Stage::Ended;
        fits
    }

    fn may_decide(&self, buyer: usize) -> bool {
        matches!(self.buyers[buyer].stage, Stage::Claimed | Stage::Visible { decided: false })
    }

    /// What becomes of a decision that is the first.
    fn decide(&mut self, buyer: usize, decision: Decided) -> Told {
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

#[derive(Clone, Debug)]
enum Decided {
    Complete(Option<String>),
    Refuse,
    ToTask,
    ToWorkflow,
}

impl Decided {
    fn message(&self) -> Decision {
        match self {
            Self::Complete(media_buy) => complete(&body(media_buy.as_deref())),
            Self::Refuse => refuse("NO"),
            Self::ToTask => to_task(),
            Self::ToWorkflow => to_workflow(),
        }
    }
}

fn body(media_buy: Option<&str>) -> String {
    media_buy.map_or("{}".to_owned(), |media_buy| format!(r#"{{"media_buy_id":"{media_buy}","revision":1}}"#))
}

pub(crate) async fn random_operations_follow_a_plain_ledger(database: Arc<Database>) {
    let registry = registry(&database).await;
    for seed in 0..LIVES {
        let mut life =
            Life { registry: &*registry, dice: Dice(seed), ledger: Ledger::default(), seed, did: Vec::new() };
        for _ in 0..STEPS {
            life.step().await;
            life.compare().await;
        }
    }
    registry.close().await;
}

/// Each life has proposals, buyers and media buys of its own.
struct Life<'a> {
    registry: &'a dyn Registry,
    dice: Dice,
    ledger: Ledger,
    seed: u64,
    did: Vec<String>,
}

impl Life<'_> {
    fn proposal(&mut self) -> String {
        format!("life{}-p{}", self.seed, self.dice.roll(PROPOSALS))
    }

    fn media_buy(&mut self) -> Option<String> {
        let number = self.dice.roll(MEDIA_BUYS + 1);
        (number > 0).then(|| format!("life{}-mb{number}", self.seed))
    }

    fn buyer(&mut self) -> Option<usize> {
        let all = self.ledger.buyers.len() as u64;
        // Mostly the newest: the others have ended.
        let back = if self.dice.roll(3) == 0 { self.dice.roll(all.max(1)) } else { self.dice.roll(all.clamp(1, 4)) };
        (all > 0).then(|| usize::try_from(all - 1 - back).unwrap())
    }

    fn told(&self, what: &str, real: Told, plain: Told) {
        assert_eq!(real, plain, "{what}, seed {}: {:#?}", self.seed, self.did);
    }

    async fn step(&mut self) {
        match self.dice.roll(16) {
            0 | 1 => self.put().await,
            2 | 3 => self.claim().await,
            4..=6 => self.begin().await,
            7..=9 => self.decide().await,
            10 | 11 => self.settle().await,
            12 => self.accept_or_take_back().await,
            13 => self.by_hand().await,
            14 => self.decline_or_discard().await,
            _ => self.sweep().await,
        }
    }

    async fn put(&mut self) {
        let (id, terms, committed) = (self.proposal(), self.dice.roll(3), self.dice.roll(4) > 0);
        let expires_at = [None, Some(NEVER), Some(LONG_AGO)][usize::try_from(terms).unwrap()];
        self.did.push(format!("put {id}, terms {terms}, committed {committed}"));
        let offer = OfferedProposal { expires_at, body_json: format!(r#"{{"terms":{terms}}}"#), ..offer(&id) };
        let real = if committed {
            self.registry.commit_proposal(&at(&id), &offer, &nobody()).await
        } else {
            self.registry.put_draft(&at(&id), &offer, &nobody()).await
        };
        let plain = self.ledger.put(&id, terms, committed, expires_at);
        self.told("put", said(real.unwrap()), plain);
    }

    async fn claim(&mut self) {
        let proposal = self.proposal();
        let task = claimed_with(self.registry, uses(&proposal)).await;
        self.did.push(format!("claim {} for {proposal}", self.ledger.buyers.len()));
        self.ledger.buyers.push(Buyer { task, proposal, stage: Stage::Claimed });
    }

    async fn begin(&mut self) {
        let Some(buyer) = self.buyer() else { return };
        self.did.push(format!("begin {buyer}"));
        let standing = self.registry.begin(&self.ledger.buyers[buyer].task).await.unwrap();
        if !self.ledger.may_decide(buyer) {
            return;
        }
        let id = self.ledger.buyers[buyer].proposal.clone();
        let plain = self.ledger.reserve(&id, buyer);
        if plain.is_err() {
            self.ledger.end(buyer, None, false).unwrap();
        }
        self.told("begin", decided(&standing), plain);
    }

    async fn decide(&mut self) {
        let Some(buyer) = self.buyer() else { return };
        let decision = match self.dice.roll(6) {
            0 | 1 => Decided::Complete(self.media_buy()),
            2 => Decided::Refuse,
            3 => Decided::ToTask,
            _ => Decided::ToWorkflow,
        };
        self.did.push(format!("decide {buyer}: {decision:?}"));
        let task = &self.ledger.buyers[buyer].task;
        let standing = self.registry.record_decision(task, &decision.message()).await.unwrap();
        if self.ledger.may_decide(buyer) {
            let refuses = matches!(decision, Decided::Refuse);
            let plain = self.ledger.decide(buyer, decision);
            let plain = if refuses { Err("NO") } else { plain };
            self.told("decide", decided(&standing), plain);
        }
    }

    async fn settle(&mut self) {
        let Some(buyer) = self.buyer() else { return };
        let (success, media_buy) = (self.dice.roll(3) > 0, self.media_buy());
        self.did.push(format!("settle {buyer}: {success} {media_buy:?}"));
        let outcome = Outcome::ResultJson(body(media_buy.as_deref()));
        let completion = Completion { outcome: Some(outcome), ..Default::default() };
        let completion = if success { completion } else { failure("NO") };
        let settlement = self.registry.settle(&self.ledger.buyers[buyer].task, &completion).await.unwrap();
        if matches!(self.ledger.buyers[buyer].stage, Stage::Pending | Stage::Visible { .. }) {
            let plain = self.ledger.end(buyer, media_buy.as_deref(), success);
            let plain = if success { plain } else { Err("NO") };
            let error = settlement.unwrap().error.map(|error| error.code);
            self.told("settle", known(error.as_deref()), plain);
        }
    }

    async fn accept_or_take_back(&mut self) {
        let Some(buyer) = self.buyer() else { return };
        let (task, stage) = (self.ledger.buyers[buyer].task.clone(), self.ledger.buyers[buyer].stage);
        match self.dice.roll(4) {
            0 | 1 => {
                self.did.push(format!("accept {buyer}"));
                self.registry.accept(&task).await.unwrap();
                self.ledger.buyers[buyer].stage = match stage {
                    Stage::Claimed => Stage::Visible { decided: false },
                    Stage::Pending => Stage::Visible { decided: true },
                    other => other,
                };
            }
            2 => {
                self.did.push(format!("discard {buyer}"));
                self.registry.discard(&task, &error("UNABLE")).await.unwrap();
                if stage != Stage::Ended {
                    self.ledger.end(buyer, None, false).unwrap();
                }
            }
            _ => {
                self.did.push(format!("reconcile {buyer}"));
                let unfinished = self.registry.unfinished(i64::MAX, None, 1_000).await.unwrap();
                let observed = unfinished.iter().find(|observed| observed.task == task);
                assert_eq!(observed.is_some(), stage != Stage::Ended, "{:#?}", self.did);
                if let Some(observed) = observed {
                    self.registry.reconcile(observed, &error("GONE")).await.unwrap();
                    self.ledger.end(buyer, None, false).unwrap();
                }
            }
        }
    }

    /// Calls past the registry's own transactions.
    async fn by_hand(&mut self) {
        let Some(buyer) = self.buyer() else { return };
        let (id, media_buy, task) = (self.proposal(), self.media_buy(), self.ledger.buyers[buyer].task.clone());
        match self.dice.roll(3) {
            0 => {
                self.did.push(format!("release {id} by {buyer}"));
                self.registry.release_proposal(&at(&id), &task.task_id, &nobody()).await.unwrap();
                self.ledger.release(&id, buyer);
            }
            1 => {
                self.did.push(format!("finalize {id} by {buyer}: {media_buy:?}"));
                let bought = handoff_proto::wire::Bought { media_buy_id: media_buy.clone(), revision: None };
                let real = self.registry.finalize_proposal(&at(&id), &task.task_id, &bought, &nobody()).await;
                let plain = self.ledger.finalize(&id, buyer, media_buy.as_deref());
                self.told("finalize", said(real.unwrap()), plain);
            }
            _ => {
                self.did.push(format!("reserve {id} by {buyer}"));
                let real = self.registry.try_reserve(&task, &uses(&id)).await;
                let plain = self.ledger.reserve(&id, buyer);
                self.told("reserve", said(real.unwrap()), plain);
            }
        }
    }

    async fn decline_or_discard(&mut self) {
        let id = self.proposal();
        if self.dice.roll(2) == 0 {
            self.did.push(format!("decline {id}"));
            let real = self.registry.decline_proposal(&at(&id), &nobody()).await;
            let plain = self.ledger.decline(&id);
            self.told("decline", said(real.unwrap()), plain);
            return;
        }
        self.did.push(format!("discard {id}"));
        let state = self.ledger.proposals.get(&id).map(|found| found.state);
        let goes = matches!(state, Some(ProposalState::Draft | ProposalState::Declined));
        assert_eq!(self.registry.discard_proposal(&at(&id)).await.unwrap(), goes, "{:#?}", self.did);
        if goes {
            self.ledger.proposals.remove(&id);
        }
    }

    async fn sweep(&mut self) {
        self.did.push("sweep".to_owned());
        let bounds =
            SweepBounds { drafts_before: 0, expired_before: LONG_AGO + 1, idle_before: 0, reserved_before: NEVER };
        self.registry.sweep_proposals(&bounds, 1_000).await.unwrap();
        let old = |plain: &Plain| {
            let unbought = matches!(plain.state, ProposalState::Draft | ProposalState::Committed);
            unbought && plain.expires_at == Some(LONG_AGO)
        };
        self.ledger.proposals.retain(|_, plain| !old(plain));
        let stranded: Vec<_> =
            self.ledger.proposals.iter().filter_map(|(id, plain)| Some((id.clone(), plain.holder?))).collect();
        for (id, holder) in stranded {
            if self.ledger.buyers[holder].stage == Stage::Ended {
                self.ledger.release(&id, holder);
            }
        }
    }

    /// Everything that the registry says of this life's proposals.
    async fn compare(&self) {
        for number in 0..PROPOSALS {
            let id = format!("life{}-p{number}", self.seed);
            let real = self.registry.get_proposal(&at(&id)).await.unwrap();
            let history = self.registry.proposal_history(&at(&id)).await.unwrap();
            let Some(plain) = self.ledger.proposals.get(&id) else {
                assert_eq!((real, history), (None, None), "{:#?}", self.did);
                continue;
            };
            let real = real.unwrap_or_else(|| panic!("{id} is lost: {:#?}", self.did));
            let holder = plain.holder.map(|buyer| self.ledger.buyers[buyer].task.task_id.clone());
            let proposal = real.proposal;
            let found = (proposal.state, proposal.held_by, proposal.media_buy_id, history.unwrap().len());
            let expected = (plain.state, holder, plain.media_buy.clone(), plain.transitions);
            assert_eq!(found, expected, "{id}, seed {}: {:#?}", self.seed, self.did);
            assert_eq!(real.body_json, format!(r#"{{"terms":{}}}"#, plain.terms));
        }
        for number in 1..=MEDIA_BUYS {
            let media_buy = format!("life{}-mb{number}", self.seed);
            let real = self.registry.get_by_media_buy_id(SCOPE, PRINCIPAL, &media_buy).await.unwrap();
            let plain = self.ledger.proposals.iter().find(|(_, plain)| plain.media_buy.as_ref() == Some(&media_buy));
            let real = real.map(|record| record.proposal.key.proposal_id);
            assert_eq!(real.as_ref(), plain.map(|(id, _)| id), "{:#?}", self.did);
        }
    }
}

fn said(ruled: Ruled) -> Told {
    known(ruled.err().map(|error| error.code).as_deref())
}

/// An error's code, as the plain ledger has it.
fn known(code: Option<&str>) -> Told {
    const CODES: [&str; 7] = [
        "NO",
        "PROPOSAL_NOT_FOUND",
        "PROPOSAL_NOT_COMMITTED",
        "PROPOSAL_EXPIRED",
        "INVALID_STATE",
        "CONFLICT",
        errors::NOT_FINALIZED,
    ];
    match code {
        None => Ok(()),
        Some(code) => Err(CODES.into_iter().find(|known| *known == code).unwrap_or("another code")),
    }
}

/// What the recorded decision says.
fn decided(standing: &Standing) -> Told {
    match standing.decision.as_ref().and_then(|decision| decision.kind.as_ref()) {
        Some(Kind::Refuse(error)) => known(Some(&error.code)),
        Some(Kind::Void(_)) => Err("void"),
        _ => Ok(()),
    }
}
