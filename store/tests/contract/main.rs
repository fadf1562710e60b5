//! One suite for both databases: what `handoff_store::Registry` promises, proven on SQLite and on PostgreSQL, without and with
//! a cipher.
//!
//! PostgreSQL is the server at `HANDOFF_TEST_POSTGRES_URL` (a superuser's URL); `make test` starts one. Each test has a
//! database of its own. Tests wait on conditions, never for a time.

mod amendments;
mod boot;
mod claims;
mod database;
mod decisions;
mod direct;
mod endings;
mod filtered;
mod governance;
mod isolation;
mod ledger_model;
mod ledger_support;
mod life;
mod lists;
mod maintenance;
mod nonces;
mod observing;
mod offers;
mod plain_ledger;
mod proposals;
mod purchases;
mod releases;
mod reset;
mod sandbox;
mod sealing;
mod support;
mod sweeping;
mod webhooks;

/// Names every test once, and makes it run on both databases, in clear and sealed.
macro_rules! contract {
    ($($module:ident { $($test:ident),+ $(,)? })+) => {
        contract!(@on sqlite Sqlite false $($($module $test)+)+);
        contract!(@on postgres Postgres false $($($module $test)+)+);
        contract!(@on sqlite_sealed Sqlite true $($($module $test)+)+);
        contract!(@on postgres_sealed Postgres true $($($module $test)+)+);
    };
    (@on $name:ident $kind:ident $sealed:literal $($module:ident $test:ident)+) => {
        mod $name {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
                async fn $test() {
                    crate::database::run(crate::database::Kind::$kind, $sealed, crate::$module::$test).await;
                }
            )+
        }
    };
}

