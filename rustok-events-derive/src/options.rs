//! `key = value, key, key(…)`: split, and held against the table of what there is.

use proc_macro2::{Delimiter, Group, Ident, Spacing, TokenStream, TokenTree};
use quote::ToTokens;

use crate::{errors::Errors, suggest, value};

/// Where an option stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    Struct,
    Enum,
    Variant,
    Field,
    Handler,
    Retry,
}

impl Place {
    /// As it is called in a message.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Struct => "a struct",
            Self::Enum => "an enum",
            Self::Variant => "a variant",
            Self::Field => "a field",
            Self::Handler => "a handler",
            Self::Retry => "`retry(…)`",
        }
    }
}

/// One option there is: the only list of names, places and examples, which every message is made from.
#[derive(Debug)]
pub(crate) struct Spec {
    pub(crate) name: &'static str,
    /// How it is written.
    pub(crate) example: &'static str,
    pub(crate) places: &'static [Place],
}

/// What follows an option's name.
#[derive(Debug)]
pub(crate) enum Value {
    /// Nothing.
    Flag,
    /// `= …`
    Assigned(TokenStream),
    /// `(…)`
    List(Group),
}

/// One option as it was given.
#[derive(Debug)]
pub(crate) struct Given {
    pub(crate) spec: &'static Spec,
    pub(crate) key: Ident,
    pub(crate) value: Value,
}

impl Given {
    /// The tokens after `=`.
    pub(crate) fn assigned(&self) -> syn::Result<&TokenStream> {
        match &self.value {
            Value::Assigned(tokens) => Ok(tokens),
            Value::Flag => Err(self.wrong_form(&self.key)),
            Value::List(group) => Err(self.wrong_form(group)),
        }
    }

    /// The tokens between parentheses.
    pub(crate) fn list(&self) -> syn::Result<&Group> {
        match &self.value {
            Value::List(group) => Ok(group),
            Value::Flag => Err(self.wrong_form(&self.key)),
            Value::Assigned(tokens) => Err(self.wrong_form(tokens)),
        }
    }

    fn wrong_form(&self, at: impl ToTokens) -> syn::Error {
        let Spec { name, example, .. } = self.spec;
        syn::Error::new_spanned(at, format!("`{name}` is written `{example}`"))
    }
}

/// The options of one place, each at most once.
pub(crate) struct Options {
    table: &'static [Spec],
    place: Place,
    pub(crate) given: Vec<Given>,
    /// Options that a misspelt word most likely means: they are not missing as well.
    pub(crate) meant: Vec<&'static str>,
}

impl Options {
    pub(crate) fn new(table: &'static [Spec], place: Place) -> Self {
        Self { table, place, given: Vec::new(), meant: Vec::new() }
    }

    /// Reads `key = value, …`; what cannot be read is reported and skipped up to the next comma.
    pub(crate) fn read(&mut self, tokens: TokenStream, errors: &Errors) {
        for part in split_at_commas(tokens) {
            self.meant.extend(self.meant_by(&part));
            if let Some(given) = errors.take(self.one(part)) {
                match self.given.iter().find(|earlier| earlier.spec.name == given.spec.name) {
                    Some(first) => {
                        let message = format!("`{}` is given twice", given.spec.name);
                        errors.twice(&first.key, &given.key, &message);
                    }
                    None => self.given.push(given),
                }
            }
        }
    }

    /// Takes an option out.
    pub(crate) fn take(&mut self, name: &str) -> Option<Given> {
        let index = self.given.iter().position(|given| given.spec.name == name)?;
        Some(self.given.remove(index))
    }

