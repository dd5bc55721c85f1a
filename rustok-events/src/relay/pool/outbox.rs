//! One outbox of a pool: when it is due, and what is known of it.

use std::time::{Duration, Instant};

use sea_orm::{ConnectOptions, DatabaseConnection};

use crate::{
    backoff::Backoff,
    relay::{RelayError, pace::Pace},
    transport::TransportError,
};

/// For so long after its last events an outbox is visited after each commit in this process.
const BUSY: Duration = Duration::from_mins(1);

/// An outbox of a pool, as of its last visit.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct PooledOutbox {
    /// Its name.
    pub name: String,
    /// How long ago its last visit ended; `None` if there was none.
    pub visited: Option<Duration>,
    /// The code of what was wrong at the last visit, as of [`RelayError::code`]; `None` if nothing was.
    pub trouble: Option<&'static str>,
    /// The same in words.
    pub error: Option<String>,
}

pub(super) struct Outbox {
    /// Tells an outbox from another that had its name.
    pub(super) number: u64,
    pub(super) name: String,
    pub(super) options: ConnectOptions,
    pub(super) due: Instant,
    pub(super) is_visited: bool,
    pub(super) db: Option<DatabaseConnection>,
    /// Whether its tables were looked at, and fit.
    pub(super) is_checked: bool,
    pub(super) visited: Option<Instant>,
    /// When it was last kept: cleaned up, and asked for what an operator had decided.
    pub(super) kept: Option<Instant>,
    /// When it last had events.
    pub(super) busy: Option<Instant>,
    /// A commit came while it was visited.
    pub(super) is_woken: bool,
    pub(super) pause: Duration,
    /// What its visits have learnt of how much goes out at a time.
    pub(super) pace: Pace,
    pub(super) trouble: Option<Trouble>,
    pub(super) backoff: Backoff,
}

pub(super) struct Trouble {
    pub(super) code: &'static str,
    pub(super) text: String,
    /// Whether it is the outbox's own, and not the broker's.
    pub(super) is_own: bool,
}

/// What a visit found.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Found {
    /// Whether there were events.
    pub(super) events: bool,
    /// Whether there may be more.
    pub(super) more: bool,
    pub(super) upkeep: Upkeep,
    /// How long until a delayed event is due.
    pub(super) delayed: Option<Duration>,
}

/// What a visit did of the upkeep.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Upkeep {
    /// Nothing: it was not due.
    #[default]
    NotDue,
    /// All of it.
    Done,
    /// Parked events that go on are left: where the log has nothing new, only a visit that keeps the outbox finds them.
    Left,
}

impl Outbox {
    /// An outbox that is due.
    pub(super) fn new(
        number: u64,
        name: String,
        options: ConnectOptions,
        pause: Duration,
        pace: Pace,
        backoff: &Backoff,
    ) -> Self {
        Self {
            number,
            name,
            options,
            due: Instant::now(),
            is_visited: false,
            db: None,
            is_checked: false,
            visited: None,
            kept: None,
            busy: None,
            is_woken: false,
            pause,
            pace,
            trouble: None,
            backoff: backoff.clone(),
        }
    }

    /// Events were committed in this process: it is due, if it is likely to have them.
    pub(super) fn wake(&mut self, now: Instant) {
        let is_busy = self.busy.is_some_and(|at| now - at < BUSY);
        if self.trouble.is_none() && (is_busy || self.db.is_some() || self.is_visited) {
            self.is_woken = self.is_visited;
            self.due = self.due.min(now);
        }
    }

    /// How it is doing.
    pub(super) fn status(&self) -> PooledOutbox {
        PooledOutbox {
            name: self.name.clone(),
            visited: self.visited.map(|at| at.elapsed()),
            trouble: self.trouble.as_ref().map(|trouble| trouble.code),
            error: self.trouble.as_ref().map(|trouble| trouble.text.clone()),
        }
    }

    /// Whether it is what is wrong, and not the broker.
    pub(super) fn is_away(&self) -> bool {
        self.trouble.as_ref().is_some_and(|trouble| trouble.is_own)
    }

    /// A visit has ended well.
    pub(super) fn note(&mut self, found: Found, min_pause: Duration, max_pause: Duration) {
        let now = Instant::now();
        self.is_checked = true;
        self.trouble = None;
        self.backoff.reset();
        match found.upkeep {
            Upkeep::NotDue => {}
            Upkeep::Done => self.kept = Some(now),
            Upkeep::Left => self.kept = None,
        }
        if found.events {
            self.busy = Some(now);
            self.pause = min_pause;
        } else {
            self.pause = (self.pause * 2).min(max_pause);
        }
        let pause = found.delayed.map_or(self.pause, |due| due.min(self.pause));
        let at_once = found.more || std::mem::take(&mut self.is_woken);
        self.due = if at_once { now } else { now + pause };
    }

    /// A visit has failed.
    pub(super) fn note_error(&mut self, error: &RelayError) {
        let (code, text) = (error.code(), error.to_string());
        let pause = self.backoff.next();
        tracing::warn!(outbox = self.name, code, %error, retry_in = ?pause, "an outbox cannot be relayed");
        let is_own = match error {
            RelayError::Transport(error) => {
                matches!(error, TransportError::PartitionMismatch { .. })
            }
            _ => true,
        };
        self.trouble = Some(Trouble { code, text, is_own });
        self.is_checked = false;
        self.is_woken = false;
        self.due = Instant::now() + pause;
    }
}
