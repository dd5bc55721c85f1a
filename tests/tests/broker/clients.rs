//! Official clients: in other languages, and on the command line. `tests/clients/run` sets them up; without them this
//! says that it is skipped.

use std::{ffi::OsString, net::SocketAddr};

use iggy::prelude::*;

use crate::client::*;

/// A Python interpreter that has `apache-iggy` 0.8.0.
const PYTHON: &str = "TEST_IGGY_PYTHON";
/// The `iggy` command: crate `iggy-cli` 0.13.0.
const CLI: &str = "TEST_IGGY_CLI";

#[tokio::test(flavor = "multi_thread")]
async fn the_python_client_produces_and_consumes() {
    let Some(python) = std::env::var_os(PYTHON) else {
        rustok_events_tests::skipped("the official Python client", PYTHON);
        return;
    };
    let broker = broker().await;
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/clients/python.py");
    let run = tokio::process::Command::new(python)
        .args([script, &broker.address().to_string(), STREAM])
        .output()
        .await
        .expect("the interpreter starts");
    let text = String::from_utf8_lossy(&run.stdout);
    println!("{text}{}", String::from_utf8_lossy(&run.stderr));
    assert!(run.status.success(), "{}", run.status);
    assert_eq!(text.lines().filter(|line| line.starts_with("ok")).count(), 5);

    // What it did is there for others.
    let client = connect(broker.address()).await;
    let found = poll(&client, 0, PollingStrategy::last(), 1).await;
    assert_eq!(&found[0].payload[..], b"order 99");
    let (stream, topic) = (id(STREAM), id(TOPIC));
    let mut done = 0;
    for group in client.get_consumer_groups(&stream, &topic).await.unwrap() {
        let group = Consumer::group(id(&group.name));
        let stored = client.get_consumer_offset(&group, &stream, &topic, Some(0)).await.unwrap();
        done += usize::from(stored.is_some_and(|stored| stored.stored_offset == 99));
    }
    assert_eq!(done, 1);
}

/// The command line tool, logged in at a broker with every call.
struct Cli {
    program: OsString,
    address: SocketAddr,
}

impl Cli {
    /// Runs a command that must end well, and gives what it prints.
    async fn run(&self, command: &str) -> String {
        self.run_with(&["--username", "iggy", "--password", "iggy"], command).await
    }

    async fn run_with(&self, log_in: &[&str], command: &str) -> String {
        let run = tokio::process::Command::new(&self.program)
            .args(["--transport", "tcp", "--tcp-server-address", &self.address.to_string()])
            .args(log_in)
            .args(command.split(' '))
            .output()
            .await
            .expect("the tool starts");
        let text = String::from_utf8_lossy(&run.stdout).into_owned();
        println!("iggy {command}\n{text}{}", String::from_utf8_lossy(&run.stderr));
        assert!(run.status.success(), "iggy {command}");
        text
    }

    /// Runs a command whose output must name each of the words.
    async fn names(&self, command: &str, words: &[&str]) {
        let text = self.run(command).await;
        for word in words {
            assert!(text.contains(word), "iggy {command} does not say {word}");
        }
    }
}

/// The tool and a broker, or nothing but the word that there is no tool.
async fn cli() -> Option<(Cli, rustok_events::iggy::embedded::EmbeddedBroker)> {
    let Some(program) = std::env::var_os(CLI) else {
        rustok_events_tests::skipped("the official command line tool", CLI);
        return None;
    };
    let broker = broker().await;
    Some((Cli { program, address: broker.address() }, broker))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_tool_produces_and_consumes() {
    let Some((cli, broker)) = cli().await else { return };
    cli.run("stream create shop").await;
    cli.names("stream list", &["shop"]).await;
    cli.run("topic create shop orders 2 none unlimited").await;
    cli.names("topic list shop", &["orders"]).await;
    cli.names("topic get shop orders", &["orders", "2"]).await;

    cli.run("message send --partition-id 0 shop orders one two three").await;
    cli.run("message send --message-key k --headers ce-type:string:placed shop orders four").await;
    cli.names("message poll --first --message-count 3 shop orders 0", &["one", "two", "three"])
        .await;
    cli.names("message poll --offset 1 shop orders 0", &["two"]).await;
    cli.run("message flush shop orders 0 --fsync").await;

    cli.run("consumer-offset set reader shop orders 0 1").await;
    cli.names("consumer-offset get reader shop orders 0", &["1"]).await;
    cli.names("message poll --next --consumer reader shop orders 0", &["three"]).await;
    cli.run("consumer-group create shop orders search").await;
    cli.names("consumer-group list shop orders", &["search"]).await;
    cli.names("consumer-group get shop orders search", &["search"]).await;

    // What it did is there for others.
    let client = connect(broker.address()).await;
    let found = poll(&client, 0, PollingStrategy::first(), 3).await;
    let payloads: Vec<&[u8]> = found.iter().map(|message| &message.payload[..]).collect();
    assert_eq!(payloads, [b"one".as_slice(), b"two", b"three"]);
    let (reader, stream, topic) = (Consumer::new(id("reader")), id(STREAM), id(TOPIC));
    let stored = client.get_consumer_offset(&reader, &stream, &topic, Some(0)).await.unwrap();
    assert_eq!(stored.unwrap().stored_offset, 1);
    let keyed = client.get_topic(&stream, &topic).await.unwrap().unwrap();
    assert_eq!(keyed.messages_count, 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_tool_manages_what_there_is() {
    let Some((cli, broker)) = cli().await else { return };
    cli.run("ping --count 1").await;
    cli.names("me", &["TCP"]).await;
    cli.names("client list", &["TCP"]).await;
    cli.names("stats", &["Stream"]).await;
    cli.names("user list", &["iggy"]).await;
    cli.run("pat create nightly 1day").await;
    cli.names("pat list", &["nightly"]).await;
    cli.run("pat delete nightly").await;
    cli.run("stream create shop").await;
    cli.run("topic create shop orders 2 none 1day").await;
    cli.run("message send --partition-id 1 shop orders one").await;

    cli.run("partition create shop orders 1").await;
    cli.run("partition delete shop orders 1").await;
    cli.run("topic update shop orders bills none 2days").await;
    cli.names("topic get shop bills", &["bills", "2days"]).await;
    cli.run("stream update shop market").await;
    cli.names("stream get market", &["market"]).await;
    cli.run("consumer-group create market bills search").await;
    cli.run("consumer-group delete market bills search").await;
    cli.run("topic purge market bills").await;
    cli.run("stream purge market").await;
    cli.run("topic delete market bills").await;
    cli.run("stream delete market").await;

    let client = connect(broker.address()).await;
    assert!(client.get_streams().await.unwrap().is_empty());
}
