//! What becomes of an event that fails: held, tried again, dead; and of the others of its key, and of other keys.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use rustok_events::{
    ConsumerConfig, ConsumerRuntime, Relay, RelayConfig,
    prelude::*,
    testing::{MemoryTransport, TestError},
};
use rustok_events_tests::{Backend, TestDatabase, eventually, on_every_database};
use sea_orm::{ConnectionTrait, DbBackend, Statement, TransactionTrait};
use tokio_util::sync::CancellationToken;

use crate::domain::{
    ALWAYS, App, Done, Loose, Step, TENANT, call_out, gather, give_up, of_key, on, record, run,
    step, walk,
};

const A_MINUTE: Duration = Duration::from_mins(1);

on_every_database! {
async fn a_failing_event_holds_its_key_in_order_and_no_other_key(database) {
    let state = App::default();
    state.fail(1, ALWAYS);
    let app = on(&database).state(state.clone()).handler(walk).start().await.unwrap();
    app.publish_all(TENANT, [step("a", 1), step("b", 1000), step("a", 2), step("b", 1001), step("a", 3)]).await.unwrap();
    app.settle().await.unwrap();
    assert_eq!(of_key(&database, "a").await, Vec::<i64>::new(), "the key waits");
    assert_eq!(of_key(&database, "b").await, [1000, 1001], "the partition flows");
    app.publish(TENANT, step("a", 4)).await.unwrap();
    app.settle().await.unwrap();
    assert_eq!(of_key(&database, "a").await, Vec::<i64>::new(), "what comes later waits too");
    app.clock().advance(A_MINUTE);
    app.settle().await.unwrap();
    assert_eq!(of_key(&database, "a").await, Vec::<i64>::new(), "the second attempt fails");
    state.fail(1, 0);
    app.clock().advance(A_MINUTE);
    app.settle().await.unwrap();
    assert_eq!(of_key(&database, "a").await, [1, 2, 3, 4]);
    app.publish(TENANT, step("a", 5)).await.unwrap();
    app.settle().await.unwrap();
    assert_eq!(of_key(&database, "a").await, [1, 2, 3, 4, 5], "the key is free again");
    assert_eq!(app.handled("walkers", "walk").await.unwrap(), 7);
    assert_eq!(app.published::<Done>().await.unwrap().len(), 7, "follow-ups of failed attempts are gone");
    assert_eq!(database.count("SELECT COUNT(*) FROM rustok_held").await, 0);
    assert!(app.dead_letters().await.unwrap().is_empty());
}
}

on_every_database! {
async fn an_event_out_of_attempts_is_dead_and_its_key_stays_parked(database) {
    let state = App::default();
    state.fail(1, ALWAYS);
    let app = on(&database).state(state.clone()).handler(walk).start().await.unwrap();
    app.publish_all(TENANT, [step("a", 1), step("a", 2), step("b", 3)]).await.unwrap();
    for _ in 0..5 {
        app.settle().await.unwrap();
        app.clock().advance(A_MINUTE);
    }
    app.settle().await.unwrap();
    assert_eq!(of_key(&database, "a").await, Vec::<i64>::new());
    assert_eq!(of_key(&database, "b").await, [3]);
    let dead = app.dead_letters().await.unwrap();
    assert_eq!(dead.len(), 1);
    assert_eq!((dead[0].attempts, dead[0].code.as_str()), (3, "handler_error"));
    assert_eq!(dead[0].error, "1 is not wanted");
    assert!(dead[0].parks_key && dead[0].first_failed_at < dead[0].last_failed_at);
    assert_eq!(app.letters().waiting_behind(dead[0].id).await.unwrap(), 1);
}
}

on_every_database! {
async fn a_handler_that_says_so_goes_on_after_a_dead_letter(database) {
    let state = App::default();
    state.fail(1, ALWAYS);
    let app = on(&database).state(state.clone()).handler(run).start().await.unwrap();
    app.publish_all(TENANT, [step("a", 1), step("a", 2)]).await.unwrap();
    app.settle().await.unwrap();
    assert_eq!(of_key(&database, "a").await, Vec::<i64>::new(), "until it is dead the key waits");
    app.clock().advance(A_MINUTE);
    app.settle().await.unwrap();
    assert_eq!(of_key(&database, "a").await, [2]);
    assert!(!app.dead_letters().await.unwrap()[0].parks_key);
}
}

