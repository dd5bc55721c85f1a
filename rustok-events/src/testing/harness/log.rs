//! What the broker holds once everything is there.

use std::collections::HashMap;

use uuid::Uuid;

use super::{events::TOPICS, world::World};
use crate::envelope::EventMeta;

/// Where events lie at the broker, by their first copy.
#[derive(Debug, Default)]
pub(super) struct Log {
    /// Topic, partition and place of each event's first copy.
    pub(super) first: HashMap<Uuid, (String, u32, u64)>,
    /// How many copies lie on another partition than the first.
    pub(super) strayed: Vec<Uuid>,
}

impl Log {
    pub(super) fn read(world: &World) -> Self {
        let mut log = Self::default();
        for name in TOPICS.map(|name| name()) {
            for message in world.broker.messages(&name).into_iter().flatten() {
                let Ok(meta) = EventMeta::from_wire(&message.headers) else { continue };
                let place = (name.topic().to_owned(), message.partition, message.offset);
                log.add(meta.id.as_uuid(), place);
            }
        }
        log
    }

    fn add(&mut self, event: Uuid, place: (String, u32, u64)) {
        let strays = |first: &(String, u32, u64)| (&first.0, first.1) != (&place.0, place.1);
        if self.first.get(&event).is_some_and(strays) {
            self.strayed.push(event);
        }
        self.first.entry(event).or_insert(place);
    }
}
