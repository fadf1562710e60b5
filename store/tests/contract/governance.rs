//! Which governance agent an account has.

use crate::{
    database::Database,
    support::{registry, registry_with_keys},
};
use handoff_store::{GovernanceBinding, RegistryError};
use std::sync::Arc;

const SECRET: &str = "governance-credentials-of-thirty-two-or-more";

fn binding(scope: &str, url: &str) -> GovernanceBinding {
    GovernanceBinding {
        scope: scope.into(),
        principal: "agent_1".into(),
        url: url.into(),
        credentials: format!("{SECRET} of {url}"),
        sandbox: false,
    }
}

pub(crate) async fn the_last_agent_that_was_named_is_the_accounts(database: Arc<Database>) {
    let registry = registry_with_keys(&database, &["k"]).await;
    assert_eq!(registry.governance("acct_1").await.unwrap(), None);
    let (first, second) = (binding("acct_1", "https://one.example/mcp"), binding("acct_1", "https://two.example/mcp"));
    for named in [&first, &first, &second] {
        registry.bind_governance(named).await.unwrap();
        assert_eq!(registry.governance("acct_1").await.unwrap().as_ref(), Some(named));
    }
    let other =
        GovernanceBinding { principal: "agent_2".into(), credentials: "rotated".into(), sandbox: true, ..second };
    registry.bind_governance(&other).await.unwrap();
    registry.close().await;
    let registry = registry_with_keys(&database, &["k"]).await;
    assert_eq!(registry.governance("acct_1").await.unwrap(), Some(other));
    registry.close().await;
}

pub(crate) async fn those_of_sandboxes_can_be_cleared(database: Arc<Database>) {
    let registry = registry_with_keys(&database, &["k"]).await;
    let named = [("acct_1", true), ("acct_2", false), ("acct_3", true), ("acct_4", true)]
        .map(|(scope, sandbox)| GovernanceBinding { sandbox, ..binding(scope, "https://a.example/mcp") });
    for named in &named {
        registry.bind_governance(named).await.unwrap();
    }
    // What is a sandbox's is told by whoever named it last.
    registry.bind_governance(&GovernanceBinding { sandbox: false, ..named[3].clone() }).await.unwrap();
    for (scope, dry_run, cleared) in
        [(Some("acct_2"), false, 0), (None, true, 2), (Some("acct_1"), false, 1), (None, false, 1), (None, false, 0)]
    {
        assert_eq!(registry.clear_governance(scope, dry_run).await.unwrap(), cleared, "{scope:?} {dry_run}");
    }
    for (scope, stays) in [("acct_1", false), ("acct_2", true), ("acct_3", false), ("acct_4", true)] {
        assert_eq!(registry.governance(scope).await.unwrap().is_some(), stays, "{scope}");
    }
    registry.close().await;
}

pub(crate) async fn accounts_have_their_own_agents(database: Arc<Database>) {
    let registry = registry_with_keys(&database, &["k"]).await;
    let named: Vec<_> = (1..=9).map(|n| binding(&format!("acct_{n}"), &format!("https://{n}.example/mcp"))).collect();
    let binding = named.iter().map(|named| registry.bind_governance(named));
    futures::future::try_join_all(binding).await.unwrap();
    for named in &named {
        assert_eq!(registry.governance(&named.scope).await.unwrap().as_ref(), Some(named));
    }
    for nobody in ["acct", "ACCT_1", "acct_10", "", "acct_1\0"] {
        assert_eq!(registry.governance(nobody).await.unwrap(), None, "{nobody:?}");
    }
    registry.close().await;
}

pub(crate) async fn without_keys_no_credentials_are_kept(database: Arc<Database>) {
    let open = registry_with_keys(&database, &[]).await;
    let refused = open.bind_governance(&binding("acct_1", "https://one.example/mcp")).await;
    assert!(matches!(refused, Err(RegistryError::NoKeys)), "{refused:?}");
    assert_eq!(open.governance("acct_1").await.unwrap(), None);
    open.close().await;
}

pub(crate) async fn credentials_are_sealed_and_resealed(database: Arc<Database>) {
    let named = binding("acct_1", "https://one.example/mcp");
    assert!(!format!("{named:?}").contains(SECRET));
    let old = registry_with_keys(&database, &["old"]).await;
    old.bind_governance(&named).await.unwrap();
    old.close().await;
    let both = registry_with_keys(&database, &["new", "old"]).await;
    for (dry_run, key) in [(true, "old"), (false, "old"), (true, "new")] {
        let resealed = both.reseal(None, 10, dry_run).await.unwrap();
        assert_eq!(resealed.values, [(Some(key.to_owned()), 1)].into(), "{dry_run}");
        assert_eq!((resealed.next, resealed.unreadable), (None, 0));
    }
    both.close().await;
    let new = registry_with_keys(&database, &["new"]).await;
    assert_eq!(new.governance("acct_1").await.unwrap(), Some(named));
    // They open for no other account, and for no other URL.
    for (moved, back) in [
        ("UPDATE governance_agents SET scope = 'acct_2'", "UPDATE governance_agents SET scope = 'acct_1'"),
        (
            "UPDATE governance_agents SET url = 'https://thief.example'",
            "UPDATE governance_agents SET url = 'https://one.example/mcp'",
        ),
    ] {
        database.execute(moved).await;
        let found = [new.governance("acct_1").await, new.governance("acct_2").await];
        assert_eq!(found.iter().filter(|found| found.is_err()).count(), 1, "{moved}");
        assert!(found.iter().all(|found| !matches!(found, Ok(Some(_)))), "{moved}");
        assert!(!format!("{found:?}").contains(SECRET));
        database.execute(back).await;
    }
    new.close().await;
    let lost = registry_with_keys(&database, &["other"]).await;
    assert!(lost.governance("acct_1").await.is_err());
    assert_eq!(lost.reseal(None, 10, false).await.unwrap().unreadable, 1);
    // Whoever names it again needs no old key.
    let again = binding("acct_1", "https://one.example/mcp");
    lost.bind_governance(&again).await.unwrap();
    assert_eq!(lost.governance("acct_1").await.unwrap(), Some(again));
    lost.close().await;
}

pub(crate) async fn what_no_database_can_store_of_an_agent_is_refused(database: Arc<Database>) {
    let sealed = registry_with_keys(&database, &["k"]).await;
    let good = binding("acct_1", "https://one.example/mcp");
    for bad in [
        GovernanceBinding { scope: String::new(), ..good.clone() },
        GovernanceBinding { scope: "x".repeat(5_000), ..good.clone() },
        GovernanceBinding { url: format!("https://{}.example", "x".repeat(5_000)), ..good.clone() },
        GovernanceBinding { url: "https://a\0.example".into(), ..good.clone() },
        GovernanceBinding { principal: "a\0".into(), ..good.clone() },
        GovernanceBinding { credentials: String::new(), ..good.clone() },
        GovernanceBinding { credentials: "a\0".into(), ..good.clone() },
    ] {
        assert!(sealed.bind_governance(&bad).await.is_err(), "{bad:?}");
    }
    sealed.close().await;
    let usual = registry(&database).await;
    assert_eq!(usual.governance("acct_1").await.unwrap(), None);
    usual.close().await;
}
