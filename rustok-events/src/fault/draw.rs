//! Numbers drawn from a seed: the same seed and purpose give the same numbers, on every machine and in every release.

use std::hash::Hasher as _;

use twox_hash::XxHash32;

/// A stream of numbers. Each purpose has a stream of its own, so that what one part of a schedule draws does not
/// shift what another draws. `SplitMix64`, written out because a schedule must not change with a dependency.
#[derive(Debug, Clone)]
pub(crate) struct Draw(u64);

impl Draw {
    pub(crate) fn new(seed: u64, purpose: &str) -> Self {
        let mut hasher = XxHash32::with_seed(0);
        hasher.write(purpose.as_bytes());
        let mut draw = Self(seed ^ (hasher.finish() << 32 | hasher.finish()));
        draw.next();
        draw
    }

    /// The next number.
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number in `0..end`; 0 if `end` is.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % (end.max(1) as u64)).unwrap_or(0)
    }

    /// One of several.
    pub(crate) fn of<'a, T>(&mut self, choices: &'a [T]) -> &'a T {
        &choices[self.below(choices.len())]
    }

    /// `true` so many times in a hundred.
    pub(crate) fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_and_a_purpose_give_the_same_numbers_and_others_give_others() {
        let numbers = |seed, purpose| {
            let mut draw = Draw::new(seed, purpose);
            [draw.next(), draw.next(), draw.next()]
        };
        assert_eq!(numbers(7, "faults"), numbers(7, "faults"));
        assert_ne!(numbers(7, "faults"), numbers(8, "faults"));
        assert_ne!(numbers(7, "faults"), numbers(7, "writers"));
    }
}
