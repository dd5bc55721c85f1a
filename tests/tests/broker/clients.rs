//! Official clients in other languages. `tests/clients/run` sets them up; without them this says that it is skipped.

use iggy::prelude::*;

use crate::client::*;

/// A Python interpreter that has `apache-iggy` 0.8.0.
const PYTHON: &str = "TEST_IGGY_PYTHON";

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
    assert!(run.status.success());
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
