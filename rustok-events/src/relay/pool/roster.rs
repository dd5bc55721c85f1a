//! Which outboxes there are, when each is due, and whose connections are open.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use sea_orm::{ConnectOptions, DatabaseConnection};
use tokio::sync::Notify;

use super::{
    RelayPoolConfig,
    outbox::{Found, Outbox, PooledOutbox},
};
use crate::{
    backoff::Backoff,
    relay::{RelayError, pace::Pace},
};

/// The longest that a connection is waited for while it closes.
const CLOSE: Duration = Duration::from_secs(2);

/// The outboxes of a pool.
pub(super) struct Roster {
    state: Mutex<State>,
    changed: Notify,
    limit: usize,
    page_size: u64,
    min_pause: Duration,
    max_pause: Duration,
    backoff: Backoff,
}

struct State {
    outboxes: Vec<Outbox>,
    /// How many connections are open or about to be.
    open: usize,
    /// The number of the next outbox that is added.
    next: u64,
}

/// A visit of an outbox. One that is dropped before its [end](Self::end) leaves the outbox to the next.
pub(super) struct Visit<'r> {
    roster: &'r Roster,
    number: u64,
    has_ended: bool,
    pub(super) options: ConnectOptions,
    /// The outbox's connection, if it is open.
    pub(super) db: Option<DatabaseConnection>,
    /// Another outbox's, to be closed first.
    pub(super) to_close: Option<DatabaseConnection>,
    pub(super) is_checked: bool,
    pub(super) pace: Pace,
    /// How long ago it was kept.
    pub(super) kept: Option<Duration>,
}

impl Visit<'_> {
    /// Ends the visit; `db` is its connection, if it is open and good. What is returned is to be closed.
    pub(super) fn end(
        mut self,
        db: Option<DatabaseConnection>,
        result: Result<Found, RelayError>,
    ) -> Option<DatabaseConnection> {
        self.has_ended = true;
        self.roster.end(self.number, db, Some(result))
    }
}

impl Drop for Visit<'_> {
    fn drop(&mut self) {
        if !self.has_ended {
            self.roster.end(self.number, None, None);
        }
    }
}

impl Roster {
    pub(super) fn new(config: &RelayPoolConfig) -> Self {
        let relay = &config.relay;
        Self {
            state: Mutex::new(State { outboxes: Vec::new(), open: 0, next: 0 }),
            changed: Notify::new(),
            limit: config.max_connections.max(1),
            page_size: relay.page_size,
            min_pause: relay.min_tick,
            max_pause: config.max_pause.max(relay.min_tick),
            backoff: Backoff::new(relay.max_tick, relay.max_backoff),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn add(&self, name: String, options: ConnectOptions) -> bool {
        let mut state = self.lock();
        let known = state.remove(&name);
        let number = state.next;
        state.next += 1;
        let pace = Pace::new(self.page_size);
        let outbox = Outbox::new(number, name, options, self.min_pause, pace, &self.backoff);
        state.outboxes.push(outbox);
        drop(state);
        self.changed.notify_waiters();
        !known
    }

    pub(super) fn remove(&self, name: &str) -> bool {
        let known = self.lock().remove(name);
        self.changed.notify_waiters();
        known
    }

    pub(super) fn status(&self) -> Vec<PooledOutbox> {
        let state = self.lock();
        let mut status: Vec<PooledOutbox> = state.outboxes.iter().map(Outbox::status).collect();
        drop(state);
        status.sort_by(|a, b| a.name.cmp(&b.name));
        status
    }

    /// Events were committed in this process: outboxes that are likely to have them are due.
    pub(super) fn wake(&self) {
        let now = Instant::now();
        let mut state = self.lock();
        for outbox in &mut state.outboxes {
            outbox.wake(now);
        }
        drop(state);
        self.changed.notify_waiters();
    }

    /// The outbox that has been due for longest, once one is. Cancellation-safe.
    pub(super) async fn next(&self) -> Visit<'_> {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let due = match self.pick() {
                Ok(visit) => return visit,
                Err(due) => due,
            };
            let wait = async {
                match due {
                    Some(due) => tokio::time::sleep_until(due.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = changed => {}
                () = wait => {}
            }
        }
    }

    /// The outbox to visit now, or when to look again.
    fn pick(&self) -> Result<Visit<'_>, Option<Instant>> {
        let now = Instant::now();
        let mut guard = self.lock();
        let state = &mut *guard;
        // What is away takes long to say so: it gets one connection, whatever else is away.
        let tries_one = state.outboxes.iter().any(|outbox| outbox.is_visited && outbox.is_away());
        let candidates = state.outboxes.iter_mut();
        let next = candidates
            .filter(|outbox| !(outbox.is_visited || tries_one && outbox.is_away()))
            .min_by_key(|outbox| outbox.due);
        let Some(outbox) = next else { return Err(None) };
        if outbox.due > now {
            return Err(Some(outbox.due));
        }
        let number = outbox.number;
        let mut to_close = None;
        if outbox.db.is_none() {
            if state.open < self.limit {
                state.open += 1;
            } else {
                // The one that has the least to come gives its connection up. There is none only while the visits of
                // a run that was dropped are still ending.
                let idle = state.outboxes.iter_mut().filter(|outbox| outbox.db.is_some());
                let Some(quietest) = idle.max_by_key(|outbox| outbox.due) else {
                    return Err(None);
                };
                to_close = quietest.db.take();
            }
        }
        let outbox = state.outboxes.iter_mut().find(|outbox| outbox.number == number);
        let Some(outbox) = outbox else { return Err(None) };
        outbox.is_visited = true;
        let visit = Visit {
            roster: self,
            number,
            has_ended: false,
            options: outbox.options.clone(),
            db: outbox.db.take(),
            to_close,
            is_checked: outbox.is_checked,
            pace: outbox.pace.clone(),
            kept: outbox.kept.map(|at| now - at),
        };
        drop(guard);
        Ok(visit)
    }

