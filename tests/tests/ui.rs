//! What does not compile, and what the compiler says of it.
//!
//! A message is as much the compiler's as ours, and the compiler's change from release to release: the `.stderr`
//! files hold those of one release, and any other skips the comparison, visibly.

use std::{
    io::{self, Write},
    process::Command,
};

/// The compiler whose messages the `.stderr` files hold. When it is raised, rewrite them with
/// `TRYBUILD=overwrite cargo test -p rustok-events-tests --test ui` and read the difference.
const MESSAGES_OF: &str = "rustc 1.95.";

#[test]
fn misuse_does_not_compile_and_says_what_to_do() {
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
    trybuild::TestCases::new().compile_fail("ui/**/*.rs");
}
