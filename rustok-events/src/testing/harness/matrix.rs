//! How often each promise was checked under a fault at each point, on each store.

use std::{collections::BTreeMap, fmt};

use super::{Promise, Report};
use crate::testing::{BROKER_POINTS, FAULT_POINTS};

/// The matrix of promise × fault point × store.
///
/// A cell counts the faults that were met at the point in schedules that had something to check the promise on.
#[derive(Debug, Clone, Default)]
pub struct Matrix {
    hits: BTreeMap<String, BTreeMap<(&'static str, Promise), u64>>,
    schedules: BTreeMap<String, u64>,
}

impl Matrix {
    /// An empty matrix.
    pub fn new() -> Self {
        Self::default()
    }

    /// Counts a schedule that was run on a store.
    pub fn add(&mut self, store: &str, report: &Report) {
        *self.schedules.entry(store.to_owned()).or_default() += 1;
        let hits = self.hits.entry(store.to_owned()).or_default();
        for met in &report.met {
            for (promise, facts) in Promise::ALL.into_iter().zip(report.facts) {
                *hits.entry((met.point, promise)).or_default() += u64::from(facts > 0);
            }
        }
    }

    /// The cell that was hit least, over all stores that were added: store, point, promise, hits.
    pub fn least(&self) -> Option<(&str, &'static str, Promise, u64)> {
        let cells = self.hits.iter().flat_map(|(store, hits)| {
            cells().map(move |cell| {
                (store.as_str(), cell.0, cell.1, hits.get(&cell).copied().unwrap_or(0))
            })
        });
        cells.min_by_key(|cell| cell.3)
    }
}

fn points() -> impl Iterator<Item = &'static str> {
    FAULT_POINTS.iter().chain(BROKER_POINTS).copied()
}

fn cells() -> impl Iterator<Item = (&'static str, Promise)> {
    points().flat_map(|point| Promise::ALL.map(|promise| (point, promise)))
}

impl fmt::Display for Matrix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (store, hits) in &self.hits {
            let schedules = self.schedules.get(store).copied().unwrap_or(0);
            writeln!(
                f,
                "{:<28}{}",
                format!("{store}, {schedules} schedules"),
                Promise::ALL.map(|promise| format!("{:>7}", promise.code())).concat()
            )?;
            for point in points() {
                let row = Promise::ALL
                    .map(|promise| hits.get(&(point, promise)).copied().unwrap_or(0))
                    .map(|hits| format!("{hits:>7}"));
                writeln!(f, "{point:<28}{}", row.concat())?;
            }
        }
        if let Some((store, point, promise, hits)) = self.least() {
            writeln!(f, "least: {hits} ({}, {point}, {store})", promise.code())?;
        }
        Ok(())
    }
}
