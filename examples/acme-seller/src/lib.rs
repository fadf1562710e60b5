//! Acme Media: a realistic AdCP 3.2 seller on Handoff, for the demo, the tests and the benchmarks.
//!
//! One module a business: each has plain functions that plan what to do about a request ([`Plan`]), and a thin handler
//! that the engine calls. What Acme keeps goes to its [`OrderBook`], once, however often a handler is called.
//!
//! | verb | at once | by a task handler | by a reviewer |
//! |---|---|---|---|
//! | `create_media_buy`, of packages or of a proposal | only non-guaranteed products | guaranteed lines, one by one | a product with an insertion order |
//! | `update_media_buy` | most changes | | more budget on an insertion order |
//! | `sync_creatives` | a few creatives | | many, or sensitive ones |
//! | `sync_audiences` | small uploads | large uploads | |
//! | `build_creative` | estimates | rendering | |
//! | `preview_creative` | unless `allow_async` | with `allow_async` | |
//! | `get_products`, `get_signals` | always; a brief takes its time | | |
//!
//! A brief gets products and a draft of a proposal; a refinement changes the draft, or finalizes it; `create_media_buy` buys what
//! was finalized. Which proposals there are, whose they are and whether one can be bought is the engine's business.
//!
//! Before a media buy is made, the account's governance agent is asked, if it has one (`governance`).
//!
//! Besides, plain tools: accounts (`sync_accounts`, `list_accounts`), the library (`list_creatives`, `list_creative_formats`), media buys
//! (`get_media_buys`, `get_media_buy_delivery`, `provide_performance_feedback`) and `activate_signal`.
//!
//! What the protocol's own tests need of Acme's sandbox is in `scenarios`, `seeds` and `offers`.

mod accounts;
mod audiences;
mod back_office;
mod booking;
pub mod catalog;
mod creatives;
mod discovery;
mod feedback;
mod formats;
mod governance;
mod library;
pub mod media_buy;
mod notices;
mod offers;
mod options;
pub mod order_book;
mod page;
mod plan;
mod proposals;
mod refinement;
mod review;
pub mod sandbox;
pub mod scenarios;
mod seeds;
mod signals;
mod studio;

pub use accounts::{ListAccounts, SyncAccounts, list_accounts, sync_accounts};
pub use audiences::{SyncAudiences, sync_audiences};
pub use back_office::Chore;
pub use booking::{BookedLine, BookingOrder, Line, book_line, confirm, release};
pub use creatives::{SyncCreatives, sync_creatives};
pub use discovery::{GetProducts, get_products, in_sandbox};
pub use feedback::Feedback;
pub use formats::{ListCreativeFormats, list_creative_formats};
pub use governance::Gate;
pub use library::{ListCreatives, list_creatives};
pub use notices::NoticeBoard;
pub use options::Options;
pub use order_book::OrderBook;
pub use page::Page;
pub use plan::{Origin, Plan};
pub use review::{Desk, Ticket};
pub use signals::{ActivateSignal, GetSignals, activate_signal, get_signals};
pub use studio::{BuildCreative, PreviewCreative, build_creative, preview_creative};

use handoff::{prelude::*, seller::tool};
use std::{process::ExitCode, time::Duration};

/// What every handler of Acme's works with.
#[derive(Clone, Debug)]
pub struct Acme {
    /// What Acme keeps.
    pub book: OrderBook,
    /// How it works.
    pub options: Options,
}

impl Acme {
    /// Acme, with its order book where the options say.
    pub fn new(options: Options) -> Self {
        Self { book: OrderBook::new(&options.data_dir), options }
    }
}

/// Acme with the options that it has by default.
pub fn seller() -> Seller<Acme> {
    seller_with(Options::default())
}

