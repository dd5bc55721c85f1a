//! Two processes of one group, killed at random for some seconds; `members` in `src/bin` does it for as long as you
//! like.

use std::{path::PathBuf, time::Duration};

use rustok_events_tests::{
    members::{self, Options},
    on_every_database,
};

on_every_database! {
async fn killed_members_of_a_group_handle_every_event_once_and_in_order(database) {
    let options = Options {
        program: PathBuf::from(env!("CARGO_BIN_EXE_members")),
        length: Duration::from_secs(10),
        pauses: (Duration::from_millis(300), Duration::from_millis(1500)),
        seed: 7,
    };
    let report = members::run(&options, &database).await.unwrap();
    assert!(report.is_good(), "{report}");
}
}
