//! `enqueue`: an enqueue handler is asked to take a review.

use super::{Activities, guard};
use crate::seller::{Acknowledgement, RequestContext};
use handoff_proto::{errors, v1, wire::AdcpError};
use std::sync::Arc;
use temporalio_sdk::activities::{ActivityContext, ActivityError};

impl Activities {
    pub(super) async fn call_enqueue_handler(
        &self,
        ctx: ActivityContext,
        input: v1::EnqueueInput,
    ) -> Result<v1::Acknowledgement, ActivityError> {
        let handoff = guard::required(input.handoff, "handoff")?;
        let input = guard::required(input.input, "input")?;
        // The compliance controller's, which nobody reviews.
        if handoff.is_forced() && input.sandbox {
            return Ok(Acknowledgement::wilco().into_message());
        }
        let Some(handler) = self.handlers.enqueue(&handoff.handler) else {
            tracing::error!(handler = handoff.handler, "no such enqueue handler is registered in this worker");
            return Err(guard::try_again(
                &AdcpError::terminal(errors::HANDLER_MISSING, "The seller is not set up for this request.").into(),
            ));
        };
        let request = Arc::new(RequestContext::new(&input, ctx.info().attempt));
        let body = serde_json::from_str(&handoff.input_json).unwrap_or_default();
        let answer = tokio::select! {
            answer = guard::catch(&handoff.handler, &input, (handler.enqueue)(request, body)) => answer,
            // Its time is up, or this worker's: dropped, so that a handler that hangs keeps neither slot nor worker.
            () = ctx.cancelled() => return Err(ActivityError::cancelled()),
        };
        let Ok(answer) = answer else { return Err(guard::panicked(&input)) };
        let mut answer = answer.unwrap_or_else(Acknowledgement::unable).into_message();
        answer.errors = answer.errors.into_iter().map(guard::carried).collect();
        Ok(match guard::oversize(&answer) {
            Some(size) => {
                let error = errors::result_too_large(size, handoff_proto::limits::MAX_ENCODED_BYTES);
                v1::Acknowledgement { kind: answer.kind, errors: vec![error.into()], ..Default::default() }
            }
            None => answer,
        })
    }
}
