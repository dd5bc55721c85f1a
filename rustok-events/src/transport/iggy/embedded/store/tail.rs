//! The end of the journal, which a killed process or a power cut may have left torn.
//!
//! The disk may have kept a write's end and lost what lies before: by its marks it is all there, by its checksum it is
//! not. With [`SyncPolicy::Always`] only the last write can be torn or damaged so, and it was never acknowledged: it is
//! cut off. With the other policies a few of the last writes can be, which the policy allows. Damage further back is no
//! torn tail; it is not skipped, the broker refuses to start. A damaged write that is cut is kept in a file beside the
//! journal.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Seek as _, SeekFrom},
    path::{Path, PathBuf},
};

use super::{
    super::{SyncPolicy, session::now},
    journal::{self, Examined, Flaw},
};
use crate::BoxError;

/// How many writes may be cut.
fn cuts(sync: SyncPolicy) -> u32 {
    if sync == SyncPolicy::Always { 1 } else { 64 }
}

/// Cuts what is no whole write from the end of the newest journal. Journals that were there before it ended well.
///
/// # Errors
/// A journal that is damaged further back, by name and place.
pub(super) fn mend(folder: &Path, sync: SyncPolicy) -> Result<(), BoxError> {
    let mut journals = journals(folder)?;
    let newest = journals.pop();
    for path in journals {
        let found = journal::examine(File::open(&path)?)?;
        if found.flaw.is_some() {
            return Err(damaged(&path, found));
        }
    }
    let Some(path) = newest else { return Ok(()) };
    let mut file = OpenOptions::new().read(true).write(true).open(&path)?;
    let found = journal::examine(&mut file)?;
    match found.flaw {
        None => return Ok(()),
        Some(Flaw::Order) => return Err(damaged(&path, found)),
        Some(_) if found.behind >= cuts(sync) => return Err(damaged(&path, found)),
        Some(Flaw::Torn) if found.behind == 0 => {
            tracing::info!(
                journal = %path.display(), at = found.end,
                "the embedded broker cuts a torn last write from its journal"
            );
        }
        Some(_) => keep(&path, &mut file, found)?,
    }
    file.set_len(found.end)?;
    file.sync_all()?;
    Ok(())
}

/// Keeps a copy of what is cut.
fn keep(path: &Path, file: &mut File, found: Examined) -> io::Result<()> {
    let aside = path.with_extension(format!("cut-{}", now()));
    let mut copy = File::create_new(&aside)?;
    file.seek(SeekFrom::Start(found.end))?;
    io::copy(file, &mut copy)?;
    copy.sync_all()?;
    tracing::error!(
        journal = %path.display(), copy = %aside.display(), at = found.end,
        "the embedded broker cuts a damaged last write from its journal"
    );
    Ok(())
}

fn damaged(path: &Path, found: Examined) -> BoxError {
    let Examined { end, behind, .. } = found;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    format!("journal {name} is damaged at byte {end}, with {behind} sound writes behind it").into()
}

/// The journals in the order they were written in.
fn journals(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut journals: Vec<(u64, PathBuf)> = Vec::new();
    for entry in entries {
        let path = entry?.path();
        let number = path
            .file_name()
            .and_then(|name| name.to_str()?.strip_suffix(".jnl")?.parse::<u64>().ok());
        journals.extend(number.map(|number| (number, path)));
    }
    journals.sort_unstable();
    Ok(journals.into_iter().map(|(_, path)| path).collect())
}
