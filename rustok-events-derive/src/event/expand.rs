//! From the model to the impl: constants, and one call each into the runtime crate.

use proc_macro2::{Ident, TokenStream};
use quote::{ToTokens, quote, quote_spanned};
use syn::{Member, Type};

use super::ast::{Event, EventType, KeyPath, KeySource, Shape};
use crate::{
    crate_path::CratePath,
    errors::blame,
    value::{Number, Text},
};

/// The impl of `DomainEvent`.
pub(super) fn expand(event: &Event<'_>, krate: &CratePath) -> TokenStream {
    let ident = &event.input.ident;
    let (stream, topic) = (&event.stream, &event.topic);
    let checks = checks(event);
    let descriptors = event.types.iter().map(|event_type| descriptor(event, event_type));
    let which = which(event);
    let key = key(event);
    let validate = event.validate.as_ref().map(|check| {
        quote! {
            fn validate_event(&self) -> __rt::Result<(), __rt::BoxError> {
                __rt::validate(self, #check)
            }
        }
    });
    let previous = event.previous.as_ref().map(|previous| {
        quote_spanned!(blame(previous)=> type __Previous = <#previous as __rt::Event>::Itself;)
    });
    let chain = event.previous.as_ref().map(chain);
    let superseded = event.previous.as_ref().map(|previous| superseded(ident, previous));
    quote! {
        const _: () = {
            use #krate::__private as __rt;
            use __rt::Unless as _;
            #previous
            #(#checks)*
            const __DESCRIPTORS: &[__rt::EventDescriptor] = &[#(#descriptors),*];
            #[automatically_derived]
            impl __rt::DomainEvent for #ident {
                const STREAM: &'static __rt::str = #stream;
                const TOPIC: &'static __rt::str = #topic;
                const DESCRIPTORS: &'static [__rt::EventDescriptor] = __DESCRIPTORS;
                const SUPERSEDED_BY: __rt::Option<&'static __rt::str> = Self::__SUPERSEDED_BY;
                fn descriptor(&self) -> &'static __rt::EventDescriptor {
                    &__DESCRIPTORS[#which]
                }
                fn partition_key(&self) -> __rt::Key<'_> {
                    #key
                }
                #validate
                #chain
            }
            #superseded
        };
    }
}

/// What only the compiler knows the value of is checked by the compiler.
fn checks(event: &Event<'_>) -> Vec<TokenStream> {
    let mut checks = Vec::new();
    let mut name = |what: &str, text: &Text| {
        if let Text::Const(path) = text {
            checks
                .push(quote_spanned!(blame(path)=> const _: () = __rt::check::name(#what, #path);));
        }
    };
    name("stream", &event.stream);
    name("topic", &event.topic);
    for event_type in &event.types {
        name("name", &event_type.name);
    }
    let mut number = |what: &str, number: &Option<Number>, max: u32| {
        if let Some(Number::Const(path)) = number {
            checks.push(
                quote_spanned!(blame(path)=> const _: () = __rt::check::number(#what, #path, #max);),
            );
        }
    };
    number("version", &event.version, u32::MAX);
    number("partitions", &event.partitions, super::attr::MAX_PARTITIONS);
    let ident = &event.input.ident;
    let named_by_const = |event_type: &EventType<'_>| matches!(event_type.name, Text::Const(_));
    if event.types.len() > 1 && event.types.iter().any(named_by_const) {
        checks.push(quote_spanned! {blame(ident)=>
            const _: () = __rt::check::distinct(__DESCRIPTORS);
        });
    }
    if let Some(previous) = &event.previous {
        checks.push(quote_spanned! {blame(previous)=>
            const _: () = __rt::check::follows::<#ident, __Previous>();
        });
    }
    checks
}

fn descriptor(event: &Event<'_>, event_type: &EventType<'_>) -> TokenStream {
    let ident = &event.input.ident;
    let (name, stream, topic) = (&event_type.name, &event.stream, &event.topic);
    let version = event.version.as_ref().map_or_else(|| quote!(1), ToTokens::to_token_stream);
    let partitions = event.partitions.as_ref().map(|count| quote!(.partitions(#count)));
    let scope = event.platform.then(|| quote!(.scope(__rt::Scope::Platform)));
    let declared_by = match event_type.shape {
        Shape::Struct(..) => format!("::{ident}"),
        Shape::Variant(variant) => format!("::{ident}::{}", variant.ident),
    };
    let key = match &event_type.key {
        KeySource::Tenant(_) => quote!("tenant"),
        KeySource::None(_) => quote!("none"),
        KeySource::Field(path) => {
            if path.rest.is_empty() {
                let first = first_type(event_type, &path.first);
                quote!(__rt::KeyType::<#first>::__KIND)
            } else {
                let inside = inside(event_type, path);
                quote!(#inside.kind)
            }
        }
    };
    quote! {
        __rt::EventDescriptor::new(#name, #version, #stream, #topic)
            #partitions
            #scope
            .declared_by(__rt::concat!(__rt::module_path!(), #declared_by))
            .key_type(#key)
    }
}

/// The type of a key's first field.
fn first_type<'a>(event_type: &'a EventType<'_>, first: &Member) -> Option<&'a Type> {
    let fields = event_type.shape.fields();
    fields.members().zip(fields).find(|(member, _)| member == first).map(|(_, field)| &field.ty)
}

/// The index of a value's descriptor.
fn which(event: &Event<'_>) -> TokenStream {
    match &event.types[..] {
        [EventType { shape: Shape::Struct(..), .. }] => quote!(0),
        types => {
            let arms = types.iter().enumerate().map(|(index, event_type)| {
                let variant = event_type.shape.ident();
                quote!(Self::#variant { .. } => #index,)
            });
            quote!(match self { #(#arms)* })
        }
    }
}

/// A key inside a field. Written alike wherever it is needed, so that a mistake in it is one error.
fn inside(event_type: &EventType<'_>, path: &KeyPath) -> TokenStream {
    let (first, rest) = (first_type(event_type, &path.first), path.rest());
    quote_spanned!(blame(path)=> __rt::key_inside(|key: &#first| &key #rest))
}

/// The key of a value.
fn key(event: &Event<'_>) -> TokenStream {
    if let [event_type @ EventType { shape: Shape::Struct(..), .. }] = &event.types[..] {
        return key_of(event_type, |first| quote_spanned!(blame(first)=> &self.#first));
    }
    let arms = event.types.iter().map(|event_type| {
        let variant = event_type.shape.ident();
        let pattern = match &event_type.key {
            KeySource::Field(path) => {
                let first = &path.first;
                quote!(#first: __key,)
            }
            KeySource::Tenant(_) | KeySource::None(_) => TokenStream::new(),
        };
        let key = key_of(event_type, |first| quote_spanned!(blame(first)=> __key));
        quote!(Self::#variant { #pattern .. } => #key,)
    });
    quote!(match self { #(#arms)* })
}

/// The key of an event type, given a reference to its first field.
fn key_of(
    event_type: &EventType<'_>,
    reference: impl FnOnce(&Member) -> TokenStream,
) -> TokenStream {
    match &event_type.key {
        KeySource::Tenant(_) => quote!(__rt::Key::Tenant),
        KeySource::None(_) => quote!(__rt::Key::None),
        KeySource::Field(path) => {
            let reference = reference(&path.first);
            if path.rest.is_empty() {
                quote_spanned!(blame(path)=> __rt::Key::of(#reference))
            } else {
                let inside = inside(event_type, path);
                quote_spanned!(blame(path)=> #inside.of(#reference))
            }
        }
    }
}

/// How older payloads are read, and which versions there were.
fn chain(previous: &Type) -> TokenStream {
    let previous = Ident::new("__Previous", blame(previous));
    quote! {
        const LINEAGE: __rt::Lineage =
            __rt::Lineage::after(__DESCRIPTORS, &<#previous as __rt::DomainEvent>::LINEAGE);
        fn decode_event<__P: __rt::Payload>(
            name: &__rt::str,
            version: __rt::u32,
            payload: &__P,
        ) -> __rt::Result<Self, __rt::DecodeError> {
            __rt::decode_version::<Self, #previous, __P>(name, version, payload)
        }
    }
}

/// Marks the version before: it can be read, no longer published.
fn superseded(ident: &Ident, previous: &Type) -> TokenStream {
    let by = ident.to_string();
    quote_spanned! {blame(previous)=>
        #[automatically_derived]
        impl #previous {
            #[doc(hidden)]
            pub const __SUPERSEDED_BY: __rt::Option<&'static __rt::str> = __rt::Some(#by);
        }
    }
}
