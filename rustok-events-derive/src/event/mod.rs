//! `#[derive(DomainEvent)]`: parse, check, expand; where a check fails, the mistakes and an impl in place of one.

mod ast;
mod attr;
mod check;
mod expand;
mod fallback;
mod key;
mod names;

use proc_macro2::TokenStream;
use syn::DeriveInput;

use crate::errors::Errors;

/// The derive.
pub(crate) fn derive(input: TokenStream) -> TokenStream {
    match syn::parse2::<DeriveInput>(input) {
        Ok(input) => declared(&input),
        Err(error) => error.into_compile_error(),
    }
}

fn declared(input: &DeriveInput) -> TokenStream {
    let errors = Errors::new();
    let place = match input.data {
        syn::Data::Enum(_) => crate::options::Place::Enum,
        syn::Data::Struct(_) | syn::Data::Union(_) => crate::options::Place::Struct,
    };
    let mut container = attr::Container::read(&input.attrs, place, &errors);
    let krate = std::mem::take(&mut container.krate);
    let event = check::event(input, container, &errors);
    match (errors.check(), event) {
        (Ok(()), Some(event)) => expand::expand(&event, &krate),
        (Ok(()), None) => unreachable!("a declaration without a mistake has a model"),
        (Err(mistakes), _) => fallback::expand(input, &krate, &mistakes),
    }
}
