//! The Iggy transport: every case against the embedded broker, and against a real server where
//! `TEST_IGGY_ADDRESS` names one (user `iggy`, password `iggy`). Unset is a visible skip, unreachable a failure.

mod broker;
mod configuration;
mod connecting;
mod connector;
mod consuming;
mod embedding;
mod health;
mod proxy;
mod publishing;
mod rebuild;
mod replay;
mod road;
mod stream;
mod tls;
mod traps;

use broker::Broker;

/// Makes each case a test against the embedded broker and one against a real server.
macro_rules! cases {
    ($($module:ident: $($name:ident),+;)+) => {
        mod embedded {
            $($(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $name() {
                    super::$module::$name(super::Broker::embedded().await).await;
                }
            )+)+
        }

        mod server {
            $($(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $name() {
                    if let Some(broker) = super::Broker::server().await {
                        super::$module::$name(broker.clone()).await;
                        broker.clean_up().await;
                    }
                }
            )+)+
        }
    };
}

cases! {
    publishing:
        topics_are_provisioned_once_by_many_at_once,
        another_partition_count_is_refused_by_name,
        messages_keep_their_order_their_headers_and_their_bytes,
        large_batches_are_cut_and_keep_their_order,
        a_message_that_the_broker_refuses_is_named,
        a_topic_that_is_missing_is_named;
    consuming:
        what_was_not_acknowledged_comes_again,
        a_group_goes_on_after_what_it_acknowledged,
        a_dropped_next_loses_nothing,
        a_group_that_starts_at_the_end_sees_only_what_comes_then,
        two_members_split_the_partitions,
        a_partition_that_went_to_another_member_is_lost_ownership,
        groups_do_not_disturb_each_other,
        a_publish_wakes_a_consumer_of_the_same_process,
        messages_of_another_client_are_seen_soon,
        a_transport_that_was_shut_down_keeps_no_other_from_watching,
        a_topic_that_is_made_anew_is_read_from_its_beginning;
    connecting:
        a_wrong_password_is_named_and_not_shown,
        a_personal_access_token_lets_in;
    stream:
        a_group_receives_envelopes_and_acknowledges_each,
        a_subscription_reads_every_topic_it_knows;
    replay:
        a_replay_reads_what_is_asked_for_and_disturbs_no_group,
        a_replay_goes_on_where_it_stopped,
        a_group_is_set_back_while_it_has_no_members,
        a_replay_keeps_to_its_rate;
    rebuild:
        a_replay_goes_into_handlers_that_the_inbox_guards_unless_told_otherwise;
    health:
        lag_is_told_apart_from_not_knowing;
    connector:
        bytes_go_in_and_come_out_by_partition;
    road:
        events_are_handled_once_in_order_of_their_keys,
        two_services_share_the_work_and_do_it_once,
        an_independent_client_reads_the_events;
}
