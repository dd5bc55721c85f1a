//! What the macros make of a declaration, seen from outside.

use std::time::Duration;

use rustok_events::{
    DecodeError, EventHandler, Key, Payload, Scope,
    handler::{OnDeadLetter, RetryPolicy},
    prelude::*,
    testing::HandlerCall,
};
use rustok_events_tests::Backend;
use sea_orm::TransactionTrait;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use uuid::Uuid;

/// A payload in JSON.
struct Json(serde_json::Value);

impl Payload for Json {
    fn read<T: DeserializeOwned>(&self) -> Result<T, rustok_events::BoxError> {
        Ok(serde_json::from_value(self.0.clone())?)
    }
}

fn bytes(key: Key<'_>) -> String {
    match key {
        Key::Bytes(bytes) => String::from_utf8(bytes.into_owned()).unwrap(),
        other => format!("{other:?}"),
    }
}

mod order {
    use super::*;

    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize, PartitionKey)]
    pub(crate) struct CustomerId(pub String);

    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    pub(crate) struct Customer {
        pub id: CustomerId,
    }

    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize, DomainEvent)]
    #[domain_event(
        stream = "commerce",
        topic = "orders",
        partition_key = customer.id.0,
        name = "order.placed",
        partitions = 8
    )]
    pub(crate) struct PlacedV1 {
        pub customer: Customer,
        pub cents: u32,
    }

    const TOPIC: &str = "orders";

    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize, DomainEvent)]
    #[domain_event(
        stream = "commerce",
        topic = TOPIC,
        name = "order.placed",
        version = 2,
        previous = PlacedV1,
        validate = Self::check
    )]
    pub(crate) struct PlacedV2 {
        #[domain_event(partition_key)]
        pub customer: CustomerId,
        pub cents: i64,
    }

    impl PlacedV2 {
        fn check(&self) -> Result<(), String> {
            if self.cents < 0 { Err(format!("{} cents", self.cents)) } else { Ok(()) }
        }
    }

    impl From<PlacedV1> for PlacedV2 {
        fn from(old: PlacedV1) -> Self {
            Self { customer: old.customer.id, cents: old.cents.into() }
        }
    }

    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize, DomainEvent)]
    #[domain_event(
        stream = "commerce",
        topic = "orders",
        partition_key = customer,
        name = "order.placed",
        version = 3,
        previous = PlacedV2
    )]
    pub(crate) struct Placed {
        pub customer: CustomerId,
        pub cents: i64,
        pub currency: String,
    }

    impl From<PlacedV2> for Placed {
        fn from(old: PlacedV2) -> Self {
            Self { customer: old.customer, cents: old.cents, currency: "EUR".to_owned() }
        }
    }
}

use order::{CustomerId, Placed, PlacedV1, PlacedV2};

#[test]
fn a_struct_says_where_it_goes() {
    assert_eq!((Placed::STREAM, Placed::TOPIC), ("commerce", "orders"));
    let [descriptor] = PlacedV1::DESCRIPTORS else { panic!("one event type") };
    assert_eq!((descriptor.name, descriptor.version), ("order.placed", 1));
    assert_eq!(descriptor.partitions, Some(8));
    assert_eq!(descriptor.scope, Scope::Tenant);
    assert_eq!(descriptor.declared_by, "macros::order::PlacedV1");
    assert_eq!(descriptor.key_type, "string");
    assert_eq!(PlacedV1::SUPERSEDED_BY, Some("PlacedV2"));
    assert_eq!(Placed::SUPERSEDED_BY, None);
}

#[test]
fn an_old_payload_becomes_the_newest_event() {
    let old = Json(serde_json::json!({ "customer": { "id": "c1" }, "cents": 5 }));
    let placed = Placed::decode_event("order.placed", 1, &old).unwrap();
    assert_eq!(
        placed,
        Placed { customer: CustomerId("c1".into()), cents: 5, currency: "EUR".into() }
    );
    let second = Json(serde_json::json!({ "customer": "c1", "cents": -5 }));
    let refused = Placed::decode_event("order.placed", 2, &second);
    assert!(matches!(refused, Err(DecodeError::Invalid { version: 2, .. })), "{refused:?}");
    let unknown = Placed::decode_event("order.placed", 0, &second);
    assert!(matches!(unknown, Err(DecodeError::UnknownVersion { newest: 3, .. })), "{unknown:?}");
    let newer = Placed::decode_event("order.placed", 4, &second);
    assert!(matches!(newer, Err(DecodeError::UnknownVersion { newest: 3, .. })), "{newer:?}");
    let versions: Vec<u32> = Placed::LINEAGE.versions().map(|v| v[0].version).collect();
    assert_eq!(versions, [3, 2, 1]);
    let _ = PlacedV2::DESCRIPTORS;
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Line {
    id: Uuid,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, DomainEvent)]
