//! A group's handlers, called with what is read again.

use std::{collections::BTreeMap, sync::Arc};

use tokio_util::sync::CancellationToken;

use super::{ConsumerError, ConsumerRuntime, Processor, message::Message};
use crate::{
    backoff::Backoff,
    migration,
    transport::{IncomingMessage, Subscription, TopicName, TransportError},
};

/// Calls a group's handlers with what is read again. Made by [`ConsumerRuntime::replay`].
#[must_use = "nothing is handled until `run`"]
pub struct GroupReplay<'r, S> {
    runtime: &'r ConsumerRuntime<S>,
    group: &'r str,
    topic: &'r TopicName,
    past_inbox: bool,
}

impl<S: Send + Sync + 'static> ConsumerRuntime<S> {
    /// Calls the handlers that `group` has here on `topic` with messages that are read again, such as those of
    /// `IggyTransport::replay`. The group's offsets stay as they are, and the group may run meanwhile, here or elsewhere.
    ///
    /// The inbox guards: a handler is called with what it is not done with yet, unless
    /// [`past_inbox`](GroupReplay::past_inbox) says otherwise. A handler with `inbox = none` is called with
    /// everything. What fails is retried, held and dead-lettered as ever.
    pub fn replay<'r>(&'r self, group: &'r str, topic: &'r TopicName) -> GroupReplay<'r, S> {
        GroupReplay { runtime: self, group, topic, past_inbox: false }
    }
}

impl<S: Send + Sync + 'static> GroupReplay<'_, S> {
    /// Also calls handlers with what they are done with already, as to build a projection again after its rows were
    /// removed. The effects of such an event are made a second time, and what the handler publishes is published a
    /// second time, under new ids.
    ///
    /// An event that lies among the held or dead ones is left to its retry. An event that fails beyond the retries in
    /// place ends the replay with an error; it can be resumed from that event on.
    pub fn past_inbox(mut self) -> Self {
        self.past_inbox = true;
        self
    }

    /// Handles what `messages` hands out until it ends with [`TransportError::Closed`] or `token` is cancelled, and
    /// acknowledges it there. A replay of a transport then knows its position and its progress.
    ///
    /// Waits through the absence of the database or the broker. Messages of one partition are handled in their order,
    /// against each other and not against what the running group handles: for events of one key that are not
    /// handled yet, stop the group first.
    ///
    /// Cancellation: dropping the future rolls back what is being handled; nothing unfinished is acknowledged.
    ///
    /// # Errors
    /// [`ConsumerError::NoHandler`] if `group` has no handler on the topic here; otherwise as
    /// [`ConsumerRuntime::run`].
    pub async fn run(
        self,
        messages: &mut dyn Subscription,
        token: CancellationToken,
    ) -> Result<(), ConsumerError> {
        let processor = self.processor()?;
        let config = &self.runtime.config;
        let prepared = migration::wait_for_tables(&self.runtime.writer.db);
        let Some(prepared) = token.run_until_cancelled(prepared).await else { return Ok(()) };
        prepared?;
        let mut backoff = Backoff::new(config.min_backoff, config.max_backoff);
        while !token.is_cancelled() {
            let next = messages.next(config.batch_size);
            let error = match token.run_until_cancelled(next).await {
                None | Some(Err(TransportError::Closed)) => return Ok(()),
                Some(Ok(batch)) => {
                    backoff.reset();
                    handle(&processor, messages, batch, &token).await?;
                    continue;
                }
                Some(Err(error)) => error,
            };
            if !error.is_retryable() {
                return Err(error.into());
            }
            let pause = backoff.next();
            tracing::warn!(
                code = error.code(), %error, retry_in = ?pause, group = self.group, topic = %self.topic,
                "the replay waits for the broker"
            );
            token.run_until_cancelled(tokio::time::sleep(pause)).await;
        }
        Ok(())
    }

    fn processor(&self) -> Result<Arc<Processor<S>>, ConsumerError> {
        let mut all = self.runtime.processors.iter();
        let found = all.find(|known| known.group == self.group && known.topic == *self.topic);
        let found = found.ok_or_else(|| ConsumerError::NoHandler {
            group: self.group.to_owned(),
            topic: self.topic.clone(),
        })?;
        Ok(if self.past_inbox { Arc::new(found.past_inbox()) } else { Arc::clone(found) })
    }
}

async fn handle<S: Send + Sync + 'static>(
    processor: &Processor<S>,
    messages: &mut dyn Subscription,
    batch: Vec<IncomingMessage>,
    token: &CancellationToken,
) -> Result<(), ConsumerError> {
    let mut by_partition: BTreeMap<u32, Vec<IncomingMessage>> = BTreeMap::new();
    for message in batch {
        by_partition.entry(message.partition).or_default().push(message);
    }
    for (partition, batch) in by_partition {
        let ended = processor.handle_one(Message::read_all(batch), None, token).await;
        if let Some(offset) = ended.offset {
            messages.acknowledge(partition, offset).await?;
        }
        ended.result?;
    }
    Ok(())
}

impl<S> std::fmt::Debug for GroupReplay<'_, S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GroupReplay")
            .field("group", &self.group)
            .field("topic", &self.topic)
            .field("past_inbox", &self.past_inbox)
            .finish_non_exhaustive()
    }
}
