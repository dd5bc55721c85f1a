//! Sends events to the broker: topics made sure of, one batch per partition, refused events told apart.

use std::{collections::HashSet, sync::Arc};

use super::{RelayConfig, RelayError, batches};
use crate::{
    fault::Faults,
    outbox::{
        StoredEvent,
        parked::{Parked, ParkedKey},
    },
    transport::{EventTransport, TransportError, counts::Counts},
};

pub(super) struct Sender {
    transport: Arc<dyn EventTransport>,
    partitions: Counts,
    faults: Faults,
}

impl Sender {
    pub(super) fn new(transport: Arc<dyn EventTransport>, config: &RelayConfig) -> Self {
        Self { transport, partitions: Counts::new(config.recount), faults: config.faults.clone() }
    }

    /// Publishes events in order and returns once each is acknowledged, but for those that the broker refuses for
    /// good and the later ones of their keys, which are returned.
    pub(super) async fn send<'e>(
        &mut self,
        events: &[&'e StoredEvent],
    ) -> Result<Vec<Parked<'e>>, RelayError> {
        self.provision(events).await?;
        let mut refused = Vec::new();
        for batch in batches::group(events, self.partitions.known()) {
            match self.publish(&batch, &batch.events).await {
                Ok(()) => {}
                Err(TransportError::Refused { .. }) => {
                    refused.extend(self.send_one_by_one(&batch).await?);
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(refused)
    }

    /// Finds out which events of a batch are refused. A part of the batch may be published already: then it is
    /// published again.
    async fn send_one_by_one<'e>(
        &mut self,
        batch: &batches::Batch<'e>,
    ) -> Result<Vec<Parked<'e>>, RelayError> {
        let mut stopped = HashSet::new();
        let mut refused = Vec::new();
        for &event in &batch.events {
            let key = ParkedKey::of(0, &event.record);
            if key.as_ref().is_some_and(|key| stopped.contains(key)) {
                refused.push(Parked { event, refusal: None });
                continue;
            }
            match self.publish(batch, &[event]).await {
                Ok(()) => {}
                Err(error @ TransportError::Refused { .. }) => {
                    stopped.extend(key);
                    refused.push(Parked { event, refusal: Some(error.to_string()) });
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(refused)
    }

    async fn publish(
        &mut self,
        batch: &batches::Batch<'_>,
        events: &[&StoredEvent],
    ) -> Result<(), TransportError> {
        let messages = events.iter().map(|event| batches::message(event)).collect();
        self.faults.broker("relay.publish.before").await?;
        let published = self.transport.publish(&batch.topic, batch.partition, messages).await;
        self.faults.broker("relay.publish.after").await?;
        if let Err(TransportError::NotFound(_)) = &published {
            // The topic was there and is gone: made again the next time.
            self.partitions.doubt(&batch.topic);
        }
        published
    }

    /// Makes sure that the topics of events exist, and have the partitions they had; looked at from time to time.
    async fn provision(&mut self, events: &[&StoredEvent]) -> Result<(), RelayError> {
        let topics = self.partitions.due(batches::topics(events));
        if !topics.is_empty() {
            self.faults.broker("relay.provision.before").await?;
            let counts = self.transport.provision(&topics).await?;
            self.faults.broker("relay.provision.after").await?;
            self.partitions.note(&topics, &counts)?;
        }
        Ok(())
    }
}
