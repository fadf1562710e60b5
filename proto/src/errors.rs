//! Handoff's own errors. Each code has its page in `docs/errors`, which the command `explain` prints.

use crate::wire::AdcpError;

/// A review was not decided before its deadline.
pub const DEADLINE_EXCEEDED: &str = "X_HANDOFF_DEADLINE_EXCEEDED";
/// A verb handler gave no decision in all the time it has.
pub const DECIDE_FAILED: &str = "X_HANDOFF_DECIDE_FAILED";
/// An enqueue handler could not be brought to an answer.
pub const ENQUEUE_FAILED: &str = "X_HANDOFF_ENQUEUE_FAILED";
/// An enqueue handler said that it will not take the task.
pub const ENQUEUE_UNABLE: &str = "X_HANDOFF_ENQUEUE_UNABLE";
/// A task handler failed, or ran out of attempts or time.
pub const TASK_FAILED: &str = "X_HANDOFF_TASK_FAILED";
/// A seller's result is larger than can be stored.
pub const RESULT_TOO_LARGE: &str = "X_HANDOFF_RESULT_TOO_LARGE";
/// A seller's result is not a JSON object, or can't be stored for another reason.
pub const RESULT_INVALID: &str = "X_HANDOFF_RESULT_INVALID";
/// A verb handler handed off a request that may not be answered `submitted`.
pub const ASYNC_NOT_ALLOWED: &str = "X_HANDOFF_ASYNC_NOT_ALLOWED";
/// A decision names a handler that no worker has.
pub const HANDLER_MISSING: &str = "X_HANDOFF_HANDLER_MISSING";
/// The run vanished before its outcome was recorded.
pub const OUTCOME_UNKNOWN: &str = "X_HANDOFF_OUTCOME_UNKNOWN";
/// The run of an open task is gone.
pub const RUN_LOST: &str = "X_HANDOFF_RUN_LOST";
/// A seller's handler failed in a way that it did not describe.
pub const HANDLER_FAILED: &str = "X_HANDOFF_HANDLER_FAILED";
/// Why a run ended that settled nothing: its request was taken back, or another run's. Seen in Temporal alone.
pub const DISCARDED: &str = "X_HANDOFF_DISCARDED";
/// Why a run ended that could not read its input. Seen in Temporal alone.
pub const INPUT_INVALID: &str = "X_HANDOFF_INPUT_INVALID";
/// A command line can't be understood. Never sent to a buyer.
pub const USAGE: &str = "X_HANDOFF_USAGE";
/// A command failed for a reason that nobody foresaw. Never sent to a buyer.
pub const UNEXPECTED: &str = "X_HANDOFF_UNEXPECTED";
/// A purchase succeeded, but not so that its proposal can be finalised with it.
pub const NOT_FINALIZED: &str = "X_HANDOFF_NOT_FINALIZED";
/// A request has a secret in it, and there are no keys to seal it with.
pub const KEYS_REQUIRED: &str = "X_HANDOFF_KEYS_REQUIRED";
/// A command lacks a key that what it is to read is sealed with. Never sent to a buyer.
pub const KEYS_MISSING: &str = "X_HANDOFF_KEYS_MISSING";

/// All codes of Handoff's own.
pub const CODES: [&str; 19] = [
    DEADLINE_EXCEEDED,
    DECIDE_FAILED,
    ENQUEUE_FAILED,
    ENQUEUE_UNABLE,
    TASK_FAILED,
    RESULT_TOO_LARGE,
    RESULT_INVALID,
    ASYNC_NOT_ALLOWED,
    HANDLER_MISSING,
    OUTCOME_UNKNOWN,
    RUN_LOST,
    HANDLER_FAILED,
    KEYS_REQUIRED,
    KEYS_MISSING,
    NOT_FINALIZED,
    DISCARDED,
    INPUT_INVALID,
    USAGE,
    UNEXPECTED,
];

/// The review's deadline passed.
pub fn deadline_exceeded() -> AdcpError {
    AdcpError::correctable(DEADLINE_EXCEEDED, "The seller did not decide before its deadline.")
        .suggestion("Send the request again with a new idempotency_key, or ask the seller.")
}

