//! Tells an ended task's webhook once more: within its horizon the same bytes, past it a new delivery of the same notification.

use crate::{deliver::deliver, verb::steps};
use handoff_proto::{
    activities::RenewWebhook,
    errors, payload,
    v1::{RedeliveryInput, WebhookEnd, WebhookInput},
};
use temporalio_workflow::{
    WorkflowContext, WorkflowResult, WorkflowTermination,
    common::{data_converters::RawValue, error::ApplicationFailure},
    workflow, workflow_methods,
};

/// A run of the workflow `webhook_redelivery`.
#[workflow]
#[derive(Default)]
pub struct Redelivery;

#[workflow_methods]
impl Redelivery {
    /// Tells it. The input is raw, because one that can't be decoded would fail the workflow task for ever.
    #[run(name = handoff_proto::workflows::REDELIVERY)]
    pub async fn run(ctx: &mut WorkflowContext<Self>, input: RawValue) -> WorkflowResult<WebhookEnd> {
        let RedeliveryInput { task, plan } = read(&input).map_err(|reason| failed(errors::INPUT_INVALID, reason))?;
        let (Some(task), Some(plan)) = (task, plan) else {
            return Err(failed(errors::INPUT_INVALID, "the input has no task or no plan".to_owned()));
        };
        let input = WebhookInput { task: Some(task), call: None };
        let renewed = steps::transaction(ctx, RenewWebhook, input.clone()).await;
        match renewed {
            Ok(end) if end.state == "none" => Ok(end),
            Ok(end) => Ok(deliver(ctx, input, &plan).await.unwrap_or(end)),
            Err(error) => Err(failed("REGISTRY", error.to_string())),
        }
    }
}

fn read(input: &RawValue) -> Result<RedeliveryInput, String> {
    let [payload] = input.payloads.as_slice() else {
        return Err(format!("expected one payload, found {}", input.payloads.len()));
    };
    payload::decode(payload).map_err(|error| format!("not a handoff.v1.RedeliveryInput: {error}"))
}

fn failed(code: &str, message: String) -> WorkflowTermination {
    let message: Box<dyn std::error::Error + Send + Sync> = message.into();
    WorkflowTermination::failed_application(
        ApplicationFailure::builder(message).type_name(code.to_owned()).non_retryable(true).build(),
    )
}
