//! What lies around a handler: its time, its middleware, its panics; several members; a stop in the middle.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use rustok_events::{
    consumer::middleware::{Call, Metrics, Middleware, Next, TenantScope, current_tenant},
    handler::Failure,
    prelude::*,
    testing::{TestApp, TestError},
    transport::BoxFuture,
};
use rustok_events_tests::on_every_database;
use serde::{Deserialize, Deserializer, Serialize};
use tokio::sync::Notify;

use crate::domain::{App, Step, TENANT, of_key, on, record, step, walk};

/// Takes its time the first time.
#[event_handler(group = "slow", retry(attempts = 2, min = "1s", max = "1s"))]
async fn slow(ctx: &mut HandlerContext<'_, Arc<AtomicU32>>, event: Step) -> HandlerResult {
    record(ctx.tx(), &event.key, event.number).await?;
    if ctx.state().fetch_add(1, Ordering::Relaxed) == 0 {
        std::future::pending::<()>().await;
    }
    Ok(())
}

on_every_database! {
async fn a_handler_that_takes_too_long_is_dropped_and_tried_again(database) {
    let calls = Arc::new(AtomicU32::new(0));
    let app = on(&database).state(calls.clone()).handler(slow).consumers(|config| {
        config.handler_timeout = Some(Duration::from_millis(100));
    });
    let app = app.start().await.unwrap();
    app.publish(TENANT, step("a", 1)).await.unwrap();
    app.settle().await.unwrap();
    assert_eq!(of_key(&database, "a").await, Vec::<i64>::new(), "rolled back");
    let held = "SELECT COUNT(*) FROM rustok_held WHERE code = 'handler_timeout' AND attempts = 1";
    assert_eq!(database.count(held).await, 1);
    app.clock().advance(Duration::from_secs(2));
    app.settle().await.unwrap();
    assert_eq!(of_key(&database, "a").await, [1]);
}
}

#[event_handler(group = "fragile", retry(attempts = 1))]
async fn panics<S>(ctx: &mut HandlerContext<'_, S>, event: Step) -> HandlerResult {
    record(ctx.tx(), &event.key, event.number).await?;
    assert!(event.number != 1, "one is not a number");
    Ok(())
}

on_every_database! {
async fn a_panic_is_a_failure_like_any_other(database) {
    let app = on(&database).handler(panics).start().await.unwrap();
    app.publish_all(TENANT, [step("a", 1), step("b", 2)]).await.unwrap();
    app.settle().await.unwrap();
    let dead = app.dead_letters().await.unwrap();
    assert_eq!((dead.len(), dead[0].code.as_str()), (1, "handler_panic"));
    assert_eq!(dead[0].error, "the handler panicked: one is not a number");
    assert_eq!(database.ledger().await, [("b".to_owned(), 2)]);
}
}

/// An event whose decoding panics.
#[derive(Debug, Clone, PartialEq, Serialize, DomainEvent)]
#[domain_event(stream = "test", topic = "brittle", partition_key = key, partitions = 1)]
struct Brittle {
    key: String,
    number: i64,
}

impl<'de> Deserialize<'de> for Brittle {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Step { key, number } = Step::deserialize(deserializer)?;
        assert!(number != 1, "one cannot be read");
        Ok(Self { key, number })
    }
}

#[event_handler(group = "careful", retry(attempts = 1))]
async fn reads<S>(ctx: &mut HandlerContext<'_, S>, event: Brittle) -> HandlerResult {
    record(ctx.tx(), &event.key, event.number).await?;
    Ok(())
}

on_every_database! {
async fn a_panic_while_an_event_is_decoded_is_its_failure(database) {
    let app = on(&database).handler(reads).start().await.unwrap();
    let events = [("a", 1), ("b", 2)].map(|(key, number)| Brittle { key: key.to_owned(), number });
    app.publish_all(TENANT, events).await.unwrap();
    app.settle().await.unwrap();
    let dead = app.dead_letters().await.unwrap();
    assert_eq!((dead.len(), dead[0].code.as_str()), (1, "handler_panic"));
    assert_eq!(dead[0].error, "the handler panicked: one cannot be read");
    assert_eq!(database.ledger().await, [("b".to_owned(), 2)]);
}
}

