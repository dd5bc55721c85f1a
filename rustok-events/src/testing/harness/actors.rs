//! Relays and consumers that crash and come back, a clock that runs, and the end of a schedule.

use std::{
    collections::HashSet,
    future::Future,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use sea_orm::DbErr;
use tokio::task::JoinSet;

use super::{
    Promise, checks,
    events::{AlphaAudit, AlphaRecord, App, BetaHear, BetaRecord, READERS, TOPICS},
    plan::{Groups, LEASE, Operator, PACE},
    tables::{self, HeldRow, WrittenRow},
    world::World,
    writers,
};
use crate::{
    ConsumerConfig, ConsumerRuntime, EventId, Relay, RelayConfig,
    envelope::EventMeta,
    fault::{Draw, Process},
    outbox::{PartStatus, discard_parked, parked_events, retry_parked, status::status},
};

/// How long faults go on after the writers are done, if not everything has arrived sooner.
const PATIENCE_UNDER_FAULTS: Duration = Duration::from_secs(3);
/// How many milliseconds the clock goes on before it asks the database whether it answers.
const STEPS: u32 = 8;
/// How long the clock waits for an answer at most.
const LONGEST_STEP: Duration = Duration::from_millis(250);

/// Runs a schedule to its end: the writers under faults, then everything without them until it has drained.
pub(super) async fn perform(world: &Arc<World>, patience: Duration) -> Result<(), DbErr> {
    let clock = tokio::spawn(run_clock(Arc::clone(world)));
    let mut actors = JoinSet::new();
    for number in 0..world.plan.relays {
        actors.spawn(keep_relay(Arc::clone(world), number));
    }
    for (number, groups) in world.plan.consumers.iter().enumerate() {
        actors.spawn(keep_consumers(Arc::clone(world), number, *groups));
    }
    let mut writers = JoinSet::new();
    for writer in 0..world.plan.writers {
        writers.spawn(writers::write(Arc::clone(world), writer));
    }
    while let Some(joined) = writers.join_next().await {
        joined.map_err(|error| DbErr::Custom(format!("a writer panicked: {error}")))?;
    }
    // Everything goes its way through the faults, but not for ever: some are met late or never.
    let _ = drained_within(world, PATIENCE_UNDER_FAULTS).await?;
    world.faults.heal();
    if let Some(missing) = drained_within(world, patience).await? {
        world.broken(Promise::NothingLost, format!("not drained after {patience:?}: {missing}"));
    }
    operate(world, patience).await?;
    world.over.cancel();
    let ended = tokio::time::timeout(patience, async {
        while let Some(joined) = actors.join_next().await {
            if let Err(error) = joined {
                world.broken(Promise::NothingLost, format!("a party panicked: {error}"));
            }
        }
    });
    if ended.await.is_err() {
        world.broken(Promise::NothingLost, format!("a party does not stop within {patience:?}"));
    }
    clock.abort();
    Ok(())
}

/// What an operator does about events that the broker refused, once nothing else is on its way.
async fn operate(world: &World, patience: Duration) -> Result<(), DbErr> {
    if parked_events(&world.db).await?.is_empty() {
        return Ok(());
    }
    checks::check_parked(world).await?;
    let retries = world.plan.operator == Operator::Retries;
    world.accepts.store(retries, Ordering::Relaxed);
    let mut moved = Moved::default();
    loop {
        let asked = Instant::now();
        let parked = parked_events(&world.db).await?;
        let took = asked.elapsed();
        if parked.is_empty() {
            break;
        }
        if moved.stands_still(&parked, patience) {
            let leases = leases(world).await?;
            let what = format!(
                "parked without a move in {patience:?}; a look takes {took:?}, {leases}: {parked:?}"
            );
            world.broken(Promise::KeyNotPartition, what);
            return Ok(());
        }
        for event in parked.iter().filter(|event| event.refusal.is_some()) {
            if retries {
                retry_parked(&world.db, event.id).await?;
            } else if discard_parked(&world.db, event.id, "the operator gives it up").await? {
                world.discard(event.event_id);
            }
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    if let Some(missing) = drained_within(world, patience).await? {
        let what = format!("not drained {patience:?} after what was parked went on: {missing}");
        world.broken(Promise::NothingLost, what);
    }
    Ok(())
}

/// Moves the schedule's time, as fast as the database answers: on a machine that has no processor left a lease would
/// be over before it could be used, again and again, and a schedule would stand still that breaks nothing.
async fn run_clock(world: Arc<World>) {
    let mut answer = None;
    loop {
        for _ in 0..STEPS {
            tokio::time::sleep(Duration::from_millis(1)).await;
            world.clock.advance(PACE);
        }
        let db = world.db.clone();
        let ping = answer.get_or_insert_with(|| tokio::spawn(async move { db.ping().await }));
        // Whoever has the last connection may be waiting for the time.
        if tokio::time::timeout(LONGEST_STEP, ping).await.is_ok() {
            answer = None;
        }
    }
}

/// Keeps a process running until the schedule is over, through crashes and stops.
async fn keep<F, E>(world: &World, name: &str, start: impl Fn(u32, Process) -> F)
where
    F: Future<Output = Result<(), E>>,
    E: std::fmt::Display,
{
    let mut draw = Draw::new(world.seed, name);
    for life in 0.. {
        let process = world.faults.process();
        let work = start(life, process.clone());
        let until_over = async {
            tokio::pin!(work);
            tokio::select! {
                ended = &mut work => ended,
                () = world.over.cancelled() => {
                    process.token().cancel();
                    work.await
                }
            }
        };
        if let Some(Err(error)) = process.run(until_over).await {
            world.broken(Promise::NothingLost, format!("{name} gave up: {error}"));
        }
        if world.over.is_cancelled() {
            return;
        }
        // Back at once, or after its lease has ended.
        let down = LEASE.mul_f64(*draw.of(&[0.0, 0.5, 1.5]));
        world.over.run_until_cancelled(world.clock.sleep(down)).await;
    }
}

async fn keep_relay(world: Arc<World>, number: usize) {
    let name = format!("relay {number}");
    keep(&world, &name, |life, process| {
        let mut config = RelayConfig::default()
            .lease(LEASE)
            .page_size(world.plan.page_size)
            .clock(world.clock.clone())
            .faults(process.faults());
        config.owner = format!("{name}, life {life}");
        config.min_tick = Duration::from_millis(4);
        config.max_tick = Duration::from_millis(100);
        config.max_backoff = Duration::from_millis(20);
        Relay::new(world.db.clone(), world.transport.clone(), config).run(process.token())
    })
    .await;
}

async fn keep_consumers(world: Arc<World>, number: usize, groups: Groups) {
    let name = format!("consumers {number}");
    keep(&world, &name, |_, process| consume(Arc::clone(&world), groups, process)).await;
}

async fn consume(
    world: Arc<World>,
    groups: Groups,
    process: Process,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let mut config = ConsumerConfig::default().faults(process.faults());
    config.batch_size = world.plan.batch_size;
    config.clock = world.clock.clone();
    config.min_backoff = Duration::from_millis(5);
    config.max_backoff = Duration::from_millis(100);
    // In real time. The lease of a held event is in the schedule's: it ends while its holder is at work, too.
    config.handler_timeout = Some(Duration::from_secs(4));
    config.redelivery_margin = Duration::ZERO;
    config.retry_in_place = world.plan.retry_in_place;
    config.redelivery_tick = Duration::from_millis(50);
    let mut builder = ConsumerRuntime::builder(world.db.clone(), world.transport.clone())
        .state::<Arc<App>>(Arc::clone(&world.app))
        .config(config);
    if groups != Groups::Beta {
        builder = builder.handler(AlphaRecord).handler(AlphaAudit);
    }
    if groups != Groups::Alpha {
        builder = builder.handler(BetaRecord).handler(BetaHear);
    }
    Ok(builder.build()?.run(process.token()).await?)
}

/// Waits until everything committed is at the broker and every group is done with it; says what is missing once
/// nothing has moved for so long, and how long the database takes to say so.
async fn drained_within(world: &World, patience: Duration) -> Result<Option<String>, DbErr> {
    let mut moved = Moved::default();
    loop {
        let asked = Instant::now();
        let Some(missing) = missing(world).await? else { return Ok(None) };
        let took = asked.elapsed();
        if moved.stands_still(&missing, patience) {
            let leases = leases(world).await?;
            return Ok(Some(format!("{missing}; a look takes {took:?}, {leases}")));
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// What was seen last, and since when.
struct Moved<T>(Option<(T, Instant)>);

impl<T> Default for Moved<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<T: PartialEq + Clone> Moved<T> {
    /// Whether the same has been seen for so long.
    fn stands_still(&mut self, seen: &T, patience: Duration) -> bool {
        match &self.0 {
            Some((was, since)) if was == seen => since.elapsed() > patience,
            _ => {
                self.0 = Some((seen.clone(), Instant::now()));
                false
            }
        }
    }
}

/// Who holds which part: a part of a high epoch has gone round, since nobody could hold it.
async fn leases(world: &World) -> Result<String, DbErr> {
    let parts = status(&world.db, &world.clock).await?.parts.into_iter().map(|part| {
        let PartStatus { part, owner, is_held, epoch, backlog } = part;
        let owner = owner.unwrap_or_default();
        let held = if is_held { "held" } else { "left" };
        format!("part {part} of {backlog} events {held} by {owner:?} in epoch {epoch}")
    });
    Ok(parts.collect::<Vec<_>>().join(", "))
}

/// What has not arrived yet. Nothing, if between two looks at the broker no message came and everything committed was
/// there.
async fn missing(world: &World) -> Result<Option<String>, DbErr> {
    let before = match messages_done(world) {
        Ok(messages) => messages,
        Err(waiting) => return Ok(Some(waiting)),
    };
    // Before what was written is read: a held event that is handled in between has written its follow-ups by then.
    let held = tables::all_held(&world.db).await?;
    if let Some(row) = waits_for_nothing(&held) {
        world.broken(Promise::KeyNotPartition, format!("{} has nothing to wait for", named(row)));
    }
    if let Some(unsettled) = unsettled(&held) {
        return Ok(Some(unsettled));
    }
    let written = tables::all_written(&world.db).await?;
    let elsewhere = parked_events(&world.db).await?.into_iter().map(|event| event.event_id);
    let elsewhere = elsewhere.chain(world.discarded()).map(EventId::as_uuid);
    let arrived: HashSet<_> = TOPICS
        .iter()
        .flat_map(|name| world.broker.messages(&name()).into_iter().flatten())
        .filter_map(|message| Some(EventMeta::from_wire(&message.headers).ok()?.id.as_uuid()))
        .chain(elsewhere)
        .collect();
    if let Some(lost) = written.iter().find(|row| !arrived.contains(&row.event_id)) {
        let WrittenRow { topic, event_id, key, .. } = lost;
        return Ok(Some(format!("{event_id} of {key} is not in {topic} at the broker")));
    }
    Ok(match messages_done(world) {
        Ok(after) if after == before => None,
        Ok(_) => Some("messages still come".to_owned()),
        Err(waiting) => Some(waiting),
    })
}

/// A held event that is still to be tried; none if the first of each key is dead.
fn unsettled(held: &[HeldRow]) -> Option<String> {
    let mut keys = HashSet::new();
    held.iter().find_map(|row| {
        let is_first = keys.insert((&row.group, &row.handler, &row.key));
        let settled = row.state == "dead" || (row.state == "waiting" && !is_first);
        (!settled).then(|| named(row))
    })
}

/// A held event that waits, and is itself the first of its key: of that not even one look may see one.
fn waits_for_nothing(held: &[HeldRow]) -> Option<&HeldRow> {
    let mut keys = HashSet::new();
    let mut blocking = held.iter().filter(|row| row.blocks_key);
    blocking.find(|row| {
        let is_first = keys.insert((&row.group, &row.handler, &row.key));
        is_first && row.state == "waiting"
    })
}

fn named(HeldRow { group, handler, state, event_id, .. }: &HeldRow) -> String {
    format!("{state} {event_id:?} at {group}/{handler}")
}

/// How many messages there are, if every group is done with all of them.
fn messages_done(world: &World) -> Result<usize, String> {
    let mut messages = 0;
    for name in TOPICS.map(|name| name()) {
        let logs = world.broker.messages(&name);
        messages += logs.iter().map(Vec::len).sum::<usize>();
        for (group, _, _) in READERS.iter().filter(|(_, _, reads)| *reads == name.topic()) {
            let done = world.broker.stored_offsets(group, &name);
            for (partition, log) in logs.iter().enumerate() {
                let done = done.get(partition).copied().unwrap_or(0);
                if done < log.len() as u64 {
                    let len = log.len();
                    return Err(format!(
                        "group {group} is done with {done} of {len} on {name}/{partition}"
                    ));
                }
            }
        }
    }
    Ok(messages)
}