on_every_database! {
async fn an_event_without_a_key_keeps_nobody_waiting(database) {
    let state = App::default();
    state.fail(1, ALWAYS);
    let app = on(&database).state(state.clone()).handler(gather).start().await.unwrap();
    app.publish_all(TENANT, (0..6).map(|number| Loose { number })).await.unwrap();
    app.settle().await.unwrap();
    assert_eq!(of_key(&database, "loose").await.len(), 5);
    app.clock().advance(A_MINUTE);
    app.settle().await.unwrap();
    let dead = app.dead_letters().await.unwrap();
    assert_eq!((dead.len(), dead[0].parks_key, dead[0].key.clone()), (1, false, None));
    app.publish(TENANT, Loose { number: 7 }).await.unwrap();
    app.settle().await.unwrap();
    assert_eq!(of_key(&database, "loose").await.len(), 6);
}
}

on_every_database! {
async fn a_terminal_error_is_a_dead_letter_at_once(database) {
    let state = App::default();
    state.fail(1, ALWAYS);
    let app = on(&database).state(state.clone()).handler(give_up).start().await.unwrap();
    app.publish(TENANT, step("a", 1)).await.unwrap();
    app.settle().await.unwrap();
    app.publish(TENANT, step("a", 2)).await.unwrap();
    app.settle().await.unwrap();
    assert_eq!(state.calls(), 1, "no second attempt, and the key is parked");
    assert_eq!(app.dead_letters().await.unwrap()[0].attempts, 1);
}
}

on_every_database! {
async fn a_handler_without_an_inbox_keeps_the_order_of_its_keys_too(database) {
    let state = App::default();
    state.fail(1, 1);
    let app = on(&database).state(state.clone()).handler(call_out).start().await.unwrap();
    app.publish_all(TENANT, [step("a", 1), step("a", 2), step("b", 9), step("a", 3)]).await.unwrap();
    app.settle().await.unwrap();
    assert_eq!(state.seen(), [("b".to_owned(), 9)]);
    app.publish(TENANT, step("a", 4)).await.unwrap();
    app.settle().await.unwrap();
    app.clock().advance(A_MINUTE);
    app.settle().await.unwrap();
    let seen: Vec<i64> = state.seen().into_iter().filter(|(key, _)| key == "a").map(|(_, n)| n).collect();
    assert_eq!(seen, [1, 2, 3, 4]);
    assert_eq!(database.count("SELECT COUNT(*) FROM rustok_held").await, 0);
}
}

/// A runtime of its own on a database, over a shared broker.
fn consumer(
    database: &TestDatabase,
    transport: &MemoryTransport,
    state: &App,
) -> (CancellationToken, tokio::task::JoinHandle<()>) {
    let mut config = ConsumerConfig::default();
    config.retry_in_place = Duration::ZERO;
    config.redelivery_tick = Duration::from_millis(20);
    let runtime = ConsumerRuntime::builder(database.db.clone(), transport.clone())
        .state(state.clone())
        .handler(walk)
        .config(config)
        .build()
        .unwrap();
    let token = CancellationToken::new();
    let work = runtime.run(token.clone());
    (token, tokio::spawn(async move { work.await.unwrap() }))
}

on_every_database! {
async fn two_runtimes_share_held_events_and_each_is_handled_once(database) {
    let (transport, state) = (MemoryTransport::new(), App::default());
    for number in 0..40 {
        state.fail(number, 1);
    }
    let bus = rustok_events::TransactionalEventBus::new();
    let txn = database.db.begin().await.unwrap();
    let events = (0..120).map(|number| step(&format!("k{}", number % 40), number));
    bus.publish_all_in_tx(&txn, TENANT, None, events).await.unwrap();
    txn.commit().await.unwrap();
    Relay::new(database.db.clone(), transport.clone(), RelayConfig::default()).drain().await.unwrap();
    let running = [consumer(&database, &transport, &state), consumer(&database, &transport, &state)];
    eventually(|| async { database.ledger().await.len() >= 120 }).await;
    for (token, task) in running {
        token.cancel();
        task.await.unwrap();
    }
    let ledger = database.ledger().await;
    assert_eq!(ledger.len(), 120, "each once");
    for key in 0..40 {
        assert_eq!(of_key(&database, &format!("k{key}")).await, [key, key + 40, key + 80]);
    }
    assert_eq!(database.count("SELECT COUNT(*) FROM rustok_held").await, 0);
}
}

/// Writes where the application's migration has not been yet.
#[event_handler(group = "early", retry(attempts = 2, min = "1ms", max = "2ms"))]
async fn too_early<S>(ctx: &mut HandlerContext<'_, S>, event: Step) -> HandlerResult {
    let sql = format!("INSERT INTO not_yet (number) VALUES ({})", event.number);
    ctx.tx().execute_unprepared(&sql).await?;
    record(ctx.tx(), &event.key, event.number).await?;
    Ok(())
}

