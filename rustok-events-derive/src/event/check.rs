//! From a declaration to its model: one function per rule.

use proc_macro2::Ident;
use syn::{Data, DataEnum, DeriveInput, Fields, Type};

use super::{
    ast::{Event, EventType, Shape},
    attr::{Container, OfVariant},
    key::{self, Keys},
    names,
};
use crate::{errors::Errors, suggest, value::Number};

/// The model of a declaration. `None` only where a mistake was reported.
pub(super) fn event<'a>(
    input: &'a DeriveInput,
    container: Container,
    errors: &Errors,
) -> Option<Event<'a>> {
    check_generics(input, errors);
    check_missing(input, &container, errors);
    check_previous(&input.ident, &container, errors);
    let types = match &input.data {
        Data::Struct(data) => of_struct(&input.ident, &data.fields, &container, errors),
        Data::Enum(data) => of_enum(&input.ident, data, &container, errors),
        Data::Union(data) => {
            errors.at(
                data.union_token,
                "a union cannot be an event, since its bytes do not say what it is: use a struct or an enum",
            );
            None
        }
    };
    Some(Event {
        input,
        stream: container.stream?,
        topic: container.topic?,
        version: container.version.map(|(_, version)| version),
        previous: container.previous,
        partitions: container.partitions,
        validate: container.validate,
        platform: container.platform,
        types: types?,
    })
}

/// An event's bytes outlive the program: its type is one type.
fn check_generics(input: &DeriveInput, errors: &Errors) {
    if !input.generics.params.is_empty() {
        errors.at(
            &input.generics,
            "an event has no generic parameters, since its bytes must mean the same for ever: declare one event per type",
        );
    }
}

/// Stream and topic are given. Without the attribute all that is required is told in one.
fn check_missing(input: &DeriveInput, container: &Container, errors: &Errors) {
    let Some(attribute) = &container.attribute else {
        let ident = &input.ident;
        errors.at(
            ident,
            format!(
                "`{ident}` does not say where it goes\n\
                 add `#[domain_event(stream = \"…\", topic = \"…\", partition_key = …)]` to it"
            ),
        );
        return;
    };
    if container.malformed {
        return;
    }
    let missing: Vec<_> = super::attr::TABLE
        .iter()
        .filter(|spec| matches!(spec.name, "stream" | "topic"))
        .filter(|spec| !container.given.contains(&spec.name))
        .collect();
    if !missing.is_empty() {
        let names: Vec<_> = missing.iter().map(|spec| format!("`{}`", spec.name)).collect();
        let examples: Vec<_> = missing.iter().map(|spec| format!("`{}`", spec.example)).collect();
        errors.at(
            attribute,
            format!("missing {}: add {}", names.join(" and "), examples.join(" and ")),
        );
    }
}

/// A version after another is 2 or later, and is not its own predecessor.
fn check_previous(ident: &Ident, container: &Container, errors: &Errors) {
    let Some(previous) = &container.previous else { return };
    if let Type::Path(path) = previous
        && (path.path.is_ident(ident) || path.path.is_ident("Self"))
    {
        errors.at(previous, "an event is not its own previous version: name the type before it");
    }
    match &container.version {
        Some((_, Number::Literal(1, literal))) => {
            errors.at(
                literal,
                "version 1 has no previous version: with `previous`, write `version = 2` or later",
            );
        }
        None if !container.given.contains(&"version") => {
            errors.at(
                previous,
                "with `previous`, the version must be written: `version = 2` or later",
            );
        }
        _ => {}
    }
}

fn of_struct<'a>(
    ident: &'a Ident,
    fields: &'a Fields,
    container: &Container,
    errors: &Errors,
) -> Option<Vec<EventType<'a>>> {
    let shape = Shape::Struct(ident, fields);
    let name = names::of_struct(ident, container, errors);
    let keys = Keys { own: container.key.as_ref(), inherited: None };
    let key = key::of(shape, &keys, errors);
    if key.is_none() && container.attribute.is_some() && !container.given.contains(&"partition_key")
    {
        check_has_key(&[shape], container, errors);
    }
    Some(vec![EventType { shape, name: name?, key: key? }])
}

fn of_enum<'a>(
    ident: &'a Ident,
    data: &'a DataEnum,
    container: &Container,
    errors: &Errors,
) -> Option<Vec<EventType<'a>>> {
    if data.variants.is_empty() {
        errors.at(ident, "an enum without variants has no events: add one");
        return None;
    }
    let prefix = names::prefix(ident, container, errors);
    let mut types = Vec::new();
    let mut keyless = Vec::new();
    for variant in &data.variants {
        let shape = Shape::Variant(variant);
        let own = OfVariant::read(&variant.attrs, errors);
        let name = names::of_variant(own.name, prefix.as_deref(), &variant.ident, errors);
        let keys = Keys { own: own.key.as_ref(), inherited: container.key.as_ref() };
        let key =
            if own.key_given && own.key.is_none() { None } else { key::of(shape, &keys, errors) };
        if key.is_none() && !own.key_given {
            keyless.push(shape);
        }
        if let (Some(name), Some(key)) = (name, key) {
            types.push(EventType { shape, name, key });
        }
    }
    let may_say = container.attribute.is_some() && !container.given.contains(&"partition_key");
    if !keyless.is_empty() && may_say {
        check_has_key(&keyless, container, errors);
    }
    names::check_distinct(types.iter().map(|event| (event.shape, &event.name)), errors);
    Some(types)
}

/// Every event type says what it is ordered by.
fn check_has_key(keyless: &[Shape<'_>], container: &Container, errors: &Errors) {
    let Some(attribute) = container.attribute.as_ref().filter(|_| !container.malformed) else {
        return;
    };
    let field = keyless[0].fields().iter().find_map(|field| field.ident.as_ref());
    let example = field.map_or_else(|| "order_id".to_owned(), ToString::to_string);
    let who = suggest::list(
        keyless
            .iter()
            .map(|shape| shape.ident().to_string())
            .collect::<Vec<_>>()
            .iter()
            .map(String::as_str),
    );
    errors.at(
        attribute,
        format!(
            "missing `partition_key` for {who}\n\
             name the field whose events keep their order, such as `partition_key = {example}`, or put \
             `#[domain_event(partition_key)]` on it\n\
             `partition_key = tenant` keeps a tenant's events in order; `partition_key = none` keeps no order"
        ),
    );
}
