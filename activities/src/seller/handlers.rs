//! Everything that a seller registered, checked once and then looked up by name.

use super::{
    Condition, Context, Decision, Failure, GovernancePolicy, Handler, HookContext, IntoEnqueueHandler, IntoTaskHandler,
    IntoToolHandler, IntoVerbHandler, RequestContext, Subject, TaskContext, dispatcher::Dispatcher, task::Work,
};
use futures::future::BoxFuture;
use handoff_proto::{
    v1,
    verbs::{self, VERBS},
    wire::{AdcpError, SYNC_GOVERNANCE},
};
use serde_json::Value;
use std::{collections::BTreeMap, sync::Arc, time::Duration};

/// The seller's handlers, ready to be called.
#[derive(Clone)]
pub struct Handlers {
    verbs: BTreeMap<String, Verb>,
    tasks: BTreeMap<String, Task>,
    enqueues: BTreeMap<String, Enqueue>,
    tools: BTreeMap<String, Tool>,
    scenarios: BTreeMap<String, Call<Result<Value, AdcpError>>>,
    capabilities: Value,
    governance: Option<GovernancePolicy>,
    pub(crate) dispatcher: Dispatcher,
}

pub(crate) type Call<T> = Arc<dyn Fn(Arc<RequestContext>, Value) -> BoxFuture<'static, T> + Send + Sync>;
type Hook<A, T> = Arc<dyn Fn(Subject, A) -> BoxFuture<'static, T> + Send + Sync>;
type RunTask =
    Arc<dyn Fn(Arc<RequestContext>, Arc<Work>, Value) -> BoxFuture<'static, Result<Value, AdcpError>> + Send + Sync>;

#[derive(Clone)]
pub(crate) struct Verb {
    pub(crate) decide: Call<Result<Decision, AdcpError>>,
    pub(crate) answers_at_once: Option<Call<bool>>,
    pub(crate) quick: bool,
    pub(crate) hands_off_to: Vec<String>,
    pub(crate) on_complete: Option<Hook<Value, Result<(), AdcpError>>>,
    pub(crate) on_failure: Option<Hook<Failure, ()>>,
}

#[derive(Clone)]
pub(crate) struct Tool {
    pub(crate) answer: Call<Result<Value, AdcpError>>,
    pub(crate) rerunnable: bool,
}

#[derive(Clone)]
pub(crate) struct Task {
    pub(crate) run: RunTask,
    pub(crate) retry: v1::RetryPolicy,
    pub(crate) attempt_timeout: Duration,
    pub(crate) heartbeat_timeout: Duration,
    pub(crate) deadline: Duration,
}

#[derive(Clone)]
pub(crate) struct Enqueue {
    pub(crate) enqueue: Call<Result<super::Acknowledgement, AdcpError>>,
    pub(crate) retry: v1::RetryPolicy,
    pub(crate) attempt_timeout: Duration,
}

impl Handlers {
    /// The names of the registered verbs.
    pub fn verbs(&self) -> impl Iterator<Item = &str> {
        self.verbs.keys().map(String::as_str)
    }

    /// The names of the registered plain tools.
    pub fn tools(&self) -> impl Iterator<Item = &str> {
        self.tools.keys().map(String::as_str)
    }

    /// May the handler of this plain tool be called again when nobody knows what it did?
    pub fn is_rerunnable(&self, tool: &str) -> bool {
        self.tools.get(tool).is_some_and(|tool| tool.rerunnable)
    }

    /// What the seller says about itself beyond what its wiring says; an object.
    pub fn capabilities(&self) -> &Value {
        &self.capabilities
    }

    /// Which governance agents the seller takes for its buyers' accounts. `None`: it asks none.
    pub fn governance(&self) -> Option<&GovernancePolicy> {
        self.governance.as_ref()
    }

    /// The names of the scenarios that the seller stages for compliance tests.
    pub fn scenarios(&self) -> impl Iterator<Item = &str> {
        self.scenarios.keys().map(String::as_str)
    }

