//! How much a lane reads at a time: more while there is more, less where events are large, and less where the broker does
//! not take as many at once.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::outbox::{
    Ask, Lease, Page, StoredEvent,
    store::{Cursor, Hints},
};

/// What a lane begins with.
const FIRST: u64 = 1000;
/// How many bytes of payload a page may have before the next one is made smaller. What is in memory is bounded by
/// this and not by what waits.
const MAX_BYTES: u64 = 8 << 20;
/// In so many steps a lane comes back to what was too much, from half of it. Each time that it is too much again is a
/// send for nothing, and events that may be stored twice.
const STEPS: u64 = 16;

/// The pace of one lane at a time. Clones share it: it outlives a lane that ends, or is dropped, in the middle of a send.
#[derive(Debug, Clone)]
pub(super) struct Pace(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    most: u64,
    limit: u64,
    /// Whether a look has begun of which nothing was heard.
    looking: bool,
    /// How many events are on their way to the broker.
    sending: Option<u64>,
    /// How many the broker did not take at once, until it takes as many.
    too_much: Option<u64>,
    turn: usize,
    more: bool,
    cut: bool,
    hints: Hints,
}

impl Pace {
    /// Never reads more than `most` events at a time.
    pub(super) fn new(most: u64) -> Self {
        Self(Arc::new(Mutex::new(State {
            most,
            limit: FIRST.min(most),
            looking: false,
            sending: None,
            too_much: None,
            turn: 0,
            more: false,
            cut: false,
            hints: Hints::default(),
        })))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The most events to read now.
    pub(super) fn limit(&self) -> u64 {
        self.lock().limit()
    }

    /// What to look for next. What the last look found out is said once: after a look that fails it is found out anew.
    pub(super) fn ask(&self) -> Ask {
        let mut state = self.lock();
        let (limit, hints) = (state.limit(), std::mem::take(&mut state.hints));
        state.looking = true;
        Ask { limit, turn: state.turn, cut: state.cut, hints }
    }

    /// Forgets what the last look found out.
    pub(super) fn forget(&self) {
        self.lock().hints = Hints::default();
    }

    /// Whether what was read last was cut off by a limit: there is more to read at once.
    pub(super) fn more(&self) -> bool {
        self.lock().more
    }

    /// Takes note of what was read.
    pub(super) fn read(&self, leases: &[Lease], pages: &[Page], hints: Hints) {
        self.lock().read(leases, pages, hints);
    }

    /// Takes note of events that go to the broker in one send.
    pub(super) fn sends(&self, events: usize) {
        self.lock().sending = Some(events as u64);
    }

    /// Takes note that the broker has taken what was sent. If this is not said before the next look, the send failed or
    /// was dropped: it may have been too much.
    pub(super) fn sent(&self) {
        let mut state = self.lock();
        let sent = state.sending.take();
        if sent >= state.too_much {
            state.too_much = None;
        }
    }
}

impl State {
    fn limit(&mut self) -> u64 {
        if let Some(sent) = self.sending.take() {
            // Whatever the reason was, half of it is not wrong, and all of it again might never end.
            self.too_much = Some(sent);
            self.limit = (sent / 2).clamp(1, self.most);
        }
        if std::mem::take(&mut self.looking) {
            // It failed or was dropped: it may have been too much for the database, or for the way from there.
            self.limit = (self.limit / 2).max(1);
        }
        self.limit
    }

    fn read(&mut self, leases: &[Lease], pages: &[Page], hints: Hints) {
        self.hints = hints;
        self.looking = false;
        let events = pages.iter().map(|page| page.events.len() as u64).sum::<u64>();
        let payload = |event: &StoredEvent| event.record.payload.len() as u64;
        let bytes = pages.iter().flat_map(|page| &page.events).map(payload).sum::<u64>();
        // Pages that did not reach the end of their window are gone on with.
        self.cut = pages.iter().any(|page| !page.whole);
        self.more = events >= self.limit || self.cut;
        self.resize(events, bytes);
        // A part whose window was cut off comes first the next time, so that its window is soon done with; unless
        // it had a page to itself: then the others have theirs.
        let last = pages.last();
        let place =
            last.and_then(|page| leases.iter().position(|lease| lease.part == page.lease.part));
        let is_window = |page: &&Page| matches!(page.cursor, Cursor::Window { .. });
        let cut = last.filter(is_window).is_some_and(|page| !page.whole);
        self.turn = match place {
            Some(place) if cut && pages.len() > 1 => place,
            Some(place) => place.wrapping_add(1),
            None => self.turn.wrapping_add(1),
        };
    }

    /// Chooses the next limit after so many events, of so many bytes, were read.
    fn resize(&mut self, events: u64, bytes: u64) {
        // A part alone may fill half of a page.
        let is_full = events >= self.limit / 2;
        let grown = match self.too_much {
            Some(too_much) if is_full => self.limit + too_much.div_ceil(STEPS * 2),
            Some(_) => self.limit,
            None if is_full => self.limit * 4,
            None => FIRST.max(events),
        };
        let fits = (events * MAX_BYTES).checked_div(bytes).unwrap_or(u64::MAX);
        self.limit = grown.min(fits).clamp(1, self.most);
    }
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, Utc};

    use super::*;

    fn page(whole: bool) -> Page {
        let lease = Lease { part: 0, epoch: 1, until: DateTime::<Utc>::MAX_UTC };
        Page { lease, events: Vec::new(), whole, cursor: Cursor::Pending }
    }

    #[test]
    fn a_lane_looks_again_at_once_only_behind_a_page_that_was_cut() {
        let pace = Pace::new(100);
        pace.read(&[], &[page(true), page(false)], Hints::default());
        assert!(pace.more());
        pace.read(&[], &[page(true), page(true)], Hints::default());
        assert!(!pace.more());
    }

    /// Looks that find as many events as were asked for, each with its send; those that succeed, as `takes` says.
    fn steps(pace: &Pace, count: usize, takes: impl Fn(u64) -> bool) -> Vec<u64> {
        let step = |_| {
            let limit = pace.limit();
            pace.lock().resize(limit, limit);
            pace.sends(usize::try_from(limit).unwrap());
            if takes(limit) {
                pace.sent();
            }
            limit
        };
        (0..count).map(step).collect()
    }

    #[test]
    fn what_is_too_much_for_the_broker_is_learnt_and_seldom_tried_again() {
        let pace = Pace::new(8000);
        let sizes = steps(&pace, 100, |events| events <= 300);
        assert_eq!(sizes[..3], [1000, 500, 250]);
        let failed = sizes[3..].iter().filter(|events| **events > 300).count();
        assert!((1..=8).contains(&failed), "{sizes:?}");
        assert!(sizes[3..].iter().all(|events| (150..=320).contains(events)), "{sizes:?}");
    }

    #[test]
    fn a_look_of_which_nothing_was_heard_is_made_smaller() {
        let pace = Pace::new(8000);
        let asks: Vec<u64> = (0..3).map(|_| pace.ask().limit).collect();
        assert_eq!(asks, [1000, 500, 250]);
        pace.read(&[], &[], Hints::default());
        assert_eq!(pace.ask().limit, 1000, "an empty look is an answer");
    }

    #[test]
    fn a_broker_that_was_away_is_sent_as_much_as_before_in_a_few_steps() {
        let pace = Pace::new(8000);
        assert_eq!(steps(&pace, 20, |_| false).last(), Some(&1));
        assert_eq!(steps(&pace, 12, |_| true).last(), Some(&8000));
    }
}
