//! What a pool goes on through: outboxes that cannot be relayed, a broker that is away, its own end in the middle.

use std::time::{Duration, Instant};

use rustok_events::{
    outbox::{OutboxTrouble, outbox_health, parked_events, retry_parked},
    relay::RelayPool,
    testing::MemoryTransport,
};
use rustok_events_tests::{Backend, MeddledTransport, eventually};
use sea_orm::{ConnectOptions, ConnectionTrait};

use crate::{Outboxes, config, firsts, options, publish, publish_many, published, start};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn outboxes_that_cannot_be_relayed_hold_up_none_of_the_others() {
    let outboxes = Outboxes::create(Backend::Sqlite, 4).await;
    let empty = Backend::Sqlite.create_empty().await;
    let transport = MemoryTransport::new();
    let pool = RelayPool::new(transport.clone(), config().max_connections(2));
    // Connections to these are taken and never answered.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap();
    for place in 0..3 {
        let mut away = ConnectOptions::new(format!("postgres://nobody@{address}/none"));
        away.connect_timeout(Duration::from_secs(2));
        pool.add(format!("away {place}"), away);
    }
    pool.add("empty", options(&empty));
    outboxes.add_to(&pool);
    let (running, stop) = start(&pool);
    // The first round finds out who is away; from then on it costs the others nothing.
    tokio::time::sleep(Duration::from_secs(5)).await;
    for number in 0..10 {
        let since = Instant::now();
        outboxes.publish(number).await;
        let all = || published(&transport).values().map(Vec::len).sum::<usize>();
        eventually(|| async { all() >= 4 * (number as usize + 1) }).await;
        assert!(since.elapsed() < Duration::from_secs(1), "{:?}", since.elapsed());
    }
    let status = pool.status();
    let trouble = |name: &str| status.iter().find(|outbox| outbox.name == name).unwrap().trouble;
    assert_eq!(trouble("away 0"), Some("database"));
    assert_eq!(trouble("empty"), Some("tables_missing"), "{status:?}");
    assert_eq!(trouble("outbox 0"), None);
    stop.cancel();
    running.await.unwrap();
}

/// A second `run` after one that was dropped in the middle: no outbox stays taken.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pool_that_was_dropped_while_it_ran_runs_again() {
    let outboxes = Outboxes::create(Backend::Sqlite, 3).await;
    let transport = MemoryTransport::new();
    let mut config = config().max_connections(1);
    config.relay.lease = Duration::from_secs(1);
    let pool = RelayPool::new(transport.clone(), config);
    outboxes.add_to(&pool);
    for number in 0..10 {
        let (running, _stop) = start(&pool);
        outboxes.publish(number).await;
        running.abort();
        let _ = running.await;
    }
    let (running, stop) = start(&pool);
    eventually(|| async {
        let published = published(&transport);
        published.len() == 3 && published.values().all(|numbers| numbers.last() == Some(&9))
    })
    .await;
    stop.cancel();
    running.await.unwrap();
    // What a visit had published when it was dropped is published again: each first in its order.
    for (key, numbers) in published(&transport) {
        assert_eq!(firsts(&numbers), (0..10).collect::<Vec<_>>(), "{key}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_broker_is_away_outboxes_say_so_and_they_go_on_when_it_is_back() {
    let outboxes = Outboxes::create(Backend::Sqlite, 5).await;
    let transport = MeddledTransport::default();
    transport.set_away(true);
    let mut config = config();
    config.relay.max_backoff = Duration::from_millis(300);
    let pool = RelayPool::new(transport.clone(), config);
    outboxes.add_to(&pool);
    outboxes.publish(0).await;
    let (running, stop) = start(&pool);
    let all_say = || pool.status().iter().all(|outbox| outbox.trouble == Some("broker_away"));
    eventually(|| async { all_say() }).await;
    // As if it had been so for long: an outbox's own health names the cause too.
    let db = &outboxes.databases[0].db;
    let age = "UPDATE rustok_outbox SET created_at = created_at - 3600000000";
    db.execute_unprepared(age).await.unwrap();
    eventually(|| async {
        let causes = outbox_health(db).await.causes;
        matches!(&causes[..], [OutboxTrouble::RelayStuck { code, .. }] if code == "broker_away")
    })
    .await;
    transport.set_away(false);
    eventually(|| async { published(&transport.broker).len() == 5 }).await;
    stop.cancel();
    running.await.unwrap();
    assert!(published(&transport.broker).values().all(|numbers| numbers[..] == [0]));
}

/// Each visit has a lane of its own: what one learns of how much the broker takes is for the next one too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_than_the_broker_takes_at_once_goes_out_in_smaller_pages() {
    for backend in Backend::available("more_than_the_broker_takes_at_once_goes_out") {
        let outboxes = Outboxes::create(backend, 1).await;
        let transport = MeddledTransport::default();
        transport.set_most(100);
        let mut config = config();
        config.relay.max_backoff = Duration::from_millis(300);
        let pool = RelayPool::new(transport.clone(), config);
        outboxes.add_to(&pool);
        publish_many(&outboxes.databases[0], 0, 0..400).await;
        let (running, stop) = start(&pool);
        let last = || published(&transport.broker).get("key-0").and_then(|all| all.last().copied());
        eventually(|| async { last() == Some(399) }).await;
        stop.cancel();
        running.await.unwrap();
        let published = &published(&transport.broker)["key-0"];
        assert_eq!(firsts(published), (0..400).collect::<Vec<_>>(), "{backend:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_with_more_parked_events_than_the_broker_takes_at_once_goes_on_and_holds_up_no_other()
{
    let outboxes = Outboxes::create(Backend::Sqlite, 1).await;
    let database = &outboxes.databases[0];
    let transport = MeddledTransport::default();
    transport.refuse(["\"number\":0}".to_owned()]);
    let mut config = config();
    config.relay.max_backoff = Duration::from_millis(300);
    // Each visit ends behind its first page.
    config.turn = Duration::ZERO;
    let pool = RelayPool::new(transport.clone(), config);
    outboxes.add_to(&pool);
    publish_many(database, 0, 0..400).await;
    let (running, stop) = start(&pool);
    eventually(|| async { parked_events(&database.db).await.unwrap().len() == 400 }).await;
    transport.refuse([]);
    transport.set_most(100);
    let first = parked_events(&database.db).await.unwrap()[0].id;
    assert!(retry_parked(&database.db, first).await.unwrap());
    publish(database, 1, 0).await;
    let published = || published(&transport.broker);
    eventually(|| async { published().contains_key("key-1") }).await;
    eventually(|| async { parked_events(&database.db).await.unwrap().is_empty() }).await;
    stop.cancel();
    running.await.unwrap();
    assert_eq!(firsts(&published()["key-0"]), (0..400).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_turn_may_be_as_long_as_can_be_said() {
    let outboxes = Outboxes::create(Backend::Sqlite, 1).await;
    let transport = MemoryTransport::new();
    let mut config = config();
    config.turn = Duration::MAX;
    let pool = RelayPool::new(transport.clone(), config);
    outboxes.add_to(&pool);
    outboxes.publish(0).await;
    let (running, stop) = start(&pool);
    eventually(|| async { published(&transport).len() == 1 }).await;
    stop.cancel();
    running.await.unwrap();
}