#[domain_event(stream = "commerce", topic = "lines", name = "line", version = 2, partition_key = id, scope = platform)]
enum LineEvent {
    Added {
        id: Uuid,
        cents: u64,
    },
    #[domain_event(partition_key = 0.id)]
    Changed(Line),
    #[domain_event(name = "gone", partition_key = tenant)]
    Removed,
    #[domain_event(partition_key = none)]
    Noted {
        id: String,
    },
    Split {
        #[domain_event(partition_key)]
        number: u16,
    },
}

#[test]
fn each_variant_is_an_event_type() {
    let names: Vec<_> =
        LineEvent::DESCRIPTORS.iter().map(|d| (d.name, d.version, d.key_type)).collect();
    assert_eq!(
        names,
        [
            ("line.added", 2, "uuid"),
            ("line.changed", 2, "uuid"),
            ("gone", 2, "tenant"),
            ("line.noted", 2, "none"),
            ("line.split", 2, "integer"),
        ]
    );
    let id = Uuid::from_u128(7);
    assert_eq!(bytes(LineEvent::Added { id, cents: 1 }.partition_key()), id.to_string());
    assert_eq!(bytes(LineEvent::Changed(Line { id }).partition_key()), id.to_string());
    assert_eq!(bytes(LineEvent::Removed.partition_key()), "Tenant");
    assert_eq!(bytes(LineEvent::Noted { id: String::new() }.partition_key()), "None");
    assert_eq!(bytes(LineEvent::Split { number: 9 }.partition_key()), "9");
    assert_eq!(LineEvent::Removed.descriptor().declared_by, "macros::LineEvent::Removed");
    assert_eq!(LineEvent::Removed.descriptor().scope, Scope::Platform);
}

struct App;

/// Indexes an order.
#[event_handler(
    group = "search",
    retry(attempts = 3, min = "1ms", max = "5ms"),
    on_dead_letter = continue
)]
pub(crate) async fn index_order(ctx: &mut HandlerContext<'_, App>, event: Placed) -> HandlerResult {
    let App = ctx.state();
    Err(event.currency)?;
    Ok(())
}

#[event_handler(group = "mail", name = "mailer", inbox = none)]
async fn send_mail<S>(ctx: &mut DetachedContext<'_, S>, event: Envelope<Placed>) -> HandlerResult {
    let _ = (ctx.state(), event.id());
    Ok(())
}

#[event_handler(group = "totals")]
async fn add_up<S: AsRef<str> + Clone>(
    ctx: &mut HandlerContext<'_, S>,
    events: Batch<LineEvent>,
) -> HandlerResult {
    let _ = (ctx.state().clone().as_ref().len(), events.len());
    Ok(())
}

#[test]
fn a_handler_is_a_unit_struct() {
    fn of<S, H: EventHandler<S>>(_: H) -> (&'static str, &'static str, RetryPolicy, OnDeadLetter) {
        (H::GROUP, H::NAME, H::OPTIONS.retry, H::OPTIONS.on_dead_letter)
    }
    let retry =
        RetryPolicy { attempts: 3, min: Duration::from_millis(1), max: Duration::from_millis(5) };
    assert_eq!(of(index_order), ("search", "index_order", retry, OnDeadLetter::Continue));
    assert_eq!(of::<u8, _>(send_mail), ("mail", "mailer", RetryPolicy::new(), OnDeadLetter::Park));
    assert_eq!(of::<String, _>(add_up).0, "totals");
}

#[tokio::test]
async fn a_handler_can_be_called_without_a_broker() {
    let database = Backend::Sqlite.create().await;
    let db = database.db.clone();
    let txn = db.begin().await.unwrap();
    let event = Placed { customer: CustomerId("c1".into()), cents: 5, currency: "EUR".into() };
    let call = HandlerCall::of(&event, Uuid::from_u128(1)).unwrap();
    assert_eq!(call.envelope().partition_key(), Some(&b"c1"[..]));
    let error = index_order.call(&mut call.context(&txn, &App), event.clone()).await.unwrap_err();
    assert_eq!(error.to_string(), "EUR");
    let envelope = Envelope { event, meta: call.envelope().clone() };
    send_mail.call(&mut call.detached_context(&App), envelope).await.unwrap();
}
