//! An event type as plain data: what the derive declares, readable without an event at hand.

/// Who may publish an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Scope {
    /// Every event belongs to one tenant; the nil tenant is refused.
    Tenant,
    /// The platform's own event: it may carry the nil tenant.
    Platform,
}

/// One event type: its wire name and version, where it goes, and how it is keyed.
///
/// `const` data: the derive builds it in a `const`, a hand-written [`DomainEvent`](crate::DomainEvent)
/// does the same:
///
/// ```
/// use rustok_events::EventDescriptor;
/// const ORDER_PLACED: EventDescriptor =
///     EventDescriptor::new("order_placed", 1, "commerce", "orders").partitions(8);
/// assert_eq!(ORDER_PLACED.topic, "orders");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct EventDescriptor {
    /// The event type on the wire, such as `order_placed`.
    pub name: &'static str,
    /// Schema version, from 1.
    pub version: u32,
    /// The stream the topic lies in.
    pub stream: &'static str,
    /// The topic the event is appended to.
    pub topic: &'static str,
    /// How many partitions the topic has; `None` takes the transport's default.
    pub partitions: Option<u32>,
    /// Whether the event needs a tenant.
    pub scope: Scope,
    /// The Rust type (and variant) that declares it, for messages.
    pub declared_by: &'static str,
    /// What the key is made of: the key's Rust type, `tenant` or `none`, for messages and for the check that a
    /// new version keeps it.
    pub key_type: &'static str,
}

impl EventDescriptor {
    /// A tenant-scoped event type with the transport's default partition count.
    pub const fn new(
        name: &'static str,
        version: u32,
        stream: &'static str,
        topic: &'static str,
    ) -> Self {
        Self {
            name,
            version,
            stream,
            topic,
            partitions: None,
            scope: Scope::Tenant,
            declared_by: name,
            key_type: "",
        }
    }

    /// The number of partitions to provision the topic with.
    #[must_use]
    pub const fn partitions(mut self, partitions: u32) -> Self {
        self.partitions = Some(partitions);
        self
    }

    /// Who may publish it.
    #[must_use]
    pub const fn scope(mut self, scope: Scope) -> Self {
        self.scope = scope;
        self
    }

    /// The Rust type (and variant) that declares it.
    #[must_use]
    pub const fn declared_by(mut self, declared_by: &'static str) -> Self {
        self.declared_by = declared_by;
        self
    }

    /// What the partition key is made of.
    #[must_use]
    pub const fn key_type(mut self, key_type: &'static str) -> Self {
        self.key_type = key_type;
        self
    }
}
