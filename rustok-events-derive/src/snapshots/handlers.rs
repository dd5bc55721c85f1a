//! What the attribute writes.

use expect_test::expect;
use proc_macro2::TokenStream;
use quote::quote;

use super::check;

/// Everything as the compiler has it in the end.
fn expanded(options: TokenStream, function: TokenStream) -> TokenStream {
    let function = syn::parse2(function).expect("a function");
    crate::handler::expansion(options, &function).into_items()
}

#[test]
fn what_hangs_from_the_struct_is_what_stands_beside_it() {
    let handler = quote! {
        async fn index_order(ctx: &mut HandlerContext<'_, App>, event: OrderPlaced) -> HandlerResult {
            Ok(())
        }
    };
    let options = quote!(group = "search");
    let item = crate::handler::expand(options.clone(), &handler);
    let file: syn::File = syn::parse2(item).expect("items");
    let [syn::Item::Struct(unit), syn::Item::Fn(place)] = &file.items[..] else {
        panic!("only what an `impl` block refuses once, or takes, stands on its own");
    };
    let (hung, bare) = unit.attrs.split_first().expect("an attribute");
    let syn::Meta::List(hung) = &hung.meta else { panic!("it has something inside") };
    let (beside, mut unit) = (&hung.tokens, unit.clone());
    unit.attrs = bare.to_vec();
    assert_eq!(quote!(#unit #beside #place).to_string(), expanded(options, handler).to_string());
}

#[test]
fn a_handler_with_every_option() {
    let handler = quote! {
        async fn send_mail<S: Mailer>(ctx: &mut DetachedContext<'_, S>, mail: Batch<Placed>) -> HandlerResult
        where
            S: Clone,
        {
            Ok(())
        }
    };
    let options = quote! {
        group = "mail", name = "mailer", retry(attempts = 3, min = "1s", max = "1m"),
        on_dead_letter = continue, inbox = none, crate = events
    };
    check(
        expanded(options, handler),
        &expect![[r##"
            #[allow(non_camel_case_types)]
            #[derive(::core::clone::Clone, ::core::marker::Copy, ::core::fmt::Debug)]
            struct send_mail;
            #[allow(unused_imports)]
            use events::__private::InModule as _;
            const _: () = {
                use events::__private as __rt;
                const __OPTIONS: __rt::HandlerOptions = __rt::HandlerOptions::new()
                    .retry(
                        __rt::RetryPolicy::new()
                            .attempts(3)
                            .between(
                                __rt::Duration::from_millis(1000),
                                __rt::Duration::from_millis(60000),
                            ),
                    )
                    .on_dead_letter(__rt::OnDeadLetter::Continue);
                #[allow(
                    clippy::unused_async,
                    clippy::needless_pass_by_value,
                    clippy::needless_pass_by_ref_mut,
                    clippy::future_not_send,
                )]
                async fn send_mail<S: Mailer>(
                    ctx: &mut DetachedContext<'_, S>,
                    mail: Batch<Placed>,
                ) -> HandlerResult
                where
                    S: Clone,
                {
                    Ok(())
                }
                #[automatically_derived]
                impl<S: Mailer + __rt::Send + __rt::Sync + 'static> __rt::EventHandler<S>
                for send_mail
                where
                    S: Clone,
                {
                    const GROUP: &'static __rt::str = "mail";
                    const NAME: &'static __rt::str = "mailer";
                    const OPTIONS: __rt::HandlerOptions = __OPTIONS;
                    type Input = Batch<Placed>;
                    type Mode = __rt::Detached;
                    async fn handle(
                        &self,
                        ctx: &mut __rt::HandlerContext<'_, S, __rt::Detached>,
                        input: Batch<Placed>,
                    ) -> __rt::HandlerResult {
                        __rt::answer(send_mail(__rt::given(ctx), input).await)
                    }
                }
                impl send_mail {
                    /// Runs the handler once, without inbox, retries or dead letters: for tests.
                    ///
                    /// # Errors
                    /// What the handler answers.
                    #[allow(
                        dead_code,
                        unreachable_pub,
                        clippy::future_not_send,
                        clippy::missing_errors_doc
                    )]
                    async fn call<S: Mailer + __rt::Send + __rt::Sync + 'static>(
                        &self,
                        ctx: &mut __rt::HandlerContext<'_, S, __rt::Detached>,
                        event: Batch<Placed>,
                    ) -> __rt::HandlerResult
                    where
                        S: Clone,
                    {
                        __rt::EventHandler::handle(self, ctx, event).await
                    }
                }
            };
            #[allow(dead_code, unused_imports)]
            fn __place_of_send_mail() {
                use events::__private::Anywhere as _;
                events::__private::Place.check();
            }
        "##]],
    );
}

#[test]
fn a_wrong_handler() {
    let handler = quote! {
        fn index_order<S>(ctx: &mut HandlerContext<'_, S>, event: OrderPlaced) -> HandlerResult {
            Ok(())
        }
    };
    check(
        expanded(quote!(group = "search"), handler),
        &expect![[r#"
        ::core::compile_error! {
            "a handler is asynchronous: write `async fn index_order`"
        }
        #[allow(non_camel_case_types)]
        #[derive(::core::clone::Clone, ::core::marker::Copy, ::core::fmt::Debug)]
        struct index_order;
        const _: () = {
            use ::rustok_events::__private as __rt;
            #[automatically_derived]
            impl<S> __rt::EventHandler<S> for index_order
            where
                S: __rt::Send + __rt::Sync + 'static,
            {
                const GROUP: &'static __rt::str = "";
                const NAME: &'static __rt::str = "";
                type Input = OrderPlaced;
                type Mode = __rt::Transactional;
                async fn handle(
                    &self,
                    _: &mut __rt::HandlerContext<'_, S, __rt::Transactional>,
                    _: OrderPlaced,
                ) -> __rt::HandlerResult {
                    __rt::Ok(())
                }
            }
        };
    "#]],
    );
}
