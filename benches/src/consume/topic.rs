//! The topic that is read: filled once through the outbox and the relay, so that every header is there.

use anyhow::Result;
use rustok_events::{
    Relay, RelayConfig, TransactionalEventBus,
    iggy::{
        IggyConfig, IggyMode, IggyTransport,
        embedded::{BrokerConfig, EmbeddedBroker},
    },
};
use sea_orm::TransactionTrait;

use crate::{
    database::{Place, Server},
    sample::{Sample, TENANT},
};

/// A broker in memory that holds the events.
pub(super) struct Topic {
    broker: EmbeddedBroker,
    pub(super) transport: IggyTransport,
    pub(super) events: u64,
}

impl Topic {
    pub(super) async fn fill(events: u64) -> Result<Self> {
        let broker = EmbeddedBroker::start(BrokerConfig::in_memory()).await?;
        let mut config = IggyConfig { mode: IggyMode::Remote, ..IggyConfig::default() };
        config.remote.addresses = vec![broker.address().to_string()];
        let transport = IggyTransport::new(config).await?;
        let place = Place::create(Server::Sqlite).await?;
        let bus = TransactionalEventBus::new();
        let mut number = 0;
        while number < events {
            let until = events.min(number + 1000);
            let samples: Vec<Sample> = (number..until).map(Sample::new).collect();
            let txn = place.db.begin().await?;
            bus.publish_all_in_tx(&txn, TENANT, None, samples).await?;
            bus.commit(txn).await?;
            number = until;
        }
        Relay::new(place.db.clone(), transport.clone(), RelayConfig::default()).drain().await?;
        place.remove().await?;
        Ok(Self { broker, transport, events })
    }

    /// The broker's address.
    pub(super) fn address(&self) -> String {
        self.broker.address().to_string()
    }

    pub(super) async fn remove(self) -> Result<()> {
        self.transport.shutdown().await?;
        self.broker.shutdown().await;
        Ok(())
    }
}
