//! Buyers' clients: each makes one call with the one key, and may vanish between its claim and its start.

use super::Next;
use crate::{
    model::Model,
    state::{Activity, Claim, Client, Key, Run, State},
    step::Step,
};

pub(crate) fn successors(model: &Model, state: &State, next: &mut Next) {
    for (index, client) in state.clients.iter().enumerate() {
        match *client {
            Client::Idle => next.extend(claim(model, state, index)),
            Client::Holds(key) => next.extend(start(state, index, key)),
            Client::Done => {}
        }
    }
}

fn become_client(state: &State, index: usize, client: Client) -> State {
    let mut after = state.clone();
    after.clients[index] = client;
    after
}

fn claim(model: &Model, state: &State, index: usize) -> Option<(Step, State)> {
    let client = index as u8;
    let key_is_expired = state.expired && (model.rules.purge_ended_only || state.claim.is_some());
    if key_is_expired && model.follows_registry() {
        return Some((Step::Expired { client }, become_client(state, index, Client::Done)));
    }
    match state.claim {
        None if key_is_expired || usize::from(state.keys_claimed) == Key::ALL.len() => None,
        None => {
            let key = Key(state.keys_claimed);
            let mut after = become_client(state, index, Client::Holds(key));
            after.claim = Some(Claim { key, answer: None });
            after.keys_claimed += 1;
            Some((Step::Claim { client, key }, after))
        }
        Some(Claim { key, answer: Some(told) }) => {
            let mut after = become_client(state, index, Client::Done);
            after.tell(key, told);
            Some((Step::Replay { client, key, told }, after))
        }
        Some(Claim { key, answer: None }) => {
            Some((Step::Attach { client, key }, become_client(state, index, Client::Holds(key))))
        }
    }
}

fn start(state: &State, index: usize, key: Key) -> Option<(Step, State)> {
    let client = index as u8;
    let mut after = become_client(state, index, Client::Done);
    if state.of(key).run == Run::NotStarted {
        after.of_mut(key).run = Run::Deciding;
        after.start(key, Activity::DecideBegin);
        return Some((Step::StartRun { client, key }, after));
    }
    // The first client stands for one that is never heard of again.
    (index > 0).then_some((Step::JoinRun { client, key }, after))
}
