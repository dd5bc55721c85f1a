//! The public names that users' code stands on, spelt as they spell them. Mostly it is enough that this compiles.

#![allow(missing_docs, reason = "events of a test")]

use std::time::Duration;

use rustok_events::{
    Catalog, Codec, ConsumerRuntime, EventRuntime, EventTransport, OutboxTransaction, Relay,
    RelayConfig, TransactionalEventBus,
    iggy::{
        IggyConfig, IggyMode, IggyTransport,
        connector::{
            ConnectorConfig, ConnectorError, EmbeddedConnector, IggyConnector, MessageSubscriber,
            PublishRequest, RemoteConnector,
        },
    },
    prelude::*,
    testing::{Faults, TestApp},
};
use sea_orm::{ConnectionTrait, DatabaseConnection, TransactionTrait};
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, DomainEvent)]
#[domain_event(stream = "commerce", topic = "orders", partition_key = order_id)]
pub struct OrderPlaced {
    pub order_id: Uuid,
    pub total_cents: i64,
    pub currency: String,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, DomainEvent)]
#[domain_event(stream = "commerce", topic = "search", partition_key = order_id, name = "order.indexed")]
pub struct OrderIndexed {
    pub order_id: Uuid,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, PartitionKey)]
pub struct ShelfId(pub u32);

fn not_empty(event: &Shelved) -> Result<(), String> {
    if event.title.is_empty() { Err("a title is needed".to_owned()) } else { Ok(()) }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, DomainEvent)]
#[domain_event(
    stream = "commerce", topic = "shelves", name = "shelved", version = 1, partitions = 8, validate = not_empty
)]
pub struct Shelved {
    #[domain_event(partition_key)]
    pub shelf: ShelfId,
    pub title: String,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, DomainEvent)]
#[domain_event(
    stream = "commerce", topic = "stock", name = "stock.counted", version = 2, previous = StockCountedV1,
    partition_key = tenant
)]
pub struct StockCounted {
    pub sku: String,
    pub pieces: i64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, DomainEvent)]
#[domain_event(stream = "commerce", topic = "stock", name = "stock.counted", partition_key = tenant)]
pub struct StockCountedV1 {
    pub sku: String,
}

impl From<StockCountedV1> for StockCounted {
    fn from(event: StockCountedV1) -> Self {
        Self { sku: event.sku, pieces: 0 }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Head {
    pub number: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, DomainEvent)]
#[domain_event(stream = "commerce", topic = "invoices", name = "invoice", partition_key = head.number)]
pub struct InvoiceSent {
    pub head: Head,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, DomainEvent)]
#[domain_event(stream = "platform", topic = "jobs", partition_key = none, scope = platform)]
pub struct NightPassed {}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, DomainEvent)]
#[domain_event(stream = "commerce", topic = "baskets", name = "basket")]
pub enum BasketEvent {
    #[domain_event(partition_key = basket_id)]
    Opened { basket_id: Uuid },
    #[domain_event(partition_key = basket_id, name = "basket_left")]
    Left { basket_id: Uuid },
}

#[derive(Debug, Default)]
pub struct App {
    pub name: String,
}

/// Keeps its comment.
#[event_handler(group = "search")]
async fn index_order(ctx: &mut HandlerContext<'_, App>, event: OrderPlaced) -> HandlerResult {
    let sql = format!("INSERT INTO found (cents) VALUES ({})", event.total_cents);
    ctx.tx().execute_unprepared(&sql).await?;
    let _: &App = ctx.state();
    ctx.publish(OrderIndexed { order_id: event.order_id }).await?;
    Ok(())
}

#[event_handler(
    group = "audit",
    name = "note",
    retry(attempts = 5, min = "100ms", max = "30s"),
    on_dead_letter = continue
)]
async fn note_order<S>(
    ctx: &mut HandlerContext<'_, S>,
    event: Envelope<OrderIndexed>,
) -> HandlerResult {
    let meta = ctx.envelope();
    assert_eq!((meta.name(), meta.version(), meta.attempt()), ("order.indexed", 1, 1));
    assert_eq!(meta.causation_id(), Some(meta.correlation_id()));
    let _ = (meta.id(), meta.tenant_id(), meta.actor_id(), meta.occurred_at(), meta.headers());
    let _: Uuid = event.event.order_id;
    Ok(())
}

