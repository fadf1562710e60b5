//! The real registry, driven by the model's steps.

use super::{database::Database, expected};
use crate::{
    state::{Decision, End, Key, State, Word},
    step::{Did, Step},
};
use handoff_proto::{
    releases::Release,
    v1::{
        self, AdcpError, Completion, HandoffToTask, HandoffToWorkflow, Progress, Standing, TaskRef,
        completion::{Cancellation, Outcome},
        decision::{Complete, Kind},
    },
    wire::{OfferedProposal, ProposalKind},
};
use handoff_store::{
    Answer, Claim, ClaimView, NewClaim, Observation, ObservedStage, ProposalCause, ProposalRef, ProposalUse,
    Reconciled, Registry, Viewer, Webhook, WebhookState,
};
use std::fmt::Debug;

type Result<T = ()> = std::result::Result<T, String>;

const PROPOSAL: &str = "the-one-proposal-of-this-walk";
const RESULT: &str = r#"{"media_buy_id":"mb_1"}"#;

/// One walk's requests in the real registry.
pub(crate) struct Replay<'a> {
    database: &'a Database,
    walk: String,
    claims: usize,
    observed: Option<Observation>,
    /// The first answer of each key.
    answers: [Option<Answer>; 2],
}

fn same<T: PartialEq + Debug>(what: &str, real: T, model: T) -> Result {
    if real == model { Ok(()) } else { Err(format!("{what}: the registry says {real:?}, the model {model:?}")) }
}

fn said<T>(result: std::result::Result<T, handoff_store::RegistryError>) -> Result<T> {
    result.map_err(|error| format!("the registry fails: {error}"))
}

fn error(code: &str) -> AdcpError {
    AdcpError { code: code.into(), message: "no".into(), recovery: "terminal".into(), ..Default::default() }
}

fn decision(decision: Decision) -> v1::Decision {
    let kind = match decision {
        Decision::Refuse => Kind::Refuse(error("POLICY_VIOLATION")),
        Decision::Complete => Kind::Complete(Complete { result_json: RESULT.into() }),
        Decision::Workflow => {
            Kind::HandoffToWorkflow(HandoffToWorkflow { handler: "review".into(), ..Default::default() })
        }
        Decision::Task => Kind::HandoffToTask(HandoffToTask { handler: "book".into(), ..Default::default() }),
    };
    v1::Decision { kind: Some(kind) }
}

fn completion(end: End, id: u8) -> Completion {
    let outcome = match end {
        End::Completed => Outcome::ResultJson(RESULT.into()),
        End::Failed => Outcome::Error(error("CREATIVE_REJECTED")),
        End::Canceled => Outcome::Cancellation(Cancellation {}),
    };
    Completion { outcome: Some(outcome), decision_id: format!("d{id}"), ..Default::default() }
}

impl<'a> Replay<'a> {
    pub(crate) fn new(database: &'a Database, number: usize) -> Self {
        let walk = format!("walk_{number:05}");
        Self { database, walk, claims: 0, observed: None, answers: [None, None] }
    }

