//! What of an event's declaration does not compile, and what is said of it; without the runtime.