on_every_database! {
async fn a_group_whose_every_event_fails_at_the_database_pauses(database) {
    let app = on(&database).handler(too_early).consumers(|config| {
        config.max_backoff = Duration::from_millis(100);
    });
    let app = app.start().await.unwrap();
    app.publish_all(TENANT, (0..40).map(|number| step(&format!("k{number}"), number))).await.unwrap();
    for _ in 0..20 {
        tokio::time::sleep(Duration::from_millis(20)).await;
        app.clock().advance(A_MINUTE);
    }
    let dead = app.dead_letters().await.unwrap().len();
    assert!(dead < 10, "{dead} dead letters: an outage was taken for bad events");
    database.db.execute_unprepared("CREATE TABLE not_yet (number BIGINT)").await.unwrap();
    eventually(|| async {
        app.clock().advance(A_MINUTE);
        database.ledger().await.len() + app.dead_letters().await.unwrap().len() == 40
    })
    .await;
}
}

/// Fails with a text that fits into no column, and that PostgreSQL would not store at all.
#[event_handler(group = "verbose", retry(attempts = 1))]
async fn verbose<S>(_: &mut HandlerContext<'_, S>, event: Step) -> HandlerResult {
    let text = format!("\0{}: {}", event.number, "\u{1F980}".repeat(100_000));
    Err(std::io::Error::other(text).into())
}

on_every_database! {
async fn an_oversized_error_text(database) {
    let app = on(&database).handler(verbose).start().await.unwrap();
    app.publish(TENANT, step("a", 1)).await.unwrap();
    app.settle().await.unwrap();
    let letters = app.dead_letters().await.unwrap();
    assert_eq!(letters.len(), 1);
    let error = &letters[0].error;
    assert!(error.contains("1: \u{1F980}") && error.chars().count() <= 4000, "{}", error.len());
    if database.backend() != Backend::Sqlite {
        let update = "UPDATE rustok_held SET error = ?";
        let update = if database.backend() == Backend::Postgres { update.replace('?', "$1") } else { update.to_owned() };
        let text = format!("\0{}", "\u{1F980}".repeat(100_000));
        let backend = database.db.get_database_backend();
        let update = Statement::from_sql_and_values(backend, update, [text.into()]);
        assert!(database.db.execute_raw(update).await.is_err(), "the text as it is cannot be kept");
    }
}
}

static CUT: AtomicBool = AtomicBool::new(false);

/// Loses its connection the first time.
#[event_handler(group = "cut", retry(attempts = 1))]
async fn cut_off<S>(ctx: &mut HandlerContext<'_, S>, event: Step) -> HandlerResult {
    if !CUT.swap(true, Ordering::Relaxed) {
        let cut = match ctx.tx().get_database_backend() {
            DbBackend::Postgres => "SELECT pg_terminate_backend(pg_backend_pid())",
            _ => "KILL CONNECTION_ID()",
        };
        ctx.tx().execute_unprepared(cut).await?;
        ctx.tx().execute_unprepared("SELECT 1").await?;
    }
    record(ctx.tx(), &event.key, event.number).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_connection_is_not_an_attempt() {
    for backend in [Backend::Postgres, Backend::MySql] {
        if !backend.is_available("a_lost_connection_is_not_an_attempt") {
            continue;
        }
        CUT.store(false, Ordering::Relaxed);
        let database = backend.create().await;
        let app = on(&database).handler(cut_off).start().await.unwrap();
        app.publish(TENANT, step("a", 1)).await.unwrap();
        app.settle().await.unwrap();
        assert!(CUT.load(Ordering::Relaxed));
        assert_eq!(of_key(&database, "a").await, [1]);
        assert!(app.dead_letters().await.unwrap().is_empty());
    }
}

/// Asks the pool for a connection besides its own.
#[event_handler(group = "greedy", retry(attempts = 1))]
async fn greedy(
    ctx: &mut HandlerContext<'_, Arc<Mutex<Option<sea_orm::DatabaseConnection>>>>,
    _event: Step,
) -> HandlerResult {
    let db = ctx.state().lock().unwrap().clone().expect("the test puts it there");
    db.execute_unprepared("SELECT 1").await?;
    Ok(())
}

#[tokio::test]
async fn a_handler_that_waits_for_its_own_connection_is_named() -> Result<(), TestError> {
    let state = Arc::new(Mutex::new(None));
    let test = rustok_events::testing::HandlerTest::builder().state(state.clone()).handler(greedy);
    let test = test.start().await?;
    *state.lock().unwrap() = Some(test.db().clone());
    let then = test.when(TENANT, step("a", 1)).await?;
    let failure = then.failure().expect("it cannot succeed");
    assert_eq!(failure.code(), "no_connection");
    assert!(failure.to_string().contains("ctx.tx()"), "{failure}");
    Ok(())
}
