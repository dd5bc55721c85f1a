//! How much a lane reads at a time: more while there is more, less where events are large.

use crate::outbox::{
    Ask, Lease, Page, StoredEvent,
    store::{Cursor, Hints},
};

/// What a lane begins with.
const FIRST: u64 = 1000;
/// How many bytes of payload a page may have before the next one is made smaller. What is in memory is bounded by
/// this and not by what waits.
const MAX_BYTES: u64 = 8 << 20;

#[derive(Debug)]
pub(super) struct Pace {
    most: u64,
    limit: u64,
    turn: usize,
    more: bool,
    cut: bool,
    hints: Hints,
}

impl Pace {
    /// Never reads more than `most` events at a time.
    pub(super) fn new(most: u64) -> Self {
        Self {
            most,
            limit: FIRST.min(most),
            turn: 0,
            more: false,
            cut: false,
            hints: Hints::default(),
        }
    }

    /// What to look for next. What the last look found out is said once: after a look that fails it is found out anew.
    pub(super) fn ask(&mut self) -> Ask {
        let hints = std::mem::take(&mut self.hints);
        Ask { limit: self.limit, turn: self.turn, cut: self.cut, hints }
    }

    /// Forgets what the last look found out.
    pub(super) fn forget(&mut self) {
        self.hints = Hints::default();
    }

    /// Whether what was read last was cut off by a limit: there is more to read at once.
    pub(super) fn more(&self) -> bool {
        self.more
    }

    /// Takes note of what was read.
    pub(super) fn read(&mut self, leases: &[Lease], pages: &[Page], hints: Hints) {
        self.hints = hints;
        let events = pages.iter().map(|page| page.events.len() as u64).sum::<u64>();
        let payload = |event: &StoredEvent| event.record.payload.len() as u64;
        let bytes = pages.iter().flat_map(|page| &page.events).map(payload).sum::<u64>();
        // Pages that did not reach the end of their window are gone on with.
        self.cut = pages.iter().any(|page| !page.whole);
        self.more = events >= self.limit || self.cut;
        // A part alone may fill half of a page.
        let grown = if events >= self.limit / 2 { self.limit * 4 } else { FIRST.max(events) };
        let fits = (events * MAX_BYTES).checked_div(bytes).unwrap_or(u64::MAX);
        self.limit = grown.min(fits).clamp(1, self.most);
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
        let mut pace = Pace::new(100);
        pace.read(&[], &[page(true), page(false)], Hints::default());
        assert!(pace.more());
        pace.read(&[], &[page(true), page(true)], Hints::default());
        assert!(!pace.more());
    }
}
