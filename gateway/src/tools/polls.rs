//! `get_task_status` and `list_tasks`: answered by the registry alone.

use crate::{
    AccountRef,
    account::{self, NOBODY},
    door::{Asked, Door},
};
use handoff_client::{CallError, Viewer, no_such_task};
use handoff_proto::wire::{AdcpError, GetTaskStatusRequest, ListTasksRequest};
use serde::de::DeserializeOwned;
use serde_json::Value;

/// Answers a poll.
///
/// A request that names no account means the agent's own task of this id, whichever of its accounts it is for. An unknown task
/// and another's cost the same queries: one for the task's scope, one in that scope, or in one where nothing is.
pub(crate) async fn task_status(door: &Door, asked: &Asked) -> Result<Value, CallError> {
    let request: GetTaskStatusRequest = read(&asked.request)?;
    let principal = &asked.call.principal;
    let named = account::scope_of_poll(&*door.accounts, principal, &asked.request).await?;
    let scope = match &named {
        Some(scope) => scope.clone(),
        None => door.tasks.scope_of(&request.task_id).await?.unwrap_or_else(|| NOBODY.to_owned()),
    };
    let viewer = Viewer::Buyer { scope: scope.clone(), principal: principal.name.clone() };
    let body = door.tasks.get_task_status(&viewer, &request).await?;
    // Its own task, in an account that it may have lost.
    if named.is_none() && !account::is_derived(&scope) {
        let account = door.accounts.resolve(principal, &AccountRef::Id(scope)).await?;
        account.ok_or_else(no_such_task)?;
    }
    Ok(body)
}

/// Answers a list of the tasks of one account.
pub(crate) async fn task_list(door: &Door, asked: &Asked) -> Result<Value, CallError> {
    let request: ListTasksRequest = read(&asked.request)?;
    let principal = &asked.call.principal;
    let scope = account::scope_of_poll(&*door.accounts, principal, &asked.request).await?;
    let scope = scope.ok_or_else(account::required_error)?;
    door.tasks.list_tasks(&Viewer::Buyer { scope, principal: principal.name.clone() }, &request).await
}

fn read<T: DeserializeOwned>(request: &Value) -> Result<T, AdcpError> {
    serde_json::from_value(request.clone())
        .map_err(|error| AdcpError::correctable("INVALID_REQUEST", format!("The request can't be read: {error}.")))
}
