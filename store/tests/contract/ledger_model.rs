//! Random operations on the registry and on the ledger, beside a plain ledger in memory that says what must come of each.

use crate::{database::Database, ledger_support::*, life::Dice, plain_ledger::*, support::*};
use handoff_proto::{
    errors,
    v1::{Completion, Decision, Standing, completion::Outcome, decision::Kind},
    wire::OfferedProposal,
};
use handoff_store::{ProposalState, Registry, Ruled, SweepBounds};
use std::{collections::BTreeSet, sync::Arc};

const LIVES: u64 = 12;
const STEPS: usize = 60;
const PROPOSALS: u64 = 3;
const MEDIA_BUYS: u64 = 4;

const CODES: [&str; 7] = [
    "NO",
    "PROPOSAL_NOT_FOUND",
    "PROPOSAL_NOT_COMMITTED",
    "PROPOSAL_EXPIRED",
    "INVALID_STATE",
    "CONFLICT",
    errors::NOT_FINALIZED,
];

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
    let mut seen = BTreeSet::new();
    for seed in 0..LIVES {
        let mut life = Life {
            registry: &*registry,
            dice: Dice(seed),
            ledger: Ledger::default(),
            seed,
            did: Vec::new(),
            seen: BTreeSet::new(),
        };
        for _ in 0..STEPS {
            life.step().await;
            life.compare().await;
        }
        seen.append(&mut life.seen);
    }
    // Lives in which nothing happens prove nothing.
    let all = CODES.into_iter().map(str::to_owned).chain(ProposalState::ALL.map(|state| state.as_str().to_owned()));
    assert_eq!(seen, all.collect());
    registry.close().await;
}

/// Each life has proposals, buyers and media buys of its own.
struct Life<'a> {
    registry: &'a dyn Registry,
    dice: Dice,
    ledger: Ledger,
    seed: u64,
    did: Vec<String>,
    /// Codes and states that came up.
    seen: BTreeSet<String>,
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

    fn told(&mut self, what: &str, real: Told, plain: Told) {
        self.seen.extend(plain.err().map(str::to_owned));
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
    async fn compare(&mut self) {
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
            self.seen.insert(plain.state.as_str().to_owned());
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
