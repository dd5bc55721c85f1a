//! Messages that no handler can be called with: damaged, foreign, or newer than the program.

use std::time::Duration;

use rustok_events::{
    EventTransport,
    consumer::OnUnreadable,
    prelude::*,
    testing::{TestApp, TestError},
    transport::{OutgoingMessage, TopicName},
};
use rustok_events_tests::{eventually, on_every_database};
use serde::{Deserialize, Serialize};

use crate::domain::{App, Step, TENANT, of_key, on, record, step, walk};

const A_WEEK: Duration = Duration::from_hours(7 * 24);

/// The old program's only version.
#[derive(Debug, Clone, Serialize, Deserialize, DomainEvent)]
#[domain_event(stream = "test", topic = "strides", partition_key = key, partitions = 2)]
struct Stride {
    key: String,
    number: i64,
}

/// The new program's first version: the same on the wire.
#[derive(Debug, Clone, Serialize, Deserialize, DomainEvent)]
#[domain_event(
    stream = "test",
    topic = "strides",
    partition_key = key,
    partitions = 2,
    name = "stride"
)]
struct StrideV1 {
    key: String,
    number: i64,
}

/// The new program's second version.
#[derive(Debug, Clone, Serialize, Deserialize, DomainEvent)]
#[domain_event(
    stream = "test", topic = "strides", partition_key = key, partitions = 2,
    name = "stride", version = 2, previous = StrideV1
)]
struct StrideV2 {
    key: String,
    number: i64,
    width: f64,
}

impl From<StrideV1> for StrideV2 {
    fn from(old: StrideV1) -> Self {
        Self { key: old.key, number: old.number, width: 1.0 }
    }
}

#[derive(Debug, Clone, Serialize, Deserialize, DomainEvent)]
#[domain_event(stream = "test", topic = "steps", partition_key = key, partitions = 2)]
struct Jump {
    key: String,
}

/// The old program's handler.
#[event_handler(group = "striders")]
async fn stride(ctx: &mut HandlerContext<'_, App>, event: Stride) -> HandlerResult {
    record(ctx.tx(), &event.key, event.number).await?;
    Ok(())
}

/// The new program's, under the same name.
#[event_handler(group = "striders", name = "stride")]
async fn stride_v2(ctx: &mut HandlerContext<'_, App>, event: StrideV2) -> HandlerResult {
    record(ctx.tx(), &event.key, event.number).await?;
    Ok(())
}

fn older(key: &str, number: i64) -> Stride {
    Stride { key: key.to_owned(), number }
}

fn newer(key: &str, number: i64) -> StrideV2 {
    StrideV2 { key: key.to_owned(), number, width: 2.0 }
}

async fn send_noise(app: &TestApp) {
    app.publish(TENANT, step("a", 1)).await.unwrap();
    app.settle().await.unwrap();
    let noise = OutgoingMessage {
        id: EventId::new(),
        headers: [("x".to_owned(), b"y".to_vec())].into(),
        payload: b"\xff\x00 noise".to_vec().into(),
    };
    for partition in 0..2 {
        app.transport()
            .publish(&TopicName::new("test", "steps"), partition, vec![noise.clone()])
            .await
            .unwrap();
    }
}

on_every_database! {
async fn noise_is_kept_as_it_came_and_its_partition_flows(database) {
    let app = on(&database).state(App::default()).handler(walk).start().await.unwrap();
    send_noise(&app).await;
    eventually(|| async { app.dead_letters().await.unwrap().len() == 2 }).await;
    app.publish_all(TENANT, [step("a", 2), step("b", 3)]).await.unwrap();
    app.settle().await.unwrap();
    assert_eq!(database.ledger().await.len(), 3);
    let dead = app.dead_letters().await.unwrap();
    assert_eq!(dead[0].code, "malformed_envelope");
    assert_eq!(dead[0].payload, b"\xff\x00 noise");
    assert_eq!((dead[0].handler.as_str(), dead[0].event_id), ("", None));
    // Retried, it is still noise.
    app.letters().retry(dead[0].id).await.unwrap();
    app.settle().await.unwrap();
    assert_eq!(app.dead_letters().await.unwrap().len(), 2);
    // Given up, it is held no more, and can be forgotten.
    let held = "SELECT COUNT(*) FROM rustok_inbox WHERE outcome = 'held'";
    assert_eq!(database.count(held).await, 2);
    for letter in app.dead_letters().await.unwrap() {
        app.letters().discard(letter.id, "noise").await.unwrap();
    }
    assert_eq!(database.count(held).await, 0);
}
}

on_every_database! {
async fn noise_is_passed_over_with_a_record_where_that_is_wanted(database) {
    let app = on(&database).state(App::default()).handler(walk).consumers(|config| {
        config.undecodable = OnUnreadable::Skip;
        config.inbox_retention = Some(A_WEEK);
    });
    let app = app.start().await.unwrap();
    send_noise(&app).await;
    let skipped = "SELECT COUNT(*) FROM rustok_held WHERE state = 'skipped' AND code = 'malformed_envelope'";
    eventually(|| async { database.count(skipped).await == 2 }).await;
    assert!(app.dead_letters().await.unwrap().is_empty());
    // What is no event has no time of its own, and is forgotten all the same.
    assert_eq!(database.count("SELECT COUNT(*) FROM rustok_inbox").await, 3);
    app.clock().advance(A_WEEK + Duration::from_hours(1));
    eventually(|| async { database.count("SELECT COUNT(*) FROM rustok_inbox").await == 0 }).await;
}
}

