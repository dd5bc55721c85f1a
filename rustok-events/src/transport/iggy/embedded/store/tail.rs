//! The journal's last write, when a power cut damaged it in its middle.
//!
//! The disk may have kept a write's end and lost what lies before: by its marks it is all there, by its checksum it is
//! not. With [`SyncPolicy::Always`] only the last write can be so, and it was never acknowledged: it is cut off. With
//! the other policies a few of the last writes can be, which the policy allows. Damage further back is no torn tail;
//! it is not skipped, the broker refuses to start. What is cut is kept in a file beside the journal.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Seek as _, SeekFrom},
    path::{Path, PathBuf},
};

use super::super::{SyncPolicy, session::now};

/// What the storage engine ends each write with.
const END: &[u8] = b"FJL\x03";

/// How many writes may be cut.
pub(super) fn cuts(sync: SyncPolicy) -> u32 {
    if sync == SyncPolicy::Always { 1 } else { 64 }
}

/// Cuts the last write from the newest journal; says whether there was one.
pub(super) fn cut(folder: &Path, why: &str) -> io::Result<bool> {
    let Some(journal) = newest(folder)? else { return Ok(false) };
    let mut file = OpenOptions::new().read(true).write(true).open(&journal)?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    let Some(end) = bytes.windows(END.len()).rposition(|window| window == END) else {
        return Ok(false);
    };
    let aside = journal.with_extension(format!("cut-{}", now()));
    fs::write(&aside, &bytes)?;
    File::open(&aside)?.sync_all()?;
    file.seek(SeekFrom::Start(end as u64))?;
    file.set_len(end as u64)?;
    file.sync_all()?;
    tracing::error!(
        journal = %journal.display(), copy = %aside.display(), why,
        "the embedded broker cuts a damaged last write from its journal"
    );
    Ok(true)
}

/// The journal that was written last.
fn newest(folder: &Path) -> io::Result<Option<PathBuf>> {
    let mut newest: Option<(u64, PathBuf)> = None;
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let number = path
            .file_name()
            .and_then(|name| name.to_str()?.strip_suffix(".jnl")?.parse::<u64>().ok());
        if let Some(number) = number
            && newest.as_ref().is_none_or(|(known, _)| *known < number)
        {
            newest = Some((number, path));
        }
    }
    Ok(newest.map(|(_, path)| path))
}