contract! {
    boot {
        boots_at_once_migrate_once,
        every_boot_is_safe_and_keeps_data,
        health_names_database_and_schema,
        newer_schema_is_refused,
        changed_migration_is_refused,
        closed_registry_is_unavailable,
    }
    claims {
        new_key_is_new_and_another_call_attaches,
        same_call_again_is_still_new,
        other_request_conflicts,
        answer_is_replayed_as_written,
        answer_expires,
        released_key_is_free_and_its_row_stays,
        repeated_call_of_a_refused_request_attaches,
        keyless_requests_have_rows_but_no_key,
        concurrent_claims_have_one_winner,
        concurrent_release_and_claim_never_fail,
        task_id_of_another_request_is_refused,
        what_no_database_can_store_is_refused,
        keys_of_scopes_and_principals_are_apart,
    }
    decisions {
        completion_answers_the_claim,
        task_arm_submits_at_once,
        workflow_arm_is_pending_until_accepted,
        refusal_releases_the_claim,
        first_decision_stays,
        decision_without_claim_is_void,
        no_decision_is_refused,
        accept_before_the_decision_submits,
        accept_writes_nothing_after_completion_refusal_or_void,
        promoted_completion_settles,
        promoted_rejection_settles_as_rejected,
        promoted_refusal_fails_the_task,
        promoted_handoffs_leave_the_task,
        concurrent_decisions_have_one_winner,
        recorded_answer_never_changes,
        decisions_come_back_as_recorded,
    }
    direct {
        direct_completion_answers_the_claim,
        direct_refusal_releases_only_under_its_own_lease,
        lapsed_lease_of_a_rerunnable_handler_is_taken_once,
        lapsed_lease_of_another_handler_releases_nothing,
        direct_handoff_is_pending_until_its_run_accepts,
        undecided_request_is_handed_over_by_its_holder_or_past_its_lease,
        reconcile_leaves_direct_answers_that_may_still_come,
        direct_answers_are_purged_too,
    }
    endings {
        first_settle_wins,
        concurrent_settles_have_one_winner,
        every_outcome_has_its_status,
        settle_closes_an_open_journal,
        settle_of_a_pending_task_shows_its_end,
        settle_without_a_task_does_nothing,
        progress_works_and_stragglers_are_dropped,
        the_history_tells_who_reported_progress,
        discard_of_a_pending_task_releases_its_claim,
        discard_of_an_undecided_request_refuses_it,
        discard_of_a_submitted_task_fails_it,
        discard_of_an_ended_task_keeps_its_end,
        bodies_stay_as_written,
        text_no_database_can_store_does_not_block_a_settle,
        history_tells_every_transition_once,
        appended_history_is_written_once,
    }
    isolation {
        no_method_crosses_scope_or_principal,
        viewers_see_what_is_theirs,
        pending_tasks_are_found_but_not_seen,
    }
    life {
        random_lives_keep_their_promises,
    }
    lists {
        all_nine_statuses_are_listed_and_filtered,
        every_filter_holds,
        every_order_in_both_directions,
        equal_values_page_by_task_id,
        pages_are_stable_while_tasks_come,
        cursor_belongs_to_its_query,
        broken_cursors_are_refused,
        sizes_are_checked,
        total_is_bounded,
        reviewers_accounts_are_merged,
        history_comes_with_its_task,
    }
    filtered {
        every_filter_pages_in_every_order,
        a_task_whose_status_changes_between_pages_comes_once,
        a_position_past_every_name_ends_the_list,
    }
    maintenance {
        unfinished_are_found_in_order,
        reconcile_settles_a_submitted_task,
        reconcile_discards_a_pending_task,
        reconcile_voids_a_claim_until_its_ttl,
        reconcile_leaves_what_has_changed,
        purge_leaves_a_tombstone,
        purge_leaves_what_is_not_over,
        purged_requests_stay_closed,
        refused_and_keyless_requests_are_purged_too,
        purgeable_and_tombstones_page_by_age,
        a_forgotten_key_is_free_again,
        a_tombstone_outlives_its_ttl,
    }
    sealing {
        nothing_that_came_or_went_is_readable_with_keys,
        values_that_were_moved_do_not_open,
        what_was_written_in_clear_is_read_and_sealed_anew,
        keys_that_were_stored_in_clear_are_found,
        a_rotated_ring_reads_everything_and_writes_with_its_active_key,
        a_missing_key_is_named_and_changes_nothing,
        what_cannot_be_opened_can_be_purged,
        a_webhook_is_kept_as_long_as_it_may_be_sent,
        a_secret_without_keys_leaves_nothing,
        contexts_are_looked_into_page_by_page,
        looking_into_contexts_is_bounded,
    }
    nonces {
        a_nonce_counts_once_for_its_key_and_time,
        of_one_nonce_at_once_one_is_the_first,
        a_key_has_so_many_nonces_at_once,
    }
    observing {
        an_observer_is_told_each_transition_once,
        an_observer_is_told_how_calls_end,
        open_tasks_are_counted_by_arm_and_state,
    }
    webhooks {
        only_ended_tasks_that_were_submitted_owe_a_webhook,
        a_webhooks_body_is_made_once_and_says_what_a_poll_says,
        attempts_are_logged_and_what_arrived_has_arrived,
        a_renewed_webhook_keeps_its_key_within_its_horizon_alone,
        webhooks_are_listed_page_by_page,
        a_request_is_kept_while_its_webhook_may_be_sent,
        progress_is_told_so_often_and_not_after_the_end,
    }
    releases {
        a_result_is_told_in_its_requests_release_however_it_comes,
        a_completion_is_compared_with_what_was_decided,
        what_has_no_other_words_is_told_as_it_is,
        a_decline_that_a_release_can_not_say_is_refused_in_it,
        a_request_without_a_known_release_is_told_as_its_seller_said,
        what_was_told_stays_until_it_is_purged,
    }
    proposals {
        a_draft_is_overwritten_until_it_is_committed,
        what_is_bought_or_declined_is_never_overwritten,
        a_reservation_is_its_tasks,
        a_hundred_reservations_have_one_winner,
        refusals_are_the_protocols,
        expiry_is_looked_at_when_reserving_and_never_later,
        only_a_committed_proposals_time_can_be_ended,
        only_drafts_and_declined_proposals_are_discarded,
        history_tells_who_when_and_why,
        another_scopes_proposal_is_not_found,
        lists_page_by_scope_principal_and_id,
        what_no_database_can_store_of_a_proposal_is_refused,
    }
    amendments {
        an_account_adopts_a_proposal_of_its_agent_and_brand,
        an_accounts_own_proposal_comes_before_its_brands,
        amendments_are_of_their_buy_and_its_revision,
        a_buy_that_the_ledger_does_not_know_can_be_amended,
        one_change_of_a_buy_at_a_time,
        a_media_buy_is_made_by_one_proposal_of_an_account,
    }
    purchases {
        begin_reserves_before_the_seller_is_called,
        every_end_without_a_purchase_releases,
        a_success_consumes_on_every_arm,
        a_success_that_cannot_be_finalised_fails_and_releases,
        a_purchase_without_its_reservation_fails,
        what_cannot_be_reserved_is_refused,
        a_hundred_buys_have_one_winner,
        late_steps_leave_anothers_reservation,
        the_first_settle_decides_for_the_proposal_too,
        another_scopes_request_reserves_nothing,
        a_purged_request_leaves_its_purchase,
    }
    offers {
        results_are_kept_on_every_path,
        what_did_not_succeed_offers_nothing,
        refining_overwrites_or_mints_and_finalizing_commits,
        declined_proposals_are_declined_for_good,
        any_change_of_a_buy_tells_its_revision,
        what_cannot_be_stored_does_not_hold_a_result_up,
        concurrent_offers_of_one_proposal_all_succeed,
    }
    sweeping {
        a_sweep_takes_what_nobody_will_buy,
        a_sweep_takes_as_many_as_it_may,
        a_reservation_whose_task_is_gone_is_released,
        nothing_of_a_proposal_is_readable_with_keys,
        a_proposal_that_was_moved_does_not_open,
        proposals_are_resealed_after_the_tasks,
    }
    sandbox {
        a_directive_is_used_up_by_the_next_new_request,
        what_a_directive_answers_at_once_is_the_recorded_answer,
        a_known_key_leaves_the_directive,
        the_last_directive_is_the_one,
        directives_of_scopes_principals_and_verbs_are_apart,
        a_forced_task_is_replaced_and_nothing_of_it_is_left,
        a_task_that_changed_after_it_was_seen_is_not_replaced,
        what_another_or_nobody_forced_is_not_replaced,
        concurrent_claims_use_a_directive_up_once,
        directives_are_sealed_and_resealed,
        what_no_database_can_store_of_a_directive_is_refused,
    }
    reset {
        nothing_is_left_of_a_cleared_request,
        late_steps_of_a_cleared_task_change_nothing,
        live_rows_and_other_accounts_stay,
        what_changed_since_it_was_seen_stays,
        pages_go_through_hundreds_while_they_are_cleared,
        two_who_clear_at_once_delete_once,
        what_can_not_be_opened_any_more_is_cleared,
        proposals_of_sandboxes_go_with_their_history,
        a_task_is_cleared_before_the_proposal_that_it_is_buying,
        what_a_live_task_buys_is_no_sandboxs,
        directives_are_cleared,
        what_no_database_can_store_is_not_there_to_be_cleared,
    }
    governance {
        the_last_agent_that_was_named_is_the_accounts,
        accounts_have_their_own_agents,
        those_of_sandboxes_can_be_cleared,
        without_keys_no_credentials_are_kept,
        credentials_are_sealed_and_resealed,
        what_no_database_can_store_of_an_agent_is_refused,
    }
    ledger_model {
        random_operations_follow_a_plain_ledger,
    }
}

#[tokio::test]
async fn urls_are_checked_and_never_repeated() {
    boot::urls_are_checked_and_never_repeated().await;
}
