//! What came of a run: ledgers against the database, the database against the broker's log and the handler's effects.

use std::{collections::HashMap, fmt};

use iggy::prelude::*;
use sea_orm::DatabaseConnection;
use uuid::Uuid;

use super::{
    PARTITIONS, Place, Plan, STREAM, TOPIC, Tick,
    ledger::{self, Outcome},
};
use crate::rows;

/// The outcome of a run.
#[derive(Debug, Default)]
pub struct Verdict {
    /// Events that were committed.
    pub events: u64,
    /// Parts that a relay took over from a killed one in the middle of a window.
    pub takeovers_mid_window: u64,
    /// Parts that a relay took over from a killed one.
    pub takeovers: u64,
    /// Processes that were killed, the crashes of PostgreSQL among them.
    pub kills: u64,
    /// Commits whose outcome their writer never learned, looked up in the database.
    pub settled: u64,
    /// Committed events that are not in the broker's log or were not handled, and acknowledged commits that are gone.
    pub lost: u64,
    /// Events in the broker's log or among the effects that no committed transaction published.
    pub phantoms: u64,
    /// Events whose first delivery, or whose effect, came after that of a later event of their key.
    pub inverted: u64,
    /// Effects that were there more than once.
    pub effects_twice: u64,
    /// Messages in the broker's log beyond the first of each event. Allowed.
    pub repeated: u64,
    /// Processes that ended by themselves, and how.
    pub died: Vec<String>,
    /// Whether everything was published and handled before it came to a standstill.
    pub drained: bool,
}

impl Verdict {
    /// Whether every promise was kept and the run was hard enough to say so.
    pub fn holds(&self, plan: &Plan) -> bool {
        let broken = self.lost + self.phantoms + self.inverted + self.effects_twice;
        broken == 0
            && self.drained
            && self.died.is_empty()
            && self.events >= plan.least_events
            && self.takeovers_mid_window >= plan.least_takeovers
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "events={} takeovers_mid_window={} kills={} lost={} inverted={} effects_twice={} takeovers={} \
             phantoms={} unknown_commits={} repeated={} drained={} ended_by_themselves={}",
            self.events,
            self.takeovers_mid_window,
            self.kills,
            self.lost,
            self.inverted,
            self.effects_twice,
            self.takeovers,
            self.phantoms,
            self.settled,
            self.repeated,
            self.drained,
            self.died.len()
        )?;
        self.died.iter().try_for_each(|how| write!(f, "\nended by itself: {how}"))
    }
}

/// The numbers of a key as they were seen: each new one against those before it.
#[derive(Debug, Default)]
struct Seen {
    last: HashMap<i64, i64>,
    known: HashMap<i64, Vec<bool>>,
    repeated: u64,
    inverted: u64,
    phantoms: u64,
}

impl Seen {
    fn note(&mut self, key: i64, number: i64, counters: &HashMap<i64, i64>) {
        let written = counters.get(&key).copied().unwrap_or(0);
        if number < 1 || number > written {
            self.phantoms += 1;
            return;
        }
        let size = usize::try_from(written).unwrap_or(0);
        let seen = self.known.entry(key).or_insert_with(|| vec![false; size]);
        let place = usize::try_from(number - 1).unwrap_or(0);
        if std::mem::replace(&mut seen[place], true) {
            self.repeated += 1;
            return;
        }
        let last = self.last.entry(key).or_insert(0);
        self.inverted += u64::from(number < *last);
        *last = number.max(*last);
    }

    /// How many that were written were not seen.
    fn missing(&self, counters: &HashMap<i64, i64>) -> u64 {
        let seen =
            |key| self.known.get(key).map_or(0, |seen| seen.iter().filter(|seen| **seen).count());
        counters.iter().map(|(key, written)| written.unsigned_abs() - seen(key) as u64).sum()
    }
}

pub(super) async fn judge(place: &Place, db: &DatabaseConnection, mut verdict: Verdict) -> Verdict {
    let counters: Vec<(i64, i64)> = rows(db, "SELECT event_key, number FROM counters").await;
    let counters: HashMap<i64, i64> = counters.into_iter().collect();
    verdict.events = counters.values().map(|number| number.unsigned_abs()).sum();
    let takeovers: Vec<(i64, i64)> =
        rows(db, "SELECT COUNT(*) AS a, COUNT(*) FILTER (WHERE mid_window) AS b FROM takeovers")
            .await;
    if let Some((all, mid_window)) = takeovers.first() {
        (verdict.takeovers, verdict.takeovers_mid_window) =
            (all.unsigned_abs(), mid_window.unsigned_abs());
    }
    ledgers(place, db, &mut verdict).await;

    let mut published = Seen::default();
    for tick in log(&place.broker).await {
        published.note(tick.event_key, tick.number, &counters);
    }
    let mut handled = Seen::default();
    let effects: Vec<(i64, i64)> =
        rows(db, "SELECT event_key, number FROM effects ORDER BY id").await;
    for (key, number) in effects {
        handled.note(key, number, &counters);
    }
    verdict.lost += published.missing(&counters) + handled.missing(&counters);
    verdict.inverted = published.inverted + handled.inverted;
    verdict.phantoms += published.phantoms + handled.phantoms;
    verdict.effects_twice = handled.repeated;
    verdict.repeated = published.repeated;
    verdict
}

/// Compares what the writers were told with what the database holds.
async fn ledgers(place: &Place, db: &DatabaseConnection, verdict: &mut Verdict) {
    let sql = "SELECT txn, SUM(last - first + 1)::bigint AS events FROM written GROUP BY txn";
    let written: Vec<(Uuid, i64)> = rows(db, sql).await;
    let written: HashMap<Uuid, u64> =
        written.into_iter().map(|(txn, events)| (txn, events.unsigned_abs())).collect();
    let noted = ledger::read(&place.folder);
    for (txn, (outcome, events)) in &noted {
        match (outcome, written.get(txn)) {
            (Outcome::Committed, None) => verdict.lost += events,
            (Outcome::Refused, Some(events)) => verdict.phantoms += events,
            (Outcome::Unknown, _) => verdict.settled += 1,
            _ => {}
        }
    }
    // A transaction is noted before it is committed.
    let unheard = written.keys().filter(|txn| !noted.contains_key(txn)).count();
    assert_eq!(unheard, 0, "every committed transaction is in a ledger");
    assert_eq!(written.values().sum::<u64>(), verdict.events, "numbers and transactions agree");
}

/// Everything the broker has, partition by partition, through a plain client.
async fn log(address: &str) -> Vec<Tick> {
    let client = IggyClient::from_connection_string(&format!("iggy://iggy:iggy@{address}"));
    let client = client.expect("an address");
    client.connect().await.expect("the client connects");
    let name = |name| Identifier::named(name).expect("a name");
    let (stream, topic) = (name(STREAM), name(TOPIC));
    let reader = Consumer::new(name("judge"));
    let mut ticks = Vec::new();
    for partition in 0..PARTITIONS {
        let mut from = 0;
        loop {
            let place = PollingStrategy::offset(from);
            let polled = client.poll_messages(
                &stream,
                &topic,
                Some(partition),
                &reader,
                &place,
                1000,
                false,
            );
            let messages = polled.await.expect("the poll is answered").messages;
            let Some(last) = messages.last() else { break };
            from = last.header.offset + 1;
            let read = |message: &IggyMessage| serde_json::from_slice(&message.payload);
            ticks.extend(messages.iter().map(|message| read(message).expect("a tick")));
        }
    }
    client.shutdown().await.expect("the client ends");
    ticks
}
