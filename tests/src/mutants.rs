//! The implementation with one thing wrong: what the fault harness must notice.
//!
//! A mutant is an edit of the source. `cargo run -p rustok-events-tests --bin mutants` makes each in a copy of the
//! workspace, builds it and runs schedules until one fails. That the edits still fit the source is a test.

use rustok_events::testing::harness::Promise;

use crate::Backend;

/// One thing wrong.
#[derive(Debug, Clone, Copy)]
pub struct Mutant {
    /// The promise that it breaks.
    pub promise: Promise,
    /// What is wrong.
    pub what: &'static str,
    /// Where it is to be noticed.
    pub store: Backend,
    /// What is edited.
    pub edits: &'static [Edit],
}

/// An edit of one place.
#[derive(Debug, Clone, Copy)]
pub struct Edit {
    /// A file of the library, below `rustok-events/src`.
    pub file: &'static str,
    /// A text that occurs in it once.
    pub find: &'static str,
    /// What stands there instead.
    pub replace: &'static str,
}

impl Edit {
    /// The edited text.
    ///
    /// # Errors
    /// Says how often the text to be replaced occurs, if not once.
    pub fn apply(&self, text: &str) -> Result<String, String> {
        match text.matches(self.find).count() {
            1 => Ok(text.replacen(self.find, self.replace, 1)),
            times => Err(format!("{} has {times} times:\n{}", self.file, self.find)),
        }
    }
}

