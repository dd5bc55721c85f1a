//! Publishing: direct sends through cached producers, a few connections side by side.
//!
//! Direct, because a producer in the background says `Ok` to what it only holds in memory.

use std::{
    sync::{Arc, PoisonError},
    time::Duration,
};

use iggy::prelude::{
    DirectConfig, IggyError, IggyMessage, IggyProducer, MAX_USER_HEADERS_SIZE, Partitioning,
};
use tokio::{sync::Mutex, time::Instant};

use super::{
    client::{Connection, Endpoint},
    errors, headers,
    link::Link,
};
use crate::{
    EventId,
    transport::{OutgoingMessage, TopicName, TransportError},
};

/// The most messages in one request.
const BATCH_MESSAGES: u32 = 1000;
/// The most bytes in one request, unless a single message is larger.
const BATCH_BYTES: usize = 8 * 1024 * 1024;

/// The connections that publish. Each has one request in flight.
#[derive(Debug)]
pub(super) struct Publishers {
    lanes: Vec<Lane>,
    send_timeout: Duration,
}

#[derive(Debug)]
struct Lane {
    link: Link,
    busy: Mutex<()>,
}

impl Publishers {
    pub(super) async fn open(endpoint: &Arc<Endpoint>) -> Result<Self, TransportError> {
        let mut lanes = Vec::new();
        for _ in 0..endpoint.timing.publishers.max(1) {
            let link = Link::open(Arc::clone(endpoint)).await?;
            lanes.push(Lane { link, busy: Mutex::new(()) });
        }
        Ok(Self { lanes, send_timeout: endpoint.timing.send_timeout })
    }

    /// Appends messages to one partition in order. Returns once all are stored, or after the send time-out.
    pub(super) async fn publish(
        &self,
        topic: &TopicName,
        partition: u32,
        messages: Vec<OutgoingMessage>,
    ) -> Result<(), TransportError> {
        // All are checked before the first is sent: a refusal then leaves nothing stored.
        let messages = messages.into_iter().map(prepare).collect::<Result<Vec<_>, _>>()?;
        let lane = self.free_lane(partition, Instant::now() + self.send_timeout).await?;
        let _busy = lane.1;
        // From here on: those that went before may each have taken as long.
        let deadline = Instant::now() + self.send_timeout;
        for batch in batches(messages) {
            let left = deadline.saturating_duration_since(Instant::now());
            let connection = lane.0.link.get(left).await?;
            let left = deadline.saturating_duration_since(Instant::now());
            send(&connection, topic, partition, batch, left).await?;
        }
        Ok(())
    }

    /// A lane with nothing in flight, or the partition's own as soon as it is free.
    async fn free_lane(
        &self,
        partition: u32,
        deadline: Instant,
    ) -> Result<(&Lane, tokio::sync::MutexGuard<'_, ()>), TransportError> {
        let free = self.lanes.iter().find_map(|lane| Some((lane, lane.busy.try_lock().ok()?)));
        if let Some(free) = free {
            return Ok(free);
        }
        let lane = &self.lanes[partition as usize % self.lanes.len()];
        let locked = tokio::time::timeout_at(deadline, lane.busy.lock()).await;
        let guard = locked.map_err(|_| {
            let why = format!("earlier publishes took longer than {:?}", self.send_timeout);
            TransportError::Unavailable(why.into())
        })?;
        Ok((lane, guard))
    }

    pub(super) fn is_up(&self) -> bool {
        self.lanes.iter().all(|lane| lane.link.is_up())
    }

    pub(super) fn close(&self) {
        for lane in &self.lanes {
            lane.link.close();
        }
    }
}

/// A message as the SDK has it; refused where the broker would refuse it.
fn prepare(message: OutgoingMessage) -> Result<(EventId, IggyMessage), TransportError> {
    let id = message.id;
    let refused = |source| TransportError::Refused { id, source };
    let headers = headers::encode(&message.headers).map_err(refused)?;
    let length =
        u32::try_from(headers.len()).ok().filter(|length| *length <= MAX_USER_HEADERS_SIZE);
    let length = length.ok_or_else(|| refused(IggyError::TooBigUserHeaders.into()))?;
    let built = IggyMessage::builder().id(id.as_uuid().as_u128()).payload(message.payload).build();
    let mut built = built.map_err(|error| refused(error.into()))?;
    if length > 0 {
        built.header.user_headers_length = length;
        built.user_headers = Some(headers);
    }
    Ok((id, built))
}

