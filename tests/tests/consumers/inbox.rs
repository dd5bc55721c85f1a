//! What the inbox remembers, and for how long.

use std::time::Duration;

use rustok_events_tests::{eventually, on_every_database};

use crate::domain::{ALWAYS, App, TENANT, on, step, walk};

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
