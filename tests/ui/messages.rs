use std::{
    io::{self, Write},
    process::Command,
};

/// The compiler whose messages the `.stderr` files hold. When it is raised, rewrite them with
/// `TRYBUILD=overwrite cargo test -p rustok-events-ui-events -p rustok-events-ui-handlers`, and read the difference.
const MESSAGES_OF: &str = "rustc 1.95.";

/// Compiles every case and compares what the compiler says.
///
/// A message is as much the compiler's as ours, and the compiler's change from release to release: any other than
/// the one above skips the comparison, visibly.
pub(crate) fn compare(cases: &[&str]) {
    let compiler = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned());
    let version = Command::new(compiler).arg("--version").output().expect("rustc runs").stdout;
    let version = String::from_utf8_lossy(&version);
    if !version.starts_with(MESSAGES_OF) {
        // Straight to the stream: the test harness would swallow a print.
        writeln!(
            io::stderr(),
            "SKIP ui: the messages are those of {MESSAGES_OF}x, this is {version}"
        )
        .expect("stderr is open");
        return;
    }
    let tests = trybuild::TestCases::new();
    for case in cases {
        tests.compile_fail(case);
    }
}
