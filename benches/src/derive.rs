//! What the macros cost a domain crate and a service when they are compiled.
//!
//! A crate of 150 structs and of an enum of 40 variants is written twice, with and without `DomainEvent` beside
//! serde's derives, and checked in turns. A service with more and more handlers in one builder is checked likewise.
//!
//! The ratios are of processor time where the system tells it (Linux), since a busy machine doubles the time on the
//! clock and changes that one less; elsewhere they are of the clock.

mod checked;
mod handlers;

use std::{error::Error, fmt::Write as _, path::Path};

use self::checked::{Crate, in_turns, median};

const STRUCTS: usize = 150;
const VARIANTS: usize = 40;
const ROUNDS: usize = 5;
/// The most that `DomainEvent` may add.
const LIMIT: f64 = 1.35;

/// Runs the measurement.
pub(crate) fn run() -> Result<(), Box<dyn Error>> {
    let place = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/benches/derive");
    events(&place)?;
    handlers::run(&place)
}

fn events(place: &Path) -> Result<(), Box<dyn Error>> {
    let without = Crate::write(place, "without", "", &domain(false))?;
    let with = Crate::write(place, "with", "", &domain(true))?;
    let [without, with] = in_turns([&without, &with], ROUNDS)?;
    println!("cargo check of {STRUCTS} structs and {VARIANTS} variants, median of {ROUNDS}:");
    let ratio = median(with.iter().zip(&without).map(|(with, without)| with / without));
    let (without, with) = (median(without), median(with));
    println!("  Serialize, Deserialize                {without:>6.2} s");
    println!("  Serialize, Deserialize, DomainEvent   {with:>6.2} s");
    println!("  ratio {ratio:.2} (at most {LIMIT})\n");
    Ok(())
}

const FIELDS: [&str; 10] = [
    "order_id: Uuid",
    "customer_id: Uuid",
    "email: String",
    "total_cents: i64",
    "weight: Option<f64>",
    "note: Option<String>",
    "titles: Vec<String>",
    "lines: Vec<(Uuid, u32)>",
    "paid: bool",
    "placed_at: DateTime<Utc>",
];

const IMPORTS: &str =
    "use chrono::{DateTime, Utc};\nuse serde::{Deserialize, Serialize};\nuse uuid::Uuid;\n";

fn domain(with_events: bool) -> String {
    let mut code = format!("#![allow(dead_code, unused_imports)]\n{IMPORTS}");
    if with_events {
        code += "use rustok_events::DomainEvent;\n";
    }
    let derive = |options: &str| {
        let event = if with_events { ", DomainEvent" } else { "" };
        let options = if with_events { options } else { "" };
        format!("#[derive(Debug, Clone, PartialEq, Serialize, Deserialize{event})]\n{options}\n")
    };
    for number in 0..STRUCTS {
        let options = r#"#[domain_event(stream = "commerce", topic = "orders", partition_key = order_id, partitions = 8)]"#;
        let fields = FIELDS.join(",\n    pub ");
        let _ =
            writeln!(code, "{}pub struct Event{number} {{\n    pub {fields},\n}}", derive(options));
    }
    let options =
        r#"#[domain_event(stream = "commerce", topic = "parcels", partition_key = order_id)]"#;
    let _ = writeln!(code, "{}pub enum Parcel {{", derive(options));
    let fields = FIELDS.join(", ");
    for number in 0..VARIANTS {
        let _ = writeln!(code, "    Variant{number} {{ {fields} }},");
    }
    code += "}\n";
    code
}
