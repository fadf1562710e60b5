//! Claiming an idempotency key before anything runs.

use super::{CallError, request::Request, secrets};
use crate::{Handoff, backoff::Backoff};
use handoff_proto::{errors, releases::Release, v1::TaskRef, wire::AdcpError};
use handoff_store::{Answer, Claim, Lease, NewClaim, RegistryError, Webhook};
use handoff_webhooks::OperationIdPolicy;
use std::time::Duration;
use tokio::time::Instant;

const LONGEST_RETRY: Duration = Duration::from_secs(3);

/// What is left to do for a claimed request.
#[derive(Debug, PartialEq)]
pub(super) enum Claimed {
    /// Start the run of this task, or wait for it.
    Run {
        task_id: String,
        /// Another call with the same key began it.
        attached: bool,
    },
    /// Say again what was said.
    Answered { task_id: String, answer: Answer },
}

impl Handoff {
    pub(super) async fn claim(
        &self,
        request: &Request<'_>,
        task: &TaskRef,
        lease: Option<&Lease>,
        deadline: Instant,
    ) -> Result<Claimed, CallError> {
        let claim = self.new_claim(request, task);
        let limit = self.config().new_keys.as_ref().filter(|_| request.idempotency_key.is_some());
        if let Some(limit) = limit {
            limit.admit(task)?;
        }
        let claimed = patiently(deadline, || match lease {
            Some(lease) => self.registry().claim_directly(&claim, lease),
            None => self.registry().claim(&claim),
        });
        let claimed = claimed.await?;
        if let Some(limit) = limit.filter(|_| is_new(&claimed, &task.task_id)) {
            limit.count(task);
        }
        self.config().metrics.claimed(&request.tool, label(&claimed, &task.task_id));
        meaning(claimed, &task.task_id).map_err(CallError::from)
    }

    /// A request as it is claimed for this task.
    pub(super) fn new_claim(&self, request: &Request<'_>, task: &TaskRef) -> NewClaim {
        NewClaim {
            task: task.clone(),
            protocol: request.protocol.to_owned(),
            idempotency_key: request.idempotency_key.clone(),
            request_hash: request.hash.clone(),
            context_json: request.context().map(ToString::to_string),
            webhook: self.webhook_of(request, task),
            proposal: request.proposal.clone(),
            release: Release::of(&request.body),
            sandbox: request.sandbox,
        }
    }

    /// The webhook of a request: with its task's id as `operation_id`, where its buyer has none and the seller wants it so.
    fn webhook_of(&self, request: &Request<'_>, task: &TaskRef) -> Option<Webhook> {
        let mut webhook = request.webhook.clone()?;
        let policy = self.config().webhooks.policy(self.config().environment);
        if policy.operation_id == OperationIdPolicy::Assigned {
            secrets::name_operation(&mut webhook, &task.task_id);
        }
        Some(webhook)
    }
}

/// Claims, and again while the registry is away. The same claim again means the same: its task id is its own.
pub(super) async fn patiently<T, F>(deadline: Instant, claim: impl Fn() -> F) -> Result<T, CallError>
where
    F: Future<Output = Result<T, RegistryError>>,
{
    let give_up = deadline.min(Instant::now() + LONGEST_RETRY);
    let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(1));
    loop {
        match claim().await {
            Err(error) if error.is_transient() && Instant::now() < give_up => {
                tracing::debug!(%error, "claiming again");
                tokio::time::sleep(backoff.pause()).await;
            }
            claimed => return claimed.map_err(CallError::registry),
        }
    }
}

fn is_new(claim: &Claim, own_task_id: &str) -> bool {
    label(claim, own_task_id) == "new"
}

fn label(claim: &Claim, own_task_id: &str) -> &'static str {
    match claim {
        Claim::New => "new",
        Claim::InFlight { task_id } if task_id == own_task_id => "new",
        Claim::InFlight { .. } => "attached",
        Claim::Answered { .. } => "answered",
        Claim::OutcomeUnknown { .. } => "unknown",
        Claim::Conflict => "conflict",
        Claim::Expired => "expired",
    }
}

fn meaning(claim: Claim, own_task_id: &str) -> Result<Claimed, AdcpError> {
    match claim {
        Claim::New => Ok(Claimed::Run { task_id: own_task_id.to_owned(), attached: false }),
        Claim::InFlight { task_id } => Ok(Claimed::Run { attached: task_id != own_task_id, task_id }),
        Claim::Answered { task_id, answer } => Ok(Claimed::Answered { task_id, answer }),
        Claim::OutcomeUnknown { .. } => Err(errors::outcome_unknown()),
        // Nothing of the other request may show, not even which field differs.
        Claim::Conflict => Err(AdcpError::correctable(
            "IDEMPOTENCY_CONFLICT",
            "This idempotency_key was used for a different request.",
        )
        .suggestion("Send this request with a new idempotency_key.")),
        Claim::Expired => Err(AdcpError::correctable(
            "IDEMPOTENCY_EXPIRED",
            "The answer to this idempotency_key is not kept any more.",
        )
        .suggestion("Check whether the earlier request took effect before sending it with a new idempotency_key.")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_another_calls_task_is_attached_to() {
        let run = |task_id: &str, attached| Ok(Claimed::Run { task_id: task_id.to_owned(), attached });
        assert_eq!(meaning(Claim::New, "mine"), run("mine", false));
        assert_eq!(meaning(Claim::InFlight { task_id: "other".into() }, "mine"), run("other", true));
        assert_eq!(meaning(Claim::InFlight { task_id: "mine".into() }, "mine"), run("mine", false));
        for (claim, code, recovery) in [
            (Claim::Conflict, "IDEMPOTENCY_CONFLICT", "correctable"),
            (Claim::Expired, "IDEMPOTENCY_EXPIRED", "correctable"),
            (Claim::OutcomeUnknown { task_id: "t".into() }, errors::OUTCOME_UNKNOWN, "terminal"),
        ] {
            let error = meaning(claim, "mine").unwrap_err();
            assert_eq!((error.code.as_str(), error.recovery.as_str()), (code, recovery));
        }
    }
}
