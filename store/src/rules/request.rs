//! A request as the registry holds it, and the transitions that the rules are made of.

use super::Step;
use crate::{Answer, Lease, NewClaim, ObservedStage, ProposalUse};
use handoff_proto::{
    releases::Release,
    v1::{AdcpError, Decision, Progress, Settlement, TaskRef, decision::Kind, decision::Void},
    wire::{self, TaskStatus},
};

/// What became of a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ClaimState {
    /// Not answered yet.
    InFlight,
    /// Answered `submitted` or `completed`.
    Answered,
    /// Refused or discarded: the key is free.
    Released,
    /// The run vanished before its outcome was recorded.
    Unknown,
    /// A tombstone: only the key is left.
    Purged,
}

impl ClaimState {
    const ALL: [Self; 5] = [Self::InFlight, Self::Answered, Self::Released, Self::Unknown, Self::Purged];

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::InFlight => "in_flight",
            Self::Answered => "answered",
            Self::Released => "released",
            Self::Unknown => "unknown",
            Self::Purged => "purged",
        }
    }

    pub(crate) fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == text)
    }
}

/// A request: its claim, its journal and its task. Times are microseconds since 1970.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Request {
    pub(crate) task: TaskRef,
    pub(crate) protocol: String,
    pub(crate) idempotency_key: Option<String>,
    pub(crate) request_hash: String,
    pub(crate) context_json: Option<String>,
    pub(crate) has_webhook: bool,
    pub(crate) claim: ClaimState,
    pub(crate) answer: Option<Answer>,
    pub(crate) answered_at: Option<i64>,
    pub(crate) expires_at: Option<i64>,
    /// `None` while the journal is open.
    pub(crate) journal: Option<Kind>,
    pub(crate) decided_at: Option<i64>,
    /// `None` while there is no task.
    pub(crate) status: Option<TaskStatus>,
    /// A task that is not visible is pending.
    pub(crate) visible: bool,
    pub(crate) progress_json: Option<String>,
    pub(crate) result_json: Option<String>,
    pub(crate) error: Option<AdcpError>,
    pub(crate) decision_id: Option<String>,
    pub(crate) actor: Option<String>,
    pub(crate) reason: Option<String>,
    pub(crate) created_at: i64,
    pub(crate) updated_at: i64,
    pub(crate) completed_at: Option<i64>,
    pub(crate) version: i64,
    /// Its handler is called outside any workflow.
    pub(crate) lease: Option<Lease>,
    /// The proposal that it buys.
    pub(crate) proposal: Option<ProposalUse>,
    /// The release that it is of.
    pub(crate) release: Release,
    /// What its buyer is told of, where `result_json` is not in the words of that release.
    pub(crate) told_json: Option<String>,
    /// Its account is a sandbox.
    pub(crate) sandbox: bool,
}

impl Request {
    pub(crate) fn new(claim: &NewClaim, step: &mut Step) -> Self {
        let request = Self {
            task: claim.task.clone(),
            protocol: claim.protocol.clone(),
            idempotency_key: claim.idempotency_key.clone(),
            request_hash: claim.request_hash.clone(),
            context_json: claim.context_json.clone(),
            has_webhook: claim.webhook.is_some(),
            claim: ClaimState::InFlight,
            answer: None,
            answered_at: None,
            expires_at: None,
            journal: None,
            decided_at: None,
            status: None,
            visible: false,
            progress_json: None,
            result_json: None,
            error: None,
            decision_id: None,
            actor: None,
            reason: None,
            created_at: step.now,
            updated_at: step.now,
            completed_at: None,
            version: 1,
            lease: None,
            proposal: claim.proposal.clone(),
            release: claim.release,
            told_json: None,
            sandbox: claim.sandbox,
        };
        step.log(&request, "claimed");
        request
    }

    /// How far the task has come; what can't be read is nothing.
    pub(super) fn progress(&self) -> Progress {
        self.progress_json.as_deref().and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default()
    }

    pub(super) fn set_progress(&mut self, progress: &Progress) {
        // What has no JSON was refused before.
        self.progress_json = serde_json::to_string(progress).ok().or(self.progress_json.take());
    }

    /// The status that a poll sees.
    pub(crate) fn visible_status(&self) -> Option<TaskStatus> {
        self.status.filter(|_| self.visible)
    }

    /// Decided for the workflow arm, and nobody was told.
    pub(crate) fn is_pending(&self) -> bool {
        self.status.is_some() && !self.visible
    }

    /// The task has ended.
    pub(crate) fn is_terminal(&self) -> bool {
        self.status.is_some_and(TaskStatus::is_terminal)
    }

    /// The claim was taken away from this task.
    pub(crate) fn claim_is_gone(&self) -> bool {
        !matches!(self.claim, ClaimState::InFlight | ClaimState::Answered)
    }

    /// Nothing is decided, and something may be.
    pub(crate) fn may_be_decided(&self) -> bool {
        self.journal.is_none() && !self.claim_is_gone() && !self.is_terminal()
    }

    /// The result of a request that ended well.
    pub(crate) fn success(&self) -> Option<&str> {
        match (self.status, &self.journal) {
            (Some(TaskStatus::Completed), _) => self.result_json.as_deref(),
            (None, Some(Kind::Complete(complete))) => Some(&complete.result_json),
            _ => None,
        }
    }

    /// A webhook may still be sent: somebody was told `submitted`, or will be.
    pub(crate) fn needs_webhook(&self) -> bool {
        self.has_webhook && (self.visible || self.stage().is_some())
    }

    /// It ended after `submitted` was said: its webhook is told.
    pub(crate) fn owes_webhook(&self) -> bool {
        self.has_webhook && self.visible && self.is_terminal()
    }

