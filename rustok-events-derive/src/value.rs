//! What options are given: text, numbers, words, paths, durations.

use std::time::Duration;

use proc_macro2::{Delimiter, Span, TokenStream, TokenTree};
use quote::{ToTokens, quote};
use syn::{Expr, ExprPath, Lit, LitInt, LitStr, Path, Type, parse::Parser};

use crate::{options::Given, suggest};

/// A name: a literal, checked here, or a constant, checked where the compiler knows its value.
#[derive(Clone)]
pub(crate) enum Text {
    Literal(LitStr),
    Const(Path),
}

impl ToTokens for Text {
    fn to_tokens(&self, tokens: &mut TokenStream) {
        match self {
            Self::Literal(literal) => literal.to_tokens(tokens),
            Self::Const(path) => path.to_tokens(tokens),
        }
    }
}

/// A whole number: a literal, checked here, or a constant, checked where the compiler knows its value.
#[derive(Clone)]
pub(crate) enum Number {
    Literal(u32, LitInt),
    Const(Path),
}

impl ToTokens for Number {
    fn to_tokens(&self, tokens: &mut TokenStream) {
        match self {
            Self::Literal(number, literal) => {
                LitInt::new(&number.to_string(), literal.span()).to_tokens(tokens);
            }
            Self::Const(path) => path.to_tokens(tokens),
        }
    }
}

/// A name on the wire: 1 to 255 bytes of `[a-z0-9._-]`, or a constant that holds one.
pub(crate) fn name(given: &Given) -> syn::Result<Text> {
    let tokens = given.assigned()?;
    match syn::parse2::<Expr>(tokens.clone()) {
        Ok(Expr::Lit(literal)) => match literal.lit {
            Lit::Str(literal) => {
                check_name(given.spec.name, &literal.value(), &literal)?;
                Ok(Text::Literal(literal))
            }
            other => Err(not_a_string(given, &other, &other.to_token_stream().to_string())),
        },
        Ok(Expr::Path(path)) if is_const(&path.path) => Ok(Text::Const(path.path)),
        _ => Err(not_a_string(given, tokens, &tokens.to_string())),
    }
}

fn not_a_string(given: &Given, at: impl ToTokens, said: &str) -> syn::Error {
    let key = given.spec.name;
    let plain: String = said.chars().filter(|c| !c.is_whitespace()).collect();
    let message = if problem_of_name(&plain).is_none() {
        format!("`{key}` takes a string: write `{key} = \"{plain}\"`, or name a constant")
    } else {
        format!("`{key}` takes a string, such as `{}`, or a constant", given.spec.example)
    };
    syn::Error::new_spanned(at, message)
}

/// Whether a path is spelt as constants are.
fn is_const(path: &Path) -> bool {
    path.segments.last().is_some_and(|last| {
        last.arguments.is_none() && !last.ident.to_string().contains(char::is_lowercase)
    })
}

/// Reports a name that cannot travel.
pub(crate) fn check_name(what: &str, name: &str, at: impl ToTokens) -> syn::Result<()> {
    match problem_of_name(name) {
        None => Ok(()),
        Some(problem) => {
            let better: String = name
                .chars()
                .map(|c| if c.is_whitespace() || c == '/' { '-' } else { c })
                .flat_map(char::to_lowercase)
                .collect();
            let hint = if better != name && problem_of_name(&better).is_none() {
                format!("; `\"{better}\"` would do")
            } else {
                String::new()
            };
            Err(syn::Error::new_spanned(
                at,
                format!("`{what}` {problem}: it has 1 to 255 bytes of `[a-z0-9._-]`{hint}"),
            ))
        }
    }
}

fn problem_of_name(name: &str) -> Option<String> {
    if name.is_empty() {
        return Some("is empty".to_owned());
    }
    if name.len() > 255 {
        return Some(format!("has {} bytes", name.len()));
    }
    let wrong = name.chars().find(|c| !matches!(c, 'a'..='z' | '0'..='9' | '.' | '_' | '-'))?;
    Some(format!("cannot contain {wrong:?}"))
}

