//! What every module's errors share: a boxed cause.

/// A cause of any type: what a validator, a handler or a codec failed with.
pub type BoxError = Box<dyn std::error::Error + Send + Sync + 'static>;