/// Writes down what passes, and refuses what it is told to.
#[derive(Clone, Default)]
struct Watch(Arc<Mutex<Vec<String>>>, &'static str, Option<&'static str>);

impl Middleware for Watch {
    fn handle<'a>(&'a self, call: Call<'a>, next: Next<'a>) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(async move {
            let note = |when: &str| {
                let line = format!("{when} {} {}", self.1, call.envelope().name());
                self.0.lock().unwrap().push(line);
            };
            note("before");
            if let Some(code) = self.2 {
                return Err(Failure::terminal(code, "not here"));
            }
            let result = next.run().await;
            note("after");
            result
        })
    }
}

#[event_handler(group = "scoped")]
async fn scoped<S>(ctx: &mut HandlerContext<'_, S>, event: Step) -> HandlerResult {
    assert_eq!(current_tenant(), Some(ctx.envelope().tenant_id()));
    assert_eq!(event.key, "a");
    Ok(())
}

#[tokio::test]
async fn middleware_lies_around_every_call_in_the_order_it_was_added() -> Result<(), TestError> {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let app = TestApp::builder()
        .handler(scoped)
        .middleware(Watch(seen.clone(), "outer", None))
        .middleware(TenantScope)
        .middleware(Metrics)
        .middleware(Watch(seen.clone(), "inner", None));
    let app = app.start().await?;
    app.publish(TENANT, step("a", 1)).await?;
    app.settle().await?;
    let expected =
        ["before outer step", "before inner step", "after inner step", "after outer step"];
    assert_eq!(*seen.lock().unwrap(), expected);
    assert_eq!(app.handled("scoped", "scoped").await?, 1);
    assert_eq!(current_tenant(), None);
    Ok(())
}

on_every_database! {
async fn what_a_middleware_answers_decides(database) {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let app = on(&database).state(App::default()).handler(walk);
    let app = app.middleware(Watch(seen, "gate", Some("closed"))).start().await.unwrap();
    app.publish(TENANT, step("a", 1)).await.unwrap();
    app.settle().await.unwrap();
    assert_eq!(app.dead_letters().await.unwrap()[0].code, "closed");
    assert!(database.ledger().await.is_empty());
}
}

/// Waits in the middle until it is let go.
#[derive(Default)]
struct Gate {
    entered: Notify,
    open: Notify,
}

#[event_handler(group = "gated")]
async fn gated(ctx: &mut HandlerContext<'_, Arc<Gate>>, event: Step) -> HandlerResult {
    record(ctx.tx(), &event.key, event.number).await?;
    ctx.state().entered.notify_one();
    ctx.state().open.notified().await;
    Ok(())
}

on_every_database! {
async fn a_stop_lets_a_handler_finish_and_rolls_back_what_does_not(database) {
    let gate = Arc::new(Gate::default());
    let app = on(&database).state(gate.clone()).handler(gated).consumers(|config| {
        config.drain_timeout = Duration::from_millis(300);
    });
    let app = app.start().await.unwrap();
    app.publish(TENANT, step("a", 1)).await.unwrap();
    gate.entered.notified().await;
    gate.open.notify_one();
    app.settle().await.unwrap();
    app.publish(TENANT, step("a", 2)).await.unwrap();
    gate.entered.notified().await;
    let stopped = tokio::time::timeout(Duration::from_secs(5), app.stop()).await;
    stopped.expect("a stop takes no longer than it may").unwrap();
    assert_eq!(of_key(&database, "a").await, [1], "what did not finish left nothing");
    assert_eq!(database.count("SELECT COUNT(*) FROM rustok_inbox").await, 1);
}
}

on_every_database! {
async fn several_members_share_the_partitions(database) {
    let app = on(&database).state(App::default()).handler(walk).consumers(|config| {
        config.concurrency = 2;
    });
    let app = app.start().await.unwrap();
    app.publish_all(TENANT, (0..200).map(|number| step(&format!("k{}", number % 10), number))).await.unwrap();
    app.settle().await.unwrap();
    assert_eq!(app.handled("walkers", "walk").await.unwrap(), 200);
    assert_eq!(database.ledger().await.len(), 200);
    for key in 0..10 {
        assert!(of_key(&database, &format!("k{key}")).await.is_sorted());
    }
}
}
