//! Declarations that macros by example write.

use events::{event_handler, DomainEvent, HandlerContext, HandlerResult};
use serde::{Deserialize, Serialize};

macro_rules! event {
    ($name:ident, $stream:literal, $topic:expr, $key:ident: $type:ty, $version:literal, $previous:ty, $check:path) => {
        /// Its older version.
        #[derive(Debug, Serialize, Deserialize, DomainEvent)]
        #[domain_event(stream = $stream, topic = $topic, partition_key = $key, name = "renamed", crate = events)]
        pub struct Older {
            $key: $type,
        }

        /// An event of a macro.
        #[derive(Debug, Serialize, Deserialize, DomainEvent)]
        #[domain_event(
            stream = $stream,
            topic = $topic,
            partition_key = $key,
            version = $version,
            previous = $previous,
            validate = $check,
            crate = events
        )]
        pub struct $name {
            $key: $type,
        }

        impl From<$previous> for $name {
            fn from(old: $previous) -> Self {
                Self { $key: old.$key }
            }
        }
    };
}

event!(Renamed, "a", "b", key: String, 2, Older, check);

fn check(renamed: &Renamed) -> Result<(), String> {
    if renamed.key.is_empty() {
        return Err("a name has letters".to_owned());
    }
    Ok(())
}

macro_rules! events_of {
    ($($variant:ident { $field:ident: $type:ty },)*) => {
        /// An enum of a macro.
        #[derive(Debug, Serialize, Deserialize, DomainEvent)]
        #[domain_event(stream = "a", topic = "b", crate = events)]
        pub enum Told {
            $(
                /// A variant of a macro.
                $variant {
                    /// A key of a macro.
                    #[domain_event(partition_key)]
                    $field: $type,
                },
            )*
        }
    };
}

events_of!(First { id: u64 }, Second { name: String },);

macro_rules! handler {
    ($name:ident, $group:literal, $event:ty, |$ctx:ident, $input:ident| $body:expr) => {
        /// A handler of a macro.
        #[event_handler(group = $group, crate = events)]
        pub async fn $name<S>($ctx: &mut HandlerContext<'_, S>, $input: $event) -> HandlerResult {
            $body
        }
    };
}

handler!(on_renamed, "g", Renamed, |ctx, event| {
    ctx.publish(event).await?;
    Ok(())
});
