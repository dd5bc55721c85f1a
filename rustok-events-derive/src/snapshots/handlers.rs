//! What the attribute writes.

use expect_test::expect;
use quote::quote;

use super::check;

#[test]
fn a_handler() {
    let handler = quote! {
        /// Makes an order findable.
        #[tracing::instrument(skip_all)]
        pub async fn index_order(ctx: &mut HandlerContext<'_, App>, event: OrderPlaced) -> HandlerResult {
            Ok(())
        }
    };
    check(
        crate::handler::expand(quote!(group = "search"), &handler),
        &expect![[r#"
            /// Makes an order findable.
            #[allow(non_camel_case_types)]
            #[derive(::core::clone::Clone, ::core::marker::Copy, ::core::fmt::Debug)]
            pub struct index_order;
            const _: () = {
                use ::rustok_events::__private as __rt;
                #[allow(
                    clippy::unused_async,
                    clippy::needless_pass_by_value,
                    clippy::needless_pass_by_ref_mut,
                    clippy::future_not_send,
                )]
                #[tracing::instrument(skip_all)]
                async fn index_order(
                    ctx: &mut HandlerContext<'_, App>,
                    event: OrderPlaced,
                ) -> HandlerResult {
                    Ok(())
                }
                #[automatically_derived]
                impl __rt::EventHandler<App> for index_order {
                    const GROUP: &'static __rt::str = "search";
                    const NAME: &'static __rt::str = "index_order";
                    type Input = OrderPlaced;
                    type Mode = __rt::Transactional;
                    async fn handle(
                        &self,
                        ctx: &mut __rt::HandlerContext<'_, App, __rt::Transactional>,
                        input: OrderPlaced,
                    ) -> __rt::HandlerResult {
                        __rt::answer(index_order(__rt::given(ctx), input).await)
                    }
                }
                impl index_order {
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
                    pub async fn call(
                        &self,
                        ctx: &mut __rt::HandlerContext<'_, App, __rt::Transactional>,
                        event: OrderPlaced,
                    ) -> __rt::HandlerResult {
                        __rt::EventHandler::handle(self, ctx, event).await
                    }
                }
            };
        "#]],
    );
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
        crate::handler::expand(options, &handler),
        &expect![[r##"
            #[allow(non_camel_case_types)]
            #[derive(::core::clone::Clone, ::core::marker::Copy, ::core::fmt::Debug)]
            struct send_mail;
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
        crate::handler::expand(quote!(group = "search"), &handler),
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