/// Acme with these options: all that it decides, wired.
pub fn seller_with(options: Options) -> Seller<Acme> {
    let acme = Acme::new(options);
    let notices = NoticeBoard::new(acme.clone());
    let seller = Seller::new("acme-seller", acme);
    scenarios::ALL
        .into_iter()
        .fold(seller, |seller, scenario| seller.scenario(scenario, scenarios::Staged(scenario)))
        .verb(
            "create_media_buy",
            verb(media_buy::create_media_buy)
                .quick()
                .hands_off_to(["book_lines", "insertion_order_review", "back_office", "desk_review"])
                .answers_at_once_if(media_buy::answers_at_once),
        )
        .verb(
            "update_media_buy",
            verb(media_buy::update_media_buy).quick().hands_off_to([
                "insertion_order_review",
                "back_office",
                "desk_review",
            ]),
        )
        .verb(
            "sync_creatives",
            verb(creatives::decide).quick().hands_off_to(["creative_batch_review", "back_office", "desk_review"]),
        )
        .verb("get_products", verb(discovery::decide).hands_off_to(["back_office", "desk_review"]))
        .verb("get_signals", verb(signals::decide).hands_off_to(["back_office", "desk_review"]))
        .verb("sync_audiences", verb(audiences::decide).hands_off_to(["back_office", "desk_review"]))
        .verb("build_creative", verb(studio::decide_to_build).hands_off_to(["back_office", "desk_review"]))
        .verb("preview_creative", verb(studio::decide_to_preview).hands_off_to(["back_office", "desk_review"]))
        .tool("get_media_buys", media_buy::get_media_buys)
        .tool("get_media_buy_delivery", media_buy::get_delivery)
        .tool("sync_accounts", tool(accounts::sync).rerunnable())
        .tool("list_accounts", accounts::list)
        .tool("list_creatives", library::list)
        .tool("list_creative_formats", formats::list)
        .tool("activate_signal", tool(signals::activate).rerunnable())
        .tool("provide_performance_feedback", feedback::provide)
        .governance(GovernancePolicy::any())
        .capabilities(json!({
            "account": {"supported_billing": [accounts::BILLING], "required_for_products": false, "sandbox": true},
            "media_buy": {
                "buying_modes": ["brief", "wholesale", "refine"],
                "supported_pricing_models": ["cpm"],
                "supports_proposals": true,
                "features": {"audience_targeting": true},
                "governance_aware": true,
            },
            "signals": {"discovery_modes": ["brief", "wholesale"]},
            "creative": {"has_creative_library": true},
            "specialisms": ["sales-guaranteed", "sales-non-guaranteed", "sales-proposal-mode", "audience-sync"],
        }))
        .task("book_lines", patiently(task(booking::book_lines)))
        .task("back_office", patiently(task(back_office::work_off)))
        .enqueue("insertion_order_review", promptly(enqueue(review::file)))
        .enqueue("creative_batch_review", promptly(enqueue(review::file)))
        .enqueue("desk_review", promptly(enqueue(review::file)))
        .on::<TaskCompleted>(notices.clone())
        .on::<TaskFailed>(notices.clone())
        .on::<TaskRejected>(notices.clone())
        .on::<TaskCanceled>(notices.clone())
        .on::<ReviewReminder>(notices.clone())
        .on::<ReviewOverdue>(notices.clone())
        .on::<DecisionDiscarded>(notices)
}

/// Says on stderr what is wrong with the environment.
pub fn refuse_to_start(mistake: &str) -> ExitCode {
    eprintln!("acme-seller can't start: {mistake}");
    ExitCode::from(2)
}

fn patiently(task: handoff::seller::TaskRegistration<Acme>) -> handoff::seller::TaskRegistration<Acme> {
    task.retry(Duration::from_millis(500), Duration::from_secs(5), 0)
        .attempt_timeout(Duration::from_secs(300))
        .heartbeat_timeout(Duration::from_secs(5))
        .deadline(Duration::from_secs(3600))
}

fn promptly(enqueue: handoff::seller::EnqueueRegistration<Acme>) -> handoff::seller::EnqueueRegistration<Acme> {
    enqueue.attempt_timeout(review::ATTEMPT_TIMEOUT).retry(Duration::from_millis(500), Duration::from_secs(5))
}
