//! Headers on the wire, in two allocations whatever their number: a relay builds a dozen for each event.

use std::{borrow::Cow, fmt, ops::Range};

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{MapAccess, Visitor},
};

/// Headers on the wire: names and the bytes of their values, in the order of the names. Each name is there once.
///
/// ```
/// # use rustok_events::envelope::WireHeaders;
/// let mut headers = WireHeaders::from([("content-type", "application/json"), ("region", "north")]);
/// headers.insert("region", "south");
/// assert_eq!(headers.get("region"), Some(b"south".as_slice()));
/// assert_eq!(headers.iter().map(|(name, _)| name).collect::<Vec<_>>(), ["content-type", "region"]);
/// ```
#[derive(Clone, Default)]
pub struct WireHeaders {
    /// By name.
    entries: Vec<Entry>,
    /// The values one after the other. One that was replaced or removed stays until all of it goes.
    values: Vec<u8>,
}

#[derive(Clone)]
struct Entry {
    name: Cow<'static, str>,
    value: Range<usize>,
}

impl WireHeaders {
    /// No headers.
    pub fn new() -> Self {
        Self::default()
    }

    /// No headers yet, with room for so many, whose values have so many bytes together.
    pub fn with_capacity(headers: usize, bytes: usize) -> Self {
        Self { entries: Vec::with_capacity(headers), values: Vec::with_capacity(bytes) }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The value under a name.
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        let place = self.place(name).ok()?;
        Some(&self.values[self.entries[place].value.clone()])
    }

    /// Whether there is a value under a name.
    pub fn contains_key(&self, name: &str) -> bool {
        self.place(name).is_ok()
    }

    /// Sets the value under a name, in place of one that is there.
    pub fn insert(&mut self, name: impl Into<Cow<'static, str>>, value: impl AsRef<[u8]>) {
        let name = name.into();
        // Whoever writes them in the order of their names has nothing to look for.
        if self.entries.last().is_none_or(|last| last.name < name) {
            self.push(name, value.as_ref());
            return;
        }
        let (place, value) = (self.place(&name), self.keep(value.as_ref()));
        match place {
            Ok(place) => self.entries[place].value = value,
            Err(place) => self.entries.insert(place, Entry { name, value }),
        }
    }

    /// Adds an entry at the end, which is its place if the name is above the others.
    fn push(&mut self, name: Cow<'static, str>, value: &[u8]) {
        let value = self.keep(value);
        self.entries.push(Entry { name, value });
    }

    fn keep(&mut self, value: &[u8]) -> Range<usize> {
        let start = self.values.len();
        self.values.extend_from_slice(value);
        start..self.values.len()
    }

    /// Takes the value under a name out; `false` if there is none.
    pub fn remove(&mut self, name: &str) -> bool {
        self.place(name).map(|place| self.entries.remove(place)).is_ok()
    }

    /// The names and values, in the order of the names.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &[u8])> {
        self.entries.iter().map(|entry| (&*entry.name, &self.values[entry.value.clone()]))
    }

    fn place(&self, name: &str) -> Result<usize, usize> {
        self.entries.binary_search_by(|entry| (*entry.name).cmp(name))
    }
}

impl fmt::Debug for WireHeaders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.iter().map(|(name, value)| (name, String::from_utf8_lossy(value)));
        f.debug_map().entries(text).finish()
    }
}

impl PartialEq for WireHeaders {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for WireHeaders {}

impl<N: Into<Cow<'static, str>>, V: AsRef<[u8]>> Extend<(N, V)> for WireHeaders {
    /// Sets values as [`insert`](WireHeaders::insert) does. Takes as long as sorting them, in whatever order they come.
    fn extend<I: IntoIterator<Item = (N, V)>>(&mut self, headers: I) {
        for (name, value) in headers {
            self.push(name.into(), value.as_ref());
        }
        if !self.entries.is_sorted_by(|one, next| one.name < next.name) {
            // The sort is stable: of one name, the last stays.
            self.entries.sort_by(|one, other| one.name.cmp(&other.name));
            self.entries.reverse();
            self.entries.dedup_by(|next, kept| next.name == kept.name);
            self.entries.reverse();
        }
    }
}

impl<N: Into<Cow<'static, str>>, V: AsRef<[u8]>> FromIterator<(N, V)> for WireHeaders {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(headers: I) -> Self {
        let mut collected = Self::new();
        collected.extend(headers);
        collected
    }
}

impl<N: Into<Cow<'static, str>>, V: AsRef<[u8]>, const COUNT: usize> From<[(N, V); COUNT]>
    for WireHeaders
{
    fn from(headers: [(N, V); COUNT]) -> Self {
        headers.into_iter().collect()
    }
}

impl Serialize for WireHeaders {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter())
    }
}

impl<'de> Deserialize<'de> for WireHeaders {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Headers;

        impl<'de> Visitor<'de> for Headers {
            type Value = WireHeaders;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map from header names to bytes")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<WireHeaders, A::Error> {
                let mut headers = WireHeaders::new();
                while let Some((name, value)) = map.next_entry::<String, Vec<u8>>()? {
                    headers.insert(name, value);
                }
                Ok(headers)
            }
        }

        deserializer.deserialize_map(Headers)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Whatever is done to them, they are what a map would be.
        #[test]
        fn they_are_a_map(steps in proptest::collection::vec(
            ("[a-d]{1,2}", proptest::option::of(proptest::collection::vec(any::<u8>(), 0..4))), 0..40)
        ) {
            let (mut headers, mut map) = (WireHeaders::new(), BTreeMap::new());
            for (name, value) in steps {
                if let Some(value) = value {
                    headers.insert(name.clone(), &value);
                    map.insert(name, value);
                } else {
                    prop_assert_eq!(headers.remove(&name), map.remove(&name).is_some());
                }
            }
            let pairs: Vec<_> = map.iter().map(|(name, value)| (&**name, &**value)).collect();
            prop_assert_eq!(headers.iter().collect::<Vec<_>>(), pairs);
            prop_assert!(map.iter().all(|(name, value)| headers.get(name) == Some(value)));
            prop_assert_eq!(&headers, &map.clone().into_iter().collect());
            prop_assert_eq!(&headers, &map.clone().into_iter().rev().collect());
            // Stored as a map is: what was held by an older release can be read.
            let stored = rmp_serde::to_vec(&map).unwrap();
            prop_assert_eq!(&rmp_serde::to_vec(&headers).unwrap(), &stored);
            prop_assert_eq!(rmp_serde::from_slice::<WireHeaders>(&stored).unwrap(), headers);
        }
    }

    proptest! {
        /// However they come, and however often: of one name, the last stays.
        #[test]
        fn they_are_collected_as_a_map_is(
            pairs in proptest::collection::vec(("[a-d]{1,2}", "[0-9]{0,3}"), 0..20)
        ) {
            let collected: WireHeaders = pairs.iter().map(|(name, value)| (name.clone(), value)).collect();
            let map: BTreeMap<String, String> = pairs.into_iter().collect();
            prop_assert_eq!(collected, map.into_iter().collect());
        }
    }
}
