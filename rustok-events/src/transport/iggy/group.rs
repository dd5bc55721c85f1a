//! A group's subscription to whole streams: one stream of envelopes, acknowledged one by one.

use std::{
    collections::VecDeque,
    ops::Deref,
    pin::Pin,
    task::{Context, Poll},
};

use futures::Stream;
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinSet,
};

use super::IggyTransport;
use crate::{
    Codec, DecodeError, DomainEvent, Envelope, EventMeta,
    backoff::Backoff,
    codec::EncodedPayload,
    transport::{
        EventTransport as _, IncomingMessage, StartFrom, Subscription, TopicName, TransportError,
    },
};

/// How many messages are read ahead of their consumer, for each topic.
const READ_AHEAD: usize = 256;

/// What a group receives: a [`Stream`] of [`Delivery`].
///
/// The position of the group moves with [`Delivery::acknowledge`] alone. A lost connection is made again, and what
/// was not acknowledged comes again. Dropping the subscription leaves the group.
#[derive(Debug)]
pub struct GroupSubscription {
    deliveries: mpsc::Receiver<Result<Delivery, TransportError>>,
    topics: Vec<TopicName>,
    _drivers: JoinSet<()>,
}

impl GroupSubscription {
    pub(super) fn start(transport: &IggyTransport, group: &str, topics: Vec<TopicName>) -> Self {
        let (out, deliveries) = mpsc::channel(READ_AHEAD);
        let mut drivers = JoinSet::new();
        for topic in topics.clone() {
            let driver = Driver::new(transport.clone(), group, topic, out.clone());
            drivers.spawn(driver.run());
        }
        Self { deliveries, topics, _drivers: drivers }
    }

    /// The topics it reads.
    pub fn topics(&self) -> &[TopicName] {
        &self.topics
    }

    /// The next delivery; `None` once every topic has ended, each with an error that waiting cannot mend.
    ///
    /// Cancellation-safe.
    pub async fn next(&mut self) -> Option<Result<Delivery, TransportError>> {
        self.deliveries.recv().await
    }
}

impl Stream for GroupSubscription {
    type Item = Result<Delivery, TransportError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.deliveries.poll_recv(cx)
    }
}

/// One event as it came, with its payload still encoded. Dereferences to what is known of the event.
#[derive(Debug)]
pub struct Delivery {
    /// The event's bytes and everything known of it.
    pub envelope: Envelope<EncodedPayload>,
    topic: TopicName,
    partition: u32,
    offset: u64,
    acknowledge: mpsc::UnboundedSender<Acknowledge>,
}

impl Delivery {
    /// Decodes the event.
    ///
    /// # Errors
    /// [`DecodeError`] if the bytes are no such event.
    pub fn decode<E: DomainEvent>(&self) -> Result<E, DecodeError> {
        E::decode_event(self.name(), self.version(), &self.envelope.event)
    }

    /// The topic it lies in.
    pub fn source(&self) -> &TopicName {
        &self.topic
    }

    /// The partition it lies on, from 0.
    pub fn partition(&self) -> u32 {
        self.partition
    }

    /// Its place on the partition, from 0.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Stores that the group is done with this event and everything before it on its partition.
    ///
    /// # Errors
    /// [`TransportError::LostOwnership`] if the partition went to another member meanwhile, who receives the event
    /// again.
    pub async fn acknowledge(&self) -> Result<(), TransportError> {
        let (done, result) = oneshot::channel();
        let request = Acknowledge { partition: self.partition, offset: self.offset, done };
        self.acknowledge.send(request).map_err(|_| TransportError::Closed)?;
        result.await.map_err(|_| TransportError::Closed)?
    }
}

impl Deref for Delivery {
    type Target = EventMeta;

    fn deref(&self) -> &EventMeta {
        &self.envelope.meta
    }
}

