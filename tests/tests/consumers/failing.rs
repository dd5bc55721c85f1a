//! What becomes of an event that fails.
