//! The partitions of the log on PostgreSQL: made ahead, dropped whole, and never while an event in them may still be
//! on its way.

mod looks;

use std::time::Duration;

use rustok_events::{
    Relay, RelayConfig, TransactionalEventBus,
    outbox::{CleanedUp, rebase},
    prelude::*,
    testing::MemoryTransport,
    transport::TopicName,
};
use rustok_events_tests::{Backend, TestDatabase};
use sea_orm::{ConnectionTrait, DatabaseConnection, IsolationLevel, TransactionTrait};
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, DomainEvent)]
#[domain_event(stream = "test", topic = "counts", partition_key = key, partitions = 4)]
struct Counted {
    key: String,
    number: u32,
}

/// The end of the partition that the migration makes.
const FIRST_END: i64 = 1_000_001;

struct Log {
    database: TestDatabase,
    transport: MemoryTransport,
}

impl Log {
    /// A new log; `None` without PostgreSQL.
    async fn create(test: &str) -> Option<Self> {
        if !Backend::Postgres.is_available(test) {
            return None;
        }
        let database = Backend::Postgres.create().await;
        Some(Self { database, transport: MemoryTransport::new() })
    }

    fn db(&self) -> &DatabaseConnection {
        &self.database.db
    }

    fn relay(&self) -> Relay {
        let config =
            RelayConfig::default().min_partition(100).replay_window(Duration::from_hours(1));
        Relay::new(self.db().clone(), self.transport.clone(), config)
    }

    async fn publish(&self, numbers: std::ops::Range<u32>) {
        let bus = TransactionalEventBus::new();
        for number in numbers {
            let txn = self.db().begin().await.unwrap();
            let event = Counted { key: format!("key-{}", number % 10), number };
            bus.publish_in_tx(&txn, Uuid::from_u128(1), None, event).await.unwrap();
            txn.commit().await.unwrap();
        }
    }

    async fn drain(&self) -> u64 {
        let relay = self.relay();
        let drained = tokio::time::timeout(Duration::from_secs(20), relay.drain()).await;
        drained.expect("an event is passed over").unwrap().published
    }

    async fn clean_up(&self) -> CleanedUp {
        self.relay().clean_up().await.unwrap()
    }

