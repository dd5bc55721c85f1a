//! The transport: one owner of all connections, behind cheap clones.

use std::{
    collections::{BTreeSet, HashMap},
    fmt,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use chrono::{DateTime, Utc};

use super::{
    broker::Share,
    client::{Connection, Endpoint},
    config::{IggyConfig, IggyMode, RemoteConfig},
    group::GroupSubscription,
    health::{self, Health},
    link::Link,
    producer::Publishers,
    provision,
    reader::{Reader, Tail},
    replay::ReplayBuilder,
    seat::Seat,
    watch::Watcher,
};
use crate::transport::{TopicName, TransportError};

/// Apache Iggy as a transport, remote or embedded. Clones are cheap and share their connections.
///
/// ```no_run
/// # async fn example() -> Result<(), rustok_events::TransportError> {
/// use rustok_events::iggy::{IggyConfig, IggyTransport};
///
/// let transport = IggyTransport::new(IggyConfig::default()).await?;
/// // … `EventRuntime::builder(db).transport(transport.clone())` …
/// transport.shutdown().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct IggyTransport {
    pub(super) inner: Arc<Inner>,
}

pub(super) struct Inner {
    pub(super) config: IggyConfig,
    endpoint: Arc<Endpoint>,
    /// The broker's name within this process.
    pub(super) broker: Arc<str>,
    /// Provisions, watches topics, answers questions.
    control: Arc<Link>,
    pub(super) publishers: Publishers,
    watchers: Mutex<HashMap<TopicName, Weak<Watcher>>>,
    /// The topics that were provisioned or consumed through this transport.
    topics: Mutex<BTreeSet<TopicName>>,
    share: tokio::sync::Mutex<Option<Share>>,
}

