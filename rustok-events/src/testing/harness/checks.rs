//! The promises, checked from what the ledgers hold once everything has drained.

use std::collections::{HashMap, HashSet};

use sea_orm::DbErr;
use uuid::Uuid;

use super::{
    Promise,
    events::{READERS, TOPICS},
    tables::{self, EffectRow, HeldRow, WrittenRow},
    world::{World, Written},
};
use crate::{EventId, envelope::EventMeta, outbox::parked_events};

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

type Broken<'b> = &'b dyn Fn(Promise, String);

/// Where events lie at the broker, by their first copy.
#[derive(Debug, Default)]
struct Log {
    /// Topic, partition and place of each event's first copy.
    first: HashMap<Uuid, (String, u32, u64)>,
    /// How many copies lie on another partition than the first.
    strayed: Vec<Uuid>,
}

impl Log {
    fn read(world: &World) -> Self {
        let mut log = Self::default();
        for name in TOPICS.map(|name| name()) {
            for message in world.broker.messages(&name).into_iter().flatten() {
                let Ok(meta) = EventMeta::from_wire(&message.headers) else { continue };
                let place = (name.topic().to_owned(), message.partition, message.offset);
                log.add(meta.id.as_uuid(), &place);
            }
        }
        log
    }

    fn add(&mut self, event: Uuid, place: &(String, u32, u64)) {
        let first = self.first.entry(event).or_insert_with(|| place.clone());
        if (&first.0, first.1) != (&place.0, place.1) {
            self.strayed.push(event);
        }
    }
}

/// The ledgers.
#[derive(Debug, Default)]
struct Books {
    written: Vec<WrittenRow>,
    effects: Vec<EffectRow>,
    held: Vec<HeldRow>,
    history: Vec<Written>,
    /// What the operator gave up.
    discarded: HashSet<Uuid>,
    log: Log,
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

    /// P3: at the broker by first copies, and at each handler by effects.
    fn order_per_key(&self, broken: Broken<'_>) -> u64 {
        for event in &self.log.strayed {
            broken(Promise::OrderPerKey, format!("{event} lies on two partitions"));
        }
        let pairs = self.ordered_pairs();
        for (first, second, why) in &pairs {
            let (Some(a), Some(b)) = (self.log.first.get(first), self.log.first.get(second)) else {
                continue;
            };
            if (a.1, a.2) >= (b.1, b.2) || a.1 != b.1 {
                let what = format!("{second} {b:?} overtook {first} {a:?} at the broker: {why}");
                broken(Promise::OrderPerKey, what);
            }
        }
        self.order_of_effects(broken);
        pairs.len() as u64
    }

    /// Pairs of events of one key whose order is defined, and why it is.
    fn ordered_pairs(&self) -> Vec<(Uuid, Uuid, &'static str)> {
        let mut pairs = Vec::new();
        for (first, second) in self
            .history
            .iter()
            .flat_map(|first| self.history.iter().map(move |second| (first, second)))
        {
            if first.key == second.key && first.committed < second.called {
                let why = "its transaction had committed before the other was published";
                pairs.push((first.id.as_uuid(), second.id.as_uuid(), why));
            }
        }
        for (place, first) in self.written.iter().enumerate() {
            for second in &self.written[place + 1..] {
                let (a, b) = (first, second);
                if a.key != b.key || a.topic != b.topic {
                    continue;
                }
                // Follow-ups of a key come from one handler, one event after the other.
                if a.cause.is_some() {
                    pairs.push((
                        a.event_id,
                        b.event_id,
                        "the events they follow came in this order",
                    ));
                }
                if let (Some(of_a), Some(of_b)) = (a.version, b.version) {
                    let why = "their transactions held the same row lock in this order";
                    let ordered = (of_a, a.position) < (of_b, b.position);
                    let (a, b) = if ordered { (a, b) } else { (b, a) };
                    pairs.push((a.event_id, b.event_id, why));
                }
            }
        }
        pairs
    }

