//! What need not be done at once: the task handler `back_office`.

use crate::{
    Acme, Origin,
    order_book::{Key, Ledger},
    sandbox::Knobs,
};
use handoff::prelude::*;
use serde::{Deserialize, Serialize};

/// Something for the back office to do.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Chore {
    /// Step by step.
    pub steps: Vec<String>,
    /// What the buyer is answered when it is done.
    pub result: Value,
    #[serde(default)]
    pub(crate) knobs: Knobs,
}

impl Chore {
    pub(crate) fn new<const N: usize>(steps: [&str; N], result: Value) -> Self {
        Self { steps: steps.map(str::to_owned).to_vec(), result, knobs: Knobs::default() }
    }
}

/// The task handler.
pub(crate) async fn work_off(task: TaskContext<Acme>, chore: Chore) -> Result<Value, AdcpError> {
    let (acme, origin, knobs) = (task.state(), Origin::of(&task), &chore.knobs);
    let total = u32::try_from(chore.steps.len()).unwrap_or(u32::MAX);
    let done: u32 = task.last_heartbeat().unwrap_or_default();
    for (number, step) in (1..).zip(&chore.steps).filter(|(number, _)| *number > done) {
        task.progress(Progress::step(number, total, step.as_str())).await;
        if number == total.min(2) {
            knobs.fault(task.attempt)?;
            knobs.exit_at(acme, &origin.token, "chore").await?;
        }
        tokio::select! {
            () = tokio::time::sleep(knobs.delay(acme.options.chore_step)) => {}
            () = task.cancelled() => return Err(AdcpError::transient("CONFLICT", "The work was stopped.")),
        }
        let key = Key::of(&[&origin.token, &number.to_string()])?;
        acme.book.enter(Ledger::Chores, key, json!({"verb": task.verb, "step": step})).await?;
        task.heartbeat(number).await?;
    }
    Ok(chore.result)
}
