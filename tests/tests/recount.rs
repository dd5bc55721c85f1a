//! A topic that is deleted and made anew with another partition count while relays and consumers run: refused by name.

use std::time::Duration;

use iggy::prelude::*;
use rustok_events::{
    ConsumerConfig, ConsumerError, ConsumerRuntime, Relay, RelayConfig, RelayError, TransportError,
    iggy::{
        IggyConfig, IggyMode, IggyTransport,
        embedded::{BrokerConfig, EmbeddedBroker},
    },
    prelude::*,
};
use rustok_events_tests::{Backend, MeddledTransport, eventually};
use sea_orm::{DatabaseConnection, TransactionTrait};
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

const RECOUNT: Duration = Duration::from_millis(100);
const PATIENCE: Duration = Duration::from_secs(20);

/// Declares no count: it has the transport's, 8.
#[derive(Debug, Clone, Serialize, Deserialize, DomainEvent)]
#[domain_event(stream = "test", topic = "recounted", partition_key = key)]
struct Recounted {
    key: u32,
}

#[event_handler(group = "readers")]
async fn read<S>(_ctx: &mut HandlerContext<'_, S>, _event: Recounted) -> HandlerResult {
    Ok(())
}

async fn start() -> (EmbeddedBroker, IggyTransport, IggyClient) {
    let broker = EmbeddedBroker::start(BrokerConfig::in_memory()).await.unwrap();
    let address = broker.address().to_string();
    let mut config = IggyConfig { mode: IggyMode::Remote, ..IggyConfig::default() };
    config.remote.addresses = vec![address.clone()];
    let transport = IggyTransport::new(config).await.unwrap();
    let client =
        IggyClient::from_connection_string(&format!("iggy://iggy:iggy@{address}")).unwrap();
    client.connect().await.unwrap();
    (broker, transport, client)
}

async fn messages(client: &IggyClient) -> u64 {
    let (stream, topic) =
        (Identifier::named("test").unwrap(), Identifier::named("recounted").unwrap());
    let topic = client.get_topic(&stream, &topic).await.ok().flatten();
    topic.map_or(0, |topic| topic.messages_count)
}

async fn delete(client: &IggyClient) {
    let (stream, topic) =
        (Identifier::named("test").unwrap(), Identifier::named("recounted").unwrap());
    client.delete_topic(&stream, &topic).await.unwrap();
}

/// Deletes the topic and makes it anew.
async fn make_anew(client: &IggyClient, partitions: u32) {
    delete(client).await;
    let stream = Identifier::named("test").unwrap();
    let (never, unlimited) = (IggyExpiry::NeverExpire, MaxTopicSize::Unlimited);
    let none = CompressionAlgorithm::None;
    client
        .create_topic(&stream, "recounted", partitions, none, None, never, unlimited)
        .await
        .unwrap();
}

async fn publish(db: &DatabaseConnection, key: u32) {
    let txn = db.begin().await.unwrap();
    let bus = TransactionalEventBus::new();
    bus.publish_in_tx(&txn, Uuid::from_u128(1), None, Recounted { key }).await.unwrap();
    bus.commit(txn).await.unwrap();
}

fn assert_mismatch(error: &TransportError) {
    assert!(
        matches!(error, TransportError::PartitionMismatch { declared: 8, found: 3, .. }),
        "{error}"
    );
    let text = error.to_string();
    assert!(text.contains("test/recounted") && text.contains("publish to a new topic"), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_relay_refuses_a_topic_that_was_made_anew_with_another_count() {
    let (_broker, transport, client) = start().await;
    let database = Backend::Sqlite.create().await;
    let mut config = RelayConfig::default();
    config.recount = RECOUNT;
    let relay = Relay::new(database.db.clone(), transport, config);
    let running = tokio::spawn(relay.run(CancellationToken::new()));
    publish(&database.db, 1).await;
    eventually(|| async { messages(&client).await == 1 }).await;
    make_anew(&client, 3).await;
    tokio::time::sleep(RECOUNT * 2).await;
    publish(&database.db, 2).await;
    let ended = tokio::time::timeout(PATIENCE, running).await.expect("the relay ends").unwrap();
    let Err(RelayError::Transport(error)) = ended else { panic!("{ended:?}") };
    assert_mismatch(&error);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_relay_goes_on_where_a_topic_was_made_anew_with_the_same_count() {
    let (_broker, transport, client) = start().await;
    let database = Backend::Sqlite.create().await;
    let mut config = RelayConfig::default();
    config.recount = RECOUNT;
    let relay = Relay::new(database.db.clone(), transport, config);
    publish(&database.db, 1).await;
    relay.drain().await.unwrap();
    make_anew(&client, 8).await;
    tokio::time::sleep(RECOUNT * 2).await;
    publish(&database.db, 2).await;
    assert_eq!(relay.drain().await.unwrap().published, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_relay_makes_a_topic_that_was_deleted_anew_without_waiting_for_its_next_look() {
    let (_broker, transport, client) = start().await;
    let database = Backend::Sqlite.create().await;
    let relay = Relay::new(database.db.clone(), transport, RelayConfig::default());
    let running = tokio::spawn(relay.run(CancellationToken::new()));
    for key in 1..3 {
        publish(&database.db, key).await;
        eventually(|| async { messages(&client).await == 1 }).await;
        delete(&client).await;
    }
    assert!(!running.is_finished(), "the topic is made anew");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn consumers_refuse_a_topic_whose_count_changes() {
    let database = Backend::Sqlite.create().await;
    let transport = MeddledTransport::default();
    transport.set_count(8);
    let mut config = ConsumerConfig::default();
    config.recount = RECOUNT;
    let consumers = ConsumerRuntime::builder(database.db.clone(), transport.clone());
    let consumers = consumers.config(config).handler(read).build().unwrap();
    let running = tokio::spawn(consumers.run(CancellationToken::new()));
    tokio::time::sleep(RECOUNT * 5).await;
    assert!(!running.is_finished(), "the same count again is no trouble");
    transport.set_count(3);
    let ended = tokio::time::timeout(PATIENCE, running).await.expect("they end").unwrap();
    let Err(ConsumerError::Transport(error)) = ended else { panic!("{ended:?}") };
    assert_mismatch(&error);
}
