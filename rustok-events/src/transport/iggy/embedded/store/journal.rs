//! The journal's own marks, read before the storage engine reads it.
//!
//! ```text
//! [1][rows:4][number:8] ([2][kind:1][packing:1][space:8][key length:2][length:4][stored length:4][key][value])*
//! [3][checksum:8]["FJL\x03"]
//! ```
//!
//! The engine ends at the first mark that makes no sense, and takes what follows for a torn write. That is right at the
//! end of the journal; further on, where whole writes follow, it would lose them in silence. It also trusts the lengths
//! it finds. So the marks and checksums are looked at here first, a buffer at a time, and the engine is given nothing
//! but whole writes.

use std::{
    hash::Hasher as _,
    io::{self, BufRead, BufReader, Read, Seek, SeekFrom},
};

use twox_hash::XxHash3_64;

const START: u8 = 1;
const ROW: u8 = 2;
const END: u8 = 3;
/// What a write ends with.
const MAGIC: [u8; 4] = *b"FJL\x03";
/// A row that is put, and one that is removed. The engine knows more kinds; the broker writes no others.
const KINDS: [u8; 2] = [0, 1];
const UNPACKED: u8 = 0;
/// How much is read at once.
const BUFFER: usize = 64 * 1024;

/// What is wrong with a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Flaw {
    /// It is not all there, or it is no write.
    Torn,
    /// It is all there by its marks, but its checksum is another.
    Checksum,
    /// It is sound, but its number, which is under no checksum, is not above the one before it: either may be wrong.
    Order,
}

/// What was found in a journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) struct Examined {
    /// Where the sound writes end that the journal begins with.
    pub(in super::super) end: u64,
    /// What is wrong with what follows; `None` if nothing follows but room.
    pub(in super::super) flaw: Option<Flaw>,
    /// How many sound writes lie behind the flaw.
    pub(in super::super) behind: u32,
}

/// Reads a journal to its end. Takes as much memory as a buffer, and what follows a flaw.
pub(in super::super) fn examine(journal: impl Read + Seek) -> io::Result<Examined> {
    let mut journal = BufReader::with_capacity(BUFFER, journal);
    let (mut end, mut last) = (0, None);
    let flaw = loop {
        match write(&mut journal) {
            Ok(write) if last.is_some_and(|last| write.number <= last) => break Flaw::Order,
            Ok(write) => (end, last) = (end + write.length, Some(write.number)),
            Err(Stop::Flaw(flaw)) => break flaw,
            Err(Stop::Io(error)) => return Err(error),
        }
    };
    journal.seek(SeekFrom::Start(end))?;
    if only_zeros(&mut journal)? {
        return Ok(Examined { end, flaw: None, behind: 0 });
    }
    journal.seek(SeekFrom::Start(end))?;
    let mut rest = Vec::new();
    journal.read_to_end(&mut rest)?;
    Ok(Examined { end, flaw: Some(flaw), behind: sound_writes(rest.get(1..).unwrap_or_default()) })
}

/// Whether there is nothing but room that was set aside.
fn only_zeros(journal: &mut impl BufRead) -> io::Result<bool> {
    static ZEROS: [u8; BUFFER] = [0; BUFFER];
    loop {
        let bytes = journal.fill_buf()?;
        if bytes.is_empty() {
            return Ok(true);
        }
        // Compared as a whole: byte by byte takes long in a debug build.
        if bytes != &ZEROS[..bytes.len()] {
            return Ok(false);
        }
        let length = bytes.len();
        journal.consume(length);
    }
}

/// How many sound writes there are among bytes that begin anywhere.
fn sound_writes(mut bytes: &[u8]) -> u32 {
    let mut sound = 0;
    while let Some(at) = bytes.iter().position(|byte| *byte == START) {
        let from = &bytes[at..];
        // Cheap before dear: most are no start at all.
        let write = if from.get(13) == Some(&ROW) { write(&mut &*from).ok() } else { None };
        sound += u32::from(write.is_some());
        let step = write.and_then(|write| usize::try_from(write.length).ok()).unwrap_or(1);
        bytes = from.get(step..).unwrap_or_default();
    }
    sound
}

enum Stop {
    Flaw(Flaw),
    Io(io::Error),
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => Self::Flaw(Flaw::Torn),
            _ => Self::Io(error),
        }
    }
}

const TORN: Stop = Stop::Flaw(Flaw::Torn);

/// A sound write.
struct Write {
    number: u64,
    length: u64,
}

/// Reads one write and compares its checksum.
fn write(journal: &mut impl BufRead) -> Result<Write, Stop> {
    let [mark] = take(journal)?;
    if mark != START {
        return Err(TORN);
    }
    let rows = u32::from_le_bytes(take(journal)?);
    let number = u64::from_le_bytes(take(journal)?);
    let mut length = 13;
    let mut checksum = XxHash3_64::new();
    for _ in 0..rows {
        length += row(journal, &mut checksum)?;
    }
    let [mark] = take(journal)?;
    let expected = u64::from_le_bytes(take(journal)?);
    if mark != END || take(journal)? != MAGIC {
        return Err(TORN);
    }
    if expected != checksum.finish() {
        return Err(Stop::Flaw(Flaw::Checksum));
    }
    Ok(Write { number, length: length + 13 })
}

