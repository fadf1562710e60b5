//! What a sandbox's compliance controller wants of the next request: a directive, used up by the request that follows it
//! (docs/decisions/023).

use crate::{Answer, NewClaim, RegistryError};
use async_trait::async_trait;
use handoff_proto::v1::{Decision, TaskRef};
use std::fmt;

type Result<T> = std::result::Result<T, RegistryError>;

/// How the next new request of an agent is answered, for one account and verb.
#[derive(Clone, PartialEq)]
pub struct Directive {
    /// Whose request it is, of which verb, and the task id that it gets.
    pub task: TaskRef,
    /// What is recorded as its decision.
    pub decision: Decision,
    /// Tells it from every other.
    pub id: String,
}

// Its decision holds what somebody wrote.
impl fmt::Debug for Directive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Directive").field("task", &self.task).field("id", &self.id).finish_non_exhaustive()
    }
}

/// What came of a claim under a directive.
#[derive(Clone, Debug, PartialEq)]
pub enum Forced {
    /// The request is claimed under the directive's task id and decided as it says, now or by this same call before; the
    /// directive is used up.
    Claimed {
        /// What the buyer is told, if nothing is left to be done.
        answer: Option<Answer>,
    },
    /// An ended task of the same agent has the task id; nothing was written. It can be replaced once its run is closed.
    Ended,
    /// A task that is open, or another's, has the task id; nothing was written.
    Taken,
    /// The directive is not for this request: its idempotency key is known, or another request was faster. It is to be claimed
    /// like any other; nothing was written.
    Passed,
}

/// The directives of sandbox accounts: at most one for an account, agent and verb.
#[async_trait]
pub trait SandboxStore: Send + Sync + 'static {
    /// Puts a directive in the place of an earlier one. `false`, and nothing is written: a task that is open, or another's, has
    /// its task id.
    async fn put_directive(&self, directive: &Directive) -> Result<bool>;

    /// The directive that waits for a request of this scope, principal and verb.
    async fn directive(&self, request: &TaskRef) -> Result<Option<Directive>>;

    /// Claims a request under a directive, records the decision, and uses the directive up: one transaction. `claim` is of the
    /// directive's task; `replacing` lets it take the place of an ended one, of which nothing is left.
    async fn claim_forced(&self, claim: &NewClaim, directive: &Directive, replacing: bool) -> Result<Forced>;
}