#[tokio::test]
async fn noise_stops_the_consumer_where_that_is_wanted() -> Result<(), TestError> {
    let app = TestApp::builder().handler(nothing).consumers(|config| {
        config.undecodable = OnUnreadable::Fail;
    });
    let app = app.start().await?;
    send_noise(&app).await;
    let stopped = loop {
        if let Err(error) = app.settle().await {
            break error;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    assert_eq!(stopped.code(), "malformed_envelope");
    assert!(
        stopped.to_string().contains("of `test/steps` cannot be handled by group `idle`"),
        "{stopped}"
    );
    Ok(())
}

#[event_handler(group = "idle")]
async fn nothing<S>(_ctx: &mut HandlerContext<'_, S>, _event: Step) -> HandlerResult {
    Ok(())
}

on_every_database! {
async fn an_old_program_leaves_a_newer_version_to_the_new_one(database) {
    let old = on(&database).state(App::default()).handler(stride).start().await.unwrap();
    old.publish(TENANT, newer("a", 1)).await.unwrap();
    old.publish_all(TENANT, [older("a", 2), older("b", 3)]).await.unwrap();
    old.settle().await.unwrap();
    for _ in 0..20 {
        old.clock().advance(Duration::from_mins(1));
        old.settle().await.unwrap();
    }
    assert!(old.dead_letters().await.unwrap().is_empty(), "it waits, however long");
    assert_eq!(database.ledger().await, [("b".to_owned(), 3)]);
    old.stop().await.unwrap();
    drop(old);
    let new = on(&database).state(App::default()).handler(stride_v2).start().await.unwrap();
    new.clock().advance(Duration::from_hours(1));
    eventually(|| async { of_key(&database, "a").await == [1, 2] }).await;
    assert_eq!(database.count("SELECT COUNT(*) FROM rustok_held").await, 0);
}
}

on_every_database! {
async fn an_unknown_version_is_parked_or_passed_over_where_that_is_wanted(database) {
    for (choice, state, key) in [(OnUnreadable::Park, "dead", "p"), (OnUnreadable::Skip, "skipped", "s")] {
        let app = on(&database).state(App::default()).handler(stride).consumers(|config| {
            config.unknown_version = choice;
        });
        let app = app.start().await.unwrap();
        app.publish(TENANT, newer(key, 1)).await.unwrap();
        app.publish(TENANT, older(key, 2)).await.unwrap();
        app.settle().await.unwrap();
        let found = format!(
            "SELECT COUNT(*) FROM rustok_held WHERE state = '{state}' AND code = 'unknown_version'"
        );
        assert_eq!(database.count(&found).await, 1);
        let flows: &[i64] = if choice == OnUnreadable::Skip { &[2] } else { &[] };
        assert_eq!(of_key(&database, key).await, flows);
        app.stop().await.unwrap();
    }
}
}

on_every_database! {
async fn a_held_event_that_is_passed_over_later_is_forgotten_like_others(database) {
    let old = on(&database).state(App::default()).handler(stride).start().await.unwrap();
    old.publish(TENANT, newer("a", 1)).await.unwrap();
    old.settle().await.unwrap();
    old.stop().await.unwrap();
    let outcomes = "SELECT COUNT(*) FROM rustok_inbox WHERE outcome = 'skipped'";
    assert_eq!(database.count(outcomes).await, 0);
    let app = on(&database).state(App::default()).handler(stride).consumers(|config| {
        config.unknown_version = OnUnreadable::Skip;
    });
    let app = app.start().await.unwrap();
    app.clock().advance(Duration::from_hours(1));
    eventually(|| async { database.count(outcomes).await == 1 }).await;
    assert_eq!(database.count("SELECT COUNT(*) FROM rustok_held WHERE state = 'skipped'").await, 1);
}
}

on_every_database! {
async fn an_event_that_no_handler_is_for_is_passed_over_or_recorded(database) {
    let app = on(&database).state(App::default()).handler(walk).start().await.unwrap();
    app.publish(TENANT, Jump { key: "a".to_owned() }).await.unwrap();
    app.settle().await.unwrap();
    assert_eq!(database.count("SELECT COUNT(*) FROM rustok_held").await, 0);
    app.stop().await.unwrap();
    let app = on(&database).state(App::default()).handler(walk).consumers(|config| {
        config.unknown_event = Some(OnUnreadable::Park);
    });
    let app = app.start().await.unwrap();
    app.publish(TENANT, Jump { key: "a".to_owned() }).await.unwrap();
    app.publish(TENANT, step("a", 1)).await.unwrap();
    app.settle().await.unwrap();
    let dead = app.dead_letters().await.unwrap();
    assert_eq!((dead.len(), dead[0].code.as_str()), (1, "unknown_event"));
    assert_eq!(of_key(&database, "a").await, [1], "no handler was called with it, so no key waits");
}
}
