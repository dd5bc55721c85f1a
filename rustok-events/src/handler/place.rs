//! Where a handler stands: what a macro cannot see, but the compiler can.
//!
//! Beside every handler the macro brings [`InModule`] into scope, and asks [`Place`] in a function. Where the handler
//! stands in an `impl` block the compiler drops the import with the handler's struct, and the question finds
//! [`Anywhere`], which nothing satisfies.

/// What is asked.
#[derive(Debug)]
pub struct Place;

/// In scope where handlers may stand. Found first, since it is asked by value.
pub trait InModule {
    /// All is well.
    fn check(self);
}

impl InModule for Place {
    fn check(self) {}
}

/// In scope wherever it is asked. Found last, by reference.
pub trait Anywhere {
    /// All is not well.
    fn check(self)
    where
        Self: FreeFunction;
}

impl Anywhere for &Place {
    fn check(self)
    where
        Self: FreeFunction,
    {
    }
}

/// Nothing has it.
#[diagnostic::on_unimplemented(
    message = "a handler is a free function, and its state comes through the context: move it out of the `impl` block",
    label = "in an `impl` block"
)]
pub trait FreeFunction {}
