//! What the macros cost a domain crate and a service when they are compiled.
//!
//! A crate of 150 structs and of an enum of 40 variants is written twice, with and without `DomainEvent` beside
//! serde's derives, and checked in turns. A service with 0, 75 and 150 handlers in one builder is checked likewise.
//!
//! The ratios are of processor time where the system tells it (Linux), since a busy machine doubles the time on the
//! clock and leaves that one alone; elsewhere they are of the clock.

use std::{
    error::Error,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

const STRUCTS: usize = 150;
const VARIANTS: usize = 40;
const ROUNDS: usize = 5;
/// The most that `DomainEvent` may add.
const LIMIT: f64 = 1.35;

/// Runs the measurement.
pub(crate) fn run() -> Result<(), Box<dyn Error>> {
    let place = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/benches/derive");
    events(&place)?;
    handlers(&place)
}

fn events(place: &Path) -> Result<(), Box<dyn Error>> {
    let without = Crate::write(place, "without", "", &domain(false))?;
    let with = Crate::write(place, "with", "", &domain(true))?;
    let [without, with] = in_turns([&without, &with])?;
    println!("cargo check of {STRUCTS} structs and {VARIANTS} variants, median of {ROUNDS}:");
    println!("  Serialize, Deserialize                {without:>8.2?}");
    println!("  Serialize, Deserialize, DomainEvent   {with:>8.2?}");
    let ratio = with.as_secs_f64() / without.as_secs_f64();
    println!("  ratio {ratio:.2} (at most {LIMIT})\n");
    Ok(())
}

fn handlers(place: &Path) -> Result<(), Box<dyn Error>> {
    let service = |count| {
        let name = format!("handlers-{count}");
        Crate::write(place, &name, r#", features = ["runtime"]"#, &service(count))
    };
    let [none, half, all] = in_turns([&service(0)?, &service(75)?, &service(150)?])?;
    println!("cargo check of a service whose builder takes n handlers, median of {ROUNDS}:");
    println!("  n =   0   {none:>8.2?}\n  n =  75   {half:>8.2?}\n  n = 150   {all:>8.2?}");
    let first = half.saturating_sub(none).as_secs_f64();
    let second = all.saturating_sub(half).as_secs_f64();
    println!("  the second 75 cost {:.2} times the first 75 (linear is 1)", second / first);
    Ok(())
}

/// A crate to be checked.
struct Crate(PathBuf);

impl Crate {
    fn write(place: &Path, name: &str, features: &str, code: &str) -> Result<Self, Box<dyn Error>> {
        let folder = place.join(name);
        fs::create_dir_all(folder.join("src"))?;
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize()?;
        let library = root.join("rustok-events");
        let manifest = format!(
            r#"[package]
name = "{name}"
version = "0.0.0"
edition = "2024"

[dependencies]
chrono = {{ version = "0.4", default-features = false, features = ["serde", "std"] }}
rustok-events = {{ path = "{}", default-features = false{features} }}
serde = {{ version = "1", features = ["derive"] }}
uuid = {{ version = "1", features = ["serde"] }}

[workspace]
"#,
            library.display()
        );
        fs::write(folder.join("Cargo.toml"), manifest)?;
        fs::copy(root.join("Cargo.lock"), folder.join("Cargo.lock"))?;
        fs::write(folder.join("src/lib.rs"), code)?;
        Ok(Self(folder))
    }

    /// Checks the crate anew; its dependencies are checked already, from the second time on.
    fn check(&self) -> Result<Duration, Box<dyn Error>> {
        let source = self.0.join("src/lib.rs");
        fs::File::options().append(true).open(source)?.set_modified(std::time::SystemTime::now())?;
        let mut cargo = Command::new("cargo");
        cargo.args(["check", "--quiet", "--offline"]).current_dir(&self.0);
        cargo.env("CARGO_INCREMENTAL", "0").env("CARGO_TARGET_DIR", self.0.join("../target"));
        let (started, used) = (Instant::now(), processor_time());
        let output = cargo.output()?;
        let took = match (used, processor_time()) {
            (Some(before), Some(after)) => after.saturating_sub(before),
            _ => started.elapsed(),
        };
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into());
        }
        Ok(took)
    }
}

/// The processor time of all finished children, from `/proc`: ticks of 10 ms.
fn processor_time() -> Option<Duration> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    // The second field, the program's name, may hold spaces; it ends with the last parenthesis.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(13);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(Duration::from_millis((user + system) * 10))
}

/// The median times of several crates, checked in turns so that a slow moment meets them all.
fn in_turns<const N: usize>(crates: [&Crate; N]) -> Result<[Duration; N], Box<dyn Error>> {
    for one in crates {
        one.check()?;
    }
    let mut times = [const { Vec::new() }; N];
    for _ in 0..ROUNDS {
        for (one, times) in crates.iter().zip(&mut times) {
            times.push(one.check()?);
        }
    }
    Ok(times.map(|mut times| {
        times.sort();
        times[times.len() / 2]
    }))
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

fn service(handlers: usize) -> String {
    let mut code = format!("#![allow(dead_code, unused_imports)]\n{IMPORTS}");
    code +=
        "use rustok_events::{EventRuntime, EventRuntimeBuilder, prelude::*};\npub struct App;\n";
    for number in 0..150 {
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
    code += "pub fn build(builder: EventRuntimeBuilder<App>) -> EventRuntimeBuilder<App> {\n    builder\n";
    for number in 0..handlers {
        let _ = writeln!(code, "        .handler(handle{number})");
    }
    code += "}\n";
    code
}
