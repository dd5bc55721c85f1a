//! The two services as two processes: one embeds the broker for the other, both share one database.

use std::{
    io::{BufRead, BufReader},
    net::TcpListener,
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

/// Ends the process when the test ends, however it ends.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn service(program: &str, folder: &Path, port: u16) -> Command {
    let mut command = Command::new(program);
    command
        .env("DATABASE_URL", format!("sqlite://{}/commerce.db?mode=rwc", folder.display()))
        .env("IGGY_ADDRESS", format!("127.0.0.1:{port}"))
        .stdout(Stdio::piped());
    command
}

fn start(command: &mut Command, ready: &str) -> Process {
    let mut child = command.spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    assert!(lines.any(|line| line == ready), "the service never said `{ready}`");
    thread::spawn(move || lines.for_each(drop));
    Process(child)
}

fn found(folder: &Path, port: u16) -> String {
    let output = service(env!("CARGO_BIN_EXE_search-service"), folder, port)
        .args(["find", ""])
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().last().unwrap_or_default().to_owned()
}

#[test]
fn orders_placed_in_one_process_are_found_in_the_other() {
    let folder = tempfile::tempdir().unwrap();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut orders = service(env!("CARGO_BIN_EXE_order-service"), folder.path(), port);
    orders.arg("--embed").arg(folder.path().join("iggy")).args(["--orders", "40"]);
    let _orders = start(&mut orders, "order service ready");
    let mut search = service(env!("CARGO_BIN_EXE_search-service"), folder.path(), port);
    let _search = start(&mut search, "search service ready");

    // 40 placed, every fourth cancelled.
    let deadline = Instant::now() + Duration::from_secs(30);
    while found(folder.path(), port) != "30 found" {
        assert!(Instant::now() < deadline, "{}", found(folder.path(), port));
        thread::sleep(Duration::from_millis(100));
    }
}