fn size(message: &IggyMessage) -> usize {
    const FRAMING: usize = 64;
    message.payload.len() + message.user_headers.as_ref().map_or(0, bytes::Bytes::len) + FRAMING
}

/// Cuts messages into requests, order kept.
fn batches(messages: Vec<(EventId, IggyMessage)>) -> Vec<Vec<(EventId, IggyMessage)>> {
    let mut batches: Vec<Vec<_>> = Vec::new();
    let mut bytes = 0;
    for message in messages {
        let size = size(&message.1);
        let fits =
            |batch: &Vec<_>| batch.len() < BATCH_MESSAGES as usize && bytes + size <= BATCH_BYTES;
        if batches.last().is_some_and(fits) {
            bytes += size;
        } else {
            batches.push(Vec::new());
            bytes = size;
        }
        if let Some(batch) = batches.last_mut() {
            batch.push(message);
        }
    }
    batches
}

/// Sends one request. Where the broker refuses it for a message in it, the messages go one by one, so that the
/// error names the one.
async fn send(
    connection: &Connection,
    topic: &TopicName,
    partition: u32,
    batch: Vec<(EventId, IggyMessage)>,
    limit: Duration,
) -> Result<(), TransportError> {
    let what = format!("publish to `{topic}`");
    let producer = producer(connection, topic).await?;
    let partitioning = Arc::new(Partitioning::partition_id(partition));
    let (ids, messages): (Vec<_>, Vec<_>) = batch.into_iter().unzip();
    let sent = producer.send_with_partitioning(messages, Some(Arc::clone(&partitioning)));
    let unsent = match connection.raw(limit, &what, sent).await? {
        Ok(()) => return Ok(()),
        Err(IggyError::ProducerSendFailed { cause, failed, .. })
            if errors::is_refusal(&cause) && failed.len() == ids.len() =>
        {
            failed
        }
        Err(error) => {
            let missing = matches!(
                errors::map(error.clone(), &what, connection.user()),
                TransportError::NotFound(_)
            );
            if missing {
                forget(connection, topic);
            }
            return Err(errors::map(error, &what, connection.user()));
        }
    };
    for (id, message) in ids.into_iter().zip(unsent.iter()) {
        let sent =
            producer.send_with_partitioning(vec![copy(message)], Some(Arc::clone(&partitioning)));
        match connection.raw(limit, &what, sent).await? {
            Ok(()) => {}
            Err(error) if errors::is_refusal(&error) => {
                return Err(TransportError::Refused { id, source: error.to_string().into() });
            }
            Err(error) => return Err(errors::map(error, &what, connection.user())),
        }
    }
    Ok(())
}

/// The SDK's message cannot be cloned.
fn copy(message: &IggyMessage) -> IggyMessage {
    let mut copy = IggyMessage::default();
    copy.header.id = message.header.id;
    copy.header.origin_timestamp = message.header.origin_timestamp;
    copy.header.payload_length = message.header.payload_length;
    copy.header.user_headers_length = message.header.user_headers_length;
    copy.payload = message.payload.clone();
    copy.user_headers.clone_from(&message.user_headers);
    copy
}

/// The connection's producer for a topic, made once.
async fn producer(
    connection: &Connection,
    topic: &TopicName,
) -> Result<Arc<IggyProducer>, TransportError> {
    let known =
        connection.producers.lock().unwrap_or_else(PoisonError::into_inner).get(topic).cloned();
    if let Some(producer) = known {
        return Ok(producer);
    }
    let what = format!("publish to `{topic}`");
    let producer = connection
        .client()
        .producer(topic.stream(), topic.topic())
        .map_err(|error| errors::map(error, &what, connection.user()))?
        .direct(DirectConfig::builder().batch_length(BATCH_MESSAGES).build())
        // Topics are provisioned beforehand, with their partition counts compared.
        .do_not_create_stream_if_not_exists()
        .do_not_create_topic_if_not_exists()
        // A retry is the relay's, which knows what it sent; one in here would outlast the time-out.
        .send_retries(None, None)
        .build();
    connection.ask(&what, producer.init()).await?;
    let producer = Arc::new(producer);
    let mut producers = connection.producers.lock().unwrap_or_else(PoisonError::into_inner);
    producers.insert(topic.clone(), Arc::clone(&producer));
    Ok(producer)
}

fn forget(connection: &Connection, topic: &TopicName) {
    connection.producers.lock().unwrap_or_else(PoisonError::into_inner).remove(topic);
}
