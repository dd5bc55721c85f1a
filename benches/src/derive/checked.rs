//! Crates that are written to be checked, and how long that takes.

use std::{
    error::Error,
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

/// A crate to be checked.
pub(super) struct Crate(PathBuf);

impl Crate {
    pub(super) fn write(
        place: &Path,
        name: &str,
        features: &str,
        code: &str,
    ) -> Result<Self, Box<dyn Error>> {
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

/// The times of several crates in seconds, round by round: checked in turns, so that a slow moment meets them all.
pub(super) fn in_turns<const N: usize>(
    crates: [&Crate; N],
    rounds: usize,
) -> Result<[Vec<f64>; N], Box<dyn Error>> {
    for one in crates {
        one.check()?;
    }
    let mut times = [const { Vec::new() }; N];
    for _ in 0..rounds {
        for (one, times) in crates.iter().zip(&mut times) {
            times.push(one.check()?.as_secs_f64());
        }
    }
    Ok(times)
}

/// The one in the middle; of an even number, the upper of the two.
pub(super) fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
