//! A connection that is made again whenever it is lost, until it is closed.

use std::{sync::Arc, time::Duration};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::client::{Connection, Endpoint};
use crate::{backoff::Backoff, transport::TransportError};

/// Keeps one connection open. Closed with [`close`](Self::close) or by dropping it.
#[derive(Debug)]
pub(super) struct Link {
    current: watch::Receiver<State>,
    closed: CancellationToken,
}

#[derive(Debug, Clone)]
enum State {
    Up(Arc<Connection>),
    /// Away, and why.
    Down(String),
    /// The broker refuses the log-in; tried again all the same, since an operator may mend it.
    Refused {
        username: String,
        why: String,
    },
}

impl Link {
    /// Connects, and keeps connected from then on.
    pub(super) async fn open(endpoint: Arc<Endpoint>) -> Result<Self, TransportError> {
        let first = Arc::new(Connection::open(&endpoint, 0, endpoint.timing.heartbeat).await?);
        let (state, current) = watch::channel(State::Up(Arc::clone(&first)));
        let closed = CancellationToken::new();
        let keep = keep(endpoint, first, state, closed.clone());
        tokio::spawn(keep);
        Ok(Self { current, closed })
    }

    /// The connection, waiting for one at most as long as given.
    pub(super) async fn get(&self, limit: Duration) -> Result<Arc<Connection>, TransportError> {
        let mut current = self.current.clone();
        let up = async {
            loop {
                match &*current.borrow_and_update() {
                    State::Up(connection) if connection.is_alive() => {
                        return Ok(Arc::clone(connection));
                    }
                    State::Refused { username, why } => {
                        return Err(TransportError::Unauthenticated {
                            username: username.clone(),
                            source: why.clone().into(),
                        });
                    }
                    State::Up(_) | State::Down(_) => {}
                }
                current.changed().await.map_err(|_| TransportError::Closed)?;
            }
        };
        tokio::select! {
            biased;
            () = self.closed.cancelled() => Err(TransportError::Closed),
            up = up => up,
            () = tokio::time::sleep(limit) => Err(self.why_away(limit)),
        }
    }

    fn why_away(&self, limit: Duration) -> TransportError {
        let why = match &*self.current.borrow() {
            State::Down(why) => why.clone(),
            State::Up(_) | State::Refused { .. } => "the connection was lost".to_owned(),
        };
        TransportError::Unavailable(format!("not connected within {limit:?}: {why}").into())
    }

    /// Whether there is a connection that works, as far as is known.
    pub(super) fn is_up(&self) -> bool {
        !self.closed.is_cancelled()
            && matches!(&*self.current.borrow(), State::Up(connection) if connection.is_alive())
    }

    /// Whether the broker accepts the log-in; `None` while that is not known.
    pub(super) fn is_logged_in(&self) -> Option<bool> {
        match &*self.current.borrow() {
            _ if self.closed.is_cancelled() => None,
            State::Up(connection) if connection.is_alive() => Some(true),
            State::Refused { .. } => Some(false),
            State::Up(_) | State::Down(_) => None,
        }
    }

    /// Whether it was closed.
    pub(super) fn is_closed(&self) -> bool {
        self.closed.is_cancelled()
    }

    /// Ends the connection. Twice is safe.
    pub(super) fn close(&self) {
        self.closed.cancel();
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.closed.cancel();
    }
}

/// Waits for the connection to be lost and makes another, until the link is closed.
async fn keep(
    endpoint: Arc<Endpoint>,
    first: Arc<Connection>,
    state: watch::Sender<State>,
    closed: CancellationToken,
) {
    let mut connection = first;
    let mut turn = 0;
    while closed.run_until_cancelled(connection.lost().cancelled()).await.is_some() {
        drop(connection);
        state.send_replace(State::Down("the connection was lost".to_owned()));
        tracing::warn!(addresses = ?endpoint.addresses, "the connection to the broker was lost");
        let timing = &endpoint.timing;
        let mut backoff = Backoff::new(timing.reconnect_min, timing.reconnect_max);
        connection = loop {
            turn += 1;
            let opening = Connection::open(&endpoint, turn, timing.heartbeat);
            let opened = closed.run_until_cancelled(opening).await;
            let Some(opened) = opened else { return };
            let error = match opened {
                Ok(connection) => break Arc::new(connection),
                Err(error) => error,
            };
            let pause = backoff.next();
            tracing::warn!(code = error.code(), %error, retry_in = ?pause, "the broker is away");
            state.send_replace(match &error {
                TransportError::Unauthenticated { username, source } => {
                    State::Refused { username: username.clone(), why: source.to_string() }
                }
                error => State::Down(error.to_string()),
            });
            if closed.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
                return;
            }
        };
        state.send_replace(State::Up(Arc::clone(&connection)));
        tracing::info!(addresses = ?endpoint.addresses, "connected to the broker again");
    }
    state.send_replace(State::Down("the transport was shut down".to_owned()));
}
