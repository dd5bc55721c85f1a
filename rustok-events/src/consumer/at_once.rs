//! Several messages and every handler with an inbox, in one transaction.

use std::time::Duration;

use sea_orm::{ConnectionTrait as _, DbBackend, DbErr};
use tokio_util::sync::CancellationToken;

use super::{
    halt::Failed,
    message::Message,
    processor::Processor,
    runs::Runs,
    transaction::{News, Stumble, Turn},
};
use crate::{backoff, handler::HandlerSpec, trouble};

impl<S: Send + Sync + 'static> Processor<S> {
    /// Handles a run of messages in one transaction, and returns whether it worked. If not, nothing was committed,
    /// `runs` says what to try next, and no attempt is counted: whatever fails is tried on its own and judged by that.
    pub(super) async fn at_once(
        &self,
        run: &[Message],
        runs: &mut Runs,
        turn: Option<Turn>,
        stop: &CancellationToken,
    ) -> bool {
        let news = News::default();
        let failed = match self.try_at_once(run, runs.mixed, turn, &news).await {
            Ok(()) => {
                self.breaker.succeeded();
                return true;
            }
            Err(failed) => failed,
        };
        let stumble = news.stumble();
        if stumble == Some(Stumble::Mixed) {
            runs.mixed = true;
            return false;
        }
        tracing::debug!(
            group = self.group, events = run.len(), conflict = failed.is_conflict(), error = %failed,
            "a batch is rolled back and goes on with fewer"
        );
        if failed.is_conflict() {
            runs.conflicts += 1;
            runs.fewer(run.len());
            let (min, max) = (Duration::from_millis(1), Duration::from_millis(50));
            let pause = tokio::time::sleep(backoff::pause(min, max, runs.conflicts));
            stop.run_until_cancelled(pause).await;
            return false;
        }
        match (&failed, stumble) {
            (Failed::Handler(_), Some(Stumble::At(offset))) => {
                let place = run.iter().position(|message| message.raw.offset == offset);
                runs.failed_at(place.unwrap_or(0), offset);
            }
            (Failed::Handler(_) | Failed::Database(DbErr::Custom(_)), _) => {
                runs.fewer(run.len());
            }
            (Failed::Database(error), _) if trouble::of(error) == trouble::Trouble::Refused => {
                runs.fewer(run.len());
            }
            // One message waits until the database is back.
            (Failed::Database(_), _) => runs.one_by_one(),
        }
        false
    }

    /// The transaction of [`at_once`](Self::at_once): all or nothing, and none where no handler wants any of it.
    pub(super) async fn try_at_once(
        &self,
        run: &[Message],
        mixed: bool,
        turn: Option<Turn>,
        news: &News,
    ) -> Result<(), Failed> {
        let work: Vec<_> = self
            .handlers
            .iter()
            .filter(|handler| handler.spec().inbox)
            .map(|handler| (&**handler, wanted(run, &handler.spec())))
            .filter(|(_, wanted)| !wanted.is_empty())
            .collect();
        if work.is_empty() {
            return Ok(());
        }
        let txn = self.writer.begin_claim(turn).await?;
        let handled = async {
            let mut behind = Vec::new();
            for (place, (handler, wanted)) in work.iter().enumerate() {
                if place > 0 && txn.get_database_backend() != DbBackend::Postgres {
                    // Where the database can end a transaction, whatever follows stands by itself, the next claims too.
                    self.still_open(&txn, news).await?;
                }
                let waiting = self.deliver(&txn, *handler, wanted, 1, mixed, news).await?;
                if !waiting.is_empty() {
                    behind.push((handler.spec(), waiting));
                }
            }
            self.still_open(&txn, news).await?;
            // Last, so that no handler waits for a row while this transaction locks what is held.
            for (spec, waiting) in &behind {
                self.hold_behind(&txn, spec, waiting, news).await?;
            }
            Ok(())
        };
        let handled = handled.await;
        self.writer.end(txn, handled, news).await
    }
}

fn wanted<'m>(run: &'m [Message], spec: &HandlerSpec) -> Vec<&'m Message> {
    let accepted = |message: &&Message| message.name().is_some_and(|name| spec.accepts(name));
    run.iter().filter(accepted).collect()
}
