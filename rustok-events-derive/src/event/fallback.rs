//! The mistakes, and an impl in place of the one that could not be made: one mistake is one error, and not one
//! more wherever the event is used.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{Data, DeriveInput};

use crate::crate_path::CratePath;

/// What a wrong declaration expands to.
pub(super) fn expand(input: &DeriveInput, krate: &CratePath, mistakes: &syn::Error) -> TokenStream {
    let mistakes = mistakes.to_compile_error();
    if let Data::Union(_) = input.data {
        return mistakes;
    }
    let ident = &input.ident;
    let (generics, arguments, _) = input.generics.split_for_impl();
    let bounds = input.generics.where_clause.as_ref().map(|clause| &clause.predicates);
    let generic = (!input.generics.params.is_empty()).then(|| {
        quote!(Self: __rt::Serialize + __rt::DeserializeOwned + __rt::Send + __rt::Sync + 'static,)
    });
    quote! {
        #mistakes
        const _: () = {
            use #krate::__private as __rt;
            #[automatically_derived]
            impl #generics __rt::DomainEvent for #ident #arguments where #generic #bounds {
                const STREAM: &'static __rt::str = "";
                const TOPIC: &'static __rt::str = "";
                const DESCRIPTORS: &'static [__rt::EventDescriptor] = &[];
                fn descriptor(&self) -> &'static __rt::EventDescriptor {
                    &Self::DESCRIPTORS[0]
                }
                fn partition_key(&self) -> __rt::Key<'_> {
                    __rt::Key::None
                }
            }
        };
    }
}
