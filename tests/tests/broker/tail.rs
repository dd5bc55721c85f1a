//! A journal whose end is torn or damaged.

use std::{
    fs,
    path::{Path, PathBuf},
};

use iggy::prelude::*;
use rustok_events::iggy::embedded::{BrokerConfig, BrokerError, EmbeddedBroker};
use tempfile::TempDir;

use crate::{client::*, disk::start};

const BATCHES: u64 = 20;
/// What the journal ends each write with.
const MARK: &[u8] = b"FJL\x03";

/// A folder with twenty sends of ten messages, and the bytes of its journal up to the last mark.
async fn written() -> (TempDir, PathBuf, Vec<u8>) {
    let folder = tempfile::tempdir().unwrap();
    let broker = start(folder.path()).await;
    let client = connect(broker.address()).await;
    provision(&client, 1).await;
    for batch in 0..BATCHES {
        send(&client, 0, batch * 10..batch * 10 + 10).await;
    }
    client.shutdown().await.unwrap();
    broker.shutdown().await;
    let journal = journal(folder.path());
    let bytes = fs::read(&journal).unwrap();
    let end = bytes.windows(4).rposition(|window| window == MARK).unwrap() + 4;
    (folder, journal, bytes[..end].to_vec())
}

fn journal(folder: &Path) -> PathBuf {
    let mut journals: Vec<PathBuf> = fs::read_dir(folder.join("data"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "jnl"))
        .collect();
    journals.sort();
    journals.pop().expect("a journal")
}

/// Starts on the folder, checks that the log has no gap, that sending goes on behind it, and says how long it was.
async fn surviving(folder: &Path) -> u64 {
    let broker = start(folder).await;
    let client = connect(broker.address()).await;
    let log = numbers(&poll(&client, 0, PollingStrategy::offset(0), 10_000).await);
    let length = log.len() as u64;
    assert_eq!(log, (0..length).collect::<Vec<_>>());
    send(&client, 0, length..length + 10).await;
    let last = poll(&client, 0, PollingStrategy::last(), 1).await;
    assert_eq!(last[0].header.offset, length + 9);
    client.shutdown().await.unwrap();
    broker.shutdown().await;
    length
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_torn_write_is_gone() {
    let (folder, journal, bytes) = written().await;
    for (torn, left) in [(0, BATCHES * 10), (1, BATCHES * 10 - 10), (300, BATCHES * 10 - 10)] {
        fs::write(&journal, &bytes[..bytes.len() - torn]).unwrap();
        assert_eq!(surviving(folder.path()).await, left, "{torn} bytes torn off");
    }
    // Zeros where the disk had room but no bytes yet, and bytes of something else.
    for rest in [vec![0; 5000], vec![0xA5; 777], b"FJL\x03 and more".to_vec()] {
        fs::write(&journal, [bytes.as_slice(), &rest].concat()).unwrap();
        assert_eq!(surviving(folder.path()).await, BATCHES * 10);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_last_write_that_fails_its_checksum_is_cut_and_kept_aside() {
    let (folder, journal, mut bytes) = written().await;
    let at = bytes.len() - 200;
    bytes[at] ^= 0xFF;
    fs::write(&journal, &bytes).unwrap();
    assert_eq!(surviving(folder.path()).await, BATCHES * 10 - 10);
    let aside = fs::read_dir(folder.path().join("data"))
        .unwrap()
        .any(|entry| entry.unwrap().path().to_string_lossy().contains(".cut-"));
    assert!(aside, "a copy of what was cut");
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_before_the_tail_is_refused_and_not_skipped() {
    let (folder, journal, bytes) = written().await;
    let mut damaged = bytes.clone();
    // In the payload of a message in the middle.
    let at = bytes.windows(2).position(|window| window == b"95").expect("message 95");
    damaged[at] ^= 0xFF;
    fs::write(&journal, &damaged).unwrap();
    let refused = EmbeddedBroker::start(BrokerConfig::at(folder.path())).await;
    let error = refused.expect_err("the data is damaged");
    assert!(matches!(error, BrokerError::Storage { .. }), "{error}");
    assert!(error.to_string().contains(&*folder.path().to_string_lossy()), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_mark_before_the_tail_is_refused_too() {
    let (folder, journal, bytes) = written().await;
    // The end of a write in the middle: what follows is no torn write, for there are whole ones behind it.
    let ends: Vec<usize> =
        (0..bytes.len() - 4).filter(|at| bytes[*at..].starts_with(MARK)).collect();
    let mut damaged = bytes.clone();
    damaged[ends[ends.len() / 2]] ^= 0xFF;
    fs::write(&journal, &damaged).unwrap();
    let refused = EmbeddedBroker::start(BrokerConfig::at(folder.path())).await;
    let error = refused.expect_err("the data is damaged");
    assert!(matches!(error, BrokerError::Storage { .. }), "{error}");
    assert_eq!(fs::read(&journal).unwrap(), damaged, "and nothing is cut");
    fs::write(&journal, &bytes).unwrap();
    assert_eq!(surviving(folder.path()).await, BATCHES * 10);
}