impl IggyTransport {
    /// Starts the embedded broker if that is the mode, connects and logs in.
    ///
    /// Takes at most [`connect_timeout`](super::ConnectionConfig::connect_timeout) for each address. From then on a
    /// lost connection is made again until [`shutdown`](Self::shutdown).
    ///
    /// Cancellation-safe: a dropped call leaves nothing open.
    ///
    /// # Errors
    /// [`TransportError::Config`] for a configuration that cannot work, which includes a `data_dir` that another
    /// process has; [`Unauthenticated`](TransportError::Unauthenticated) for a refused log-in;
    /// [`Unavailable`](TransportError::Unavailable) if no address answers.
    pub async fn new(config: IggyConfig) -> Result<Self, TransportError> {
        check(&config)?;
        let (share, remote) = match config.mode {
            IggyMode::Remote => (None, config.remote.clone()),
            IggyMode::Embedded => {
                let share = Share::take(&config.embedded).await?;
                let remote = RemoteConfig {
                    addresses: vec![share.address().to_string()],
                    username: config.embedded.username.clone(),
                    password: config.embedded.password.clone(),
                    ..RemoteConfig::default()
                };
                (Some(share), remote)
            }
        };
        let endpoint = Arc::new(Endpoint::remote(&remote, &config.connection)?);
        let mut addresses = endpoint.addresses.clone();
        addresses.sort();
        let control = Arc::new(Link::open(Arc::clone(&endpoint)).await?);
        let publishers = Publishers::open(&endpoint).await?;
        let inner = Inner {
            config,
            endpoint,
            broker: addresses.join(",").into(),
            control,
            publishers,
            watchers: Mutex::default(),
            topics: Mutex::default(),
            share: tokio::sync::Mutex::new(share),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// What the transport was told.
    pub fn config(&self) -> &IggyConfig {
        &self.inner.config
    }

    /// Whether all connections that the transport itself needs work now, as far as is known: a connection that
    /// breaks while it is idle is known after a [`heartbeat`](super::ConnectionConfig::heartbeat), one that falls
    /// silent after a request time-out more.
    pub fn is_connected(&self) -> bool {
        self.inner.control.is_up() && self.inner.publishers.is_up()
    }

    /// Ends all connections, and the embedded broker with its last transport. Stopping twice is safe.
    ///
    /// Subscriptions that are still held keep their own connections; their embedded broker is gone.
    ///
    /// # Errors
    /// None so far.
    pub async fn shutdown(&self) -> Result<(), TransportError> {
        self.inner.control.close();
        self.inner.publishers.close();
        let share = self.inner.share.lock().await.take();
        if let Some(share) = share {
            share.give_back().await;
        }
        Ok(())
    }

    /// Joins a group and receives its events: a stream of envelopes, each acknowledged by hand.
    ///
    /// Reads every topic that was provisioned or consumed through this transport; if there is none, every topic the
    /// broker has now. A new group begins at the first message that the topics still have.
    ///
    /// # Errors
    /// [`TransportError::Unavailable`] while the broker is away, [`TransportError::NotFound`] if there is no topic.
    pub async fn subscribe_as_group(
        &self,
        group: &str,
    ) -> Result<GroupSubscription, TransportError> {
        let mut topics = self.known_topics();
        if topics.is_empty() {
            topics = provision::all(&*self.control().await?).await?;
        }
        self.subscribe_to(group, topics).await
    }

    /// The same for the topics given.
    ///
    /// # Errors
    /// [`TransportError::NotFound`] names a topic that does not exist.
    pub async fn subscribe_to(
        &self,
        group: &str,
        topics: impl IntoIterator<Item = TopicName>,
    ) -> Result<GroupSubscription, TransportError> {
        provision::identifier(group)?;
        let topics: Vec<_> = topics.into_iter().collect();
        if topics.is_empty() {
            return Err(TransportError::NotFound("a topic to subscribe to".to_owned()));
        }
        let connection = self.control().await?;
        for topic in &topics {
            if provision::details(&connection, topic).await?.is_none() {
                return Err(TransportError::NotFound(topic.to_string()));
            }
        }
        Ok(GroupSubscription::start(self, group, topics))
    }

    /// Reads a topic again, or a part of it, without a group: no offset is stored, none is disturbed.
    ///
    /// ```no_run
    /// # async fn example(transport: rustok_events::iggy::IggyTransport) -> Result<(), rustok_events::TransportError> {
    /// use rustok_events::transport::TopicName;
    ///
    /// let orders = TopicName::new("commerce", "orders");
    /// let mut replay = transport.replay(orders).event_name("order_placed").rate(500).start().await?;
    /// loop {
    ///     let messages = replay.next_batch(100).await?;
    ///     if messages.is_empty() {
    ///         break;
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn replay(&self, topic: TopicName) -> ReplayBuilder {
        ReplayBuilder::new(self.clone(), topic)
    }

    /// Sets a group back to the first message of a topic that the broker stored since `time`, or to the first it
    /// still has. The group receives everything from there on again; an inbox makes it count once.
    ///
    /// # Errors
    /// [`TransportError::LostOwnership`] while the group has members: stop them first. Some partitions may then be
    /// set back already; the call may be repeated.
    pub async fn rewind(
        &self,
        group: &str,
        topic: &TopicName,
        time: Option<DateTime<Utc>>,
    ) -> Result<(), TransportError> {
        let mut reader = self.reader(topic).await?;
        let connection = self.connection().await?;
        let seat = Seat::join(connection, group, topic).await?;
        for partition in 0..seat.details().await?.partitions_count {
            let first = match time {
                Some(time) => Some(reader.first_since(partition, time).await?),
                None => None,
            };
            match first.and_then(|first| first.checked_sub(1)) {
                // Forgotten first: a broker may not take a lower offset in place of a higher one.
                Some(done) => {
                    seat.forget(partition).await?;
                    seat.store(partition, done).await?;
                }
                None => seat.forget(partition).await?,
            }
        }
        Ok(())
    }

    /// Looks at the broker, the topics this transport works with, and how far their groups have got. Takes at most
    /// [`request_timeout`](super::ConnectionConfig::request_timeout); what is not known by then is `None`.
    pub async fn health(&self) -> Health {
        let control = &self.inner.control;
        let limit = self.inner.endpoint.timing.request_timeout;
        let look = async {
            let connection = control.get(limit).await?;
            let mut topics = Vec::new();
            for topic in self.known_topics() {
                topics.push(health::of_topic(&connection, &topic).await?);
            }
            Ok::<_, TransportError>(topics)
        };
        let looked = tokio::time::timeout(limit, look).await.unwrap_or_else(|_| {
            Err(TransportError::Unavailable(format!("no answer within {limit:?}").into()))
        });
        let (topics, error) = match looked {
            Ok(topics) => (Some(topics), None),
            Err(error) => (None, Some(error.to_string())),
        };
        Health { connected: self.is_connected(), logged_in: control.is_logged_in(), topics, error }
    }

    fn known_topics(&self) -> Vec<TopicName> {
        let topics = self.inner.topics.lock().unwrap_or_else(PoisonError::into_inner);
        topics.iter().cloned().collect()
    }

    pub(super) fn remember(&self, topic: &TopicName) {
        let mut topics = self.inner.topics.lock().unwrap_or_else(PoisonError::into_inner);
        if !topics.contains(topic) {
            topics.insert(topic.clone());
        }
    }

    /// Reads partitions over a client of its own.
    pub(super) async fn reader(&self, topic: &TopicName) -> Result<Reader, TransportError> {
        if self.is_closed() {
            return Err(TransportError::Closed);
        }
        Reader::open(&self.inner.endpoint, topic).await
    }

    /// Follows a partition. Returns also how many partitions there are.
    pub(super) async fn tail(
        &self,
        topic: &TopicName,
        partition: u32,
    ) -> Result<(Tail, u32), TransportError> {
        let mut reader = self.reader(topic).await?;
        let count = reader.details().await?.partitions_count;
        Ok((Tail::new(reader, partition, self.watcher(topic)), count))
    }

    pub(super) fn is_closed(&self) -> bool {
        self.inner.control.is_closed()
    }

    pub(super) async fn control(&self) -> Result<Arc<Connection>, TransportError> {
        self.inner.control.get(self.inner.endpoint.timing.request_timeout).await
    }

    /// A connection for somebody's own use.
    pub(super) async fn connection(&self) -> Result<Connection, TransportError> {
        let endpoint = &self.inner.endpoint;
        Connection::open(endpoint, 0, endpoint.member_check()).await
    }

    pub(super) fn watcher(&self, topic: &TopicName) -> Arc<Watcher> {
        let inner = &self.inner;
        let mut watchers = inner.watchers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(watcher) = watchers.get(topic).and_then(Weak::upgrade) {
            return watcher;
        }
        let pause = inner.endpoint.timing.max_idle_poll;
        let watcher = Watcher::start(&inner.broker, topic, Arc::clone(&inner.control), pause);
        let watcher = Arc::new(watcher);
        watchers.retain(|_, watcher| watcher.strong_count() > 0);
        watchers.insert(topic.clone(), Arc::downgrade(&watcher));
        watcher
    }
}

/// What no broker needs to be asked for.
fn check(config: &IggyConfig) -> Result<(), TransportError> {
    let wrong = |what: &str| Err(TransportError::Config(what.to_owned()));
    if config.topology.domain_partitions == 0 {
        return wrong("`topology.domain_partitions` must be at least 1");
    }
    if config.topology.replication_factor == 0 {
        return wrong("`topology.replication_factor` must be at least 1");
    }
    if config.mode == IggyMode::Embedded && config.embedded.username.is_empty() {
        return wrong("`embedded.username` is empty");
    }
    Ok(())
}

impl fmt::Debug for IggyTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IggyTransport")
            .field("mode", &self.inner.config.mode)
            .field("addresses", &self.inner.endpoint.addresses)
            .field("connected", &self.is_connected())
            .finish_non_exhaustive()
    }
}
