//! Configuration from `RUSTOK_IGGY_*`.

use std::{env, fmt::Display, str::FromStr};

use super::{
    config::{IggyConfig, IggyMode, Serialization, Sync},
    duration,
};

const PREFIX: &str = "RUSTOK_IGGY_";

type Set = fn(&mut IggyConfig, &str) -> Result<(), String>;

/// Every variable, by its name after the prefix, and what it sets.
const VARIABLES: &[(&str, Set)] = &[
    ("MODE", |config, value| {
        config.mode =
            choice(value, &[("embedded", IggyMode::Embedded), ("remote", IggyMode::Remote)])?;
        Ok(())
    }),
    ("SERIALIZATION", |config, value| {
        let choices = [("json", Serialization::Json), ("messagepack", Serialization::MessagePack)];
        config.serialization = choice(value, &choices)?;
        Ok(())
    }),
    ("EMBEDDED_DATA_DIR", |config, value| text(&mut config.embedded.data_dir, value)),
    ("EMBEDDED_TCP_PORT", |config, value| parsed(&mut config.embedded.tcp_port, value)),
    ("EMBEDDED_PERSISTENT", |config, value| parsed(&mut config.embedded.persistent, value)),
    ("EMBEDDED_SYNC", |config, value| {
        let choices =
            [("always", Sync::Always), ("interval", Sync::Interval), ("never", Sync::Never)];
        config.embedded.sync = choice(value, &choices)?;
        Ok(())
    }),
    ("EMBEDDED_USERNAME", |config, value| text(&mut config.embedded.username, value)),
    ("EMBEDDED_PASSWORD", |config, value| text(&mut config.embedded.password, value)),
    ("REMOTE_ADDRESSES", |config, value| {
        config.remote.addresses =
            value.split(',').map(|address| address.trim().to_owned()).collect();
        Ok(())
    }),
    ("REMOTE_PROTOCOL", |config, value| text(&mut config.remote.protocol, value)),
    ("REMOTE_USERNAME", |config, value| text(&mut config.remote.username, value)),
    ("REMOTE_PASSWORD", |config, value| text(&mut config.remote.password, value)),
    ("REMOTE_PERSONAL_ACCESS_TOKEN", |config, value| {
        some(&mut config.remote.personal_access_token, value)
    }),
    ("REMOTE_TLS_ENABLED", |config, value| parsed(&mut config.remote.tls_enabled, value)),
    ("REMOTE_TLS_SERVER_NAME", |config, value| some(&mut config.remote.tls_server_name, value)),
    ("REMOTE_TLS_CA_FILE", |config, value| some(&mut config.remote.tls_ca_file, value)),
    ("TOPOLOGY_STREAM_NAME", |config, value| text(&mut config.topology.stream_name, value)),
    ("TOPOLOGY_DOMAIN_PARTITIONS", |config, value| {
        parsed(&mut config.topology.domain_partitions, value)
    }),
    ("TOPOLOGY_REPLICATION_FACTOR", |config, value| {
        parsed(&mut config.topology.replication_factor, value)
    }),
    ("RETENTION_MAX_AGE", |config, value| {
        config.retention.max_age = Some(duration::parse(value)?);
        Ok(())
    }),
    ("RETENTION_MAX_BYTES", |config, value| {
        let mut bytes = 0_u64;
        parsed(&mut bytes, value)?;
        config.retention.max_bytes = Some(bytes);
        Ok(())
    }),
    ("CONNECTION_CONNECT_TIMEOUT", |config, value| {
        time(&mut config.connection.connect_timeout, value)
    }),
    ("CONNECTION_REQUEST_TIMEOUT", |config, value| {
        time(&mut config.connection.request_timeout, value)
    }),
    ("CONNECTION_SEND_TIMEOUT", |config, value| time(&mut config.connection.send_timeout, value)),
    ("CONNECTION_HEARTBEAT", |config, value| time(&mut config.connection.heartbeat, value)),
    ("CONNECTION_RECONNECT_MIN", |config, value| time(&mut config.connection.reconnect_min, value)),
    ("CONNECTION_RECONNECT_MAX", |config, value| time(&mut config.connection.reconnect_max, value)),
    ("CONNECTION_PUBLISHERS", |config, value| parsed(&mut config.connection.publishers, value)),
    ("CONNECTION_MAX_IDLE_POLL", |config, value| time(&mut config.connection.max_idle_poll, value)),
];

/// Why the environment is no configuration.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EnvError {
    /// A variable with the prefix that means nothing: a slip, or a setting that does not exist.
    #[error("`{name}` is no setting; did you mean `{nearest}`?")]
    Unknown {
        /// The variable.
        name: String,
        /// The one that comes nearest.
        nearest: String,
    },
    /// A variable with a value that cannot be read. The value of a secret is not shown.
    #[error("`{name}`: {reason}")]
    Value {
        /// The variable.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
}

impl EnvError {
    /// A short, stable code for records and metrics.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Unknown { .. } => "unknown_setting",
            Self::Value { .. } => "unreadable_setting",
        }
    }
}

