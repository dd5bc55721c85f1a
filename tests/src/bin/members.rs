//! Two consumer processes of one group, `kill -9` on either at random while events flow.
//!
//! ```text
//! members [--seconds 120] [--database URL] [--seed N]
//! ```
//!
//! `--database` names an empty PostgreSQL, MySQL or MariaDB database or a SQLite file (`sqlite://PATH?mode=rwc`). Without
//! it, a schema on the server that `TEST_POSTGRES_URL` names, or else a temporary SQLite file. Prints what became of the
//! events and ends with 1 unless each had its effect once, in the order of its key.

use std::{path::Path, process::ExitCode, time::Duration};

use rustok_events::BoxError;
use rustok_events_tests::{
    Backend,
    members::{self, Options},
};

#[tokio::main]
async fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let result = match words[..] {
        ["broker", folder] => members::broker(Path::new(folder)).await.map(|()| true),
        ["consumer", broker, url, schema] => match broker.parse() {
            Ok(broker) => members::consume(broker, url, schema).await.map(|()| true),
            Err(error) => Err(format!("{broker}: {error}").into()),
        },
        _ => drive(&words).await,
    };
    match result {
        Ok(good) => ExitCode::from(u8::from(!good)),
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(2)
        }
    }
}

async fn drive(words: &[&str]) -> Result<bool, BoxError> {
    let (mut seconds, mut seed) = (120, u64::from(std::process::id()));
    let mut database = None;
    for pair in words.chunks(2) {
        let [option, value] = pair else { return Err(format!("{} needs a value", pair[0]).into()) };
        match *option {
            "--seconds" => seconds = value.parse()?,
            "--seed" => seed = value.parse()?,
            "--database" => database = Some((*value).to_owned()),
            _ => return Err(format!("there is no option {option}").into()),
        }
    }
    let database = match database {
        None if std::env::var("TEST_POSTGRES_URL").is_ok() => Backend::Postgres.create().await,
        None => Backend::Sqlite.create().await,
        Some(url) => {
            let backend = Backend::of_url(&url);
            backend.ok_or("the database is none that is known")?.create_at(&url).await
        }
    };
    let options = Options {
        program: std::env::current_exe()?,
        length: Duration::from_secs(seconds),
        pauses: (Duration::from_millis(100), Duration::from_secs(2)),
        seed,
    };
    let report = members::run(&options, &database).await?;
    println!("{report}");
    Ok(report.is_good())
}
