//! Partition keys: what keeps its order, and how it is written down.
//!
//! The encoding decides on which partition an event lies, so it is part of the wire format: it is text, stable,
//! and pinned by golden vectors. A UUID is its lower-case hyphenated form, an integer its decimal form, a string
//! itself; the parts of a tuple are joined by `|`, with `|` and `\` inside a part escaped by `\`.

use std::{borrow::Cow, marker::PhantomData};

use crate::check::Text;

/// The key of one event, as its [`DomainEvent`](crate::DomainEvent) gives it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Key<'a> {
    /// Events with equal bytes keep their order.
    Bytes(Cow<'a, [u8]>),
    /// The envelope's tenant is the key.
    Tenant,
    /// Order does not matter: the event goes to any partition and never waits for another.
    None,
}

impl<'a> Key<'a> {
    /// The key of a value.
    pub fn of<K: PartitionKey + ?Sized>(value: &'a K) -> Self {
        Key::Bytes(value.encode())
    }
}

/// A value that events can be ordered by.
///
/// Implemented for `Uuid`, the integers, strings, and tuples of up to three of them; derive it for a newtype.
/// Floats, `Option` and `()` are not keys: equal keys must have equal bytes, and every event of a key must have
/// one.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be a partition key",
    label = "not a partition key",
    note = "a key is a `Uuid`, an integer, a string, a tuple of up to three of them, or a newtype with `#[derive(PartitionKey)]`",
    note = "for an event whose order does not matter write `partition_key = none`; to keep a tenant's events in order write `partition_key = tenant`"
)]
pub trait PartitionKey {
    /// How the bytes are made, in a word: `uuid`, `integer`, `string`, `(uuid, string)`. Two versions of an event
    /// whose keys differ in it do not keep a key's order, which [`Catalog`](crate::Catalog) reports.
    const KIND: &'static str = "custom";

    /// The key's bytes: equal for equal keys, stable across releases. 1 to 255 bytes, checked at publish.
    fn encode(&self) -> Cow<'_, [u8]>;
}

impl PartitionKey for uuid::Uuid {
    const KIND: &'static str = "uuid";

    fn encode(&self) -> Cow<'_, [u8]> {
        Cow::Owned(self.to_string().into_bytes())
    }
}

impl PartitionKey for str {
    const KIND: &'static str = "string";

    fn encode(&self) -> Cow<'_, [u8]> {
        Cow::Borrowed(self.as_bytes())
    }
}

impl PartitionKey for String {
    const KIND: &'static str = "string";

    fn encode(&self) -> Cow<'_, [u8]> {
        Cow::Borrowed(self.as_bytes())
    }
}

impl<K: PartitionKey + ?Sized> PartitionKey for &K {
    const KIND: &'static str = K::KIND;

    fn encode(&self) -> Cow<'_, [u8]> {
        K::encode(self)
    }
}

macro_rules! integer_keys {
    ($($int:ty),*) => {$(
        impl PartitionKey for $int {
            const KIND: &'static str = "integer";

            fn encode(&self) -> Cow<'_, [u8]> {
                Cow::Owned(self.to_string().into_bytes())
            }
        }
    )*};
}
integer_keys!(u8, u16, u32, u64, u128, usize, i8, i16, i32, i64, i128, isize);

/// Appends one part of a tuple, escaped so that `("a|b", "c")` and `("a", "b|c")` differ.
fn push_part(key: &mut Vec<u8>, part: &[u8]) {
    for &byte in part {
        if matches!(byte, b'|' | b'\\') {
            key.push(b'\\');
        }
        key.push(byte);
    }
}

macro_rules! tuple_keys {
    ($($name:ident: $index:tt),+) => {
        impl<$($name: PartitionKey),+> PartitionKey for ($($name,)+) {
            const KIND: &'static str = KindOf::<Self>::TUPLE.as_str();

            fn encode(&self) -> Cow<'_, [u8]> {
                let mut key = Vec::new();
                $(
                    if $index > 0 {
                        key.push(b'|');
                    }
                    push_part(&mut key, &self.$index.encode());
                )+
                Cow::Owned(key)
            }
        }
    };
}
tuple_keys!(A: 0, B: 1);
tuple_keys!(A: 0, B: 1, C: 2);

/// The kind of a tuple, put together at compile time.
struct KindOf<T>(PhantomData<T>);

impl<A: PartitionKey, B: PartitionKey> KindOf<(A, B)> {
    const TUPLE: Text<128> = Text::of(&["(", A::KIND, ", ", B::KIND, ")"]);
}

impl<A: PartitionKey, B: PartitionKey, C: PartitionKey> KindOf<(A, B, C)> {
    const TUPLE: Text<128> = Text::of(&["(", A::KIND, ", ", B::KIND, ", ", C::KIND, ")"]);
}

/// The [`KIND`](PartitionKey::KIND) of a type that may turn out to be no key.
#[derive(Debug)]
pub struct KeyType<K: ?Sized>(PhantomData<K>);

impl<K: PartitionKey + ?Sized> KeyType<K> {
    /// The kind.
    pub const __KIND: &'static str = K::KIND;
}

/// A key inside a field: how to get there, and what is found.
#[derive(Debug, Clone, Copy)]
pub struct KeyInside<T, K: ?Sized> {
    /// Its kind.
    pub kind: &'static str,
    get: fn(&T) -> &K,
    key: fn(&K) -> Key<'_>,
}

/// The key that `get` finds inside a field.
pub const fn key_inside<T, K: PartitionKey + ?Sized + 'static>(
    get: fn(&T) -> &K,
) -> KeyInside<T, K> {
    fn key<K: PartitionKey + ?Sized>(value: &K) -> Key<'_> {
        Key::of(value)
    }
    KeyInside { kind: K::KIND, get, key }
}

impl<T, K: ?Sized + 'static> KeyInside<T, K> {
    /// The key of a field's value.
    pub fn of<'a>(&self, field: &'a T) -> Key<'a> {
        (self.key)((self.get)(field))
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    /// Changing one of these moves keys to other partitions: a breaking change.
    #[test]
    fn keys_are_written_as_they_always_were() {
        fn written(key: &impl PartitionKey) -> String {
            String::from_utf8_lossy(&key.encode()).into_owned()
        }
        let id = Uuid::from_u128(0x0123_4567_89AB_CDEF_0123_4567_89AB_CDEF);
        assert_eq!(written(&id), "01234567-89ab-cdef-0123-456789abcdef");
        assert_eq!(written(&"Zürich"), "Zürich");
        assert_eq!(written(&String::from("a|b\\")), "a|b\\");
        assert_eq!(written(&0_u8), "0");
        assert_eq!(written(&-7_i64), "-7");
        assert_eq!(written(&u128::MAX), "340282366920938463463374607431768211455");
        assert_eq!(written(&(id, 7_u32)), "01234567-89ab-cdef-0123-456789abcdef|7");
        assert_eq!(written(&("a|b", "c\\", 1_u8)), "a\\|b|c\\\\|1");
        assert_ne!(written(&("a|b", "c")), written(&("a", "b|c")));
    }

    #[test]
    fn a_key_has_a_kind() {
        assert_eq!(<(Uuid, String, i8)>::KIND, "(uuid, string, integer)");
        assert_eq!(<&str>::KIND, "string");
        assert_eq!(<(u8, (Uuid, u8))>::KIND, "(integer, (uuid, integer))");
    }
}