    /// Relays and cleans up until the first partition is gone. Any open transaction in the cluster puts it off, and
    /// until a cursor moves again the one that was open when it moved last.
    async fn first_goes(&self) {
        for _ in 0..600 {
            if self.clean_up().await.partitions > 0 {
                break;
            }
            self.drain().await;
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        assert!(!self.has_first().await);
    }

    /// Ids count on from here.
    async fn skip_to(&self, id: i64) {
        let set = format!("SELECT setval('rustok_outbox_id', {id}, false)");
        self.db().execute_unprepared(&set).await.unwrap();
    }

    /// As if everything so far had happened two hours earlier.
    async fn age(&self) {
        for set in [
            "UPDATE rustok_outbox SET created_at = created_at - 7200000000",
            "UPDATE rustok_outbox_range SET filled_at = filled_at - 7200000000",
        ] {
            self.db().execute_unprepared(set).await.unwrap();
        }
    }

    async fn count(&self, of: &str) -> i64 {
        self.database.count(&format!("SELECT COUNT(*) FROM {of}")).await
    }

    async fn has_first(&self) -> bool {
        self.count(
            "pg_tables WHERE schemaname = current_schema() AND tablename = 'rustok_outbox_1'",
        )
        .await
            == 1
    }

    /// The numbers at the broker, key by key in their order.
    fn published(&self) -> Vec<u32> {
        let messages = self.transport.messages(&TopicName::new("test", "counts"));
        let mut numbers: Vec<u32> = messages
            .into_iter()
            .flat_map(|partition| {
                let numbers = partition.into_iter().map(|message| {
                    serde_json::from_slice::<Counted>(&message.payload).unwrap().number
                });
                let numbers: Vec<u32> = numbers.collect();
                for key in 0..10 {
                    let of_key = numbers.iter().filter(|number| *number % 10 == key);
                    assert!(of_key.is_sorted(), "{numbers:?}");
                }
                numbers
            })
            .collect();
        numbers.sort_unstable();
        numbers
    }
}

#[tokio::test]
async fn a_partition_is_made_ahead_and_dropped_once_its_events_are_published_and_old() {
    let Some(log) = Log::create("partitions").await else { return };
    log.publish(0..20).await;
    assert_eq!(log.clean_up().await, CleanedUp::default());
    assert_eq!(log.count("rustok_outbox_range").await, 2, "one ahead");
    log.skip_to(FIRST_END - 5).await;
    log.publish(20..50).await;
    assert_eq!(log.count("rustok_outbox_rest").await, 0);
    log.clean_up().await;
    log.age().await;
    assert_eq!(log.clean_up().await, CleanedUp::default(), "nothing of it is published");
    assert!(log.has_first().await);
    assert_eq!(log.drain().await, 50);
    log.publish(50..60).await;
    log.first_goes().await;
    assert_eq!(log.count("rustok_outbox WHERE id < 1000001").await, 0);
    assert_eq!(log.count("rustok_outbox_cursor WHERE floor = 1000001").await, 64);
    log.drain().await;
    assert_eq!(log.published(), (0..60).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_partition_stays_while_a_transaction_may_still_write_into_it() {
    let Some(log) = Log::create("partitions").await else { return };
    log.publish(0..20).await;
    log.clean_up().await;
    // One event is written and not committed; one has its id and is not written.
    let bus = TransactionalEventBus::new();
    let slow = log.db().begin().await.unwrap();
    let event = Counted { key: "key-0".to_owned(), number: 20 };
    bus.publish_in_tx(&slow, Uuid::from_u128(1), None, event).await.unwrap();
    let slower = log.database.connect_with(1).await;
    let slower = slower.begin().await.unwrap();
    let take = "SELECT pg_current_xact_id(), nextval('rustok_outbox_id')";
    slower.execute_unprepared(take).await.unwrap();
    let taken = log.database.count("SELECT last_value FROM rustok_outbox_id").await;
    log.skip_to(FIRST_END + 5).await;
    log.publish(22..30).await;
    assert_eq!(log.drain().await, 28);
    for _ in 0..2 {
        log.clean_up().await;
        log.age().await;
    }
    assert_eq!(log.clean_up().await.partitions, 0);
    slow.commit().await.unwrap();
    assert_eq!(log.drain().await, 1);
    assert_eq!(log.clean_up().await.partitions, 0);
    let write = format!(
        "INSERT INTO rustok_outbox (id, part, event_id, name, version, stream, topic, partitions, partition_key,
                                    tenant_id, correlation_id, occurred_at, content_type, headers, payload)
         SELECT {taken}, part, gen_random_uuid(), name, version, stream, topic, partitions, partition_key,
                tenant_id, correlation_id, occurred_at, content_type, headers, '{{\"key\":\"key-1\",\"number\":31}}'
           FROM rustok_outbox WHERE partition_key = 'key-1'::bytea ORDER BY id LIMIT 1"
    );
    slower.execute_unprepared(&write).await.unwrap();
    slower.commit().await.unwrap();
    assert_eq!(log.clean_up().await.partitions, 0);
    assert_eq!(log.drain().await, 1);
    log.first_goes().await;
    let expected: Vec<u32> = (0..21).chain(22..30).chain([31]).collect();
    assert_eq!(log.published(), expected);
}

#[tokio::test]
async fn a_partition_is_dropped_while_a_snapshot_is_held_unless_it_has_read_the_log() {
    let Some(log) = Log::create("partitions").await else { return };
    log.publish(0..20).await;
    log.clean_up().await;
    log.skip_to(FIRST_END).await;
    log.publish(20..30).await;
    assert_eq!(log.drain().await, 30);
    let isolation = Some(IsolationLevel::RepeatableRead);
    let idle = log.db().begin_with_config(isolation, None).await.unwrap();
    idle.execute_unprepared("SELECT COUNT(*) FROM ledger").await.unwrap();
    let reader = log.db().begin_with_config(isolation, None).await.unwrap();
    reader.execute_unprepared("SELECT COUNT(*) FROM rustok_outbox").await.unwrap();
    log.clean_up().await;
    log.age().await;
    assert_eq!(log.clean_up().await.partitions, 0, "somebody reads it");
    let naive = tokio::spawn({
        let db = log.db().clone();
        async move {
            let txn = db.begin().await.unwrap();
            txn.execute_unprepared("SET LOCAL lock_timeout = '2s'").await.unwrap();
            txn.execute_unprepared("DROP TABLE rustok_outbox_1").await
        }
    });
    tokio::time::sleep(Duration::from_millis(300)).await;
    let publishing = tokio::time::timeout(Duration::from_secs(1), log.publish(98..99)).await;
    assert!(publishing.is_err(), "writers wait behind a clean-up that waits");
    naive.await.unwrap().unwrap_err();
    // Nobody waits behind the attempt.
    log.publish(30..40).await;
    assert_eq!(log.drain().await, 10);
    reader.rollback().await.unwrap();
    log.first_goes().await;
    log.publish(40..50).await;
    assert_eq!(log.drain().await, 10);
    idle.rollback().await.unwrap();
    assert_eq!(log.published(), (0..50).collect::<Vec<_>>());
}

/// Whoever holds some cursors and waits for another is in a deadlock with a lane that moves several.
#[tokio::test]
async fn a_clean_up_waits_for_no_cursor_that_a_lane_moves() {
    let Some(log) = Log::create("partitions").await else { return };
    log.publish(0..20).await;
    log.clean_up().await;
    log.skip_to(FIRST_END).await;
    log.publish(20..30).await;
    log.drain().await;
    // The first partition is seen to be full while a transaction is open: no cursor is behind it yet.
    let open = log.db().begin().await.unwrap();
    open.execute_unprepared("SELECT pg_current_xact_id()").await.unwrap();
    log.clean_up().await;
    assert_eq!(log.count("rustok_outbox_cursor WHERE floor = 1000001").await, 0);
    open.rollback().await.unwrap();
    let moved = "rustok_outbox_cursor WHERE part = (SELECT part FROM rustok_outbox ORDER BY id DESC LIMIT 1)
                    AND pg_snapshot_xmin(snapshot) > (SELECT MAX(filled_xid) FROM rustok_outbox_range)";
    let mut next = 30;
    while log.count(moved).await == 0 {
        assert!(next < 100, "the cursor stays behind");
        log.publish(next..next + 1).await;
        next += 1;
        log.drain().await;
    }
    let lane = log.db().begin().await.unwrap();
    lane.execute_unprepared(&format!("SELECT part FROM {moved} FOR UPDATE")).await.unwrap();
    for _ in 0..100 {
        let cleaned = tokio::time::timeout(Duration::from_secs(5), log.clean_up()).await;
        cleaned.expect("it waits for the lane");
        if log.count("rustok_outbox_cursor WHERE floor = 1000001").await == 63 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(log.count("rustok_outbox_cursor WHERE floor = 1000001").await, 63);
    lane.rollback().await.unwrap();
    log.clean_up().await;
    assert_eq!(log.count("rustok_outbox_cursor WHERE floor = 1000001").await, 64);
}

/// As a server does whose `lc_messages` is German.
#[tokio::test]
async fn a_lock_that_is_not_to_be_had_is_known_in_any_language() {
    let Some(log) = Log::create("partitions").await else { return };
    log.publish(0..10).await;
    let trigger = "CREATE FUNCTION is_locked() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                       RAISE 'storniere Anfrage wegen Zeitüberschreitung einer Sperre' USING ERRCODE = '55P03'; END $$;
                   CREATE TRIGGER is_locked BEFORE INSERT ON rustok_outbox_range EXECUTE FUNCTION is_locked()";
    log.db().execute_unprepared(trigger).await.unwrap();
    assert_eq!(log.clean_up().await, CleanedUp::default(), "it is put off");
    assert_eq!(log.count("rustok_outbox_range").await, 1);
    let drop = "DROP TRIGGER is_locked ON rustok_outbox_range";
    log.db().execute_unprepared(drop).await.unwrap();
    log.clean_up().await;
    assert_eq!(log.count("rustok_outbox_range").await, 2);
}

#[tokio::test]
async fn events_for_which_no_partition_was_made_are_published_all_the_same() {
    let Some(log) = Log::create("partitions").await else { return };
    log.publish(0..10).await;
    log.skip_to(FIRST_END + 1000).await;
    log.publish(10..30).await;
    assert_eq!(log.count("rustok_outbox_rest").await, 20);
    log.clean_up().await;
    log.publish(30..40).await;
    assert_eq!(log.drain().await, 40);
    // The next begins well ahead of the ids that are on their way.
    let next = "SELECT MAX(from_id) FROM rustok_outbox_range";
    let next = log.database.count(next).await;
    assert!(next > FIRST_END + 1000 + 30, "{next}");
    log.skip_to(next - 3).await;
    log.publish(40..50).await;
    assert_eq!(log.count("rustok_outbox_rest").await, 33);
    log.clean_up().await;
    assert_eq!(log.drain().await, 10);
    log.publish(50..60).await;
    assert_eq!(log.drain().await, 10);
    assert_eq!(log.published(), (0..60).collect::<Vec<_>>());
    // What lies in the default partition goes by the row.
    log.age().await;
    log.first_goes().await;
    assert!(log.count("rustok_outbox_rest").await < 33);
}

/// A running relay looks into one partition alone while all that is new lies there.
#[tokio::test(flavor = "multi_thread")]
async fn a_running_relay_goes_on_from_one_partition_to_the_next() {
    let Some(log) = Log::create("partitions").await else { return };
    log.clean_up().await;
    let stop = CancellationToken::new();
    let running = tokio::spawn(log.relay().run(stop.clone()));
    let arrived = async |count: usize| {
        let all = async {
            while log.published().len() < count {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), all).await.expect("an event is passed over");
    };
    log.publish(0..20).await;
    arrived(20).await;
    let slow = log.db().begin().await.unwrap();
    let event = Counted { key: "key-9".to_owned(), number: 39 };
    let bus = TransactionalEventBus::new();
    bus.publish_in_tx(&slow, Uuid::from_u128(1), None, event).await.unwrap();
    log.skip_to(FIRST_END - 5).await;
    log.publish(20..39).await;
    arrived(39).await;
    slow.commit().await.unwrap();
    arrived(40).await;
    // The cursors forget the first, and only the second is looked into.
    for _ in 0..100 {
        log.clean_up().await;
        if log.count("rustok_outbox_cursor WHERE floor = 1000001").await == 64 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    log.publish(40..60).await;
    arrived(60).await;
    let ends = "SELECT MAX(upto_id) FROM rustok_outbox_range";
    log.skip_to(log.database.count(ends).await - 5).await;
    log.publish(60..80).await;
    assert!(log.count("rustok_outbox_rest").await > 0);
    arrived(80).await;
    stop.cancel();
    running.await.unwrap().unwrap();
    assert_eq!(log.published(), (0..80).collect::<Vec<_>>());
}

#[tokio::test]
async fn what_was_brought_without_its_sequence_is_relayed_once_it_is_rebased() {
    for brought in [1, 10] {
        let Some(log) = Log::create("partitions").await else { return };
        log.publish(0..brought).await;
        log.skip_to(1).await;
        rebase(log.db()).await.unwrap();
        log.publish(brought..20).await;
        assert_eq!(log.count("(SELECT DISTINCT id FROM rustok_outbox) i").await, 20);
        assert_eq!(log.drain().await, 20);
        assert_eq!(log.published(), (0..20).collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn two_relays_that_keep_one_log_make_one_partition() {
    let Some(log) = Log::create("partitions").await else { return };
    log.publish(0..10).await;
    let clean_ups = (0..4).map(|_| async {
        // Whoever comes second may be told so, and tries again at its next look.
        let _ = log.relay().clean_up().await;
    });
    futures::future::join_all(clean_ups).await;
    assert_eq!(log.count("rustok_outbox_range").await, 2);
}
