//! What a sandbox's compliance controller wants of the next request: a directive, used up by the request that follows it
//! (docs/decisions/023). And the end of everything that is kept of a sandbox (docs/decisions/025).

use crate::{Answer, NewClaim, Proposal, ProposalKey, RegistryError};
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
    /// An earlier task that the same agent forced for the same account has the task id; nothing was written. It can be replaced
    /// once its run is closed, however far it is.
    Held {
        /// As it was found.
        seen: Seen,
    },
    /// Another's task has the task id, or one that nobody forced; nothing was written.
    Taken,
    /// The directive is not for this request: its idempotency key is known, or another request was faster. It is to be claimed
    /// like any other; nothing was written.
    Passed,
}

/// A request as somebody found it: it is not the same any more once anything was written to it, or another took its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// When it was claimed, in microseconds since 1970.
    pub created_at: i64,
    /// Changes with every write to its row.
    pub version: i64,
}

/// A request of a sandbox account, or the tombstone that was left of it, as it was found.
#[derive(Clone, Debug, PartialEq)]
pub struct SandboxRequest {
    /// Which.
    pub task: TaskRef,
    /// How.
    pub seen: Seen,
    /// It registered a webhook, which a run of its own may be telling.
    pub has_webhook: bool,
}

/// What came of it that something of a sandbox account was to be cleared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cleared {
    /// Nothing is left of it.
    Deleted,
    /// There is no such thing of a sandbox account, or none any more; nothing was written.
    Missing,
    /// It is not as it was seen, or it is a proposal that a task is buying; nothing was written.
    Kept {
        /// As it is now.
        seen: Seen,
    },
}

/// What is there for sandbox accounts alone. Directives: at most one for an account, agent and verb. And clearing: whatever it is
/// asked for, a row that is not of a sandbox is not found.
#[async_trait]
pub trait SandboxStore: Send + Sync + 'static {
    /// Puts a directive in the place of an earlier one. `false`, and nothing is written: its task id is another's, or that of a
    /// task that nobody forced.
    async fn put_directive(&self, directive: &Directive) -> Result<bool>;

    /// The directive that waits for a request of this scope, principal and verb.
    async fn directive(&self, request: &TaskRef) -> Result<Option<Directive>>;

    /// Claims a request of a sandbox account under a directive, records the decision, and uses the directive up: one
    /// transaction. `claim` is of the directive's task; it takes the place of the one that `replaces` describes, if that is still
    /// as it was seen, and nothing is left of it.
    async fn claim_forced(&self, claim: &NewClaim, directive: &Directive, replaces: Option<Seen>) -> Result<Forced>;

    /// Requests of sandbox accounts, or of this one, tombstones among them: by scope and task id, after `after`, at most `limit`.
    async fn sandbox_requests(
        &self,
        scope: Option<&str>,
        after: Option<&TaskRef>,
        limit: u32,
    ) -> Result<Vec<SandboxRequest>>;

    /// Deletes a request of a sandbox account if it is as it was seen, with its history, its webhook and that one's attempts, and
    /// releases what it has reserved; its key and its task id are free. Without `seen` it only looks.
    async fn clear_request(&self, task: &TaskRef, seen: Option<Seen>) -> Result<Cleared>;

    /// Proposals that were offered to sandbox accounts, or to this one, and never to a live one: by their keys, after `after`, at
    /// most `limit`. One that a live account's task is buying or has bought is none of them.
    async fn sandbox_proposals(
        &self,
        scope: Option<&str>,
        after: Option<&ProposalKey>,
        limit: u32,
    ) -> Result<Vec<Proposal>>;

    /// Deletes one of them with its history, if it is as it was seen and no task is buying it: clear that first.
    async fn clear_proposal(&self, proposal: &ProposalKey, seen: Seen) -> Result<Cleared>;

    /// Deletes the directives of all accounts, or of this one; how many there were. With `dry_run` it only counts.
    async fn clear_directives(&self, scope: Option<&str>, dry_run: bool) -> Result<u64>;

    /// The same for the governance agents of sandbox accounts.
    async fn clear_governance(&self, scope: Option<&str>, dry_run: bool) -> Result<u64>;
}
