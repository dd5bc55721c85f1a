//! Interleaved pairs: ours and the floor in turn, so that a machine whose speed drifts does not move their ratio.

use std::time::Duration;

/// What was measured, pair by pair.
#[derive(Debug, Clone, Default)]
pub(crate) struct Pairs {
    ours: Vec<f64>,
    floor: Vec<f64>,
}

/// A median and the interval that holds it in 95 of 100 runs, or the extremes where there are too few pairs for that.
#[derive(Debug, Clone, Copy, serde::Serialize)]
pub(crate) struct Ratio {
    pub(crate) median: f64,
    pub(crate) low: f64,
    pub(crate) high: f64,
}

impl Pairs {
    /// Adds a pair.
    pub(crate) fn push(&mut self, ours: f64, floor: f64) {
        self.ours.push(ours);
        self.floor.push(floor);
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.ours.len()
    }

    /// The median of ours.
    pub(crate) fn ours(&self) -> f64 {
        median(&sorted(&self.ours))
    }

    /// The median of the floor.
    pub(crate) fn floor(&self) -> f64 {
        median(&sorted(&self.floor))
    }

    /// Ours to the floor, pair by pair.
    pub(crate) fn ratio(&self) -> Ratio {
        let ratios: Vec<f64> =
            self.ours.iter().zip(&self.floor).map(|(ours, floor)| ours / floor).collect();
        let ratios = sorted(&ratios);
        let rank = interval_rank(ratios.len());
        Ratio {
            median: median(&ratios),
            low: ratios.get(rank).copied().unwrap_or(f64::NAN),
            high: ratios.iter().rev().nth(rank).copied().unwrap_or(f64::NAN),
        }
    }
}

/// A percentile of latencies in ascending order, in milliseconds.
pub(crate) fn percentile(sorted: &[Duration], percent: usize) -> f64 {
    let place = (sorted.len() * percent / 100).min(sorted.len().saturating_sub(1));
    sorted.get(place).map_or(f64::NAN, |latency| latency.as_secs_f64() * 1000.0)
}

fn sorted(values: &[f64]) -> Vec<f64> {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    values
}

fn median(sorted: &[f64]) -> f64 {
    match sorted.len() {
        0 => f64::NAN,
        len if len % 2 == 1 => sorted[len / 2],
        len => f64::midpoint(sorted[len / 2 - 1], sorted[len / 2]),
    }
}

/// How many values lie outside at each end of the 95 % interval of a median of `len`: from the binomial distribution,
/// whatever the values' own.
fn interval_rank(len: usize) -> usize {
    let mut outside = 0.0;
    let mut chance = 0.5_f64.powi(i32::try_from(len).unwrap_or(i32::MAX));
    for rank in 0..len / 2 {
        outside += chance;
        if outside > 0.025 {
            return rank.saturating_sub(1);
        }
        chance *= (len - rank) as f64 / (rank + 1) as f64;
    }
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interval_of_fifteen_leaves_three_out_at_each_end() {
        assert_eq!(interval_rank(15), 3);
        assert_eq!(interval_rank(6), 0);
        assert_eq!(interval_rank(3), 0);
    }

    #[test]
    fn a_ratio_is_taken_pair_by_pair() {
        let mut pairs = Pairs::default();
        for (ours, floor) in [(1.0, 2.0), (30.0, 30.0), (8.0, 10.0)] {
            pairs.push(ours, floor);
        }
        let ratio = pairs.ratio();
        assert!((ratio.median - 0.8).abs() < 1e-9);
        assert!((ratio.low - 0.5).abs() < 1e-9 && (ratio.high - 1.0).abs() < 1e-9);
    }
}
