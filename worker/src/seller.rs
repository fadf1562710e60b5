//! The builder that a seller's `main` uses.

use crate::{WorkerSettings, commands};
use handoff_activities::seller::{
    Condition, Handler, Handlers, HandlersBuilder, IntoEnqueueHandler, IntoTaskHandler, IntoVerbHandler, WiringError,
};
use std::process::ExitCode;

/// A seller: its name, its state, and what it decides.
///
/// Register async functions, or anything that implements the traits in `handoff::seller`, then [`Seller::run`].
pub struct Seller<S> {
    name: String,
    handlers: HandlersBuilder<S>,
    settings: WorkerSettings,
}

impl<S: Send + Sync + 'static> Seller<S> {
    /// A seller of this name, with the state that every handler gets.
    pub fn new(name: impl Into<String>, state: S) -> Self {
        Self { name: name.into(), handlers: HandlersBuilder::new(state), settings: WorkerSettings::default() }
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

    /// Registers one more handler of a condition: `.on(|failed: TaskFailed| async move { … })`.
    #[must_use]
    pub fn on<C: Condition>(mut self, handler: impl Handler<C>) -> Self {
        self.handlers.on(handler);
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

    /// Runs the command on the binary's command line: `dev` or `worker`.
    pub fn run(self) -> ExitCode {
        match self.handlers.build() {
            Ok(handlers) => commands::run(&self.name, handlers, self.settings),
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