/// The verb handler gave no decision.
pub fn decide_failed() -> AdcpError {
    AdcpError::transient(DECIDE_FAILED, "The seller could not decide on the request.").retry_after(60)
}

/// The enqueue handler gave no answer.
pub fn enqueue_failed() -> AdcpError {
    AdcpError::transient(ENQUEUE_FAILED, "The seller could not take the request into review.").retry_after(60)
}

/// The enqueue handler refused without saying why.
pub fn enqueue_unable() -> AdcpError {
    AdcpError::transient(ENQUEUE_UNABLE, "The seller can't take the request into review now.").retry_after(60)
}

/// The task handler failed without saying why.
pub fn task_failed() -> AdcpError {
    AdcpError::transient(TASK_FAILED, "The seller could not finish the request.")
        .suggestion("Send the request again with a new idempotency_key.")
}

/// The result does not fit.
pub fn result_too_large(size: usize, limit: usize) -> AdcpError {
    AdcpError::terminal(RESULT_TOO_LARGE, format!("The seller's answer has {size} bytes; at most {limit} can be kept."))
}

/// The result is no result.
pub fn result_invalid(why: impl std::fmt::Display) -> AdcpError {
    AdcpError::terminal(RESULT_INVALID, format!("The seller's answer can't be used: {why}."))
}

/// The success of a purchase can't be tied to the proposal that it names.
pub fn not_finalized(why: impl std::fmt::Display) -> AdcpError {
    AdcpError::terminal(NOT_FINALIZED, format!("The seller's success can't be recorded for the proposal: {why}."))
        .suggestion(
            "Ask the seller whether the purchase took effect. The proposal is free again, for a new idempotency_key.",
        )
}

/// The handler must answer this request at once.
pub fn async_not_allowed() -> AdcpError {
    AdcpError::terminal(ASYNC_NOT_ALLOWED, "This request must be answered at once, and the seller did not.")
}

/// The run is gone, and nobody knows what it did.
pub fn outcome_unknown() -> AdcpError {
    AdcpError::terminal(OUTCOME_UNKNOWN, "The outcome of the earlier request with this idempotency_key is not known.")
        .field("idempotency_key")
        .suggestion("Ask the seller whether it took effect before sending it again with a new idempotency_key.")
}

/// The run is gone, and its task ends with it.
pub fn run_lost() -> AdcpError {
    AdcpError::terminal(RUN_LOST, "The seller stopped working on this task before it was done.")
        .suggestion("Ask the seller whether it took effect before sending it again with a new idempotency_key.")
}

/// A handler failed without saying why; the correlation id leads to its log.
pub fn handler_failed(correlation_id: &str) -> AdcpError {
    AdcpError::transient(HANDLER_FAILED, format!("The seller failed unexpectedly (correlation id {correlation_id})."))
        .retry_after(60)
}

/// A secret came, at this path, and would be stored in clear.
pub fn keys_required(field: &str) -> AdcpError {
    AdcpError::correctable(KEYS_REQUIRED, "This seller has no encryption keys, so it can't keep the request's secret.")
        .field(field)
        .suggestion(
            "Leave the secret out. The seller: set HANDOFF_ENCRYPTION_KEYS or HANDOFF_ENCRYPTION_KEYS_FILE \
             (`handoff codec generate-key` makes a key) for workers and clients.",
        )
}

/// A command can't read what is stored, and so wrote nothing.
pub fn keys_missing(why: impl std::fmt::Display) -> AdcpError {
    AdcpError::correctable(KEYS_MISSING, why.to_string()).suggestion(
        "Export HANDOFF_ENCRYPTION_KEYS_FILE, as `dev` prints it, or HANDOFF_ENCRYPTION_KEYS, with the workers' keys.",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_unique_and_in_our_name() {
        let mut codes = CODES.to_vec();
        codes.sort_unstable();
        codes.dedup();
        assert_eq!(codes.len(), CODES.len());
        assert!(codes.iter().all(|code| code.starts_with("X_HANDOFF_")));
    }
}
