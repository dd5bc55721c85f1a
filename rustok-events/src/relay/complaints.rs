//! What keeps the lanes of a relay from publishing, told to operators with the leases.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

/// The code of each lane's last error, until it works again. Clones share it.
#[derive(Clone, Default)]
pub(super) struct Complaints(Arc<Mutex<BTreeMap<usize, &'static str>>>);

impl Complaints {
    /// Notes why a lane cannot publish.
    pub(super) fn note(&self, lane: usize, code: &'static str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(lane, code);
    }

    /// Notes that a lane works.
    pub(super) fn clear(&self, lane: usize) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&lane);
    }

    /// One of the codes; empty if all lanes work.
    pub(super) fn code(&self) -> &'static str {
        let codes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        codes.values().next().copied().unwrap_or_default()
    }
}
