//! Runs schedules of the fault harness, as many as asked, and prints how often each promise was checked under a
//! fault at each point.
//!
//! ```text
//! schedules [--count 1000] [--seed 0] [--store sqlite|postgres|mysql]… [--workers 4] [--repeat 1]
//!           [--patience SECONDS] [--fail-fast]
//! ```
//!
//! Without `--store`, every store that can be reached. Ends with 1 if a promise was broken.

use std::{process::ExitCode, time::Duration};

use rustok_events_tests::{Backend, schedules::Schedules};

struct Arguments {
    stores: Vec<Backend>,
    count: u64,
    seed: u64,
    workers: usize,
    repeat: u32,
    patience: Duration,
    fail_fast: bool,
}

impl Arguments {
    fn read() -> Result<Self, String> {
        let mut arguments = Self {
            stores: Vec::new(),
            count: 1000,
            seed: 0,
            workers: 4,
            repeat: 1,
            patience: Duration::from_secs(20),
            fail_fast: false,
        };
        let mut words = std::env::args().skip(1);
        while let Some(word) = words.next() {
            if word == "--fail-fast" {
                arguments.fail_fast = true;
                continue;
            }
            let value = words.next().ok_or_else(|| format!("{word} needs a value"))?;
            let number =
                || value.parse::<u64>().map_err(|error| format!("{word} {value}: {error}"));
            match word.as_str() {
                "--store" => arguments.stores.push(
                    Backend::named(&value).ok_or("the stores are sqlite, postgres and mysql")?,
                ),
                "--count" => arguments.count = number()?,
                "--seed" => arguments.seed = number()?,
                "--workers" => arguments.workers = usize::try_from(number()?).unwrap_or(1),
                "--repeat" => arguments.repeat = u32::try_from(number()?).unwrap_or(1),
                "--patience" => arguments.patience = Duration::from_secs(number()?),
                _ => return Err(format!("there is no option {word}")),
            }
        }
        if arguments.stores.is_empty() {
            arguments.stores = Backend::available("schedules");
        }
        Ok(arguments)
    }
}

fn main() -> ExitCode {
    let arguments = match Arguments::read() {
        Ok(arguments) => arguments,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::from(2);
        }
    };
    let mut broken = 0;
    for backend in arguments.stores {
        for _ in 0..arguments.repeat {
            let schedules = Schedules {
                workers: arguments.workers,
                patience: arguments.patience,
                fail_fast: arguments.fail_fast,
                ..Schedules::new(backend, arguments.seed, arguments.count)
            };
            let outcome = schedules.run();
            print!("{}", outcome.matrix);
            println!(
                "{}: {} schedules, {} events, {} broken, {:.1} s\n",
                backend.name(),
                outcome.run,
                outcome.events,
                outcome.failures.len(),
                outcome.elapsed.as_secs_f64()
            );
            for (seed, error) in &outcome.failures {
                println!("{error}\nagain: {}\n", schedules.replay(*seed));
            }
            broken += outcome.failures.len();
        }
    }
    ExitCode::from(u8::from(broken > 0))
}
