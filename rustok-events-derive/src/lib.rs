//! The macros of `rustok-events`. Use them through that crate's re-exports; `docs/derive.md` is their reference.
//!
//! Each macro has one way through it: parse the options against a table, build a model, check it, expand it. What
//! comes out is constants and one call into generic code of the runtime crate.

mod crate_path;
mod errors;
mod event;
mod handler;
mod key;
mod options;
#[cfg(test)]
mod snapshots;
mod suggest;
mod value;

use proc_macro::TokenStream;

/// `docs/derive.md` describes every option of `#[domain_event(…)]`, with an example.
#[proc_macro_derive(DomainEvent, attributes(domain_event))]
pub fn derive_domain_event(input: TokenStream) -> TokenStream {
    event::derive(input.into()).into()
}

/// Its one option is `#[partition_key(crate = path)]`.
#[proc_macro_derive(PartitionKey, attributes(partition_key))]
pub fn derive_partition_key(input: TokenStream) -> TokenStream {
    key::derive(input.into()).into()
}

/// `docs/derive.md` describes every option, with an example.
#[proc_macro_attribute]
pub fn event_handler(options: TokenStream, item: TokenStream) -> TokenStream {
    handler::expand(options.into(), &item.into()).into()
}

/// Written by `event_handler` alone: puts what hangs from a struct beside it.
#[doc(hidden)]
#[proc_macro_attribute]
pub fn beside(hung: TokenStream, item: TokenStream) -> TokenStream {
    item.into_iter().chain(hung).collect()
}
