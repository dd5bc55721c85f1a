//! Clients that mean harm, or are broken: the broker goes on serving the others.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use iggy::prelude::*;
use proptest::{
    prelude::{Strategy as _, any},
    strategy::ValueTree as _,
    test_runner::TestRunner,
};
use rustok_events::iggy::embedded::{BrokerConfig, EmbeddedBroker};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use crate::client::*;

const LOGIN: u32 = 38;
const PING: u32 = 1;
const POLL: u32 = 100;

async fn hasty() -> EmbeddedBroker {
    let mut config = BrokerConfig::in_memory();
    config.login_timeout = Duration::from_millis(300);
    config.idle_timeout = Duration::from_millis(600);
    config.io_timeout = Duration::from_millis(300);
    EmbeddedBroker::start(config).await.unwrap()
}

fn frame(code: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len() + 4).unwrap();
    [&length.to_le_bytes(), &code.to_le_bytes(), payload].concat()
}

async fn raw(address: SocketAddr) -> TcpStream {
    TcpStream::connect(address).await.unwrap()
}

/// Reads one answer.
async fn answer(stream: &mut TcpStream) -> std::io::Result<(u32, Vec<u8>)> {
    let mut head = [0; 8];
    stream.read_exact(&mut head).await?;
    let status = u32::from_le_bytes(head[..4].try_into().unwrap());
    let mut body = vec![0; u32::from_le_bytes(head[4..].try_into().unwrap()) as usize];
    stream.read_exact(&mut body).await?;
    Ok((status, body))
}

async fn ask(stream: &mut TcpStream, code: u32, payload: &[u8]) -> std::io::Result<(u32, Vec<u8>)> {
    stream.write_all(&frame(code, payload)).await?;
    answer(stream).await
}

async fn logged_in(address: SocketAddr) -> TcpStream {
    let mut stream = raw(address).await;
    let login = b"\x04iggy\x04iggy\0\0\0\0\0\0\0\0";
    assert_eq!(ask(&mut stream, LOGIN, login).await.unwrap().0, 0);
    stream
}

