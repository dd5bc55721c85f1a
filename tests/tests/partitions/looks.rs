//! What a look at the log reads, and that what it finds is flushed.

use std::time::Duration;

use rustok_events::{Relay, RelayConfig, TransactionalEventBus};
use sea_orm::{ConnectionTrait, TransactionTrait};
use uuid::Uuid;

use super::{Counted, Log};

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
