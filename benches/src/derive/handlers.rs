//! Whether the time for handlers grows faster than their number, and what of it is the builder.
//!
//! All crates declare the same events, so that they differ in their handlers alone.

use std::{error::Error, fmt::Write as _, path::Path};

use super::{
    IMPORTS,
    checked::{Crate, in_turns, median},
};

const POINTS: [usize; 5] = [0, 50, 100, 150, 300];
const MOST: usize = 300;
const ROUNDS: usize = 7;
/// How many times a handler between 150 and 300 may cost one between 0 and 150.
const LIMIT: f64 = 1.25;

/// What the handlers are given to.
#[derive(Clone, Copy)]
enum Given {
    /// `EventRuntimeBuilder::handler`.
    Builder,
    /// The same chain over a list of boxes, as anybody would write it.
    List,
    /// Nothing.
    Nowhere,
}

/// Checks services of more and more handlers, and prints what that says.
pub(super) fn run(place: &Path) -> Result<(), Box<dyn Error>> {
    let service = |name: &str, count, given| {
        let name = format!("handlers-{name}-{count}");
        Crate::write(place, &name, r#", features = ["runtime"]"#, &service(count, given))
    };
    let mut built = Vec::new();
    for count in POINTS {
        built.push(service("builder", count, Given::Builder)?);
    }
    let [n0, n50, n100, n150, n300] = &built[..] else { return Err("five points".into()) };
    let list = service("list", MOST, Given::List)?;
    let nowhere = service("nowhere", MOST, Given::Nowhere)?;
    let [t0, t50, t100, t150, t300, list, nowhere] =
        in_turns([n0, n50, n100, n150, n300, &list, &nowhere], ROUNDS)?;

    println!("cargo check of {MOST} events and n handlers, median of {ROUNDS}:");
    for (count, times) in POINTS.iter().zip([&t0, &t50, &t100, &t150, &t300]) {
        println!(
            "  n = {count:>3}, given to the builder   {:>6.2} s",
            median(times.iter().copied())
        );
    }
    println!("  n = {MOST}, to a list in one chain  {:>6.2} s", median(list.iter().copied()));
    println!("  n = {MOST}, to nothing              {:>6.2} s", median(nowhere.iter().copied()));

    println!("a handler costs, in ms:");
    let cost = |less: &[f64], more: &[f64], by: f64| -> Vec<f64> {
        less.iter().zip(more).map(|(less, more)| (more - less) / by * 1000.0).collect()
    };
    for (what, less, more, by) in [
        ("  0 to  50", &t0, &t50, 50.0),
        (" 50 to 100", &t50, &t100, 50.0),
        ("100 to 150", &t100, &t150, 50.0),
        ("150 to 300", &t150, &t300, 150.0),
    ] {
        println!("  {what}   {:>6.2}", median(cost(less, more, by)));
    }
    let (first, second) = (cost(&t0, &t150, 150.0), cost(&t150, &t300, 150.0));
    let ratios: Vec<f64> =
        second.iter().zip(&first).map(|(second, first)| second / first).collect();
    let (low, high) =
        ratios.iter().fold((f64::MAX, f64::MIN), |(low, high), r| (low.min(*r), high.max(*r)));
    let ratio = median(second) / median(first);
    println!(
        "  one of 150 to 300 costs {ratio:.2} times one of 0 to 150 (linear is 1, at most {LIMIT}; round by round \
         {low:.2} to {high:.2})"
    );
    let over = |floor: &[f64]| median(t300.iter().zip(floor).map(|(ours, floor)| ours / floor));
    println!(
        "  the builder takes {:.2} times a list, {:.2} times nothing",
        over(&list),
        over(&nowhere)
    );
    Ok(())
}

fn service(handlers: usize, given: Given) -> String {
    let mut code = format!("#![allow(dead_code, unused_imports)]\n{IMPORTS}");
    code +=
        "use rustok_events::{EventRuntime, EventRuntimeBuilder, prelude::*};\npub struct App;\n";
    for number in 0..MOST {
        let _ = writeln!(
            code,
            "#[derive(Debug, Serialize, Deserialize, DomainEvent)]\n\
             #[domain_event(stream = \"commerce\", topic = \"orders\", partition_key = order_id)]\n\
             pub struct Event{number} {{ pub order_id: Uuid }}"
        );
    }
    for number in 0..handlers {
        let _ = writeln!(
            code,
            "#[event_handler(group = \"group\")]\n\
             pub async fn handle{number}(ctx: &mut HandlerContext<'_, App>, event: Event{number}) -> HandlerResult {{\n    \
             println!(\"{{}} {{}}\", event.order_id, ctx.envelope().id());\n    Ok(())\n}}"
        );
    }
    code += "pub struct List(Vec<Box<dyn std::any::Any>>);\n\
             impl List {\n    \
             pub fn handler<H: std::any::Any>(mut self, handler: H) -> Self {\n        \
             self.0.push(Box::new(handler));\n        self\n    }\n}\n";
    let taker = match given {
        Given::Builder => "EventRuntimeBuilder<App>",
        Given::List => "List",
        Given::Nowhere => return code,
    };
    let _ = writeln!(code, "pub fn build(taker: {taker}) -> {taker} {{\n    taker");
    for number in 0..handlers {
        let _ = writeln!(code, "        .handler(handle{number})");
    }
    code += "}\n";
    code
}
