//! Events that do not fit together are named before anything is published.

use rustok_events::{
    Catalog, CatalogError, DomainEvent, EventDescriptor, EventRuntime, Key, consumer::BuildError,
    prelude::*, testing::MemoryTransport,
};
use rustok_events_tests::Backend;
use serde::{Deserialize, Serialize};

/// An event in a module of its own.
macro_rules! event {
    ($module:ident, $attributes:meta) => {
        mod $module {
            use super::*;

            #[derive(Serialize, Deserialize, DomainEvent)]
            #[$attributes]
            pub(super) struct Event {
                pub(super) id: u64,
            }
        }
    };
}

event!(
    placed,
    domain_event(stream = "shop", topic = "orders", partition_key = id, name = "placed")
);
event!(taken, domain_event(stream = "shop", topic = "orders", partition_key = id, name = "placed"));
event!(
    paid,
    domain_event(
        stream = "shop",
        topic = "orders",
        partition_key = id,
        name = "paid",
        partitions = 4
    )
);
event!(
    shipped,
    domain_event(
        stream = "shop",
        topic = "orders",
        partition_key = id,
        name = "ship",
        partitions = 8
    )
);
event!(
    shipped_of_tenant,
    domain_event(
        stream = "shop",
        topic = "orders",
        partition_key = tenant,
        name = "ship",
        version = 2
    )
);
event!(
    elsewhere,
    domain_event(
        stream = "shop",
        topic = "mails",
        partition_key = id,
        name = "mailed",
        partitions = 8
    )
);

#[derive(Serialize, Deserialize, DomainEvent)]
#[domain_event(stream = "shop", topic = "orders", partition_key = number, name = "paid", version = 2, previous = paid::Event)]
struct PaidByNumber {
    number: String,
}

impl From<paid::Event> for PaidByNumber {
    fn from(old: paid::Event) -> Self {
        Self { number: old.id.to_string() }
    }
}

#[test]
fn events_that_fit_together_are_listed() {
    let catalog = Catalog::of::<(placed::Event, (shipped::Event, elsewhere::Event))>().unwrap();
    let names: Vec<_> = catalog.events().map(|event| event.name).collect();
    assert_eq!(names, ["placed", "ship", "mailed"]);
    assert_eq!(catalog.topics(), [("shop", "orders", Some(8)), ("shop", "mails", Some(8))]);
    assert_eq!(catalog.find("ship", 1).unwrap().declared_by, "catalog::shipped::Event");
    assert!(catalog.find("ship", 2).is_none());
}

#[test]
fn an_event_may_be_listed_twice() {
    let catalog = Catalog::of::<(placed::Event, placed::Event)>().unwrap();
    assert_eq!(catalog.events().count(), 1);
}

#[test]
fn two_types_cannot_share_name_and_version() {
    let error = Catalog::of::<(placed::Event, taken::Event)>().unwrap_err();
    assert_eq!(
        error.to_string(),
        "`catalog::placed::Event` and `catalog::taken::Event` are both `placed` version 1: give one of them \
         another `name`, or the next `version` and a `previous`"
    );
    assert_eq!(error.code(), "duplicate_event");
}

/// Written by hand, and alike in everything that is declared.
macro_rules! by_hand {
    ($name:ident) => {
        #[derive(Serialize, Deserialize)]
        struct $name;

        impl DomainEvent for $name {
            const STREAM: &'static str = "shop";
            const TOPIC: &'static str = "orders";
            const DESCRIPTORS: &'static [EventDescriptor] =
                &[EventDescriptor::new("opened", 1, "shop", "orders")];

            fn descriptor(&self) -> &'static EventDescriptor {
                &Self::DESCRIPTORS[0]
            }

            fn partition_key(&self) -> Key<'_> {
                Key::None
            }
        }
    };
}
by_hand!(Opened);
by_hand!(OpenedToo);

#[test]
fn two_types_of_equal_declarations_are_two_types() {
    let error = Catalog::of::<(Opened, OpenedToo)>().unwrap_err();
    assert!(matches!(error, CatalogError::DuplicateEvent { name: "opened", .. }), "{error}");
}

#[test]
fn a_topic_has_one_partition_count() {
    let error = Catalog::of::<(placed::Event, paid::Event, shipped::Event)>().unwrap_err();
    assert_eq!(
        error.to_string(),
        "topic `shop/orders` is declared with 4 partitions by `catalog::paid::Event` and with 8 by \
         `catalog::shipped::Event`: make them agree"
    );
}

#[test]
fn a_key_keeps_its_type_from_version_to_version() {
    let error = Catalog::of::<PaidByNumber>().unwrap_err();
    assert!(
        matches!(
            error,
            CatalogError::KeyChanged { first_key: "string", second_key: "integer", .. }
        ),
        "{error}"
    );
    let error = Catalog::of::<(shipped::Event, shipped_of_tenant::Event)>().unwrap_err();
    assert!(error.to_string().contains("`integer` in version 1"), "{error}");
    assert!(error.to_string().contains("`tenant` in version 2"), "{error}");
}

#[event_handler(group = "search")]
async fn on_placed<S>(_: &mut HandlerContext<'_, S>, _: placed::Event) -> HandlerResult {
    Ok(())
}

#[event_handler(group = "search")]
async fn on_taken<S>(_: &mut HandlerContext<'_, S>, _: taken::Event) -> HandlerResult {
    Ok(())
}

#[event_handler(group = "search")]
async fn on_shipped<S>(_: &mut HandlerContext<'_, S>, _: shipped::Event) -> HandlerResult {
    Ok(())
}

#[event_handler(group = "mail")]
async fn mail_shipped<S>(_: &mut HandlerContext<'_, S>, _: shipped::Event) -> HandlerResult {
    Ok(())
}

event!(
    returned,
    domain_event(stream = "shop", topic = "orders", partition_key = id, name = "returned")
);

#[tokio::test]
async fn a_runtime_refuses_handlers_whose_events_do_not_fit() {
    let database = Backend::Sqlite.create().await;
    let db = database.db.clone();
    let runtime = EventRuntime::builder(db)
        .transport(MemoryTransport::new())
        .handler(on_placed)
        .handler(on_taken)
        .build();
    let error = runtime.unwrap_err();
    assert!(matches!(error, BuildError::Catalog(CatalogError::DuplicateEvent { .. })), "{error}");
}

#[tokio::test]
async fn a_group_over_several_events_forgets_none() {
    let database = Backend::Sqlite.create().await;
    let db = database.db.clone();
    let builder = || {
        EventRuntime::builder(db.clone())
            .transport(MemoryTransport::new())
            .handler(on_placed)
            .handler(on_shipped)
            .handler(mail_shipped)
    };
    builder().build().expect("without a list, nothing is known to be forgotten");
    let known = || builder().known_events::<(placed::Event, returned::Event, elsewhere::Event)>();
    let error = known().build().unwrap_err();
    assert_eq!(
        error.to_string(),
        "group `search` neither handles nor ignores `returned`: add a handler for each, or leave them out on \
         purpose with `.ignore(\"search\", &[\"returned\"])`",
        "the group of one event chose it, and the other topic is not its own"
    );
    known().ignore("search", &["returned"]).build().expect("it is ignored by name");
    let error = known().ignore("search", &["retuned"]).build().unwrap_err();
    assert_eq!(error, BuildError::NothingToIgnore { group: "search", event: "retuned" });
}
