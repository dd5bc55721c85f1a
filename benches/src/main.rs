//! Measurements. Each prints what it measured and the ratio that matters, against a floor of the same run:
//! `cargo run --release -p benches -- <name>`.

mod derive;

use std::process::ExitCode;

/// A measurement, by its name.
type Measurement = fn() -> Result<(), Box<dyn std::error::Error>>;

const MEASUREMENTS: &[(&str, &str, Measurement)] =
    &[("derive", "what the macros add to the time of `cargo check`", derive::run)];

fn main() -> ExitCode {
    let wanted = std::env::args().nth(1).unwrap_or_default();
    let Some((_, _, run)) = MEASUREMENTS.iter().find(|(name, ..)| *name == wanted) else {
        eprintln!("usage: cargo run --release -p benches -- <name>\n");
        for (name, what, _) in MEASUREMENTS {
            eprintln!("  {name:10} {what}");
        }
        return ExitCode::FAILURE;
    };
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{wanted}: {error}");
            ExitCode::FAILURE
        }
    }
}
