//! The events a program knows, held against one another before anything is published.

use std::any::TypeId;

use crate::{DomainEvent, EventDescriptor, Lineage};

/// The events of a program, in all their versions: no two under one name and version, one partition count per
/// topic, one kind of key per name.
///
/// ```
/// # use rustok_events::{Catalog, prelude::*};
/// # use serde::{Deserialize, Serialize};
/// #[derive(Serialize, Deserialize, DomainEvent)]
/// #[domain_event(stream = "commerce", topic = "orders", partition_key = order_id)]
/// struct OrderPlaced { order_id: u64 }
///
/// #[derive(Serialize, Deserialize, DomainEvent)]
/// #[domain_event(stream = "commerce", topic = "orders", partition_key = order_id)]
/// struct OrderPaid { order_id: u64 }
///
/// let catalog = Catalog::of::<(OrderPlaced, OrderPaid)>()?;
/// assert_eq!(catalog.events().count(), 2);
/// # Ok::<(), rustok_events::CatalogError>(())
/// ```
///
/// A runtime makes one of its handlers' events by itself, and refuses to start where they do not fit together. A
/// test of the domain crate that lists all events finds out earlier.
#[derive(Debug, Clone, Default)]
pub struct Catalog {
    known: Vec<Known>,
}

/// One event type in one version.
#[derive(Debug, Clone, Copy)]
struct Known {
    descriptor: &'static EventDescriptor,
    /// The type that declares it; unknown for a version that only a later one names.
    declared_by: Option<TypeId>,
    newest: bool,
}

/// An event type that is known by its data alone.
#[derive(Debug, Clone, Copy)]
pub struct EventData {
    id: TypeId,
    lineage: Lineage,
    superseded: bool,
}

impl EventData {
    pub(crate) const fn of<E: DomainEvent>() -> Self {
        Self { id: TypeId::of::<E>(), lineage: E::LINEAGE, superseded: E::SUPERSEDED_BY.is_some() }
    }
}

/// An event, or a tuple of up to sixteen of them or of further tuples.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a list of events",
    label = "not an event, nor a tuple of events",
    note = "list events in a tuple: `Catalog::of::<(OrderPlaced, OrderPaid)>()`; beyond sixteen, nest tuples"
)]
pub trait EventSet {
    /// Adds the events to a list.
    #[doc(hidden)]
    fn collect(into: &mut Vec<EventData>);
}

impl<E: DomainEvent> EventSet for E {
    fn collect(into: &mut Vec<EventData>) {
        into.push(EventData::of::<E>());
    }
}

macro_rules! tuples {
    ($first:ident $($rest:ident)*) => {
        impl<$first: EventSet, $($rest: EventSet),*> EventSet for ($first, $($rest,)*) {
            fn collect(into: &mut Vec<EventData>) {
                $first::collect(into);
                $($rest::collect(into);)*
            }
        }
        tuples!($($rest)*);
    };
    () => {};
}
tuples!(A B C D E F G H I J K L M N O P);

impl Catalog {
    /// The catalog of some events: one, or a tuple of them.
    ///
    /// # Errors
    /// [`CatalogError`] names the first two that do not fit together.
    pub fn of<E: EventSet>() -> Result<Self, CatalogError> {
        let mut events = Vec::new();
        E::collect(&mut events);
        Self::from_data(events)
    }

    /// The catalog of events that are known by their data.
    pub(crate) fn from_data(
        events: impl IntoIterator<Item = EventData>,
    ) -> Result<Self, CatalogError> {
        let mut catalog = Self::default();
        for event in events {
            for (age, descriptors) in event.lineage.versions().enumerate() {
                for descriptor in descriptors {
                    catalog.add(Known {
                        descriptor,
                        declared_by: (age == 0).then_some(event.id),
                        newest: age == 0 && !event.superseded,
                    })?;
                }
            }
        }
        Ok(catalog)
    }

    fn add(&mut self, known: Known) -> Result<(), CatalogError> {
        for other in &mut self.known {
            if other.is_the_same_as(&known) {
                other.declared_by = other.declared_by.or(known.declared_by);
                other.newest |= known.newest;
                return Ok(());
            }
            fit_together(other, &known)?;
        }
        self.known.push(known);
        Ok(())
    }