impl IggyConfig {
    /// The defaults, changed by the variables `RUSTOK_IGGY_*` of this process: the section and the key in capitals,
    /// such as `RUSTOK_IGGY_MODE` or `RUSTOK_IGGY_REMOTE_ADDRESSES` (separated by commas).
    ///
    /// # Errors
    /// [`EnvError`] names a variable with the prefix that is no setting and the nearest that is, or a value that
    /// cannot be read.
    pub fn from_env() -> Result<Self, EnvError> {
        let variables = env::vars_os().filter_map(|(name, value)| {
            let name = name.into_string().ok()?;
            name.starts_with(PREFIX).then_some((name, value))
        });
        let mut config = Self::default();
        for (name, value) in variables {
            let value = value.into_string().map_err(|_| EnvError::Value {
                name: name.clone(),
                reason: "the value is not UTF-8".to_owned(),
            })?;
            config.set_variable(&name, &value)?;
        }
        Ok(config)
    }

    /// Sets one variable, by its full name.
    fn set_variable(&mut self, name: &str, value: &str) -> Result<(), EnvError> {
        let setting = name.strip_prefix(PREFIX).unwrap_or(name);
        let Some((_, set)) = VARIABLES.iter().find(|(known, _)| *known == setting) else {
            let nearest = nearest(setting, VARIABLES.iter().map(|(known, _)| *known));
            return Err(EnvError::Unknown {
                name: name.to_owned(),
                nearest: format!("{PREFIX}{nearest}"),
            });
        };
        set(self, value).map_err(|reason| EnvError::Value { name: name.to_owned(), reason })
    }
}

#[allow(clippy::unnecessary_wraps, reason = "a setter in the table")]
fn text(field: &mut String, value: &str) -> Result<(), String> {
    value.clone_into(field);
    Ok(())
}

#[allow(clippy::unnecessary_wraps, reason = "a setter in the table")]
fn some(field: &mut Option<String>, value: &str) -> Result<(), String> {
    *field = (!value.is_empty()).then(|| value.to_owned());
    Ok(())
}

fn parsed<T: FromStr<Err: Display>>(field: &mut T, value: &str) -> Result<(), String> {
    *field = value.trim().parse().map_err(|error| format!("`{value}`: {error}"))?;
    Ok(())
}

fn time(field: &mut std::time::Duration, value: &str) -> Result<(), String> {
    *field = duration::parse(value)?;
    Ok(())
}

fn choice<T: Copy>(value: &str, choices: &[(&str, T)]) -> Result<T, String> {
    let known = choices.iter().find(|(name, _)| name.eq_ignore_ascii_case(value.trim()));
    known.map(|(_, choice)| *choice).ok_or_else(|| {
        let names: Vec<_> = choices.iter().map(|(name, _)| format!("`{name}`")).collect();
        let nearest = nearest(&value.to_ascii_lowercase(), choices.iter().map(|(name, _)| *name));
        format!("`{value}` is none of {}; did you mean `{nearest}`?", names.join(", "))
    })
}

/// The name with the fewest edits to `wrong`.
fn nearest<'n>(wrong: &str, names: impl Iterator<Item = &'n str>) -> &'n str {
    names.min_by_key(|name| distance(wrong, name)).unwrap_or_default()
}

/// How many characters must be put in, taken out or changed.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, to) in b.iter().enumerate() {
            let change = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = change.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(name: &str, value: &str) -> Result<IggyConfig, EnvError> {
        let mut config = IggyConfig::default();
        config.set_variable(name, value).map(|()| config)
    }

    #[test]
    fn every_variable_has_the_name_of_its_place() {
        // What serde knows is what the environment knows, the other way round too.
        let config = serde_json::to_value(IggyConfig::default()).unwrap();
        let mut places = Vec::new();
        for (section, value) in config.as_object().unwrap() {
            match value.as_object() {
                Some(keys) => places.extend(keys.keys().map(|key| format!("{section}_{key}"))),
                None => places.push(section.clone()),
            }
        }
        let mut places: Vec<_> = places.into_iter().map(|place| place.to_uppercase()).collect();
        let mut names: Vec<_> = VARIABLES.iter().map(|(name, _)| (*name).to_owned()).collect();
        places.sort();
        names.sort();
        assert_eq!(names, places);
    }

    #[test]
    fn variables_set_what_they_name() {
        let config = set("RUSTOK_IGGY_REMOTE_ADDRESSES", "a:1, b:2").unwrap();
        assert_eq!(config.remote.addresses, ["a:1", "b:2"]);
        assert_eq!(set("RUSTOK_IGGY_MODE", "Remote").unwrap().mode, IggyMode::Remote);
        let config = set("RUSTOK_IGGY_CONNECTION_SEND_TIMEOUT", "3s").unwrap();
        assert_eq!(config.connection.send_timeout.as_secs(), 3);
    }

    #[test]
    fn a_slip_is_named_with_the_nearest_setting() {
        let error = set("RUSTOK_IGGY_REMOTE_ADRESSES", "a:1").unwrap_err();
        assert_eq!(
            error.to_string(),
            "`RUSTOK_IGGY_REMOTE_ADRESSES` is no setting; did you mean `RUSTOK_IGGY_REMOTE_ADDRESSES`?"
        );
        let error = set("RUSTOK_IGGY_MODE", "remot").unwrap_err();
        assert_eq!(
            error.to_string(),
            "`RUSTOK_IGGY_MODE`: `remot` is none of `embedded`, `remote`; did you mean `remote`?"
        );
        let error = set("RUSTOK_IGGY_EMBEDDED_TCP_PORT", "70000").unwrap_err();
        assert!(error.to_string().contains("RUSTOK_IGGY_EMBEDDED_TCP_PORT"), "{error}");
    }
}
