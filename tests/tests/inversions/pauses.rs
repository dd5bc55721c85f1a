//! Relays that sleep past their lease, and wake.

use std::{future::Future, time::Duration};

use rustok_events::{
    Clock, Relay, RelayConfig,
    testing::{Fault, Faults, MemoryTransport},
};
use rustok_events_tests::{Backend, TestDatabase, eventually, on_every_database};
use sea_orm::{ConnectionTrait, TransactionTrait};
use tokio_util::sync::CancellationToken;

use crate::{arrived, publish_alone};

const LEASE: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_secs(20);

/// Relays that run on a clock moved by hand.
struct Relays {
    database: TestDatabase,
    transport: MemoryTransport,
    clock: Clock,
}

struct Running {
    token: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

impl Running {
    async fn stop(self) {
        self.token.cancel();
        self.task.await.expect("the relay does not panic");
    }

    /// Ended where it stands, as by `kill -9`.
    async fn kill(self) {
        self.task.abort();
        let _ = self.task.await;
    }
}

impl Relays {
    fn new(database: TestDatabase) -> Self {
        Self { database, transport: MemoryTransport::new(), clock: Clock::manual() }
    }

    fn start(&self, owner: &str, faults: Faults) -> Running {
        let faults = faults.clock(self.clock.clone()).pause(PAUSE);
        let mut config = RelayConfig::default()
            .lease(LEASE)
            .page_size(2)
            .clock(self.clock.clone())
            .faults(faults);
        owner.clone_into(&mut config.owner);
        let relay = Relay::new(self.database.db.clone(), self.transport.clone(), config);
        let token = CancellationToken::new();
        let run = relay.run(token.clone());
        let task = tokio::spawn(async move { run.await.expect("the relay stops well") });
        Running { token, task }
    }

    async fn publish(&self, numbers: std::ops::RangeInclusive<u32>) {
        for number in numbers {
            publish_alone(&self.database.db, "a", number).await;
        }
    }

    /// Moves the clock step by step until a condition holds.
    async fn until<F: Future<Output = bool>>(&self, what: &str, mut condition: impl FnMut() -> F) {
        for _ in 0..4000 {
            if condition().await {
                return;
            }
            self.clock.advance(Duration::from_millis(100));
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("never: {what}; arrived: {:?}", arrived(&self.transport));
    }

    async fn until_arrived(&self, last: u32) {
        self.until(&format!("{last} arrives"), || async {
            arrived(&self.transport).contains(&last)
        })
        .await;
    }

    async fn until_met(&self, faults: &Faults) {
        self.until("the relay sleeps", || async { !faults.met().is_empty() }).await;
    }

    fn assert_in_order(&self, last: u32) {
        assert_eq!(arrived(&self.transport), (1..=last).collect::<Vec<_>>());
    }
}

/// A relay sleeps at a point, another takes over, the first wakes; with or without events in the meantime.
async fn sleeps_past_its_lease(database: TestDatabase, point: &str, meanwhile: bool) {
    let relays = Relays::new(database);
    relays.publish(1..=5).await;
    let faults = Faults::none().inject(point, 1, Fault::Pause);
    let sleeper = relays.start("sleeper", faults.clone());
    relays.until_met(&faults).await;
    let successor = relays.start("successor", Faults::none());
    relays.until_arrived(5).await;
    let last = if meanwhile { 8 } else { 5 };
    relays.publish(6..=last).await;
    relays.until_arrived(last).await;
    let woken = relays.clock.now() + PAUSE + LEASE;
    relays.until("the sleeper wakes", || async { relays.clock.now() > woken }).await;
    relays.publish(last + 1..=last + 4).await;
    relays.until_arrived(last + 4).await;
    relays.assert_in_order(last + 4);
    sleeper.stop().await;
    successor.stop().await;
}

on_every_database! {
async fn a_relay_that_sleeps_past_its_lease_between_reading_and_publishing(database) {
    sleeps_past_its_lease(database, "relay.read.after", true).await;
}
}

on_every_database! {
async fn a_relay_that_sleeps_past_its_lease_between_publishing_and_advancing(database) {
    sleeps_past_its_lease(database, "relay.advance.before", true).await;
}
}

on_every_database! {
async fn a_relay_that_sleeps_in_the_middle_of_a_window_that_another_finishes(database) {
    sleeps_past_its_lease(database, "relay.advance.before", false).await;
}
}

on_every_database! {
async fn a_zombie_that_wakes_after_two_take_overs(database) {
    let relays = Relays::new(database);
    relays.publish(1..=3).await;
    let faults = Faults::none().inject("relay.advance.before", 1, Fault::Pause);
    let zombie = relays.start("zombie", faults.clone());
    relays.until_met(&faults).await;
    let second = relays.start("second", Faults::none());
    relays.until_arrived(3).await;
    relays.publish(4..=5).await;
    relays.until_arrived(5).await;
    second.kill().await;
    relays.publish(6..=7).await;
    let third = relays.start("third", Faults::none());
    relays.until_arrived(7).await;
    let woken = relays.clock.now() + PAUSE + LEASE;
    relays.until("the zombie wakes", || async { relays.clock.now() > woken }).await;
    relays.publish(8..=10).await;
    relays.until_arrived(10).await;
    relays.assert_in_order(10);
    zombie.stop().await;
    third.stop().await;
}
}

/// A look on MySQL is two statements: which parts have something pending, and what. Between the two, another relay takes
/// over and parks the first event.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_relay_that_sleeps_past_its_lease_in_the_middle_of_a_look_on_mysql() {
    const TEST: &str = "a_relay_that_sleeps_past_its_lease_in_the_middle_of_a_look_on_mysql";
    if !Backend::MySql.is_available(TEST) {
        return;
    }
    let relays = Relays::new(Backend::MySql.create().await);
    let database = &relays.database;
    let run = async |sql: &str| database.db.execute_unprepared(sql).await.unwrap();
    relays.publish(1..=2).await;
    run("CREATE TABLE kept SELECT part, id FROM rustok_outbox_pending").await;
    run("DELETE FROM rustok_outbox_pending").await;
    let sleeper = relays.start("sleeper", Faults::none());
    let free = "SELECT COUNT(*) FROM rustok_outbox_cursor WHERE owner IS NULL";
    eventually(|| async { database.count(free).await == 0 }).await;
    // The second statement reads the log, and waits for it.
    let lock = database.connect_with(1).await;
    lock.execute_unprepared("LOCK TABLES rustok_outbox WRITE").await.unwrap();
    run("INSERT INTO rustok_outbox_pending SELECT part, id FROM kept").await;
    let looks = "SELECT COUNT(*) FROM information_schema.processlist
                  WHERE db = DATABASE() AND state LIKE 'Waiting for table%' AND info LIKE '%JOIN rustok_outbox o%'";
    eventually(|| async { database.count(looks).await == 1 }).await;
    let successor = database.db.begin().await.unwrap();
    for step in [
        "UPDATE rustok_outbox_cursor SET owner = 'successor', epoch = epoch + 1",
        "DELETE FROM rustok_outbox_pending ORDER BY id LIMIT 1",
    ] {
        successor.execute_unprepared(step).await.unwrap();
    }
    successor.commit().await.unwrap();
    lock.execute_unprepared("UNLOCK TABLES").await.unwrap();
    // Finishes what it looks at.
    sleeper.stop().await;
    assert_eq!(arrived(&relays.transport), [0_u32; 0], "the first event is not yet published");
}