    pub(crate) fn scenario(&self, name: &str) -> Option<&Call<Result<Value, AdcpError>>> {
        self.scenarios.get(name)
    }

    pub(crate) fn tool(&self, name: &str) -> Option<&Tool> {
        self.tools.get(name)
    }

    pub(crate) fn verb(&self, name: &str) -> Option<&Verb> {
        self.verbs.get(name)
    }

    pub(crate) fn task(&self, name: &str) -> Option<&Task> {
        self.tasks.get(name)
    }

    pub(crate) fn enqueue(&self, name: &str) -> Option<&Enqueue> {
        self.enqueues.get(name)
    }
}

/// A mistake in how a seller is put together; its text says what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WiringError {
    /// No such verb.
    #[error("{0:?} is no asynchronous AdCP verb; register one of: {known}", known = known_verbs())]
    UnknownVerb(String),
    /// A verb was registered twice.
    #[error("the verb {0:?} is registered twice; keep one of them")]
    DuplicateVerb(String),
    /// Two handlers have one name.
    #[error("two handlers are named {0:?}; task and enqueue handlers share one set of names, so rename one")]
    DuplicateHandler(String),
    /// A handler's name is not usable.
    #[error("{0:?} is no handler name; use 1 to 100 letters, digits, '_', '-' or '.'")]
    InvalidHandlerName(String),
    /// A verb hands off to a name that nobody registered.
    #[error(
        "{verb:?} hands off to {handler:?}, which is not registered; register it with .task({handler:?}, …) or \
         .enqueue({handler:?}, …), or take it out of hands_off_to"
    )]
    MissingHandler {
        /// The verb.
        verb: String,
        /// The name.
        handler: String,
    },
    /// A duration that can't work.
    #[error("{handler:?}: {what} must be longer than zero")]
    ZeroDuration {
        /// The handler.
        handler: String,
        /// Which duration.
        what: &'static str,
    },
    /// A verb that may be asynchronous, or a tool that Handoff itself answers.
    #[error("{0:?} can't be a plain tool: {why}", why = why_no_tool(.0))]
    NotATool(String),
    /// A tool was registered twice.
    #[error("the tool {0:?} is registered twice; keep one of them")]
    DuplicateTool(String),
    /// A scenario that Handoff itself stages.
    #[error("the scenario {0:?} is Handoff's own, so take it out")]
    NotAScenario(String),
    /// A scenario was registered twice.
    #[error("the scenario {0:?} is registered twice; keep one of them")]
    DuplicateScenario(String),
    /// The capabilities are no object.
    #[error("the capabilities must be a JSON object, as in get_adcp_capabilities' response")]
    Capabilities,
    /// Nothing to do.
    #[error("no verb is registered; register at least one with .verb(name, handler)")]
    NoVerbs,
}

/// Collects handlers.
pub struct HandlersBuilder<S> {
    state: Arc<S>,
    verbs: BTreeMap<String, Verb>,
    tasks: BTreeMap<String, Task>,
    enqueues: BTreeMap<String, Enqueue>,
    tools: BTreeMap<String, Tool>,
    scenarios: BTreeMap<String, Call<Result<Value, AdcpError>>>,
    capabilities: Value,
    governance: Option<GovernancePolicy>,
    dispatcher: Dispatcher,
    mistakes: Vec<WiringError>,
}

