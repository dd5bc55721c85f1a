//! The process-wide signal that events were committed. A wake too many is harmless: it costs one look.

use std::sync::LazyLock;

use tokio::sync::watch;

static COMMITS: LazyLock<watch::Sender<u64>> = LazyLock::new(|| watch::Sender::new(0));

/// Tells every relay of the process that events were committed.
pub(crate) fn notify() {
    COMMITS.send_modify(|commits| *commits = commits.wrapping_add(1));
}

/// A relay's ear.
pub(crate) fn listen() -> Commits {
    Commits(COMMITS.subscribe())
}

/// Hears each commit that came after the last one it heard.
#[derive(Debug)]
pub(crate) struct Commits(watch::Receiver<u64>);

impl Commits {
    /// Waits for a commit. Cancellation-safe.
    pub(crate) async fn next(&mut self) {
        if self.0.changed().await.is_err() {
            // The sender is a static: it cannot go away.
            std::future::pending::<()>().await;
        }
    }
}
