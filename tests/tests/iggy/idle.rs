//! What an idle runtime costs.

use std::{fs, time::Duration};

use rustok_events::{
    iggy::{IggyConfig, IggyTransport},
    transport::TopicName,
};

use crate::broker::{join, provision};

/// The processor time this process has used.
fn used() -> Duration {
    let stat = fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<_> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    Duration::from_millis(ticks * 10)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_idle_members_on_five_topics() {
    let mut config = IggyConfig::default();
    config.embedded.persistent = false;
    let transport = IggyTransport::new(config).await.unwrap();
    let mut members = Vec::new();
    for topic in ["a", "b", "c", "d", "e"] {
        let topic = TopicName::new("test", topic);
        provision(&transport, &topic, 8).await;
        for group in 0..4 {
            let mut member = join(&transport, &format!("group-{group}"), &topic).await;
            members.push(tokio::spawn(async move { member.next(1).await }));
        }
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    let before = used();
    tokio::time::sleep(Duration::from_secs(10)).await;
    eprintln!("idle: {:?} of processor time in ten seconds", used() - before);
}
