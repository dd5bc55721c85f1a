//! The macros in an unfriendly crate. That it compiles is the test.
//!
//! Edition 2021; `rustok-events` goes by another name, so that every declaration says where it is; what generated
//! code might be tempted to name is something else here; all warnings are errors, and more are asked for than usual.

#![deny(
    warnings,
    clippy::all,
    clippy::pedantic,
    clippy::nursery,
    missing_docs,
    missing_debug_implementations,
    unreachable_pub,
    unused_qualifications,
    unused_import_braces,
    unused_lifetimes,
    non_local_definitions,
    elided_lifetimes_in_paths,
    single_use_lifetimes,
    trivial_casts,
    unsafe_code
)]
#![allow(clippy::redundant_pub_crate, reason = "it contradicts `unreachable_pub`")]

mod by_example;
mod shadowed;
mod without_prelude;

/// Where another crate would re-export the runtime.
pub(crate) mod reexports {
    pub(crate) use ::events;
}

pub use by_example::{on_renamed, Older, Renamed, Told};
pub use shadowed::{handle, in_a_body, known, partly, tell, Outcome, Shadowed, ShadowedV1, Uuid};
pub use without_prelude::{bare, Bare};
