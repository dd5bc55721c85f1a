//! Whatever lies in the journal, a start keeps its sound writes, or refuses it.
//!
//! Input: steps `[kind][…]`, which put rows into writes, end writes, and then add bytes and change some. The writes are
//! sound until they are changed, so that what is made of their rows is reached too.

#![no_main]

use std::{
    fs,
    path::{Path, PathBuf},
    sync::LazyLock,
};

use libfuzzer_sys::fuzz_target;
use rustok_events::{
    iggy::embedded::BrokerConfig,
    testing::fuzz::{FuzzedBroker, JournalRow, examine_journal, journal_write},
};

/// Where the brokers of this process have their folders.
static PLACE: LazyLock<PathBuf> = LazyLock::new(|| {
    let place = std::env::temp_dir().join(format!("rustok-fuzz-journal-{}", std::process::id()));
    let _ = fs::remove_dir_all(&place);
    fs::create_dir_all(&place).expect("a folder");
    // Opened once, so that the keyspaces are there.
    let broker = FuzzedBroker::open(BrokerConfig::at(place.join("empty"))).expect("a broker");
    broker.close();
    place
});

fuzz_target!(|input: &[u8]| {
    let Case { sound, ends, journal } = case(input);
    let (end, flawed) = examine_journal(&journal).expect("it is in memory");
    let end = usize::try_from(end).expect("it is in memory");
    let whole = &journal[..end];
    assert_eq!(examine_journal(whole).expect("it is in memory"), (end as u64, false));
    assert!(flawed || journal[end..].iter().all(|byte| *byte == 0));
    // Nothing is lost of the writes that lie before the first change.
    let same = sound.iter().zip(&journal).take_while(|(one, other)| one == other).count();
    let whole_writes = ends.iter().take_while(|end| **end <= same).last().copied().unwrap_or(0);
    assert!(end >= whole_writes, "{end}, and the change is at {same}");

    let folder = PLACE.join("data");
    let _ = fs::remove_dir_all(&folder);
    copy(&PLACE.join("empty"), &folder);
    let file = folder.join("data/0.jnl");
    assert!(file.exists(), "the engine names its journals otherwise");
    fs::write(&file, &journal).expect("the journal is written");
    let started = FuzzedBroker::open(BrokerConfig::at(&folder));
    // The copy of what is cut from a journal, and the journal itself, begin with what was sound.
    let kept = fs::read(&file).expect("the journal is there");
    assert!(kept.starts_with(whole), "a start cut into the sound part");
    if let Ok(broker) = started {
        broker.close();
    }
});

/// The journal as it was written, where its writes end, and the journal as it is.
#[derive(Default)]
struct Case {
    sound: Vec<u8>,
    ends: Vec<usize>,
    journal: Vec<u8>,
}

fn case(mut steps: &[u8]) -> Case {
    let (mut case, mut rows, mut number) = (Case::default(), Vec::<JournalRow<'_>>::new(), 100);
    let mut keyless = false;
    while let Some(([kind, space, low, high], rest)) = steps.split_first_chunk() {
        let space = u64::from(space % 6);
        match kind % 5 {
            0 | 1 => {
                let (key, rest) = rest.split_at(usize::from(*low).min(rest.len()));
                let value = usize::from(*high).min(rest.len());
                // No write that the broker makes: it is refused, with what follows.
                keyless |= key.is_empty();
                rows.push((space, key, (kind % 5 == 0).then_some(&rest[..value])));
                steps = &rest[if kind % 5 == 0 { value } else { 0 }..];
            }
            2 => {
                case.sound.extend(journal_write(number, &std::mem::take(&mut rows)));
                if !keyless {
                    case.ends.push(case.sound.len());
                }
                number += 1 + space;
                steps = rest;
            }
            _ => {
                case.journal.clone_from(&case.sound);
                damage(&mut case.journal, steps);
                return case;
            }
        }
    }
    case.journal.clone_from(&case.sound);
    case
}

/// Adds bytes and changes some.
fn damage(journal: &mut Vec<u8>, mut steps: &[u8]) {
    while let Some(([kind, byte, low, high], rest)) = steps.split_first_chunk() {
        let at = usize::from(u16::from_le_bytes([*low, *high]));
        steps = rest;
        match kind % 3 {
            0 => journal.truncate(at),
            1 => {
                if let Some(changed) = journal.get_mut(at) {
                    *changed = *byte;
                }
            }
            _ => {
                let (bytes, rest) = steps.split_at(usize::from(*byte).min(steps.len()));
                journal.extend(bytes);
                steps = rest;
            }
        }
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    for entry in fs::read_dir(from).expect("the folder is there") {
        let entry = entry.expect("an entry");
        let to = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).expect("a copy");
        }
    }
}
