//! Takes connections until the broker stops, then sees them out.

use std::{sync::Arc, time::Duration};

use tokio::{
    net::TcpListener,
    sync::{mpsc, watch},
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{broker::Broker, connection, retention};

/// How long requests under way may take once the broker stops.
const FAREWELL: Duration = Duration::from_secs(5);

/// Serves until `stop`, then closes everything and says so.
pub(super) async fn run(
    broker: Arc<Broker>,
    listener: TcpListener,
    remains: mpsc::UnboundedReceiver<Vec<u8>>,
    stop: CancellationToken,
    stopped: watch::Sender<bool>,
) {
    let sweeper = tokio::spawn(retention::run(Arc::clone(&broker), remains, stop.clone()));
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => break,
            Some(ended) = connections.join_next() => report(ended),
            accepted = listener.accept() => match accepted {
                Ok((stream, address)) if connections.len() >= broker.config.max_connections => {
                    tracing::warn!(%address, "the embedded broker has no room for a connection");
                    drop(stream);
                }
                Ok((stream, _)) => {
                    connections.spawn(connection::serve(Arc::clone(&broker), stream, stop.clone()));
                }
                Err(error) => {
                    // Out of descriptors, or a connection that is gone already: neither ends the broker.
                    tracing::warn!(%error, "the embedded broker cannot take a connection");
                    sleep(Duration::from_millis(50)).await;
                }
            },
        }
    }
    drop(listener);
    let farewell = async { while connections.join_next().await.is_some() {} };
    if timeout(FAREWELL, farewell).await.is_err() {
        connections.shutdown().await;
    }
    if sweeper.await.is_err() {
        tracing::error!("the embedded broker's sweep panicked");
    }
    let closed = tokio::task::spawn_blocking(move || {
        broker.close();
        // The last to hold it: this closes the database and gives the lock back.
        drop(broker);
    });
    if closed.await.is_err() {
        tracing::error!("the embedded broker did not close its data");
    }
    stopped.send_replace(true);
}

fn report(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        tracing::error!(%error, "a connection of the embedded broker panicked");
    }
}
