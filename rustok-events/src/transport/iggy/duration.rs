//! Durations in configuration: a number and a unit, such as `250ms`, `10s`, `5m`, `12h` or `30d`.

use std::time::Duration;

use serde::{Deserialize, Deserializer, Serializer, de::Error as _};

const UNITS: [(&str, u64); 5] =
    [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

/// Reads a duration.
pub(super) fn parse(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is no duration: write a number and one of ms, s, m, h, d");
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let (_, millis) = UNITS.iter().find(|(name, _)| *name == unit.trim()).ok_or_else(wrong)?;
    number.checked_mul(*millis).map(Duration::from_millis).ok_or_else(wrong)
}

fn format(duration: Duration) -> String {
    let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let unit = UNITS.iter().rev().find(|(_, unit)| millis.is_multiple_of(*unit) && millis > 0);
    let (name, unit) = unit.unwrap_or(&UNITS[1]);
    format!("{}{name}", millis / unit)
}

pub(super) fn serialize<S: Serializer>(value: &Duration, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(&format(*value))
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
    parse(&String::deserialize(from)?).map_err(D::Error::custom)
}

/// The same for a duration that may be absent.
pub(super) mod optional {
    use super::{Deserialize, Deserializer, Duration, Serializer, format, parse};
    use serde::de::Error as _;

    #[allow(clippy::ref_option, reason = "the signature that serde calls")]
    pub(in super::super) fn serialize<S: Serializer>(
        value: &Option<Duration>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        match value {
            Some(value) => to.serialize_some(&format(*value)),
            None => to.serialize_none(),
        }
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<Duration>, D::Error> {
        let text = Option::<String>::deserialize(from)?;
        text.map(|text| parse(&text).map_err(D::Error::custom)).transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_a_number_and_a_unit() {
        for (text, millis) in
            [("250ms", 250), ("10s", 10_000), ("2m", 120_000), ("12h", 43_200_000), ("0s", 0)]
        {
            let duration = Duration::from_millis(millis);
            assert_eq!(parse(text), Ok(duration), "{text}");
            assert_eq!(format(duration), text);
        }
        for text in ["", "10", "s", "10 weeks", "-1s", "99999999999999999d"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
