//! Apache Iggy: the only place that names its SDK.

pub mod embedded;
