//! The promises, checked from what the ledgers hold once everything has drained.

use std::collections::{HashMap, HashSet};

use sea_orm::DbErr;
use uuid::Uuid;

use super::{
    Promise,
    events::READERS,
    log::Log,
    tables::{self, EffectRow, HeldRow, WrittenRow},
    world::{World, Written},
};
use crate::{EventId, outbox::parked_events};

/// What was checked.
pub(super) struct Checked {
    /// How many facts of each promise, in the order of [`Promise::ALL`].
    pub(super) facts: [u64; 6],
    pub(super) events: u64,
}

/// While events are parked: what comes after one of them waits too. The rest of P6 is for consumers.
pub(super) async fn check_parked(world: &World) -> Result<(), DbErr> {
    world.parked_seen();
    let parked = parked_events(&world.db).await?;
    let parked: HashSet<Uuid> = parked.iter().map(|event| event.event_id.as_uuid()).collect();
    let books = Books::read(world).await?;
    for (first, second, why) in books.ordered_pairs() {
        if parked.contains(&first) && !parked.contains(&second) {
            let what = format!("{second} did not wait behind {first}, which is parked: {why}");
            world.broken(Promise::KeyNotPartition, what);
        }
    }
    Ok(())
}

/// Reads the ledgers and tells the world of everything that was broken.
pub(super) async fn check(world: &World) -> Result<Checked, DbErr> {
    let books = Books::read(world).await?;
    let broken = |promise, what| world.broken(promise, what);
    let deadly = world.plan.fates.values().any(|fate| fate.is_deadly());
    let facts = [
        books.atomic(&broken),
        books.nothing_lost(&broken),
        books.order_per_key(&broken),
        books.effectively_once(&broken),
        world.observer.seen(),
        books.key_not_partition(deadly, &broken) + world.parked(),
    ];
    Ok(Checked { facts, events: books.written.len() as u64 })
}

pub(super) type Broken<'b> = &'b dyn Fn(Promise, String);

/// The ledgers.
#[derive(Debug, Default)]
pub(super) struct Books {
    pub(super) written: Vec<WrittenRow>,
    pub(super) effects: Vec<EffectRow>,
    pub(super) held: Vec<HeldRow>,
    pub(super) history: Vec<Written>,
    /// What the operator gave up.
    pub(super) discarded: HashSet<Uuid>,
    pub(super) log: Log,
}

impl Books {
    async fn read(world: &World) -> Result<Self, DbErr> {
        Ok(Self {
            written: tables::all_written(&world.db).await?,
            effects: tables::all_effects(&world.db).await?,
            held: tables::all_held(&world.db).await?,
            history: world.history(),
            discarded: world.discarded().into_iter().map(EventId::as_uuid).collect(),
            log: Log::read(world),
        })
    }

    /// P1, one half: what is at the broker was committed. The other half is P2's.
    fn atomic(&self, broken: Broken<'_>) -> u64 {
        let committed: HashSet<Uuid> = self.written.iter().map(|row| row.event_id).collect();
        for event in self.log.first.keys().filter(|event| !committed.contains(event)) {
            broken(Promise::Atomic, format!("{event} is at the broker and was never committed"));
        }
        self.log.first.len() as u64
    }

    /// P2: what was committed is at the broker, and each of its readers has an effect or holds it.
    fn nothing_lost(&self, broken: Broken<'_>) -> u64 {
        let results: HashSet<(&str, &str, Uuid)> = self
            .effects
            .iter()
            .map(|row| (&*row.group, &*row.handler, row.event_id))
            .chain(
                self.held
                    .iter()
                    .filter_map(|row| Some((&*row.group, &*row.handler, row.event_id?))),
            )
            .collect();
        for row in self.written.iter().filter(|row| !self.discarded.contains(&row.event_id)) {
            let event = row.event_id;
            if !self.log.first.contains_key(&event) {
                broken(
                    Promise::NothingLost,
                    format!("{event} of {} is not at the broker", row.key),
                );
            }
            for (group, handler, _) in READERS.iter().filter(|reader| reader.2 == row.topic) {
                if !results.contains(&(*group, *handler, event)) {
                    let what =
                        format!("{event} of {} never had a result at {group}/{handler}", row.key);
                    broken(Promise::NothingLost, what);
                }
            }
        }
        self.written.len() as u64
    }

    /// P4: one effect and one follow-up for each event that was handled, none for one that is held.
    fn effectively_once(&self, broken: Broken<'_>) -> u64 {
        let mut effects: HashMap<(&str, &str, Uuid), u32> = HashMap::new();
        for row in &self.effects {
            *effects.entry((&row.group, &row.handler, row.event_id)).or_default() += 1;
        }
        let held: HashSet<(&str, &str, Uuid)> = self
            .held
            .iter()
            .filter_map(|row| Some((&*row.group, &*row.handler, row.event_id?)))
            .collect();
        let follow_ups = self.follow_ups();
        for (of, times) in &effects {
            if *times != 1 {
                broken(Promise::EffectivelyOnce, format!("{of:?} had its effect {times} times"));
            }
            if held.contains(of) {
                broken(Promise::EffectivelyOnce, format!("{of:?} is held and had an effect"));
            }
        }
        for row in self.written.iter().filter(|row| row.cause.is_none()) {
            let handled = effects.contains_key(&("alpha", "record", row.event_id));
            let follow_ups = follow_ups.get(&row.event_id).copied().unwrap_or(0);
            if follow_ups != u32::from(handled) {
                let what =
                    format!("{} has {follow_ups} follow-ups, handled: {handled}", row.event_id);
                broken(Promise::EffectivelyOnce, what);
            }
        }
        self.effects.len() as u64
    }

    fn follow_ups(&self) -> HashMap<Uuid, u32> {
        let mut follow_ups = HashMap::new();
        for cause in self.written.iter().filter_map(|row| row.cause) {
            *follow_ups.entry(cause).or_default() += 1;
        }
        follow_ups
    }
}