    /// A visit has ended; without a result it broke off. What is returned is to be closed.
    fn end(
        &self,
        number: u64,
        db: Option<DatabaseConnection>,
        result: Option<Result<Found, RelayError>>,
    ) -> Option<DatabaseConnection> {
        let mut guard = self.lock();
        let state = &mut *guard;
        let outbox = state.outboxes.iter_mut().find(|outbox| outbox.number == number);
        if db.is_none() || outbox.is_none() {
            state.open -= 1;
        }
        let to_close = match outbox {
            Some(outbox) => {
                outbox.db = db;
                outbox.is_visited = false;
                outbox.visited = Some(Instant::now());
                match result {
                    Some(Ok(found)) => outbox.note(found, self.min_pause, self.max_pause),
                    Some(Err(error)) => outbox.note_error(&error),
                    None => outbox.due = Instant::now() + outbox.backoff.next(),
                }
                None
            }
            None => db,
        };
        drop(guard);
        self.changed.notify_waiters();
        to_close
    }

    /// Closes what is open. Nothing may be visited any more.
    pub(super) async fn close(&self) {
        let open: Vec<DatabaseConnection> = {
            let mut state = self.lock();
            state.open = 0;
            state.outboxes.iter_mut().filter_map(|outbox| outbox.db.take()).collect()
        };
        futures::future::join_all(open.into_iter().map(close)).await;
    }
}

impl State {
    fn remove(&mut self, name: &str) -> bool {
        let Some(place) = self.outboxes.iter().position(|outbox| &*outbox.name == name) else {
            return false;
        };
        let outbox = self.outboxes.swap_remove(place);
        if outbox.db.is_some() {
            self.open -= 1;
        }
        true
    }
}

/// Closes a connection, and waits until it is closed, or for so long as a server that is well takes to answer. One that
/// stopped answering does not say farewell either, and its worker has other outboxes to visit: what is left of the
/// connection goes when its last question fails.
pub(super) async fn close(db: DatabaseConnection) {
    match tokio::time::timeout(CLOSE, db.close()).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "a connection could not be closed"),
        Err(_) => tracing::debug!("a connection could not be closed in time"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql;

    /// A connection that is still at work, as one is whose server stopped in the middle of an answer.
    #[tokio::test]
    async fn a_connection_that_cannot_be_closed_holds_nobody_up() {
        let db = sea_orm::Database::connect("sqlite::memory:").await.unwrap();
        let txn = sql::begin_write(&db).await.unwrap();
        let closed = tokio::time::timeout(CLOSE * 5, close(db.clone())).await;
        assert!(closed.is_ok(), "given up in time");
        drop(txn);
        close(db).await;
    }
}
