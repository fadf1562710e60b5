//! Sizes that are refused before Temporal or a database would refuse them, and how long things must last.

use std::time::Duration;

/// The largest request, in bytes. Temporal's limit for one payload is 2 MB; encryption and envelopes need room.
pub const MAX_REQUEST_BYTES: usize = 1_000_000;

/// The largest result, error or handler input, in bytes.
pub const MAX_RESULT_BYTES: usize = 1_000_000;

/// The largest input of a task or enqueue handler, in bytes.
pub const MAX_HANDLER_INPUT_BYTES: usize = 400_000;

/// The largest `context` of a request, in bytes: it travels with every handler's input.
pub const MAX_CONTEXT_BYTES: usize = 100_000;

/// The largest error of a seller or reviewer, in bytes.
pub const MAX_ERROR_BYTES: usize = 100_000;

/// The deepest nesting of a JSON body.
pub const MAX_JSON_DEPTH: usize = 64;

/// The longest actor, reason, decision id or message of a completion, in bytes.
pub const MAX_TEXT_BYTES: usize = 4_096;

/// The longest account or principal name, in bytes. An account is part of a workflow id, for which Temporal's SQL persistence
/// has 255.
pub const MAX_SCOPE_BYTES: usize = 200;

/// The longest decision id, in bytes: it is also the id of an update.
pub const MAX_DECISION_ID_BYTES: usize = 255;

/// How long a webhook is delivered, at most: until then the request that it tells about is kept.
pub const WEBHOOK_HORIZON: Duration = Duration::from_secs(7 * 86_400);

/// How long a notification of progress may take. The webhook of the task's end waits for one that is on its way.
pub const NOTIFICATION_TIME: Duration = Duration::from_secs(5);

/// The most notifications of progress that a task may have.
pub const MAX_NOTIFICATIONS: u32 = 100;

/// The largest encoded input or output of an activity, in bytes: JSON text inside JSON grows by its escapes.
pub const MAX_ENCODED_BYTES: usize = 1_800_000;