/// A whole number in a range, or a constant that holds one.
pub(crate) fn number(given: &Given, max: u32) -> syn::Result<Number> {
    let key = given.spec.name;
    let tokens = given.assigned()?;
    let too_large = tokens.to_string().len() > 9;
    let range = match max {
        u32::MAX if !too_large => "of at least 1".to_owned(),
        max => format!("from 1 to {max}"),
    };
    let refuse = |at: &dyn ToTokens, end: &str| {
        let message = format!("`{key}` takes a whole number {range}{end}");
        Err(syn::Error::new_spanned(at.to_token_stream(), message))
    };
    match syn::parse2::<Expr>(tokens.clone()) {
        Ok(Expr::Lit(literal)) => match literal.lit {
            Lit::Int(literal) => match literal.base10_parse::<u32>() {
                Ok(number) if (1..=max).contains(&number) => Ok(Number::Literal(number, literal)),
                _ => refuse(&literal, ""),
            },
            Lit::Str(text) if text.value().parse::<u32>().is_ok() => {
                refuse(&text, &format!(", without quotes: `{key} = {}`", text.value()))
            }
            other => refuse(&other, &format!(", such as `{}`", given.spec.example)),
        },
        Ok(Expr::Path(path)) if is_const(&path.path) => Ok(Number::Const(path.path)),
        _ => refuse(tokens, &format!(", such as `{}`", given.spec.example)),
    }
}

/// The only word there is.
pub(crate) fn word(given: &Given, word: &str, otherwise: &str) -> syn::Result<()> {
    let tokens = given.assigned()?;
    let said = tokens.to_string();
    if said == word {
        return Ok(());
    }
    let key = given.spec.name;
    let hint = match said.trim_matches('"') {
        same if same == word => ", without quotes".to_owned(),
        other => suggest::did_you_mean(other, [word]),
    };
    let message = format!("`{key}` takes only `{key} = {word}`{hint}\n{otherwise}");
    Err(syn::Error::new_spanned(tokens, message))
}

/// The path of a function.
pub(crate) fn function(given: &Given) -> syn::Result<ExprPath> {
    parsed(given, "takes the path of a function", syn::parse2)
}

/// A type.
pub(crate) fn ty(given: &Given) -> syn::Result<Type> {
    let ty = parsed(given, "takes a type", syn::parse2)?;
    match ty {
        Type::Path(_) | Type::Group(_) => Ok(ty),
        other => Err(wrong(given, other, "takes a type")),
    }
}

/// A path of modules.
pub(crate) fn path(given: &Given) -> syn::Result<Path> {
    parsed(given, "takes the path of the crate", |tokens| Path::parse_mod_style.parse2(tokens))
}

fn parsed<T>(
    given: &Given,
    takes: &str,
    parse: impl FnOnce(TokenStream) -> syn::Result<T>,
) -> syn::Result<T> {
    let tokens = given.assigned()?;
    parse(tokens.clone()).map_err(|_| wrong(given, tokens, takes))
}

fn wrong(given: &Given, at: impl ToTokens, takes: &str) -> syn::Error {
    let (key, example) = (given.spec.name, given.spec.example);
    syn::Error::new_spanned(at, format!("`{key}` {takes}: `{example}`"))
}

/// A span of time: `"100ms"`, `"30s"`, `"5m"`, `"1h"`.
#[derive(Clone)]
pub(crate) struct Time {
    pub(crate) time: Duration,
    pub(crate) at: LitStr,
}

impl ToTokens for Time {
    fn to_tokens(&self, tokens: &mut TokenStream) {
        let millis = u64::try_from(self.time.as_millis()).unwrap_or(u64::MAX);
        let millis = LitInt::new(&millis.to_string(), Span::call_site());
        tokens.extend(quote!(__rt::Duration::from_millis(#millis)));
    }
}

/// Reads a span of time.
pub(crate) fn duration(given: &Given) -> syn::Result<Time> {
    let tokens = given.assigned()?;
    let key = given.spec.name;
    let takes = format!(
        "`{key}` takes a time with its unit, one of `ms`, `s`, `m`, `h`: `{}`",
        given.spec.example
    );
    let at: LitStr =
        syn::parse2(tokens.clone()).map_err(|_| syn::Error::new_spanned(tokens, &takes))?;
    let text = at.value();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (count, unit) = text.split_at(digits);
    let millis = match unit.trim() {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err(syn::Error::new_spanned(at, takes)),
    };
    match count.parse::<u32>().ok().and_then(|count| u64::from(count).checked_mul(millis)) {
        None => Err(syn::Error::new_spanned(at, takes)),
        Some(0) => Err(syn::Error::new_spanned(at, format!("`{key}` is at least `\"1ms\"`"))),
        Some(millis) => Ok(Time { time: Duration::from_millis(millis), at }),
    }
}

/// Tokens without the invisible groups that macros by example put around what they pass on.
pub(crate) fn visible(tokens: TokenStream) -> Vec<TokenTree> {
    tokens
        .into_iter()
        .flat_map(|token| match token {
            TokenTree::Group(group) if group.delimiter() == Delimiter::None => {
                visible(group.stream())
            }
            other => vec![other],
        })
        .collect()
}