#[derive(Debug)]
struct Acknowledge {
    partition: u32,
    offset: u64,
    done: oneshot::Sender<Result<(), TransportError>>,
}

/// Reads one topic for a group.
struct Driver {
    transport: IggyTransport,
    group: String,
    topic: TopicName,
    out: mpsc::Sender<Result<Delivery, TransportError>>,
    acknowledge: mpsc::UnboundedSender<Acknowledge>,
    requests: mpsc::UnboundedReceiver<Acknowledge>,
}

impl Driver {
    fn new(
        transport: IggyTransport,
        group: &str,
        topic: TopicName,
        out: mpsc::Sender<Result<Delivery, TransportError>>,
    ) -> Self {
        let (acknowledge, requests) = mpsc::unbounded_channel();
        Self { transport, group: group.to_owned(), topic, out, acknowledge, requests }
    }

    async fn run(mut self) {
        let timing = &self.transport.config().connection;
        let mut backoff = Backoff::new(timing.reconnect_min, timing.reconnect_max);
        loop {
            let error = match self.read(&mut backoff).await {
                Ok(()) => return,
                Err(error) => error,
            };
            if !error.is_retryable() {
                // Nobody to tell it to is no loss.
                let _ = self.out.send(Err(error)).await;
                return;
            }
            let pause = backoff.next();
            tracing::warn!(
                code = error.code(), %error, retry_in = ?pause, group = self.group, topic = %self.topic,
                "the subscription starts again"
            );
            tokio::time::sleep(pause).await;
        }
    }

    /// One membership. Ends well when nobody listens any more.
    async fn read(&mut self, backoff: &mut Backoff) -> Result<(), TransportError> {
        let mut member =
            self.transport.subscribe(&self.group, &self.topic, StartFrom::Beginning).await?;
        backoff.reset();
        let mut waiting: VecDeque<IncomingMessage> = VecDeque::new();
        loop {
            tokio::select! {
                biased;
                () = self.out.closed() => return Ok(()),
                Some(request) = self.requests.recv() => {
                    acknowledge(&mut *member, request).await?;
                }
                permit = self.out.reserve(), if !waiting.is_empty() => {
                    let (Ok(permit), Some(message)) = (permit, waiting.pop_front()) else {
                        return Ok(());
                    };
                    permit.send(self.delivery(message));
                }
                messages = member.next(READ_AHEAD), if waiting.is_empty() => {
                    waiting.extend(messages?);
                }
            }
        }
    }

    fn delivery(&self, message: IncomingMessage) -> Result<Delivery, TransportError> {
        let malformed = |why: String| {
            let IncomingMessage { partition, offset, .. } = message;
            let place = format!("`{}`, partition {partition}, offset {offset}", self.topic);
            TransportError::Broker(format!("the message at {place} is no event: {why}").into())
        };
        let meta =
            EventMeta::from_wire(&message.headers).map_err(|error| malformed(error.to_string()))?;
        let codec = Codec::from_content_type(&meta.content_type).ok_or_else(|| {
            malformed(format!("no codec for content type `{}`", meta.content_type))
        })?;
        let event = EncodedPayload { codec, bytes: message.payload };
        Ok(Delivery {
            envelope: Envelope { event, meta },
            topic: self.topic.clone(),
            partition: message.partition,
            offset: message.offset,
            acknowledge: self.acknowledge.clone(),
        })
    }
}

/// Stores an offset, and tells who asked for it. An error that ends the membership is told to both.
async fn acknowledge(
    member: &mut dyn Subscription,
    request: Acknowledge,
) -> Result<(), TransportError> {
    let stored = member.acknowledge(request.partition, request.offset).await;
    let lost = match &stored {
        Err(TransportError::Unavailable(why)) => {
            Err(TransportError::Unavailable(why.to_string().into()))
        }
        _ => Ok(()),
    };
    // Who no longer waits has no need to know.
    let _ = request.done.send(stored);
    lost
}
