//! The broker in this process: shared by folder, kept over a restart, gone with its last transport.

use std::time::Duration;

use rustok_events::{
    EventTransport, TransportError,
    iggy::{
        IggyConfig, IggyTransport,
        embedded::{BrokerConfig, EmbeddedBroker},
    },
    transport::{StartFrom, TopicName},
};

use rustok_events_tests::eventually;

use crate::broker::{join, number, provision, publish, take};

fn topic() -> TopicName {
    TopicName::new("test", "orders")
}

fn at(folder: &std::path::Path) -> IggyConfig {
    let mut config = IggyConfig::default();
    config.embedded.data_dir = folder.display().to_string();
    config
}

#[tokio::test(flavor = "multi_thread")]
async fn data_outlives_the_transport() {
    let folder = tempfile::tempdir().unwrap();
    let transport = IggyTransport::new(at(folder.path())).await.unwrap();
    provision(&transport, &topic(), 2).await;
    publish(&transport, &topic(), 1, 0..10).await;
    let mut member = join(&transport, "readers", &topic()).await;
    take(&mut *member, 10).await;
    member.acknowledge(1, 5).await.unwrap();
    drop(member);
    transport.shutdown().await.unwrap();
    transport.shutdown().await.unwrap();

    let transport = IggyTransport::new(at(folder.path())).await.unwrap();
    provision(&transport, &topic(), 2).await;
    let received = take(&mut *join(&transport, "readers", &topic()).await, 4).await;
    assert_eq!(received.iter().map(number).collect::<Vec<_>>(), [6, 7, 8, 9]);
}