    /// A handler has its effects in the order of the partition.
    fn order_of_effects(&self, broken: Broken<'_>) {
        let keys: HashMap<Uuid, &str> =
            self.written.iter().map(|row| (row.event_id, &*row.key)).collect();
        for (group, handler, _) in READERS {
            let mut last: HashMap<&str, (u64, Uuid)> = HashMap::new();
            for row in
                self.effects.iter().filter(|row| row.group == group && row.handler == handler)
            {
                let (Some(key), Some((_, _, place))) =
                    (keys.get(&row.event_id), self.log.first.get(&row.event_id))
                else {
                    continue;
                };
                let before = last.insert(key, (*place, row.event_id));
                if let Some((other_place, other)) = before.filter(|before| before.0 > *place) {
                    broken(
                        Promise::OrderPerKey,
                        format!(
                            "{group}/{handler} had {other} at offset {other_place} before {} at offset {place}, \
                             both of {key}",
                            row.event_id
                        ),
                    );
                }
            }
        }
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

    /// P6: behind a dead event everything of its key waits in order; nothing else is held.
    fn key_not_partition(&self, deadly: bool, broken: Broken<'_>) -> u64 {
        if !deadly && !self.held.is_empty() {
            let what = format!("held although nothing fails for good: {:?}", self.held);
            broken(Promise::KeyNotPartition, what);
        }
        let dead = self.held.iter().filter(|row| row.state == "dead");
        let mut stopped: HashMap<(&str, &str, &str), Uuid> = HashMap::new();
        let keys: HashMap<Uuid, &str> =
            self.written.iter().map(|row| (row.event_id, &*row.key)).collect();
        let mut count = 0;
        for row in dead {
            count += 1;
            let Some(event) = row.event_id else { continue };
            let Some(key) = keys.get(&event) else { continue };
            if let Some(other) = stopped.insert((&row.group, &row.handler, key), event) {
                let what = format!("{other} and {event} of {key} are both dead: one did not wait");
                broken(Promise::KeyNotPartition, what);
            }
        }
        for (group, handler, topic) in READERS {
            self.waiting_in_order((group, handler, topic), &stopped, &keys, broken);
        }
        count
    }

    fn waiting_in_order(
        &self,
        (group, handler, topic): (&str, &str, &str),
        stopped: &HashMap<(&str, &str, &str), Uuid>,
        keys: &HashMap<Uuid, &str>,
        broken: Broken<'_>,
    ) {
        let place = |event: &Uuid| self.log.first.get(event).map(|(_, _, offset)| *offset);
        let mut waiting: HashMap<&str, Vec<Uuid>> = HashMap::new();
        for row in self.held.iter().filter(|row| row.group == group && row.handler == handler) {
            let Some(event) = row.event_id.filter(|_| row.state != "dead") else { continue };
            let Some(key) = keys.get(&event) else { continue };
            waiting.entry(key).or_default().push(event);
        }
        for (key, events) in &waiting {
            if !events.is_sorted_by_key(place) {
                let what = format!("{group}/{handler} holds {key} out of order: {events:?}");
                broken(Promise::KeyNotPartition, what);
            }
            if !stopped.contains_key(&(group, handler, *key)) {
                let what = format!("{group}/{handler} holds {key}, of which nothing is dead");
                broken(Promise::KeyNotPartition, what);
            }
        }
        for row in self.written.iter().filter(|row| row.topic == topic) {
            let Some(dead) = stopped.get(&(group, handler, &*row.key)) else { continue };
            let waits = waiting.get(&*row.key).is_some_and(|held| held.contains(&row.event_id));
            let is_behind =
                place(&row.event_id).is_some_and(|place_of| Some(place_of) > place(dead));
            if waits != is_behind {
                let what = format!(
                    "{group}/{handler}: {} of {} is {}behind {dead}, which is dead, and is {}held",
                    row.event_id,
                    row.key,
                    if is_behind { "" } else { "not " },
                    if waits { "" } else { "not " },
                );
                broken(Promise::KeyNotPartition, what);
            }
        }
    }
}
