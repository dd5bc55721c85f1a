//! Whatever lies in the rows on the disk, a start and a read make sense of it or refuse it.
//!
//! Input: flags and where to read from, then rows `[kind][key length][value length:2][key][value]`.

#![no_main]

use libfuzzer_sys::fuzz_target;
use rustok_events::testing::fuzz::{Row, read_records, restore_rows};

/// What a poll may take, as in a broker.
const ROOM: usize = 16 * 1024;

fuzz_target!(|input: &[u8]| {
    let Some((head, mut rest)) = input.split_first_chunk::<10>() else { return };
    let [offset @ .., low, high] = *head;
    let mut rows: [Vec<Row<'_>>; 4] = Default::default();
    while let Some(([kind, key, low, high], after)) = rest.split_first_chunk() {
        let (key, after) = after.split_at(usize::from(*key).min(after.len()));
        let value = usize::from(u16::from_le_bytes([*low, *high]));
        let (value, after) = after.split_at(value.min(after.len()));
        rows[usize::from(kind % 4)].push((key, value));
        rest = after;
    }
    let [meta, bounds, offsets, records] = rows;
    if let Ok(partitions) = restore_rows(&meta, &bounds, &offsets) {
        assert!(partitions == 0 || !meta.is_empty());
    }
    let count = u32::from(u16::from_le_bytes([low, high]));
    if let Ok((found, bytes)) = read_records(&records, u64::from_le_bytes(offset), count, ROOM) {
        assert!(found <= count);
        assert!(bytes.len() <= ROOM || found == 1, "{} bytes of {found}", bytes.len());
    }
});