#[event_handler(group = "counts")]
async fn count_orders(_: &mut HandlerContext<'_, App>, batch: Batch<OrderPlaced>) -> HandlerResult {
    for envelope in batch {
        let _: OrderPlaced = envelope.event;
    }
    Ok(())
}

#[event_handler(group = "mail", inbox = none)]
async fn send_mail(ctx: &mut DetachedContext<'_, App>, event: OrderPlaced) -> HandlerResult {
    if event.currency.is_empty() {
        Err("an order without a currency").terminal()?;
    }
    let _ = (ctx.state(), ctx.envelope());
    Ok(())
}

#[event_handler(group = "baskets")]
async fn follow_basket(_: &mut HandlerContext<'_, App>, event: BasketEvent) -> HandlerResult {
    match event {
        BasketEvent::Opened { .. } | BasketEvent::Left { .. } => Ok(()),
    }
}

fn order(total_cents: i64) -> OrderPlaced {
    OrderPlaced { order_id: Uuid::now_v7(), total_cents, currency: "EUR".to_owned() }
}

/// Writing, as a service does it.
async fn write(db: &DatabaseConnection, tenant: Uuid) -> Result<(), rustok_events::BoxError> {
    let bus = TransactionalEventBus::new();
    let txn = db.begin().await?;
    let id: EventId = bus.publish_in_tx(&txn, tenant, Some(tenant), order(1)).await?;
    let _: Uuid = id.into();
    let ids = bus.publish_all_in_tx(&txn, tenant, None, vec![order(2), order(3)]).await?;
    assert_eq!(ids.len(), 2);
    let given = Uuid::now_v7();
    let built = bus.event(order(4)).tenant(tenant).actor(tenant).id(given).header("shop", "1");
    assert_eq!(built.publish_in_tx(&txn).await?, EventId::from(given));
    let later = std::time::SystemTime::now() + Duration::from_mins(1);
    bus.event(order(5)).tenant(tenant).at(later).publish_in_tx(&txn).await?;
    bus.publish_at(&txn, tenant, None, later, order(6)).await?;
    bus.commit(txn).await?;
    let packed = TransactionalEventBus::new().with_codec(Codec::MessagePack);
    let txn = db.begin().await?;
    packed.publish_in_tx(&txn, Uuid::nil(), None, NightPassed {}).await?;
    txn.commit().await?;
    Ok(())
}

fn takes_a_transaction<C: OutboxTransaction>(_: &C) {}

/// Running, as a service does it.
#[allow(dead_code, reason = "enough that it compiles")]
async fn run(
    db: DatabaseConnection,
    transport: impl EventTransport + Clone,
) -> Result<(), rustok_events::BoxError> {
    let token = CancellationToken::new();
    EventRuntime::builder(db.clone())
        .transport(IggyTransport::new(IggyConfig::default()).await?)
        .state(App::default())
        .handler(index_order)
        .handler(note_order)
        .run_until(tokio::signal::ctrl_c())
        .await?;
    let relay = Relay::new(db.clone(), transport.clone(), RelayConfig::default());
    let report = relay.drain().await?;
    let _ = (report.published, report.parked);
    relay.run(token.clone()).await?;
    let consumers =
        ConsumerRuntime::builder(db.clone(), transport).state(App::default()).handler(index_order);
    consumers.build()?.run(token).await?;
    let txn = db.begin().await?;
    takes_a_transaction(&txn);
    takes_a_transaction(&&txn);
    Ok(())
}

/// The seed's names.
#[allow(dead_code, reason = "enough that it compiles")]
async fn connect(config: &IggyConfig) -> Result<(), rustok_events::BoxError> {
    let transport = IggyTransport::new(config.clone()).await?;
    let _ = (transport.config(), transport.is_connected());
    let _ = transport.subscribe_as_group("search").await?;
    let _ = transport.replay(rustok_events::transport::TopicName::new("commerce", "orders"));
    transport.shutdown().await?;

    let config = ConnectorConfig::from(config);
    let connectors: Vec<Box<dyn IggyConnector>> =
        vec![Box::new(RemoteConnector::new()), Box::new(EmbeddedConnector::new())];
    for connector in connectors {
        connector.connect(&config).await?;
        let _ = connector.is_connected();
        let mut subscriber: Box<dyn MessageSubscriber> =
            connector.subscribe("stream", "topic", 0).await?;
        let _: Result<Option<Vec<u8>>, ConnectorError> = subscriber.recv().await;
        connector.shutdown().await?;
    }
    Ok(())
}

