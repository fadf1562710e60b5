//! What callers bring, checked before any database sees it: the same answer from both.

use crate::{Directive, GovernanceBinding, NewClaim, ProposalCause, ProposalKey, ProposalUse, RegistryError, Viewer};
use handoff_proto::{
    limits::MAX_SCOPE_BYTES,
    v1::{Completion, Decision, Progress, TaskRef, completion::Outcome, decision::Kind},
    wire::OfferedProposal,
};

// Together with scope and principal these must fit one entry of a PostgreSQL index, 2,704 bytes.
const MAX_KEY_BYTES: usize = 512;
const MAX_NAME_BYTES: usize = 255;
const MAX_URL_BYTES: usize = 2_048;
// AdCP allows 255 characters, of up to four bytes.
const MAX_SELLERS_ID_BYTES: usize = 1_020;

/// A claim that can be stored.
pub(crate) fn claim(claim: &NewClaim) -> Result<(), RegistryError> {
    let task = &claim.task;
    name("task.task_id", &task.task_id, MAX_NAME_BYTES)?;
    name("task.scope", &task.scope, MAX_SCOPE_BYTES)?;
    text("task.principal", &task.principal)?;
    length("task.principal", &task.principal, MAX_SCOPE_BYTES)?;
    name("task.verb", &task.verb, MAX_NAME_BYTES)?;
    name("protocol", &claim.protocol, MAX_NAME_BYTES)?;
    text("request_hash", &claim.request_hash)?;
    if let Some(context) = &claim.context_json {
        text("context", context)?;
    }
    if let Some(webhook) = &claim.webhook {
        text("push_notification_config", &webhook.config_json)?;
    }
    if let Some(proposal) = &claim.proposal {
        proposal_use(proposal)?;
    }
    match &claim.idempotency_key {
        Some(key) => name("idempotency_key", key, MAX_KEY_BYTES),
        None => Ok(()),
    }
}

/// A decision as it is recorded: without what the protocol marks write-only.
pub(crate) fn decision(decision: &Decision) -> Result<Kind, RegistryError> {
    let Some(kind) = decision.clone().without_write_only().kind else {
        return Err(invalid("decision.kind", "is missing"));
    };
    match &kind {
        Kind::Complete(complete) => text("decision.complete.result_json", &complete.result_json)?,
        Kind::Void(_) => return Err(invalid("decision.kind", "void is not a decision")),
        _ => {}
    }
    Ok(kind)
}

/// A directive that can be stored; its decision as JSON text.
pub(crate) fn directive(directive: &Directive) -> Result<String, RegistryError> {
    owner(&directive.task)?;
    name("task.task_id", &directive.task.task_id, MAX_NAME_BYTES)?;
    name("task.verb", &directive.task.verb, MAX_NAME_BYTES)?;
    name("id", &directive.id, MAX_NAME_BYTES)?;
    let decision = Decision { kind: Some(decision(&directive.decision)?) };
    serde_json::to_string(&decision).map_err(|error| invalid("decision", error.to_string()))
}

/// A governance agent that can be stored.
pub(crate) fn governance(binding: &GovernanceBinding) -> Result<(), RegistryError> {
    name("scope", &binding.scope, MAX_SCOPE_BYTES)?;
    name("principal", &binding.principal, MAX_SCOPE_BYTES)?;
    name("url", &binding.url, MAX_URL_BYTES)?;
    if binding.credentials.is_empty() {
        return Err(invalid("credentials", "is empty"));
    }
    text("credentials", &binding.credentials)
}

/// An end as it is recorded: without what the protocol marks write-only.
pub(crate) fn completion(completion: &Completion) -> Result<Completion, RegistryError> {
    match &completion.outcome {
        Some(Outcome::ResultJson(result)) => text("completion.result_json", result)?,
        Some(_) => {}
        None => return Err(invalid("completion.outcome", "is missing")),
    }
    Ok(completion.clone().without_write_only())
}

/// Progress that can be stored: as JSON, and in the history who reported it.
pub(crate) fn progress(progress: &Progress) -> Result<(), RegistryError> {
    text("progress.actor", &progress.actor)?;
    text("progress.reason", &progress.reason)?;
    serde_json::to_string(progress).map(drop).map_err(|error| invalid("progress", error.to_string()))
}

/// Text that PostgreSQL can store: JSON never has U+0000 in it unescaped.
pub(crate) fn text(field: &'static str, text: &str) -> Result<(), RegistryError> {
    if text.contains('\0') { Err(invalid(field, "holds U+0000")) } else { Ok(()) }
}

