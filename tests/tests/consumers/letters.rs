//! What operators do with dead letters.

use std::time::Duration;

use rustok_events::{
    dead_letter::{DeadLetterError, Filter},
    prelude::*,
    testing::TestApp,
};
use rustok_events_tests::{TestDatabase, on_every_database};

use crate::domain::{
    ALWAYS, App, Loose, Step, TENANT, gather, give_up, of_key, on, record, run, step, walk,
};

/// The same group and event as [`walk`], another handler.
#[event_handler(group = "walkers")]
async fn follow(ctx: &mut HandlerContext<'_, App>, event: Step) -> HandlerResult {
    record(ctx.tx(), "followed", event.number).await?;
    Ok(())
}

/// Publishes, and lets everything happen that time alone brings about.
async fn until_dead(app: &TestApp, events: impl IntoIterator<Item = Step>) {
    app.publish_all(TENANT, events).await.unwrap();
    for _ in 0..4 {
        app.settle().await.unwrap();
        app.clock().advance(Duration::from_mins(1));
    }
    app.settle().await.unwrap();
}

async fn walking(database: &TestDatabase, state: &App) -> TestApp {
    on(database).state(state.clone()).handler(walk).handler(follow).start().await.unwrap()
}

on_every_database! {
async fn a_retried_dead_letter_goes_to_its_handler_alone_and_its_key_follows(database) {
    let state = App::default();
    state.fail(1, ALWAYS);
    let app = walking(&database, &state).await;
    until_dead(&app, [step("a", 1), step("a", 2), step("a", 3)]).await;
    assert_eq!(of_key(&database, "followed").await, [1, 2, 3], "another handler does not wait");
    let dead = app.dead_letters().await.unwrap();
    state.fail(1, 0);
    app.letters().retry(dead[0].id).await.unwrap();
    app.settle().await.unwrap();
    assert_eq!(of_key(&database, "a").await, [1, 2, 3]);
    assert_eq!(of_key(&database, "followed").await, [1, 2, 3], "and is not called again");
    assert!(app.dead_letters().await.unwrap().is_empty());
    let again = app.letters().retry(dead[0].id).await.unwrap_err();
    assert!(matches!(again, DeadLetterError::NotFound { .. }), "{again}");
}
}

on_every_database! {
async fn a_dead_letter_that_fails_again_has_a_whole_round_of_attempts(database) {
    let state = App::default();
    state.fail(1, ALWAYS);
    let app = walking(&database, &state).await;
    until_dead(&app, [step("a", 1)]).await;
    let id = app.dead_letters().await.unwrap()[0].id;
    app.letters().retry(id).await.unwrap();
    until_dead(&app, []).await;
    let dead = app.dead_letters().await.unwrap();
    assert_eq!((dead.len(), dead[0].attempts), (1, 6));
}
}

on_every_database! {
async fn a_key_is_retried_in_its_order(database) {
    let state = App::default();
    state.fail(1, ALWAYS);
    state.fail(2, ALWAYS);
    let app = on(&database).state(state.clone()).handler(run).start().await.unwrap();
    until_dead(&app, [step("a", 1), step("a", 2), step("b", 5)]).await;
    let dead = app.dead_letters().await.unwrap();
    assert_eq!(dead.len(), 2);
    // The second would succeed; it waits for the first.
    state.fail(2, 0);
    assert_eq!(app.letters().retry_key(dead[1].id).await.unwrap(), 2);
    app.settle().await.unwrap();
    assert_eq!(of_key(&database, "a").await, Vec::<i64>::new());
    state.fail(1, 0);
    app.clock().advance(Duration::from_mins(1));
    app.settle().await.unwrap();
    assert_eq!(of_key(&database, "a").await, [1, 2]);
}
}