impl<S: Send + Sync + 'static> HandlersBuilder<S> {
    /// Begins with the state that every handler gets.
    pub fn new(state: S) -> Self {
        Self {
            state: Arc::new(state),
            verbs: BTreeMap::new(),
            tasks: BTreeMap::new(),
            enqueues: BTreeMap::new(),
            tools: BTreeMap::new(),
            scenarios: BTreeMap::new(),
            capabilities: Value::Object(Default::default()),
            governance: None,
            dispatcher: Dispatcher::default(),
            mistakes: Vec::new(),
        }
    }

    /// Registers a verb.
    pub fn verb<Marker: ?Sized>(&mut self, name: &str, handler: impl IntoVerbHandler<S, Marker>) {
        let registration = handler.into_registration();
        let (handler, state) = (registration.handler, self.state.clone());
        let verb = Verb {
            decide: Arc::new(move |request, body| {
                let (handler, context) = (handler.clone(), Context::new(state.clone(), request));
                Box::pin(async move { handler.decide(context, body).await })
            }),
            answers_at_once: registration.answers_at_once.map(|condition| {
                let state = self.state.clone();
                Arc::new(move |request, body| condition(Context::new(state.clone(), request), body)) as Call<bool>
            }),
            quick: registration.quick,
            hands_off_to: registration.hands_off_to,
            on_complete: registration.on_complete.map(|hook| {
                let state = self.state.clone();
                Arc::new(move |subject, result| hook(HookContext::new(state.clone(), subject), result)) as Hook<_, _>
            }),
            on_failure: registration.on_failure.map(|hook| {
                let state = self.state.clone();
                Arc::new(move |subject, failure| hook(HookContext::new(state.clone(), subject), failure)) as Hook<_, _>
            }),
        };
        if verbs::find(name).is_none() {
            self.mistakes.push(WiringError::UnknownVerb(name.to_owned()));
        }
        if self.verbs.insert(name.to_owned(), verb).is_some() {
            self.mistakes.push(WiringError::DuplicateVerb(name.to_owned()));
        }
    }

    /// Registers a task handler.
    pub fn task<Marker: ?Sized>(&mut self, name: &str, handler: impl IntoTaskHandler<S, Marker>) {
        self.check_name(name);
        let registration = handler.into_registration();
        for (what, duration) in [
            ("attempt_timeout", registration.attempt_timeout),
            ("heartbeat_timeout", registration.heartbeat_timeout),
            ("deadline", registration.deadline),
        ] {
            self.check_duration(name, what, duration);
        }
        let (handler, state) = (registration.handler, self.state.clone());
        let task = Task {
            run: Arc::new(move |request, work, input| {
                let (handler, context) = (handler.clone(), TaskContext::new(state.clone(), request, work));
                Box::pin(async move { handler.run(context, input).await })
            }),
            retry: registration.retry,
            attempt_timeout: registration.attempt_timeout,
            heartbeat_timeout: registration.heartbeat_timeout,
            deadline: registration.deadline,
        };
        self.tasks.insert(name.to_owned(), task);
    }

    /// Registers an enqueue handler.
    pub fn enqueue<Marker: ?Sized>(&mut self, name: &str, handler: impl IntoEnqueueHandler<S, Marker>) {
        self.check_name(name);
        let registration = handler.into_registration();
        self.check_duration(name, "attempt_timeout", registration.attempt_timeout);
        let (handler, state) = (registration.handler, self.state.clone());
        let enqueue = Enqueue {
            enqueue: Arc::new(move |request, input| {
                let (handler, context) = (handler.clone(), Context::new(state.clone(), request));
                Box::pin(async move { handler.enqueue(context, input).await })
            }),
            retry: registration.retry,
            attempt_timeout: registration.attempt_timeout,
        };
        self.enqueues.insert(name.to_owned(), enqueue);
    }

    /// Registers a plain tool: one that is always answered at once.
    pub fn tool<Marker: ?Sized>(&mut self, name: &str, handler: impl IntoToolHandler<S, Marker>) {
        let (tool, state) = (handler.into_registration(), self.state.clone());
        let (handler, rerunnable) = (tool.handler, tool.rerunnable);
        let answer: Call<_> = Arc::new(move |request, body| {
            let (handler, context) = (handler.clone(), Context::new(state.clone(), request));
            Box::pin(async move { handler.answer(context, body).await })
        });
        let tool = Tool { answer, rerunnable };
        if !is_name(name) {
            self.mistakes.push(WiringError::InvalidHandlerName(name.to_owned()));
        } else if verbs::find(name).is_some() || RESERVED_TOOLS.contains(&name) {
            self.mistakes.push(WiringError::NotATool(name.to_owned()));
        }
        if self.tools.insert(name.to_owned(), tool).is_some() {
            self.mistakes.push(WiringError::DuplicateTool(name.to_owned()));
        }
    }

    /// Registers what the compliance controller's scenario of this name does to a sandbox account.
    pub fn scenario<Marker: ?Sized>(&mut self, name: &str, handler: impl IntoToolHandler<S, Marker>) {
        let (handler, state) = (handler.into_registration().handler, self.state.clone());
        let stage: Call<_> = Arc::new(move |request, params| {
            let (handler, context) = (handler.clone(), Context::new(state.clone(), request));
            Box::pin(async move { handler.answer(context, params).await })
        });
        if !is_name(name) {
            self.mistakes.push(WiringError::InvalidHandlerName(name.to_owned()));
        } else if OWN_SCENARIOS.contains(&name) {
            self.mistakes.push(WiringError::NotAScenario(name.to_owned()));
        }
        if self.scenarios.insert(name.to_owned(), stage).is_some() {
            self.mistakes.push(WiringError::DuplicateScenario(name.to_owned()));
        }
    }

    /// Says what the seller can do beyond what its wiring says, as in `get_adcp_capabilities`' response.
    pub fn capabilities(&mut self, capabilities: Value) {
        if !capabilities.is_object() {
            self.mistakes.push(WiringError::Capabilities);
        }
        self.capabilities = capabilities;
    }

    /// Buyers may give their accounts governance agents, of those that the policy takes.
    pub fn governance(&mut self, policy: GovernancePolicy) {
        self.governance = Some(policy);
    }

    /// Registers one more handler of a condition.
    pub fn on<C: Condition>(&mut self, handler: impl Handler<C>) {
        self.dispatcher.register(handler);
    }

    /// Checks the wiring; all mistakes at once.
    pub fn build(mut self) -> Result<Handlers, Vec<WiringError>> {
        if self.verbs.is_empty() {
            self.mistakes.push(WiringError::NoVerbs);
        }
        if self.governance.is_some() && self.tools.contains_key(SYNC_GOVERNANCE) {
            self.mistakes.push(WiringError::NotATool(SYNC_GOVERNANCE.to_owned()));
        }
        for (verb, registered) in &self.verbs {
            for handler in &registered.hands_off_to {
                if !self.tasks.contains_key(handler) && !self.enqueues.contains_key(handler) {
                    self.mistakes.push(WiringError::MissingHandler { verb: verb.clone(), handler: handler.clone() });
                }
            }
        }
        if !self.mistakes.is_empty() {
            return Err(self.mistakes);
        }
        Ok(Handlers {
            verbs: self.verbs,
            tasks: self.tasks,
            enqueues: self.enqueues,
            tools: self.tools,
            scenarios: self.scenarios,
            capabilities: self.capabilities,
            governance: self.governance,
            dispatcher: self.dispatcher,
        })
    }

    fn check_name(&mut self, name: &str) {
        if !is_name(name) {
            self.mistakes.push(WiringError::InvalidHandlerName(name.to_owned()));
        }
        if self.tasks.contains_key(name) || self.enqueues.contains_key(name) {
            self.mistakes.push(WiringError::DuplicateHandler(name.to_owned()));
        }
    }

    fn check_duration(&mut self, handler: &str, what: &'static str, duration: Duration) {
        if duration.is_zero() {
            self.mistakes.push(WiringError::ZeroDuration { handler: handler.to_owned(), what });
        }
    }
}

