//! What a run remembers between its steps.

use handoff_proto::{
    payload,
    v1::{self, DroppedSignal, completion::Outcome as CompletionOutcome},
    workflows,
};
use temporalio_workflow::common::data_converters::RawValue;

// A flood of bad signals must not grow the history without bound; beyond this they are only counted.
const MAX_RECORDED_DROPS: u32 = 100;

/// Where in its life a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    Deciding,
    Enqueueing,
    Waiting,
    RunningTask,
    Settling,
    Publishing,
    Closed,
}

impl Stage {
    fn as_str(self) -> &'static str {
        match self {
            Self::Deciding => "deciding",
            Self::Enqueueing => "enqueueing",
            Self::Waiting => "waiting",
            Self::RunningTask => "running_task",
            Self::Settling => "settling",
            Self::Publishing => "publishing",
            Self::Closed => "closed",
        }
    }
}

/// Who says that the sync deadline has passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Timekeeper {
    /// The caller, by the signal `promote`.
    Caller,
    /// The run, by a timer.
    Run,
}

/// The state of a run. Changed by the run itself and by signals and updates.
pub(super) struct State {
    input: Result<v1::TaskInput, String>,
    stage: Stage,
    timekeeper: Option<Timekeeper>,
    asked_for_submitted: bool,
    submitted: bool,
    outcome: Option<v1::Outcome>,
    decision: Option<v1::Completion>,
    cancel_noted: bool,
    settlement: Option<v1::Settlement>,
    dropped: u32,
    unrecorded: Vec<DroppedSignal>,
}

impl State {
    pub(super) fn new(input: Option<RawValue>) -> Self {
        Self {
            input: read_input(input),
            stage: Stage::Deciding,
            timekeeper: None,
            asked_for_submitted: false,
            submitted: false,
            outcome: None,
            decision: None,
            cancel_noted: false,
            settlement: None,
            dropped: 0,
            unrecorded: Vec::new(),
        }
    }

    pub(super) fn input(&self) -> Result<v1::TaskInput, String> {
        self.input.clone()
    }

    pub(super) fn enter(&mut self, stage: Stage) {
        self.stage = stage;
    }

    pub(super) fn timekeeper(&self) -> Timekeeper {
        self.timekeeper.unwrap_or(Timekeeper::Run)
    }

    pub(super) fn set_timekeeper(&mut self, timekeeper: Timekeeper) {
        self.timekeeper = Some(timekeeper);
        if self.asked_for_submitted && timekeeper == Timekeeper::Run {
            self.drop_promotion();
        }
    }

    /// A caller's sync deadline has passed. Whoever asks once more, or late, changes nothing.
    pub(super) fn ask_for_submitted(&mut self) {
        match self.timekeeper {
            Some(Timekeeper::Run) => self.drop_promotion(),
            Some(Timekeeper::Caller) | None => self.asked_for_submitted = true,
        }
    }

    pub(super) fn asked_for_submitted(&self) -> bool {
        self.asked_for_submitted
    }

    // As workers do that don't know the signal: so a run moves from one of those to this one and back.
    fn drop_promotion(&mut self) {
        self.asked_for_submitted = false;
        self.drop_signal(workflows::PROMOTE, "the run keeps the sync deadline itself");
    }

    pub(super) fn is_submitted(&self) -> bool {
        self.submitted
    }

    pub(super) fn set_submitted(&mut self) {
        self.submitted = true;
    }

    /// What the buyer is told; the first word stands.
    pub(super) fn tell(&mut self, kind: v1::outcome::Kind) {
        if self.outcome.is_none() {
            self.outcome = Some(v1::Outcome { kind: Some(kind) });
        }
    }

    pub(super) fn outcome(&self) -> Option<&v1::Outcome> {
        self.outcome.as_ref()
    }

