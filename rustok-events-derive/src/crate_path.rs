//! Where the runtime crate is: `::rustok_events`, or what `crate = …` says.

use proc_macro2::TokenStream;
use quote::{ToTokens, quote};
use syn::Path;

/// The path of the runtime crate.
#[derive(Default)]
pub(crate) struct CratePath(pub(crate) Option<Path>);

impl ToTokens for CratePath {
    fn to_tokens(&self, tokens: &mut TokenStream) {
        match &self.0 {
            Some(path) => path.to_tokens(tokens),
            None => tokens.extend(quote!(::rustok_events)),
        }
    }
}
