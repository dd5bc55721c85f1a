//! Events that wait behind another of their key, and what must never keep them waiting for nothing.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use rustok_events::{
    ConsumerConfig, ConsumerRuntime,
    prelude::*,
    testing::{Fault, Faults},
};
use rustok_events_tests::{Backend, eventually, on_every_database};
use sea_orm::{ConnAcquireErr, ConnectionTrait, DbErr, TransactionTrait};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::{
    batches::published,
    domain::{ALWAYS, App, Step, TENANT, call_out, give_up, of_key, on, record, step, walk},
};

const A_MINUTE: Duration = Duration::from_mins(1);

/// What an event waits for may end its wait in the same moment: whoever ends it looks for what waits behind before the
/// event is there to be seen, and has not committed when the event's own transaction looks.
async fn an_event_is_held_while_what_it_waits_for_ends(backend: Backend, inbox: bool) {
    let database = backend.create().await;
    let state = App::default();
    state.fail(1, ALWAYS);
    let app = on(&database).state(state.clone());
    let app = if inbox { app.handler(give_up) } else { app.handler(call_out) };
    let app = app.start().await.unwrap();
    app.publish(TENANT, step("a", 1)).await.unwrap();
    app.settle().await.unwrap();
    assert_eq!(database.count("SELECT COUNT(*) FROM rustok_held").await, 1);

    // What an operator's `discard` does, with time between its looks and its commit.
    let ends = database.db.begin().await.unwrap();
    let end = "UPDATE rustok_held SET state = 'discarded', blocks_key = FALSE, due_at = 1";
    ends.execute_unprepared(end).await.unwrap();
    let waiting = "SELECT COUNT(*) FROM rustok_held WHERE state = 'waiting'";
    app.publish(TENANT, step("a", 2)).await.unwrap();
    let published_at = Instant::now();
    while published_at.elapsed() < Duration::from_secs(1) && database.count(waiting).await == 0 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // Its own transaction has ended by now, and looked, or it waits for this one.
    tokio::time::sleep(Duration::from_millis(200)).await;
    ends.commit().await.unwrap();
    eventually(|| async {
        if inbox {
            of_key(&database, "a").await == [2]
        } else {
            state.seen() == [("a".to_owned(), 2)]
        }
    })
    .await;
    eventually(|| async { database.count("SELECT COUNT(*) FROM rustok_held").await == 1 }).await;
}

