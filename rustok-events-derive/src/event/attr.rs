//! `#[domain_event(…)]`: the options there are, and what was given.

use proc_macro2::{Ident, TokenStream, TokenTree};
use syn::{Attribute, ExprPath, Index, Member, Meta, Type};

use super::ast::{KeyPath, KeySource};
use crate::{
    crate_path::CratePath,
    errors::Errors,
    options::{Given, Options, Place, Spec, Value},
    value::{self, Number, Text},
};

const CONTAINER: &[Place] = &[Place::Struct, Place::Enum];

/// Every option of `#[domain_event(…)]`.
pub(crate) const TABLE: &[Spec] = &[
    Spec { name: "stream", example: "stream = \"commerce\"", places: CONTAINER },
    Spec { name: "topic", example: "topic = \"orders\"", places: CONTAINER },
    Spec {
        name: "partition_key",
        example: "partition_key = order_id",
        places: &[Place::Struct, Place::Enum, Place::Variant, Place::Field],
    },
    Spec {
        name: "name",
        example: "name = \"order.placed\"",
        places: &[Place::Struct, Place::Enum, Place::Variant],
    },
    Spec { name: "version", example: "version = 2", places: CONTAINER },
    Spec { name: "previous", example: "previous = OrderPlacedV1", places: CONTAINER },
    Spec { name: "partitions", example: "partitions = 8", places: CONTAINER },
    Spec { name: "validate", example: "validate = Self::check", places: CONTAINER },
    Spec { name: "scope", example: "scope = platform", places: CONTAINER },
    Spec { name: "crate", example: "crate = path::to::rustok_events", places: CONTAINER },
];

/// The most partitions a topic can be provisioned with.
pub(crate) const MAX_PARTITIONS: u32 = 1000;

/// What the container's attribute gave.
#[derive(Default)]
pub(crate) struct Container {
    /// The attribute's name, for what is missing in it.
    pub(crate) attribute: Option<syn::Path>,
    /// Which options were given, rightly or wrongly: they are not missing.
    pub(crate) given: Vec<&'static str>,
    /// The attribute could not be read at all.
    pub(crate) malformed: bool,
    pub(crate) stream: Option<Text>,
    pub(crate) topic: Option<Text>,
    pub(crate) name: Option<(Ident, Text)>,
    pub(crate) version: Option<(Ident, Number)>,
    pub(crate) previous: Option<Type>,
    pub(crate) partitions: Option<Number>,
    pub(crate) validate: Option<ExprPath>,
    pub(crate) platform: bool,
    pub(crate) krate: CratePath,
    pub(crate) key: Option<(Ident, KeySource)>,
}

impl Container {
    pub(crate) fn read(attributes: &[Attribute], place: Place, errors: &Errors) -> Self {
        let mut options = read_options(attributes, place, errors);
        let mut read = Self {
            malformed: own(attributes).any(|attribute| !matches!(attribute.meta, Meta::List(_))),
            attribute: own(attributes).next().map(|attribute| attribute.path().clone()),
            given: options
                .given
                .iter()
                .map(|given| given.spec.name)
                .chain(options.meant.iter().copied())
                .collect(),
            ..Self::default()
        };
        let mut text = |name: &str| {
            let given = options.take(name)?;
            Some((given.key.clone(), errors.take(value::name(&given))?))
        };
        read.stream = text("stream").map(|(_, text)| text);
        read.topic = text("topic").map(|(_, text)| text);
        read.name = text("name");
        if let Some(given) = options.take("version") {
            read.version = errors.take(value::number(&given, u32::MAX)).map(|n| (given.key, n));
        }
        if let Some(given) = options.take("partitions") {
            read.partitions = errors.take(value::number(&given, MAX_PARTITIONS));
        }
        if let Some(given) = options.take("previous") {
            read.previous = errors.take(value::ty(&given));
        }
        if let Some(given) = options.take("validate") {
            read.validate = errors.take(value::function(&given));
        }
        if let Some(given) = options.take("scope") {
            let otherwise = "without it, the event belongs to a tenant";
            read.platform = errors.take(value::word(&given, "platform", otherwise)).is_some();
        }
        if let Some(given) = options.take("crate") {
            read.krate = CratePath(errors.take(value::path(&given)));
        }
        if let Some(given) = options.take("partition_key") {
            read.key = errors.take(key_source(&given)).map(|source| (given.key, source));
        }
        read
    }
}

/// What a variant's attribute gave.
#[derive(Default)]
pub(crate) struct OfVariant {
    pub(crate) name: Option<Text>,
    pub(crate) key: Option<(Ident, KeySource)>,
    /// It has a key of its own, even if it could not be read.
    pub(crate) key_given: bool,
}

