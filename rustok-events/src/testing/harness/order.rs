//! P3, from the ledgers: which events have a defined order, and whether they kept it.

use std::collections::HashMap;

use uuid::Uuid;

use super::{
    Promise,
    checks::{Books, Broken},
    events::READERS,
};

impl Books {
    /// P3: at the broker by first copies, and at each handler by effects.
    pub(super) fn order_per_key(&self, broken: Broken<'_>) -> u64 {
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
    pub(super) fn ordered_pairs(&self) -> Vec<(Uuid, Uuid, &'static str)> {
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
}
