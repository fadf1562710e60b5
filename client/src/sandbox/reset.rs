//! Clearing sandbox accounts: everything that is kept of them goes, and nothing else (docs/decisions/025).

use crate::{
    Config, ConfigError, Error, Handoff,
    housekeeping::{DESCRIBED_AT_ONCE, PAGE},
    runs::OpenRun,
};
use futures::{StreamExt, stream};
use handoff_proto::{v1::TaskRef, workflows::redelivery_workflow_id};
use handoff_store::{Cleared, Proposal, ProposalKey, SandboxRequest, Seen};
use std::fmt;

// Each time it was changed between two looks: by the last steps of its own run, or by somebody who calls for it.
const ATTEMPTS: usize = 5;
const REASON: &str = "its task is cleared, with its sandbox";

/// What clearing sandbox accounts saw and did.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SandboxReset {
    /// Nothing was written, and no run closed.
    pub dry_run: bool,
    /// Requests, by account and task id.
    pub requests: Vec<ClearedRequest>,
    /// Proposals that were offered to sandbox accounts alone, by account, agent and id.
    pub proposals: Vec<ClearedProposal>,
    /// How many forced answers waited for a request.
    pub directives: u64,
    /// How many accounts had a governance agent.
    pub governance_agents: u64,
}

impl SandboxReset {
    /// How many open runs were terminated.
    pub fn runs(&self) -> usize {
        self.requests.iter().map(|request| request.runs).sum()
    }

    /// How many requests ended thus.
    pub fn requests(&self, action: &ClearAction) -> usize {
        self.requests.iter().filter(|request| request.action == *action).count()
    }

    /// How many proposals ended thus.
    pub fn proposals(&self, action: &ClearAction) -> usize {
        self.proposals.iter().filter(|proposal| proposal.action == *action).count()
    }

    /// Something is left: the same call again may clear it.
    pub fn is_partial(&self) -> bool {
        let mut actions = self.requests.iter().map(|request| &request.action);
        let mut offered = self.proposals.iter().map(|proposal| &proposal.action);
        actions.any(|action| *action != ClearAction::Cleared) || offered.any(|action| *action != ClearAction::Cleared)
    }
}

/// A request, and what was done about it.
#[derive(Clone, Debug, PartialEq)]
pub struct ClearedRequest {
    /// Which.
    pub task: TaskRef,
    /// How many runs of it were open, and were terminated, or would have been in a dry run.
    pub runs: usize,
    /// What was done, or would have been in a dry run.
    pub action: ClearAction,
}

/// A proposal, and what was done about it.
#[derive(Clone, Debug, PartialEq)]
pub struct ClearedProposal {
    /// Which.
    pub key: ProposalKey,
    /// What was done, or would have been in a dry run.
    pub action: ClearAction,
}

/// What was done about something of a sandbox account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClearAction {
    /// Nothing is left of it.
    Cleared,
    /// It was changed each time that it was looked at, or a task that came meanwhile is buying it.
    Kept,
    /// It could not be looked at or written.
    Skipped {
        /// Why.
        reason: String,
    },
}

impl fmt::Display for ClearAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cleared => "cleared",
            Self::Kept => "kept",
            Self::Skipped { reason } => return write!(f, "skipped: {reason}"),
        })
    }
}

