//! What is known of the broker and of how far the groups have got. What is not known is `None`, never zero.

use iggy::prelude::{
    Consumer, ConsumerGroupClient as _, ConsumerOffsetClient as _, Identifier, IggyError, Partition,
};

use super::{client::Connection, provision, watch as topic_watch};
use crate::transport::{TopicName, TransportError};

/// The state of a transport.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Health {
    /// Whether the transport's connections work.
    pub connected: bool,
    /// Whether the broker accepts the log-in; `None` while it is away.
    pub logged_in: Option<bool>,
    /// The topics this transport provisioned or consumes; `None` while they cannot be looked at.
    pub topics: Option<Vec<TopicHealth>>,
    /// Why something is not known.
    pub error: Option<String>,
}

/// The state of a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TopicHealth {
    /// The topic.
    pub topic: TopicName,
    /// How many partitions it has; `None` if it does not exist.
    pub partitions: Option<u32>,
    /// The groups that read it.
    pub groups: Vec<GroupHealth>,
}

/// How far a group has got with a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct GroupHealth {
    /// The group.
    pub group: String,
    /// How many members it has now.
    pub members: u32,
    /// Each partition, in order.
    pub partitions: Vec<PartitionLag>,
}

/// How far a group has got with a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct PartitionLag {
    /// The partition, from 0.
    pub partition: u32,
    /// The last offset the group is done with; `None` if it has none, or if that is not known.
    pub done: Option<u64>,
    /// How many messages the group is not done with; `None` if that is not known.
    pub lag: Option<u64>,
    /// Whether the group is done with more than the partition holds, so that what comes next would be taken for
    /// done.
    pub lost_tail: bool,
}

impl GroupHealth {
    /// How many messages of all partitions the group is not done with; `None` if any partition's is not known.
    pub fn lag(&self) -> Option<u64> {
        self.partitions.iter().map(|partition| partition.lag).sum()
    }
}

/// What a group is done with on a partition: `Err` if it is not known.
type Done = Result<Option<u64>, ()>;

/// Looks at one topic and its groups.
pub(super) async fn of_topic(
    connection: &Connection,
    topic: &TopicName,
) -> Result<TopicHealth, TransportError> {
    let missing = || TopicHealth { topic: topic.clone(), partitions: None, groups: Vec::new() };
    let Some(details) = provision::details(connection, topic).await? else { return Ok(missing()) };
    let (stream_id, topic_id) =
        (provision::identifier(topic.stream())?, provision::identifier(topic.topic())?);
    let listed = connection.client().get_consumer_groups(&stream_id, &topic_id);
    let listed = connection.ask(&format!("list the groups of `{topic}`"), listed).await?;
    let mut done: Vec<Vec<Done>> = Vec::new();
    for group in &listed {
        let consumer = Consumer::group(provision::identifier(&group.name)?);
        let mut of_group = Vec::new();
        for partition in 0..details.partitions_count {
            of_group.push(stored(connection, &consumer, &stream_id, &topic_id, partition).await);
        }
        done.push(of_group);
    }
    // The ends are asked for after the offsets: a group in motion then never seems to be ahead of its topic.
    let Some(details) = provision::details(connection, topic).await? else { return Ok(missing()) };
    let groups = listed.into_iter().zip(done).map(|(group, done)| GroupHealth {
        group: group.name,
        members: group.members_count,
        partitions: details.partitions.iter().zip(done).map(|(p, done)| lag(p, done)).collect(),
    });
    Ok(TopicHealth {
        topic: topic.clone(),
        partitions: Some(details.partitions_count),
        groups: groups.collect(),
    })
}

async fn stored(
    connection: &Connection,
    group: &Consumer,
    stream: &Identifier,
    topic: &Identifier,
    partition: u32,
) -> Done {
    let asked = connection.client().get_consumer_offset(group, stream, topic, Some(partition));
    let what = format!("look at the offsets of `{topic}`");
    match connection.raw(connection.request_timeout(), &what, asked).await {
        Ok(Ok(info)) => Ok(info.map(|info| info.stored_offset)),
        Ok(Err(IggyError::ConsumerOffsetNotFound(_))) => Ok(None),
        Ok(Err(_)) | Err(_) => Err(()),
    }
}

fn lag(partition: &Partition, done: Done) -> PartitionLag {
    let end = topic_watch::end(partition);
    let lag = match done {
        Ok(Some(done)) => Some(end.saturating_sub(done + 1).min(partition.messages_count)),
        Ok(None) => Some(partition.messages_count),
        Err(()) => None,
    };
    let done = done.ok().flatten();
    PartitionLag {
        partition: partition.id,
        done,
        lag,
        lost_tail: done.is_some_and(|done| done >= end && !(done == 0 && end == 0)),
    }
}
