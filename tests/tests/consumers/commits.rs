//! Transactions that do not commit though their handler was content.

use std::time::Duration;

use rustok_events::{prelude::*, testing::TestApp};
use rustok_events_tests::{Backend, TestDatabase, eventually, on_every_database};
use sea_orm::ConnectionTrait;

use crate::domain::{App, Step, TENANT, of_key, on, record, step};

const A_MINUTE: Duration = Duration::from_mins(1);

/// Steps of as many keys, in one batch or a few.
async fn publish(app: &TestApp, steps: i64) {
    let steps = (0..steps).map(|number| step(&format!("k{number}"), number));
    app.publish_all(TENANT, steps).await.unwrap();
}

/// Waits until so many steps are in the ledger and so many are dead, with so much time for retries as it takes.
async fn until(app: &TestApp, database: &TestDatabase, handled: usize, dead: usize) {
    eventually(|| async {
        app.clock().advance(A_MINUTE);
        let letters = app.dead_letters().await.unwrap().len();
        database.ledger().await.len() == handled && letters == dead
    })
    .await;
}

/// Writes each number once, and takes it for well that another has written it.
#[event_handler(group = "forgiving", retry(attempts = 2, min = "1ms", max = "2ms"))]
async fn forgive(ctx: &mut HandlerContext<'_, App>, event: Step) -> HandlerResult {
    record(ctx.tx(), &event.key, event.number).await?;
    let write = format!("INSERT INTO once (number) VALUES ({})", event.number);
    if let Err(error) = ctx.tx().execute_unprepared(&write).await {
        assert!(matches!(error.sql_err(), Some(sea_orm::SqlErr::UniqueConstraintViolation(_))));
    }
    Ok(())
}

on_every_database! {
async fn an_error_that_a_handler_ignores_loses_nothing(database) {
    database.db.execute_unprepared("CREATE TABLE once (number BIGINT PRIMARY KEY)").await.unwrap();
    // The last of a batch too, after which nothing else is asked in its transaction.
    database.db.execute_unprepared("INSERT INTO once (number) VALUES (0), (18), (19)").await.unwrap();
    let app = on(&database).state(App::default()).handler(forgive).start().await.unwrap();
    publish(&app, 20).await;
    // Elsewhere the statement alone is undone.
    let postgres = database.backend() == Backend::Postgres;
    let dead = if postgres { 3 } else { 0 };
    until(&app, &database, 20 - dead, dead).await;
    for letter in app.dead_letters().await.unwrap() {
        assert_eq!(letter.code, "ignored_error");
        assert!(letter.error.contains("savepoint"), "{}", letter.error);
    }
    let handled = app.handled("forgiving", "forgive").await.unwrap();
    assert_eq!(handled, 20 - u64::try_from(dead).unwrap());
}
}

/// Ends its transaction the first times, as a server does that finds a deadlock, and goes on.
#[event_handler(group = "undoing", retry(attempts = 3, min = "1ms", max = "2ms"))]
async fn undo(ctx: &mut HandlerContext<'_, App>, event: Step) -> HandlerResult {
    record(ctx.tx(), &event.key, event.number).await?;
    if ctx.state().check(event.number).is_err() {
        ctx.tx().execute_unprepared("ROLLBACK").await?;
    }
    Ok(())
}

/// Comes after [`undo`] in its transaction, and fails where the state says so, before it has written.
#[event_handler(group = "undoing", retry(attempts = 3, min = "1ms", max = "2ms"))]
async fn go_on(ctx: &mut HandlerContext<'_, App>, event: Step) -> HandlerResult {
    ctx.state().check(100 + event.number)?;
    record(ctx.tx(), "gone on", event.number).await?;
    Ok(())
}

on_every_database! {
async fn a_transaction_that_ended_behind_its_handler_is_done_again(database) {
    let state = App::default();
    state.fail(3, 2);
    // Elsewhere what follows the end of a transaction stands by itself: what the other handler claims, too. PostgreSQL
    // ends none by itself.
    let fails = database.backend() != Backend::Postgres;
    state.fail(103, u32::from(fails));
    let app = on(&database).state(state).handler(undo).handler(go_on).start().await.unwrap();
    app.publish_all(TENANT, (1..=3).map(|number| step("a", number))).await.unwrap();
    until(&app, &database, 6, 0).await;
    for key in ["a", "gone on"] {
        assert_eq!(of_key(&database, key).await, [1, 2, 3]);
    }
    for handler in ["undo", "go_on"] {
        assert_eq!(app.handled("undoing", handler).await.unwrap(), 3);
    }
}
}

/// Writes a child of a parent that may not be there, which the database looks at when it commits.
#[event_handler(group = "deferring", retry(attempts = 2, min = "1ms", max = "2ms"))]
async fn defer(ctx: &mut HandlerContext<'_, App>, event: Step) -> HandlerResult {
    record(ctx.tx(), &event.key, event.number).await?;
    let write = format!("INSERT INTO child (parent) VALUES ({})", event.number);
    ctx.tx().execute_unprepared(&write).await?;
    Ok(())
}

async fn what_a_database_refuses_at_the_commit(database: TestDatabase) {
    for sql in [
        "CREATE TABLE parent (id BIGINT PRIMARY KEY)",
        "CREATE TABLE child (parent BIGINT REFERENCES parent (id) DEFERRABLE INITIALLY DEFERRED)",
        "INSERT INTO parent (id) VALUES (0), (1), (2), (3), (5), (6), (7)",
    ] {
        database.db.execute_unprepared(sql).await.unwrap();
    }
    let app = on(&database).state(App::default()).handler(defer).start().await.unwrap();
    publish(&app, 8).await;
    until(&app, &database, 7, 1).await;
    let dead = app.dead_letters().await.unwrap();
    assert_eq!((dead[0].code.as_str(), dead[0].attempts), ("commit_refused", 2));
}

/// MySQL and MariaDB have no constraints that wait for the commit.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_database_refuses_at_the_commit_is_the_event_s_doing() {
    for backend in [Backend::Sqlite, Backend::Postgres] {
        if backend.is_available("what_a_database_refuses_at_the_commit_is_the_event_s_doing") {
            what_a_database_refuses_at_the_commit(backend.create().await).await;
        }
    }
}
