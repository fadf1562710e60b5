//! A worker that dies by SIGKILL anywhere between reserve and settle, on every arm: at the end nothing is reserved, task and
//! proposal agree, and the seller was asked for one booking.

use super::{committed, proposal, purchase};
use futures::{StreamExt, stream};
use handoff_client::{CallError, Viewer};
use handoff_proto::wire::{AdcpError, TaskStatus};
use handoff_store::ProposalState;
use handoff_tests::{
    Kind, World, decision, eventually, fresh_key,
    lab::{Fault, Moment},
};
use rand::{Rng, SeedableRng, rngs::StdRng, seq::IndexedRandom};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// How many runs; each starts two workers.
const RUNS: &str = "HANDOFF_TEST_KILLS";
const RUNS_UNLESS_TOLD: u64 = 24;
const AT_ONCE: usize = 4;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Reviewer {
    Nobody,
    Approves,
    Fails,
    Cancels,
}

const ARMS: [(&str, Reviewer); 8] = [
    ("complete", Reviewer::Nobody),
    ("refuse", Reviewer::Nobody),
    ("task", Reviewer::Nobody),
    ("failing task", Reviewer::Nobody),
    ("unable", Reviewer::Nobody),
    ("workflow", Reviewer::Approves),
    ("workflow", Reviewer::Fails),
    ("workflow", Reviewer::Cancels),
];

fn lab(arm: &str) -> Value {
    match arm {
        "failing task" => json!({"arm": "task", "fails": 9}),
        "unable" => json!({"arm": "workflow", "review": "unable"}),
        arm => json!({"arm": arm}),
    }
}

/// Where the first worker dies: around a transaction, or in a handler.
fn doom(arm: &str, reviewer: Reviewer, dice: &mut StdRng) -> Result<Fault, &'static str> {
    let mut transactions = vec!["begin", "record_decision"];
    let mut handlers = vec!["decide"];
    match arm {
        "task" | "failing task" => {
            transactions.push("settle");
            handlers.push("work");
        }
        "unable" => {
            transactions.push("discard");
            handlers.push("review");
        }
        "workflow" => {
            transactions.extend(["accept", "settle"]);
            handlers.push("review");
        }
        _ => {}
    }
    // A cancellation settles, too.
    debug_assert!(reviewer == Reviewer::Nobody || arm == "workflow");
    if dice.random_bool(0.25) {
        return Err(handlers.choose(dice).expect("there are some"));
    }
    let moment = if dice.random_bool(0.5) { Moment::Before } else { Moment::After };
    Ok(Fault { transaction: (*transactions.choose(dice).expect("there are some")).to_owned(), moment })
}

async fn live(seed: u64) {
    let mut dice = StdRng::seed_from_u64(seed);
    let (arm, reviewer) = *ARMS.choose(&mut dice).expect("there are some");
    let kind = if dice.random_bool(0.25) { Kind::Postgres } else { Kind::Sqlite };
    let doom = doom(arm, reviewer, &mut dice);
    let verb = if dice.random_bool(0.5) { super::BUY } else { "accept_proposal" };
    let name = format!("seed {seed}: {verb} {arm} {reviewer:?} {kind:?} {doom:?}");
    let world = World::new(kind).await.expect("a world");
    let proposal_id = committed(&world).await;
    let mut lab = lab(arm);
    let mut doomed = match &doom {
        Ok(fault) => world.faulty_worker_process(fault),
        Err(handler) => {
            lab["die_in"] = (*handler).into();
            world.worker_process()
        }
    }
    .expect("a worker");
    let replaced = async {
        assert!(!doomed.wait().await.expect("it can be waited for").success(), "{name}: the worker stopped by itself");
        world.worker_process().expect("another worker")
    };
    let request = purchase(&fresh_key(), &proposal_id, lab);
    let asked = async {
        let answer = world.send(verb, &request).await;
        if let Ok(answer) = &answer
            && reviewer != Reviewer::Nobody
        {
            let task_id = &answer.task_id;
            let decided = match reviewer {
                Reviewer::Approves => decision::complete(&json!({"media_buy_id": format!("mb_{task_id}")})),
                Reviewer::Fails => decision::fail(AdcpError::correctable("TERMS_REJECTED", "No.")),
                Reviewer::Cancels | Reviewer::Nobody => decision::cancel(),
            };
            world.handoff.resolve(&Viewer::Operator, task_id, decided).await.expect("the decision is taken");
        }
        answer
    };
    let (answer, _successor) = futures::join!(asked, replaced);
    let answer = match answer {
        Ok(answer) => Some(answer),
        Err(CallError::Refused(error)) => {
            assert!(["refuse", "unable"].contains(&arm), "{name}: {error}");
            None
        }
        Err(error) => panic!("{name}: {error}"),
    };
    let bought = match &answer {
        Some(answer) if answer.status == "submitted" => {
            let task = eventually(&name, || async {
                let task = world.task(&answer.task_id).await?;
                task.status.parse::<TaskStatus>().is_ok_and(TaskStatus::is_terminal).then_some(task)
            })
            .await;
            task.status == "completed"
        }
        answered => answered.is_some(),
    };
    let left = proposal(&world, &proposal_id).await;
    let expected = if bought { ProposalState::Consumed } else { ProposalState::Committed };
    assert_eq!(left.state, expected, "{name}");
    if let (true, Some(answer)) = (bought, &answer) {
        assert_eq!(left.media_buy_id, Some(format!("mb_{}", answer.task_id)), "{name}");
        assert_eq!(left.held_by.as_ref(), Some(&answer.task_id), "{name}");
    }
    // One token, however often it was called: a seller's booking that is keyed by it exists once.
    let tokens: BTreeSet<String> = world.calls.tasks("decide").into_iter().collect();
    assert_eq!(tokens.len(), 1, "{name}: {tokens:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_anywhere_leaves_no_proposal_half_consumed() {
    let runs = std::env::var(RUNS).ok().map_or(RUNS_UNLESS_TOLD, |number| number.parse().expect("a number"));
    stream::iter(0..runs).map(live).buffer_unordered(AT_ONCE).collect::<()>().await;
}
