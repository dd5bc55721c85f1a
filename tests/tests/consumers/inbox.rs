//! What the inbox remembers, and for how long.

use std::time::Duration;

use rustok_events::{
    ConsumerRuntime,
    iggy::{IggyConfig, IggyTransport},
    prelude::*,
    testing::TestApp,
};
use rustok_events_tests::{Backend, eventually, on_every_database, rows};
use tokio_util::sync::CancellationToken;

use crate::domain::{ALWAYS, App, Step, TENANT, give_up, on, record, step, walk};

const A_DAY: Duration = Duration::from_hours(24);

on_every_database! {
async fn the_inbox_forgets_after_its_window_and_not_what_is_held(database) {
    let state = App::default();
    state.fail(0, ALWAYS);
    let app = on(&database).state(state).handler(walk).consumers(|config| {
        config.inbox_retention = Some(7 * A_DAY);
    });
    let app = app.start().await.unwrap();
    let events = (0..1200).map(|number| step(&format!("k{number}"), number));
    app.publish_all(TENANT, events).await.unwrap();
    app.settle().await.unwrap();
    let remembered = "SELECT COUNT(*) FROM rustok_inbox";
    assert_eq!(database.count(remembered).await, 1200);
    app.clock().advance(6 * A_DAY);
    app.settle().await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(database.count(remembered).await, 1200, "within the window nothing is forgotten");
    app.clock().advance(2 * A_DAY);
    eventually(|| async { database.count(remembered).await == 1 }).await;
    let held = "SELECT COUNT(*) FROM rustok_inbox WHERE outcome = 'held'";
    assert_eq!(database.count(held).await, 1);
}
}

on_every_database! {
async fn records_of_what_was_given_up_are_kept_for_a_while(database) {
    let state = App::default();
    for number in 0..3 {
        state.fail(number, ALWAYS);
    }
    let app = on(&database).state(state).handler(give_up).consumers(|config| {
        config.record_retention = Some(7 * A_DAY);
    });
    let app = app.start().await.unwrap();
    app.publish_all(TENANT, (0..3).map(|number| step(&format!("k{number}"), number))).await.unwrap();
    app.settle().await.unwrap();
    let letters = app.dead_letters().await.unwrap();
    assert_eq!(letters.len(), 3);
    // Dead for longer than records are kept: it is the decision that counts.
    app.clock().advance(30 * A_DAY);
    app.letters().discard(letters[0].id, "not wanted").await.unwrap();
    app.letters().discard(letters[1].id, "not wanted").await.unwrap();
    let kept = "SELECT COUNT(*) FROM rustok_held";
    app.clock().advance(6 * A_DAY);
    app.settle().await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(database.count(kept).await, 3, "within the window nothing is forgotten");
    app.clock().advance(2 * A_DAY);
    eventually(|| async { database.count(kept).await == 1 }).await;
    assert_eq!(app.dead_letters().await.unwrap()[0].id, letters[2].id, "what nobody decided on stays");
}
}

/// Notes what its transaction is like, as PostgreSQL says, and fails once where the state says so.
#[event_handler(group = "askers", retry(attempts = 2, min = "100ms", max = "10s"))]
async fn ask(ctx: &mut HandlerContext<'_, App>, event: Step) -> HandlerResult {
    let ask = "SELECT concat(current_setting('transaction_isolation'), ', ',
                             current_setting('synchronous_commit'))";
    for (settings,) in rows::<(String,)>(ctx.tx(), ask).await {
        ctx.state().note(settings, event.number);
    }
    ctx.state().check(event.number)?;
    record(ctx.tx(), &event.key, event.number).await?;
    Ok(())
}

/// The result of an event is durable before its offset is stored, and what is held is seen, whatever the session's
/// own settings.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_settings_of_a_session_are_not_those_of_a_handlers_transaction() {
    if !Backend::Postgres.is_available("the settings of a session") {
        return;
    }
    let off = &[("synchronous_commit", "off")];
    let both = &[("synchronous_commit", "off"), ("default_transaction_isolation", "serializable")];
    for settings in [off.as_slice(), both.as_slice()] {
        let database = Backend::Postgres.create().await;
        let state = App::default();
        state.fail(5, 1);
        let db = database.connect_set(settings).await;
        let app = TestApp::builder().connection(db).state(state.clone()).handler(ask);
        let app = app.start().await.unwrap();
        let steps = (0..20).map(|number| step(&format!("k{}", number % 4), number));
        app.publish_all(TENANT, steps).await.unwrap();
        app.settle().await.unwrap();
        app.clock().advance(Duration::from_mins(1));
        app.settle().await.unwrap();
        let seen = state.seen();
        assert!(seen.len() > 20, "one of them failed once");
        for (found, number) in seen {
            assert_eq!(found, "read committed, on", "{settings:?}, {number}");
        }
        let mut handled: Vec<i64> = database.ledger().await.into_iter().map(|(_, n)| n).collect();
        handled.sort_unstable();
        assert_eq!(handled, (0..20).collect::<Vec<_>>(), "{settings:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_that_keeps_more_than_the_inbox_remembers_is_refused_by_name() {
    let database = Backend::Sqlite.create().await;
    for (kept, refused) in [(Some(31 * A_DAY), true), (Some(29 * A_DAY), false), (None, false)] {
        let mut config = IggyConfig::default();
        config.embedded.persistent = false;
        config.retention.max_age = kept;
        let transport = IggyTransport::new(config).await.unwrap();
        let builder = ConsumerRuntime::builder(database.db.clone(), transport);
        let runtime = builder.state(App::default()).handler(walk).build().unwrap();
        let token = CancellationToken::new();
        let ended = tokio::time::timeout(Duration::from_secs(2), runtime.run(token)).await;
        match ended {
            Ok(ended) => {
                let error = ended.expect_err("nobody stopped it");
                assert!(refused, "{error}");
                assert_eq!(error.code(), "inbox_window_too_short");
                assert!(error.to_string().contains("`test/steps`"), "{error}");
            }
            Err(_) => assert!(!refused, "it runs"),
        }
    }
}
