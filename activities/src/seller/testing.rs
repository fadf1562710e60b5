//! Contexts for a seller's unit tests: handlers are called as the functions that they are, with no Temporal and no registry.
//!
//! ```
//! use handoff_activities::seller::{Context, Decision, testing::{Decided, TestRequest}};
//! use handoff_proto::wire::AdcpError;
//! use serde_json::{Value, json};
//!
//! async fn create_media_buy(ctx: Context<f64>, request: Value) -> Result<Decision, AdcpError> {
//!     if request["budget"].as_f64() < Some(*ctx.state()) {
//!         return Err(AdcpError::correctable("BUDGET_TOO_LOW", "We start at 500.").field("budget"));
//!     }
//!     Ok(Decision::handoff_to_task("book", request))
//! }
//!
//! # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
//! let request = TestRequest::new("create_media_buy").account("acct_pinnacle");
//! let decision = create_media_buy(request.context(500.0), json!({"budget": 800})).await.unwrap();
//! let book = Decided::Task { handler: "book".into(), input: json!({"budget": 800}) };
//! assert_eq!(Decided::of(decision).unwrap(), book);
//! let refused = create_media_buy(request.context(500.0), json!({"budget": 8})).await.unwrap_err();
//! assert_eq!(refused.code, "BUDGET_TOO_LOW");
//! # });
//! ```

use super::{
    Context, Decision, Governance, GovernanceDesk, NamedProposal, Prepared, Progress, Proposals, Question,
    RequestContext, TaskContext, Work, task::Host,
};
use async_trait::async_trait;
use handoff_proto::{
    convert::to_duration,
    errors,
    v1::{self, TaskRef},
    wire::AdcpError,
};
use handoff_store::RegistryError;
use serde_json::Value;
use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::sync::watch;

/// The request that handlers under test work for: a first attempt for an account that is no sandbox, unless told.
#[derive(Clone, Debug)]
pub struct TestRequest {
    request: RequestContext,
    last_heartbeat: Option<Value>,
}

impl TestRequest {
    /// A request of this verb.
    pub fn new(verb: impl Into<String>) -> Self {
        let request = RequestContext {
            verb: verb.into(),
            account: "acct_test".into(),
            principal: "agent.test.example".into(),
            task_id: String::new(),
            workflow_id: String::new(),
            attempt: 1,
            buyer_context: None,
            time_budget: Duration::from_secs(10),
            sandbox: false,
            correlation_id: "test".into(),
            proposals: Proposals::default(),
            governance: Governance::default(),
        };
        Self { request, last_heartbeat: None }.task_id("task_test")
    }

    /// Of this account.
    #[must_use]
    pub fn account(mut self, account: impl Into<String>) -> Self {
        self.request.account = account.into();
        self.with_workflow_id()
    }

    /// From this agent.
    #[must_use]
    pub fn principal(mut self, principal: impl Into<String>) -> Self {
        self.request.principal = principal.into();
        self
    }

    /// With this task id, which is also its idempotency token.
    #[must_use]
    pub fn task_id(mut self, task_id: impl Into<String>) -> Self {
        self.request.task_id = task_id.into();
        self.with_workflow_id()
    }

    /// On this attempt, from 1.
    #[must_use]
    pub fn attempt(mut self, attempt: u32) -> Self {
        self.request.attempt = attempt;
        self
    }

    /// With this `context` object.
    #[must_use]
    pub fn buyer_context(mut self, context: Value) -> Self {
        self.request.buyer_context = Some(context);
        self
    }

    /// From a buyer who waits this long for a synchronous answer.
    #[must_use]
    pub fn time_budget(mut self, budget: Duration) -> Self {
        self.request.time_budget = budget;
        self
    }

    /// In a sandbox account.
    #[must_use]
    pub fn sandbox(mut self) -> Self {
        self.request.sandbox = true;
        self
    }

    /// That buys this proposal.
    #[must_use]
    pub fn proposal(mut self, body: Value) -> Self {
        self.request.proposals.bought = Some(Arc::new(body));
        self
    }

    /// That names this proposal to refine, finalize or decline it; once for each.
    #[must_use]
    pub fn named_proposal(mut self, proposal: NamedProposal) -> Self {
        let named = &mut self.request.proposals.named;
        *named = named.iter().cloned().chain([proposal]).collect();
        self
    }

    /// For an account whose governance agent answers so, whatever it is asked; of what this request says (`governance_context`,
    /// `plan_id`).
    #[must_use]
    pub fn governed(mut self, request: &Value, answer: Value) -> Self {
        self.request.governance = Governance::new(Some(Arc::new(Answers(answer))), &self.request.account, request);
        self
    }