on_every_database! {
async fn all_that_match_are_retried(database) {
    let state = App::default();
    for number in 1..=4 {
        state.fail(number, ALWAYS);
    }
    let app = on(&database).state(state.clone()).handler(walk).handler(gather).start().await.unwrap();
    app.publish_all(TENANT, [Loose { number: 3 }, Loose { number: 4 }]).await.unwrap();
    until_dead(&app, [step("a", 1), step("b", 2), step("b", 7)]).await;
    assert_eq!(app.dead_letters().await.unwrap().len(), 4);
    for number in 1..=4 {
        state.fail(number, 0);
    }
    let letters = app.letters();
    assert_eq!(letters.retry_all(&Filter::new().group("nobody")).await.unwrap(), 0);
    assert_eq!(letters.retry_all(&Filter::new().group("gatherers").code("handler_error")).await.unwrap(), 2);
    app.settle().await.unwrap();
    assert_eq!(of_key(&database, "loose").await.len(), 2);
    assert_eq!(of_key(&database, "b").await, Vec::<i64>::new());
    assert_eq!(letters.retry_all(&Filter::new()).await.unwrap(), 2);
    app.settle().await.unwrap();
    assert_eq!((of_key(&database, "a").await, of_key(&database, "b").await), (vec![1], vec![2, 7]));
}
}

on_every_database! {
async fn each_that_matches_is_retried_once_though_it_is_dead_again_at_once(database) {
    let state = App::default();
    let app = on(&database).state(state.clone()).handler(give_up).start().await.unwrap();
    // More than are looked at at once.
    let events = 250;
    for number in 0..events {
        state.fail(number, ALWAYS);
    }
    app.publish_all(TENANT, (0..events).map(|number| step(&format!("k{number}"), number))).await.unwrap();
    app.settle().await.unwrap();
    let (letters, all) = (app.letters(), Filter::new());
    let retried = tokio::time::timeout(Duration::from_secs(20), letters.retry_all(&all));
    assert_eq!(retried.await.expect("it ends").unwrap(), 250);
    app.settle().await.unwrap();
    let dead = app.letters().list(&all).await.unwrap();
    assert!(dead.len() == 250 && dead.iter().all(|letter| letter.attempts == 2));
}
}

on_every_database! {
async fn a_discarded_dead_letter_lets_its_key_go_on_and_leaves_a_record(database) {
    let state = App::default();
    state.fail(1, ALWAYS);
    let app = walking(&database, &state).await;
    until_dead(&app, [step("a", 1), step("a", 2)]).await;
    let dead = app.dead_letters().await.unwrap();
    let refused = app.letters().discard(dead[0].id, "  ").await.unwrap_err();
    assert_eq!(refused.code(), "no_reason");
    app.letters().discard(dead[0].id, "ordered twice by mistake").await.unwrap();
    app.settle().await.unwrap();
    assert_eq!(of_key(&database, "a").await, [2]);
    assert!(app.dead_letters().await.unwrap().is_empty());
    let kept = "SELECT COUNT(*) FROM rustok_held WHERE state = 'discarded' AND reason = 'ordered twice by mistake'";
    assert_eq!(database.count(kept).await, 1);
}
}

on_every_database! {
async fn a_dead_letter_is_what_came_from_where_it_came(database) {
    let state = App::default();
    state.fail(1, ALWAYS);
    let app = walking(&database, &state).await;
    let id = app.publish(TENANT, step("a", 1)).await.unwrap();
    until_dead(&app, []).await;
    let found = app.letters().list(&Filter::new().event(id).tenant(TENANT).handler("walk")).await.unwrap();
    let letter = app.letters().get(found[0].id).await.unwrap();
    assert_eq!(letter.payload, br#"{"key":"a","number":1}"#);
    assert_eq!(letter.envelope().unwrap().id(), id);
    assert_eq!((letter.group.as_str(), letter.handler.as_str()), ("walkers", "walk"));
    assert_eq!((letter.topic.to_string().as_str(), letter.offset), ("test/steps", 0));
    assert_eq!((letter.event_id, letter.tenant_id), (Some(id), Some(TENANT)));
    assert_eq!(letter.key.as_deref(), Some(&b"a"[..]));
    let loose = app.letters().retry_key(i64::MAX).await.unwrap_err();
    assert_eq!(loose.code(), "not_found");
}
}
