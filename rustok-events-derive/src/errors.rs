//! Mistakes, collected so that all of them are reported at once.

use std::{cell::RefCell, fmt::Display};

use proc_macro2::Span;
use quote::ToTokens;
use syn::spanned::Spanned;

/// Collects mistakes. Dropped without [`check`](Self::check) it panics: an unreported mistake is a bug here.
pub(crate) struct Errors {
    found: RefCell<Option<Vec<syn::Error>>>,
}

impl Errors {
    pub(crate) fn new() -> Self {
        Self { found: RefCell::new(Some(Vec::new())) }
    }

    /// Adds a mistake, underlining all of `tokens`.
    pub(crate) fn at(&self, tokens: impl ToTokens, message: impl Display) {
        self.push(syn::Error::new_spanned(tokens, message));
    }

    /// Adds a mistake whose place is already known.
    pub(crate) fn push(&self, error: syn::Error) {
        if let Some(found) = self.found.borrow_mut().as_mut() {
            found.push(error);
        }
    }

    /// A second definition, and where the first one is.
    pub(crate) fn twice(&self, first: impl ToTokens, second: impl ToTokens, message: &str) {
        self.at(second, message);
        self.at(first, "first given here");
    }

    /// The value, or its mistake added.
    pub(crate) fn take<T>(&self, result: syn::Result<T>) -> Option<T> {
        result.map_err(|error| self.push(error)).ok()
    }

    /// All mistakes as one error.
    pub(crate) fn check(self) -> syn::Result<()> {
        let found = self.found.borrow_mut().take().unwrap_or_default();
        match found.into_iter().reduce(|mut all, next| {
            all.combine(next);
            all
        }) {
            Some(all) => Err(all),
            None => Ok(()),
        }
    }
}

impl Drop for Errors {
    fn drop(&mut self) {
        let reported = self.found.borrow().is_none() || std::thread::panicking();
        assert!(reported, "the macro dropped its errors unchecked: please report this");
    }
}

/// Where the compiler's own complaint about a generated expression lands: on the user's tokens that caused it. Names
/// resolve as everywhere else in what is generated.
pub(crate) fn blame(tokens: &impl Spanned) -> Span {
    Span::call_site().located_at(tokens.span())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[should_panic(expected = "unchecked")]
    fn dropping_errors_unchecked_panics() {
        drop(Errors::new());
    }

    #[test]
    fn all_mistakes_are_reported() {
        let errors = Errors::new();
        errors.at(quote::quote!(a), "one");
        errors.at(quote::quote!(b), "two");
        assert_eq!(errors.check().unwrap_err().into_iter().count(), 2);
    }
}
