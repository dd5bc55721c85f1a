//! What the macros write, kept as it is read: constants and one call.

#![allow(clippy::needless_raw_string_hashes, reason = "this is how expectations are written down")]

use expect_test::{Expect, expect};
use proc_macro2::TokenStream;
use quote::quote;

fn check(expansion: TokenStream, expected: &Expect) {
    let file = syn::parse2(expansion).expect("an expansion is a list of items");
    expected.assert_eq(&prettyplease::unparse(&file));
}

#[test]
fn a_struct() {
    let event = quote! {
        #[domain_event(stream = "commerce", topic = "orders", partition_key = order_id)]
        pub struct OrderPlaced {
            pub order_id: Uuid,
            pub total_cents: i64,
        }
    };
    check(
        crate::event::derive(event),
        &expect![[r#"
            const _: () = {
                use ::rustok_events::__private as __rt;
                use __rt::Unless as _;
                const __DESCRIPTORS: &[__rt::EventDescriptor] = &[
                    __rt::EventDescriptor::new("order_placed", 1, "commerce", "orders")
                        .declared_by(__rt::concat!(__rt::module_path!(), "::OrderPlaced"))
                        .key_type(__rt::KeyType::<Uuid>::__KIND),
                ];
                #[automatically_derived]
                impl __rt::DomainEvent for OrderPlaced {
                    const STREAM: &'static __rt::str = "commerce";
                    const TOPIC: &'static __rt::str = "orders";
                    const DESCRIPTORS: &'static [__rt::EventDescriptor] = __DESCRIPTORS;
                    const SUPERSEDED_BY: __rt::Option<&'static __rt::str> = Self::__SUPERSEDED_BY;
                    fn descriptor(&self) -> &'static __rt::EventDescriptor {
                        &__DESCRIPTORS[0]
                    }
                    fn partition_key(&self) -> __rt::Key<'_> {
                        __rt::Key::of(&self.order_id)
                    }
                }
            };
        "#]],
    );
}

#[test]
fn a_struct_with_every_option() {
    let event = quote! {
        #[domain_event(
            stream = STREAM, topic = "orders", partition_key = order.id, name = "order.placed", version = 2,
            previous = OrderPlacedV1, partitions = 8, validate = Self::check, scope = platform, crate = events
        )]
        struct OrderPlaced {
            order: Order,
        }
    };
    check(
        crate::event::derive(event),
        &expect![[r#"
            const _: () = {
                use events::__private as __rt;
                use __rt::Unless as _;
                type __Previous = <OrderPlacedV1 as __rt::Event>::Itself;
                const _: () = __rt::check::name("stream", STREAM);
                const _: () = __rt::check::follows::<OrderPlaced, __Previous>();
                const __DESCRIPTORS: &[__rt::EventDescriptor] = &[
                    __rt::EventDescriptor::new("order.placed", 2, STREAM, "orders")
                        .partitions(8)
                        .scope(__rt::Scope::Platform)
                        .declared_by(__rt::concat!(__rt::module_path!(), "::OrderPlaced"))
                        .key_type(__rt::key_inside(|key: &Order| &key.id).kind),
                ];
                #[automatically_derived]
                impl __rt::DomainEvent for OrderPlaced {
                    const STREAM: &'static __rt::str = STREAM;
                    const TOPIC: &'static __rt::str = "orders";
                    const DESCRIPTORS: &'static [__rt::EventDescriptor] = __DESCRIPTORS;
                    const SUPERSEDED_BY: __rt::Option<&'static __rt::str> = Self::__SUPERSEDED_BY;
                    fn descriptor(&self) -> &'static __rt::EventDescriptor {
                        &__DESCRIPTORS[0]
                    }
                    fn partition_key(&self) -> __rt::Key<'_> {
                        __rt::key_inside(|key: &Order| &key.id).of(&self.order)
                    }
                    fn validate_event(&self) -> __rt::Result<(), __rt::BoxError> {
                        __rt::validate(self, Self::check)
                    }
                    const LINEAGE: __rt::Lineage = __rt::Lineage::after(
                        __DESCRIPTORS,
                        &<__Previous as __rt::DomainEvent>::LINEAGE,
                    );
                    fn decode_event<__P: __rt::Payload>(
                        name: &__rt::str,
                        version: __rt::u32,
                        payload: &__P,
                    ) -> __rt::Result<Self, __rt::DecodeError> {
                        __rt::decode_version::<Self, __Previous, __P>(name, version, payload)
                    }
                }
                #[automatically_derived]
                impl OrderPlacedV1 {
                    #[doc(hidden)]
                    pub const __SUPERSEDED_BY: __rt::Option<&'static __rt::str> = __rt::Some(
                        "OrderPlaced",
                    );
                }
            };
        "#]],
    );
}

