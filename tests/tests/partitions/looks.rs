//! What a look at the log reads, and that what it finds is flushed.

use std::{ops::Range, time::Duration};

use rustok_events::{Relay, RelayConfig, TransactionalEventBus, transport::OutgoingMessage};
use rustok_events_tests::MeddledTransport;
use sea_orm::{ConnectionTrait, DatabaseTransaction, TransactionTrait};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{Counted, Log};

/// Publishes events of one key in a transaction.
async fn publish_one_key(txn: &DatabaseTransaction, numbers: Range<u32>) {
    let events = numbers.map(|number| Counted { key: "key-0".to_owned(), number });
    let bus = TransactionalEventBus::new();
    bus.publish_all_in_tx(txn, Uuid::from_u128(1), None, events).await.unwrap();
}

/// Waits until so many events are published, at most for a while; whether they were.
async fn arrive(count: usize, published: impl Fn() -> usize) -> bool {
    let all = async {
        while published() < count {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), all).await.is_ok()
}

impl Log {
    /// [`drain`](Self::drain) over connections that are closed then, which makes known what they read.
    async fn drain_apart(&self) -> u64 {
        self.drain_apart_with(RelayConfig::default()).await
    }

    async fn drain_apart_with(&self, config: RelayConfig) -> u64 {
        let db = self.database.connect().await;
        let relay = Relay::new(db.clone(), self.transport.clone(), config);
        let published = relay.drain().await.unwrap().published;
        db.close().await.unwrap();
        published
    }

    /// Runs a relay over connections that are closed then, until so many events are published in all.
    async fn run_apart_until(&self, published: usize, config: RelayConfig) {
        let db = self.database.connect().await;
        let relay = Relay::new(db.clone(), self.transport.clone(), config);
        let stop = CancellationToken::new();
        let running = tokio::spawn(relay.run(stop.clone()));
        let arrived = arrive(published, || self.published().len()).await;
        stop.cancel();
        running.await.unwrap().unwrap();
        db.close().await.unwrap();
        assert!(arrived, "an event is passed over");
    }

    /// How many rows of the log were read so far, out of an index or not, by connections that are closed.
    async fn rows_read(&self) -> i64 {
        // They end a moment after they are closed.
        tokio::time::sleep(Duration::from_millis(500)).await;
        let read = "SELECT SUM(read)::bigint FROM (
                        SELECT relid, idx_tup_read AS read FROM pg_stat_user_indexes
                        UNION ALL SELECT relid, seq_tup_read FROM pg_stat_user_tables) r
                     WHERE relid IN (SELECT inhrelid FROM pg_inherits WHERE inhparent = 'rustok_outbox'::regclass)";
        self.database.count(read).await
    }
}

/// A cursor's snapshot that saw open transactions is looked behind by their ids, not by reading all that is retained.
#[tokio::test(flavor = "multi_thread")]
async fn a_look_does_not_read_what_is_retained() {
    const RETAINED: u32 = 2000;
    const LOOKS: u32 = 10;
    let Some(log) = Log::create("retained rows").await else { return };
    // Once with statistics of a table that was all but empty, and once with none.
    for statistics in [false, true] {
        let from = u32::from(statistics) * 10_000;
        if statistics {
            log.db().execute_unprepared("TRUNCATE rustok_outbox").await.unwrap();
            log.publish(from..from + 3).await;
            log.db().execute_unprepared("VACUUM ANALYZE rustok_outbox").await.unwrap();
        }
        log.publish(from + 10..from + 10 + RETAINED).await;
        log.drain_apart().await;
        let open = log.db().begin().await.unwrap();
        let event = Counted { key: "open".to_owned(), number: 0 };
        let bus = TransactionalEventBus::new();
        bus.publish_in_tx(&open, Uuid::from_u128(1), None, event).await.unwrap();
        // From here on the cursors that move remember the open transaction.
        log.publish(from + 5000..from + 5010).await;
        log.drain_apart().await;
        let before = log.rows_read().await;
        for look in 0..LOOKS {
            log.publish(from + 6000 + look * 10..from + 6010 + look * 10).await;
            assert_eq!(log.drain_apart().await, 10);
        }
        let after = log.rows_read().await;
        let most = i64::from(RETAINED);
        let read = after - before;
        assert!(read < most, "{read} rows for {LOOKS} looks; statistics: {statistics}");
        // Windows of many pages.
        log.publish(from + 7000..from + 7100).await;
        let before = log.rows_read().await;
        assert_eq!(log.drain_apart_with(RelayConfig::default().page_size(8)).await, 100);
        let read = log.rows_read().await - before;
        assert!(
            read < 2 * most,
            "{read} rows for a page after the other; statistics: {statistics}"
        );
        open.rollback().await.unwrap();
    }
}

