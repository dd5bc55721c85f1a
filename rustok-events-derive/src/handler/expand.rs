//! From a function to a unit struct of its name and an impl of `EventHandler` for it.
//!
//! In an `impl` block a struct is refused by the compiler, and so is everything else but a function: to be one mistake
//! and not many, all that stands beside the struct hangs from it (see [`Expansion`]).

use proc_macro2::TokenStream;
use quote::{ToTokens, format_ident, quote, quote_spanned};
use syn::{
    Attribute, GenericParam, Generics, ItemFn, Token, Type, TypeParam, TypeParamBound,
    ext::IdentExt, parse_quote, punctuated::Punctuated,
};

use super::{
    attr::{HandlerOptions, Retry},
    signature::Signature,
};
use crate::{errors::blame, value::Text};

/// What comes out, in the order in which it is written.
#[derive(Default)]
pub(crate) struct Expansion {
    mistakes: TokenStream,
    /// The struct, as far as its derives.
    attributes: TokenStream,
    unit: TokenStream,
    /// What stands beside the struct.
    beside: TokenStream,
    /// A function that compiles where the struct does. In an `impl` block it says what is wrong there.
    place: TokenStream,
    krate: TokenStream,
}

impl Expansion {
    /// With what is beside the struct inside an attribute of it, which [`beside`](crate::beside) takes out again.
    pub(crate) fn into_item(self) -> TokenStream {
        let Self { mistakes, attributes, unit, beside, place, krate } = self;
        let hung = (!beside.is_empty()).then(|| quote!(#[#krate::__private::beside(#beside)]));
        quote!(#mistakes #hung #attributes #unit #place)
    }

    /// With everything as the compiler has it in the end.
    #[cfg(test)]
    pub(crate) fn into_items(self) -> TokenStream {
        let Self { mistakes, attributes, unit, beside, place, krate: _ } = self;
        quote!(#mistakes #attributes #unit #beside #place)
    }
}

/// The struct, its impl, and the function inside it.
pub(super) fn expand(
    options: &HandlerOptions,
    signature: &Signature<'_>,
    function: &ItemFn,
) -> Expansion {
    let ident = &function.sig.ident;
    let krate = &options.krate;
    let inner = inner_function(function);
    let generics = with_state(&function.sig.generics, signature);
    let (parameters, _, bounds) = generics.split_for_impl();
    let group = &options.group;
    let name = match &options.name {
        Some(name) => name.to_token_stream(),
        None => ident.unraw().to_string().to_token_stream(),
    };
    let settings = settings(options);
    let use_settings = settings.as_ref().map(|_| {
        quote!(
            const OPTIONS: __rt::HandlerOptions = __OPTIONS;
        )
    });
    let check_group = check_name("group", options.group.as_ref());
    let check_handler = check_name("name", options.name.as_ref());
    let (state, input, context) = (signature.state, signature.input, signature.context);
    let mode = if options.detached { quote!(Detached) } else { quote!(Transactional) };
    let given = quote_spanned!(blame(context)=> __rt::given(ctx));
    let answer =
        quote_spanned!(blame(signature.output)=> __rt::answer(#ident(#given, input).await));
    let call = call(signature, function, &mode);
    let beside = quote! {
        #[allow(unused_imports)]
        use #krate::__private::InModule as _;
        const _: () = {
            use #krate::__private as __rt;
            #check_group
            #check_handler
            #settings
            #inner
            #[automatically_derived]
            impl #parameters __rt::EventHandler<#state> for #ident #bounds {
                const GROUP: &'static __rt::str = #group;
                const NAME: &'static __rt::str = #name;
                #use_settings
                type Input = #input;
                type Mode = __rt::#mode;
                async fn handle(
                    &self,
                    ctx: &mut __rt::HandlerContext<'_, #state, __rt::#mode>,
                    input: #input,
                ) -> __rt::HandlerResult {
                    #answer
                }
            }
            #call
        };
    };
    let (attributes, unit) = unit_struct(function);
    let place = place(options, function);
    Expansion { attributes, unit, beside, place, krate: quote!(#krate), ..Expansion::default() }
}

/// A function that compiles in a module and in the body of a function: the trait that the struct brings into scope is
/// preferred there. In an `impl` block there is no struct, and the other trait says so.
fn place(options: &HandlerOptions, function: &ItemFn) -> TokenStream {
    let (ident, krate) = (&function.sig.ident, &options.krate);
    let name = format_ident!("__place_of_{}", ident.unraw());
    let cfg = function.attrs.iter().filter(|attribute| attribute.path().is_ident("cfg"));
    let ask = quote_spanned!(blame(ident)=> check);
    quote! {
        #(#cfg)*
        #[allow(dead_code, unused_imports)]
        fn #name() {
            use #krate::__private::Anywhere as _;
            #krate::__private::Place.#ask();
        }
    }
}

/// The mistakes, and a struct that handles what can be told of the function.
pub(super) fn fallback(
    options: &HandlerOptions,
    signature: Option<&Signature<'_>>,
    function: &ItemFn,
    mistakes: &syn::Error,
) -> Expansion {
    let mistakes = mistakes.to_compile_error();
    if function.sig.receiver().is_some() {
        return Expansion { mistakes, ..Expansion::default() };
    }
    let beside = signature.map(|signature| {
        let (ident, krate) = (&function.sig.ident, &options.krate);
        let generics = with_state(&function.sig.generics, signature);
        let (parameters, _, bounds) = generics.split_for_impl();
        let (state, input) = (signature.state, signature.input);
        let mode = if options.detached { quote!(Detached) } else { quote!(Transactional) };
        quote! {
            const _: () = {
                use #krate::__private as __rt;
                #[automatically_derived]
                impl #parameters __rt::EventHandler<#state> for #ident #bounds {
                    const GROUP: &'static __rt::str = "";
                    const NAME: &'static __rt::str = "";
                    type Input = #input;
                    type Mode = __rt::#mode;
                    async fn handle(
                        &self,
                        _: &mut __rt::HandlerContext<'_, #state, __rt::#mode>,
                        _: #input,
                    ) -> __rt::HandlerResult {
                        __rt::Ok(())
                    }
                }
            };
        }
    });
    let (attributes, unit) = unit_struct(function);
    let krate = options.krate.to_token_stream();
    let beside = beside.unwrap_or_default();
    Expansion { mistakes, attributes, unit, beside, krate, place: TokenStream::new() }
}

/// The struct has the function's name, its visibility, and what is said of it to its users. Gives its attributes and
/// the struct itself.
fn unit_struct(function: &ItemFn) -> (TokenStream, TokenStream) {
    let (visibility, ident) = (&function.vis, &function.sig.ident);
    let of_users = ["doc", "cfg", "deprecated", "allow", "warn", "deny", "forbid"];
    let attributes = function.attrs.iter().filter(|attribute| is_one_of(attribute, &of_users));
    let attributes = quote! {
        #(#attributes)*
        #[allow(non_camel_case_types)]
        #[derive(::core::clone::Clone, ::core::marker::Copy, ::core::fmt::Debug)]
    };
    let (word, end) = (quote_spanned!(blame(ident)=> struct), quote_spanned!(blame(ident)=> ;));
    (attributes, quote!(#visibility #word #ident #end))
}

/// The function as it was written, except for what is said of it to its users.
fn inner_function(function: &ItemFn) -> TokenStream {
    let mut inner = function.clone();
    inner.attrs.retain(|attribute| !is_one_of(attribute, &["doc", "cfg", "deprecated"]));
    inner.vis = syn::Visibility::Inherited;
    // The shape is this crate's choice: no lint is to ask for another.
    quote! {
        #[allow(
            clippy::unused_async,
            clippy::needless_pass_by_value,
            clippy::needless_pass_by_ref_mut,
            clippy::future_not_send,
        )]
        #inner
    }
}

fn is_one_of(attribute: &Attribute, names: &[&str]) -> bool {
    names.iter().any(|name| attribute.path().is_ident(name))
}

/// The parameters of the impl: the function's own without lifetimes, and a state that can be shared.
fn with_state(generics: &Generics, signature: &Signature<'_>) -> Generics {
    let mut generics = generics.clone();
    generics.params = generics
        .params
        .into_iter()
        .filter(|parameter| !matches!(parameter, GenericParam::Lifetime(_)))
        .collect();
    if generics.params.is_empty() {
        return generics;
    }
    let state = signature.state;
    let shared: Punctuated<TypeParamBound, Token![+]> =
        parse_quote!(__rt::Send + __rt::Sync + 'static);
    let same = |parameter: &&mut TypeParam| matches!(state, Type::Path(path) if path.path.is_ident(&parameter.ident));
    // Bounds stay where the others are: two places for one parameter are asked about by a lint.
    match generics.type_params_mut().find(same) {
        Some(parameter) if !parameter.bounds.is_empty() => parameter.bounds.extend(shared),
        _ => generics.make_where_clause().predicates.push(parse_quote!(#state: #shared)),
    }
    generics
}

/// The options, where anything differs from the defaults: a constant of its own, so that the compiler looks at it.
fn settings(options: &HandlerOptions) -> Option<TokenStream> {
    let retry = options.retry.as_ref().map(retry);
    let goes_on = options.goes_on.then(|| quote!(.on_dead_letter(__rt::OnDeadLetter::Continue)));
    (retry.is_some() || goes_on.is_some()).then(|| {
        quote! {
            const __OPTIONS: __rt::HandlerOptions = __rt::HandlerOptions::new() #retry #goes_on;
        }
    })
}

/// A name that is a constant is checked once the compiler knows it.
fn check_name(what: &str, name: Option<&Text>) -> Option<TokenStream> {
    match name {
        Some(Text::Const(path)) => {
            Some(quote_spanned!(blame(path)=> const _: () = __rt::check::name(#what, #path);))
        }
        _ => None,
    }
}

fn retry(Retry { attempts, min, max }: &Retry) -> TokenStream {
    let attempts = attempts.as_ref().map(|attempts| quote!(.attempts(#attempts)));
    let pauses = match (min, max) {
        (Some(min), Some(max)) => Some(quote!(.between(#min, #max))),
        (Some(min), None) => Some(quote_spanned!(blame(&min.at)=> .min(#min))),
        (None, Some(max)) => Some(quote_spanned!(blame(&max.at)=> .max(#max))),
        (None, None) => None,
    };
    quote!(.retry(__rt::RetryPolicy::new() #attempts #pauses))
}

/// `index_order.call(&mut ctx, event)`, for tests.
fn call(signature: &Signature<'_>, function: &ItemFn, mode: &TokenStream) -> TokenStream {
    let (ident, visibility) = (&function.sig.ident, &function.vis);
    let (state, input) = (signature.state, signature.input);
    let generics = with_state(&function.sig.generics, signature);
    let (parameters, _, bounds) = generics.split_for_impl();
    quote! {
        impl #ident {
            /// Runs the handler once, without inbox, retries or dead letters: for tests.
            ///
            /// # Errors
            /// What the handler answers.
            #[allow(dead_code, unreachable_pub, clippy::future_not_send, clippy::missing_errors_doc)]
            #visibility async fn call #parameters (
                &self,
                ctx: &mut __rt::HandlerContext<'_, #state, __rt::#mode>,
                event: #input,
            ) -> __rt::HandlerResult
            #bounds
            {
                __rt::EventHandler::handle(self, ctx, event).await
            }
        }
    }
}
