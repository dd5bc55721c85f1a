//! What event types are called on the wire.

use proc_macro2::Ident;
use syn::{LitStr, ext::IdentExt};

use super::{ast::Shape, attr::Container};
use crate::{
    errors::Errors,
    value::{self, Text},
};

/// The name of a struct: its own, or its type's in snake case.
pub(super) fn of_struct(ident: &Ident, container: &Container, errors: &Errors) -> Option<Text> {
    match &container.name {
        Some((_, name)) => Some(name.clone()),
        None => derived(ident, &snake_case(ident), errors),
    }
}

/// The name of a variant: its own, or the enum's, a dot and the variant's in snake case.
pub(super) fn of_variant(
    own: Option<Text>,
    prefix: Option<&str>,
    variant: &Ident,
    errors: &Errors,
) -> Option<Text> {
    match own {
        Some(name) => Some(name),
        None => derived(variant, &format!("{}.{}", prefix?, snake_case(variant)), errors),
    }
}

/// What the names of an enum's variants begin with.
pub(super) fn prefix(ident: &Ident, container: &Container, errors: &Errors) -> Option<String> {
    match &container.name {
        None => Some(snake_case(ident)),
        Some((_, Text::Literal(literal))) => Some(literal.value()),
        Some((_, Text::Const(path))) => {
            errors.at(
                path,
                "the `name` of an enum begins its variants' names and must be a string: a constant can name a variant",
            );
            None
        }
    }
}

/// Reports a second variant of one name.
pub(super) fn check_distinct<'a>(
    names: impl Iterator<Item = (Shape<'a>, &'a Text)>,
    errors: &Errors,
) {
    let mut seen: Vec<(String, &Ident)> = Vec::new();
    for (shape, name) in names {
        let Text::Literal(name) = name else { continue };
        let name = name.value();
        match seen.iter().find(|(earlier, _)| *earlier == name) {
            Some((_, first)) => {
                let message = format!(
                    "two variants are named `{name}` on the wire: give one of them another with `#[domain_event(name = \"…\")]`"
                );
                errors.at(shape.ident(), message);
                errors.at(first, "the first of them");
            }
            None => seen.push((name, shape.ident())),
        }
    }
}

fn derived(ident: &Ident, name: &str, errors: &Errors) -> Option<Text> {
    if let Err(error) = value::check_name("name", name, ident) {
        let message = format!("{error}; write `name = \"…\"`");
        errors.at(ident, message);
        return None;
    }
    Some(Text::Literal(LitStr::new(name, ident.span())))
}

/// `OrderPlaced` → `order_placed`, `HTTPServerStarted` → `http_server_started`.
fn snake_case(ident: &Ident) -> String {
    let ident = ident.unraw().to_string();
    let letters: Vec<char> = ident.chars().collect();
    let mut snake = String::new();
    for (i, &letter) in letters.iter().enumerate() {
        let starts_word = letter.is_uppercase()
            && i > 0
            && letters[i - 1] != '_'
            && (!letters[i - 1].is_uppercase()
                || letters.get(i + 1).is_some_and(|next| next.is_lowercase()));
        if starts_word {
            snake.push('_');
        }
        snake.extend(letter.to_lowercase());
    }
    snake
}

#[cfg(test)]
mod tests {
    use quote::format_ident;

    use super::*;

    #[test]
    fn type_names_become_wire_names() {
        for (rust, wire) in [
            ("OrderPlaced", "order_placed"),
            ("OrderPlacedV2", "order_placed_v2"),
            ("HTTPServerStarted", "http_server_started"),
            ("Order2Placed", "order2_placed"),
            ("A", "a"),
            ("Order_Placed", "order_placed"),
        ] {
            assert_eq!(snake_case(&format_ident!("{rust}")), wire);
        }
        let raw: Ident = syn::parse_str("r#Type").expect("an identifier");
        assert_eq!(snake_case(&raw), "type");
    }
}
