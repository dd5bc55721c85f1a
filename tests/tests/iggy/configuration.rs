//! What a configuration may be, and what is said of one that may not.

use rustok_events::{
    TransportError,
    iggy::{IggyConfig, IggyMode, IggyTransport, Serialization},
};

fn read(json: &str) -> Result<IggyConfig, String> {
    serde_json::from_str(json).map_err(|error| error.to_string())
}

#[test]
fn the_defaults_are_an_embedded_broker_in_a_folder() {
    let config = IggyConfig::default();
    assert_eq!(config, read("{}").unwrap());
    assert_eq!(config.mode, IggyMode::Embedded);
    assert_eq!(config.serialization, Serialization::Json);
    assert_eq!(config.embedded.data_dir, "./data/iggy");
    assert_eq!(config.embedded.tcp_port, 0);
    assert!(config.embedded.persistent);
    assert_eq!(config.remote.addresses, ["127.0.0.1:8090"]);
    assert_eq!((config.remote.protocol.as_str(), config.remote.tls_enabled), ("tcp", false));
    assert_eq!(
        (config.remote.username.as_str(), config.remote.password.as_str()),
        ("iggy", "iggy")
    );
    assert_eq!(config.topology.stream_name, "rustok");
    assert_eq!((config.topology.domain_partitions, config.topology.replication_factor), (8, 1));
}

#[test]
fn a_configuration_survives_being_written_and_read() {
    let mut config = IggyConfig { mode: IggyMode::Remote, ..IggyConfig::default() };
    config.retention.max_age = Some(std::time::Duration::from_hours(36));
    config.remote.personal_access_token = Some("token".to_owned());
    let written = serde_json::to_string(&config).unwrap();
    assert!(written.contains(r#""max_age":"36h""#), "{written}");
    assert_eq!(read(&written).unwrap(), config);
}

#[test]
fn an_unknown_key_or_mode_is_named() {
    for (json, named) in [
        (r#"{ "mod": "remote" }"#, "`mod`"),
        (r#"{ "mode": "cloud" }"#, "`cloud`"),
        (r#"{ "remote": { "adresses": [] } }"#, "`adresses`"),
        (r#"{ "embedded": { "port": 1 } }"#, "`port`"),
        (r#"{ "topology": { "partitions": 1 } }"#, "`partitions`"),
        (r#"{ "retention": { "max_age": "10 weeks" } }"#, "`10 weeks`"),
    ] {
        let error = read(json).unwrap_err();
        assert!(error.contains(named), "{json}: {error}");
    }
}

#[test]
fn secrets_are_not_shown() {
    let mut config = IggyConfig::default();
    config.remote.password = "swordfish".to_owned();
    config.embedded.password = "marlin".to_owned();
    config.remote.personal_access_token = Some("iggypat-tuna".to_owned());
    let shown = format!("{config:?} {config:#?}");
    for secret in ["swordfish", "marlin", "tuna"] {
        assert!(!shown.contains(secret), "{shown}");
    }
}

#[tokio::test]
async fn what_cannot_work_is_named_before_anything_is_asked() {
    let wrong = |change: fn(&mut IggyConfig)| {
        let mut config = IggyConfig { mode: IggyMode::Remote, ..IggyConfig::default() };
        change(&mut config);
        config
    };
    for (config, named) in [
        (wrong(|config| config.remote.protocol = "quic".into()), "`quic`"),
        (wrong(|config| config.remote.addresses.clear()), "remote.addresses"),
        (wrong(|config| config.remote.addresses = vec!["iggy".into()]), "`iggy`"),
        (wrong(|config| config.topology.domain_partitions = 0), "domain_partitions"),
        (
            wrong(|config| {
                config.remote.tls_enabled = true;
                config.remote.tls_ca_file = Some("no/such/file.pem".into());
            }),
            "`no/such/file.pem`",
        ),
    ] {
        let error = IggyTransport::new(config).await.unwrap_err();
        assert!(
            matches!(&error, TransportError::Config(what) if what.contains(named)),
            "{error:?}"
        );
        assert!(!error.is_retryable());
    }
}
