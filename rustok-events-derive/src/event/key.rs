//! Which key an event type has: its own, a field's, or its enum's.

use proc_macro2::Ident;
use quote::ToTokens;
use syn::Member;

use super::{
    ast::{KeyPath, KeySource, Shape},
    attr,
};
use crate::{errors::Errors, suggest};

/// Who says what an event type is keyed by.
pub(super) struct Keys<'a> {
    /// The option on the struct or the variant itself.
    pub(super) own: Option<&'a (Ident, KeySource)>,
    /// The option on the enum, for variants that say nothing.
    pub(super) inherited: Option<&'a (Ident, KeySource)>,
}

/// The key of an event type; `Ok(None)` if nothing names one.
///
/// Reports a second key, a field there is not, and a bare word beside a field of its name.
pub(super) fn of(shape: Shape<'_>, keys: &Keys<'_>, errors: &Errors) -> Option<KeySource> {
    let mut first = keys.own.map(|(option, _)| option.clone());
    let mut key = keys.own.map(|(_, source)| source.clone());
    for (field, member) in shape.fields().iter().zip(shape.fields().members()) {
        let Some(option) = attr::field_key(&field.attrs, errors) else { continue };
        if let Some(first) = &first {
            errors.twice(
                first,
                &option,
                "an event has one partition key; to order by several fields, give it one field that is a tuple of them",
            );
            continue;
        }
        first = Some(option);
        key = Some(KeySource::Field(KeyPath { first: member, rest: Vec::new() }));
    }
    match key {
        Some(key) => {
            if keys.own.is_some() {
                check_fields(shape, &key, errors);
            }
            Some(key)
        }
        None if first.is_some() => None,
        None => {
            let (_, source) = keys.inherited?;
            check_fields(shape, source, errors);
            Some(source.clone())
        }
    }
}

fn check_fields(shape: Shape<'_>, source: &KeySource, errors: &Errors) {
    match source {
        KeySource::Field(path) => check_exists(shape, path, errors),
        KeySource::Tenant(word) | KeySource::None(word) => check_word(shape, word, errors),
    }
}

/// The first name of a key is one of the event's own fields; the compiler checks the rest.
fn check_exists(shape: Shape<'_>, path: &KeyPath, errors: &Errors) {
    let members: Vec<Member> = shape.fields().members().collect();
    if members.contains(&path.first) {
        return;
    }
    let wanted = path.first.to_token_stream().to_string();
    let names: Vec<String> =
        members.iter().map(|member| member.to_token_stream().to_string()).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let called = shape.called();
    let hint = suggest::did_you_mean(&wanted, names.iter().copied());
    let instead = if names.is_empty() {
        "it has no fields at all: write `partition_key = tenant` or `partition_key = none`"
            .to_owned()
    } else {
        format!("its fields are {}", suggest::list(names.iter().copied()))
    };
    let own = match shape {
        Shape::Variant(_) if !names.is_empty() => {
            "\na variant may have a key of its own: `#[domain_event(partition_key = …)]` on it"
        }
        _ => "",
    };
    let message = format!("{called} has no field `{wanted}`{hint}\n{instead}{own}");
    errors.at(&path.first, message);
}

/// `tenant` and `none` are words of their own, and a field of that name may be what was meant.
fn check_word(shape: Shape<'_>, word: &Ident, errors: &Errors) {
    let named = Member::Named(word.clone());
    if shape.fields().members().any(|member| member == named) {
        let called = shape.called();
        errors.at(
            word,
            format!(
                "`{word}` is a word of its own here, and {called} has a field of that name\n\
                 to order by the field, put `#[domain_event(partition_key)]` on it instead; \
                 otherwise rename the field"
            ),
        );
    }
}
