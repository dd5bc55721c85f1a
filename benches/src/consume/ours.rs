//! Ours: a typed handler in a consumer runtime, set as it is by default.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use anyhow::Result;
use rustok_events::{ConsumerRuntime, DomainEvent, EventHandler, prelude::*, transport::TopicName};
use sea_orm::DatabaseConnection;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::{Topic, Work, write};
use crate::{database::Place, sample::Sample};

/// How far the handlers are.
struct Progress {
    db: DatabaseConnection,
    left: AtomicU64,
    done: Arc<Notify>,
}

impl Progress {
    fn handled(&self, events: u64) {
        if self.left.fetch_sub(events, Ordering::Relaxed) == events {
            self.done.notify_one();
        }
    }
}

#[event_handler(group = "counting", inbox = none)]
async fn count(ctx: &mut DetachedContext<'_, Progress>, event: Sample) -> HandlerResult {
    std::hint::black_box(event.number());
    ctx.state().handled(1);
    Ok(())
}

#[event_handler(group = "detached", inbox = none)]
async fn detached(ctx: &mut DetachedContext<'_, Progress>, event: Sample) -> HandlerResult {
    write(&ctx.state().db, [&event].into_iter()).await?;
    ctx.state().handled(1);
    Ok(())
}

#[event_handler(group = "single")]
async fn single(ctx: &mut HandlerContext<'_, Progress>, event: Sample) -> HandlerResult {
    write(ctx.tx(), [&event].into_iter()).await?;
    ctx.state().handled(1);
    Ok(())
}

#[event_handler(group = "batch")]
async fn batch(ctx: &mut HandlerContext<'_, Progress>, events: Batch<Sample>) -> HandlerResult {
    write(ctx.tx(), events.iter().map(|envelope| &envelope.event)).await?;
    ctx.state().handled(events.len() as u64);
    Ok(())
}

/// Handles every event of the topic, and returns how many a second.
pub(super) async fn run(place: &Place, topic: &Topic, work: Work) -> Result<f64> {
    let pool = work.pool(place).await?;
    match work {
        Work::Counting => consume(place, pool, topic, count).await,
        Work::Detached => consume(place, pool, topic, detached).await,
        Work::Single => consume(place, pool, topic, single).await,
        Work::Batch => consume(place, pool, topic, batch).await,
    }
}

async fn consume<H: EventHandler<Progress>>(
    place: &Place,
    pool: DatabaseConnection,
    topic: &Topic,
    handler: H,
) -> Result<f64> {
    let name = TopicName::new(Sample::STREAM, Sample::TOPIC);
    topic.transport.rewind(H::GROUP, &name, None).await?;
    let done = Arc::new(Notify::new());
    let left = AtomicU64::new(topic.events);
    let state = Progress { db: pool, left, done: Arc::clone(&done) };
    let runtime = ConsumerRuntime::builder(place.db.clone(), topic.transport.clone())
        .state(state)
        .handler(handler)
        .build()?;
    let stop = CancellationToken::new();
    let began = Instant::now();
    let running = tokio::spawn(runtime.run(stop.clone()));
    done.notified().await;
    // The stop commits and acknowledges what was handled last.
    stop.cancel();
    running.await??;
    Ok(topic.events as f64 / began.elapsed().as_secs_f64())
}
