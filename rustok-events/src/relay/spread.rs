//! Which lane has which parts: the first has all while little comes, since one look does for them then, and each has
//! its own while there is more than a look brings.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use tokio::sync::{RwLock, RwLockReadGuard, watch};

/// After so many looks of each lane that were not cut off the first takes all parts again.
const QUIET: u32 = 8;

/// How the parts of a relay are spread over its lanes. Clones share it.
#[derive(Clone)]
pub(super) struct Spread(Arc<Inner>);

struct Inner {
    /// Changed only while no lane is in a step.
    shape: watch::Sender<Shape>,
    steps: RwLock<()>,
    /// How many looks of each lane, one after the other, were not cut off.
    quiet: Vec<AtomicU32>,
}

/// Who has which parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Shape {
    /// Whether each lane has its own; otherwise the first has all.
    pub(super) wide: bool,
    /// How often that has changed: what a lane knew of its parts is good for one shape.
    changes: u64,
}

impl Spread {
    pub(super) fn over(lanes: usize) -> Self {
        let quiet = (0..lanes.max(1)).map(|_| AtomicU32::new(0)).collect();
        Self(Arc::new(Inner { shape: watch::Sender::default(), steps: RwLock::new(()), quiet }))
    }

    /// Who has which parts, now and from now on.
    pub(super) fn subscribe(&self) -> watch::Receiver<Shape> {
        self.0.shape.subscribe()
    }

    /// The lane that a part belongs to while the parts are spread.
    pub(super) fn lane_of(&self, part: i64) -> usize {
        let lanes = self.0.quiet.len() as u64;
        usize::try_from(part.unsigned_abs() % lanes).unwrap_or_default()
    }

    /// While this is held no part goes from one lane to another: a part's next page is read once its last is done with.
    pub(super) async fn step(&self) -> RwLockReadGuard<'_, ()> {
        self.0.steps.read().await
    }

    /// Takes note of a lane's look, and whether it was cut off: then each lane is to have its own parts.
    pub(super) async fn looked(&self, lane: usize, cut_off: bool) {
        if cut_off {
            self.0.quiet[lane].store(0, Ordering::Relaxed);
            return self.widen().await;
        }
        self.0.quiet[lane].fetch_add(1, Ordering::Relaxed);
        let is_quiet = |looks: &AtomicU32| looks.load(Ordering::Relaxed) >= QUIET;
        // Not waited for: a lane in the middle of a step may be held up by the broker.
        if lane == 0
            && self.0.shape.borrow().wide
            && self.0.quiet.iter().all(is_quiet)
            && let Ok(_no_steps) = self.0.steps.try_write()
        {
            self.change(false);
        }
    }

    /// Takes note of a lane that has no parts: it keeps nobody from having all.
    pub(super) fn stands_by(&self, lane: usize) {
        self.0.quiet[lane].store(QUIET, Ordering::Relaxed);
    }

    /// Takes note of a lane's step that failed: what holds this lane up need not hold up all parts.
    pub(super) async fn failed(&self, lane: usize) {
        self.looked(lane, true).await;
    }

    fn change(&self, wide: bool) {
        self.0.shape.send_modify(|shape| *shape = Shape { wide, changes: shape.changes + 1 });
    }

    /// Gives each lane its own parts.
    async fn widen(&self) {
        if self.0.quiet.len() == 1 || self.0.shape.borrow().wide {
            return;
        }
        let _no_steps = self.0.steps.write().await;
        for looks in &self.0.quiet {
            looks.store(0, Ordering::Relaxed);
        }
        self.change(true);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_wide(spread: &Spread) -> bool {
        spread.subscribe().borrow().wide
    }

    async fn quiet_looks(spread: &Spread, lane: usize, looks: u32) {
        for _ in 0..looks {
            spread.looked(lane, false).await;
        }
    }

    #[tokio::test]
    async fn the_first_lane_has_all_parts_until_a_look_is_cut_off_and_again_once_all_are_quiet() {
        let spread = Spread::over(2);
        assert!(!is_wide(&spread));
        spread.looked(0, true).await;
        assert!(is_wide(&spread));
        quiet_looks(&spread, 0, QUIET * 2).await;
        assert!(is_wide(&spread), "the other has more to read");
        quiet_looks(&spread, 1, QUIET).await;
        assert!(is_wide(&spread), "the first takes them between two of its own steps");
        quiet_looks(&spread, 0, 1).await;
        assert!(!is_wide(&spread));
    }

    #[tokio::test]
    async fn a_lane_that_fails_keeps_its_parts_to_itself() {
        let spread = Spread::over(2);
        spread.failed(0).await;
        assert!(is_wide(&spread));
        quiet_looks(&spread, 1, QUIET).await;
        spread.failed(1).await;
        quiet_looks(&spread, 0, QUIET * 2).await;
        assert!(is_wide(&spread));
    }

    #[tokio::test]
    async fn a_lane_that_slept_through_two_changes_sees_that_there_were_any() {
        let spread = Spread::over(2);
        spread.widen().await;
        let before = *spread.subscribe().borrow();
        spread.stands_by(1);
        quiet_looks(&spread, 0, QUIET).await;
        spread.widen().await;
        assert!(is_wide(&spread));
        assert_ne!(*spread.subscribe().borrow(), before);
    }

    #[tokio::test]
    async fn a_lane_without_parts_does_not_keep_the_others_apart() {
        let spread = Spread::over(2);
        spread.widen().await;
        spread.stands_by(1);
        quiet_looks(&spread, 0, QUIET).await;
        assert!(!is_wide(&spread));
    }

    #[tokio::test]
    async fn no_part_changes_its_lane_while_a_lane_is_in_a_step() {
        let spread = Spread::over(2);
        spread.widen().await;
        quiet_looks(&spread, 1, QUIET).await;
        let step = spread.step().await;
        quiet_looks(&spread, 0, QUIET).await;
        assert!(is_wide(&spread));
        drop(step);
        quiet_looks(&spread, 0, 1).await;
        assert!(!is_wide(&spread));
        let step = spread.step().await;
        let widened = tokio::time::timeout(std::time::Duration::from_millis(50), spread.widen());
        assert!(widened.await.is_err());
        drop(step);
        spread.widen().await;
        assert!(is_wide(&spread));
    }
}
