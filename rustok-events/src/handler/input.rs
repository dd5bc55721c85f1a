//! What a handler takes: one event, one envelope, or a batch of envelopes.

use crate::{
    DecodeError, DomainEvent,
    codec::EncodedPayload,
    envelope::{Envelope, EventMeta},
};

/// One message as the consumer has read it: envelope read, payload not yet decoded.
#[derive(Debug, Clone)]
pub struct Delivered {
    pub(crate) meta: EventMeta,
    pub(crate) payload: EncodedPayload,
}

impl Delivered {
    fn decode<E: DomainEvent>(&self) -> Result<E, DecodeError> {
        E::decode_event(&self.meta.name, self.meta.version, &self.payload)
    }
}

/// The last argument of a handler: `E`, `Envelope<E>` or `Batch<E>` for a [`DomainEvent`] `E`.
#[diagnostic::on_unimplemented(
    message = "a handler cannot take `{Self}`",
    label = "neither an event, an `Envelope` nor a `Batch`",
    note = "take the event by value (`event: OrderPlaced`), `Envelope<OrderPlaced>` or `Batch<OrderPlaced>`, where the event has `#[derive(DomainEvent)]`"
)]
pub trait HandlerInput: Sized + Send {
    /// The event type.
    type Event: DomainEvent;
    /// Whether it takes several deliveries at once.
    #[doc(hidden)]
    const BATCH: bool = false;
    /// Builds the argument from deliveries: exactly one unless it is a batch, and never none.
    #[doc(hidden)]
    fn from_deliveries(deliveries: &[&Delivered]) -> Result<Self, DecodeError>;
}

impl<E: DomainEvent> HandlerInput for E {
    type Event = E;

    fn from_deliveries(deliveries: &[&Delivered]) -> Result<Self, DecodeError> {
        deliveries[0].decode()
    }
}

impl<E: DomainEvent> HandlerInput for Envelope<E> {
    type Event = E;

    fn from_deliveries(deliveries: &[&Delivered]) -> Result<Self, DecodeError> {
        let delivered = &deliveries[0];
        Ok(Self { event: delivered.decode()?, meta: delivered.meta.clone() })
    }
}

/// Several events of one partition, in order.
#[derive(Debug, Clone, PartialEq)]
pub struct Batch<E> {
    envelopes: Vec<Envelope<E>>,
}

impl<E> Batch<E> {
    /// How many there are, at least one.
    pub fn len(&self) -> usize {
        self.envelopes.len()
    }

    /// Never true of a batch that a handler is given.
    pub fn is_empty(&self) -> bool {
        self.envelopes.is_empty()
    }

    /// The envelopes, in order.
    pub fn iter(&self) -> std::slice::Iter<'_, Envelope<E>> {
        self.envelopes.iter()
    }
}

impl<E> FromIterator<Envelope<E>> for Batch<E> {
    fn from_iter<I: IntoIterator<Item = Envelope<E>>>(envelopes: I) -> Self {
        Self { envelopes: envelopes.into_iter().collect() }
    }
}

impl<E> IntoIterator for Batch<E> {
    type Item = Envelope<E>;
    type IntoIter = std::vec::IntoIter<Envelope<E>>;

    fn into_iter(self) -> Self::IntoIter {
        self.envelopes.into_iter()
    }
}

impl<'a, E> IntoIterator for &'a Batch<E> {
    type Item = &'a Envelope<E>;
    type IntoIter = std::slice::Iter<'a, Envelope<E>>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl<E: DomainEvent> HandlerInput for Batch<E> {
    type Event = E;
    const BATCH: bool = true;

    fn from_deliveries(deliveries: &[&Delivered]) -> Result<Self, DecodeError> {
        deliveries
            .iter()
            .map(|delivered| Envelope::from_deliveries(std::slice::from_ref(delivered)))
            .collect()
    }
}
