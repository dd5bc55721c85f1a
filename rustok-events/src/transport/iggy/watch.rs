//! Looks at how far the topics have grown that somebody here consumes: one small question for all partitions and
//! all groups of a topic, at once after news and ever more seldom while there is none.

use std::{sync::Arc, time::Duration};

use iggy::prelude::{Partition, TopicDetails};

use super::{
    link::Link,
    provision,
    signal::{self, TopicSignal},
};
use crate::transport::TopicName;

/// The pause after a look that found something new.
const MIN_PAUSE: Duration = Duration::from_millis(10);
/// The pause after a look that failed. Others may look meanwhile.
const ERROR_PAUSE: Duration = Duration::from_millis(500);

/// Watches one topic as long as it lives and its link is open.
#[derive(Debug)]
pub(super) struct Watcher {
    pub(super) signal: Arc<TopicSignal>,
    task: tokio::task::AbortHandle,
}

impl Watcher {
    pub(super) fn start(
        broker: &Arc<str>,
        topic: &TopicName,
        link: Arc<Link>,
        max_pause: Duration,
    ) -> Self {
        let signal = signal::of(broker, topic);
        let watch = watch(Arc::clone(&signal), topic.clone(), link, max_pause);
        Self { signal, task: tokio::spawn(watch).abort_handle() }
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn watch(signal: Arc<TopicSignal>, topic: TopicName, link: Arc<Link>, max_pause: Duration) {
    while !link.is_closed() {
        let mut made = signal.watching.lock().await;
        let mut pause = MIN_PAUSE;
        while let Some(details) = look(&topic, &link, max_pause).await {
            let before = made.replace(details.created_at);
            if before.is_some_and(|before| before != details.created_at) {
                signal.begin_anew();
            }
            let changed = signal.ends(&ends(&details));
            pause = if changed { MIN_PAUSE } else { (pause * 2).min(max_pause) };
            tokio::time::sleep(pause).await;
        }
        // Another transport may see what this one cannot: it was shut down, or its log-in is refused.
        drop(made);
        tokio::time::sleep(ERROR_PAUSE).await;
    }
}

/// What the broker says of the topic; nothing if it cannot be asked or has no such topic.
async fn look(topic: &TopicName, link: &Link, max_pause: Duration) -> Option<TopicDetails> {
    let looked = async {
        let connection = link.get(max_pause).await?;
        provision::details(&connection, topic).await
    };
    looked.await.unwrap_or_else(|error| {
        tracing::debug!(%topic, %error, "the topic could not be looked at");
        None
    })
}

/// The offsets after each partition's last message, in order of the partitions.
pub(super) fn ends(details: &TopicDetails) -> Vec<u64> {
    let mut ends = vec![0; details.partitions_count as usize];
    for partition in &details.partitions {
        if let Some(place) = ends.get_mut(partition.id as usize) {
            *place = end(partition);
        }
    }
    ends
}

/// An empty partition and one with a single message both have the current offset 0.
pub(super) fn end(partition: &Partition) -> u64 {
    if partition.messages_count == 0 && partition.current_offset == 0 {
        0
    } else {
        partition.current_offset + 1
    }
}
