//! What the derives write.

use expect_test::expect;
use quote::quote;

use super::check;

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
