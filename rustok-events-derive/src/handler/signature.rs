//! The handler's own shape: `async fn(ctx: &mut HandlerContext<'_, State>, event: E) -> HandlerResult`.

use proc_macro2::{Ident, TokenTree};
use quote::ToTokens;
use syn::{
    FnArg, GenericArgument, GenericParam, ItemFn, PathArguments, ReturnType, Safety, Type,
    TypeReference,
};

use crate::{errors::Errors, value};

/// What the expansion needs to know of a function.
pub(super) struct Signature<'a> {
    /// `&mut HandlerContext<'_, State>`
    pub(super) context: &'a Type,
    /// `State`
    pub(super) state: &'a Type,
    /// `E`, `Envelope<E>` or `Batch<E>`
    pub(super) input: &'a Type,
    pub(super) output: &'a Type,
}

impl<'a> Signature<'a> {
    /// Reads and checks a function's signature. `None` only where a mistake was reported.
    pub(super) fn read(function: &'a ItemFn, detached: bool, errors: &Errors) -> Option<Self> {
        let signature = &function.sig;
        if signature.asyncness.is_none() {
            errors.at(
                signature.fn_token,
                format!("a handler is asynchronous: write `async fn {}`", signature.ident),
            );
        }
        if let Some(token) = &signature.constness {
            errors.at(token, "a handler cannot be `const`");
        }
        match &signature.safety {
            Safety::Default => {}
            other => errors.at(other, "a handler is safe to call: put the unsafe part in its body"),
        }
        if let Some(abi) = &signature.abi {
            errors.at(abi, "a handler is a Rust function, without `extern`");
        }
        if let Some(variadic) = &signature.variadic {
            errors.at(variadic, "a handler takes its context and an event, nothing more");
        }
        let output = check_output(function, errors);
        check_free(function, errors)?;
        let (context, input) = check_arguments(function, detached, errors)?;
        let state = check_context(context, detached, errors);
        let input = check_input(input, errors);
        let (state, input) = (state?, input?);
        check_generics(function, state, errors)?;
        Some(Self { context, state, input, output: output? })
    }
}

/// A handler is a free function.
fn check_free(function: &ItemFn, errors: &Errors) -> Option<()> {
    let message = "a handler is a free function, and its state comes through the context: move it out of the `impl` \
         block and read `ctx.state()` in place of `self`";
    if let Some(receiver) = function.sig.receiver() {
        errors.at(receiver, message);
        return None;
    }
    let in_signature = find_word(function.sig.to_token_stream(), "Self");
    if let Some(word) = in_signature.or_else(|| find_word(function.block.to_token_stream(), "Self"))
    {
        errors.at(
            word,
            "a handler is a free function, so there is no `Self`: move it out of the `impl` block and write the \
             type's name",
        );
        return None;
    }
    Some(())
}

fn check_arguments<'a>(
    function: &'a ItemFn,
    detached: bool,
    errors: &Errors,
) -> Option<(&'a Type, &'a Type)> {
    let signature = &function.sig;
    let types: Vec<&Type> = signature
        .inputs
        .iter()
        .filter_map(|input| match input {
            FnArg::Typed(argument) => Some(&*argument.ty),
            FnArg::Receiver(_) => None,
        })
        .collect();
    let context = context_name(detached);
    match &types[..] {
        [input, context] if is_context(context) && !is_context(input) => {
            errors.at(context, "the context comes first, then the event");
            None
        }
        [context, input] => Some((context, input)),
        [] => {
            errors.push(syn::Error::new(
                signature.paren_token.span.join(),
                format!("a handler takes its context and an event: `(ctx: &mut {context}<'_, State>, event: OrderPlaced)`"),
            ));
            None
        }
        [only] => {
            let message = if is_context(only) {
                "a handler takes an event too: `event: OrderPlaced`, `Envelope<OrderPlaced>` or `Batch<OrderPlaced>`"
                    .to_owned()
            } else {
                format!(
                    "a handler takes its context first: `ctx: &mut {context}<'_, State>`, then the event"
                )
            };
            errors.push(syn::Error::new(signature.paren_token.span.join(), message));
            None
        }
        [_, _, more @ ..] => {
            for extra in more {
                errors.at(
                    extra,
                    "a handler takes its context and an event, nothing more: what it works with is in `ctx.state()`",
                );
            }
            None
        }
    }
}