/// An id of a seller's that can be stored and found: it may be one of three in an entry of a PostgreSQL index.
pub(crate) fn is_storable_id(id: &str) -> bool {
    !id.is_empty() && id.len() <= MAX_SELLERS_ID_BYTES && !id.contains('\0')
}

/// `false`: nothing is stored under such a name.
pub(crate) fn may_exist(task: &TaskRef) -> bool {
    ![&task.task_id, &task.scope, &task.principal].iter().any(|name| name.contains('\0'))
}

/// The viewer without accounts that can't be; `None`: it sees nothing of this id.
pub(crate) fn viewer(viewer: &Viewer, task_id: &str) -> Option<Viewer> {
    let possible = |name: &String| !name.contains('\0');
    let viewer = match viewer {
        Viewer::Buyer { scope, principal } if !possible(scope) || !possible(principal) => return None,
        Viewer::Reviewer { scopes } => {
            Viewer::Reviewer { scopes: scopes.iter().filter(|s| possible(s)).cloned().collect() }
        }
        viewer => viewer.clone(),
    };
    (!task_id.contains('\0')).then_some(viewer)
}

/// A proposal that a request may name. One that can't exist is named too, and not found.
pub(crate) fn proposal_use(proposal: &ProposalUse) -> Result<(), RegistryError> {
    text("proposal.proposal_id", &proposal.proposal_id)?;
    for (field, value) in [
        ("proposal.brand_scope", &proposal.brand_scope),
        ("proposal.terms_digest", &proposal.terms_digest),
        ("proposal.io_id", &proposal.io_id),
        ("proposal.media_buy_id", &proposal.media_buy_id),
    ] {
        value.as_deref().map_or(Ok(()), |value| text(field, value))?;
    }
    Ok(())
}

/// Where a proposal can be stored.
pub(crate) fn proposal_key(key: &ProposalKey) -> Result<(), RegistryError> {
    name("proposal.scope", &key.scope, MAX_SCOPE_BYTES)?;
    text("proposal.principal", &key.principal)?;
    length("proposal.principal", &key.principal, MAX_SCOPE_BYTES)?;
    name("proposal.proposal_id", &key.proposal_id, MAX_SELLERS_ID_BYTES)
}

/// Whose proposals these are.
pub(crate) fn owner(task: &TaskRef) -> Result<(), RegistryError> {
    name("task.scope", &task.scope, MAX_SCOPE_BYTES)?;
    text("task.principal", &task.principal)?;
    length("task.principal", &task.principal, MAX_SCOPE_BYTES)?;
    text("task.task_id", &task.task_id)
}

/// An offer that can be stored.
pub(crate) fn offer(offer: &OfferedProposal) -> Result<(), RegistryError> {
    text("offer.body_json", &offer.body_json)?;
    for (field, value) in [
        ("offer.terms_digest", &offer.terms_digest),
        ("offer.io_id", &offer.io_id),
        ("offer.parent_proposal_id", &offer.parent_proposal_id),
    ] {
        value.as_deref().map_or(Ok(()), |value| text(field, value))?;
    }
    let base = offer.base_media_buy_id.as_deref();
    base.map_or(Ok(()), |base| name("offer.base_media_buy_id", base, MAX_SELLERS_ID_BYTES))
}

/// Why something happens to a proposal.
pub(crate) fn cause(cause: &ProposalCause) -> Result<(), RegistryError> {
    text("cause.actor", &cause.actor)?;
    text("cause.reason", &cause.reason)?;
    cause.task_id.as_deref().map_or(Ok(()), |task_id| text("cause.task_id", task_id))
}

/// `false`: nothing is stored under such a key.
pub(crate) fn may_be_proposal(key: &ProposalKey) -> bool {
    ![&key.scope, &key.principal, &key.proposal_id].iter().any(|name| name.contains('\0'))
}

pub(crate) fn invalid(field: &'static str, message: impl Into<String>) -> RegistryError {
    RegistryError::InvalidQuery { field, message: message.into() }
}

fn name(field: &'static str, value: &str, limit: usize) -> Result<(), RegistryError> {
    if value.is_empty() {
        return Err(invalid(field, "is empty"));
    }
    text(field, value)?;
    length(field, value, limit)
}

fn length(field: &'static str, value: &str, limit: usize) -> Result<(), RegistryError> {
    if value.len() > limit { Err(invalid(field, format!("is longer than {limit} bytes"))) } else { Ok(()) }
}