impl OfVariant {
    pub(crate) fn read(attributes: &[Attribute], errors: &Errors) -> Self {
        let mut options = read_options(attributes, Place::Variant, errors);
        let mut read = Self::default();
        if let Some(given) = options.take("name") {
            read.name = errors.take(value::name(&given));
        }
        if let Some(given) = options.take("partition_key") {
            read.key_given = true;
            read.key = errors.take(key_source(&given)).map(|source| (given.key, source));
        }
        read
    }
}

/// The `partition_key` of a field's attribute, if it has one.
pub(crate) fn field_key(attributes: &[Attribute], errors: &Errors) -> Option<Ident> {
    let mut options = read_options(attributes, Place::Field, errors);
    let given = options.take("partition_key")?;
    match &given.value {
        Value::Flag => {}
        Value::Assigned(tokens) => errors.at(tokens, BARE),
        Value::List(group) => errors.at(group, BARE),
    }
    Some(given.key)
}

const BARE: &str = "on a field, `partition_key` stands alone: `#[domain_event(partition_key)]`";

fn own(attributes: &[Attribute]) -> impl Iterator<Item = &Attribute> {
    attributes.iter().filter(|attribute| attribute.path().is_ident("domain_event"))
}

fn read_options(attributes: &[Attribute], place: Place, errors: &Errors) -> Options {
    let mut options = Options::new(TABLE, place);
    for attribute in own(attributes) {
        match &attribute.meta {
            Meta::List(list) => options.read(list.tokens.clone(), errors),
            other => errors.at(other, "options go in parentheses: `#[domain_event(…)]`"),
        }
    }
    options
}

const ONE_FIELD: &str =
    "`partition_key` names one field, such as `order_id` or `order.id`, or is `tenant` or `none`";

/// Reads `order_id`, `order.id`, `0`, `0.id`, `tenant`, `none`.
fn key_source(given: &Given) -> syn::Result<KeySource> {
    if matches!(given.value, Value::Flag) {
        return Err(syn::Error::new_spanned(
            &given.key,
            "`partition_key` has no value: name a field, or write `tenant` or `none`; alone it stands on a field",
        ));
    }
    let tokens = given.assigned()?;
    let refuse = |message: &str| Err(syn::Error::new_spanned(tokens, message));
    let visible: Vec<TokenTree> = tokens.clone().into_iter().collect();
    if let [TokenTree::Ident(word)] = &visible[..] {
        match word.to_string().as_str() {
            "tenant" => return Ok(KeySource::Tenant(word.clone())),
            "none" => return Ok(KeySource::None(word.clone())),
            _ => {}
        }
    }
    if let [TokenTree::Literal(literal)] = &visible[..]
        && let Ok(text) = syn::parse_str::<syn::LitStr>(&literal.to_string())
    {
        return refuse(&format!(
            "a field is named without quotes: `partition_key = {}`",
            text.value()
        ));
    }
    if let [TokenTree::Ident(word), TokenTree::Punct(dot), rest @ ..] = &visible[..]
        && *word == "self"
        && dot.as_char() == '.'
    {
        let rest: TokenStream = rest.iter().cloned().collect();
        return refuse(&format!("a field is named without `self`: `partition_key = {rest}`"));
    }
    if let [TokenTree::Group(_)] = &visible[..] {
        return refuse(&format!(
            "{ONE_FIELD}; to order by several fields, give the event one field that is a tuple of them"
        ));
    }
    let Some(members) = members(&visible) else {
        return refuse(ONE_FIELD);
    };
    let mut members = members.into_iter();
    match members.next() {
        Some(first) => Ok(KeySource::Field(KeyPath { first, rest: members.collect() })),
        None => refuse(ONE_FIELD),
    }
}

/// `a.b.0.1`: names and indices between dots, of which the lexer makes floats.
fn members(tokens: &[TokenTree]) -> Option<Vec<Member>> {
    let mut members = Vec::new();
    let mut dotted = true;
    for token in tokens {
        match token {
            TokenTree::Punct(punct) if punct.as_char() == '.' && !dotted => dotted = true,
            TokenTree::Ident(ident) if dotted && *ident != "self" => {
                members.push(Member::Named(ident.clone()));
                dotted = false;
            }
            TokenTree::Literal(literal) if dotted => {
                let text = literal.to_string();
                for index in text.split_terminator('.') {
                    let index = index.parse().ok()?;
                    members.push(Member::Unnamed(Index { index, span: literal.span() }));
                }
                dotted = text.ends_with('.');
            }
            _ => return None,
        }
    }
    (!dotted).then_some(members)
}
