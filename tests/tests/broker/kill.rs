//! `kill -9` of the process with the broker, under load.

use std::{
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use iggy::prelude::*;

use crate::{client::*, disk::start};

/// How many rounds there are; 5 if it is not set.
const ROUNDS: &str = "RUSTOK_KILL_ROUNDS";
/// Set in the process that is to be killed: the folder.
const VICTIM: &str = "RUSTOK_BROKER_VICTIM";
const PARTITIONS: u32 = 4;

/// The process that is killed. Does nothing where it is not asked for.
#[tokio::test(flavor = "multi_thread")]
async fn victim() {
    let Some(folder) = std::env::var_os(VICTIM).map(PathBuf::from) else { return };
    let broker = start(&folder.join("data")).await;
    std::fs::write(folder.join("address.new"), broker.address().to_string()).unwrap();
    std::fs::rename(folder.join("address.new"), folder.join("address")).unwrap();
    std::future::pending::<()>().await;
}

/// Does not outlive the test.
struct Victim(Child);

impl Victim {
    fn kill(&mut self) {
        self.0.kill().expect("it runs");
        self.0.wait().expect("it is gone");
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

async fn start_victim(folder: &Path) -> (Victim, std::net::SocketAddr) {
    let file = folder.join("address");
    drop(std::fs::remove_file(&file));
    let child = Victim(
        Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "kill::victim"])
            .env(VICTIM, folder)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap(),
    );
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        if let Ok(address) = std::fs::read_to_string(&file) {
            return (child, address.parse().unwrap());
        }
        assert!(Instant::now() < deadline, "the broker's process does not start");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_acknowledged_is_lost_and_no_offset_is_ahead_of_the_log() {
    let rounds: u64 =
        std::env::var(ROUNDS).map_or(5, |rounds| rounds.parse().expect("a number of rounds"));
    let folder = tempfile::tempdir().unwrap();
    let numbers_given = Arc::new(AtomicU64::new(0));
    let acknowledged: Arc<Vec<Mutex<Vec<u64>>>> =
        Arc::new((0..PARTITIONS).map(|_| Mutex::default()).collect());
    let stored: Arc<Vec<Mutex<Option<u64>>>> =
        Arc::new((0..PARTITIONS).map(|_| Mutex::default()).collect());

    let mut slowest = Duration::ZERO;
    for round in 0..rounds {
        let (mut victim, address) = start_victim(folder.path()).await;
        let client = connect(address).await;
        if round == 0 {
            provision(&client, PARTITIONS).await;
        }
        let mut load = Vec::new();
        for partition in 0..PARTITIONS {
            load.push(tokio::spawn(produce(
                address,
                partition,
                Arc::clone(&numbers_given),
                Arc::clone(&acknowledged),
            )));
            load.push(tokio::spawn(consume(address, partition, Arc::clone(&stored))));
        }
        tokio::time::sleep(Duration::from_millis(150 + (round * 131) % 400)).await;
        victim.kill();
        for task in load {
            task.await.unwrap();
        }

        let begun = Instant::now();
        let broker = start(&folder.path().join("data")).await;
        slowest = slowest.max(begun.elapsed());
        let client = connect(broker.address()).await;
        for partition in 0..PARTITIONS {
            let of = partition as usize;
            let log = everything(&client, partition).await;
            let missing = |number: &&u64| !log.contains(number);
            let lost = acknowledged[of].lock().unwrap().iter().filter(missing).count();
            assert_eq!(lost, 0, "acknowledged messages lost in round {round}");
            let kept = offset(broker.address(), partition).await;
            let stored = *stored[of].lock().unwrap();
            assert!(kept >= stored, "a stored offset was lost: {kept:?} of {stored:?}");
            assert!(
                kept.is_none_or(|kept| kept < log.len() as u64),
                "{kept:?} is ahead of the log"
            );
        }
        client.shutdown().await.unwrap();
        broker.shutdown().await;
    }
    let total: usize = acknowledged.iter().map(|numbers| numbers.lock().unwrap().len()).sum();
    println!("rounds={rounds} acknowledged={total} lost=0 slowest_start={slowest:?}");
    assert!(total as u64 > rounds * 10, "there was load");
}

async fn produce(
    address: std::net::SocketAddr,
    partition: u32,
    given: Arc<AtomicU64>,
    acknowledged: Arc<Vec<Mutex<Vec<u64>>>>,
) {
    let client = connect(address).await;
    loop {
        let first = given.fetch_add(10, Ordering::Relaxed);
        let mut messages: Vec<IggyMessage> = (first..first + 10).map(message).collect();
        let place = Partitioning::partition_id(partition);
        let sent = client.send_messages(&id(STREAM), &id(TOPIC), &place, &mut messages).await;
        if sent.is_err() {
            return;
        }
        acknowledged[partition as usize].lock().unwrap().extend(first..first + 10);
    }
}

async fn consume(
    address: std::net::SocketAddr,
    partition: u32,
    stored: Arc<Vec<Mutex<Option<u64>>>>,
) {
    let client = connect(address).await;
    let reader = Consumer::new(id("reader"));
    let (stream, topic) = (id(STREAM), id(TOPIC));
    loop {
        let next = PollingStrategy::next();
        let polled =
            client.poll_messages(&stream, &topic, Some(partition), &reader, &next, 50, false).await;
        let Ok(polled) = polled else { return };
        let Some(last) = polled.messages.last().map(|message| message.header.offset) else {
            tokio::time::sleep(Duration::from_millis(1)).await;
            continue;
        };
        if client
            .store_consumer_offset(&reader, &stream, &topic, Some(partition), last)
            .await
            .is_err()
        {
            return;
        }
        *stored[partition as usize].lock().unwrap() = Some(last);
    }
}

async fn everything(client: &IggyClient, partition: u32) -> std::collections::HashSet<u64> {
    let mut all = std::collections::HashSet::new();
    let mut from = 0;
    loop {
        let found = poll(client, partition, PollingStrategy::offset(from), 1000).await;
        let Some(last) = found.last() else { return all };
        from = last.header.offset + 1;
        all.extend(numbers(&found));
    }
}

async fn offset(address: std::net::SocketAddr, partition: u32) -> Option<u64> {
    let client = connect(address).await;
    let reader = Consumer::new(id("reader"));
    let stored = client
        .get_consumer_offset(&reader, &id(STREAM), &id(TOPIC), Some(partition))
        .await
        .unwrap();
    client.shutdown().await.unwrap();
    stored.map(|stored| stored.stored_offset)
}
