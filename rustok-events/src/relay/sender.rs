//! Sends events to the broker: topics made sure of, one batch per partition, refused events told apart.

use std::{collections::HashSet, sync::Arc};

use futures::{StreamExt, stream::FuturesUnordered};

use super::{RelayConfig, RelayError, batches};
use crate::{
    fault::Faults,
    outbox::{
        StoredEvent,
        parked::{Parked, ParkedKey},
    },
    transport::{EventTransport, TransportError, counts::Counts},
};

/// How many partitions are sent to side by side: as many as there are connections that publish, unless it is set.
const SIDE_BY_SIDE: usize = 2;

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
        let batches = batches::group(events, self.partitions.known());
        let mut refused = Vec::new();
        let (mut failed, mut gone) = (None, Vec::new());
        let mut next = batches.iter();
        let mut sending: FuturesUnordered<_> =
            next.by_ref().take(SIDE_BY_SIDE).map(|batch| self.send_batch(batch)).collect();
        // After a failure none is begun any more, but those under way are waited for: what was stored of them is known.
        while let Some((batch, sent)) = sending.next().await {
            match sent {
                Ok(of_batch) => refused.extend(of_batch),
                Err(error) => {
                    if let TransportError::NotFound(_) = error {
                        gone.push(&batch.topic);
                    }
                    failed = failed.or(Some(error));
                }
            }
            if failed.is_none()
                && let Some(batch) = next.next()
            {
                sending.push(self.send_batch(batch));
            }
        }
        drop(sending);
        for topic in gone {
            // It was there and is gone: made again the next time.
            self.partitions.doubt(topic);
        }
        match failed {
            Some(error) => Err(error.into()),
            None => Ok(refused),
        }
    }

    /// Publishes a batch; returns what of it is refused.
    async fn send_batch<'b, 'e>(
        &self,
        batch: &'b batches::Batch<'e>,
    ) -> (&'b batches::Batch<'e>, Result<Vec<Parked<'e>>, TransportError>) {
        let sent = match self.publish(batch, &batch.events).await {
            Ok(()) => Ok(Vec::new()),
            Err(TransportError::Refused { .. }) => self.send_one_by_one(batch).await,
            Err(error) => Err(error),
        };
        (batch, sent)
    }

    /// Finds out which events of a batch are refused. A part of the batch may be published already: then it is
    /// published again.
    async fn send_one_by_one<'e>(
        &self,
        batch: &batches::Batch<'e>,
    ) -> Result<Vec<Parked<'e>>, TransportError> {
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
                Err(error) => return Err(error),
            }
        }
        Ok(refused)
    }

    async fn publish(
        &self,
        batch: &batches::Batch<'_>,
        events: &[&StoredEvent],
    ) -> Result<(), TransportError> {
        let messages = events.iter().map(|event| batches::message(event)).collect();
        self.faults.broker("relay.publish.before").await?;
        let published = self.transport.publish(&batch.topic, batch.partition, messages).await;
        self.faults.broker("relay.publish.after").await?;
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
