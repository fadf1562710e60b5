//! AdCP's JSON on the wire (protocol 3.2).

mod envelope;
mod error;
mod governance;
mod list_tasks;
mod proposals;
mod status;
mod task_status;
mod translation;
mod webhook;
mod write_only;

pub use envelope::{completed_body, failed_body, replay_body, submitted_body, with_context};
pub use error::{AdcpError, Issue, Recovery};
pub use governance::{
    Authorization, CHECK_GOVERNANCE, Condition, Ruling, SYNC_GOVERNANCE, Verdict, WantedAgent, synced_agent,
    tell_approval, wanted_agents,
};
pub use list_tasks::{ListTasksFilters, ListTasksRequest, Pagination, Sort, SortDirection, SortField};
pub use proposals::{
    Bought, OfferedProposal, ProposalKind, ProposalNews, is_purchase, proposal_ending, proposal_news, proposals_named,
    purchase,
};
pub use status::{ParseStatusError, TaskStatus};
pub use task_status::{GetTaskStatusRequest, task_status_body};
pub use translation::{translate, translated_result};
pub use webhook::{WebhookEvent, progress_body, webhook_body};
pub use write_only::{strip_write_only, without_write_only};
