//! What Acme plans to do about a request, before it becomes the engine's [`Decision`].

use crate::{
    Acme,
    back_office::Chore,
    booking::BookingOrder,
    review::{Desk, Ticket},
    sandbox::{Arm, Ext, Knobs},
};
use handoff::{prelude::*, seller::RequestContext};

/// Whose request it is.
#[derive(Clone, Debug)]
pub struct Origin {
    /// The account.
    pub account: String,
    /// The agent.
    pub principal: String,
    /// The same on every attempt of this request and different for every other.
    pub token: String,
    /// Nothing real may happen.
    pub sandbox: bool,
}

impl Origin {
    pub(crate) fn of(request: &RequestContext) -> Self {
        Self {
            account: request.account.clone(),
            principal: request.principal.clone(),
            token: request.idempotency_token().to_owned(),
            sandbox: request.sandbox,
        }
    }

    /// An id of something that this request makes: the same on every attempt.
    pub fn id(&self, prefix: &str) -> String {
        format!("{prefix}_{}", self.token.strip_prefix("task_").unwrap_or(&self.token))
    }

    /// A result with the fields that all of them have.
    pub(crate) fn result(&self, mut fields: Value) -> Value {
        fields["status"] = json!("completed");
        if self.sandbox {
            fields["sandbox"] = json!(true);
        }
        fields
    }
}

/// What to do about a request.
#[derive(Clone, Debug)]
pub enum Plan {
    /// The buyer gets this result now.
    Complete(Value),
    /// Guaranteed lines are booked one by one.
    Book(BookingOrder),
    /// The back office works on it.
    BackOffice(Chore),
    /// A reviewer decides.
    Review(Ticket),
}

impl Plan {
    /// As the engine knows it, with what the sandbox wants otherwise.
    fn into_decision(self, knobs: Knobs) -> Decision {
        match self.forced(knobs.arm) {
            Self::Complete(result) => Decision::complete(result),
            Self::Book(order) => Decision::handoff_to_task("book_lines", BookingOrder { knobs, ..order }),
            Self::BackOffice(chore) => Decision::handoff_to_task("back_office", Chore { knobs, ..chore }),
            Self::Review(ticket) => {
                let patience = knobs.patience(ticket.desk.patience());
                // Who turns no knob waits for somebody to decide; nobody at Acme does for a test.
                let approval = (knobs == Knobs::default()).then(|| ticket.approve_with.clone());
                let deadline = ticket.deadline(patience.deadline);
                let mut decision =
                    Decision::handoff_to_workflow(ticket.desk.handler(), Ticket { knobs, ..ticket }).deadline(deadline);
                if let Some(after) = patience.remind_after {
                    decision = decision.remind_after(after);
                }
                if let Some(approval) = approval {
                    decision = decision.sandbox_approval(approval);
                }
                decision.escalate_after(patience.escalate_after)
            }
        }
    }

    fn forced(self, arm: Option<Arm>) -> Self {
        match (self, arm) {
            (Self::Complete(result), Some(Arm::Task)) => Self::BackOffice(Chore::new(["Working on it"], result)),
            (Self::Complete(result), Some(Arm::Workflow)) => {
                Self::Review(Ticket::new(Desk::Any, "A review that the sandbox asked for", result))
            }
            (plan, _) => plan,
        }
    }
}

/// What every verb handler does around its plan.
pub(crate) async fn decide(
    context: &Context<Acme>,
    ext: &Ext,
    plan: impl AsyncFnOnce(&Acme, &Origin) -> Result<Plan, AdcpError>,
) -> Result<Decision, AdcpError> {
    let (acme, origin) = (context.state(), Origin::of(context));
    let knobs = ext.knobs(context.sandbox)?;
    knobs.before_deciding(acme, &origin, context.attempt).await?;
    let plan = plan(acme, &origin).await?;
    knobs.exit_at(acme, &origin.token, "decided").await?;
    Ok(plan.into_decision(knobs))
}
