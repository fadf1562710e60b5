//! Traces of the model, replayed against the real registry.

mod database;
mod drive;
mod expected;
mod walks;

use crate::{
    invariants,
    model::{Model, Variant},
    rules::Rules,
    scenarios::{self, Scenario},
    state::{Key, State},
    step::Step,
};
use database::Database;
use drive::Replay;
use std::{fmt::Write, sync::LazyLock};
use walks::Walks;

/// Random walks beside those that the coverage asks for.
const RANDOM_WALKS: u64 = 150;

static WALKS: LazyLock<Walks> = LazyLock::new(|| walks::choose(RANDOM_WALKS));

#[tokio::test]
async fn sqlite_follows_the_model() {
    let database = Database::sqlite().await;
    database.with(replay_all).await;
}

#[tokio::test]
async fn postgres_follows_the_model() {
    let database = Database::postgres().await;
    database.with(replay_all).await;
}

fn model_of(scenario: Scenario) -> Model {
    Model { variant: Variant::Registry, rules: Rules::all(), scenario }
}

async fn replay_all(database: Database) {
    println!("{} walks, {} situations", WALKS.chosen.len(), WALKS.situations);
    for (number, walk) in WALKS.chosen.iter().enumerate() {
        if let Err(problem) = replay(&database, number, &walk.model, &walk.steps).await {
            panic!("walk {number} ({}): {problem}", walk.origin);
        }
    }
}

/// Does to the registry what the walk does to the model, and compares them after every step.
async fn replay(database: &Database, number: usize, model: &Model, steps: &[Step]) -> Result<(), String> {
    let mut real = Replay::new(database, number);
    real.offer().await?;
    let mut state = model.initial();
    let mut trace = String::new();
    for &step in steps {
        let _ = writeln!(trace, "    {step}");
        let after = follow(model, &state, step);
        let applied = async {
            real.apply(&state, step, &after).await?;
            real.compare(&after).await
        };
        applied.await.map_err(|problem| format!("{problem}\n  after\n{trace}  in the model {after:#?}"))?;
        state = after;
    }
    // Whatever a worker did about a request that is over, it may do again, as late as it likes.
    let over = |key: Key| invariants::is_over(state.of(key));
    for &step in steps.iter().filter(|step| matches!(step, Step::Execution { key, .. } if over(*key))) {
        let repeated = async {
            real.repeat(step).await?;
            real.compare(&state).await
        };
        repeated.await.map_err(|problem| format!("{problem}\n  by repeating\n    {step}\n  after\n{trace}"))?;
    }
    Ok(())
}

/// The model's state after a step.
fn follow(model: &Model, state: &State, step: Step) -> State {
    let found = model.successors(state).into_iter().find(|(other, _)| *other == step);
    found.map(|(_, after)| after).unwrap_or_else(|| panic!("the model has no step: {step}"))
}

/// All scenarios as they are replayed.
fn models() -> Vec<Model> {
    scenarios::all().into_iter().map(model_of).collect()
}
