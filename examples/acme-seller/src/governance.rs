//! What Acme asks an account's governance agent before it sells.

use crate::{Acme, Origin, catalog::CURRENCY, media_buy::CreateMediaBuy, offers::Offer, sandbox::Knobs};
use chrono::{DateTime, SecondsFormat, Utc};
use handoff::{
    prelude::*,
    seller::{Approval, Governance},
};
use std::collections::BTreeSet;

/// Who has to agree before Acme sells.
#[derive(Clone, Debug, Default)]
pub struct Gate {
    governance: Governance,
    knobs: Knobs,
}

impl Gate {
    pub(crate) fn of(context: &Context<Acme>, knobs: Knobs) -> Self {
        Self { governance: context.governance().clone(), knobs }
    }

    /// Has a purchase authorised, and its result say so. Returns until when it is.
    pub(crate) async fn authorize(
        &self,
        acme: &Acme,
        origin: &Origin,
        planned: Value,
        result: &mut Value,
    ) -> Result<Option<DateTime<Utc>>, AdcpError> {
        let approval = self.governance.check(planned).await?;
        self.knobs.exit_at(acme, &origin.token, "authorized").await?;
        let Some(approval) = approval else { return Ok(None) };
        approval.tell(result);
        Ok(approval.expires_at())
    }
}

/// Has what was decided earlier authorised again, if the first approval is none any more.
pub(crate) async fn authorize_again(
    governance: &Governance,
    until: Option<DateTime<Utc>>,
    result: &mut Value,
) -> Result<(), AdcpError> {
    if until.is_none_or(|until| Utc::now() < until) {
        return Ok(());
    }
    let approval: Option<Approval> = governance.check(result["planned_delivery"].clone()).await?;
    if let Some(approval) = approval {
        approval.tell(result);
    }
    Ok(())
}

/// What Acme would deliver (core/planned-delivery.json).
pub(crate) fn planned_delivery(request: &CreateMediaBuy, offers: &[Offer], total_budget: &Value) -> Value {
    let channels: BTreeSet<&str> = offers.iter().flat_map(|offer| &offer.channels).map(String::as_str).collect();
    let time = |time: DateTime<Utc>| time.to_rfc3339_opts(SecondsFormat::Secs, true);
    let start = match request.start_time.as_str() {
        "asap" => time(Utc::now()),
        start => start.to_owned(),
    };
    json!({
        "channels": channels,
        "start_time": start,
        "end_time": time(request.end_time),
        "total_budget": total_budget,
        "currency": CURRENCY,
    })
}
