//! Events that wait behind another of their key, and what must never keep them waiting for nothing.

use std::time::{Duration, Instant};

use rustok_events::testing::{Fault, Faults};
use rustok_events_tests::{Backend, eventually, on_every_database};
use sea_orm::{ConnectionTrait, TransactionTrait};

use crate::domain::{ALWAYS, App, TENANT, call_out, give_up, of_key, on, step, walk};

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