/// Each page of a long window is found without a look through all of it.
#[tokio::test(flavor = "multi_thread")]
async fn the_pages_of_a_long_window_are_not_each_looked_for_in_all_of_it() {
    const EVENTS: u32 = 2000;
    const PAGE: u64 = 32;
    let Some(log) = Log::create("a long window").await else { return };
    // Of a transaction that is open while the window begins, so that its ids are among theirs.
    let open = log.db().begin().await.unwrap();
    publish_one_key(&open, 21..41).await;
    log.publish(20..21).await;
    assert_eq!(log.drain().await, 1);
    for first in (100..100 + EVENTS).step_by(20) {
        let txn = log.db().begin().await.unwrap();
        publish_one_key(&txn, first..first + 20).await;
        txn.commit().await.unwrap();
    }
    open.commit().await.unwrap();
    let before = log.rows_read().await;
    let all = usize::try_from(EVENTS).unwrap() + 21;
    log.run_apart_until(all, RelayConfig::default().page_size(PAGE)).await;
    let read = log.rows_read().await - before;
    // Half a page is of one part, and each would read the whole window.
    let each = i64::from(EVENTS) * i64::from(EVENTS) / (i64::try_from(PAGE).unwrap() / 2);
    assert!(read < each / 3, "{read} rows; if each page read all of the window: {each}");
}

/// Where the pages of a window lie holds for that window alone: the broker is away, so the cursor stays, and by the next
/// look the window has grown by a slow transaction's events, whose ids are lower.
#[tokio::test(flavor = "multi_thread")]
async fn a_window_that_grew_is_looked_through_again() {
    let Some(log) = Log::create("a window that grew").await else { return };
    let slow = log.db().begin().await.unwrap();
    publish_one_key(&slow, 0..3).await;
    let txn = log.db().begin().await.unwrap();
    publish_one_key(&txn, 3..40).await;
    txn.commit().await.unwrap();
    let transport = MeddledTransport::default();
    transport.set_away(true);
    let relay =
        Relay::new(log.db().clone(), transport.clone(), RelayConfig::default().page_size(8));
    let stop = CancellationToken::new();
    let running = tokio::spawn(relay.run(stop.clone()));
    // It looks again and again, from the third time on by where the pages lie.
    assert!(arrive(5, || transport.missed() as usize).await, "it does not look again");
    slow.commit().await.unwrap();
    transport.set_away(false);
    let arrived = arrive(40, || transport.taken().len()).await;
    stop.cancel();
    running.await.unwrap().unwrap();
    let number = |message: &OutgoingMessage| {
        serde_json::from_slice::<Counted>(&message.payload).unwrap().number
    };
    let published: Vec<u32> = transport.taken().iter().map(number).collect();
    assert!(arrived, "an event is passed over: {published:?}");
    assert_eq!(published, (0..40).collect::<Vec<_>>());
}

/// With `synchronous_commit = off` a transaction is seen before it is flushed: a server that crashes forgets it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_goes_out_is_flushed_although_its_commit_was_not() {
    let Some(log) = Log::create("what_goes_out_is_flushed").await else { return };
    let db = log.database.connect_set(&[("synchronous_commit", "off")]).await;
    let bus = TransactionalEventBus::new();
    let place = async |which: &str| {
        log.database.count(&format!("SELECT (pg_current_wal_{which}_lsn() - '0/0')::bigint")).await
    };
    // While an older transaction is open, what was published already is looked at again.
    let mut open = None;
    for number in 0..30 {
        if number == 15 {
            let older = log.db().begin().await.unwrap();
            older.execute_unprepared("SELECT pg_current_xact_id()").await.unwrap();
            open = Some(older);
        }
        let txn = db.begin().await.unwrap();
        let event = Counted { key: "key".to_owned(), number };
        bus.publish_in_tx(&txn, Uuid::from_u128(1), None, event).await.unwrap();
        txn.commit().await.unwrap();
        let relay = Relay::new(db.clone(), log.transport.clone(), RelayConfig::default());
        // The place of the event in the log of writes, kept without a commit that would flush it.
        let written = place("insert").await;
        assert_eq!(relay.drain().await.unwrap().published, 1);
        assert!(place("flush").await >= written, "event {number} was not flushed");
    }
    open.unwrap().rollback().await.unwrap();
}
