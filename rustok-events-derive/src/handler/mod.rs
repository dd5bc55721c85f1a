//! `#[event_handler]`: options and signature are read and checked, then a unit struct and its impl come out.

mod attr;
mod expand;
mod signature;

use proc_macro2::TokenStream;
use syn::{Item, ItemFn};

pub(crate) use self::expand::Expansion;
use self::{attr::HandlerOptions, signature::Signature};
use crate::errors::Errors;

/// The attribute.
pub(crate) fn expand(options: TokenStream, item: &TokenStream) -> TokenStream {
    match syn::parse2::<ItemFn>(item.clone()) {
        Ok(function) => expansion(options, &function).into_item(),
        Err(_) => not_a_function(item),
    }
}

/// What comes of a function.
pub(crate) fn expansion(options: TokenStream, function: &ItemFn) -> Expansion {
    let errors = Errors::new();
    let options = HandlerOptions::read(options, &errors);
    let signature = Signature::read(function, options.detached, &errors);
    match (errors.check(), signature) {
        (Ok(()), Some(signature)) => expand::expand(&options, &signature, function),
        (Ok(()), None) => unreachable!("a function without a mistake has a signature"),
        (Err(mistakes), signature) => {
            expand::fallback(&options, signature.as_ref(), function, &mistakes)
        }
    }
}

fn not_a_function(item: &TokenStream) -> TokenStream {
    let message = "`#[event_handler]` goes on a free `async fn` with a body";
    let mistake = syn::Error::new_spanned(item, message).into_compile_error();
    match syn::parse2::<Item>(item.clone()) {
        Ok(Item::Verbatim(_)) | Err(_) => mistake,
        Ok(item) => quote::quote!(#mistake #item),
    }
}
