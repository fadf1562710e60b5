//! Guaranteed lines are booked one by one by the task handler `book_lines`.

use crate::{
    Acme, Origin, governance, media_buy,
    order_book::{Entered, Key, Ledger},
    sandbox::Knobs,
};
use chrono::{DateTime, Utc};
use handoff::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::Number;

/// What `book_lines` is to do.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct BookingOrder {
    /// The guaranteed lines.
    pub lines: Vec<Line>,
    /// What the buyer is answered once they are booked.
    pub result: Value,
    /// Until when the account's governance agent has approved it.
    #[serde(default)]
    pub(crate) approved_until: Option<DateTime<Utc>>,
    #[serde(default)]
    pub(crate) knobs: Knobs,
}

impl BookingOrder {
    pub(crate) fn new(lines: Vec<Line>, result: Value) -> Self {
        Self { lines, result, approved_until: None, knobs: Knobs::default() }
    }
}

/// A guaranteed line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Line {
    /// Which of the lines, from 1.
    pub number: u32,
    /// Of which product.
    pub product_id: String,
    /// Its name.
    pub name: String,
    /// What it costs.
    pub budget: Option<Number>,
}

/// A line, booked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BookedLine {
    /// What was booked.
    pub line: Line,
    /// Acme's reference.
    pub reference: String,
}

/// The task handler. An attempt goes on where the last one died; a line that was booked meanwhile stays booked once.
pub(crate) async fn book_lines(task: TaskContext<Acme>, mut order: BookingOrder) -> Result<Value, AdcpError> {
    governance::authorize_again(task.governance(), order.approved_until, &mut order.result).await?;
    let (acme, origin, knobs) = (task.state(), Origin::of(&task), &order.knobs);
    let total = u32::try_from(order.lines.len()).unwrap_or(u32::MAX);
    let booked: u32 = task.last_heartbeat().unwrap_or_default();
    for line in order.lines.iter().filter(|line| line.number > booked) {
        task.progress(Progress::step(line.number, total, format!("Booking {}", line.name))).await;
        if line.number == total.min(2) {
            knobs.fault(task.attempt)?;
        }
        knobs.exit_at(acme, &origin.token, &format!("book_line_{}", line.number)).await?;
        tokio::select! {
            () = tokio::time::sleep(knobs.delay(acme.options.booking)) => {}
            () = task.cancelled() => return Err(AdcpError::transient("CONFLICT", "The booking was stopped.")),
        }
        book_line(acme, &origin, line).await?;
        task.heartbeat(line.number).await?;
        knobs.exit_at(acme, &origin.token, &format!("booked_line_{}", line.number)).await?;
    }
    confirm(acme, &origin, order.result).await
}

/// Books a line in Acme's order book, once for each request and line.
pub async fn book_line(acme: &Acme, origin: &Origin, line: &Line) -> Result<Entered<BookedLine>, AdcpError> {
    let number = line.number.to_string();
    let booked = BookedLine { line: line.clone(), reference: format!("{}_{number}", origin.id("line")) };
    acme.book.enter(Ledger::Lines, Key::of(&[&origin.token, &number])?, booked).await
}

/// Makes the media buy whose lines are booked, and returns what the buyer is answered.
pub async fn confirm(acme: &Acme, origin: &Origin, result: Value) -> Result<Value, AdcpError> {
    Ok(media_buy::enter(acme, &origin.account, &origin.token, result).await?.into_record().result)
}

/// Gives back the lines of a request that did not come to a media buy.
pub async fn release(acme: &Acme, token: &str) -> Result<(), AdcpError> {
    for booked in acme.book.list::<BookedLine>(Ledger::Lines, &[token]).await? {
        let key = Key::of(&[token, &booked.line.number.to_string()])?;
        acme.book.enter(Ledger::Releases, key, booked).await?;
    }
    Ok(())
}
