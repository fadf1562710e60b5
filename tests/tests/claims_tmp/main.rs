//! Temporary: the modules of claims, decisions and completion alone.

#[path = "../it/claims.rs"]
mod claims;
#[path = "../it/completion.rs"]
mod completion;
#[path = "../it/decisions.rs"]
mod decisions;
#[path = "../it/lists.rs"]
mod lists;
#[path = "../it/workers_down.rs"]
mod workers_down;

/// Defines each test on both databases: `arms::sqlite::name` and `arms::postgres::name`.
macro_rules! on_both_databases {
    ($($(#[$attribute:meta])* async fn $name:ident($world:ident: World) $body:block)+) => {
        $(
            $(#[$attribute])*
            async fn $name($world: handoff_tests::World) $body
        )+
        mod sqlite {
            $(
                #[tokio::test(flavor = "multi_thread")]
                async fn $name() {
                    super::$name(handoff_tests::World::new(handoff_tests::Kind::Sqlite).await.expect("a world")).await;
                }
            )+
        }
        mod postgres {
            $(
                #[tokio::test(flavor = "multi_thread")]
                async fn $name() {
                    super::$name(handoff_tests::World::new(handoff_tests::Kind::Postgres).await.expect("a world")).await;
                }
            )+
        }
    };
}
pub(crate) use on_both_databases;
