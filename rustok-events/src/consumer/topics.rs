//! The topics of the consumers: made sure of at the start, and their partition counts looked at from time to time.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::{ConsumerConfig, ConsumerError};
use crate::{
    backoff::{Backoff, retry},
    transport::{EventTransport, TopicSpec, TransportError, counts::Counts},
};

pub(super) struct Topics {
    transport: Arc<dyn EventTransport>,
    specs: Vec<TopicSpec>,
    counts: Counts,
    config: ConsumerConfig,
}

impl Topics {
    pub(super) fn new(
        transport: Arc<dyn EventTransport>,
        specs: Vec<TopicSpec>,
        config: &ConsumerConfig,
    ) -> Self {
        Self { transport, specs, counts: Counts::new(config.recount), config: config.clone() }
    }

    /// Makes sure of the topics; waits while the broker is away.
    pub(super) async fn provision(&mut self) -> Result<(), ConsumerError> {
        let backoff = Backoff::new(self.config.min_backoff, self.config.max_backoff);
        let counted = retry(backoff, "topics could not be provisioned", || self.look()).await?;
        Ok(self.counts.note(&self.specs, &counted)?)
    }

    /// Looks at the topics again and again until `stop` is cancelled. Ends with an error if one has another count
    /// than it had.
    pub(super) async fn watch(mut self, stop: CancellationToken) -> Result<(), ConsumerError> {
        let watch = async {
            loop {
                tokio::time::sleep(self.config.recount).await;
                self.provision().await?;
            }
        };
        stop.run_until_cancelled(watch).await.unwrap_or(Ok(()))
    }

    async fn look(&self) -> Result<Vec<u32>, TransportError> {
        self.config.faults.broker("consumer.provision.before").await?;
        let counts = self.transport.provision(&self.specs).await?;
        self.config.faults.broker("consumer.provision.after").await?;
        Ok(counts)
    }
}