    /// Takes an external decision. The first one that came is kept; the registry, not this, says which one counts.
    pub(super) fn offer(&mut self, completion: v1::Completion) -> Result<(), &'static str> {
        match &self.decision {
            None if matches!(self.stage, Stage::Publishing | Stage::Closed) => Err("the task has ended"),
            None => {
                self.decision = Some(completion);
                Ok(())
            }
            Some(first) if same_outcome(first, &completion) => Ok(()),
            Some(_) => Err("another decision came first"),
        }
    }

    pub(super) fn decision(&self) -> Option<&v1::Completion> {
        self.decision.as_ref()
    }

    /// The decision that ends the present stage. Before `submitted` was said a cancellation waits for the seller's decision; a
    /// completion waits until there is something to complete.
    pub(super) fn interruption(&self) -> Option<&v1::Completion> {
        let decision = self.decision.as_ref()?;
        let cancels = matches!(decision.outcome, Some(CompletionOutcome::Cancellation(_)));
        let applies = match self.stage {
            Stage::Deciding => cancels && self.submitted,
            Stage::Enqueueing => cancels,
            Stage::Waiting | Stage::RunningTask => true,
            Stage::Settling | Stage::Publishing | Stage::Closed => false,
        };
        applies.then_some(decision)
    }

    pub(super) fn cancel_noted(&self) -> bool {
        self.cancel_noted
    }

    /// Temporal's own cancellation, taken like any other decision.
    pub(super) fn note_cancel(&mut self, reason: Option<&str>) {
        self.cancel_noted = true;
        let cancellation = v1::Completion {
            outcome: Some(CompletionOutcome::Cancellation(Default::default())),
            actor: "temporal".into(),
            reason: reason.unwrap_or_default().into(),
            ..Default::default()
        };
        if let Err(reason) = self.offer(cancellation) {
            self.drop_signal("cancel", reason);
        }
    }

    pub(super) fn drop_signal(&mut self, signal: &str, reason: &str) {
        self.dropped = self.dropped.saturating_add(1);
        if self.dropped <= MAX_RECORDED_DROPS {
            self.unrecorded.push(DroppedSignal {
                number: self.dropped,
                signal: signal.chars().take(100).collect(),
                reason: reason.chars().take(500).collect(),
            });
        }
    }

    pub(super) fn has_unrecorded_drops(&self) -> bool {
        !self.unrecorded.is_empty()
    }

    pub(super) fn take_unrecorded_drops(&mut self) -> Vec<DroppedSignal> {
        std::mem::take(&mut self.unrecorded)
    }

    pub(super) fn dropped(&self) -> u32 {
        self.dropped
    }

    pub(super) fn set_settlement(&mut self, settlement: v1::Settlement) {
        self.settlement = Some(settlement);
    }

    pub(super) fn is_settled_or_closed(&self) -> bool {
        self.settlement.is_some() || self.stage == Stage::Closed
    }

    /// Nothing more happens: whoever still waits gets an answer.
    pub(super) fn close(&mut self) {
        self.stage = Stage::Closed;
        self.tell(v1::outcome::Kind::Discarded(Default::default()));
    }

    /// A decision that was kept and did not become the task's end leaves a trace: somebody was told that it is recorded.
    pub(super) fn note_unused_decision(&mut self) {
        let Some(offered) = self.decision.as_ref().and_then(v1::Completion::to_settlement) else { return };
        if !self.settlement.as_ref().is_some_and(|recorded| recorded.same_outcome(&offered)) {
            self.drop_signal("decision", "another end was recorded");
        }
    }

    /// How a decision fared against what is recorded.
    pub(super) fn resolution_of(&self, completion: &v1::Completion) -> v1::Resolution {
        let (Some(recorded), Some(offered)) = (&self.settlement, completion.to_settlement()) else {
            return v1::Resolution {
                status: "invalid".into(),
                message: "the request was answered at once; there is no task to decide on".into(),
                ..Default::default()
            };
        };
        let status = match recorded.same_outcome(&offered) {
            true if recorded.decision_id == offered.decision_id => "accepted",
            true => "duplicate",
            false => "conflict",
        };
        let trace = self.input.as_ref().ok().and_then(|input| input.trace.clone());
        v1::Resolution { status: status.into(), recorded: Some(recorded.clone()), trace, ..Default::default() }
    }

    pub(super) fn status(&self) -> v1::WorkflowStatus {
        v1::WorkflowStatus {
            stage: self.stage.as_str().into(),
            submitted: self.submitted,
            dropped_signals: self.dropped,
            settlement: self.settlement.clone(),
        }
    }
}

fn same_outcome(a: &v1::Completion, b: &v1::Completion) -> bool {
    matches!((a.to_settlement(), b.to_settlement()), (Some(a), Some(b)) if a.same_outcome(&b))
}

fn read_input(input: Option<RawValue>) -> Result<v1::TaskInput, String> {
    let payloads = input.map(|raw| raw.payloads).unwrap_or_default();
    let [payload] = payloads.as_slice() else {
        return Err(format!("expected one payload, found {}", payloads.len()));
    };
    let input: v1::TaskInput =
        payload::decode(payload).map_err(|error| format!("not a handoff.v1.TaskInput: {error}"))?;
    match &input.task {
        Some(task) if !task.task_id.is_empty() && !task.scope.is_empty() && !task.verb.is_empty() => Ok(input),
        _ => Err("the task has no id, scope or verb".into()),
    }
}
