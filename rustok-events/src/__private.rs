//! The items that generated code names.

pub use core::{
    option::Option::{self, None, Some},
    result::Result::{self, Err, Ok},
};