/// Reads one row of a write; says how long it is.
fn row(journal: &mut impl BufRead, checksum: &mut XxHash3_64) -> Result<u64, Stop> {
    let head: [u8; 21] = take(journal)?;
    let mut rest = &head[..];
    let [mark, kind, packing] = take(&mut rest)?;
    let _space: [u8; 8] = take(&mut rest)?;
    let key = u16::from_le_bytes(take(&mut rest)?);
    let value = u32::from_le_bytes(take(&mut rest)?);
    let stored = u32::from_le_bytes(take(&mut rest)?);
    // The engine bears no empty key, and the broker writes none.
    let known = KINDS.contains(&kind) && packing == UNPACKED && key > 0;
    if mark != ROW || !known || value != stored {
        return Err(TORN);
    }
    checksum.write(&head);
    let bytes = u64::from(key) + u64::from(value);
    let mut left = bytes;
    while left > 0 {
        let found = journal.fill_buf()?;
        let found = &found[..found.len().min(usize::try_from(left).unwrap_or(usize::MAX))];
        if found.is_empty() {
            return Err(TORN);
        }
        checksum.write(found);
        let step = found.len();
        journal.consume(step);
        left -= step as u64;
    }
    Ok(21 + bytes)
}

fn take<const N: usize>(journal: &mut impl BufRead) -> Result<[u8; N], Stop> {
    let mut bytes = [0; N];
    journal.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// A row to write: the number of its keyspace, its key, and its value if it is put.
#[cfg(any(test, feature = "testing"))]
type Row<'a> = (u64, &'a [u8], Option<&'a [u8]>);

/// A sound write of rows.
#[cfg(any(test, feature = "testing"))]
pub(in super::super) fn encode(number: u64, rows: &[Row<'_>]) -> Vec<u8> {
    let length = |length: usize| u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes();
    let mut bytes = vec![START];
    bytes.extend(length(rows.len()));
    bytes.extend(number.to_le_bytes());
    let mut body = Vec::new();
    for (space, key, value) in rows {
        body.extend([ROW, KINDS[usize::from(value.is_none())], UNPACKED]);
        body.extend(space.to_le_bytes());
        body.extend(u16::try_from(key.len()).unwrap_or(u16::MAX).to_le_bytes());
        let value = value.unwrap_or_default();
        body.extend(length(value.len()));
        body.extend(length(value.len()));
        body.extend(*key);
        body.extend(value);
    }
    bytes.extend(&body);
    bytes.push(END);
    bytes.extend(XxHash3_64::oneshot(&body).to_le_bytes());
    bytes.extend(MAGIC);
    bytes
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use proptest::prelude::*;

    use super::*;

    fn found(bytes: &[u8]) -> Examined {
        examine(Cursor::new(bytes)).unwrap()
    }

    /// Writes of one message each, and where each begins.
    fn journal(writes: u64) -> (Vec<u8>, Vec<usize>) {
        let (mut bytes, mut starts) = (Vec::new(), Vec::new());
        for number in 0..writes {
            starts.push(bytes.len());
            let value = vec![u8::try_from(number % 251).unwrap(); 300];
            bytes.extend(encode(number, &[(4, b"key", Some(&value)), (3, b"bounds", None)]));
        }
        (bytes, starts)
    }

    #[test]
    fn room_is_no_flaw_and_a_torn_write_is_one() {
        let (bytes, starts) = journal(3);
        let end = bytes.len() as u64;
        assert_eq!(found(&bytes), Examined { end, flaw: None, behind: 0 });
        let room = [bytes.clone(), vec![0; 200_000]].concat();
        assert_eq!(found(&room), Examined { end, flaw: None, behind: 0 });
        assert_eq!(found(&[]), Examined { end: 0, flaw: None, behind: 0 });
        let (end, flaw) = (starts[2] as u64, Some(Flaw::Torn));
        for torn in 1..bytes.len() - starts[2] {
            let torn = &bytes[..bytes.len() - torn];
            assert_eq!(found(torn), Examined { end, flaw, behind: 0 });
        }
    }

    #[test]
    fn numbers_ascend() {
        let (row, other) = ([(4, &b"key"[..], None)], [(4, &b"other"[..], None)]);
        let first = encode(7, &row);
        for number in [7, 6] {
            let bytes = [first.clone(), encode(number, &other)].concat();
            let (end, flaw) = (first.len() as u64, Some(Flaw::Order));
            assert_eq!(found(&bytes), Examined { end, flaw, behind: 0 });
        }
    }

    #[test]
    fn a_row_that_the_engine_does_not_bear_is_a_flaw() {
        let bytes = encode(1, &[(4, b"", Some(b"value"))]);
        assert_eq!(found(&bytes), Examined { end: 0, flaw: Some(Flaw::Torn), behind: 0 });
    }

    #[test]
    fn a_length_that_lies_is_a_flaw_and_costs_nothing() {
        let (mut bytes, starts) = journal(2);
        let length = starts[1] + 13 + 13;
        bytes[length..length + 8].copy_from_slice(&[0xFF; 8]);
        let end = starts[1] as u64;
        assert_eq!(found(&bytes), Examined { end, flaw: Some(Flaw::Torn), behind: 0 });
    }

    proptest! {
        #[test]
        fn a_changed_byte_is_found_and_so_is_what_lies_behind_it(
            at in any::<proptest::sample::Index>(),
            change in 1_u8..,
            writes in 1_u64..8,
        ) {
            let (mut bytes, starts) = journal(writes);
            let at = at.index(bytes.len());
            let damaged = starts.iter().rposition(|start| *start <= at).unwrap();
            bytes[at] ^= change;
            // The number of a write is not under its checksum.
            prop_assume!(!(5..13).contains(&(at - starts[damaged])));
            let found = found(&bytes);
            prop_assert_eq!(found.end, starts[damaged] as u64);
            prop_assert!(found.flaw.is_some());
            prop_assert_eq!(u64::from(found.behind), writes - 1 - damaged as u64);
        }
    }
}
