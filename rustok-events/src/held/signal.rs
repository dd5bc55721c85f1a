//! The process-wide signal that held events changed. A signal too many is harmless: it costs one look.

use std::sync::LazyLock;

use tokio::sync::watch;

static CHANGES: LazyLock<watch::Sender<u64>> = LazyLock::new(|| watch::Sender::new(0));

/// Tells every runtime of the process that there may be something to try again.
pub(crate) fn notify() {
    CHANGES.send_modify(|changes| *changes = changes.wrapping_add(1));
}

/// An ear for [`notify`].
pub(crate) fn listen() -> Changes {
    Changes(CHANGES.subscribe())
}

/// Hears each change that came after the last one it heard.
#[derive(Debug)]
pub(crate) struct Changes(watch::Receiver<u64>);

impl Changes {
    /// Waits for a change. Cancellation-safe.
    pub(crate) async fn next(&mut self) {
        if self.0.changed().await.is_err() {
            // The sender is a static: it cannot go away.
            std::future::pending::<()>().await;
        }
    }
}
