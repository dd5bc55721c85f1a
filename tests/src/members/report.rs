//! What the tables say at the end.

use std::{
    collections::{HashMap, HashSet},
    fmt,
};

use sea_orm::DatabaseConnection;

use crate::rows;

/// What became of the events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Report {
    /// Events whose transaction committed.
    pub events: usize,
    /// Consumer processes that were killed.
    pub kills: usize,
    /// Events without an effect, or whose follow-up had none.
    pub lost: usize,
    /// Effects beyond the first of their event.
    pub twice: usize,
    /// First effects that came after the effect of a later event of their key.
    pub out_of_order: usize,
}

type Row = (String, i64);

impl Report {
    /// Counts; `lost` is what has no effect *yet*.
    pub(super) async fn count(db: &DatabaseConnection, kills: usize) -> Self {
        let published: Vec<Row> = rows(db, "SELECT event_key, number FROM published").await;
        let mut report = Self { events: published.len(), kills, ..Self::default() };
        for kind in ["step", "echo"] {
            let sql =
                format!("SELECT event_key, number FROM effects WHERE kind = '{kind}' ORDER BY id");
            report.add(&published, rows(db, &sql).await);
        }
        report
    }

    fn add(&mut self, published: &[Row], effects: Vec<Row>) {
        let (mut seen, mut last) = (HashSet::new(), HashMap::new());
        for (key, number) in effects {
            if !seen.insert((key.clone(), number)) {
                self.twice += 1;
                continue;
            }
            let last = last.entry(key).or_insert(number);
            if number < *last {
                self.out_of_order += 1;
            }
            *last = number.max(*last);
        }
        self.lost += published.iter().filter(|event| !seen.contains(event)).count();
    }

    /// Whether everything is as promised, and something was tried.
    pub fn is_good(&self) -> bool {
        let Self { events, kills, lost, twice, out_of_order } = *self;
        events > 0 && kills > 0 && (lost, twice, out_of_order) == (0, 0, 0)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { events, kills, lost, twice, out_of_order } = self;
        write!(
            f,
            "events={events} kills={kills} lost={lost} twice={twice} out_of_order={out_of_order}"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_is_counted() {
        let rows = |numbers: &[i64]| -> Vec<Row> {
            numbers.iter().map(|number| ("k".to_owned(), *number)).collect()
        };
        let mut report = Report { events: 5, kills: 1, ..Report::default() };
        report.add(&rows(&[0, 1, 2, 3, 4]), rows(&[0, 2, 1, 2, 4]));
        assert_eq!((report.lost, report.twice, report.out_of_order), (1, 1, 1));
        assert!(!report.is_good());
    }
}
