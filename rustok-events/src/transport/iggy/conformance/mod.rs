//! Does a broker speak Iggy's protocol as this crate relies on it? The same cases for the embedded broker and for real
//! servers, through the plain SDK alone.
//!
//! ```no_run
//! # async fn example() {
//! use rustok_events::testing::conformance::protocol::{Target, run};
//!
//! let report = run(&Target::new("127.0.0.1:8090", "iggy", "iggy")).await;
//! println!("{report}");
//! assert!(report.passed());
//! # }
//! ```
//!
//! Each case works in a stream of its own, under a name nobody else has, and removes it at its end.

mod bench;
mod groups;
mod log;
mod topology;

use std::{fmt, future::Future, pin::Pin, time::Duration};

use iggy::prelude::{IggyClient, StreamClient};

use self::bench::Bench;

/// How long one case may take.
const PATIENCE: Duration = Duration::from_secs(90);

/// The broker to look at.
#[derive(Clone)]
pub struct Target {
    address: String,
    username: String,
    password: String,
}

impl Target {
    /// A broker at `host:port`, and who logs in.
    pub fn new(
        address: impl Into<String>,
        username: impl Into<String>,
        password: impl Into<String>,
    ) -> Self {
        Self { address: address.into(), username: username.into(), password: password.into() }
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Target")
            .field("address", &self.address)
            .field("username", &self.username)
            .finish_non_exhaustive()
    }
}

/// How a case ended: what was expected and what came instead.
pub type Outcome = Result<(), String>;

type Case = for<'a> fn(&'a Bench) -> Pin<Box<dyn Future<Output = Outcome> + Send + 'a>>;

macro_rules! cases {
    ($($module:ident :: $case:ident),* $(,)?) => {
        /// The cases, by name.
        pub const CASES: &[&str] = &[$(stringify!($case)),*];

        const RUN: &[Case] = &[$(|bench| Box::pin($module::$case(bench))),*];
    };
}

cases![
    topology::a_topic_is_created_and_found_with_its_partition_count,
    topology::what_is_not_there_is_named,
    topology::two_creators_at_once_end_with_one_topic,
    topology::a_wrong_password_is_refused,
    log::the_builders_produce_and_consume,
    log::ids_headers_and_payloads_come_back_as_they_were,
    log::a_big_payload_comes_back_whole,
    log::empty_and_malformed_messages_are_refused_and_the_client_goes_on,
    log::a_poll_begins_where_it_says,
    log::a_key_lies_where_its_hash_says,
    log::a_client_reconnects_and_goes_on,
    groups::keys_keep_their_order_across_members,
    groups::a_member_resumes_after_what_was_stored,
    groups::what_was_not_stored_comes_again_at_another_member,
    groups::everybody_reads_a_groups_offset_and_members_alone_store_it,
    groups::a_member_that_lost_a_partition_cannot_store_there,
    groups::an_offset_ahead_of_the_log_is_refused_or_found_as_it_is,
    groups::a_plain_client_rewinds,
];

/// What came of the cases.
#[derive(Debug, Clone)]
pub struct Report {
    /// Each case by name, and how it ended.
    pub outcomes: Vec<(&'static str, Outcome)>,
}

impl Report {
    /// Whether all cases ended well.
    pub fn passed(&self) -> bool {
        self.outcomes.iter().all(|(_, outcome)| outcome.is_ok())
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (case, outcome) in &self.outcomes {
            match outcome {
                Ok(()) => writeln!(f, "ok      {case}")?,
                Err(why) => writeln!(f, "FAILED  {case}: {why}")?,
            }
        }
        let failed = self.outcomes.iter().filter(|(_, outcome)| outcome.is_err()).count();
        write!(f, "{} cases, {failed} failed", self.outcomes.len())
    }
}

/// Runs all cases, one after the other. Does not panic; a case that takes too long counts as failed.
///
/// A dropped call leaves the present case's stream behind.
pub async fn run(target: &Target) -> Report {
    let mut outcomes = Vec::new();
    for (name, case) in CASES.iter().zip(RUN) {
        outcomes.push((*name, one(target, *case).await));
    }
    Report { outcomes }
}

async fn one(target: &Target, case: Case) -> Outcome {
    let bench = Bench::new(target.clone());
    let outcome = tokio::time::timeout(PATIENCE, case(&bench))
        .await
        .unwrap_or_else(|_| Err(format!("not done after {PATIENCE:?}")));
    let removed = match bench.client().await {
        Ok(client) => remove(&client, &bench).await,
        Err(error) => Err(error),
    };
    outcome.and(removed)
}

async fn remove(client: &IggyClient, bench: &Bench) -> Outcome {
    let known = client.get_stream(&bench.stream_id()).await.map_err(|e| e.to_string())?;
    if known.is_some() {
        client.delete_stream(&bench.stream_id()).await.map_err(|e| e.to_string())?;
    }
    Ok(())
}

/// Fills a stream before the broker is restarted; [`after_restart`] looks at it then. Give both the same name, one that
/// nobody else has.
pub async fn before_restart(target: &Target, stream: &str) -> Outcome {
    log::fill(&Bench::named(target.clone(), stream.to_owned())).await
}

/// Looks whether everything that [`before_restart`] was told is stored is there, and removes it.
pub async fn after_restart(target: &Target, stream: &str) -> Outcome {
    let bench = Bench::named(target.clone(), stream.to_owned());
    let outcome = log::look(&bench).await;
    outcome.and(remove(&bench.client().await?, &bench).await)
}
