//! What the derive checks at compile time where a token is not enough. Not for use by hand.

use crate::{DomainEvent, EventDescriptor};

/// A name on the wire: 1 to 255 bytes of `[a-z0-9._-]`.
#[track_caller]
pub const fn name(what: &str, name: &str) {
    let bytes = name.as_bytes();
    let mut fits = !bytes.is_empty() && bytes.len() <= 255;
    let mut i = 0;
    while i < bytes.len() {
        fits &= matches!(bytes[i], b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-');
        i += 1;
    }
    if !fits {
        refuse(&["`", what, "` is \"", name, "\": it has 1 to 255 bytes of `[a-z0-9._-]`"]);
    }
}

/// A whole number from 1 to `max`.
#[track_caller]
pub const fn number(what: &str, number: u32, max: u32) {
    if number < 1 || number > max {
        let (number, max) = (Decimal::of(number), Decimal::of(max));
        refuse(&["`", what, "` is ", number.as_str(), ": it is from 1 to ", max.as_str()]);
    }
}

/// The variants of an enum have names of their own.
#[track_caller]
pub const fn distinct(descriptors: &[EventDescriptor]) {
    let mut i = 0;
    while i < descriptors.len() {
        if let Some(other) = find(descriptors, descriptors[i].name)
            && other != i
        {
            let (first, second) = (descriptors[other].declared_by, descriptors[i].declared_by);
            refuse(&[
                "`",
                first,
                "` and `",
                second,
                "` are both named `",
                descriptors[i].name,
                "` on the wire: give one of them another with `#[domain_event(name = \"…\")]`",
            ]);
        }
        i += 1;
    }
}

/// `New` is the version after `Old`: next number, same stream and topic, and names in common.
#[track_caller]
pub const fn follows<New: DomainEvent, Old: DomainEvent>() {
    let (new, old) = (New::DESCRIPTORS, Old::DESCRIPTORS);
    if new.is_empty() || old.is_empty() {
        // One of them has mistakes of its own, which are reported where they are.
        return;
    }
    let (who, before) = (new[0].declared_by, old[0].declared_by);
    if !equal(New::STREAM, Old::STREAM) || !equal(New::TOPIC, Old::TOPIC) {
        refuse(&[
            "`",
            who,
            "` goes to `",
            New::STREAM,
            "/",
            New::TOPIC,
            "`, its previous version `",
            before,
            "` to `",
            Old::STREAM,
            "/",
            Old::TOPIC,
            "`: all versions of an event go to one stream and topic",
        ]);
    }
    let mut common = false;
    let mut i = 0;
    while i < new.len() {
        if let Some(at) = find(old, new[i].name) {
            common = true;
            follows_one(&new[i], &old[at]);
        }
        i += 1;
    }
    if !common {
        refuse(&[
            "`",
            who,
            "` is named `",
            new[0].name,
            "`, its previous version `",
            before,
            "` is named `",
            old[0].name,
            "`: all versions of an event have one name; write `name = \"",
            new[0].name,
            "\"` on the previous version, or `name = \"",
            old[0].name,
            "\"` here",
        ]);
    }
}

#[track_caller]
const fn follows_one(new: &EventDescriptor, old: &EventDescriptor) {
    let (version, before) = (Decimal::of(new.version), Decimal::of(old.version));
    match new.version.checked_sub(1) {
        Some(expected) if expected == old.version => {}
        _ => refuse(&[
            "`",
            new.declared_by,
            "` is version ",
            version.as_str(),
            ", its previous version `",
            old.declared_by,
            "` is version ",
            before.as_str(),
            ": versions follow one another without a gap",
        ]),
    }
}

/// The first descriptor of a name.
const fn find(descriptors: &[EventDescriptor], name: &str) -> Option<usize> {
    let mut i = 0;
    while i < descriptors.len() {
        if equal(descriptors[i].name, name) {
            return Some(i);
        }
        i += 1;
    }
    None
}

pub(crate) const fn equal(a: &str, b: &str) -> bool {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    if a.len() != b.len() {
        return false;
    }
    let mut i = 0;
    while i < a.len() {
        if a[i] != b[i] {
            return false;
        }
        i += 1;
    }
    true
}

/// Stops the compiler with a message made of parts.
#[expect(
    clippy::panic,
    reason = "it is how a constant is refused: there is no run time to return an error at"
)]
#[track_caller]
pub(crate) const fn refuse(parts: &[&str]) -> ! {
    let message = Text::<1024>::of(parts);
    panic!("{}", message.as_str())
}

/// Text put together at compile time, cut at `N` bytes.
#[derive(Clone, Copy)]
pub(crate) struct Text<const N: usize> {
    bytes: [u8; N],
    len: usize,
}

impl<const N: usize> Text<N> {
    /// The parts, one after the other.
    pub(crate) const fn of(parts: &[&str]) -> Self {
        let mut text = Self { bytes: [0; N], len: 0 };
        let mut i = 0;
        while i < parts.len() {
            let part = parts[i].as_bytes();
            // A part that does not fit is left out whole, so that no character is cut in two.
            if text.len + part.len() <= N {
                let mut j = 0;
                while j < part.len() {
                    text.bytes[text.len] = part[j];
                    text.len += 1;
                    j += 1;
                }
            }
            i += 1;
        }
        text
    }

    /// The text.
    pub(crate) const fn as_str(&self) -> &str {
        match core::str::from_utf8(self.bytes.split_at(self.len).0) {
            Ok(text) => text,
            Err(_) => "",
        }
    }
}

/// A number in decimal, at compile time.
struct Decimal {
    bytes: [u8; 10],
    start: usize,
}

impl Decimal {
    const fn of(mut number: u32) -> Self {
        let mut decimal = Self { bytes: [b'0'; 10], start: 10 };
        loop {
            decimal.start -= 1;
            decimal.bytes[decimal.start] = b'0' + (number % 10) as u8;
            number /= 10;
            if number == 0 {
                return decimal;
            }
        }
    }

    const fn as_str(&self) -> &str {
        match core::str::from_utf8(self.bytes.split_at(self.start).1) {
            Ok(text) => text,
            Err(_) => "",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_put_together_and_cut_between_parts() {
        assert_eq!(Text::<8>::of(&["ab", "c"]).as_str(), "abc");
        assert_eq!(Text::<3>::of(&["ab", "äö", "c"]).as_str(), "abc");
        assert_eq!(Decimal::of(0).as_str(), "0");
        assert_eq!(Decimal::of(u32::MAX).as_str(), "4294967295");
    }

    #[test]
    fn names_and_numbers_in_range_pass() {
        name("stream", "a.b_c-9");
        number("version", 1, 1);
    }

    #[test]
    #[should_panic(expected = "`topic` is \"Orders\": it has 1 to 255 bytes of `[a-z0-9._-]`")]
    fn a_name_out_of_range_is_refused() {
        name("topic", "Orders");
    }

    #[test]
    #[should_panic(expected = "`partitions` is 0: it is from 1 to 1000")]
    fn a_number_out_of_range_is_refused() {
        number("partitions", 0, 1000);
    }
}