#[test]
fn an_enum() {
    let event = quote! {
        #[domain_event(stream = "commerce", topic = "orders", name = "order", partition_key = order_id)]
        enum OrderEvent {
            Placed { order_id: Uuid },
            Paid(#[domain_event(partition_key)] Uuid),
            #[domain_event(name = "order.gone", partition_key = tenant)]
            Closed,
        }
    };
    check(
        crate::event::derive(event),
        &expect![[r#"
            const _: () = {
                use ::rustok_events::__private as __rt;
                use __rt::Unless as _;
                const __DESCRIPTORS: &[__rt::EventDescriptor] = &[
                    __rt::EventDescriptor::new("order.placed", 1, "commerce", "orders")
                        .declared_by(__rt::concat!(__rt::module_path!(), "::OrderEvent::Placed"))
                        .key_type(__rt::KeyType::<Uuid>::__KIND),
                    __rt::EventDescriptor::new("order.paid", 1, "commerce", "orders")
                        .declared_by(__rt::concat!(__rt::module_path!(), "::OrderEvent::Paid"))
                        .key_type(__rt::KeyType::<Uuid>::__KIND),
                    __rt::EventDescriptor::new("order.gone", 1, "commerce", "orders")
                        .declared_by(__rt::concat!(__rt::module_path!(), "::OrderEvent::Closed"))
                        .key_type("tenant"),
                ];
                #[automatically_derived]
                impl __rt::DomainEvent for OrderEvent {
                    const STREAM: &'static __rt::str = "commerce";
                    const TOPIC: &'static __rt::str = "orders";
                    const DESCRIPTORS: &'static [__rt::EventDescriptor] = __DESCRIPTORS;
                    const SUPERSEDED_BY: __rt::Option<&'static __rt::str> = Self::__SUPERSEDED_BY;
                    fn descriptor(&self) -> &'static __rt::EventDescriptor {
                        &__DESCRIPTORS[match self {
                            Self::Placed { .. } => 0usize,
                            Self::Paid { .. } => 1usize,
                            Self::Closed { .. } => 2usize,
                        }]
                    }
                    fn partition_key(&self) -> __rt::Key<'_> {
                        match self {
                            Self::Placed { order_id: __key, .. } => __rt::Key::of(__key),
                            Self::Paid { 0: __key, .. } => __rt::Key::of(__key),
                            Self::Closed { .. } => __rt::Key::Tenant,
                        }
                    }
                }
            };
        "#]],
    );
}

#[test]
fn a_wrong_declaration() {
    let event = quote! {
        #[domain_event(stream = "commerce", topic = "orders", partition_key = order_id, version = 0)]
        struct OrderPlaced {
            order_id: Uuid,
        }
    };
    check(
        crate::event::derive(event),
        &expect![[r#"
            ::core::compile_error! {
                "`version` takes a whole number of at least 1"
            }
            const _: () = {
                use ::rustok_events::__private as __rt;
                #[automatically_derived]
                impl __rt::DomainEvent for OrderPlaced {
                    const STREAM: &'static __rt::str = "";
                    const TOPIC: &'static __rt::str = "";
                    const DESCRIPTORS: &'static [__rt::EventDescriptor] = &[];
                    fn descriptor(&self) -> &'static __rt::EventDescriptor {
                        &Self::DESCRIPTORS[0]
                    }
                    fn partition_key(&self) -> __rt::Key<'_> {
                        __rt::Key::None
                    }
                }
            };
        "#]],
    );
}

#[test]
fn a_partition_key() {
    check(
        crate::key::derive(quote!(
            struct OrderId(Uuid);
        )),
        &expect![[r#"
            const _: () = {
                use ::rustok_events::__private as __rt;
                use __rt::Unless as _;
                #[automatically_derived]
                impl __rt::PartitionKey for OrderId {
                    const KIND: &'static __rt::str = __rt::KeyType::<Uuid>::__KIND;
                    fn encode(&self) -> __rt::Cow<'_, [__rt::u8]> {
                        __rt::PartitionKey::encode(&self.0)
                    }
                }
            };
        "#]],
    );
}

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
