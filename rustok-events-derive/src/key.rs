//! `#[derive(PartitionKey)]`: a newtype is the key that its field is.

use proc_macro2::TokenStream;
use quote::{quote, quote_spanned};
use syn::{Data, DeriveInput, Meta};

use crate::{
    crate_path::CratePath,
    errors::{Errors, blame},
    options::{Options, Place, Spec},
    value,
};

const TABLE: &[Spec] =
    &[Spec { name: "crate", example: "crate = path::to::rustok_events", places: &[Place::Struct] }];

const NEWTYPE: &str = "a partition key is a newtype, a struct of one field, such as `struct OrderId(Uuid);`\n\
     to order by several values, use a tuple of them as the event's key field";

/// The derive.
pub(crate) fn derive(input: TokenStream) -> TokenStream {
    match syn::parse2::<DeriveInput>(input) {
        Ok(input) => expand(&input),
        Err(error) => error.into_compile_error(),
    }
}

fn expand(input: &DeriveInput) -> TokenStream {
    let errors = Errors::new();
    let mut options = Options::new(TABLE, Place::Struct);
    for attribute in input.attrs.iter().filter(|attr| attr.path().is_ident("partition_key")) {
        match &attribute.meta {
            Meta::List(list) => options.read(list.tokens.clone(), &errors),
            other => errors.at(other, "options go in parentheses: `#[partition_key(crate = …)]`"),
        }
    }
    let krate = CratePath(options.take("crate").and_then(|given| errors.take(value::path(&given))));
    if !input.generics.params.is_empty() {
        errors
            .at(&input.generics, "a partition key has no generic parameters: declare one per type");
    }
    let field = match &input.data {
        Data::Struct(data) if data.fields.len() == 1 => {
            data.fields.members().zip(&data.fields).next()
        }
        Data::Struct(data) => {
            if data.fields.is_empty() {
                errors.at(&input.ident, NEWTYPE);
            } else {
                errors.at(&data.fields, NEWTYPE);
            }
            None
        }
        Data::Enum(data) => {
            errors.at(data.enum_token, NEWTYPE);
            None
        }
        Data::Union(data) => {
            errors.at(data.union_token, NEWTYPE);
            None
        }
    };
    let (member, field) = match (errors.check(), field) {
        (Ok(()), Some(field)) => field,
        (Ok(()), None) => unreachable!("a declaration without a mistake has a field"),
        (Err(mistakes), _) => return fallback(input, &krate, &mistakes),
    };
    let (ident, ty) = (&input.ident, &field.ty);
    let encode = quote_spanned!(blame(ty)=> __rt::PartitionKey::encode(&self.#member));
    quote! {
        const _: () = {
            use #krate::__private as __rt;
            use __rt::Unless as _;
            #[automatically_derived]
            impl __rt::PartitionKey for #ident {
                const KIND: &'static __rt::str = __rt::KeyType::<#ty>::__KIND;
                fn encode(&self) -> __rt::Cow<'_, [__rt::u8]> {
                    #encode
                }
            }
        };
    }
}

/// The mistakes, and an impl in place of the one that could not be made, so that no event keyed by it is another.
fn fallback(input: &DeriveInput, krate: &CratePath, mistakes: &syn::Error) -> TokenStream {
    let mistakes = mistakes.to_compile_error();
    let ident = &input.ident;
    let (generics, arguments, bounds) = input.generics.split_for_impl();
    quote! {
        #mistakes
        const _: () = {
            use #krate::__private as __rt;
            #[automatically_derived]
            impl #generics __rt::PartitionKey for #ident #arguments #bounds {
                fn encode(&self) -> __rt::Cow<'_, [__rt::u8]> {
                    __rt::Cow::Borrowed(&[])
                }
            }
        };
    }
}