    /// After an attempt that died and had remembered this.
    #[must_use]
    pub fn last_heartbeat(mut self, details: impl Into<Value>) -> Self {
        self.last_heartbeat = Some(details.into());
        self
    }

    /// What a verb handler or an enqueue handler gets, with this state of the seller's.
    pub fn context<S>(&self, state: impl Into<Arc<S>>) -> Context<S> {
        Context::new(state.into(), Arc::new(self.request.clone()))
    }

    /// What a task handler gets, and what a test sees of its work.
    pub fn task_context<S>(&self, state: impl Into<Arc<S>>) -> (TaskContext<S>, TaskProbe) {
        let probe = TaskProbe { seen: Arc::default(), cancelled: watch::Sender::new(false) };
        let work = Work { host: Box::new(probe.clone()), heartbeat: Mutex::new(self.last_heartbeat.clone()) };
        (TaskContext::new(state.into(), Arc::new(self.request.clone()), Arc::new(work)), probe)
    }

    fn with_workflow_id(mut self) -> Self {
        let RequestContext { task_id, account: scope, principal, verb, .. } = self.request.clone();
        self.request.workflow_id = TaskRef { task_id, scope, principal, verb }.workflow_id();
        self
    }
}

/// A governance agent that has made up its mind.
struct Answers(Value);

#[async_trait]
impl GovernanceDesk for Answers {
    async fn ask(&self, _: &str, question: Question<'_>) -> Result<Option<Value>, AdcpError> {
        question("https://seller.test.example/mcp")?;
        Ok(Some(self.0.clone()))
    }
}

/// What a task handler under test did, and the way to cancel it.
#[derive(Clone, Debug)]
pub struct TaskProbe {
    seen: Arc<Mutex<Seen>>,
    cancelled: watch::Sender<bool>,
}

#[derive(Debug, Default)]
struct Seen {
    progress: Vec<Progress>,
    heartbeats: Vec<Value>,
}

impl TaskProbe {
    /// All progress that was told, first to last, as a buyer would see it.
    pub fn progress(&self) -> Vec<Progress> {
        self.seen().progress.clone()
    }

    /// All that was remembered, first to last; the next attempt would find the last one.
    pub fn heartbeats(&self) -> Vec<Value> {
        self.seen().heartbeats.clone()
    }