#[tokio::test(flavor = "multi_thread")]
async fn transports_on_one_folder_share_the_broker() {
    let folder = tempfile::tempdir().unwrap();
    let first = IggyTransport::new(at(folder.path())).await.unwrap();
    // The same folder by another path.
    let second = IggyTransport::new(at(&folder.path().join("."))).await.unwrap();
    provision(&first, &topic(), 1).await;
    publish(&first, &topic(), 0, 0..1).await;
    first.shutdown().await.unwrap();
    assert!(!first.is_connected());
    assert!(second.is_connected(), "the broker stays for the other");
    take(&mut *join(&second, "readers", &topic()).await, 1).await;
    let closed = first.publish(&topic(), 0, vec![crate::broker::message("1")]).await;
    assert!(matches!(closed, Err(TransportError::Closed)), "{closed:?}");

    // A transport that is dropped, not shut down, lets go of the folder too.
    drop(second);
    let third = IggyTransport::new(at(folder.path())).await.unwrap();
    take(&mut *join(&third, "readers", &topic()).await, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_in_use_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    // Whoever holds the lock looks the same from here, in this process or another.
    let _other = EmbeddedBroker::start(BrokerConfig::at(folder.path())).await.unwrap();
    let refused = IggyTransport::new(at(folder.path())).await.unwrap_err();
    let name = folder.path().display().to_string();
    assert!(
        matches!(&refused, TransportError::Config(what) if what.contains(&name)),
        "{refused:?}"
    );
}

/// The folder that the test below has another process hold.
const HOLD: &str = "RUSTOK_TEST_HOLD_FOLDER";

/// Holds a folder until it is killed, when it is run for that.
#[tokio::test(flavor = "multi_thread")]
async fn holds_a_folder_for_another_process() {
    let Ok(folder) = std::env::var(HOLD) else { return };
    let _transport = IggyTransport::new(at(folder.as_ref())).await.unwrap();
    std::fs::write(std::path::Path::new(&folder).join("held"), "").unwrap();
    tokio::time::sleep(Duration::from_mins(1)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_process_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let mut holder = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "embedding::holds_a_folder_for_another_process"])
        .env(HOLD, folder.path())
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    eventually(|| async { folder.path().join("held").exists() }).await;
    let refused = IggyTransport::new(at(folder.path())).await.unwrap_err();
    holder.kill().unwrap();
    holder.wait().unwrap();
    let name = folder.path().display().to_string();
    assert!(
        matches!(&refused, TransportError::Config(what) if what.contains(&name)),
        "{refused:?}"
    );
    // What died holds nothing.
    IggyTransport::new(at(folder.path())).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn brokers_in_memory_are_apart() {
    let mut config = IggyConfig::default();
    config.embedded.persistent = false;
    config.embedded.data_dir = "/nowhere/to/be/made".to_owned();
    let first = IggyTransport::new(config.clone()).await.unwrap();
    let second = IggyTransport::new(config).await.unwrap();
    provision(&first, &topic(), 1).await;
    let missing = second.publish(&topic(), 0, vec![crate::broker::message("1")]).await;
    assert!(matches!(missing, Err(TransportError::NotFound(_))), "{missing:?}");
}

/// The broker goes away and comes back on the same port with the same data.
#[tokio::test(flavor = "multi_thread")]
async fn a_restart_of_the_broker_is_noticed_and_survived() {
    let folder = tempfile::tempdir().unwrap();
    let mut settings = BrokerConfig::at(folder.path());
    let broker = EmbeddedBroker::start(settings.clone()).await.unwrap();
    settings.bind = broker.address();
    let mut config =
        IggyConfig { mode: rustok_events::iggy::IggyMode::Remote, ..Default::default() };
    config.remote.addresses = vec!["127.0.0.1:1".to_owned(), broker.address().to_string()];
    config.connection.reconnect_min = Duration::from_millis(20);
    config.connection.reconnect_max = Duration::from_millis(100);
    config.connection.send_timeout = Duration::from_millis(500);
    let transport = IggyTransport::new(config).await.unwrap();
    provision(&transport, &topic(), 1).await;
    publish(&transport, &topic(), 0, 0..3).await;
    let mut member = join(&transport, "readers", &topic()).await;
    take(&mut *member, 3).await;
    member.acknowledge(0, 1).await.unwrap();
    assert!(transport.is_connected());

    broker.shutdown().await;
    let lost = member.next(1).await.unwrap_err();
    assert!(matches!(&lost, TransportError::Unavailable(_)) && lost.is_retryable(), "{lost:?}");
    eventually(|| async { !transport.is_connected() }).await;
    let begun = std::time::Instant::now();
    let away = transport.publish(&topic(), 0, vec![crate::broker::message("3")]).await.unwrap_err();
    assert!(matches!(&away, TransportError::Unavailable(_)), "{away:?}");
    assert!(begun.elapsed() < Duration::from_secs(2), "bounded: {:?}", begun.elapsed());
    let away = transport.subscribe("readers", &topic(), StartFrom::default()).await;
    assert!(away.is_err_and(|error| error.is_retryable()));

    let _broker = EmbeddedBroker::start(settings).await.unwrap();
    eventually(|| async { transport.is_connected() }).await;
    publish(&transport, &topic(), 0, 3..4).await;
    let mut member = join(&transport, "readers", &topic()).await;
    let received = take(&mut *member, 2).await;
    assert_eq!(received.iter().map(number).collect::<Vec<_>>(), [2, 3]);
}

/// A broker that takes connections and never answers.
#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_says_nothing_does_not_hold_us_up() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut config =
        IggyConfig { mode: rustok_events::iggy::IggyMode::Remote, ..Default::default() };
    config.remote.addresses = vec![silent.local_addr().unwrap().to_string()];
    config.connection.connect_timeout = Duration::from_millis(300);
    let begun = std::time::Instant::now();
    let away = IggyTransport::new(config).await.unwrap_err();
    assert!(matches!(&away, TransportError::Unavailable(_)), "{away:?}");
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
}

/// Of several addresses the first that answers is taken.
#[tokio::test(flavor = "multi_thread")]
async fn a_dead_address_is_passed_over() {
    let broker = EmbeddedBroker::start(BrokerConfig::default()).await.unwrap();
    let mut config =
        IggyConfig { mode: rustok_events::iggy::IggyMode::Remote, ..Default::default() };
    config.remote.addresses = vec!["127.0.0.1:1".to_owned(), broker.address().to_string()];
    let transport = IggyTransport::new(config).await.unwrap();
    assert!(transport.is_connected());
}