/// The first argument is spelt `&mut HandlerContext<'_, State>`; what it is, the compiler checks. Gives the state.
fn check_context<'a>(context: &'a Type, detached: bool, errors: &Errors) -> Option<&'a Type> {
    let name = context_name(detached);
    let spelt = format!("the first argument is the context, spelt `&mut {name}<'_, State>`");
    let Type::Reference(TypeReference { mutability, elem, .. }) = context else {
        errors.at(context, spelt);
        return None;
    };
    let state = state_of(elem);
    if state.is_none() {
        errors.at(
            context,
            format!(
                "{spelt}; a handler that needs no state is generic over it: `fn handler<S>(…)`"
            ),
        );
    } else if mutability.is_none() {
        errors.at(
            context,
            format!("the context is borrowed mutably: `&mut {}`", elem.to_token_stream())
                .replace(" < ", "<")
                .replace(" >", ">")
                .replace(" ,", ","),
        );
    }
    if let Some(Type::ImplTrait(state)) = state {
        errors.at(
            state,
            "give the state's type a name: `fn handler<S: …>(ctx: &mut HandlerContext<'_, S>, …)`",
        );
        return None;
    }
    state
}

fn context_name(detached: bool) -> &'static str {
    if detached { "DetachedContext" } else { "HandlerContext" }
}

fn is_context(ty: &Type) -> bool {
    matches!(ty, Type::Reference(reference) if state_of(&reference.elem).is_some())
}

/// `State` of `HandlerContext<'_, State>`.
fn state_of(context: &Type) -> Option<&Type> {
    match context {
        Type::Path(path) => match &path.path.segments.last()?.arguments {
            PathArguments::AngleBracketed(arguments) => {
                arguments.args.iter().find_map(|argument| match argument {
                    GenericArgument::Type(state) => Some(state),
                    _ => None,
                })
            }
            _ => None,
        },
        Type::Group(group) => state_of(&group.elem),
        Type::Paren(paren) => state_of(&paren.elem),
        _ => None,
    }
}

/// The event comes by value.
fn check_input<'a>(input: &'a Type, errors: &Errors) -> Option<&'a Type> {
    match input {
        Type::Reference(reference) => {
            let owned = reference.elem.to_token_stream();
            errors.at(input, format!("a handler takes its event by value: `{owned}`"));
            None
        }
        Type::ImplTrait(_) => {
            errors.at(
                input,
                "a handler takes one type of event: name it, or write a handler for each",
            );
            None
        }
        _ => Some(input),
    }
}

fn check_output<'a>(function: &'a ItemFn, errors: &Errors) -> Option<&'a Type> {
    match &function.sig.output {
        ReturnType::Type(_, output) => match &**output {
            Type::ImplTrait(_) | Type::Never(_) => {
                errors.at(output, "a handler returns `HandlerResult`");
                None
            }
            _ => Some(output),
        },
        ReturnType::Default => {
            errors.push(syn::Error::new(
                function.sig.paren_token.span.close(),
                "a handler says whether it succeeded: write `-> HandlerResult`, and `Ok(())` at its end",
            ));
            None
        }
    }
}

/// Every type parameter is part of the state: nothing else could tell what it is.
fn check_generics(function: &ItemFn, state: &Type, errors: &Errors) -> Option<()> {
    let mut all = Some(());
    for parameter in &function.sig.generics.params {
        let (ident, what): (&Ident, _) = match parameter {
            GenericParam::Type(parameter) => (&parameter.ident, "type"),
            GenericParam::Const(parameter) => (&parameter.ident, "constant"),
            GenericParam::Lifetime(_) => continue,
        };
        if find_word(state.to_token_stream(), &ident.to_string()).is_none() {
            errors.at(
                ident,
                format!("a handler is generic over its state and nothing else: the {what} `{ident}` is not part of the state"),
            );
            all = None;
        }
    }
    all
}

/// The first identifier of a name.
fn find_word(tokens: proc_macro2::TokenStream, word: &str) -> Option<Ident> {
    value::visible(tokens).into_iter().find_map(|token| match token {
        TokenTree::Ident(ident) if ident == word => Some(ident),
        TokenTree::Group(group) => find_word(group.stream(), word),
        _ => None,
    })
}
