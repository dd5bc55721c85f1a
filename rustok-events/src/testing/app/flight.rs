//! What is in flight: between a commit and the last handler that has to hear of it.

use std::fmt;

use sea_orm::{ConnectionTrait, DatabaseConnection};

use super::observed::{Behind, Traffic};
use crate::{
    Clock,
    handler::HandlerSpec,
    outbox::{delayed, store},
    sql::{micros, statement},
    testing::TestError,
    transport::TopicName,
};

/// What is under way. Never empty.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct InFlight {
    /// Committed and not at the broker.
    unpublished: u64,
    /// At the broker and not acknowledged by a group.
    behind: Vec<Behind>,
    /// Held and due, or being tried.
    due: u64,
    /// Delayed and due.
    delayed: bool,
    /// Something was committed while the kit looked.
    moving: bool,
}

impl fmt::Display for InFlight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::new();
        if self.unpublished > 0 {
            parts.push(format!(
                "{} events are committed and not yet at the broker",
                self.unpublished
            ));
        }
        for Behind { group, topic, messages } in &self.behind {
            parts
                .push(format!("group `{group}` is not done with {messages} messages of `{topic}`"));
        }
        if self.due > 0 {
            parts.push(format!("{} held events are due or being tried", self.due));
        }
        if self.delayed {
            parts.push("a delayed event is due".to_owned());
        }
        if self.moving {
            parts.push("events were being committed".to_owned());
        }
        f.write_str(&parts.join("; "))
    }
}

/// Looks at everything between the outbox and the handlers, twice at the outbox: if nothing was committed in
/// between and all of it is through, then nothing was in flight in the middle.
pub(super) async fn look(
    db: &DatabaseConnection,
    clock: &Clock,
    specs: &[HandlerSpec],
    traffic: &Traffic,
) -> Result<Option<InFlight>, TestError> {
    let store = store::of(db).map_err(crate::PublishError::from)?;
    let rows = count(db, "SELECT COUNT(*) AS events FROM rustok_outbox", Vec::new()).await?;
    let mark = store.mark(db).await?;
    let mut found = InFlight::default();
    if !store.is_drained(db, &mark).await? {
        // The relay may finish between the two questions.
        found.unpublished = store.backlog(db, &mark).await?.max(1);
    }
    found.delayed = delayed::next_due(db).await?.is_some_and(|due| due <= clock.now());
    let mut groups: Vec<(&'static str, TopicName)> = Vec::new();
    for spec in specs {
        let reads = (spec.group, TopicName::new(spec.stream, spec.topic));
        if !groups.contains(&reads) {
            groups.push(reads);
        }
    }
    found.behind = traffic.behind(&groups);
    let sql = "SELECT COUNT(*) AS events FROM rustok_held
                WHERE (state = 'retry' AND (due_at <= ? OR lease_until > ?))
                   OR (state = 'waiting' AND NOT EXISTS (
                       SELECT 1 FROM rustok_held h
                        WHERE h.group_name = rustok_held.group_name AND h.handler = rustok_held.handler
                          AND h.stream = rustok_held.stream AND h.topic = rustok_held.topic
                          AND h.tenant_id = rustok_held.tenant_id AND h.partition_key = rustok_held.partition_key
                          AND h.blocks_key = TRUE AND h.state <> 'waiting'))";
    let now = micros(clock.now());
    found.due = count(db, sql, vec![now.clone(), now]).await?;
    let again = count(db, "SELECT COUNT(*) AS events FROM rustok_outbox", Vec::new()).await?;
    found.moving = again != rows;
    Ok((found != InFlight::default()).then_some(found))
}

async fn count(
    db: &DatabaseConnection,
    sql: &str,
    values: Vec<sea_orm::Value>,
) -> Result<u64, TestError> {
    let row = db.query_one_raw(statement(db.get_database_backend(), sql, values)).await?;
    let events: i64 = row.map(|row| row.try_get("", "events")).transpose()?.unwrap_or(0);
    Ok(events.unsigned_abs())
}