    fn one(&self, part: TokenStream) -> syn::Result<Given> {
        let mut tokens = part.clone().into_iter();
        let Some(TokenTree::Ident(key)) = tokens.next() else {
            return Err(syn::Error::new_spanned(part, self.expected()));
        };
        let spec = self.spec(&key)?;
        let value = match tokens.next() {
            None => Value::Flag,
            Some(TokenTree::Punct(punct)) if punct.as_char() == '=' => {
                let rest = TokenStream::from_iter(value::visible(tokens.by_ref().collect()));
                if let Some(next) = self.next_option(&rest) {
                    return Err(syn::Error::new_spanned(
                        &next,
                        format!("options are separated by commas: put one before `{next}`"),
                    ));
                }
                if rest.is_empty() {
                    let message = format!("`{key}` has no value: write `{}`", spec.example);
                    return Err(syn::Error::new_spanned(part, message));
                }
                Value::Assigned(rest)
            }
            Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Parenthesis => {
                Value::List(group)
            }
            Some(other) => return Err(syn::Error::new_spanned(other, unexpected(spec))),
        };
        match tokens.next() {
            Some(extra) => Err(syn::Error::new_spanned(extra, unexpected(spec))),
            None => Ok(Given { spec, key, value }),
        }
    }

    /// The option that a part is meant for, and any it has swallowed.
    fn meant_by(&self, part: &TokenStream) -> Vec<&'static str> {
        let words = part.clone().into_iter().enumerate();
        let meant = words.filter_map(|(index, token)| match token {
            TokenTree::Ident(word) if index == 0 => {
                suggest::nearest(&word.to_string(), self.names())
            }
            TokenTree::Ident(word) => self.names().find(|name| word == name),
            _ => None,
        });
        meant.collect()
    }

    /// The name of another option inside a value: a comma is missing before it.
    fn next_option(&self, value: &TokenStream) -> Option<Ident> {
        let tokens: Vec<TokenTree> = value.clone().into_iter().collect();
        tokens.windows(2).skip(1).find_map(|pair| match pair {
            [TokenTree::Ident(word), TokenTree::Punct(sign)]
                if sign.as_char() == '=' && self.names().any(|name| word == name) =>
            {
                Some(word.clone())
            }
            _ => None,
        })
    }

    fn spec(&self, key: &Ident) -> syn::Result<&'static Spec> {
        let word = key.to_string();
        let spec = self.table.iter().find(|spec| spec.name == word).ok_or_else(|| {
            let hint = suggest::did_you_mean(&word, self.names());
            let names = suggest::list(self.names());
            let place = self.place.name();
            let message = format!("unknown option `{word}`{hint}\n{place} takes {names}");
            syn::Error::new_spanned(key, message)
        })?;
        if spec.places.contains(&self.place) {
            return Ok(spec);
        }
        let places: Vec<_> = spec.places.iter().map(|place| place.name()).collect();
        let message = format!(
            "`{word}` does not belong on {}: it goes on {}",
            self.place.name(),
            one_of(&places)
        );
        Err(syn::Error::new_spanned(key, message))
    }

    /// The names that this place takes.
    fn names(&self) -> impl Iterator<Item = &'static str> {
        let place = self.place;
        self.table.iter().filter(move |spec| spec.places.contains(&place)).map(|spec| spec.name)
    }

    fn expected(&self) -> String {
        format!("expected an option: {} takes {}", self.place.name(), suggest::list(self.names()))
    }
}

/// `a`, `a or b`, `a, b or c`.
fn one_of(names: &[&str]) -> String {
    match names {
        [] => String::new(),
        [only] => (*only).to_owned(),
        [first @ .., last] => format!("{} or {last}", first.join(", ")),
    }
}

fn unexpected(spec: &Spec) -> String {
    format!("`{}` is written `{}`, and options are separated by commas", spec.name, spec.example)
}

/// Splits at the commas that are not inside brackets; `<` and `>` count as brackets, since the values are paths
/// and types. A trailing comma is fine.
fn split_at_commas(tokens: TokenStream) -> Vec<TokenStream> {
    let mut parts = vec![Vec::new()];
    let mut angles = 0_usize;
    let mut after_minus = false;
    for token in tokens {
        if let TokenTree::Punct(punct) = &token {
            match punct.as_char() {
                '<' => angles += 1,
                '>' if !after_minus => angles = angles.saturating_sub(1),
                ',' if angles == 0 => {
                    parts.push(Vec::new());
                    continue;
                }
                _ => {}
            }
            after_minus = punct.as_char() == '-' && punct.spacing() == Spacing::Joint;
        }
        if let Some(part) = parts.last_mut() {
            part.push(token);
        }
    }
    parts.into_iter().filter(|part| !part.is_empty()).map(TokenStream::from_iter).collect()
}
