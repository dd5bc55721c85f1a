//! Writers: business transactions on a few keys, each with events, some rolled back, some slow.

use std::{sync::Arc, time::Duration};

use sea_orm::{ConnectionTrait, DatabaseTransaction, DbBackend, DbErr, TransactionTrait};
use uuid::Uuid;

use super::{
    events::Fact,
    plan::{KEYS, TRANSACTIONS, number},
    tables::{self, WrittenRow},
    world::{World, Written},
};
use crate::{
    BoxError, DomainEvent, EventId,
    fault::{Draw, Process},
};

const TENANT: Uuid = Uuid::from_u128(1);

/// Makes a writer's transactions. A crash ends one of them; the next is a new process's.
pub(super) async fn write(world: Arc<World>, writer: usize) {
    let mut process = world.faults.process();
    for transaction in 0..TRANSACTIONS {
        let work = Transaction::new(&world, &process, writer, transaction).perform();
        match process.run(work).await {
            None => process = world.faults.process(),
            // A lost connection, a deadlock: nothing is known of it but what the ledger says.
            Some(Err(error)) => {
                tracing::debug!(writer, transaction, %error, "a transaction failed");
            }
            Some(Ok(())) => {}
        }
    }
}

struct Transaction<'w> {
    world: &'w World,
    process: &'w Process,
    writer: usize,
    number: usize,
    draw: Draw,
}

impl<'w> Transaction<'w> {
    fn new(world: &'w World, process: &'w Process, writer: usize, number: usize) -> Self {
        let draw = Draw::new(world.seed, &format!("writer {writer}, transaction {number}"));
        Self { world, process, writer, number, draw }
    }

    async fn perform(mut self) -> Result<(), BoxError> {
        let idle = self.draw.below(self.world.plan.idle + 1) as u64;
        tokio::time::sleep(Duration::from_millis(idle)).await;
        let txn = self.world.db.begin().await?;
        let written = self.fill(&txn).await;
        if written.is_err() || self.draw.chance(20) {
            txn.rollback().await?;
            written?;
            return Ok(());
        }
        let mut written = written?;
        if self.draw.chance(70) {
            self.world.bus(self.process).commit(txn).await?;
        } else {
            txn.commit().await?;
        }
        let committed = self.world.tick();
        for event in &mut written {
            event.committed = committed;
        }
        self.world.remember(written);
        Ok(())
    }

    /// Publishes one to three events on one key or several.
    async fn fill(&mut self, txn: &DatabaseTransaction) -> Result<Vec<Written>, BoxError> {
        let backend = txn.get_database_backend();
        if self.draw.chance(30) && backend == DbBackend::Postgres {
            // The transaction id is taken now; the keys come later.
            txn.query_one_raw(sea_orm::Statement::from_string(
                backend,
                "SELECT pg_current_xact_id()",
            ))
            .await?;
            self.wait(6).await;
        }
        let bursts = self.world.plan.bursts;
        // The relay that sleeps is to have a window at its end, and whoever succeeds it one that is longer than a page.
        let count = match (bursts, self.number) {
            (true, 0) => 1,
            (true, _) => self.draw.below(3) + 4,
            (false, _) => self.draw.below(3) + 1,
        };
        let locks = self.draw.chance(60);
        // One key has a long window; over several each would have a short one.
        let first_key = if bursts { KEYS[0] } else { *self.draw.of(&KEYS) };
        let mut version = None;
        if locks {
            version = Some(tables::lock_key(txn, first_key).await?);
        }
        let delays = self.world.plan.delays;
        let at_once = count > 1 && !delays && (bursts || self.draw.chance(30));
        let keys: Vec<&'static str> = (0..count)
            .map(|_| if locks || at_once { first_key } else { *self.draw.of(&KEYS) })
            .collect();
        let facts = keys.iter().enumerate().map(|(place, key)| Fact {
            key: (*key).to_owned(),
            number: number(self.writer, self.number, place),
        });
        let bus = self.world.bus(self.process);
        let (mut written, mut delayed) = (Vec::with_capacity(count), Vec::new());
        let mut push = |id, key, called| written.push(Written { id, key, called, committed: 0 });
        if at_once {
            let called = self.world.tick();
            let ids = bus.publish_all_in_tx(txn, TENANT, None, facts.collect::<Vec<_>>()).await?;
            for id in ids {
                push(id, first_key, called);
            }
        } else {
            for (key, fact) in keys.iter().zip(facts.collect::<Vec<_>>()) {
                if delays && self.draw.chance(60) {
                    let later = Duration::from_millis(500 + self.draw.below(2000) as u64);
                    let at = self.world.clock.now() + later;
                    let id = bus.publish_at(txn, TENANT, None, at, fact).await?;
                    delayed.push((id, *key));
                    continue;
                }
                let called = self.world.tick();
                push(bus.publish_in_tx(txn, TENANT, None, fact).await?, key, called);
                self.wait(2).await;
            }
        }
        for (place, event) in written.iter().enumerate() {
            self.note(txn, event.id, event.key, version, place).await?;
        }
        for (id, key) in delayed {
            // It takes its place when it is released: its order is not defined.
            self.note(txn, id, key, None, 0).await?;
        }
        // The ids are taken; the commit comes later.
        let most = if self.draw.chance(30) { 8 } else { 1 };
        self.wait(most).await;
        Ok(written)
    }

    /// Writes down, in the same transaction, what will have been committed with it.
    async fn note(
        &self,
        txn: &DatabaseTransaction,
        event: EventId,
        key: &str,
        version: Option<i64>,
        place: usize,
    ) -> Result<(), DbErr> {
        let row = WrittenRow {
            event_id: event.as_uuid(),
            topic: Fact::TOPIC.to_owned(),
            key: key.to_owned(),
            version,
            cause: None,
            position: i64::try_from(place).unwrap_or(i64::MAX),
        };
        txn.execute_raw(tables::written(txn.get_database_backend(), &row)).await?;
        Ok(())
    }

    /// Waits up to so many milliseconds; on SQLite, where everyone else waits too, not at all.
    async fn wait(&mut self, most: usize) {
        let pause = self.draw.below(most + 1) as u64;
        if self.world.db.get_database_backend() != DbBackend::Sqlite {
            tokio::time::sleep(Duration::from_millis(pause)).await;
        }
    }
}
