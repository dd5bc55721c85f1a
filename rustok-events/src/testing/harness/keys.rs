//! P6, from the ledgers: what is dead stops its key, and nothing else is held.

use std::collections::HashMap;

use uuid::Uuid;

use super::{
    Promise,
    checks::{Books, Broken},
    events::READERS,
};

impl Books {
    /// P6: behind a dead event everything of its key waits in order; nothing else is held.
    pub(super) fn key_not_partition(&self, deadly: bool, broken: Broken<'_>) -> u64 {
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
