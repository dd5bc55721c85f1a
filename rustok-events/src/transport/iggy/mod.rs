//! Apache Iggy: the only place that names its SDK.

#[cfg(feature = "testing")]
pub mod conformance;
pub mod embedded;
