//! Writers, relays, a consumer and the broker as processes of their own on PostgreSQL, killed at random, PostgreSQL
//! too; at the end everything must be published in order and handled once.
//!
//! ```text
//! processes [--seconds 300] [--seed 0] [--rate 900] [--database postgres://…] [--broker host:port]
//!           [--least-events N] [--least-takeovers N]
//! ```
//!
//! Without `--database` it makes a throw-away cluster with the programs it finds, and kills that one twice too. The
//! least numbers are 100,000 events and 50 take-overs in the middle of a window for 300 seconds, and in proportion for
//! others. Ends with 1 if a promise was broken, or if there was less than that.

use std::{path::PathBuf, process::ExitCode, time::Duration};

use rustok_events_tests::processes::{Plan, Role, play, run};

/// What a run of five minutes must have seen.
const EVENTS: u64 = 100_000;
const TAKEOVERS: u64 = 50;
const FIVE_MINUTES: u64 = 300;

enum Job {
    Run(Plan),
    Play(Role, u64, PathBuf),
}

fn arguments() -> Result<Job, String> {
    let (mut seconds, mut seed, mut rate) = (FIVE_MINUTES, 0, 900);
    let (mut database, mut broker) = (None, None);
    let (mut least_events, mut least_takeovers) = (None, None);
    let (mut role, mut place_of, mut folder) = (None, 0, None);
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let value = words.next().ok_or_else(|| format!("{word} needs a value"))?;
        let number = || value.parse::<u64>().map_err(|error| format!("{word} {value}: {error}"));
        match word.as_str() {
            "--seconds" => seconds = number()?,
            "--seed" => seed = number()?,
            "--rate" => rate = number()?,
            "--database" => database = Some(value),
            "--broker" => broker = Some(value),
            "--least-events" => least_events = Some(number()?),
            "--least-takeovers" => least_takeovers = Some(number()?),
            "--role" => role = Some(Role::named(&value).ok_or("there is no such role")?),
            "--number" => place_of = number()?,
            "--folder" => folder = Some(PathBuf::from(value)),
            _ => return Err(format!("there is no option {word}")),
        }
    }
    if let (Some(role), Some(folder)) = (role, folder) {
        return Ok(Job::Play(role, place_of, folder));
    }
    Ok(Job::Run(Plan {
        duration: Duration::from_secs(seconds),
        seed,
        rate,
        database,
        broker,
        least_events: least_events.unwrap_or(EVENTS * seconds / FIVE_MINUTES),
        least_takeovers: least_takeovers.unwrap_or(TAKEOVERS * seconds / FIVE_MINUTES),
    }))
}

fn main() -> ExitCode {
    let plan = match arguments() {
        Ok(Job::Run(plan)) => plan,
        Ok(Job::Play(role, number, folder)) => {
            play(role, number, &folder);
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::from(2);
        }
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let verdict = runtime.expect("a runtime").block_on(run(&plan));
    println!("{verdict}");
    if verdict.holds(&plan) {
        return ExitCode::SUCCESS;
    }
    eprintln!(
        "failed: at least {} events and {} take-overs in the middle of a window, and nothing lost, made up, inverted \
         or done twice",
        plan.least_events, plan.least_takeovers
    );
    ExitCode::FAILURE
}
