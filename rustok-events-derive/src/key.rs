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
        Ok(input) => expand(&input).unwrap_or_else(syn::Error::into_compile_error),
        Err(error) => error.into_compile_error(),
    }
}

fn expand(input: &DeriveInput) -> syn::Result<TokenStream> {
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
    errors.check()?;
    let Some((member, field)) = field else {
        unreachable!("a declaration without a mistake has a field");
    };
    let (ident, ty) = (&input.ident, &field.ty);
    let encode = quote_spanned!(blame(ty)=> __rt::PartitionKey::encode(&self.#member));
    Ok(quote! {
        const _: () = {
            use #krate::__private::{self as __rt, Unless as _};
            #[automatically_derived]
            impl __rt::PartitionKey for #ident {
                const KIND: &'static __rt::str = __rt::KeyType::<#ty>::__KIND;
                fn encode(&self) -> __rt::Cow<'_, [__rt::u8]> {
                    #encode
                }
            }
        };
    })
}
