//! Where a key lies: the one hash that parts of the outbox and partitions of a topic are chosen by.

use std::hash::Hasher as _;

use twox_hash::XxHash32;

/// `xxh32(key, seed 0) mod count`, as the Iggy server itself has it for a messages key, so that clients in other
/// languages land on the same partition.
pub(crate) fn of(key: &[u8], count: u32) -> u32 {
    let mut hasher = XxHash32::with_seed(0);
    hasher.write(key);
    hasher.finish_32() % count.max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Changing this moves every key to another partition: a breaking change.
    #[test]
    fn keys_keep_their_partitions() {
        assert_eq!(of(b"", 8), 0x02CC_5D05 % 8);
        assert_eq!(of(b"abc", 8), 0x32D1_53FF % 8);
    }
}
