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
    if let Some(skipped) = skipped(&String::from_utf8_lossy(&version)) {
        // Straight to the stream: the test harness would swallow a print.
        writeln!(io::stderr(), "{skipped}").expect("stderr is open");
        return;
    }
    let tests = trybuild::TestCases::new();
    for case in cases {
        tests.compile_fail(case);
    }
}

/// What is said instead of a comparison with another compiler's messages.
fn skipped(version: &str) -> Option<String> {
    let other = !version.starts_with(MESSAGES_OF);
    other.then(|| {
        format!("SKIP ui: the messages are those of {MESSAGES_OF}x, this is {}", version.trim())
    })
}

#[test]
fn only_the_compiler_of_the_messages_is_compared_with() {
    assert_eq!(skipped("rustc 1.95.0 (f2d3ce0bd 2026-03-21)\n"), None);
    assert_eq!(skipped("rustc 1.95.1 (0123456789 2026-05-01)\n"), None);
    for other in ["rustc 1.94.0 (4a4ef493e 2026-03-02)\n", "rustc 1.950.0\n", ""] {
        let said = skipped(other).expect("another compiler is skipped");
        assert!(said.starts_with("SKIP ui: the messages are those of rustc 1.95.x"), "{said}");
        assert!(said.ends_with(other.trim()), "{said}");
    }
}
