//! The builder that a seller's `main` uses.

use crate::{
    WorkerSettings,
    commands::{self, FrontDoor},
};
use handoff_activities::seller::{
    Condition, GovernancePolicy, Handler, Handlers, HandlersBuilder, IntoEnqueueHandler, IntoTaskHandler,
    IntoToolHandler, IntoVerbHandler, WiringError,
};
use handoff_gateway::{AccountResolver, Authenticator};
use serde_json::Value;
use std::{process::ExitCode, sync::Arc};

/// A seller: its name, its state, and what it decides.
///
/// Register async functions, or anything that implements the traits in `handoff::seller`, then [`Seller::run`].
pub struct Seller<S> {
    name: String,
    handlers: HandlersBuilder<S>,
    settings: WorkerSettings,
    front: FrontDoor,
}

impl<S: Send + Sync + 'static> Seller<S> {
    /// A seller of this name, with the state that every handler gets.
    pub fn new(name: impl Into<String>, state: S) -> Self {
        Self {
            name: name.into(),
            handlers: HandlersBuilder::new(state),
            settings: WorkerSettings::default(),
            front: FrontDoor::default(),
        }
    }

    /// Registers a verb: an async function `(Context<S>, Request) -> Result<Decision, AdcpError>`, or `verb(function)` with
    /// options.
    #[must_use]
    pub fn verb<Marker: ?Sized>(mut self, name: &str, handler: impl IntoVerbHandler<S, Marker>) -> Self {
        self.handlers.verb(name, handler);
        self
    }

    /// Registers a task handler: an async function `(TaskContext<S>, Input) -> Result<Output, AdcpError>`, or `task(function)`
    /// with options.
    #[must_use]
    pub fn task<Marker: ?Sized>(mut self, name: &str, handler: impl IntoTaskHandler<S, Marker>) -> Self {
        self.handlers.task(name, handler);
        self
    }

    /// Registers an enqueue handler: an async function `(Context<S>, Input) -> Result<Acknowledgement, AdcpError>`, or
    /// `enqueue(function)` with options.
    #[must_use]
    pub fn enqueue<Marker: ?Sized>(mut self, name: &str, handler: impl IntoEnqueueHandler<S, Marker>) -> Self {
        self.handlers.enqueue(name, handler);
        self
    }

    /// Registers a plain tool, which is always answered at once: an async function
    /// `(Context<S>, Request) -> Result<Response, AdcpError>`, or `tool(function)` with options.
    #[must_use]
    pub fn tool<Marker: ?Sized>(mut self, name: &str, handler: impl IntoToolHandler<S, Marker>) -> Self {
        self.handlers.tool(name, handler);
        self
    }

    /// Registers a scenario of the compliance controller's, such as `seed_product` or `force_media_buy_status`: an async function
    /// `(Context<S>, Params) -> Result<Fields, AdcpError>`. It gets the scenario's `params`, works on the account in `Context`,
    /// which is always a sandbox, and answers with the fields of the controller's success, such as
    /// `{"previous_state": …, "current_state": …}`, or `()`. An error's code is the controller's: `NOT_FOUND`,
    /// `INVALID_TRANSITION` (with `current_state` in its details, if there is one), `INVALID_STATE`, `INVALID_PARAMS` or
    /// `FORBIDDEN`. Scenarios may be sent again, and come to the same.
    ///
    /// The controller is there only with `HANDOFF_COMPLIANCE_TESTING`, and never in production.
    #[must_use]
    pub fn scenario<Marker: ?Sized>(mut self, name: &str, handler: impl IntoToolHandler<S, Marker>) -> Self {
        self.handlers.scenario(name, handler);
        self
    }

    /// Says what the seller can do beyond what its wiring says: the response of `get_adcp_capabilities`, as far as the seller
    /// knows it. What the wiring says wins.
    #[must_use]
    pub fn capabilities(mut self, capabilities: Value) -> Self {
        self.handlers.capabilities(capabilities);
        self
    }

    /// Takes governance agents for its buyers' accounts, those of the policy: `sync_governance` is answered by Handoff, and handlers
    /// ask the account's agent by `context.governance().check(planned_delivery)`.
    #[must_use]
    pub fn governance(mut self, policy: GovernancePolicy) -> Self {
        self.handlers.governance(policy);
        self
    }

    /// Registers one more handler of a condition: `.on(|failed: TaskFailed| async move { … })`.
    #[must_use]
    pub fn on<C: Condition>(mut self, handler: impl Handler<C>) -> Self {
        self.handlers.on(handler);
        self
    }

    /// Says itself who calls, instead of by API keys and access tokens. What it says of itself as a protected resource is published.
    #[must_use]
    pub fn authenticator(mut self, authenticator: impl Authenticator) -> Self {
        self.front.authenticator = Some(Arc::new(authenticator));
        self
    }

    /// Knows its accounts itself, instead of from a file.
    #[must_use]
    pub fn accounts(mut self, accounts: impl AccountResolver) -> Self {
        self.front.accounts = Some(Arc::new(accounts));
        self
    }

    /// Changes how the worker runs. Environment variables, where set, win.
    #[must_use]
    pub fn settings(mut self, settings: WorkerSettings) -> Self {
        self.settings = settings;
        self
    }

    /// Checks the wiring and returns the handlers, for those who build a [`crate::Worker`] themselves.
    pub fn into_handlers(self) -> Result<Handlers, Vec<WiringError>> {
        self.handlers.build()
    }

    /// Runs the command on the binary's command line: `dev`, `worker` or `gateway`.
    pub fn run(self) -> ExitCode {
        match self.handlers.build() {
            Ok(handlers) => commands::run(&self.name, handlers, self.settings, self.front),
            Err(mistakes) => {
                eprintln!("{} can't start: its wiring has {} mistake(s).", self.name, mistakes.len());
                for mistake in mistakes {
                    eprintln!("  - {mistake}");
                }
                ExitCode::from(2)
            }
        }
    }
}
