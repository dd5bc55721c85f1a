//! `#[event_handler(…)]`: the options there are, and what was given.

use proc_macro2::{Span, TokenStream};

use crate::{
    crate_path::CratePath,
    errors::Errors,
    options::{Given, Options, Place, Spec},
    value::{self, Number, Text, Time},
};

const HANDLER: &[Place] = &[Place::Handler];
const RETRY: &[Place] = &[Place::Retry];

/// Every option of `#[event_handler(…)]`, and of its `retry(…)`.
const TABLE: &[Spec] = &[
    Spec { name: "group", example: "group = \"search\"", places: HANDLER },
    Spec { name: "name", example: "name = \"index_order\"", places: HANDLER },
    Spec {
        name: "retry",
        example: "retry(attempts = 5, min = \"100ms\", max = \"30s\")",
        places: HANDLER,
    },
    Spec { name: "on_dead_letter", example: "on_dead_letter = continue", places: HANDLER },
    Spec { name: "inbox", example: "inbox = none", places: HANDLER },
    Spec { name: "crate", example: "crate = path::to::rustok_events", places: HANDLER },
    Spec { name: "attempts", example: "attempts = 5", places: RETRY },
    Spec { name: "min", example: "min = \"100ms\"", places: RETRY },
    Spec { name: "max", example: "max = \"30s\"", places: RETRY },
];

/// What the attribute gave.
pub(super) struct HandlerOptions {
    pub(super) group: Option<Text>,
    pub(super) name: Option<Text>,
    pub(super) retry: Option<Retry>,
    pub(super) goes_on: bool,
    pub(super) detached: bool,
    pub(super) krate: CratePath,
}

/// What `retry(…)` gave; what it did not keeps its default.
#[derive(Default)]
pub(super) struct Retry {
    pub(super) attempts: Option<Number>,
    pub(super) min: Option<Time>,
    pub(super) max: Option<Time>,
}

impl HandlerOptions {
    pub(super) fn read(tokens: TokenStream, errors: &Errors) -> Self {
        let mut options = Options::new(TABLE, Place::Handler);
        options.read(tokens, errors);
        let group = options.take("group");
        if group.is_none() && !options.meant.contains(&"group") {
            errors.push(syn::Error::new(
                Span::call_site(),
                "a handler belongs to a consumer group: write `#[event_handler(group = \"…\")]`",
            ));
        }
        let name = |given: Option<Given>| errors.take(value::name(&given?));
        let (group, name) = (name(group), name(options.take("name")));
        Self {
            group,
            name,
            retry: options.take("retry").map(|given| Retry::read(&given, errors)),
            goes_on: options.take("on_dead_letter").is_some_and(|given| {
                let otherwise = "without it, the key waits until the dead letter is dealt with";
                errors.take(value::word(&given, "continue", otherwise)).is_some()
            }),
            // What was meant is plain even where it could not be read, and the context is held against it.
            detached: options.take("inbox").is_some_and(|given| {
                let otherwise = "without it, the inbox sees to it that an event is handled once";
                errors.take(value::word(&given, "none", otherwise)).is_some()
            }),
            krate: CratePath(
                options.take("crate").and_then(|given| errors.take(value::path(&given))),
            ),
        }
    }
}

impl Retry {
    fn read(given: &Given, errors: &Errors) -> Self {
        let Some(group) = errors.take(given.list()) else { return Self::default() };
        let mut options = Options::new(TABLE, Place::Retry);
        options.read(group.stream(), errors);
        if group.stream().is_empty() {
            errors.at(group, "`retry()` says nothing: give it `attempts`, `min` or `max`");
        }
        let attempts = options.take("attempts");
        let attempts = attempts.and_then(|given| errors.take(value::number(&given, u32::MAX)));
        let mut time = |name| errors.take(value::duration(&options.take(name)?));
        let (min, max) = (time("min"), time("max"));
        if let (Some(min), Some(max)) = (&min, &max)
            && min.time > max.time
        {
            errors.at(&max.at, format!("`max` is less than `min`, which is {:?}", min.at.value()));
        }
        Self { attempts, min, max }
    }
}
