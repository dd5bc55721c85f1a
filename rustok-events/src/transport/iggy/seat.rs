//! A seat in a consumer group: the client that joined it, and what it may ask of the broker.
//!
//! The SDK's consumer-group builder makes the group, joins it and stores its offsets. Messages are polled with the
//! client's `poll_messages`, because the builder's consumer cannot keep two promises. It polls at one fixed
//! interval, one partition a time: with an interval short enough for five milliseconds through eight partitions it
//! takes a core, and a publish in the same process cannot wake it. And it asks the broker for what follows the
//! *stored* offset: until the work at hand is acknowledged every poll brings the same messages again, to be thrown
//! away. Here a partition is asked when there is news of it, from where it was read to.
//!
//! The broker checks with every poll and every stored offset that the partition is this member's.

use iggy::prelude::{
    AutoCommit, Consumer, ConsumerGroupClient as _, ConsumerOffsetClient as _, Identifier,
    IggyConsumer, IggyError, MessageClient as _, PolledMessages, PollingStrategy, TopicDetails,
};

use super::{client::Connection, errors, provision};
use crate::transport::{TopicName, TransportError};

/// A member's place in a group on a topic. Dropping it leaves the group and stores nothing.
pub(super) struct Seat {
    pub(super) group: String,
    pub(super) topic: TopicName,
    /// Never shut down: that would store the last offset it knows of. Dropped before its connection.
    consumer: IggyConsumer,
    stream_id: Identifier,
    topic_id: Identifier,
    group_id: Consumer,
    pub(super) connection: Connection,
    /// Whether the group was not there before.
    pub(super) is_new: bool,
}

impl Seat {
    /// Joins the group, which is made if it is not there.
    pub(super) async fn join(
        connection: Connection,
        group: &str,
        topic: &TopicName,
    ) -> Result<Self, TransportError> {
        let stream_id = provision::identifier(topic.stream())?;
        let topic_id = provision::identifier(topic.topic())?;
        let group_id = provision::identifier(group)?;
        if provision::details(&connection, topic).await?.is_none() {
            return Err(TransportError::NotFound(topic.to_string()));
        }
        let what = format!("join group `{group}` of `{topic}`");
        let known = connection.client().get_consumer_group(&stream_id, &topic_id, &group_id);
        let is_new = connection.ask(&what, known).await?.is_none();
        let mut consumer = connection
            .client()
            .consumer_group(group, topic.stream(), topic.topic())
            .map_err(|error| errors::map(error, &what, connection.user()))?
            .auto_commit(AutoCommit::Disabled)
            .build();
        connection.ask(&what, consumer.init()).await?;
        Ok(Self {
            group: group.to_owned(),
            topic: topic.clone(),
            consumer,
            stream_id,
            topic_id,
            group_id: Consumer::group(group_id),
            connection,
            is_new,
        })
    }

    /// What the broker says of the topic.
    pub(super) async fn details(&self) -> Result<TopicDetails, TransportError> {
        let details = provision::details(&self.connection, &self.topic).await?;
        details.ok_or_else(|| TransportError::NotFound(self.topic.to_string()))
    }

    /// The last offset of a partition that the group is done with.
    pub(super) async fn stored(&self, partition: u32) -> Result<Option<u64>, TransportError> {
        let what = format!("read the offset of group `{}` on `{}`", self.group, self.topic);
        let asked = self.connection.client().get_consumer_offset(
            &self.group_id,
            &self.stream_id,
            &self.topic_id,
            Some(partition),
        );
        match self.connection.raw(self.connection.request_timeout(), &what, asked).await? {
            Ok(info) => Ok(info.map(|info| info.stored_offset)),
            Err(IggyError::ConsumerOffsetNotFound(_)) => Ok(None),
            Err(error) => Err(errors::map(error, &what, self.connection.user())),
        }
    }

    /// Stores the last offset of a partition that the group is done with. The broker refuses it to who does not
    /// have the partition.
    pub(super) async fn store(&self, partition: u32, offset: u64) -> Result<(), TransportError> {
        let what = format!("store the offset of group `{}` on `{}`", self.group, self.topic);
        let stored = self.consumer.store_offset(offset, Some(partition));
        match self.connection.raw(self.connection.request_timeout(), &what, stored).await? {
            Ok(()) => Ok(()),
            Err(error) => Err(self.refused(error, partition, &what)),
        }
    }

    /// Makes the group forget what it is done with on a partition.
    pub(super) async fn forget(&self, partition: u32) -> Result<(), TransportError> {
        if self.stored(partition).await?.is_none() {
            return Ok(());
        }
        let what = format!("delete the offset of group `{}` on `{}`", self.group, self.topic);
        let deleted = self.consumer.delete_offset(Some(partition));
        match self.connection.raw(self.connection.request_timeout(), &what, deleted).await? {
            Ok(()) => Ok(()),
            Err(error) => Err(self.refused(error, partition, &what)),
        }
    }

    fn refused(&self, error: IggyError, partition: u32, what: &str) -> TransportError {
        if errors::is_lost_ownership(&error) {
            return TransportError::LostOwnership {
                group: self.group.clone(),
                topic: self.topic.clone(),
                partition,
            };
        }
        errors::map(error, what, self.connection.user())
    }

    /// Asks one partition for up to `count` messages. The answer is empty if it is another member's.
    pub(super) async fn poll(
        &self,
        partition: u32,
        strategy: PollingStrategy,
        count: u32,
    ) -> Result<PolledMessages, TransportError> {
        let what = format!("poll `{}`", self.topic);
        let polled = self.connection.client().poll_messages(
            &self.stream_id,
            &self.topic_id,
            Some(partition),
            &self.group_id,
            &strategy,
            count,
            false,
        );
        match self.connection.raw(self.connection.request_timeout(), &what, polled).await? {
            Ok(polled) => Ok(polled),
            Err(error) if errors::is_damage(&error) => Err(TransportError::LogDamaged {
                topic: self.topic.clone(),
                partition,
                offset: strategy.value,
                source: error.to_string().into(),
            }),
            // No longer a member: the broker took the connection for dead. A new membership mends it.
            Err(error) if errors::is_lost_ownership(&error) => {
                self.connection.lost().cancel();
                Err(TransportError::Unavailable(format!("{what}: {error}").into()))
            }
            Err(error) => Err(errors::map(error, &what, self.connection.user())),
        }
    }
}
