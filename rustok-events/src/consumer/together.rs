//! Batches of several partitions in one transaction, where the database has one writer.
//!
//! Each in its own, they would only queue for the writer, and flush once each.

use tokio_util::sync::CancellationToken;

use super::{
    ConsumerError,
    halt::Halt,
    lanes::Batch,
    message::Message,
    processor::Processor,
    single::Course,
    transaction::{News, Turn},
};

/// How work on batches ended.
pub(super) enum Ended {
    /// Each has its result.
    Done(Vec<Done>),
    /// Of batches that went together nothing was committed: each is to go on its own.
    Apart(Vec<Vec<Message>>),
}

/// A batch that ended: everything on the partition up to `offset` has its result; none if `None`.
pub(super) struct Done {
    pub(super) partition: u32,
    pub(super) offset: Option<u64>,
    pub(super) result: Result<(), ConsumerError>,
}

impl<S: Send + Sync + 'static> Processor<S> {
    /// Whether batches of several partitions go in one transaction.
    pub(super) fn goes_together(&self) -> bool {
        self.writer.is_single() && self.handlers.iter().all(|handler| handler.spec().inbox)
    }

    /// Handles batches of different partitions.
    pub(super) async fn handle(
        &self,
        mut batches: Vec<Batch>,
        mut turn: Option<Turn>,
        stop: &CancellationToken,
    ) -> Ended {
        if batches.len() < 2 {
            let Some(batch) = batches.pop() else { return Ended::Done(Vec::new()) };
            let done = self.handle_one(Message::read_all(batch), turn, stop).await;
            return Ended::Done(vec![done]);
        }
        let messages = Message::read_all(batches.into_iter().flatten().collect());
        if self.ready(&mut turn, stop).await.is_err() {
            return Ended::Done(Vec::new());
        }
        if !self.commit_together(&messages, turn).await {
            return Ended::Apart(by_partition(messages));
        }
        let mut all = Vec::new();
        for run in messages.chunk_by(same_partition) {
            let (mut course, mut offset) = (Course::new(run, None), None);
            let ended = self.each_message(run, true, &mut course, &mut offset, stop).await;
            all.push(done(run, offset, ended));
        }
        Ended::Done(all)
    }

    /// Handles messages of one partition.
    pub(super) async fn handle_one(
        &self,
        messages: Vec<Message>,
        turn: Option<Turn>,
        stop: &CancellationToken,
    ) -> Done {
        let mut offset = None;
        let ended = self.each(&messages, turn, &mut offset, stop).await;
        done(&messages, offset, ended)
    }

    async fn commit_together(&self, messages: &[Message], turn: Option<Turn>) -> bool {
        if messages.iter().any(|message| message.content.is_err()) {
            return false;
        }
        let handled = self.try_at_once(messages, false, turn, &News::default()).await;
        match handled {
            Ok(()) => {
                self.breaker.succeeded();
                true
            }
            Err(failed) => {
                tracing::debug!(
                    group = self.group, topic = %self.topic, events = messages.len(), error = %failed,
                    "batches of several partitions are rolled back, and each goes on its own"
                );
                false
            }
        }
    }
}

fn done(messages: &[Message], offset: Option<u64>, ended: Result<(), Halt>) -> Done {
    let partition = messages.first().map_or(0, |message| message.raw.partition);
    let result = match ended {
        Ok(()) | Err(Halt::Stopped) => Ok(()),
        Err(Halt::Failed(error)) => Err(error),
    };
    Done { partition, offset, result }
}

fn same_partition(one: &Message, next: &Message) -> bool {
    one.raw.partition == next.raw.partition
}

fn by_partition(messages: Vec<Message>) -> Vec<Vec<Message>> {
    let mut batches: Vec<Vec<Message>> = Vec::new();
    for message in messages {
        match batches.last_mut() {
            Some(batch) if same_partition(&batch[0], &message) => batch.push(message),
            _ => batches.push(vec![message]),
        }
    }
    batches
}