    /// What is left to do, if anything is.
    pub(crate) fn stage(&self) -> Option<ObservedStage> {
        match self.status {
            Some(status) if status.is_terminal() => None,
            Some(_) if self.visible => Some(ObservedStage::Submitted),
            Some(_) => Some(ObservedStage::Pending),
            None if self.journal.is_none() && !self.claim_is_gone() => Some(ObservedStage::Claimed),
            None => None,
        }
    }

    /// The task's recorded end.
    pub(crate) fn settlement(&self) -> Option<Settlement> {
        let status = self.status.filter(|status| status.is_terminal())?;
        Some(Settlement {
            status: status.to_string(),
            result_json: self.result_json.clone().unwrap_or_default(),
            error: self.error.clone(),
            decision_id: self.decision_id.clone().unwrap_or_default(),
            actor: self.actor.clone().unwrap_or_default(),
            reason: self.reason.clone().unwrap_or_default(),
            webhook: self.owes_webhook(),
            ..Default::default()
        })
    }

    /// Why the request was refused, if that was its end.
    pub(crate) fn refusal(&self) -> Option<&AdcpError> {
        match &self.journal {
            Some(Kind::Refuse(error)) if self.status.is_none() => Some(error),
            _ => None,
        }
    }

    /// The journal as a message.
    pub(crate) fn decision(&self) -> Option<Decision> {
        Some(Decision { kind: Some(self.journal.clone()?) })
    }

    pub(super) fn decide(&mut self, kind: Kind, step: &Step) {
        self.journal = Some(kind);
        self.decided_at = Some(step.now);
    }

    /// A lease, as far as the request is undecided and nobody was told anything.
    pub(crate) fn running_lease(&self) -> Option<Lease> {
        self.lease.filter(|_| self.stage() == Some(ObservedStage::Claimed))
    }

    /// Nothing may be decided any more, if nothing was.
    pub(super) fn close_journal(&mut self, step: &Step) {
        if self.journal.is_none() {
            self.decide(Kind::Void(Void {}), step);
        }
    }

    /// Answers the claim, if it has no answer.
    pub(super) fn answer(&mut self, status: TaskStatus, body_json: String, step: &Step) {
        if self.claim == ClaimState::InFlight {
            self.claim = ClaimState::Answered;
            self.answer = Some(Answer { status: status.to_string(), body_json });
            self.answered_at = Some(step.now);
            self.expires_at = Some(step.expiry());
        }
    }

    /// Frees the key. The row stays: nothing may create its task id again.
    pub(super) fn release(&mut self, step: &Step) {
        self.idempotency_key = None;
        self.claim = ClaimState::Released;
        self.expires_at = Some(step.expiry());
    }

    /// Makes the task visible as `submitted`, creating it if it is not there, and says so to the claim.
    pub(super) fn submit(&mut self, step: &mut Step) {
        if self.visible {
            return;
        }
        self.status = Some(TaskStatus::Submitted);
        self.visible = true;
        let mut body = wire::submitted_body(&self.task.task_id);
        if let (Some(Kind::HandoffToWorkflow(handoff)), Some(body)) = (&self.journal, body.as_object_mut()) {
            body.extend(handoff.forced_fields());
        }
        self.answer(TaskStatus::Submitted, body.to_string(), step);
        step.log(self, "submitted");
    }

    /// Ends a visible task.
    pub(super) fn end(&mut self, end: End, step: &mut Step) {
        self.status = Some(end.status);
        self.result_json = Some(end.settlement.result_json).filter(|result| !result.is_empty());
        let translated = |result| wire::translated_result(self.release, &self.task.verb, result);
        self.told_json = self.result_json.as_deref().and_then(translated);
        self.error = end.settlement.error;
        self.decision_id = storable(end.settlement.decision_id);
        self.actor = storable(end.settlement.actor);
        self.reason = storable(end.settlement.reason);
        self.completed_at = Some(step.now);
        self.close_journal(step);
        let (actor, reason) = (self.actor.clone(), self.reason.clone());
        let entry = step.log(self, end.status.as_str());
        entry.actor = actor.unwrap_or_default();
        entry.reason = reason.unwrap_or_default();
    }
}

/// How a task is to end.
pub(super) struct End {
    status: TaskStatus,
    settlement: Settlement,
}

impl End {
    /// `None` for a completion without an outcome.
    pub(super) fn of(completion: &handoff_proto::v1::Completion) -> Option<Self> {
        Some(Self { status: completion.status()?, settlement: completion.to_settlement()? })
    }

    /// The same decision, but a failure.
    pub(super) fn failing(self, error: &AdcpError) -> Self {
        let settlement = Settlement {
            status: TaskStatus::Failed.to_string(),
            result_json: String::new(),
            error: Some(error.clone()),
            ..self.settlement
        };
        Self { status: TaskStatus::Failed, settlement }
    }

    pub(super) fn failed(error: &AdcpError, actor: &str, reason: &str) -> Self {
        Self {
            status: TaskStatus::Failed,
            settlement: Settlement {
                status: TaskStatus::Failed.to_string(),
                error: Some(error.clone()),
                actor: actor.to_owned(),
                reason: reason.to_owned(),
                ..Default::default()
            },
        }
    }
}

// PostgreSQL's text can't hold U+0000; a decision must not fail for ever because of how its reason was typed.
pub(super) fn storable(text: String) -> Option<String> {
    match text {
        text if text.is_empty() => None,
        text if text.contains('\0') => Some(text.replace('\0', "\u{fffd}")),
        text => Some(text),
    }
}
