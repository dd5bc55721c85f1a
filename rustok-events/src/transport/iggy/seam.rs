//! The transport as the relay and the consumers see it.

use std::time::Duration;

use iggy::prelude::IggyExpiry;

use super::{IggyTransport, provision, signal, subscription::Member};
use crate::transport::{
    BoxFuture, EventTransport, OutgoingMessage, StartFrom, Subscription, TopicName, TopicSpec,
    TransportError,
};

impl EventTransport for IggyTransport {
    fn provision<'a>(
        &'a self,
        topics: &'a [TopicSpec],
    ) -> BoxFuture<'a, Result<Vec<u32>, TransportError>> {
        Box::pin(async move {
            let connection = self.control().await?;
            let config = self.config();
            let mut counts = Vec::with_capacity(topics.len());
            for spec in topics {
                let made = provision::topic(&connection, spec, &config.topology, &config.retention);
                counts.push(made.await?);
                self.remember(&spec.name);
            }
            Ok(counts)
        })
    }

    fn publish<'a>(
        &'a self,
        topic: &'a TopicName,
        partition: u32,
        messages: Vec<OutgoingMessage>,
    ) -> BoxFuture<'a, Result<(), TransportError>> {
        Box::pin(async move {
            let published = self.inner.publishers.publish(topic, partition, messages).await;
            // Also after an error: a part may be stored.
            signal::published(&self.inner.broker, topic, partition);
            published
        })
    }

    fn subscribe<'a>(
        &'a self,
        group: &'a str,
        topic: &'a TopicName,
        start: StartFrom,
    ) -> BoxFuture<'a, Result<Box<dyn Subscription>, TransportError>> {
        Box::pin(async move {
            if self.is_closed() {
                return Err(TransportError::Closed);
            }
            let connection = self.connection().await?;
            let watcher = self.watcher(topic);
            let member = Member::join(connection, watcher, group, topic, start).await?;
            self.remember(topic);
            Ok(Box::new(member) as Box<dyn Subscription>)
        })
    }

    fn retention<'a>(
        &'a self,
        topic: &'a TopicName,
    ) -> BoxFuture<'a, Result<Option<Duration>, TransportError>> {
        Box::pin(async move {
            let connection = self.control().await?;
            let details = provision::details(&connection, topic).await?;
            let details = details.ok_or_else(|| TransportError::NotFound(topic.to_string()))?;
            Ok(match details.message_expiry {
                IggyExpiry::ExpireDuration(age) => Some(age.get_duration()),
                IggyExpiry::ServerDefault | IggyExpiry::NeverExpire => None,
            })
        })
    }

    fn is_connected(&self) -> bool {
        self.is_connected()
    }

    fn shutdown(&self) -> BoxFuture<'_, Result<(), TransportError>> {
        Box::pin(self.shutdown())
    }
}