/// The databases that have more than one writer.
async fn on_both_servers(inbox: bool) {
    for backend in [Backend::Postgres, Backend::MySql] {
        if backend.is_available("an event is held while what it waits for ends") {
            an_event_is_held_while_what_it_waits_for_ends(backend, inbox).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_is_held_while_what_it_waits_for_ends_at_an_inbox() {
    on_both_servers(true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_is_held_while_what_it_waits_for_ends_without_an_inbox() {
    on_both_servers(false).await;
}

on_every_database! {
async fn a_claim_whose_answer_is_lost_leaves_no_lease(database) {
    let (state, faults) = (App::default(), Faults::none().inject("consumer.claim.after", 1, Fault::Error));
    state.fail(1, 2);
    let app = on(&database).state(state.clone()).handler(walk).faults(faults.clone());
    let app = app.start().await.unwrap();
    app.publish_all(TENANT, [step("a", 1), step("a", 2)]).await.unwrap();
    app.settle().await.unwrap();
    app.clock().advance(A_MINUTE);
    eventually(|| async { of_key(&database, "a").await == [1, 2] }).await;
    assert_eq!(faults.met().len(), 1);
}
}

on_every_database! {
async fn a_commit_whose_answer_is_lost_leaves_no_lease_on_the_next_of_the_key(database) {
    // The third: one holds the first event, one the second behind it.
    let faults = Faults::none().inject("consumer.commit.after", 3, Fault::Error);
    let state = App::default();
    state.fail(1, 2);
    let app = on(&database).state(state.clone()).handler(walk).faults(faults.clone()).consumers(|config| {
        // What forgets commits too.
        config.inbox_retention = None;
        config.record_retention = None;
    });
    let app = app.start().await.unwrap();
    app.publish_all(TENANT, [step("a", 1), step("a", 2)]).await.unwrap();
    app.settle().await.unwrap();
    assert!(faults.met().is_empty());
    app.clock().advance(A_MINUTE);
    eventually(|| async { of_key(&database, "a").await == [1, 2] }).await;
    assert_eq!(faults.met().len(), 1);
}
}

/// Fails once, and then waits in its transaction until its key is let go.
#[event_handler(group = "gated", retry(attempts = 3, min = "1ms", max = "2ms"))]
async fn wait_inside(
    ctx: &mut HandlerContext<'_, (App, Arc<[Semaphore; 2]>)>,
    event: Step,
) -> HandlerResult {
    ctx.state().0.check(event.number)?;
    let gates = Arc::clone(&ctx.state().1);
    gates[usize::from(event.key == "b")].acquire().await?.forget();
    record(ctx.tx(), &event.key, event.number).await?;
    Ok(())
}

/// Two held events are at work when one of them ends, and nobody gets a connection to look for more.
async fn a_held_event_at_work_goes_on_without_a_connection_to_look_for_more(backend: Backend) {
    let database = backend.create().await;
    let (state, gates) = (App::default(), Arc::new([Semaphore::new(0), Semaphore::new(0)]));
    state.fail(1, 1);
    state.fail(2, 1);
    let transport = published(&database, [step("a", 1), step("b", 2)].into_iter()).await;
    let pool = database.connect_with(3).await;
    let mut config = ConsumerConfig::default();
    config.retry_in_place = Duration::ZERO;
    let runtime = ConsumerRuntime::builder(pool.clone(), transport)
        .state((state.clone(), Arc::clone(&gates)))
        .config(config)
        .handler(wait_inside)
        .build()
        .unwrap();
    let token = CancellationToken::new();
    let running = tokio::spawn(runtime.run(token.clone()));
    // The second calls are those of the held events: their transactions have two of the three connections.
    eventually(|| async { state.calls() == 4 }).await;
    let third = pool.begin().await.unwrap();
    // Queues for what the first of them gives back.
    let next = tokio::spawn(async move { pool.begin().await });
    tokio::time::sleep(Duration::from_millis(200)).await;
    gates[0].add_permits(1);
    let next = next.await.unwrap().unwrap();
    assert_eq!(of_key(&database, "a").await, [1]);
    // Time to queue for a connection to look.
    tokio::time::sleep(Duration::from_millis(300)).await;
    gates[1].add_permits(1);
    let handled = tokio::time::timeout(Duration::from_secs(10), async {
        while of_key(&database, "b").await.is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    handled.await.expect("it waits for whoever waits for a connection");
    third.rollback().await.unwrap();
    next.rollback().await.unwrap();
    token.cancel();
    running.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_held_event_at_work_goes_on_while_no_connection_is_left_to_look_for_more() {
    for backend in [Backend::Postgres, Backend::MySql] {
        if backend.is_available("a held event at work goes on") {
            a_held_event_at_work_goes_on_without_a_connection_to_look_for_more(backend).await;
        }
    }
}

/// Has a database of its own, which is away once nothing else is wrong.
#[event_handler(group = "cut_off", retry(attempts = 3, min = "100ms", max = "10s"))]
async fn cut_off(ctx: &mut HandlerContext<'_, App>, event: Step) -> HandlerResult {
    if event.key != "well" {
        ctx.state().check(event.number)?;
        return Err(DbErr::ConnectionAcquire(ConnAcquireErr::ConnectionClosed).into());
    }
    Ok(())
}

#[event_handler(group = "well", retry(attempts = 3, min = "100ms", max = "10s"))]
async fn well(ctx: &mut HandlerContext<'_, App>, event: Step) -> HandlerResult {
    if event.key == "well" {
        ctx.state().check(event.number)?;
        record(ctx.tx(), &event.key, event.number).await?;
    }
    Ok(())
}

on_every_database! {
async fn held_events_of_a_group_that_pauses_keep_no_other_group_waiting(database) {
    let state = App::default();
    let app = on(&database).state(state.clone()).handler(cut_off).handler(well).start().await.unwrap();
    let held = "SELECT COUNT(*) FROM rustok_held WHERE group_name = ";
    // As many as are tried at a time.
    for number in 0..4 {
        state.fail(number, ALWAYS);
        app.publish(TENANT, step(&format!("k{number}"), number)).await.unwrap();
    }
    app.settle().await.unwrap();
    assert_eq!(database.count(&format!("{held} 'cut_off'")).await, 4);
    let calls = state.calls();
    for number in 0..4 {
        state.fail(number, 0);
    }
    app.clock().advance(A_MINUTE);
    eventually(|| async { state.calls() > calls }).await;
    state.fail(9, ALWAYS);
    app.publish(TENANT, step("well", 9)).await.unwrap();
    eventually(|| async { database.count(&format!("{held} 'well'")).await == 1 }).await;
    state.fail(9, 0);
    app.clock().advance(A_MINUTE);
    eventually(|| async { of_key(&database, "well").await == [9] }).await;
    assert_eq!(database.count(&format!("{held} 'cut_off'")).await, 4, "an outage is no attempt");
}
}