    /// The event types in their newest version, in the order they were listed in.
    pub fn events(&self) -> impl Iterator<Item = &'static EventDescriptor> {
        self.known.iter().filter(|known| known.newest).map(|known| known.descriptor)
    }

    /// The event types in every version that can be read.
    pub fn versions(&self) -> impl Iterator<Item = &'static EventDescriptor> {
        self.known.iter().map(|known| known.descriptor)
    }

    /// An event type by its name on the wire and its version.
    pub fn find(&self, name: &str, version: u32) -> Option<&'static EventDescriptor> {
        self.versions().find(|known| known.name == name && known.version == version)
    }

    /// The topics that the events lie in, as (stream, topic, declared partition count).
    pub fn topics(&self) -> Vec<(&'static str, &'static str, Option<u32>)> {
        let mut topics: Vec<(&'static str, &'static str, Option<u32>)> = Vec::new();
        for descriptor in self.versions() {
            let (stream, topic) = (descriptor.stream, descriptor.topic);
            match topics.iter_mut().find(|known| (known.0, known.1) == (stream, topic)) {
                Some(known) => known.2 = known.2.or(descriptor.partitions),
                None => topics.push((stream, topic, descriptor.partitions)),
            }
        }
        topics
    }
}

impl Known {
    fn is_the_same_as(&self, other: &Self) -> bool {
        let one_type = match (self.declared_by, other.declared_by) {
            (Some(one), Some(other)) => one == other,
            _ => true,
        };
        one_type && self.descriptor == other.descriptor
    }
}

/// What two event types must agree in, and what they must not share.
fn fit_together(one: &Known, other: &Known) -> Result<(), CatalogError> {
    let (one, other) = (one.descriptor, other.descriptor);
    if (one.name, one.version) == (other.name, other.version) {
        return Err(CatalogError::DuplicateEvent {
            name: one.name,
            version: one.version,
            first: one.declared_by,
            second: other.declared_by,
        });
    }
    if (one.stream, one.topic) == (other.stream, other.topic)
        && let (Some(first_count), Some(second_count)) = (one.partitions, other.partitions)
        && first_count != second_count
    {
        return Err(CatalogError::PartitionMismatch {
            stream: one.stream,
            topic: one.topic,
            first: one.declared_by,
            first_count,
            second: other.declared_by,
            second_count,
        });
    }
    let unknown = one.key_type.is_empty() || other.key_type.is_empty();
    if one.name == other.name && one.key_type != other.key_type && !unknown {
        return Err(CatalogError::KeyChanged {
            name: one.name,
            first: one.declared_by,
            first_version: one.version,
            first_key: one.key_type,
            second: other.declared_by,
            second_version: other.version,
            second_key: other.key_type,
        });
    }
    Ok(())
}

/// Two events that do not fit together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CatalogError {
    /// Two types claim one name and version.
    #[error(
        "`{first}` and `{second}` are both `{name}` version {version}: give one of them another `name`, or the \
         next `version` and a `previous`"
    )]
    DuplicateEvent {
        /// The name on the wire.
        name: &'static str,
        /// The version.
        version: u32,
        /// A type.
        first: &'static str,
        /// Another type.
        second: &'static str,
    },
    /// Two events of one topic declare different partition counts.
    #[error(
        "topic `{stream}/{topic}` is declared with {first_count} partitions by `{first}` and with \
         {second_count} by `{second}`: make them agree"
    )]
    PartitionMismatch {
        /// The stream.
        stream: &'static str,
        /// The topic.
        topic: &'static str,
        /// An event.
        first: &'static str,
        /// Its count.
        first_count: u32,
        /// Another event.
        second: &'static str,
        /// Its count.
        second_count: u32,
    },
    /// Two versions of one event are keyed differently, so that the events of a key would lie on two partitions.
    #[error(
        "the key of `{name}` is `{first_key}` in version {first_version} (`{first}`) and `{second_key}` in version \
         {second_version} (`{second}`): old and new events of a key would not keep their order; keep the key's \
         type, or give the event another name"
    )]
    KeyChanged {
        /// The name on the wire.
        name: &'static str,
        /// A type.
        first: &'static str,
        /// Its version.
        first_version: u32,
        /// Its kind of key.
        first_key: &'static str,
        /// Another type.
        second: &'static str,
        /// Its version.
        second_version: u32,
        /// Its kind of key.
        second_key: &'static str,
    },
}

impl CatalogError {
    /// A short, stable code for records and metrics.
    pub fn code(&self) -> &'static str {
        match self {
            Self::DuplicateEvent { .. } => "duplicate_event",
            Self::PartitionMismatch { .. } => "partition_mismatch",
            Self::KeyChanged { .. } => "key_changed",
        }
    }
}
