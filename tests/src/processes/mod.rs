//! The promises under real processes: writers, relays, a consumer and the broker each in a process of its own, killed
//! at random; PostgreSQL killed too. What is judged is what the processes wrote into their ledgers, what the database
//! holds, and what a plain client reads back from the broker.
//!
//! A writer takes the next numbers of a key under a row lock and publishes them in the same transaction. So the
//! numbers of a key say in which order its transactions committed, and which events there must be.

mod judge;
mod ledger;
mod roles;
mod run;

use std::{fs, path::PathBuf, time::Duration};

use rustok_events::prelude::*;
use sea_orm::{ConnectOptions, Database, DatabaseConnection};
use serde::{Deserialize, Serialize};

pub use self::{judge::Verdict, run::run};

const STREAM: &str = "processes";
const TOPIC: &str = "ticks";
const PARTITIONS: u32 = 8;
/// How many keys there are: few, so that each has many events.
const KEYS: u64 = 64;

/// What the writers publish.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, DomainEvent)]
#[domain_event(stream = "processes", topic = "ticks", partition_key = event_key, partitions = 8)]
struct Tick {
    event_key: i64,
    number: i64,
}

/// What to run.
#[derive(Debug, Clone)]
pub struct Plan {
    /// For how long processes are killed.
    pub duration: Duration,
    /// What the draws start from.
    pub seed: u64,
    /// How many events all writers together aim at in a second.
    pub rate: u64,
    /// A PostgreSQL server to work on. Without one a throw-away cluster is made, and killed twice.
    pub database: Option<String>,
    /// A broker to publish to, `host:port`. Without one the embedded broker runs in a process of its own, and is
    /// killed like the others.
    pub broker: Option<String>,
    /// The fewest events that must have been committed.
    pub least_events: u64,
    /// The fewest take-overs in the middle of a window that must have been seen.
    pub least_takeovers: u64,
}

/// What a process of the run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The broker, embedded.
    Broker,
    /// Writes state and events.
    Writer,
    /// Takes events to the broker.
    Relay,
    /// Handles events.
    Consumer,
}

impl Role {
    const fn name(self) -> &'static str {
        match self {
            Self::Broker => "broker",
            Self::Writer => "writer",
            Self::Relay => "relay",
            Self::Consumer => "consumer",
        }
    }

    /// The role of a name.
    pub fn named(name: &str) -> Option<Self> {
        let all = [Self::Broker, Self::Writer, Self::Relay, Self::Consumer];
        all.into_iter().find(|role| role.name() == name)
    }
}

/// Where the processes of a run find each other. Kept in a file that each of them reads.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Place {
    folder: PathBuf,
    database: String,
    broker: String,
    rate_per_writer: u64,
}

impl Place {
    const FILE: &str = "place.json";

    fn write(&self) {
        let text = serde_json::to_string(self).expect("a place is JSON");
        fs::write(self.folder.join(Self::FILE), text).expect("the folder can be written");
    }

    fn read(folder: &std::path::Path) -> Self {
        let text = fs::read_to_string(folder.join(Self::FILE)).expect("the run wrote its place");
        serde_json::from_str(&text).expect("a place")
    }

    /// A pool, as soon as the database can be reached.
    async fn database(&self, connections: u32) -> DatabaseConnection {
        let mut options = ConnectOptions::new(&self.database);
        options.max_connections(connections).min_connections(0).sqlx_logging(false);
        options.acquire_timeout(Duration::from_secs(5));
        loop {
            match Database::connect(options.clone()).await {
                Ok(db) => return db,
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
    }
}

/// Plays one role until the process is killed. The first process of a run starts the others with it.
pub fn play(role: Role, number: u64, folder: &std::path::Path) {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.expect("a runtime").block_on(roles::play(role, number, Place::read(folder)));
}

/// Numbers that a seed gives, the same each time.
#[derive(Debug)]
struct Draw(u64);

impl Draw {
    fn below(&mut self, limit: u64) -> u64 {
        // Knuth's multiplier for 64 bits; the upper half is random enough to choose whom to kill.
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit.max(1)
    }
}
