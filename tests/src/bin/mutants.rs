//! Makes each mutant in a copy of the workspace, builds it, and runs schedules until one fails. Prints the table of
//! `docs/proof.md`. Ends with 1 if a mutant lived through 200 schedules.
//!
//! ```text
//! mutants [WORD]        only those whose description holds the word
//! ```

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use rustok_events_tests::mutants::{MUTANTS, Mutant};

const MOST: u32 = 200;

fn main() -> ExitCode {
    let word = std::env::args().nth(1).unwrap_or_default();
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let workspace = workspace.canonicalize().expect("the workspace is there");
    let copy = workspace.join("target/mutants");
    copy_sources(&workspace, &copy);
    println!(
        "| promise | mutant | store | schedules until caught | seen as |\n|---|---|---|---|---|"
    );
    let mut alive = 0;
    for mutant in MUTANTS.iter().filter(|mutant| mutant.what.contains(&word)) {
        let caught = run(mutant, &copy);
        alive += u32::from(caught.is_none());
        let (schedules, seen_as) = caught.unwrap_or_else(|| ("never".to_owned(), String::new()));
        let (promise, store) = (mutant.promise.code(), mutant.store.name());
        println!("| {promise} | {} | {store} | {schedules} | {seen_as} |", mutant.what);
    }
    ExitCode::from(u8::from(alive > 0))
}

/// The files under version control, as they are now, and none that were there before.
fn copy_sources(workspace: &Path, copy: &Path) {
    for old in fs::read_dir(copy).into_iter().flatten().flatten() {
        let path = old.path();
        if path.is_dir() && !path.ends_with("target") {
            fs::remove_dir_all(path).expect("the copy can be removed");
        }
    }
    let list = ["ls-files", "--cached", "--others", "--exclude-standard"];
    let listed = Command::new("git").args(list).current_dir(workspace).output();
    let listed = String::from_utf8(listed.expect("git is there").stdout).expect("names are text");
    for name in listed.lines() {
        let (from, to) = (workspace.join(name), copy.join(name));
        let Ok(text) = fs::read(&from) else { continue };
        fs::create_dir_all(to.parent().expect("a file lies in a folder")).expect("a folder");
        fs::write(&to, text).expect("the copy can be written");
    }
}

/// How many schedules it took and which promises were seen broken; `None` if the mutant lived.
fn run(mutant: &Mutant, copy: &Path) -> Option<(String, String)> {
    let files: Vec<PathBuf> =
        mutant.edits.iter().map(|edit| copy.join("rustok-events/src").join(edit.file)).collect();
    let originals: Vec<String> =
        files.iter().map(|file| fs::read_to_string(file).expect("the file is there")).collect();
    for (edit, file) in mutant.edits.iter().zip(&files) {
        let text = fs::read_to_string(file).expect("the file is there");
        let edited = edit.apply(&text).expect("the edit fits");
        fs::write(file, edited).expect("the copy can be written");
    }
    let cargo = |command: &str| {
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args([command, "--quiet", "-p", "rustok-events-tests", "--bin", "schedules"]);
        // A target folder of its own: in that of the workspace cargo would take a mutant for the real thing, since it
        // tells packages apart by where they lie below their workspace.
        cargo.current_dir(copy).env("CARGO_TARGET_DIR", copy.join("target"));
        cargo.env("RUST_BACKTRACE", "0");
        cargo
    };
    let built = cargo("build").status().expect("cargo runs");
    assert!(built.success(), "the mutant does not compile: {}", mutant.what);
    let most = MOST.to_string();
    let arguments =
        ["--store", mutant.store.name(), "--count", &most, "--fail-fast", "--patience", "5"];
    let output = cargo("run").arg("--").args(arguments).output();
    let output = String::from_utf8_lossy(&output.expect("the schedules run").stdout).into_owned();
    for (file, original) in files.iter().zip(&originals).rev() {
        fs::write(file, original).expect("the copy can be written");
    }
    // `schedule 12: …`, then a line for each promise that was broken.
    let seed = output
        .lines()
        .find_map(|line| line.strip_prefix("schedule ")?.split_once(':')?.0.parse::<u32>().ok())?;
    let mut promises: Vec<&str> =
        output.lines().filter_map(|line| line.strip_prefix("  P").map(|_| &line[2..4])).collect();
    promises.sort_unstable();
    promises.dedup();
    Some(((seed + 1).to_string(), promises.join(", ")))
}
