//! What the macros write, kept as it is read: constants and one call.

#![allow(clippy::needless_raw_string_hashes, reason = "this is how expectations are written down")]

mod events;
mod handlers;

use expect_test::Expect;
use proc_macro2::TokenStream;

fn check(expansion: TokenStream, expected: &Expect) {
    let file = syn::parse2(expansion).expect("an expansion is a list of items");
    expected.assert_eq(&prettyplease::unparse(&file));
}
