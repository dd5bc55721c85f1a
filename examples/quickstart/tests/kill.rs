//! `kill -9` of the quickstart before and after each database commit and each broker call on the road: started
//! again, it ends every time as if nothing had happened.

use std::{
    fs,
    io::{BufRead, BufReader, Read},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{Mutex, mpsc},
    thread,
    time::Duration,
};

use rustok_events::testing::FAULT_POINTS;

/// Enough for every point to be passed several times, few enough to be done quickly.
const ORDERS: usize = 60;
const EXPECTED: &str = "published=120 handled=180 duplicates=0 out_of_order=0 lost=0 dead=0";
/// Each point is tried at its first and at a later passing.
const PASSINGS: [u32; 2] = [1, 2];
/// Points that are passed once in a run.
const PASSED_ONCE: [&str; 4] = [
    "relay.lease.before",
    "relay.lease.after",
    "consumer.provision.before",
    "consumer.provision.after",
];
/// Points that a run without refused, delayed or failing events does not pass.
const NEVER_PASSED: [&str; 6] = [
    "relay.park.before",
    "relay.park.after",
    "relay.release.before",
    "relay.release.after",
    "consumer.claim.before",
    "consumer.claim.after",
];
const PATIENCE: Duration = Duration::from_mins(1);

fn orders(folder: &Path) -> PathBuf {
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/orders.jsonl");
    let lines: Vec<String> =
        fs::read_to_string(shipped).unwrap().lines().take(ORDERS).map(str::to_owned).collect();
    let file = folder.join("orders.jsonl");
    fs::write(&file, lines.join("\n")).unwrap();
    file
}

fn quickstart(data: &Path, file: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_quickstart"));
    command.arg(file).arg("--data").arg(data).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Runs until the program stands still at a point, and kills it there.
fn run_and_kill(data: &Path, file: &Path, stop_at: &str) -> Result<(), String> {
    let mut child = quickstart(data, file).env("RUSTOK_EVENTS_STOP_AT", stop_at).spawn().unwrap();
    let stderr = BufReader::new(child.stderr.take().unwrap());
    let (send, lines) = mpsc::channel();
    let reader = thread::spawn(move || {
        for line in stderr.lines().map_while(Result::ok) {
            let _ = send.send(line);
        }
    });
    let mut said = Vec::new();
    let reached = loop {
        match lines.recv_timeout(PATIENCE) {
            Ok(line) if line == format!("stopped at {stop_at}") => break true,
            Ok(line) => said.push(line),
            Err(_) => break false,
        }
    };
    child.kill().unwrap();
    child.wait().unwrap();
    reader.join().unwrap();
    if reached { Ok(()) } else { Err(format!("{stop_at} was never passed:\n{}", said.join("\n"))) }
}

/// Runs to the end and returns the last line.
fn run_to_end(data: &Path, file: &Path) -> Result<String, String> {
    let mut child = quickstart(data, file).spawn().unwrap();
    let (mut output, mut errors) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
    let errors = thread::spawn(move || {
        let mut text = String::new();
        errors.read_to_string(&mut text).map(|_| text)
    });
    let mut text = String::new();
    output.read_to_string(&mut text).unwrap();
    let status = child.wait().unwrap();
    let errors = errors.join().unwrap().unwrap();
    if !status.success() {
        return Err(format!("{status}\n{text}\n{errors}"));
    }
    Ok(text.lines().last().unwrap_or_default().to_owned())
}

fn kill_and_go_on(point: &str, passing: u32) -> Result<(), String> {
    let folder = tempfile::tempdir().unwrap();
    let (data, file) = (folder.path().join("data"), orders(folder.path()));
    let stop_at = format!("{point}#{passing}");
    run_and_kill(&data, &file, &stop_at)?;
    let last = run_to_end(&data, &file).map_err(|error| format!("{stop_at}: {error}"))?;
    if last == EXPECTED { Ok(()) } else { Err(format!("{stop_at}: {last}")) }
}

#[test]
fn a_kill_at_every_point_loses_nothing_and_repeats_nothing() {
    let mut cases: Vec<(&str, u32)> = FAULT_POINTS
        .iter()
        .filter(|point| !NEVER_PASSED.contains(point))
        .flat_map(|point| PASSINGS.map(|passing| (*point, passing)))
        .filter(|(point, passing)| *passing == 1 || !PASSED_ONCE.contains(point))
        .collect();
    let total = cases.len();
    cases.reverse();
    let (cases, failures) = (Mutex::new(cases), Mutex::new(Vec::new()));
    // Most of a case is waiting for the killed relay's lease to end.
    thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                loop {
                    let Some((point, passing)) = cases.lock().unwrap().pop() else { return };
                    if let Err(failure) = kill_and_go_on(point, passing) {
                        failures.lock().unwrap().push(failure);
                    }
                }
            });
        }
    });
    let failures = failures.into_inner().unwrap();
    println!("{total} kills, {} wrong", failures.len());
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn a_bad_line_is_named_and_skipped() {
    let folder = tempfile::tempdir().unwrap();
    let file = orders(folder.path());
    let mut lines = fs::read_to_string(&file).unwrap();
    lines.push_str("\n{\"order_id\": 7}\n");
    fs::write(&file, lines).unwrap();
    let output = quickstart(&folder.path().join("data"), &file).output().unwrap();
    let (out, err) =
        (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert!(output.status.success(), "{err}");
    assert_eq!(out.lines().last(), Some(EXPECTED));
    assert!(err.contains(&format!("line {}: skipped", ORDERS + 1)), "{err}");
}
