//! News of a topic, within this process: who publishes or sees a topic grow tells those who consume it.
//!
//! The broker has no push, and a poll asks one partition. Consumers therefore poll only where there is news.

use std::{
    collections::HashMap,
    sync::{Arc, LazyLock, Mutex, PoisonError, Weak},
};

use iggy::prelude::IggyTimestamp;
use tokio::sync::watch;

use crate::transport::TopicName;

/// What is known of a partition.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct News {
    /// Grows with every publish of this process.
    pub(super) published: u64,
    /// The offset after the last message, as last seen.
    pub(super) end: u64,
    /// Grows whenever the partition was seen to begin anew: it had less than before, or is of another topic.
    pub(super) begun: u64,
}

/// The news of one topic at one broker.
#[derive(Debug)]
pub(super) struct TopicSignal {
    partitions: watch::Sender<Vec<News>>,
    /// Held by the one watcher that asks the broker, of however many transports. When the topic that it saw was made.
    pub(super) watching: tokio::sync::Mutex<Option<IggyTimestamp>>,
}

type Signals = HashMap<(Arc<str>, TopicName), Weak<TopicSignal>>;

static SIGNALS: LazyLock<Mutex<Signals>> = LazyLock::new(Mutex::default);

/// The signal of a topic, shared by everybody in this process who asks for the same topic of the same broker.
pub(super) fn of(broker: &Arc<str>, topic: &TopicName) -> Arc<TopicSignal> {
    let mut signals = SIGNALS.lock().unwrap_or_else(PoisonError::into_inner);
    let key = (Arc::clone(broker), topic.clone());
    if let Some(signal) = signals.get(&key).and_then(Weak::upgrade) {
        return signal;
    }
    let signal = Arc::new(TopicSignal {
        partitions: watch::Sender::default(),
        watching: tokio::sync::Mutex::default(),
    });
    signals.retain(|_, signal| signal.strong_count() > 0);
    signals.insert(key, Arc::downgrade(&signal));
    signal
}

/// Tells consumers in this process, if there are any, that a partition has more.
pub(super) fn published(broker: &Arc<str>, topic: &TopicName, partition: u32) {
    let signal = {
        let signals = SIGNALS.lock().unwrap_or_else(PoisonError::into_inner);
        signals.get(&(Arc::clone(broker), topic.clone())).and_then(Weak::upgrade)
    };
    if let Some(signal) = signal {
        let partition = partition as usize;
        signal.partitions.send_modify(|partitions| {
            if partitions.len() <= partition {
                partitions.resize(partition + 1, News::default());
            }
            partitions[partition].published += 1;
        });
    }
}

impl TopicSignal {
    pub(super) fn subscribe(&self) -> watch::Receiver<Vec<News>> {
        self.partitions.subscribe()
    }

    /// Takes over the ends of all partitions. Returns whether any changed.
    pub(super) fn ends(&self, ends: &[u64]) -> bool {
        self.update(ends, |_, end| end)
    }

    /// The topic is another one of the same name.
    pub(super) fn begin_anew(&self) {
        self.partitions.send_modify(|partitions| {
            for news in partitions {
                news.begun += 1;
            }
        });
    }

    /// Takes over ends that may be older than those that are known: none is lowered.
    pub(super) fn at_least(&self, ends: &[u64]) -> bool {
        self.update(ends, u64::max)
    }

    fn update(&self, ends: &[u64], new: fn(u64, u64) -> u64) -> bool {
        self.partitions.send_if_modified(|partitions| {
            if partitions.len() < ends.len() {
                partitions.resize(ends.len(), News::default());
            }
            let mut changed = false;
            for (news, end) in partitions.iter_mut().zip(ends) {
                let end = new(news.end, *end);
                changed |= news.end != end;
                news.begun += u64::from(end < news.end);
                news.end = end;
            }
            changed
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_member_saw_as_it_joined_does_not_undo_what_was_seen_since() {
        let signal = of(&"broker".into(), &TopicName::new("test", "signals"));
        assert!(signal.ends(&[5, 1]));
        assert!(signal.at_least(&[3, 2]));
        assert!(!signal.at_least(&[3, 2]));
        let ends: Vec<u64> = signal.subscribe().borrow().iter().map(|news| news.end).collect();
        assert_eq!(ends, [5, 2]);
    }

    #[test]
    fn a_partition_that_has_less_than_before_begins_anew() {
        let signal = of(&"broker".into(), &TopicName::new("test", "begun"));
        let begun =
            || -> Vec<u64> { signal.subscribe().borrow().iter().map(|news| news.begun).collect() };
        signal.ends(&[5, 1]);
        signal.ends(&[5, 2]);
        signal.at_least(&[4, 0]);
        assert_eq!(begun(), [0, 0]);
        signal.ends(&[3, 2]);
        assert_eq!(begun(), [1, 0]);
        // However much it has by the time it is looked at.
        signal.begin_anew();
        assert!(!signal.ends(&[3, 2]));
        assert_eq!(begun(), [2, 1]);
    }
}
