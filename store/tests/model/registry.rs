//! The registry's transactions, as the model has them.

use crate::{
    model::Model,
    state::{Claim, Decision, End, Journal, Key, Proposal, Run, State, Task, Word},
};

impl Model {
    /// Gives the proposal back, if it is reserved for this key.
    pub(crate) fn release_proposal(&self, state: &mut State, key: Key) {
        if state.proposal == Proposal::Reserved(key) {
            state.proposal = Proposal::Free;
        }
    }

    pub(crate) fn release_claim(&self, state: &mut State, key: Key) {
        if state.holds_claim(key) || !self.rules.release_own_claim_only {
            state.claim = None;
        }
    }

    pub(crate) fn answer_claim(&self, state: &mut State, key: Key, word: Word) {
        let answered = state.claim.is_some_and(|claim| claim.answer.is_some());
        if state.holds_claim(key) && !(self.rules.answer_once && answered) {
            state.claim = Some(Claim { key, answer: Some(word) });
        }
    }

    /// The proposal can be consumed by this key.
    fn can_consume(&self, state: &State, key: Key) -> bool {
        state.proposal == Proposal::Reserved(key)
    }

    fn consume(&self, state: &mut State, key: Key) {
        if state.proposal == Proposal::Reserved(key) {
            state.proposal = Proposal::Consumed(key);
        }
    }

    pub(crate) fn reserve(&self, state: &mut State, key: Key) {
        state.proposal = Proposal::Reserved(key);
    }

    /// Another key has the proposal.
    pub(crate) fn is_busy(&self, state: &State, key: Key) -> bool {
        state.proposal != Proposal::Free && state.proposal != Proposal::Reserved(key)
    }

    /// The first one decides.
    pub(crate) fn settle(&self, state: &mut State, key: Key, end: End) {
        let found = state.of(key).clone();
        if !(found.task.is_open() || found.task == Task::Pending) {
            return;
        }
        if self.rules.settle_closes_journal && found.journal == Journal::Void {
            return;
        }
        let end = if end == End::Completed && !self.can_consume(state, key) { End::Failed } else { end };
        if end == End::Completed {
            self.consume(state, key);
        } else {
            self.release_proposal(state, key);
        }
        state.of_mut(key).task = Task::Ended(end);
        let pending = self.follows_registry() && found.task == Task::Pending;
        self.answer_claim(state, key, if pending { Word::Submitted } else { end.into() });
        if found.journal.is_open() && self.rules.settle_closes_journal {
            state.of_mut(key).journal = Journal::Void;
        }
        state.of_mut(key).webhooks.insert(end);
    }

    /// Makes the task visible.
    fn submit(&self, state: &mut State, key: Key) {
        state.of_mut(key).task = Task::Submitted;
        self.answer_claim(state, key, Word::Submitted);
    }

    pub(crate) fn accept(&self, state: &mut State, key: Key) {
        let found = state.of(key);
        let undecided = found.journal.is_open() && state.holds_claim(key);
        let may_create = found.task.is_missing() && (undecided || !self.rules.accept_reads_journal);
        if may_create || found.task == Task::Pending {
            self.submit(state, key);
        }
    }

    /// Records a decision in an open journal, and what follows from it.
    pub(crate) fn record(&self, state: &mut State, key: Key, decision: Decision) {
        let submitted = state.of(key).task.is_open();
        let missing = state.of(key).task.is_missing();
        state.of_mut(key).journal = Journal::Decided(decision);
        match decision {
            Decision::Refuse if submitted => self.settle(state, key, End::Failed),
            Decision::Complete if submitted => self.settle(state, key, End::Completed),
            Decision::Refuse => {
                self.release_proposal(state, key);
                self.release_claim(state, key);
            }
            Decision::Complete => {
                self.consume(state, key);
                self.answer_claim(state, key, Word::Completed);
            }
            Decision::Workflow if missing && self.rules.pending => state.of_mut(key).task = Task::Pending,
            Decision::Workflow | Decision::Task if missing => self.submit(state, key),
            Decision::Workflow | Decision::Task => {}
        }
    }

    /// Takes back a task that nobody was told about.
    fn take_back(&self, state: &mut State, key: Key) {
        state.of_mut(key).task = Task::Discarded;
        state.of_mut(key).journal = Journal::Decided(Decision::Refuse);
        self.release_proposal(state, key);
        self.release_claim(state, key);
    }

    /// `discard`, and what the run makes of its result.
    pub(crate) fn discard(&self, state: &mut State, key: Key) {
        let found = state.of(key).clone();
        let told = if self.rules.pending { found.task.is_open() } else { found.promoted };
        let publishes = found.task.has_ended() || (told && found.task != Task::Discarded);
        if publishes {
            self.settle(state, key, End::Failed);
            if found.run.is_alive() {
                state.of_mut(key).run = Run::Publishing;
            }
        } else if found.task != Task::Discarded {
            self.take_back(state, key);
            if found.run.is_alive() {
                state.of_mut(key).run = Run::Closed;
                state.tell(key, Word::Refused);
            }
        }
    }

    /// Ends a request whose run is gone.
    pub(crate) fn reconcile(&self, state: &mut State, key: Key, journal: Journal, task: Task) {
        if task.is_open() {
            self.settle(state, key, End::Failed);
        } else if task == Task::Pending {
            self.take_back(state, key);
        } else if journal.is_open() {
            self.release_proposal(state, key);
            let untouched = journal == Journal::Open && !self.rules.leave_unstarted;
            if !self.rules.void || untouched {
                self.release_claim(state, key);
            } else {
                self.answer_claim(state, key, Word::Unknown);
            }
            if self.rules.void {
                state.of_mut(key).journal = Journal::Void;
            }
        }
        if self.rules.redeliver {
            for word in state.of(key).webhooks.iter() {
                state.of_mut(key).delivered.insert(word);
            }
        }
    }
}