#[test]
fn the_iggy_configuration_has_its_defaults() {
    let config = IggyConfig::default();
    assert!(matches!(config.mode, IggyMode::Embedded));
    assert_eq!(config.embedded.data_dir, "./data/iggy");
    assert_eq!(config.embedded.tcp_port, 0);
    let _: bool = config.embedded.persistent;
    assert_eq!(config.remote.addresses, ["127.0.0.1:8090"]);
    assert_eq!(config.remote.protocol, "tcp");
    assert_eq!(config.remote.username, "iggy");
    assert!(!config.remote.tls_enabled);
    assert_eq!(config.topology.stream_name, "rustok");
    assert_eq!(config.topology.domain_partitions, 8);
    assert_eq!(config.topology.replication_factor, 1);
    let _ = (&config.serialization, &config.retention, std::any::type_name::<PublishRequest>());
    IggyConfig::from_env().unwrap();
}

#[test]
fn descriptors_are_plain_data() {
    const NAME: &str = OrderPlaced::DESCRIPTORS[0].name;
    assert_eq!(
        (OrderPlaced::STREAM, OrderPlaced::TOPIC, NAME),
        ("commerce", "orders", "order_placed")
    );
    assert_eq!(
        BasketEvent::DESCRIPTORS.iter().map(|d| d.name).collect::<Vec<_>>(),
        ["basket.opened", "basket_left"]
    );
    let key = Uuid::now_v7();
    assert_eq!(
        BasketEvent::Left { basket_id: key }.partition_key(),
        Key::Bytes(key.to_string().into_bytes().into())
    );
    assert_eq!(StockCounted { sku: String::new(), pieces: 1 }.partition_key(), Key::Tenant);
    assert_eq!(NightPassed {}.partition_key(), Key::None);
    assert_eq!(
        InvoiceSent { head: Head { number: 7 } }.partition_key(),
        Key::Bytes(b"7".to_vec().into())
    );
    let shelved = Shelved { shelf: ShelfId(3), title: "a".to_owned() };
    assert_eq!(shelved.partition_key(), Key::Bytes(b"3".to_vec().into()));
    assert_eq!(Shelved::DESCRIPTORS[0].partitions, Some(8));
    Catalog::of::<(OrderPlaced, OrderIndexed, BasketEvent, StockCounted)>().unwrap();
}

#[tokio::test]
async fn a_first_test_is_short() {
    let tenant = Uuid::now_v7();
    let app = TestApp::builder().state(App::default()).handler(index_order).start().await.unwrap();
    app.db().execute_unprepared("CREATE TABLE found (cents BIGINT)").await.unwrap();
    app.publish(tenant, order(1290)).await.unwrap();
    app.settle().await.unwrap();
    assert_eq!(app.published::<OrderIndexed>().await.unwrap().len(), 1);
    assert_eq!(app.handled("search", "index_order").await.unwrap(), 1);
    assert!(app.dead_letters().await.unwrap().is_empty());
    app.clock().advance(Duration::from_secs(1));
    write(app.db(), tenant).await.unwrap();
}

#[tokio::test]
async fn every_shape_of_handler_runs() {
    let app = TestApp::builder()
        .state(App::default())
        .handler(index_order)
        .handler(note_order)
        .handler(count_orders)
        .handler(send_mail)
        .handler(follow_basket)
        .faults(Faults::seeded(7))
        .start()
        .await
        .unwrap();
    app.db().execute_unprepared("CREATE TABLE found (cents BIGINT)").await.unwrap();
    let tenant = Uuid::now_v7();
    app.publish(tenant, order(1)).await.unwrap();
    app.publish(tenant, BasketEvent::Opened { basket_id: tenant }).await.unwrap();
    app.settle().await.unwrap();
    for (group, name) in [
        ("search", "index_order"),
        ("audit", "note"),
        ("counts", "count_orders"),
        ("baskets", "follow_basket"),
    ] {
        assert_eq!(app.handled(group, name).await.unwrap(), 1, "{group}/{name}");
    }
}
