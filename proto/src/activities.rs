//! The activities that workflows call: name, input, output. Implemented in the crate `activities`,
//! housekeeping in `worker`.

use crate::v1;
use temporalio_common_wasm::ActivityDefinition;

macro_rules! activity {
    ($(#[$doc:meta])* $type:ident, $name:literal, $input:ty => $output:ty) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default)]
        pub struct $type;

        impl $type {
            /// The activity type's name.
            pub const NAME: &'static str = $name;
        }

        impl ActivityDefinition for $type {
            type Input = $input;
            type Output = $output;

            fn name(&self) -> &str {
                Self::NAME
            }
        }
    };
}

activity!(
    /// Looks in the journal, says whether the request may be asynchronous, and calls a verb handler that is declared quick.
    Begin, "begin", v1::TaskInput => v1::BeginOutput
);
activity!(
    /// Calls the verb handler, unless the journal has its decision, and records what it decided.
    Decide, "decide", v1::DecideInput => v1::Standing
);
activity!(
    /// Makes the task visible and answers the claim `submitted`, unless the journal or the claim says otherwise.
    Accept, "accept", v1::TaskInput => v1::Standing
);
activity!(
    /// Runs a task handler.
    RunTask, "run_task", v1::RunTaskInput => v1::Completion
);
activity!(
    /// Calls an enqueue handler.
    Enqueue, "enqueue", v1::EnqueueInput => v1::Acknowledgement
);
activity!(
    /// Records a task's end and returns the recorded one, which may be another.
    Settle, "settle", v1::SettleInput => v1::SettleOutput
);
activity!(
    /// Takes back a task that was not submitted, or fails it if it was.
    Discard, "discard", v1::DiscardInput => v1::DiscardOutput
);
activity!(
    /// Writes signals that could not be used into the task's history.
    RecordDroppedSignals, "record_dropped_signals", v1::RecordDroppedSignalsInput => ()
);
activity!(
    /// Hands a condition to the handlers registered for it.
    Notify, "notify", v1::NotifyInput => ()
);
activity!(
    /// Sends what is owed to a webhook; fails until it has arrived, or nothing more is to be tried.
    DeliverWebhook, "deliver_webhook", v1::WebhookInput => v1::WebhookEnd
);
activity!(
    /// Records that a webhook did not arrive in time, if it did not.
    ExpireWebhook, "expire_webhook", v1::WebhookInput => v1::WebhookEnd
);
activity!(
    /// Makes a webhook pending again.
    RenewWebhook, "renew_webhook", v1::WebhookInput => v1::WebhookEnd
);
activity!(
    /// Ends unfinished requests whose run is gone.
    ReconcileRequests, "reconcile_requests", v1::HousekeepingPage => v1::HousekeepingPageResult
);
activity!(
    /// Starts a redelivery of each pending webhook whose run is gone.
    RedeliverWebhooks, "redeliver_webhooks", v1::HousekeepingPage => v1::HousekeepingPageResult
);
activity!(
    /// Purges ended requests, of which tombstones are left.
    PurgeRequests, "purge_requests", v1::HousekeepingPage => v1::HousekeepingPageResult
);
activity!(
    /// Deletes tombstones.
    ForgetTombstones, "forget_tombstones", v1::HousekeepingPage => v1::HousekeepingPageResult
);
activity!(
    /// Deletes proposals that nobody will buy, and releases reservations whose task is gone.
    SweepProposals, "sweep_proposals", v1::HousekeepingPage => v1::HousekeepingPageResult
);
