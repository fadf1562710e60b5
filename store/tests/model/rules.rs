//! The registry rules of DESIGN.md, each of which can be switched off.

macro_rules! rules {
    ($($(#[$doc:meta])* $name:ident,)+) => {
        /// Which rules hold.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) struct Rules {
            $($(#[$doc])* pub(crate) $name: bool,)+
        }

        impl Rules {
            pub(crate) const NAMES: &[&str] = &[$(stringify!($name)),+];

            /// All of them.
            pub(crate) fn all() -> Self {
                Self { $($name: true,)+ }
            }

            /// All but these.
            pub(crate) fn without(names: &[&str]) -> Self {
                assert!(names.iter().all(|name| Self::NAMES.contains(name)), "unknown rule in {names:?}");
                Self { $($name: !names.contains(&stringify!($name)),)+ }
            }
        }
    };
}

rules! {
    /// `decide` looks, checks and reserves in one transaction.
    begin_at_once,
    /// `reconcile` closes the journal of a lost run, and its claim answers "outcome unknown".
    void,
    /// A task for the workflow arm is invisible, and its claim in flight, until it was accepted.
    pending,
    /// `settle` closes an open journal, and a decision is not recorded for a task that ended.
    settle_closes_journal,
    /// Purge takes only what ended and has no open run, and leaves a tombstone for the key.
    purge_ended_only,
    /// `reconcile` writes only if the row is as it was observed.
    reconcile_if_unchanged,
    /// `reconcile` redelivers the webhook of an ended task that has no run.
    redeliver,
    /// A recorded answer never changes.
    answer_once,
    /// `decide` changes nothing if the claim is not its own.
    own_claim_only,
    /// Nobody releases another's claim.
    release_own_claim_only,
    /// `accept` writes nothing if the journal holds a refusal or a completion, or the claim is gone.
    accept_reads_journal,
    /// Only the workflow discards a task, on the result that Temporal accepted.
    discard_in_workflow,
    /// A cancel before acceptance waits for the recorded decision.
    cancel_waits,
    /// A claim whose run never started is left alone by `reconcile`.
    leave_unstarted,
}
