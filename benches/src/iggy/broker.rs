//! The brokers, and what is asked of them beside sending and reading.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use iggy::prelude::*;
use rustok_events::{
    EventTransport as _,
    iggy::{
        IggyConfig, IggyMode, IggyTransport,
        embedded::{BrokerConfig, EmbeddedBroker, SyncPolicy},
    },
    transport::{TopicName, TopicSpec},
};
use tempfile::TempDir;
use uuid::Uuid;

/// How many partitions a topic has.
pub(super) const PARTITIONS: u32 = 8;
pub(super) const ADDRESS: &str = "TEST_IGGY_ADDRESS";

/// A broker to measure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The embedded one, in memory.
    Memory,
    /// The embedded one, on disk.
    Disk(SyncPolicy),
    /// The one that `TEST_IGGY_ADDRESS` names.
    Server,
}

impl Kind {
    pub(super) const ALWAYS: Self = Self::Disk(SyncPolicy::Always);

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Memory => "embedded, in memory",
            Self::Disk(SyncPolicy::Always) => "embedded, sync always",
            Self::Disk(SyncPolicy::Never) => "embedded, sync never",
            Self::Disk(_) => "embedded, sync interval",
            Self::Server => "real server",
        }
    }
}

/// The bare SDK's client. Once its broker is away it soon gives up.
pub(super) async fn connect(address: &str) -> Result<IggyClient> {
    let options =
        "nodelay=true&reconnection_retries=1&reconnection_interval=10ms&reestablish_after=10ms";
    let address = format!("iggy://iggy:iggy@{address}?{options}");
    let client = IggyClient::from_connection_string(&address)?;
    client.connect().await?;
    Ok(client)
}

/// A broker, and a stream of this run's own on it.
pub(crate) struct Broker {
    pub(super) kind: Kind,
    pub(super) address: String,
    stream: String,
    embedded: Option<EmbeddedBroker>,
    _folder: Option<TempDir>,
}

impl Broker {
    /// Starts it; `None` for a real one that is not named, which is said.
    pub(crate) async fn start(kind: Kind) -> Result<Option<Self>> {
        let folder = matches!(kind, Kind::Disk(_)).then(tempfile::tempdir).transpose()?;
        let embedded = match (kind, &folder) {
            (Kind::Memory, _) => Some(EmbeddedBroker::start(BrokerConfig::in_memory()).await?),
            (Kind::Disk(sync), Some(folder)) => {
                let mut config = BrokerConfig::at(folder.path());
                config.sync = sync;
                Some(EmbeddedBroker::start(config).await?)
            }
            _ => None,
        };
        let address = match (&embedded, std::env::var(ADDRESS)) {
            (Some(embedded), _) => embedded.address().to_string(),
            (None, Ok(address)) => address,
            (None, Err(_)) => {
                eprintln!("skipped: a real Iggy server: `{ADDRESS}` is not set");
                return Ok(None);
            }
        };
        let stream = format!("benches-{}", Uuid::now_v7().simple());
        let broker = Self { kind, address, stream, embedded, _folder: folder };
        broker.client().await?.create_stream(&broker.stream).await?;
        Ok(Some(broker))
    }

    pub(crate) async fn stop(self) {
        if let Some(embedded) = &self.embedded {
            return embedded.shutdown().await;
        }
        let removed = async {
            let stream = Identifier::named(&self.stream)?;
            anyhow::Ok(self.client().await?.delete_stream(&stream).await?)
        };
        if let Err(error) = removed.await {
            eprintln!("stream `{}` is left behind: {error}", self.stream);
        }
    }

    pub(crate) async fn client(&self) -> Result<IggyClient> {
        connect(&self.address).await
    }

    /// Ours.
    pub(crate) async fn transport(&self) -> Result<IggyTransport> {
        let mut config = IggyConfig { mode: IggyMode::Remote, ..IggyConfig::default() };
        config.remote.addresses = vec![self.address.clone()];
        Ok(IggyTransport::new(config).await?)
    }

    /// A topic that nobody has used yet.
    pub(super) async fn topic(&self, transport: &IggyTransport) -> Result<TopicName> {
        let name = TopicName::new(self.stream.clone(), Uuid::now_v7().simple().to_string());
        let spec = TopicSpec { name: name.clone(), partitions: Some(PARTITIONS) };
        transport.provision(&[spec]).await?;
        Ok(name)
    }

    /// Checks that a topic has everything that was sent to it, removes it, and lets the broker come to rest.
    pub(super) async fn remove(&self, topic: &TopicName, messages: u64) -> Result<()> {
        let client = self.client().await?;
        let (stream, id) = (Identifier::named(topic.stream())?, Identifier::named(topic.topic())?);
        let found = client.get_topic(&stream, &id).await?.context("the topic is gone")?;
        ensure!(found.messages_count == messages, "{} of {messages} came", found.messages_count);
        client.delete_topic(&stream, &id).await?;
        client.shutdown().await?;
        tokio::time::sleep(Duration::from_millis(100)).await;
        Ok(())
    }
}
