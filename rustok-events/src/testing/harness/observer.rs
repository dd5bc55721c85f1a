//! P5 as it happens: each offset is looked at just before the broker stores it.

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use sea_orm::{DatabaseConnection, DbErr};
use uuid::Uuid;

use super::{Promise, events::READERS, tables, world::Violations};
use crate::{
    envelope::EventMeta,
    testing::{AcknowledgeObserver, MemoryTransport},
    transport::{BoxFuture, TopicName},
};

/// Checks that everything an offset speaks of has its result in the database, as another connection sees it.
pub(super) struct OffsetsAfterResults {
    db: DatabaseConnection,
    broker: MemoryTransport,
    violations: Arc<Violations>,
    known: Mutex<Known>,
    seen: AtomicU64,
}

/// How many messages of a group's partition are known to have their results.
type Known = HashMap<(String, TopicName, u32), usize>;

impl OffsetsAfterResults {
    pub(super) fn new(
        db: DatabaseConnection,
        broker: MemoryTransport,
        violations: Arc<Violations>,
    ) -> Self {
        Self { db, broker, violations, known: Mutex::default(), seen: AtomicU64::new(0) }
    }

    /// How many offsets were looked at.
    pub(super) fn seen(&self) -> u64 {
        self.seen.load(Ordering::Relaxed)
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn check(
        &self,
        group: &str,
        topic: &TopicName,
        partition: u32,
        offset: u64,
    ) -> Result<(), DbErr> {
        let place = (group.to_owned(), topic.clone(), partition);
        let from = self.lock().get(&place).copied().unwrap_or(0);
        let to = usize::try_from(offset).unwrap_or(usize::MAX).saturating_add(1);
        let logs = self.broker.messages(topic);
        let spoken_of = logs[partition as usize].get(from..to).unwrap_or_default();
        if spoken_of.is_empty() {
            return Ok(());
        }
        let results = self.results(group).await?;
        for message in spoken_of {
            let Ok(meta) = EventMeta::from_wire(&message.headers) else { continue };
            for (_, handler, _) in READERS
                .iter()
                .filter(|(reader, _, reads)| *reader == group && *reads == topic.topic())
            {
                if !results.contains(&((*handler).to_owned(), meta.id.as_uuid())) {
                    self.violations.add(
                        Promise::ResultBeforeAcknowledgement,
                        format!(
                            "group {group} stores offset {offset} of {topic}/{partition}, but {handler} has no \
                             result for {} at offset {}",
                            meta.id, message.offset
                        ),
                    );
                }
            }
        }
        let mut known = self.lock();
        let known = known.entry(place).or_default();
        *known = (*known).max(to);
        Ok(())
    }

    /// What a group's handlers have results for: effects, and what is held.
    async fn results(&self, group: &str) -> Result<HashSet<(String, Uuid)>, DbErr> {
        let mut results = HashSet::new();
        // In this order: what is held now can have its effect a moment later, never the other way round.
        for held in tables::all_held(&self.db).await? {
            if let (true, Some(event)) = (held.group == group, held.event_id) {
                results.insert((held.handler, event));
            }
        }
        for effect in tables::all_effects(&self.db).await? {
            if effect.group == group {
                results.insert((effect.handler, effect.event_id));
            }
        }
        Ok(results)
    }
}

impl AcknowledgeObserver for OffsetsAfterResults {
    fn acknowledging<'a>(
        &'a self,
        group: &'a str,
        topic: &'a TopicName,
        partition: u32,
        offset: u64,
    ) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            self.seen.fetch_add(1, Ordering::Relaxed);
            if let Err(error) = self.check(group, topic, partition, offset).await {
                let what = format!("an offset could not be looked at: {error}");
                self.violations.add(Promise::ResultBeforeAcknowledgement, what);
            }
        })
    }
}
