//! `notify`: conditions of a task are handed to their handlers.

use super::{Activities, guard};
use crate::seller::{ReviewOverdue, ReviewReminder, Settled, TaskSummary};
use handoff_proto::v1::{NotifyInput, Settlement, TaskInput, notify_input::Condition};
use temporalio_sdk::activities::ActivityError;

impl Activities {
    pub(super) async fn dispatch_condition(&self, input: NotifyInput) -> Result<(), ActivityError> {
        let task_input = guard::required(input.input, "input")?;
        let task = TaskSummary::new(&task_input);
        let dispatcher = &self.handlers.dispatcher;
        let all_done = match guard::required(input.condition, "condition")? {
            Condition::ReviewReminder(reminder) => dispatcher.dispatch(ReviewReminder::new(task, &reminder)).await,
            Condition::ReviewOverdue(overdue) => dispatcher.dispatch(ReviewOverdue::new(task, &overdue)).await,
            Condition::Settled(settlement) => match Settled::new(task, self.recorded(&task_input, settlement).await?) {
                Settled::Completed(completed) => dispatcher.dispatch(completed).await,
                Settled::Failed(failed) => dispatcher.dispatch(failed).await,
                Settled::Rejected(rejected) => dispatcher.dispatch(rejected).await,
                Settled::Canceled(canceled) => dispatcher.dispatch(canceled).await,
            },
        };
        if all_done { Ok(()) } else { Err(guard::panicked(&task_input)) }
    }

    // Temporal carries a settlement without its result. A task that was purged meanwhile has none any more.
    async fn recorded(&self, input: &TaskInput, settlement: Settlement) -> Result<Settlement, ActivityError> {
        let standing = self.registry.standing(&guard::task_of(input)?).await.map_err(guard::registry_error)?;
        Ok(standing.settlement.unwrap_or(settlement))
    }
}
