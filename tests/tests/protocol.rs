//! The protocol's cases: on the embedded broker always, on a real server where `TEST_IGGY_ADDRESS` names one.

use rustok_events::{
    iggy::embedded::{BrokerConfig, EmbeddedBroker, Rebalance},
    testing::conformance::protocol::{CASES, Target, after_restart, before_restart, run},
};

/// The user and password are those a server starts with, unless `TEST_IGGY_USERNAME` and `TEST_IGGY_PASSWORD` say
/// others.
const ADDRESS: &str = "TEST_IGGY_ADDRESS";

async fn all_pass(target: &Target) {
    let report = run(target).await;
    println!("{target:?}\n{report}");
    assert!(report.passed(), "{report}");
    assert_eq!(report.outcomes.len(), CASES.len());
}

fn target(broker: &EmbeddedBroker) -> Target {
    Target::new(broker.address().to_string(), "iggy", "iggy")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_embedded_broker_in_memory() {
    let broker = EmbeddedBroker::start(BrokerConfig::in_memory()).await.unwrap();
    all_pass(&target(&broker)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_embedded_broker_on_disk() {
    let folder = tempfile::tempdir().unwrap();
    let broker = EmbeddedBroker::start(BrokerConfig::at(folder.path())).await.unwrap();
    all_pass(&target(&broker)).await;
    before_restart(&target(&broker), "restart").await.unwrap();
    broker.shutdown().await;
    let broker = EmbeddedBroker::start(BrokerConfig::at(folder.path())).await.unwrap();
    after_restart(&target(&broker), "restart").await.unwrap();
    broker.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_embedded_broker_rebalancing_as_real_servers_do() {
    let mut config = BrokerConfig::in_memory();
    config.rebalance = Rebalance::Cooperative { handover: std::time::Duration::from_secs(30) };
    let broker = EmbeddedBroker::start(config).await.unwrap();
    all_pass(&target(&broker)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_server() {
    let Ok(address) = std::env::var(ADDRESS) else {
        rustok_events_tests::skipped("the protocol of a real Iggy server", ADDRESS);
        return;
    };
    let of = |name, otherwise: &str| std::env::var(name).unwrap_or_else(|_| otherwise.to_owned());
    let username = of("TEST_IGGY_USERNAME", "iggy");
    all_pass(&Target::new(address, username, of("TEST_IGGY_PASSWORD", "iggy"))).await;
}
