//! How long the broker takes to start on 1 GB of log, after `kill -9` in the middle of a send.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use iggy::prelude::*;
use rustok_events::iggy::embedded::{BrokerConfig, EmbeddedBroker};
use tokio::task::JoinSet;

use super::{
    Options,
    broker::{self, Kind},
    messages::{BATCH, Headers, batches},
    produce,
};
use crate::{figure::Figure, pairs::Pairs};

/// How many bytes of payloads the log has before the first kill.
const LOG: u64 = 1_000_000_000;
/// How many bytes are written before each further one: it finds the journal at another length.
const MORE: u64 = 37_000_000;
/// What a start may take.
const MOST: Duration = Duration::from_secs(1);

const STREAM: &str = "start";
const TOPIC: &str = "log";

/// The process that is killed: a broker on the folder, whose address it prints.
pub(crate) async fn serve(folder: &Path) -> Result<()> {
    let broker = EmbeddedBroker::start(BrokerConfig::at(folder)).await?;
    println!("{}", broker.address());
    std::io::stdout().flush()?;
    std::future::pending().await
}

pub(super) async fn measure(options: &Options) -> Result<()> {
    let name = "start after kill -9, 1 GB of log";
    if !options.wants(name) {
        return Ok(());
    }
    let folder = tempfile::tempdir()?;
    let (mut pairs, mut slowest) = (Pairs::default(), Duration::ZERO);
    for round in 0..=options.pairs() {
        let bytes = if round == 0 { LOG } else { MORE };
        let acknowledged = write_and_kill(folder.path(), round == 0, bytes).await?;
        let took = start(folder.path(), acknowledged).await?;
        let empty = tempfile::tempdir()?;
        let floor = start(empty.path(), 0).await?;
        pairs.push(took.as_secs_f64() * 1000.0, floor.as_secs_f64() * 1000.0);
        slowest = slowest.max(took);
    }
    Figure::new(Kind::ALWAYS.name(), name, "ms", &pairs)
        .requires(slowest <= MOST)
        .note(format!(
            "slowest {} ms; target: at most {} ms",
            slowest.as_millis(),
            MOST.as_millis()
        ))
        .print(options.json);
    Ok(())
}

/// Does not outlive the measurement.
struct Victim(Child);

impl Drop for Victim {
    fn drop(&mut self) {
        // It may be dead already.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// Sends from every partition's producer at once until so many bytes are acknowledged, and kills the broker under
/// them. Returns how many messages the topic must have.
async fn write_and_kill(folder: &Path, new: bool, bytes: u64) -> Result<u64> {
    let mut child = Command::new(std::env::current_exe()?);
    child.arg("broker").arg(folder).stdout(Stdio::piped());
    let mut victim = Victim(child.spawn()?);
    let out = victim.0.stdout.take().context("the broker's output is piped")?;
    let address = tokio::task::spawn_blocking(|| BufReader::new(out).lines().next());
    let address = address.await?.context("the broker did not start")??;
    let client = broker::connect(&address).await?;
    let (stream, topic) = (Identifier::named(STREAM)?, Identifier::named(TOPIC)?);
    if new {
        let none = CompressionAlgorithm::None;
        let (expiry, size) = (IggyExpiry::NeverExpire, MaxTopicSize::Unlimited);
        client.create_stream(STREAM).await?;
        client.create_topic(&stream, TOPIC, broker::PARTITIONS, none, None, expiry, size).await?;
    }
    let had = client.get_topic(&stream, &topic).await?.context("the topic is lost")?;
    let each = bytes / u64::from(broker::PARTITIONS) / crate::sample::PAYLOAD as u64;
    let (done, mut ended) = tokio::sync::mpsc::channel(broker::PARTITIONS as usize);
    let mut senders = JoinSet::new();
    for partition in 0..broker::PARTITIONS {
        let (address, done) = (address.clone(), done.clone());
        senders.spawn(async move {
            let client = broker::connect(&address).await?;
            let (stream, topic) = (Identifier::named(STREAM)?, Identifier::named(TOPIC)?);
            let place = Partitioning::partition_id(partition);
            let (mut acknowledged, mut told) = (0, false);
            loop {
                let (_, batch) = batches(BATCH.into(), BATCH, Headers::None)?.remove(0);
                let mut batch =
                    batch.into_iter().map(produce::message).collect::<Result<Vec<_>>>()?;
                // An error is the kill.
                if client.send_messages(&stream, &topic, &place, &mut batch).await.is_err() {
                    return anyhow::Ok(acknowledged);
                }
                acknowledged += u64::from(BATCH);
                if acknowledged >= each && !told {
                    told = true;
                    done.send(()).await?;
                }
            }
        });
    }
    // Those that are there go on until the last is.
    for _ in 0..broker::PARTITIONS {
        ended.recv().await.context("the senders ended")?;
    }
    drop(victim);
    let mut acknowledged = had.messages_count;
    while let Some(sent) = senders.join_next().await {
        acknowledged += sent??;
    }
    Ok(acknowledged)
}

/// Starts the broker on the folder, checks that everything acknowledged is there, and stops it.
async fn start(folder: &Path, acknowledged: u64) -> Result<Duration> {
    let began = Instant::now();
    let started = EmbeddedBroker::start(BrokerConfig::at(folder)).await?;
    let took = began.elapsed();
    if acknowledged > 0 {
        let client = broker::connect(&started.address().to_string()).await?;
        let (stream, topic) = (Identifier::named(STREAM)?, Identifier::named(TOPIC)?);
        let found = client.get_topic(&stream, &topic).await?.context("the topic is lost")?;
        let there = found.messages_count;
        ensure!(there >= acknowledged, "{there} of {acknowledged} acknowledged messages are there");
        client.shutdown().await?;
    }
    started.shutdown().await;
    Ok(took)
}
