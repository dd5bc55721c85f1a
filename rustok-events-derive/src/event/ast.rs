//! The model: what a declaration says, once it is known to be right.

use proc_macro2::{Ident, TokenStream};
use quote::{ToTokens, quote};
use syn::{DeriveInput, ExprPath, Fields, Member, Type, Variant};

use crate::value::{Number, Text};

/// A derive's input and all that it declares.
pub(crate) struct Event<'a> {
    pub(crate) input: &'a DeriveInput,
    pub(crate) stream: Text,
    pub(crate) topic: Text,
    pub(crate) version: Option<Number>,
    pub(crate) previous: Option<Type>,
    pub(crate) partitions: Option<Number>,
    pub(crate) validate: Option<ExprPath>,
    pub(crate) platform: bool,
    /// One for a struct, one per variant for an enum.
    pub(crate) types: Vec<EventType<'a>>,
}

/// One event type.
pub(crate) struct EventType<'a> {
    pub(crate) shape: Shape<'a>,
    pub(crate) name: Text,
    pub(crate) key: KeySource,
}

/// Where an event type's fields are.
#[derive(Clone, Copy)]
pub(crate) enum Shape<'a> {
    Struct(&'a Ident, &'a Fields),
    Variant(&'a Variant),
}

impl<'a> Shape<'a> {
    pub(crate) fn fields(self) -> &'a Fields {
        match self {
            Self::Struct(_, fields) => fields,
            Self::Variant(variant) => &variant.fields,
        }
    }

    pub(crate) fn ident(self) -> &'a Ident {
        match self {
            Self::Struct(ident, _) => ident,
            Self::Variant(variant) => &variant.ident,
        }
    }

    /// As it is called in a message.
    pub(crate) fn called(self) -> String {
        match self {
            Self::Struct(ident, _) => format!("`{ident}`"),
            Self::Variant(variant) => format!("variant `{}`", variant.ident),
        }
    }
}

/// What keeps its order.
#[derive(Clone)]
pub(crate) enum KeySource {
    Field(KeyPath),
    Tenant(Ident),
    None(Ident),
}

/// `order_id`, `order.id`, `0.id`.
#[derive(Clone)]
pub(crate) struct KeyPath {
    pub(crate) first: Member,
    pub(crate) rest: Vec<Member>,
}

impl KeyPath {
    /// `.b.c` of `a.b.c`.
    pub(crate) fn rest(&self) -> TokenStream {
        let rest = &self.rest;
        quote!(#(.#rest)*)
    }
}

impl ToTokens for KeyPath {
    fn to_tokens(&self, tokens: &mut TokenStream) {
        let (first, rest) = (&self.first, self.rest());
        tokens.extend(quote!(#first #rest));
    }
}