    fn registry(&self) -> &'a dyn Registry {
        self.database.registry.as_ref()
    }

    fn task(&self, key: Key) -> TaskRef {
        self.task_named(&key.to_string())
    }

    fn task_named(&self, name: &str) -> TaskRef {
        TaskRef {
            task_id: format!("{}_{name}", self.walk),
            scope: self.walk.clone(),
            principal: "buyer".into(),
            verb: "create_media_buy".into(),
        }
    }

    fn proposal(&self) -> ProposalRef {
        ProposalRef::new(&self.walk, "buyer", PROPOSAL)
    }

    /// The proposal that every request names is ready to be bought.
    pub(crate) async fn offer(&self) -> Result {
        let offer = OfferedProposal {
            proposal_id: PROPOSAL.into(),
            kind: ProposalKind::NewMediaBuy,
            committed: true,
            parent_proposal_id: None,
            base_media_buy_id: None,
            base_media_buy_revision: None,
            terms_digest: None,
            expires_at: None,
            io_id: None,
            body_json: "{}".into(),
        };
        let committed = self.registry().commit_proposal(&self.proposal(), &offer, &ProposalCause::default()).await;
        same("offer", said(committed)?.is_ok(), true)
    }

    async fn claim(&mut self, task: TaskRef) -> Result<Claim> {
        let claim = NewClaim {
            task,
            protocol: "media-buy".into(),
            idempotency_key: Some("the-one-key-of-this-walk".into()),
            request_hash: "0".repeat(64),
            context_json: None,
            webhook: Some(Webhook { config_json: "{}".into(), has_secret: false }),
            proposal: Some(ProposalUse { proposal_id: PROPOSAL.into(), ..Default::default() }),
            release: Release::LATEST,
            sandbox: false,
        };
        said(self.registry().claim(&claim).await)
    }

    /// A client that does not know of the others comes with a task id of its own.
    async fn claim_again(&mut self) -> Result<Claim> {
        self.claims += 1;
        self.claim(self.task_named(&format!("again{}", self.claims))).await
    }

    /// Does the step, and compares what it returns.
    pub(crate) async fn apply(&mut self, before: &State, step: Step, after: &State) -> Result {
        match step {
            Step::Claim { key, .. } => same("claim", self.claim(self.task(key)).await?, Claim::New),
            Step::Attach { key, .. } => {
                let task_id = self.task(key).task_id;
                same("claim", self.claim_again().await?, Claim::InFlight { task_id })
            }
            Step::Expired { .. } => same("claim", self.claim_again().await?, Claim::Expired),
            Step::Replay { key, told, .. } => {
                let task_id = self.task(key).task_id;
                let expected = match (told, &self.answers[key.index()]) {
                    (Word::Unknown, _) => Claim::OutcomeUnknown { task_id },
                    (_, Some(answer)) => Claim::Answered { task_id, answer: answer.clone() },
                    (_, None) => return Err(format!("{key} was never seen answered")),
                };
                same("claim", self.claim_again().await?, expected)
            }
            Step::Observe { key, .. } => self.observe(before, key).await,
            Step::Reconcile { changed, .. } => self.reconcile(changed).await,
            Step::TtlPasses { key } => self.database.expire(&self.task(key).task_id).await,
            Step::Purge { key } => self.purge(key).await,
            Step::Execution { id, key, did } => self.execute(before, id, key, did, after).await,
            _ => Ok(()),
        }
    }

    // Not before the webhook that is owed was told, which the model's runs and reconcile see to.
    async fn purge(&mut self, key: Key) -> Result {
        let task = self.task(key);
        if let Some((webhook, _)) = said(self.registry().webhook_log(&task.task_id).await)? {
            same("purge before the webhook is told", said(self.registry().purge(&task).await)?, false)?;
            let told = self.registry().record_webhook(&task, &webhook.idempotency_key, None, WebhookState::Delivered);
            same("webhook", said(told.await)?, Some(WebhookState::Delivered))?;
        }
        same("purge", said(self.registry().purge(&task).await)?, true)
    }

    async fn observe(&mut self, state: &State, key: Key) -> Result {
        let task = self.task(key);
        let after = format!("{}_", self.walk);
        let unfinished = said(self.registry().unfinished(i64::MAX, Some(&after), 10).await)?;
        self.observed = unfinished.into_iter().find(|observation| observation.task == task);
        let stage = self.observed.as_ref().map(|observation| observation.stage);
        same("unfinished", stage, expected::stage(state, key))
    }

    async fn reconcile(&mut self, changed: bool) -> Result {
        // What had ended when it was looked at is only redelivered, which is not the registry's.
        let Some(observed) = self.observed.take() else { return Ok(()) };
        let expected = match observed.stage {
            _ if changed => Reconciled::Changed,
            ObservedStage::Submitted => Reconciled::Settled,
            ObservedStage::Pending => Reconciled::Discarded,
            ObservedStage::Claimed | ObservedStage::Leased | ObservedStage::Lapsed => Reconciled::Voided,
        };
        let done = said(self.registry().reconcile(&observed, &error("SERVICE_UNAVAILABLE")).await)?;
        same("reconcile", done, expected)?;
        let again = said(self.registry().reconcile(&observed, &error("SERVICE_UNAVAILABLE")).await)?;
        same("reconcile again", again, Reconciled::Changed)
    }

    async fn execute(&self, before: &State, id: u8, key: Key, did: Did, after: &State) -> Result {
        let standing = |standing: Standing| {
            same("returned standing", expected::Stands::from(&standing), expected::stands(after, key))
        };
        let ended = |settlement: Option<v1::Settlement>| {
            let end = settlement.map(|settlement| expected::known_end(&settlement.status));
            same("returned settlement", end, expected::end(after, key))
        };
        let task = &self.task(key);
        match did {
            Did::BeginFinds(_) | Did::BeginVoid | Did::Begin => {
                let found = said(self.registry().begin(task).await)?;
                let may_call = found.decision.is_none() && found.settlement.is_none();
                same("the handler may be called", may_call, did == Did::Begin)
            }
            Did::Record(asked)
            | Did::RecordFinds { asked, .. }
            | Did::RecordVoid { asked }
            | Did::RecordEnded { asked } => {
                standing(said(self.registry().record_decision(task, &decision(asked)).await)?)
            }
            Did::Accept { .. } | Did::Wilco { accepts: true } => standing(said(self.registry().accept(task).await)?),
            Did::Settle { end, .. } => ended(said(self.registry().settle(task, &completion(end, id)).await)?),
            Did::Discard => ended(said(self.registry().discard(task, &error("UNABLE")).await)?),
            Did::Report => {
                let progress = Progress { percentage: Some(50.0), ..Default::default() };
                let kept = said(self.registry().update_progress(task, &progress).await)?;
                same("progress", kept, before.of(key).task.is_open())
            }
            Did::CallHandler(_) | Did::Unable | Did::FinishTask(_) | Did::Wilco { accepts: false } => Ok(()),
            Did::BeginProposalBusy => standing(said(self.registry().begin(task).await)?),
            Did::ReserveStopped | Did::Reserve | Did::ReserveConflict | Did::UnableDiscards => {
                Err("this step is not of the real registry".into())
            }
        }
    }

    /// Does an execution's transaction once more, whatever it returns.
    pub(crate) async fn repeat(&self, step: Step) -> Result {
        let Step::Execution { id, key, did } = step else { return Ok(()) };
        let task = &self.task(key);
        match did {
            Did::Record(asked)
            | Did::RecordFinds { asked, .. }
            | Did::RecordVoid { asked }
            | Did::RecordEnded { asked } => {
                said(self.registry().record_decision(task, &decision(asked)).await)?;
            }
            Did::Accept { .. } | Did::Wilco { accepts: true } => drop(said(self.registry().accept(task).await)?),
            Did::Begin | Did::BeginFinds(_) | Did::BeginVoid | Did::BeginProposalBusy => {
                drop(said(self.registry().begin(task).await)?);
            }
            Did::Settle { end, .. } => drop(said(self.registry().settle(task, &completion(end, id)).await)?),
            Did::Discard => drop(said(self.registry().discard(task, &error("UNABLE")).await)?),
            Did::Report => {
                let kept = said(self.registry().update_progress(task, &Progress::default()).await)?;
                same("late progress", kept, false)?;
            }
            _ => {}
        }
        Ok(())
    }

    /// Compares all that the registry says about the walk's requests.
    pub(crate) async fn compare(&mut self, state: &State) -> Result {
        let proposal = said(self.registry().get_proposal(&self.proposal()).await)?.map(|record| record.proposal);
        let Some(proposal) = proposal else { return Err("the proposal is lost".into()) };
        let (stands, holder) = expected::proposal(state);
        same("proposal", proposal.state, stands)?;
        same("its holder", proposal.held_by, holder.map(|key| self.task(key).task_id))?;
        for key in Key::ALL {
            let task = self.task(key);
            let view = said(self.registry().claim_view(&task).await)?;
            same(&format!("{key}: claim"), expected::View::from(&view), expected::view(state, key))?;
            if let ClaimView::Answered(answer) = view {
                let first = self.answers[key.index()].get_or_insert_with(|| answer.clone());
                same(&format!("{key}: answer"), &answer, &*first)?;
            }
            let standing = said(self.registry().standing(&task).await)?;
            same(&format!("{key}: standing"), expected::Stands::from(&standing), expected::stands(state, key))?;
            let viewer = Viewer::Buyer { scope: task.scope.clone(), principal: task.principal.clone() };
            let record = said(self.registry().get(&viewer, &task.task_id, false).await)?;
            let status = record.map(|record| record.status);
            same(&format!("{key}: task"), status.as_deref(), expected::polled(state, key))?;
            if !expected::may_purge(state, key) {
                same(&format!("{key}: premature purge"), said(self.registry().purge(&task).await)?, false)?;
            }
        }
        Ok(())
    }
}