// Answered by Handoff itself, so that they can't lie.
const RESERVED_TOOLS: [&str; 8] = [
    "comply_test_controller",
    "get_adcp_capabilities",
    "get_task_status",
    "list_tasks",
    "tasks_get",
    "tasks_list",
    "tasks/get",
    "tasks/list",
];

// What they force is the engine's: how a verb is answered, and how its task ends.
const OWN_SCENARIOS: [&str; 6] = [
    "list_scenarios",
    "force_create_media_buy_arm",
    "force_get_creative_features_arm",
    "force_get_products_arm",
    "force_get_signals_arm",
    "force_task_completion",
];

fn is_name(name: &str) -> bool {
    let usable = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    !name.is_empty() && name.len() <= 100 && name.chars().all(usable)
}

fn why_no_tool(name: &str) -> &'static str {
    if verbs::find(name).is_some() {
        "it may be answered asynchronously; register it with .verb(name, handler)"
    } else {
        "Handoff answers it"
    }
}

fn known_verbs() -> String {
    VERBS.iter().map(|verb| verb.name).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seller::{Acknowledgement, TaskContext, verb};
    use serde_json::json;

    async fn decide(_: Context<()>, _: Value) -> Result<Decision, AdcpError> {
        Ok(Decision::complete(json!({})))
    }

    async fn work(_: TaskContext<()>, _: Value) -> Result<Value, AdcpError> {
        Ok(json!({}))
    }

    async fn review(_: Context<()>, _: Value) -> Result<Acknowledgement, AdcpError> {
        Ok(Acknowledgement::wilco())
    }

    fn mistakes(build: impl FnOnce(&mut HandlersBuilder<()>)) -> Vec<WiringError> {
        let mut builder = HandlersBuilder::new(());
        build(&mut builder);
        builder.build().err().unwrap_or_default()
    }

    async fn plain(_: Context<()>, _: Value) -> Result<Value, AdcpError> {
        Ok(json!({}))
    }

    #[test]
    fn good_wiring_is_accepted() {
        let found = mistakes(|seller| {
            seller.verb("create_media_buy", verb(decide).hands_off_to(["book", "review"]).quick());
            seller.verb("get_products", decide);
            seller.task("book", work);
            seller.enqueue("review", review);
            seller.tool("get_media_buys", plain);
            seller.scenario("seed_product", plain);
            seller.capabilities(json!({"media_buy": {}}));
            seller.governance(GovernancePolicy::any());
        });
        assert_eq!(found, []);
    }

    #[test]
    fn each_mistake_is_named_with_what_to_do() {
        let found = mistakes(|seller| {
            seller.verb("create_media_bye", decide);
            seller.verb("get_products", verb(decide).hands_off_to(["nobody"]));
            seller.verb("get_products", verb(decide).hands_off_to(["nobody"]));
            seller.task("book", work);
            seller.enqueue("book", review);
            seller.task("a b", crate::seller::task(work).deadline(Duration::ZERO));
            seller.tool("get_signals", plain);
            seller.tool("tasks/get", plain);
            seller.tool("list_tasks", plain);
            seller.tool("get_media_buys", plain);
            seller.tool("get_media_buys", plain);
            seller.scenario("seed_product", plain);
            seller.scenario("seed_product", plain);
            seller.scenario("force_task_completion", plain);
            seller.scenario("a b", plain);
            seller.capabilities(json!([]));
            seller.tool("sync_governance", plain);
            seller.governance(GovernancePolicy::any());
        });
        assert_eq!(
            found,
            [
                WiringError::UnknownVerb("create_media_bye".into()),
                WiringError::DuplicateVerb("get_products".into()),
                WiringError::DuplicateHandler("book".into()),
                WiringError::InvalidHandlerName("a b".into()),
                WiringError::ZeroDuration { handler: "a b".into(), what: "deadline" },
                WiringError::NotATool("get_signals".into()),
                WiringError::InvalidHandlerName("tasks/get".into()),
                WiringError::NotATool("list_tasks".into()),
                WiringError::DuplicateTool("get_media_buys".into()),
                WiringError::DuplicateScenario("seed_product".into()),
                WiringError::NotAScenario("force_task_completion".into()),
                WiringError::InvalidHandlerName("a b".into()),
                WiringError::Capabilities,
                WiringError::NotATool("sync_governance".into()),
                WiringError::MissingHandler { verb: "get_products".into(), handler: "nobody".into() },
            ]
        );
        assert!(found[0].to_string().contains("create_media_buy"));
        assert_eq!(mistakes(|_| ()), [WiringError::NoVerbs]);
    }
}
