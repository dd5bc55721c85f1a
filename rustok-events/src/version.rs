//! Versions of an event: which there were, how an older payload becomes the newest, and which may be published.

use crate::{
    BoxError, DecodeError, DomainEvent, EventDescriptor, Payload,
    event::{check_decoded, decode_current},
};

/// An event's types in its newest version, and in every version before it that this program can read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lineage {
    descriptors: &'static [EventDescriptor],
    previous: Option<&'static Lineage>,
}

impl Lineage {
    /// A first version, or the only one there is.
    pub const fn first(descriptors: &'static [EventDescriptor]) -> Self {
        Self { descriptors, previous: None }
    }

    /// The version after `previous`.
    pub const fn after(
        descriptors: &'static [EventDescriptor],
        previous: &'static Lineage,
    ) -> Self {
        Self { descriptors, previous: Some(previous) }
    }

    /// The event types of this version.
    pub const fn descriptors(&self) -> &'static [EventDescriptor] {
        self.descriptors
    }

    /// All versions, the newest first.
    pub fn versions(&self) -> impl Iterator<Item = &'static [EventDescriptor]> + use<> {
        std::iter::successors(Some(*self), |version| version.previous.copied())
            .map(|version| version.descriptors)
    }
}

/// An event, by another way: what is no event has no `Itself`, which is told once.
pub trait Event {
    /// The event.
    type Itself;
}

#[diagnostic::do_not_recommend]
impl<E: DomainEvent> Event for E {
    type Itself = E;
}

/// An event that is made from the version before it: `From<Old>`, as the compiler explains it.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be made from its previous version `{Old}`",
    label = "there is no `impl From<{Old}> for {Self}`",
    note = "write `impl From<{Old}> for {Self}`: it turns every old event, in the log or held, into a new one"
)]
pub trait Upcast<Old>: Sized {
    /// The same event in the newer version.
    fn upcast(old: Old) -> Self;
}

#[diagnostic::do_not_recommend]
impl<Old, New: From<Old>> Upcast<Old> for New {
    fn upcast(old: Old) -> Self {
        New::from(old)
    }
}

/// Decodes a payload of `New`, or of `Old` or a version before that.
pub fn decode_version<New, Old, P>(
    name: &str,
    version: u32,
    payload: &P,
) -> Result<New, DecodeError>
where
    New: DomainEvent + Upcast<Old>,
    Old: DomainEvent,
    P: Payload,
{
    let of_name = |descriptors: &'static [EventDescriptor]| {
        descriptors.iter().find(|descriptor| descriptor.name == name)
    };
    match (of_name(New::DESCRIPTORS), of_name(Old::DESCRIPTORS)) {
        (Some(new), Some(_)) if version < new.version => {
            let old = Old::decode_event(name, version, payload).map_err(|error| match error {
                DecodeError::UnknownVersion { name, version, .. } => {
                    DecodeError::UnknownVersion { name, version, newest: new.version }
                }
                other => other,
            })?;
            check_decoded(New::upcast(old), name, version)
        }
        _ => decode_current(name, version, payload),
    }
}

/// What a `validate` function may fail with.
#[diagnostic::on_unimplemented(
    message = "`{Self}` says nothing of why an event is invalid",
    label = "not an error that can be reported",
    note = "a `validate` function is `fn(&Self) -> Result<(), E>`, and its `E` is an error type, a `String` or a `&str`"
)]
pub trait Reason {
    /// The reason, boxed.
    fn into_reason(self) -> BoxError;
}

#[diagnostic::do_not_recommend]
impl<E: Into<BoxError>> Reason for E {
    fn into_reason(self) -> BoxError {
        self.into()
    }
}

/// Runs a declared `validate` function.
pub fn validate<T, E: Reason>(event: &T, check: fn(&T) -> Result<(), E>) -> Result<(), BoxError> {
    check(event).map_err(Reason::into_reason)
}

/// What holds of a type unless the type has a constant of the same name itself, which then comes first: the way in
/// which generated code asks whether there is one.
pub trait Unless {
    /// No version comes after this one, unless the derive of that version says so.
    const __SUPERSEDED_BY: Option<&'static str> = None;
    /// A type that is no key has no kind. That it is no key is told where a key is made of it, once.
    const __KIND: &'static str = "";
}

impl<T: ?Sized> Unless for T {}

/// Only the newest version of an event is published: anything else does not compile.
#[cfg(feature = "runtime")]
pub(crate) const fn assert_newest<E: DomainEvent>() {
    if let Some(by) = E::SUPERSEDED_BY {
        let name = match E::DESCRIPTORS {
            [descriptor, ..] => descriptor.declared_by,
            [] => "this event",
        };
        crate::check::refuse(&[
            "`",
            name,
            "` is an older version of `",
            by,
            "` and can only be read: publish `",
            by,
            "`",
        ]);
    }
}
