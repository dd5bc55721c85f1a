//! Streams and topics, made where they are missing and compared where they are there.

use std::{future::Future, time::Duration};

use iggy::prelude::{
    CompressionAlgorithm, Identifier, IggyByteSize, IggyDuration, IggyError, IggyExpiry,
    MaxTopicSize, StreamClient as _, TopicClient as _, TopicDetails,
};
use tokio::time::Instant;

use super::{
    client::Connection,
    config::{Retention, Topology},
};
use crate::transport::{TopicName, TopicSpec, TransportError};

/// How long a topic may be without the partitions it is made with.
const MAKING: Duration = Duration::from_secs(1);

/// The SDK's name of a thing. A name that cannot be one is a configuration error.
pub(super) fn identifier(name: &str) -> Result<Identifier, TransportError> {
    Identifier::named(name)
        .map_err(|error| TransportError::Config(format!("`{name}` cannot be a name: {error}")))
}

/// Makes sure that a topic exists with the partition count that its events declare, and returns the count.
///
/// Several creators at once are one creation: whoever comes second finds it made. The count is compared
/// afterwards, also with what another creator made.
pub(super) async fn topic(
    connection: &Connection,
    spec: &TopicSpec,
    topology: &Topology,
    retention: &Retention,
) -> Result<u32, TransportError> {
    let name = &spec.name;
    let found = if let Some(found) = details(connection, name).await? {
        found
    } else {
        create(connection, spec, topology, retention).await?;
        let made = details(connection, name).await?;
        made.ok_or_else(|| TransportError::NotFound(name.to_string()))?
    };
    let found = whole(connection, name, found).await?;
    match spec.partitions {
        Some(declared) if declared != found.partitions_count => {
            Err(TransportError::PartitionMismatch {
                topic: name.clone(),
                declared,
                found: found.partitions_count,
            })
        }
        _ => Ok(found.partitions_count),
    }
}

/// Looks again at a topic that has no partitions: somebody else may be making it, and server 0.7.0 shows it before they
/// are there. One that has none after [`MAKING`] has none.
async fn whole(
    connection: &Connection,
    name: &TopicName,
    mut found: TopicDetails,
) -> Result<TopicDetails, TransportError> {
    let deadline = Instant::now() + MAKING;
    while found.partitions_count == 0 && Instant::now() < deadline {
        tokio::time::sleep(MAKING / 100).await;
        let again = details(connection, name).await?;
        found = again.ok_or_else(|| TransportError::NotFound(name.to_string()))?;
    }
    Ok(found)
}

/// What the broker says of a topic.
pub(super) async fn details(
    connection: &Connection,
    name: &TopicName,
) -> Result<Option<TopicDetails>, TransportError> {
    let (stream, topic) = (identifier(name.stream())?, identifier(name.topic())?);
    let what = format!("find `{name}`");
    let asked = connection.client().get_topic(&stream, &topic);
    match connection.raw(connection.request_timeout(), &what, asked).await? {
        Ok(found) => Ok(found),
        Err(IggyError::StreamIdNotFound(_) | IggyError::TopicIdNotFound(..)) => Ok(None),
        Err(error) => Err(super::errors::map(error, &what, connection.user())),
    }
}

/// Every topic the broker has.
pub(super) async fn all(connection: &Connection) -> Result<Vec<TopicName>, TransportError> {
    let client = connection.client();
    let mut topics = Vec::new();
    for stream in connection.ask("list the streams", client.get_streams()).await? {
        let what = format!("list the topics of `{}`", stream.name);
        let id = identifier(&stream.name)?;
        for topic in connection.ask(&what, client.get_topics(&id)).await? {
            topics.push(TopicName::new(stream.name.clone(), topic.name));
        }
    }
    Ok(topics)
}

async fn create(
    connection: &Connection,
    spec: &TopicSpec,
    topology: &Topology,
    retention: &Retention,
) -> Result<(), TransportError> {
    let name = &spec.name;
    let client = connection.client();
    let stream = identifier(name.stream())?;
    let what = format!("create stream `{}`", name.stream());
    unless_there(connection, &what, client.create_stream(name.stream())).await?;
    let partitions = spec.partitions.unwrap_or(topology.domain_partitions);
    let expiry = retention.max_age.map_or(IggyExpiry::ServerDefault, |age| {
        IggyExpiry::ExpireDuration(IggyDuration::from(age))
    });
    let size = retention.max_bytes.map_or(MaxTopicSize::ServerDefault, |bytes| {
        MaxTopicSize::Custom(IggyByteSize::from(bytes))
    });
    let created = client.create_topic(
        &stream,
        name.topic(),
        partitions,
        CompressionAlgorithm::None,
        Some(topology.replication_factor),
        expiry,
        size,
    );
    unless_there(connection, &format!("create topic `{name}`"), created).await?;
    tracing::info!(topic = %name, partitions, "the topic exists");
    Ok(())
}

/// Creates; that another was faster is no error.
async fn unless_there<T>(
    connection: &Connection,
    what: &str,
    create: impl Future<Output = Result<T, IggyError>>,
) -> Result<(), TransportError> {
    match connection.raw(connection.request_timeout(), what, create).await? {
        Ok(_)
        | Err(IggyError::StreamNameAlreadyExists(_) | IggyError::TopicNameAlreadyExists(..)) => {
            Ok(())
        }
        Err(error) => Err(super::errors::map(error, what, connection.user())),
    }
}