/// Waits until the broker has closed the connection, at most three seconds.
async fn closed(stream: &mut TcpStream) -> Duration {
    let start = Instant::now();
    let mut rest = Vec::new();
    // A reset is an end too.
    let end = timeout(Duration::from_secs(3), stream.read_to_end(&mut rest)).await;
    assert!(end.is_ok(), "the connection stays open");
    start.elapsed()
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_but_ping_and_login_is_answered_before_the_login() {
    let broker = broker().await;
    let mut stream = raw(broker.address()).await;
    assert_eq!(ask(&mut stream, PING, b"").await.unwrap(), (0, vec![]));
    for code in [10, 12, 20, 31, 39, 100, 101, 120, 121, 200, 202, 300, 302, 600, 604, 9999] {
        assert_eq!(ask(&mut stream, code, b"").await.unwrap().0, 40, "code {code}");
    }
    assert_eq!(ask(&mut stream, 44, b"\x05token").await.unwrap().0, 53);
    // More than any log-in has to say.
    let start = Instant::now();
    assert_eq!(ask(&mut stream, LOGIN, &[0; 5000]).await.unwrap().0, 42);
    closed(&mut stream).await;
    assert!(start.elapsed() < Duration::from_secs(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_command_is_an_error_and_the_connection_goes_on() {
    let broker = broker().await;
    let mut stream = logged_in(broker.address()).await;
    for code in [0, 9999, u32::MAX] {
        assert_eq!(ask(&mut stream, code, b"what").await.unwrap(), (3, vec![]));
    }
    for code in [33, 34, 37, 503] {
        assert_eq!(ask(&mut stream, code, b"what").await.unwrap(), (5, vec![]), "code {code}");
    }
    assert_eq!(ask(&mut stream, PING, b"").await.unwrap().0, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn giant_and_impossible_lengths_are_refused_before_anything_is_allocated() {
    let broker = hasty().await;
    for head in [u32::MAX, 1 << 31, 100 * 1024 * 1024] {
        let mut stranger = raw(broker.address()).await;
        stranger.write_all(&head.to_le_bytes()).await.unwrap();
        stranger.write_all(&101_u32.to_le_bytes()).await.unwrap();
        assert_eq!(answer(&mut stranger).await.unwrap().0, 40);
        closed(&mut stranger).await;

        let before = resident();
        let mut known = logged_in(broker.address()).await;
        known.write_all(&head.to_le_bytes()).await.unwrap();
        known.write_all(&101_u32.to_le_bytes()).await.unwrap();
        known.write_all(&[0; 1024]).await.unwrap();
        closed(&mut known).await;
        assert!(resident() < before + 32 * 1024 * 1024);
    }
    for length in 0..4_u32 {
        let mut stream = raw(broker.address()).await;
        stream.write_all(&length.to_le_bytes()).await.unwrap();
        stream.write_all(&PING.to_le_bytes()).await.unwrap();
        assert_eq!(answer(&mut stream).await.unwrap().0, 3);
        closed(&mut stream).await;
    }
}

/// Bytes of memory this process has.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = status.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok());
    pages.unwrap_or(0) * 4096
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frame_above_the_limit_is_read_to_its_end_and_refused() {
    let mut config = BrokerConfig::in_memory();
    config.max_frame = 8192;
    let broker = EmbeddedBroker::start(config).await.unwrap();
    let client = connect(broker.address()).await;
    provision(&client, 1).await;
    let big = IggyMessage::builder().payload(vec![7; 10_000].into()).build().unwrap();
    let sent = client
        .send_messages(&id(STREAM), &id(TOPIC), &Partitioning::partition_id(0), &mut [big])
        .await;
    assert!(matches!(sent, Err(IggyError::TooBigMessagePayload)), "{sent:?}");
    send(&client, 0, 0..1).await;
    assert_eq!(numbers(&poll(&client, 0, PollingStrategy::first(), 9).await), [0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn silent_half_open_and_half_written_connections_are_closed() {
    let broker = hasty().await;
    let mut silent = raw(broker.address()).await;
    let waited = closed(&mut silent).await;
    assert!(waited > Duration::from_millis(200) && waited < Duration::from_secs(2), "{waited:?}");
    for part in [3, 8, 12] {
        let mut half = raw(broker.address()).await;
        half.write_all(&frame(LOGIN, &[4; 20])[..part]).await.unwrap();
        closed(&mut half).await;
    }
    let mut idle = logged_in(broker.address()).await;
    let waited = closed(&mut idle).await;
    assert!(waited > Duration::from_millis(500), "{waited:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_does_not_read_is_closed_and_others_go_on() {
    let broker = hasty().await;
    let client = connect(broker.address()).await;
    provision(&client, 1).await;
    let mut large: Vec<IggyMessage> = (0..8)
        .map(|_| IggyMessage::builder().payload(vec![7; 1 << 20].into()).build().unwrap())
        .collect();
    client
        .send_messages(&id(STREAM), &id(TOPIC), &Partitioning::partition_id(0), &mut large)
        .await
        .unwrap();

    let mut greedy = logged_in(broker.address()).await;
    let mut poll = vec![1, 1, 4, 1, 0, 0, 0];
    for name in [STREAM, TOPIC] {
        poll.extend([2, u8::try_from(name.len()).unwrap()]);
        poll.extend(name.as_bytes());
    }
    poll.extend([1, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 0, 100, 0, 0, 0, 0]);
    for _ in 0..4 {
        greedy.write_all(&frame(POLL, &poll)).await.unwrap();
    }
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(1) {
        client.ping().await.unwrap();
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // What the sockets held is read, then comes the end: not four answers.
    let mut rest = Vec::new();
    drop(timeout(Duration::from_secs(3), greedy.read_to_end(&mut rest)).await.expect("an end"));
    assert!(rest.len() < 32 << 20, "{}", rest.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn there_is_a_limit_to_connections() {
    let mut config = BrokerConfig::in_memory();
    config.max_connections = 3;
    let broker = EmbeddedBroker::start(config).await.unwrap();
    let mut guests = Vec::new();
    for _ in 0..3 {
        let mut guest = raw(broker.address()).await;
        assert_eq!(ask(&mut guest, PING, b"").await.unwrap().0, 0);
        guests.push(guest);
    }
    let mut fourth = raw(broker.address()).await;
    assert!(ask(&mut fourth, PING, b"").await.is_err());
    guests.pop();
    tokio::time::sleep(Duration::from_millis(100)).await;
    let mut fifth = raw(broker.address()).await;
    assert_eq!(ask(&mut fifth, PING, b"").await.unwrap().0, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn random_bytes_never_harm_the_others() {
    let broker = hasty().await;
    let client = connect(broker.address()).await;
    provision(&client, 2).await;
    let mut runner = TestRunner::deterministic();
    let bytes = proptest::collection::vec(any::<u8>(), 0..600);
    for round in 0..200_u64 {
        let garbage = bytes.new_tree(&mut runner).unwrap().current();
        let mut stream = raw(broker.address()).await;
        // The broker may close before all is written.
        drop(stream.write_all(&garbage).await);
        drop(stream);
        if round % 20 == 0 {
            send(&client, 0, round..round + 1).await;
        }
    }
    assert_eq!(poll(&client, 0, PollingStrategy::first(), 100).await.len(), 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn random_payloads_of_every_command_are_answered() {
    let broker = broker().await;
    let client = connect(broker.address()).await;
    provision(&client, 2).await;
    let mut runner = TestRunner::deterministic();
    // Bytes that look like identifiers and counts come often.
    let byte = proptest::prop_oneof![
        3 => 0_u8..6, 1 => any::<u8>(), 1 => proptest::sample::select(b"shoporders".to_vec())
    ];
    let payload = proptest::collection::vec(byte, 0..120);
    let code = proptest::prop_oneof![
        4 => proptest::sample::select(vec![
            1, 10, 12, 20, 21, 22, 31, 32, 38, 44, 100, 101, 102, 120, 121, 122, 200, 201, 202, 203,
            204, 205, 300, 301, 302, 303, 304, 305, 402, 403, 503, 600, 601, 602, 603, 604, 605,
        ]),
        1 => any::<u32>().prop_filter("a log-out ends the session", |code| *code != 39),
    ];
    let mut stream = logged_in(broker.address()).await;
    for _ in 0..5000 {
        let (code, payload) = (
            code.new_tree(&mut runner).unwrap().current(),
            payload.new_tree(&mut runner).unwrap().current(),
        );
        let answered = timeout(Duration::from_secs(5), ask(&mut stream, code, &payload)).await;
        let (status, body) = answered.expect("an answer").expect("the connection goes on");
        assert!(status == 0 || body.is_empty(), "an error has no payload");
    }
    // Prefixes and mutations of a good send.
    let mut good = vec![0, 0, 0, 0];
    for name in [STREAM, TOPIC] {
        good.extend([2, u8::try_from(name.len()).unwrap()]);
        good.extend(name.as_bytes());
    }
    good.extend([2, 4, 0, 0, 0, 0, 1, 0, 0, 0]);
    let metadata = u32::try_from(good.len() - 4).unwrap();
    good[..4].copy_from_slice(&metadata.to_le_bytes());
    good.extend([0; 16 + 64]);
    let at = good.len() - 64 + 52;
    good[at] = 5;
    good.extend(b"hello");
    for cut in 0..good.len() {
        assert_ne!(ask(&mut stream, 101, &good[..cut]).await.unwrap().0, 0, "cut at {cut}");
        for bit in [1, 0x80] {
            let mut bad = good.clone();
            bad[cut] ^= bit;
            ask(&mut stream, 101, &bad).await.expect("an answer");
        }
    }
    assert_eq!(ask(&mut stream, PING, b"").await.unwrap().0, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn brokers_in_memory_come_and_go_without_a_trace() {
    fn descriptors() -> usize {
        std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count)
    }
    // Other tests of this process open and close descriptors too: the count is taken in a process of its own.
    const ALONE: &str = "RUSTOK_BROKER_ALONE";
    const NAME: &str = "hostile::brokers_in_memory_come_and_go_without_a_trace";
    if std::env::var_os(ALONE).is_none() {
        let test = std::env::current_exe().unwrap();
        let alone = std::process::Command::new(test)
            .args(["--exact", NAME])
            .env(ALONE, "1")
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&alone.stdout);
        assert!(alone.status.success() && text.contains("1 passed"), "{text}");
        return;
    }
    let runtime = tokio::runtime::Handle::current().metrics();
    let cycle = async |shut_down: bool| {
        let broker = broker().await;
        let mut stream = logged_in(broker.address()).await;
        assert_eq!(ask(&mut stream, PING, b"").await.unwrap().0, 0);
        if shut_down {
            broker.shutdown().await;
        }
        drop(broker);
        closed(&mut stream).await;
    };
    cycle(true).await;
    let (open, tasks) = (descriptors(), runtime.num_alive_tasks());
    for round in 0..500 {
        cycle(round % 2 == 0).await;
    }
    let quiet = async {
        while descriptors() > open || runtime.num_alive_tasks() > tasks {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    assert!(
        timeout(Duration::from_secs(5), quiet).await.is_ok(),
        "{} descriptors of {open}, {} tasks of {tasks}",
        descriptors(),
        runtime.num_alive_tasks()
    );
}