impl Handoff {
    /// Clears what is kept of all sandbox accounts, or of this one: requests with their keys, tasks and webhooks, after terminating
    /// their runs; then proposals, forced answers and governance agents. Nothing is told to anybody, and nothing of a live account is touched. Cut
    /// off anywhere, the same call goes on. Refused unless compliance tests may control accounts here.
    pub async fn reset_sandbox(&self, scope: Option<&str>, dry_run: bool) -> Result<SandboxReset, Error> {
        may_reset(self.config())?;
        // "Not found" must mean the run and not the namespace: else rows would go whose runs are at work.
        self.housekeeper()?.check_namespace().await?;
        let mut reset = SandboxReset { dry_run, ..SandboxReset::default() };
        let mut after = None;
        loop {
            let page = self.registry().sandbox_requests(scope, after.as_ref(), PAGE).await?;
            let Some(last) = page.last() else { break };
            after = Some(last.task.clone());
            let cleared = stream::iter(page).map(|found| self.reset_request(found, dry_run));
            reset.requests.extend(cleared.buffered(DESCRIBED_AT_ONCE).collect::<Vec<_>>().await);
        }
        let mut after = None;
        loop {
            let page = self.registry().sandbox_proposals(scope, after.as_ref(), PAGE).await?;
            let Some(last) = page.last() else { break };
            after = Some(last.key.clone());
            for proposal in page {
                reset.proposals.push(self.reset_proposal(proposal, dry_run).await);
            }
        }
        reset.directives = self.registry().clear_directives(scope, dry_run).await?;
        reset.governance_agents = self.registry().clear_governance(scope, dry_run).await?;
        Ok(reset)
    }

    async fn reset_request(&self, found: SandboxRequest, dry_run: bool) -> ClearedRequest {
        let mut runs = 0;
        let action = self.clear_request(&found, dry_run, &mut runs).await.unwrap_or_else(skipped);
        tracing::debug!(task_id = found.task.task_id, runs, %action, dry_run, "looked at for a reset");
        ClearedRequest { task: found.task, runs, action }
    }

    async fn clear_request(
        &self,
        found: &SandboxRequest,
        dry_run: bool,
        runs: &mut usize,
    ) -> Result<ClearAction, Error> {
        let task = &found.task;
        for _ in 0..ATTEMPTS {
            // In this order: a run that was open before the task was seen is that task's, and never that of one which a call has
            // put in its place.
            let open = self.open_runs(found).await?;
            if dry_run {
                *runs = open.len();
                return Ok(ClearAction::Cleared);
            }
            let Cleared::Kept { seen } = self.registry().clear_request(task, None).await? else {
                return Ok(ClearAction::Cleared);
            };
            for run in open {
                run.terminate(REASON).await?;
                *runs += 1;
            }
            match self.registry().clear_request(task, Some(seen)).await? {
                Cleared::Deleted | Cleared::Missing => return Ok(ClearAction::Cleared),
                Cleared::Kept { .. } => {}
            }
        }
        Ok(ClearAction::Kept)
    }

    /// The run of a task, and the one that tells its webhook once more.
    async fn open_runs(&self, found: &SandboxRequest) -> Result<Vec<OpenRun>, Error> {
        let mut open: Vec<_> = self.open_run(found.task.workflow_id()).await?.into_iter().collect();
        if found.has_webhook {
            open.extend(self.open_run(redelivery_workflow_id(&found.task.task_id)).await?);
        }
        Ok(open)
    }

    async fn reset_proposal(&self, proposal: Proposal, dry_run: bool) -> ClearedProposal {
        let action =
            if dry_run { Ok(ClearAction::Cleared) } else { self.clear_proposal(&proposal).await.map_err(Error::from) };
        ClearedProposal { key: proposal.key, action: action.unwrap_or_else(skipped) }
    }

    async fn clear_proposal(&self, proposal: &Proposal) -> Result<ClearAction, handoff_store::RegistryError> {
        let mut seen = Seen { created_at: proposal.created_at, version: proposal.version };
        for _ in 0..ATTEMPTS {
            match self.registry().clear_proposal(&proposal.key, seen).await? {
                Cleared::Deleted | Cleared::Missing => return Ok(ClearAction::Cleared),
                // Unchanged: a task is buying it.
                Cleared::Kept { seen: now } if now == seen => break,
                Cleared::Kept { seen: now } => seen = now,
            }
        }
        Ok(ClearAction::Kept)
    }
}

/// Nobody clears by accident what only a test may.
pub(crate) fn may_reset(config: &Config) -> Result<(), ConfigError> {
    if config.compliance_testing { Ok(()) } else { Err(ConfigError::NoComplianceTesting) }
}

fn skipped(error: Error) -> ClearAction {
    ClearAction::Skipped { reason: error.to_string() }
}

#[cfg(test)]
mod tests;
