//! A broker to test against, and what is put into it and taken out of it.

use std::{
    env,
    sync::{
        Once,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use iggy::prelude::{Client as _, Identifier, IggyClient, StreamClient as _};
use rustok_events::{
    EventId, EventTransport,
    envelope::WireHeaders,
    iggy::{
        IggyConfig, IggyMode, IggyTransport,
        embedded::{BrokerConfig, EmbeddedBroker},
    },
    transport::{IncomingMessage, OutgoingMessage, StartFrom, Subscription, TopicName, TopicSpec},
};
use rustok_events_tests::skipped;

/// A broker of its own, or a place of its own at a shared one.
#[derive(Clone)]
pub(crate) struct Broker {
    pub(crate) address: String,
    pub(crate) stream: String,
    _embedded: Option<EmbeddedBroker>,
}

impl Broker {
    pub(crate) async fn embedded() -> Self {
        let broker = EmbeddedBroker::start(BrokerConfig::default()).await.expect("a broker starts");
        Self {
            address: broker.address().to_string(),
            stream: "test".to_owned(),
            _embedded: Some(broker),
        }
    }

    pub(crate) async fn server() -> Option<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let Ok(address) = env::var("TEST_IGGY_ADDRESS") else {
            static SAID: Once = Once::new();
            SAID.call_once(|| skipped("all cases on a real Iggy server", "TEST_IGGY_ADDRESS"));
            return None;
        };
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let stream = format!("rustok-test-{}-{number}", std::process::id());
        let broker = Self { address, stream, _embedded: None };
        // Set but unreachable is a failure.
        broker.transport().await.shutdown().await.unwrap();
        Some(broker)
    }

    pub(crate) fn with_stream(&self, stream: &str) -> Self {
        Self { stream: stream.to_owned(), ..self.clone() }
    }

    pub(crate) fn config(&self) -> IggyConfig {
        let mut config = IggyConfig { mode: IggyMode::Remote, ..IggyConfig::default() };
        config.remote.addresses = vec![self.address.clone()];
        config.connection.reconnect_min = Duration::from_millis(20);
        config.connection.reconnect_max = Duration::from_millis(200);
        config
    }

    pub(crate) async fn transport(&self) -> IggyTransport {
        IggyTransport::new(self.config()).await.expect("the broker lets us in")
    }

    /// A client of the SDK alone.
    pub(crate) async fn plain_client(&self) -> IggyClient {
        let url = format!("iggy://iggy:iggy@{}", self.address);
        let client = IggyClient::from_connection_string(&url).unwrap();
        client.connect().await.unwrap();
        client
    }

    pub(crate) fn topic(&self, name: &'static str) -> TopicName {
        TopicName::new(self.stream.clone(), name)
    }

    pub(crate) async fn clean_up(&self) {
        let client = self.plain_client().await;
        let stream = Identifier::named(&self.stream).unwrap();
        let _ = client.delete_stream(&stream).await;
        client.shutdown().await.unwrap();
    }
}

/// Makes a topic.
pub(crate) async fn provision(transport: &IggyTransport, topic: &TopicName, partitions: u32) {
    let spec = TopicSpec { name: topic.clone(), partitions: Some(partitions) };
    assert_eq!(transport.provision(&[spec]).await.unwrap(), [partitions]);
}

pub(crate) fn message(payload: impl Into<Vec<u8>>) -> OutgoingMessage {
    let payload: Vec<u8> = payload.into();
    OutgoingMessage { id: EventId::new(), headers: WireHeaders::new(), payload: payload.into() }
}

/// Publishes texts `first..last` to a partition.
pub(crate) async fn publish(
    transport: &IggyTransport,
    topic: &TopicName,
    partition: u32,
    numbers: std::ops::Range<u64>,
) {
    let messages = numbers.map(|number| message(number.to_string())).collect();
    transport.publish(topic, partition, messages).await.unwrap();
}

pub(crate) async fn join(
    transport: &IggyTransport,
    group: &str,
    topic: &TopicName,
) -> Box<dyn Subscription> {
    transport.subscribe(group, topic, StartFrom::Beginning).await.unwrap()
}

/// The number a message was published with.
pub(crate) fn number(message: &IncomingMessage) -> u64 {
    std::str::from_utf8(&message.payload).unwrap().parse().unwrap()
}

/// Takes messages until there are `count` of them, at most ten seconds.
pub(crate) async fn take(
    subscription: &mut dyn Subscription,
    count: usize,
) -> Vec<IncomingMessage> {
    let mut taken = Vec::new();
    let all = async {
        while taken.len() < count {
            let messages = subscription.next(count - taken.len()).await.unwrap();
            assert!(!messages.is_empty() && messages.len() <= count - taken.len());
            taken.extend(messages);
        }
    };
    let in_time = tokio::time::timeout(Duration::from_secs(10), all).await;
    assert!(in_time.is_ok(), "{} of {count} messages came", taken.len());
    taken
}

/// That nothing comes for a while.
pub(crate) async fn nothing_comes(subscription: &mut dyn Subscription) {
    let next = tokio::time::timeout(Duration::from_millis(300), subscription.next(1)).await;
    assert!(next.is_err(), "{next:?}");
}
