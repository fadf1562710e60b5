//! Nonces of signed requests.

use crate::{database::Database, support::*};
use futures::future::join_all;
use handoff_store::{NonceUse, UsedNonce};
use std::sync::Arc;

const NOW: i64 = 1_776_520_800;

fn used(nonce: &str) -> UsedNonce {
    UsedNonce { keyid: "key-1".into(), nonce: nonce.into(), until: NOW + 360, now: NOW, at_most: 1_000 }
}

pub(crate) async fn a_nonce_counts_once_for_its_key_and_time(database: Arc<Database>) {
    let registries = [registry(&database).await, registry(&database).await];
    let first = used("a");
    assert_eq!(registries[0].use_nonce(&first).await.unwrap(), NonceUse::First);
    for registry in &registries {
        assert_eq!(registry.use_nonce(&first).await.unwrap(), NonceUse::Again);
        assert_eq!(registry.use_nonce(&UsedNonce { at_most: 0, ..first.clone() }).await.unwrap(), NonceUse::Again);
    }
    let of_another_key = UsedNonce { keyid: "key-2".into(), ..first.clone() };
    assert_eq!(registries[1].use_nonce(&of_another_key).await.unwrap(), NonceUse::First);
    assert_eq!(registries[1].use_nonce(&used("A")).await.unwrap(), NonceUse::First, "the case counts");
    let later = UsedNonce { now: NOW + 360, until: NOW + 700, ..first.clone() };
    assert_eq!(registries[1].use_nonce(&later).await.unwrap(), NonceUse::First, "its time was over");
    assert_eq!(registries[0].use_nonce(&later).await.unwrap(), NonceUse::Again);
    assert!(registries[0].use_nonce(&used("\0")).await.is_err());
}

pub(crate) async fn of_one_nonce_at_once_one_is_the_first(database: Arc<Database>) {
    let registries = [registry(&database).await, registry(&database).await, registry(&database).await];
    for round in 0..5 {
        let nonce = used(&format!("nonce {round}"));
        let outcomes = join_all((0..9).map(|number| registries[number % 3].use_nonce(&nonce))).await;
        let firsts = outcomes.iter().filter(|outcome| *outcome.as_ref().unwrap() == NonceUse::First).count();
        assert_eq!(firsts, 1, "{outcomes:?}");
    }
}

pub(crate) async fn a_key_has_so_many_nonces_at_once(database: Arc<Database>) {
    let registries = [registry(&database).await, registry(&database).await, registry(&database).await];
    let nonce = |number: usize| UsedNonce { at_most: 10, ..used(&format!("nonce {number}")) };
    let nonces: Vec<UsedNonce> = (0..30).map(nonce).collect();
    let outcomes = join_all(nonces.iter().enumerate().map(|(at, nonce)| registries[at % 3].use_nonce(nonce))).await;
    let count = |wanted| outcomes.iter().filter(|outcome| *outcome.as_ref().unwrap() == wanted).count();
    assert_eq!((count(NonceUse::First), count(NonceUse::TooMany)), (10, 20), "{outcomes:?}");
    // What was too much was not remembered, and what is alive is not forgotten.
    let registry = &registries[0];
    registry.prune_nonces(NOW).await.unwrap();
    for (nonce, outcome) in nonces.iter().zip(&outcomes) {
        let again = registry.use_nonce(nonce).await.unwrap();
        let expected = if *outcome.as_ref().unwrap() == NonceUse::First { NonceUse::Again } else { NonceUse::TooMany };
        assert_eq!(again, expected, "{nonce:?}");
    }
    let other = UsedNonce { keyid: "key-2".into(), ..nonce(0) };
    assert_eq!(registry.use_nonce(&other).await.unwrap(), NonceUse::First);
    // Once their time is over there is room, whether they were forgotten or not.
    let later = UsedNonce { now: NOW + 371, until: NOW + 731, ..nonce(100) };
    assert_eq!(registry.use_nonce(&later).await.unwrap(), NonceUse::First);
    registry.prune_nonces(NOW + 371).await.unwrap();
    assert_eq!(registry.use_nonce(&later).await.unwrap(), NonceUse::Again);
}
