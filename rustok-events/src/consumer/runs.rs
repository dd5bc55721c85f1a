//! How the messages of a partition are cut into transactions: as many at once as go well, what fails alone.
//!
//! ```text
//! a b c d X f g h      X fails: nothing of it is committed
//! a b c d              again, at once
//!         X            alone: retried, held or dead
//!           f g h      at once
//! ```
//!
//! Where it is not known which one failed, half as many are tried. What was committed is never called again, and a call
//! that was rolled back with its batch is not an attempt.

use super::message::Message;

/// The cut of one delivery.
pub(super) struct Runs {
    /// The most that are tried at once.
    most: usize,
    /// The offset of a message that failed and is to be alone.
    alone: Option<u64>,
    /// Whether some were claimed before: it has to be asked which.
    pub(super) mixed: bool,
    pub(super) conflicts: u32,
}

impl Runs {
    pub(super) fn new(messages: usize) -> Self {
        Self { most: messages, alone: None, mixed: false, conflicts: 0 }
    }

    /// How many of the next messages to try in one transaction; 1 is for one that goes alone.
    pub(super) fn next(&self, rest: &[Message]) -> usize {
        let alone =
            |message: &Message| message.content.is_err() || self.alone == Some(message.raw.offset);
        let together = rest.iter().take(self.most).take_while(|message| !alone(message)).count();
        together.max(1)
    }

    /// They went well: try more.
    pub(super) fn went_well(&mut self) {
        self.most = self.most.saturating_mul(2);
        self.mixed = false;
        self.conflicts = 0;
    }

    /// The message at a place in the run failed. Where that was soon, the next may be soon too.
    pub(super) fn failed_at(&mut self, place: usize, offset: u64) {
        self.alone = Some(offset);
        self.most = self.most.min((place * 2).max(1));
    }

    /// Some of a run failed.
    pub(super) fn fewer(&mut self, run: usize) {
        self.most = (run / 2).max(1);
    }

    /// Nothing can be done at once now.
    pub(super) fn one_by_one(&mut self) {
        self.most = 1;
    }
}
