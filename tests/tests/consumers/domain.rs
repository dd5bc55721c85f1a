//! The events, handlers and state that these tests share.

use std::sync::{
    Mutex,
    atomic::{AtomicU32, Ordering},
};

use rustok_events::{
    prelude::*,
    testing::{TestApp, TestAppBuilder},
};
use rustok_events_tests::TestDatabase;
use sea_orm::ConnectionTrait;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

pub(crate) const TENANT: Uuid = Uuid::from_u128(1);

/// An event with a key.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, DomainEvent)]
#[domain_event(stream = "test", topic = "steps", partition_key = key, partitions = 2)]
pub(crate) struct Step {
    pub key: String,
    pub number: i64,
}

/// What follows from it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, DomainEvent)]
#[domain_event(stream = "test", topic = "done", partition_key = key, partitions = 2)]
pub(crate) struct Done {
    pub key: String,
    pub number: i64,
}

/// An event whose order does not matter.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, DomainEvent)]
#[domain_event(stream = "test", topic = "loose", partition_key = none, partitions = 2)]
pub(crate) struct Loose {
    pub number: i64,
}

pub(crate) fn step(key: &str, number: i64) -> Step {
    Step { key: key.to_owned(), number }
}

/// What goes wrong, and what was seen.
#[derive(Debug, Default)]
pub(crate) struct State {
    /// Numbers that fail, and how often each still does.
    failing: Mutex<Vec<(i64, u32)>>,
    pub(crate) calls: AtomicU32,
    /// What handlers without an inbox saw.
    seen: Mutex<Vec<(String, i64)>>,
}

/// Failing for ever.
pub(crate) const ALWAYS: u32 = u32::MAX;

impl State {
    pub(crate) fn fail(&self, number: i64, times: u32) {
        let mut failing = self.failing.lock().unwrap();
        failing.retain(|(failing, _)| *failing != number);
        failing.push((number, times));
    }

    pub(crate) fn check(&self, number: i64) -> Result<(), String> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        let mut failing = self.failing.lock().unwrap();
        match failing.iter_mut().find(|(failing, _)| *failing == number) {
            Some((_, left)) if *left > 0 => {
                *left = if *left == ALWAYS { ALWAYS } else { *left - 1 };
                Err(format!("{number} is not wanted"))
            }
            _ => Ok(()),
        }
    }

    pub(crate) fn calls(&self) -> u32 {
        self.calls.load(Ordering::Relaxed)
    }

    pub(crate) fn note(&self, key: String, number: i64) {
        self.seen.lock().unwrap().push((key, number));
    }

    pub(crate) fn seen(&self) -> Vec<(String, i64)> {
        self.seen.lock().unwrap().clone()
    }
}

pub(crate) type App = std::sync::Arc<State>;

/// Writes each step into the ledger and says so; fails where the state says so, after it has written.
#[event_handler(group = "walkers", retry(attempts = 3, min = "100ms", max = "10s"))]
pub(crate) async fn walk(ctx: &mut HandlerContext<'_, App>, event: Step) -> HandlerResult {
    record(ctx.tx(), &event.key, event.number).await?;
    ctx.publish(Done { key: event.key, number: event.number }).await?;
    ctx.state().check(event.number)?;
    Ok(())
}

/// Like [`walk`], and goes on after a dead letter.
#[event_handler(group = "runners", on_dead_letter = continue, retry(attempts = 2, min = "100ms", max = "10s"))]
pub(crate) async fn run(ctx: &mut HandlerContext<'_, App>, event: Step) -> HandlerResult {
    record(ctx.tx(), &event.key, event.number).await?;
    ctx.state().check(event.number)?;
    Ok(())
}

/// Without an inbox.
#[event_handler(group = "callers", inbox = none, retry(attempts = 3, min = "100ms", max = "10s"))]
pub(crate) async fn call_out(ctx: &mut DetachedContext<'_, App>, event: Step) -> HandlerResult {
    ctx.state().check(event.number)?;
    ctx.state().note(event.key, event.number);
    Ok(())
}

/// Gives up at once.
#[event_handler(group = "quitters")]
pub(crate) async fn give_up(ctx: &mut HandlerContext<'_, App>, event: Step) -> HandlerResult {
    ctx.state().check(event.number).terminal()?;
    record(ctx.tx(), &event.key, event.number).await?;
    Ok(())
}

/// Takes events without a key.
#[event_handler(group = "gatherers", retry(attempts = 2, min = "100ms", max = "10s"))]
pub(crate) async fn gather(ctx: &mut HandlerContext<'_, App>, event: Loose) -> HandlerResult {
    ctx.state().check(event.number)?;
    record(ctx.tx(), "loose", event.number).await?;
    Ok(())
}

pub(crate) async fn record(
    txn: &impl ConnectionTrait,
    key: &str,
    number: i64,
) -> Result<(), sea_orm::DbErr> {
    let sql = format!("INSERT INTO ledger (event_key, number) VALUES ('{key}', {number})");
    txn.execute_unprepared(&sql).await?;
    Ok(())
}

/// An app on a test's database.
pub(crate) fn on(database: &TestDatabase) -> TestAppBuilder<()> {
    TestApp::builder().connection(database.db.clone())
}

/// What the ledger holds of a key.
pub(crate) async fn of_key(database: &TestDatabase, key: &str) -> Vec<i64> {
    database.ledger().await.into_iter().filter(|(k, _)| k == key).map(|(_, n)| n).collect()
}