/// All mutants.
pub const MUTANTS: &[Mutant] = &[
    Mutant {
        promise: Promise::Atomic,
        what: "an event is written outside the transaction of its state",
        store: Backend::Postgres,
        edits: &[Edit {
            file: "outbox/bus.rs",
            find: "                None => store.append(txn, std::slice::from_ref(&record)).await?,",
            replace: "                None => {
                    use sea_orm::ConnectionTrait as _;
                    store.append(txn, std::slice::from_ref(&record)).await?;
                    txn.execute_unprepared(\"COMMIT\").await?;
                    txn.execute_unprepared(\"BEGIN\").await?;
                }",
        }],
    },
    Mutant {
        promise: Promise::NothingLost,
        what: "the cursor moves before the broker has acknowledged",
        store: Backend::Sqlite,
        edits: &[Edit {
            file: "relay/lane.rs",
            find: "        if !self.publish(&pages).await? {",
            replace: "        store.advance(&self.db, &pages, &self.config.clock).await?;
        if !self.publish(&pages).await? {",
        }],
    },
    Mutant {
        promise: Promise::NothingLost,
        what: "`id > last_id` in place of windows",
        store: Backend::Postgres,
        edits: &[
            Edit {
                file: "outbox/store/postgres/window.rs",
                find: "                AND e.txid >= pg_snapshot_xmax(c.lo) AND e.txid < pg_snapshot_xmax(c.hi)
                AND pg_visible_in_snapshot(e.txid, c.hi) AND e.id > c.last_id",
                replace: "                AND e.id > c.last_id",
            },
            Edit {
                file: "outbox/store/postgres/window.rs",
                find: "WHERE c.first < pg_snapshot_xmax(c.lo) AND pg_visible_in_snapshot(x.txid, c.hi)",
                replace: "WHERE FALSE",
            },
            Edit {
                file: "outbox/store/postgres/mod.rs",
                find: "hi = CASE WHEN d.whole THEN NULL ELSE COALESCE(c.hi, d.now::pg_snapshot) END",
                replace: "hi = NULL",
            },
            Edit {
                file: "outbox/store/postgres/mod.rs",
                find: "last_id = CASE WHEN d.whole THEN 0 ELSE d.last_id END, moved",
                replace: "last_id = d.last_id, moved",
            },
        ],
    },
    Mutant {
        promise: Promise::NothingLost,
        what: "a part is passed over where only transactions that were open have something new",
        store: Backend::Postgres,
        edits: &[Edit {
            file: "outbox/store/postgres/window.rs",
            find: "e.txid >= pg_snapshot_xmin(c.snapshot)",
            replace: "e.txid >= pg_snapshot_xmax(c.snapshot)",
        }],
    },
    Mutant {
        promise: Promise::NothingLost,
        what: "the rest of a window that is longer than a page is forgotten",
        store: Backend::Postgres,
        edits: &[Edit {
            file: "outbox/store/postgres/window.rs",
            find: "                *whole = false;",
            replace: "                *whole = true;",
        }],
    },
    Mutant {
        promise: Promise::NothingLost,
        what: "the ids of several pages are taken to lie in one transaction",
        store: Backend::Postgres,
        edits: &[Edit {
            file: "outbox/store/postgres/window.rs",
            find: "({new} ORDER BY txid DESC LIMIT 1) AS latest",
            replace: "({new} ORDER BY txid LIMIT 1) AS latest",
        }],
    },
    Mutant {
        promise: Promise::NothingLost,
        what: "neither the epoch nor the place it started from is compared when a cursor moves",
        store: Backend::Postgres,
        edits: &[Edit {
            file: "outbox/store/postgres/mod.rs",
            find: "c.part = d.part AND c.epoch = d.epoch AND c.moved = d.moved",
            replace: "c.part = d.part",
        }],
    },
    Mutant {
        promise: Promise::NothingLost,
        what: "an error that a handler ignored, and the database gave its transaction up, goes unnoticed",
        store: Backend::Postgres,
        edits: &[Edit {
            file: "consumer/deliver.rs",
            find: "        if !given_up {",
            replace: "        if !given_up || !handler.is_empty() {",
        }],
    },
    Mutant {
        promise: Promise::NothingLost,
        what: "everything up to the last published id counts as published",
        store: Backend::MySql,
        edits: &[Edit {
            file: "outbox/store/mysql.rs",
            find: "ON p.part = d.part AND p.id = d.id",
            replace: "ON p.part = d.part AND p.id <= d.id",
        }],
    },
    Mutant {
        promise: Promise::OrderPerKey,
        what: "a window is read in the order of transaction ids",
        store: Backend::Postgres,
        edits: &[Edit {
            file: "outbox/store/postgres/window.rs",
            find: "({new}) w WHERE NOT c.is_paged ORDER BY w.id LIMIT ?",
            replace: "({new}) w WHERE NOT c.is_paged
                 ORDER BY (SELECT o.txid FROM rustok_outbox o WHERE o.id = w.id), w.id LIMIT ?",
        }],
    },
    Mutant {
        promise: Promise::OrderPerKey,
        what: "a batch is handled backwards",
        store: Backend::Sqlite,
        edits: &[Edit {
            file: "consumer/at_once.rs",
            find: "run.iter().filter(accepted).collect()",
            replace: "run.iter().rev().filter(accepted).collect()",
        }],
    },
    Mutant {
        promise: Promise::OrderPerKey,
        what: "a partition has several deliveries in flight",
        store: Backend::Postgres,
        edits: &[Edit {
            file: "consumer/lanes.rs",
            find: "if waiting.len() == 1 && !state.busy.contains(&partition) {",
            replace: "if waiting.len() == 1 {",
        }],
    },
    Mutant {
        promise: Promise::EffectivelyOnce,
        what: "the inbox is not asked",
        store: Backend::Sqlite,
        edits: &[Edit {
            file: "inbox/claim.rs",
            find: "        0 => Claimed::Nothing,
        _ if inserted == events.len() as u64 => Claimed::All,",
            replace: "        0 => Claimed::All,
        _ if inserted <= events.len() as u64 => Claimed::All,",
        }],
    },
    Mutant {
        promise: Promise::EffectivelyOnce,
        what: "the inbox is keyed by the event's id alone",
        store: Backend::Sqlite,
        edits: &[Edit {
            file: "migration/m0001_outbox/sqlite.rs",
            find: "        PRIMARY KEY (group_name, handler, event_id)",
            replace: "        PRIMARY KEY (event_id)",
        }],
    },
    Mutant {
        promise: Promise::ResultBeforeAcknowledgement,
        what: "an offset is stored when its message is handed out",
        store: Backend::Sqlite,
        edits: &[Edit {
            file: "consumer/member.rs",
            find: "                    self.lanes.add(messages);",
            replace: "                    for message in &messages {
                        subscription.acknowledge(message.partition, message.offset).await?;
                    }
                    self.lanes.add(messages);",
        }],
    },
    Mutant {
        promise: Promise::ResultBeforeAcknowledgement,
        what: "a stop acknowledges what did not run",
        store: Backend::Sqlite,
        edits: &[Edit {
            file: "consumer/together.rs",
            find: "    Done { partition, offset, result }",
            replace: "    let last = messages.last().map(|message| message.raw.offset);
    Done { partition, offset: if stopped { last } else { offset }, result }",
        }, Edit {
            file: "consumer/together.rs",
            find: "    let result = match ended {",
            replace: "    let stopped = matches!(ended, Err(Halt::Stopped));
    let result = match ended {",
        }],
    },
    Mutant {
        promise: Promise::ResultBeforeAcknowledgement,
        what: "batches that were rolled back together are acknowledged",
        store: Backend::Sqlite,
        edits: &[Edit {
            file: "consumer/together.rs",
            find: "if !self.commit_together(&messages, turn).await {",
            replace: "if !self.commit_together(&messages, turn).await && stop.is_cancelled() {",
        }],
    },
    Mutant {
        promise: Promise::KeyNotPartition,
        what: "later events of a parked key do not wait",
        store: Backend::Sqlite,
        edits: &[Edit {
            file: "consumer/deliver.rs",
            find: "if key.is_some_and(|key| blocked.contains(&key)) {",
            replace: "if key.is_some_and(|key| attempt == 0 && blocked.contains(&key)) {",
        }],
    },
    Mutant {
        promise: Promise::KeyNotPartition,
        what: "an event that is retried later does not stop its key",
        store: Backend::Sqlite,
        edits: &[Edit {
            file: "held/enter.rs",
            find: "(state::RETRY, true, ",
            replace: "(state::RETRY, false, ",
        }],
    },
    Mutant {
        promise: Promise::KeyNotPartition,
        what: "what waits behind an event is not due once that is handled",
        store: Backend::Sqlite,
        edits: &[Edit {
            file: "held/leave.rs",
            find: "        Some(key) => promote(txn, holder, key, now, Some(claim)).await.map(Some),",
            replace: "        Some(key) if key.1.is_empty() => promote(txn, holder, key, now, Some(claim)).await.map(Some),
        Some(_) => Ok(Some(None)),",
        }],
    },
    Mutant {
        promise: Promise::KeyNotPartition,
        what: "later events of a key that the broker refuses go on",
        store: Backend::Sqlite,
        edits: &[Edit {
            file: "relay/lane.rs",
            find: "                if self.parking.waits(page.lease.part, &event.record) {",
            replace: "                if self.parking.waits(-1, &event.record) {",
        }],
    },
    Mutant {
        promise: Promise::KeyNotPartition,
        what: "a lane that gets a part back goes by what it knew of parked keys before",
        store: Backend::Postgres,
        edits: &[Edit {
            file: "relay/lane.rs",
            find: "            self.parking = Parking::default();\n",
            replace: "",
        }],
    },
];