    /// Cancels the task, as a buyer's cancellation or the worker's shutdown would.
    pub fn cancel(&self) {
        self.cancelled.send_replace(true);
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Host for TaskProbe {
    async fn progress(&self, progress: &v1::Progress) -> Result<(), RegistryError> {
        self.seen().progress.push(Progress {
            percentage: progress.percentage,
            current_step: Some(progress.current_step.clone()).filter(|step| !step.is_empty()),
            total_steps: progress.total_steps,
            step_number: progress.step_number,
        });
        Ok(())
    }

    async fn heartbeat(&self, details: Value) -> Result<(), AdcpError> {
        self.seen().heartbeats.push(details);
        Ok(())
    }

    async fn cancelled(&self) {
        // It can't fail: this value holds the sender.
        let _ = self.cancelled.subscribe().wait_for(|cancelled| *cancelled).await;
    }

    fn is_cancelled(&self) -> bool {
        *self.cancelled.borrow()
    }
}

/// A decision, for a test to compare.
#[derive(Clone, Debug, PartialEq)]
pub enum Decided {
    /// Answered at once.
    Complete {
        /// What the buyer gets.
        result: Value,
    },
    /// Handed off to a task handler.
    Task {
        /// Its name.
        handler: String,
        /// What it gets.
        input: Value,
    },
    /// Handed off to an outside decision.
    Workflow {
        /// The enqueue handler's name.
        handler: String,
        /// What it gets.
        input: Value,
        /// How long the decision may take, if the handler said.
        deadline: Option<Duration>,
        /// What the decision is in a sandbox when nobody decides, if the handler said.
        sandbox_approval: Option<Value>,
    },
}

impl Decided {
    /// Reads a decision. An error is what a buyer would be answered instead: the result is no object, too large, or can't be
    /// written as JSON.
    pub fn of(decision: Decision) -> Result<Self, AdcpError> {
        Ok(match decision.prepare()? {
            Prepared::Complete(result) => Self::Complete { result: value(&result)? },
            Prepared::Task(handoff) => Self::Task { handler: handoff.handler, input: value(&handoff.input_json)? },
            Prepared::Workflow(handoff) => Self::Workflow {
                handler: handoff.handler,
                input: value(&handoff.input_json)?,
                deadline: handoff.deadline.as_ref().map(to_duration),
                sandbox_approval: handoff.sandbox_approval.map(|approval| value(&approval.result_json)).transpose()?,
            },
        })
    }
}

fn value(json: &str) -> Result<Value, AdcpError> {
    serde_json::from_str(json).map_err(errors::result_invalid)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seller::ProposalState;
    use serde_json::json;

    async fn copy(task: TaskContext<u32>, pages: u32) -> Result<Value, AdcpError> {
        for page in task.last_heartbeat::<u32>().unwrap_or(0) + 1..=pages {
            task.progress(Progress::step(page, pages, "copying")).await;
            tokio::select! {
                biased;
                () = task.cancelled() => return Err(AdcpError::transient("CONFLICT", "Stopped.")),
                () = std::future::ready(()) => {}
            }
            task.heartbeat(page).await?;
        }
        Ok(json!({"copies": task.state(), "token": task.idempotency_token()}))
    }

    #[tokio::test]
    async fn a_task_handler_is_watched_and_goes_on_where_the_last_attempt_was() {
        let (task, probe) = TestRequest::new("build_creative").task_context(7);
        assert_eq!(copy(task, 2).await.unwrap(), json!({"copies": 7, "token": "task_test"}));
        assert_eq!(probe.progress(), [Progress::step(1, 2, "copying"), Progress::step(2, 2, "copying")]);
        assert_eq!(probe.heartbeats(), [json!(1), json!(2)]);
        let (task, probe) = TestRequest::new("build_creative").attempt(2).last_heartbeat(1).task_context(7);
        assert_eq!(task.attempt, 2);
        copy(task, 2).await.unwrap();
        assert_eq!(probe.heartbeats(), [json!(2)]);
    }

    #[tokio::test]
    async fn a_task_can_be_cancelled_before_and_while_it_waits() {
        let (task, probe) = TestRequest::new("build_creative").task_context(1);
        probe.cancel();
        assert!(task.is_cancelled() && copy(task, 3).await.is_err());
        assert!(probe.heartbeats().is_empty());
        let (task, probe) = TestRequest::new("build_creative").task_context(());
        let waiting = tokio::spawn(async move { task.cancelled().await });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        probe.cancel();
        waiting.await.unwrap();
    }

    #[test]
    fn a_request_is_what_the_engine_would_make_of_it() {
        let request = TestRequest::new("get_products").account("acct_1").task_id("task_9").sandbox();
        let context = request.principal("a").buyer_context(json!({"x": 1})).time_budget(Duration::ZERO).context(());
        assert_eq!(context.workflow_id, "acct_1/task_9");
        assert_eq!((context.idempotency_token(), context.sandbox, context.attempt), ("task_9", true, 1));
        assert_eq!((context.proposal(), context.named_proposal("p")), (None, None));
        let named = |proposal_id: &str| NamedProposal {
            proposal_id: proposal_id.into(),
            state: ProposalState::Draft,
            body: json!({"proposal_id": proposal_id}),
        };
        let request = TestRequest::new("get_products").named_proposal(named("p")).named_proposal(named("q"));
        let context = request.proposal(json!({"proposal_id": "r"})).context(());
        assert_eq!(context.proposal(), Some(&json!({"proposal_id": "r"})));
        assert_eq!(context.named_proposal("p"), Some(&named("p")));
        assert_eq!(context.named_proposal("q"), Some(&named("q")));
        assert_eq!(context.named_proposal("r"), None);
    }

    #[test]
    fn decisions_are_read_as_the_engine_reads_them() {
        let minute = Duration::from_secs(60);
        let review = Decision::handoff_to_workflow("review", 1).deadline(minute);
        let review = review.sandbox_approval(json!({"ok": true}));
        let decided = Decided::Workflow {
            handler: "review".into(),
            input: json!(1),
            deadline: Some(minute),
            sandbox_approval: Some(json!({"ok": true})),
        };
        assert_eq!(Decided::of(review).unwrap(), decided);
        let result = json!({"products": []});
        assert_eq!(Decided::of(Decision::complete(&result)).unwrap(), Decided::Complete { result });
        assert_eq!(Decided::of(Decision::complete(7)).unwrap_err().code, errors::RESULT_INVALID);
        let approval = Decision::handoff_to_workflow("review", 1).sandbox_approval(7);
        assert_eq!(Decided::of(approval).unwrap_err().code, errors::RESULT_INVALID);
    }
}
