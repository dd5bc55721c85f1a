//! A figure as it is printed.

use std::fmt;

use crate::pairs::{Pairs, Ratio};

/// One line of the table.
#[derive(Debug, serde::Serialize)]
pub(crate) struct Figure {
    pub(crate) database: String,
    pub(crate) cell: String,
    pub(crate) unit: &'static str,
    pub(crate) ours: f64,
    pub(crate) floor: f64,
    pub(crate) ratio: Ratio,
    pub(crate) pairs: usize,
    /// What the ratio must reach.
    pub(crate) target: Option<f64>,
    pub(crate) met: Option<bool>,
    pub(crate) notes: Vec<String>,
}

impl Figure {
    /// A figure of measured pairs.
    pub(crate) fn new(database: &str, cell: &str, unit: &'static str, pairs: &Pairs) -> Self {
        Self {
            database: database.to_owned(),
            cell: cell.to_owned(),
            unit,
            ours: pairs.ours(),
            floor: pairs.floor(),
            ratio: pairs.ratio(),
            pairs: pairs.len(),
            target: None,
            met: None,
            notes: Vec::new(),
        }
    }

    /// What the ratio must reach.
    #[must_use]
    pub(crate) fn target(mut self, target: f64) -> Self {
        self.target = Some(target);
        self.met = Some(self.ratio.median >= target && self.met.unwrap_or(true));
        self
    }

    /// Another condition of the target.
    #[must_use]
    pub(crate) fn requires(mut self, holds: bool) -> Self {
        self.met = Some(holds && self.met.unwrap_or(true));
        self
    }

    /// Something to say beside the ratio.
    #[must_use]
    pub(crate) fn note(mut self, note: impl Into<String>) -> Self {
        self.notes.push(note.into());
        self
    }

    /// The names of the columns: where it was measured, what was measured, and against what.
    pub(crate) fn header(place: &str, ours: &str, floor: &str) -> String {
        format!(
            "| {place} | cell | {ours} | {floor} | unit | ratio | interval | pairs | target | |\n\
             |---|---|--:|--:|---|--:|---|--:|--:|---|"
        )
    }

    /// Prints it, as soon as it is there.
    pub(crate) fn print(&self, json: bool) {
        if json {
            println!("{}", serde_json::to_string(self).unwrap_or_default());
        } else {
            println!("{self}");
        }
    }
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = match self.met {
            Some(true) => "met",
            Some(false) => "MISSED",
            None => "",
        };
        // Down, never up: 0.899 does not read as 0.90.
        let down = |value: f64| (value * 1000.0).floor() / 1000.0;
        write!(
            f,
            "| {} | {} | {} | {} | {} | {:.3} | {:.3} to {:.3} | {} | {} | {verdict}{}{} |",
            self.database,
            self.cell,
            measured(self.ours),
            measured(self.floor),
            self.unit,
            down(self.ratio.median),
            down(self.ratio.low),
            down(self.ratio.high),
            self.pairs,
            self.target.map(|target| format!("{target}")).unwrap_or_default(),
            if verdict.is_empty() || self.notes.is_empty() { "" } else { "; " },
            self.notes.join("; "),
        )
    }
}

fn measured(value: f64) -> String {
    if value >= 100.0 { format!("{value:.0}") } else { format!("{value:.2}") }
}
