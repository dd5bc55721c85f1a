//! What a process notes of its transactions: an intent before the commit, what came of it after. On the disk before the
//! process goes on.

use std::{
    collections::HashMap,
    fs::{File, OpenOptions},
    io::{Read as _, Write as _},
    path::Path,
};

use uuid::Uuid;

/// A file that one process appends to.
#[derive(Debug)]
pub(super) struct Ledger(File);

/// What a process knows of a transaction that it meant to commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The database said that it is committed.
    Committed,
    /// The database said that it is not.
    Refused,
    /// The connection or the process was lost before an answer.
    Unknown,
}

impl Ledger {
    /// The ledger of a process, which goes on where the one before it was killed.
    pub(super) fn open(folder: &Path, process: &str) -> Self {
        let path = folder.join(format!("{process}.ledger"));
        let file = OpenOptions::new().append(true).create(true).open(path);
        let mut ledger = Self(file.expect("the ledger opens"));
        // The one before may have been killed inside a line.
        ledger.append("\n");
        ledger
    }

    /// Notes that a transaction with so many events is about to commit.
    pub(super) fn intend(&mut self, transaction: Uuid, events: u64) {
        self.append(&format!("intent {transaction} {events}\n"));
    }

    /// Notes what came of it.
    pub(super) fn settle(&mut self, transaction: Uuid, outcome: Outcome) {
        let word = match outcome {
            Outcome::Committed => "committed",
            Outcome::Refused => "refused",
            Outcome::Unknown => "unknown",
        };
        self.append(&format!("{word} {transaction}\n"));
    }

    fn append(&mut self, line: &str) {
        self.0.write_all(line.as_bytes()).expect("the ledger is written");
        self.0.sync_data().expect("the ledger is on the disk");
    }
}

/// What all ledgers of a run say of each transaction, with the number of its events.
pub(super) fn read(folder: &Path) -> HashMap<Uuid, (Outcome, u64)> {
    let mut transactions = HashMap::new();
    for entry in std::fs::read_dir(folder).expect("the folder is there").flatten() {
        if entry.path().extension().is_none_or(|extension| extension != "ledger") {
            continue;
        }
        let mut text = String::new();
        let mut file = File::open(entry.path()).expect("the ledger opens");
        file.read_to_string(&mut text).expect("the ledger is read");
        for line in text.lines() {
            let words: Vec<&str> = line.split(' ').collect();
            let Some(id) = words.get(1).and_then(|id| id.parse::<Uuid>().ok()) else { continue };
            let outcome = match words[0] {
                "intent" => {
                    let events = words.get(2).and_then(|events| events.parse().ok());
                    transactions.insert(id, (Outcome::Unknown, events.unwrap_or(0)));
                    continue;
                }
                "committed" => Outcome::Committed,
                "refused" => Outcome::Refused,
                _ => Outcome::Unknown,
            };
            transactions.entry(id).or_insert((outcome, 0)).0 = outcome;
        }
    }
    transactions
}
