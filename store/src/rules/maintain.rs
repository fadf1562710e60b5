//! What operators and schedules do to requests that nobody drives, or nobody needs.

use super::{ClaimState, Entry, Request, Step, finish, request::End};
use crate::{Observation, ObservedStage, Reconciled};
use handoff_proto::v1::{AdcpError, HistoryEntry, decision::Kind, decision::Void};

/// How far an unfinished request is.
pub(crate) fn observe(request: Request, step: &Step) -> Option<Observation> {
    let (stage, version, updated_at) = (stage(&request, step)?, request.version, request.updated_at);
    Some(Observation { task: request.task, stage, version, updated_at })
}

fn stage(request: &Request, step: &Step) -> Option<ObservedStage> {
    let Some(lease) = request.running_lease() else { return request.stage() };
    // Who may call the handler again has as long as an answer is kept.
    let patience = if lease.rerunnable { step.replay_ttl } else { 0 };
    let lapsed = lease.until.saturating_add(patience) <= step.now;
    Some(if lapsed { ObservedStage::Lapsed } else { ObservedStage::Leased })
}

/// Appends what others noticed. A tombstone stays empty.
pub(crate) fn note(request: &mut Request, entries: &[(String, HistoryEntry)], step: &mut Step) {
    if request.claim != ClaimState::Purged {
        step.entries.extend(entries.iter().map(|(key, entry)| Entry::brought(key, entry, step.now)));
    }
}

/// Ends a request whose run is gone, if it is still as it was observed.
pub(crate) fn reconcile(
    request: &mut Request,
    observed: &Observation,
    error: &AdcpError,
    step: &mut Step,
) -> Reconciled {
    if request.version != observed.version {
        return Reconciled::Changed;
    }
    let done = match stage(request, step) {
        None | Some(ObservedStage::Leased) => return Reconciled::Changed,
        Some(ObservedStage::Submitted) => {
            finish::end_task(request, End::failed(error, "reconcile", &error.message), step);
            Reconciled::Settled
        }
        Some(ObservedStage::Pending) => {
            finish::take_back(request, error, step);
            Reconciled::Discarded
        }
        Some(ObservedStage::Claimed | ObservedStage::Lapsed) => {
            // Never released: the seller may have booked. The key says so until its TTL.
            request.close_journal(step);
            request.claim = ClaimState::Unknown;
            request.answered_at = Some(step.now);
            request.expires_at = Some(step.expiry());
            Reconciled::Voided
        }
    };
    let entry = step.log(request, "reconciled");
    entry.actor = "reconcile".to_owned();
    entry.reason = error.code.clone();
    done
}

/// Leaves only a tombstone of an ended request that is past its TTL.
pub(crate) fn purge(request: &mut Request, step: &mut Step) -> bool {
    if request.claim == ClaimState::Purged {
        return true;
    }
    if request.stage().is_some() || !is_past_its_ttl(request, step.now) {
        return false;
    }
    *request = Request {
        task: request.task.clone(),
        protocol: request.protocol.clone(),
        idempotency_key: request.idempotency_key.clone(),
        request_hash: String::new(),
        context_json: None,
        has_webhook: false,
        claim: ClaimState::Purged,
        answer: None,
        answered_at: request.answered_at,
        expires_at: request.expires_at,
        // Closed to whoever still comes.
        journal: Some(Kind::Void(Void {})),
        decided_at: request.decided_at,
        status: None,
        visible: false,
        progress_json: None,
        result_json: None,
        error: None,
        decision_id: None,
        actor: None,
        reason: None,
        created_at: request.created_at,
        updated_at: request.updated_at,
        completed_at: request.completed_at,
        version: request.version,
        lease: None,
        proposal: None,
        release: request.release,
        told_json: None,
        sandbox: request.sandbox,
    };
    step.forgets = true;
    step.log(request, "purged");
    true
}

/// Nothing but a tombstone is left.
pub(crate) fn may_forget(request: &Request, now: i64) -> bool {
    request.claim == ClaimState::Purged && is_past_its_ttl(request, now)
}

fn is_past_its_ttl(request: &Request, now: i64) -> bool {
    request.expires_at.is_some_and(|expires_at| expires_at <= now)
}
