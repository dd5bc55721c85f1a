//! How far one member has read one partition, and when it is worth asking for more.

use std::{ops::Range, time::Duration};

use tokio::time::Instant;

use super::signal::News;

/// The first pause before a partition is asked again that has messages but gave none: it belongs to another
/// member, as far as one can tell.
const MIN_REST: Duration = Duration::from_millis(100);
/// The longest such pause: how long a partition may lie after its owner went.
const MAX_REST: Duration = Duration::from_secs(1);

/// The place of one member on one partition.
#[derive(Debug, Clone)]
pub(super) struct Cursor {
    /// The next offset to read; `None` leaves it to the broker, which begins at the first message it has.
    next: Option<u64>,
    /// What was known when the partition was last asked.
    asked: Option<News>,
    rest: Option<Rest>,
    /// The offsets that were handed out and not acknowledged: one range, or more where something was skipped.
    handed_out: Vec<Range<u64>>,
}

#[derive(Debug, Clone, Copy)]
struct Rest {
    until: Instant,
    length: Duration,
}

impl Cursor {
    /// Begins after what the group is done with.
    pub(super) fn after(stored: Option<u64>) -> Self {
        let next = stored.map(|offset| offset + 1);
        Self { next, asked: None, rest: None, handed_out: Vec::new() }
    }

    pub(super) fn next(&self) -> Option<u64> {
        self.next
    }

    /// How many messages were handed out and not acknowledged.
    pub(super) fn unacknowledged(&self) -> u64 {
        self.handed_out.iter().map(|offsets| offsets.end - offsets.start).sum()
    }

    /// Whether there may be something to read.
    pub(super) fn is_ready(&self, news: News, now: Instant) -> bool {
        match self.rest {
            Some(rest) => rest.until <= now,
            None => {
                self.asked.is_none_or(|asked| asked.published != news.published)
                    || self.may_be_ahead(news)
                    || news.end > self.next.unwrap_or(0)
            }
        }
    }

    /// Whether the last answer was empty although there are messages.
    pub(super) fn is_suspect(&self) -> bool {
        self.rest.is_some()
    }

    /// Whether the partition was seen to begin anew since it was last asked: it may have less than was read of it.
    pub(super) fn may_be_ahead(&self, news: News) -> bool {
        self.asked.is_some_and(|asked| asked.begun != news.begun)
    }

    /// When it is worth asking again without news.
    pub(super) fn wakes_at(&self) -> Option<Instant> {
        self.rest.map(|rest| rest.until)
    }

    /// Messages were read, up to and including `last`. `news` is what was known before they were asked for.
    pub(super) fn read(&mut self, last: u64, count: u64, news: News) {
        self.next = Some(last + 1);
        self.asked = Some(news);
        self.rest = None;
        let end = last + 1;
        let start = end.saturating_sub(count);
        match self.handed_out.last_mut() {
            Some(before) if before.end == start => before.end = end,
            _ => self.handed_out.push(start..end),
        }
    }

    /// The answer was empty.
    pub(super) fn found_nothing(&mut self, news: News, now: Instant) {
        self.asked = Some(news);
        self.rest = (news.end > self.next.unwrap_or(0)).then(|| {
            let length = self.rest.map_or(MIN_REST, |rest| (rest.length * 2).min(MAX_REST));
            Rest { until: now + length, length }
        });
    }

    /// Everything up to and including `offset` is done.
    pub(super) fn acknowledge(&mut self, offset: u64) {
        self.handed_out.retain_mut(|offsets| {
            offsets.start = offsets.start.max(offset + 1);
            !offsets.is_empty()
        });
    }

    /// The group has got on without this member, or the broker removed what was next.
    pub(super) fn skip_to(&mut self, offset: u64) {
        self.next = Some(self.next.unwrap_or(0).max(offset));
    }

    /// What was handed out is another member's now; if the partition comes back, it is read again from what the
    /// group is done with then.
    pub(super) fn lose(&mut self, now: Instant) {
        self.next = None;
        self.handed_out.clear();
        self.rest = Some(Rest { until: now + MIN_REST, length: MIN_REST });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn news(published: u64, end: u64) -> News {
        News { published, end, begun: 0 }
    }

    #[test]
    fn a_partition_is_asked_once_and_then_only_on_news() {
        let now = Instant::now();
        let mut cursor = Cursor::after(None);
        assert!(cursor.is_ready(news(0, 0), now), "nothing is known yet");
        cursor.found_nothing(news(0, 0), now);
        assert!(!cursor.is_ready(news(0, 0), now));
        assert!(cursor.is_ready(news(1, 0), now), "somebody here published");
        assert!(cursor.is_ready(news(0, 1), now), "the topic has grown");
        cursor.read(4, 5, news(1, 0));
        assert!(!cursor.is_ready(news(1, 5), now), "all of it was read");
        assert!(cursor.is_ready(news(1, 6), now));
    }

    #[test]
    fn a_partition_that_begins_anew_is_asked_though_it_has_less_than_was_read() {
        let now = Instant::now();
        let mut cursor = Cursor::after(None);
        cursor.read(4999, 5000, news(0, 4000));
        assert!(!cursor.is_ready(news(0, 4500), now), "a look from before the messages came");
        let anew = News { begun: 1, ..news(0, 10) };
        assert!(cursor.is_ready(anew, now) && cursor.may_be_ahead(anew));
        cursor.found_nothing(anew, now);
        assert!(!cursor.is_ready(anew, now), "once is enough");
    }

    #[test]
    fn a_partition_that_gives_nothing_although_it_has_some_rests_ever_longer() {
        let now = Instant::now();
        let mut cursor = Cursor::after(Some(9));
        for length in [100, 200, 400, 800, 1000, 1000] {
            cursor.found_nothing(news(0, 20), now);
            let until = now + Duration::from_millis(length);
            assert_eq!(cursor.wakes_at(), Some(until));
            assert!(!cursor.is_ready(news(7, 20), now), "news of another's partition is no reason");
            assert!(cursor.is_ready(news(0, 20), until));
        }
        cursor.skip_to(20);
        cursor.found_nothing(news(0, 20), now);
        assert!(!cursor.is_suspect(), "its owner has read everything");
    }
    #[test]
    fn what_was_skipped_was_not_handed_out() {
        let mut cursor = Cursor::after(Some(49));
        cursor.read(79, 30, news(0, 100));
        cursor.read(99, 20, news(0, 100));
        assert_eq!(cursor.unacknowledged(), 50);
        cursor.skip_to(5001);
        assert_eq!(cursor.unacknowledged(), 50, "still at work");
        cursor.read(5009, 9, news(0, 5010));
        cursor.acknowledge(89);
        assert_eq!(cursor.unacknowledged(), 10 + 9);
        cursor.acknowledge(99);
        assert_eq!(cursor.unacknowledged(), 9);
        cursor.acknowledge(5004);
        assert_eq!(cursor.unacknowledged(), 5);
        cursor.acknowledge(50);
        assert_eq!(cursor.unacknowledged(), 5, "a late one undoes nothing");
        cursor.acknowledge(5009);
        assert_eq!(cursor.unacknowledged(), 0);
    }
}
