//! What the targets in `fuzz/` drive. Not for use by hand: it changes without notice.

pub use crate::transport::iggy::{
    embedded::fuzz::{
        FuzzedBroker, JournalRow, Row, examine_journal, journal_write, read_records, restore_rows,
    },
    incoming::read_headers,
};
