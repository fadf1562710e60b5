//! `provide_performance_feedback`: Acme keeps what buyers say about a media buy.

use crate::{
    Acme, media_buy,
    order_book::{Key, Ledger},
};
use handoff::prelude::*;
use serde::Deserialize;

/// A `provide_performance_feedback` request, as far as Acme reads it.
#[derive(Clone, Debug, Deserialize)]
#[expect(missing_docs, reason = "the protocol's names")]
pub struct Feedback {
    pub media_buy_id: String,
    #[serde(default)]
    pub performance_index: Option<Value>,
    #[serde(default)]
    pub measurement_period: Option<Value>,
}

/// The tool's handler.
pub(crate) async fn provide(context: Context<Acme>, feedback: Feedback) -> Result<Value, AdcpError> {
    let (acme, id) = (context.state(), &feedback.media_buy_id);
    if media_buy::find(acme, &context.account, id).await?.is_none() {
        return Err(AdcpError::correctable("MEDIA_BUY_NOT_FOUND", "There is no such media buy.").field("media_buy_id"));
    }
    let record = json!({
        "media_buy_id": id,
        "performance_index": feedback.performance_index,
        "measurement_period": feedback.measurement_period,
    });
    acme.book.enter(Ledger::Feedback, Key::of(&[context.idempotency_token()])?, record).await?;
    Ok(json!({"status": "completed", "success": true}))
}
