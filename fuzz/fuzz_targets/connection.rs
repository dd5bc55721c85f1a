//! Whatever a connection sends is answered or ends it.
//!
//! Input: flags, then the bytes of a connection. With the lowest flag it is logged in already. With the second the
//! bytes are commands `[which][length][payload]`, which are put into frames of the right length.

#![no_main]

mod commands;

use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use rustok_events::{iggy::embedded::BrokerConfig, testing::fuzz::FuzzedBroker};
use tokio::runtime::{Builder, Runtime};

thread_local! {
    static RUNTIME: Runtime = Builder::new_current_thread().enable_time().build().expect("a runtime");
}

fuzz_target!(|input: &[u8]| {
    let Some((flags, bytes)) = input.split_first() else { return };
    let sent = if flags & 2 == 0 { bytes.to_vec() } else { commands::frames(bytes) };
    let answers = RUNTIME.with(|runtime| runtime.block_on(converse(flags & 1 != 0, &sent)));
    commands::check(&answers);
});

async fn converse(logged_in: bool, sent: &[u8]) -> Vec<u8> {
    let mut config = BrokerConfig::in_memory();
    // What a frame says it has may be more.
    config.max_frame = 64 * 1024;
    config.io_timeout = Duration::from_secs(1);
    let broker = FuzzedBroker::open(config).expect("memory is opened");
    broker.provision().await.expect("it can be made");
    broker.converse(logged_in, sent).await
}
