//! What both connectors are: the address is the only difference.

use std::collections::VecDeque;

use iggy::prelude::IggyMessage;
use tokio::sync::RwLock;
use tokio_util::sync::CancellationToken;

use super::{ConnectorConfig, ConnectorError, IggyConnector, MessageSubscriber, PublishRequest};
use crate::{
    partition,
    transport::{
        BoxFuture, EventTransport as _, OutgoingMessage, TopicName, TopicSpec, TransportError,
        iggy::{IggyConfig, IggyMode, IggyTransport, reader::Tail},
    },
};

macro_rules! connectors {
    ($($(#[$doc:meta])* $name:ident = $mode:expr;)+) => {$(
        $(#[$doc])*
        #[derive(Debug, Default)]
        pub struct $name(Core);

        impl $name {
            /// A connector that is not connected yet.
            pub fn new() -> Self {
                Self::default()
            }
        }

        impl IggyConnector for $name {
            fn connect<'a>(
                &'a self,
                config: &'a ConnectorConfig,
            ) -> BoxFuture<'a, Result<(), ConnectorError>> {
                Box::pin(self.0.connect($mode, config))
            }

            fn publish(&self, request: PublishRequest) -> BoxFuture<'_, Result<(), ConnectorError>> {
                Box::pin(self.0.publish(request))
            }

            fn subscribe<'a>(
                &'a self,
                stream: &'a str,
                topic: &'a str,
                partition: u32,
            ) -> BoxFuture<'a, Result<Box<dyn MessageSubscriber>, ConnectorError>> {
                Box::pin(self.0.subscribe(stream, topic, partition))
            }

            fn shutdown(&self) -> BoxFuture<'_, Result<(), ConnectorError>> {
                Box::pin(self.0.shutdown())
            }

            fn is_connected(&self) -> bool {
                self.0.is_connected()
            }
        }
    )+};
}

connectors! {
    /// Connects to a server.
    RemoteConnector = IggyMode::Remote;
    /// Starts the broker in this process, or shares the one that runs on the folder, and connects to it.
    EmbeddedConnector = IggyMode::Embedded;
}

/// What both connectors are: the address is the only difference.
#[derive(Debug, Default)]
struct Core {
    transport: RwLock<Option<IggyTransport>>,
    stop: CancellationToken,
}

impl Core {
    async fn connect(
        &self,
        mode: IggyMode,
        config: &ConnectorConfig,
    ) -> Result<(), ConnectorError> {
        if config.mode != mode {
            return Err(ConnectorError::Mode { expected: mode, found: config.mode });
        }
        let mut transport = self.transport.write().await;
        if self.stop.is_cancelled() {
            return Err(TransportError::Closed.into());
        }
        if transport.is_none() {
            let config = config.clone();
            *transport = Some(
                IggyTransport::new(IggyConfig {
                    mode,
                    embedded: config.embedded,
                    remote: config.remote,
                    topology: config.topology,
                    retention: config.retention,
                    connection: config.connection,
                    ..IggyConfig::default()
                })
                .await?,
            );
        }
        Ok(())
    }

    async fn transport(&self) -> Result<IggyTransport, ConnectorError> {
        self.transport.read().await.clone().ok_or(ConnectorError::NotConnected)
    }

    async fn publish(&self, request: PublishRequest) -> Result<(), ConnectorError> {
        let transport = self.transport().await?;
        let stream = match request.stream {
            stream if stream.is_empty() => transport.config().topology.stream_name.clone(),
            stream => stream,
        };
        let topic = TopicName::new(stream, request.topic);
        let spec = TopicSpec { name: topic.clone(), partitions: None };
        let counts = transport.provision(&[spec]).await?;
        let key = request.partition_key.as_deref().unwrap_or(request.id.as_bytes());
        let partition = partition::of(key, counts.first().copied().unwrap_or(1));
        let message = OutgoingMessage {
            id: request.id,
            headers: request.headers.into_iter().collect(),
            payload: request.payload.into(),
        };
        Ok(transport.publish(&topic, partition, vec![message]).await?)
    }

    async fn subscribe(
        &self,
        stream: &str,
        topic: &str,
        partition: u32,
    ) -> Result<Box<dyn MessageSubscriber>, ConnectorError> {
        let transport = self.transport().await?;
        let topic = TopicName::new(stream.to_owned(), topic.to_owned());
        let (tail, count) = transport.tail(&topic, partition).await?;
        if partition >= count {
            return Err(ConnectorError::NoPartition { topic, partition, count });
        }
        Ok(Box::new(Subscriber { tail, waiting: VecDeque::new(), stop: self.stop.clone() }))
    }

    async fn shutdown(&self) -> Result<(), ConnectorError> {
        self.stop.cancel();
        match self.transport.write().await.take() {
            Some(transport) => Ok(transport.shutdown().await?),
            None => Ok(()),
        }
    }

    fn is_connected(&self) -> bool {
        // While somebody connects or shuts down, it is not.
        self.transport
            .try_read()
            .is_ok_and(|transport| transport.as_ref().is_some_and(IggyTransport::is_connected))
    }
}

struct Subscriber {
    tail: Tail,
    waiting: VecDeque<IggyMessage>,
    stop: CancellationToken,
}

impl MessageSubscriber for Subscriber {
    fn recv(&mut self) -> BoxFuture<'_, Result<Option<Vec<u8>>, ConnectorError>> {
        const READ_AHEAD: u32 = 100;
        Box::pin(async move {
            loop {
                if let Some(message) = self.waiting.pop_front() {
                    return Ok(Some(message.payload.into()));
                }
                match self.stop.run_until_cancelled(self.tail.next(READ_AHEAD)).await {
                    None => return Ok(None),
                    Some(messages) => self.waiting.extend(messages?),
                }
            }
        })
    }
}
