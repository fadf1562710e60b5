//! Integration tests: real Temporal, real databases, real crashes. One binary, because linking is what takes long.

mod arms;
mod at_rest;
mod attempts;
mod budget;
mod claims;
mod command_line;
mod completion;
mod crashes;
mod decisions;
mod demo;
mod dev;
mod direct;
mod doctor;
mod encryption;
mod endings;
mod gateway;
mod histories;
mod hooks;
mod housekeeping;
mod keyless;
mod limits;
mod lists;
mod messages;
mod migration;
mod parked;
mod production;
mod proposals;
mod readme;
mod reviews;
mod sandbox;
mod sandbox_kills;
mod sandbox_reset;
mod shutdown;
mod signals;
mod sync_deadline;
mod telemetry;
mod timers;
mod upgrade;
mod webhooks;
mod wiring;
mod workers_down;
mod write_only;

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
