//! What an idle program costs: twenty consumers on five topics, with the broker in the same process.
//!
//! Alone in its file, since it measures the whole process.

use std::{fs, time::Duration};

use rustok_events::{
    EventTransport,
    iggy::{IggyConfig, IggyTransport},
    transport::{StartFrom, TopicName, TopicSpec},
};

/// The processor time this process has used.
fn used() -> Duration {
    let stat = fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<_> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    // A hundred ticks a second, on every Linux there is.
    Duration::from_millis(ticks * 10)
}

/// What this process holds in memory, in MiB.
fn memory() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_consumers_on_five_topics_idle_for_little() {
    let mut config = IggyConfig::default();
    config.embedded.persistent = false;
    let transport = IggyTransport::new(config).await.unwrap();
    let mut members = Vec::new();
    for topic in ["a", "b", "c", "d", "e"] {
        let name = TopicName::new("test", topic);
        let spec = TopicSpec { name: name.clone(), partitions: Some(8) };
        transport.provision(&[spec]).await.unwrap();
        for group in ["first", "second", "third", "fourth"] {
            let mut member = transport.subscribe(group, &name, StartFrom::default()).await.unwrap();
            members.push(tokio::spawn(async move { member.next(1).await }));
        }
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let before = used();
    let seconds = 8;
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    let spent = used().saturating_sub(before);
    let share = spent.as_secs_f64() / Duration::from_secs(seconds).as_secs_f64();
    eprintln!("idle: {:.2} % of a core, {} MiB", share * 100.0, memory());
    // Without optimisation everything costs several times as much.
    let (share_limit, memory_limit) = if cfg!(debug_assertions) { (0.06, 256) } else { (0.01, 64) };
    assert!(share < share_limit && memory() < memory_limit);
    assert!(members.iter().all(|member| !member.is_finished()));
}
