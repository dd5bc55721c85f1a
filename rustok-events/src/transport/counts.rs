//! What is known of topics' partition counts. A count is looked at again from time to time: a topic that was deleted
//! and made anew with another one would spread keys differently, and keys would lose their order.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use super::{TopicName, TopicSpec, TransportError};

/// The counts that one sender or reader goes by.
#[derive(Debug)]
pub(crate) struct Counts {
    known: HashMap<TopicName, u32>,
    looked_at: HashMap<TopicName, Instant>,
    every: Duration,
}

impl Counts {
    /// Counts that are looked at again after `every`.
    pub(crate) fn new(every: Duration) -> Self {
        Self { known: HashMap::new(), looked_at: HashMap::new(), every }
    }

    /// The topics among these whose count is not known, in doubt, or was not looked at for long.
    pub(crate) fn due(&self, mut topics: Vec<TopicSpec>) -> Vec<TopicSpec> {
        let is_fresh = |looked_at: &Instant| looked_at.elapsed() < self.every;
        topics.retain(|spec| !self.looked_at.get(&spec.name).is_some_and(is_fresh));
        topics
    }

    /// Takes note of counts, each of the topic in its place.
    ///
    /// # Errors
    /// [`TransportError::PartitionMismatch`] if a count is another than the one that was gone by so far.
    pub(crate) fn note(
        &mut self,
        topics: &[TopicSpec],
        counts: &[u32],
    ) -> Result<(), TransportError> {
        for (spec, &found) in topics.iter().zip(counts) {
            let known = *self.known.entry(spec.name.clone()).or_insert(found);
            if known != found {
                let topic = spec.name.clone();
                return Err(TransportError::PartitionMismatch { topic, declared: known, found });
            }
            self.looked_at.insert(spec.name.clone(), Instant::now());
        }
        Ok(())
    }

    /// The topic was not found: its count is looked at before it is gone by again.
    pub(crate) fn doubt(&mut self, topic: &TopicName) {
        self.looked_at.remove(topic);
    }

    /// The counts to go by.
    pub(crate) fn known(&self) -> &HashMap<TopicName, u32> {
        &self.known
    }
}
