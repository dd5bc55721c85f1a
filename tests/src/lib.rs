//! What the tests share. Everything here panics where a test would fail.

#![allow(clippy::missing_panics_doc, reason = "test support panics where a test would fail")]

mod cluster;
mod database;
mod meddled;
pub mod members;
pub mod mutants;
pub mod processes;
pub mod schedules;

/// The README's example, compiled.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;

use std::{future::Future, io::Write as _, time::Duration};

use sea_orm::ConnectionTrait;

pub use self::{
    cluster::Cluster,
    database::{Backend, TestDatabase},
    meddled::MeddledTransport,
};

/// Runs a test on every database that is there: `on_every_database!(async fn name(database) { … });`, where
/// `database` is a [`TestDatabase`] of its own.
#[macro_export]
macro_rules! on_every_database {
    ($(#[$meta:meta])* async fn $name:ident($database:ident) $body:block) => {
        mod $name {
            #[allow(unused_imports, reason = "a test uses what it needs")]
            use super::*;

            async fn check($database: $crate::TestDatabase) $body

            $crate::on_every_database!(@one $name, sqlite, Sqlite);
            $crate::on_every_database!(@one $name, postgres, Postgres);
            $crate::on_every_database!(@one $name, mysql, MySql);
        }
    };
    (@one $name:ident, $test:ident, $backend:ident) => {
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $test() {
            let backend = $crate::Backend::$backend;
            if backend.is_available(stringify!($name)) {
                check(backend.create().await).await;
            }
        }
    };
}

/// Says that a test is skipped because a variable names no server.
pub fn skipped(test: &str, variable: &str) {
    skipped_without(test, &format!("{variable} is not set"));
}

/// Says that a test is skipped, and why.
pub fn skipped_without(test: &str, why: &str) {
    // Not `eprintln!`, which the test harness would swallow.
    let _ = writeln!(std::io::stderr(), "SKIPPED {test}: {why}");
}

/// Waits until a condition holds, at most half a minute.
pub async fn eventually<F: Future<Output = bool>>(mut condition: impl FnMut() -> F) {
    let waited = tokio::time::timeout(Duration::from_secs(30), async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    waited.await.expect("the condition holds within half a minute");
}

/// The rows of a query, as tuples.
pub async fn rows<T: sea_orm::TryGetableMany>(db: &impl ConnectionTrait, sql: &str) -> Vec<T> {
    let statement = sea_orm::Statement::from_string(db.get_database_backend(), sql);
    db.query_all_raw(statement)
        .await
        .expect("the query runs")
        .iter()
        .map(|row| T::try_get_many_by_index(row).expect("the columns fit"))
        .collect()
}

/// The pages whose examples are compiled.
#[cfg(doctest)]
mod pages {
    #[doc = include_str!("../../docs/derive.md")]
    mod derive {}
}
