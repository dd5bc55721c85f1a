//! The two services as two processes: one embeds the broker for the other, both share one database: SQLite, and
//! PostgreSQL where `TEST_POSTGRES_URL` names a server.

use std::{
    io::{BufRead, BufReader, Write as _},
    net::TcpListener,
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use sea_orm::ConnectionTrait as _;
use tempfile::TempDir;
use uuid::Uuid;

/// Ends the process when the test ends, however it ends.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Where the services of one test find each other.
struct Place {
    folder: TempDir,
    database: String,
    port: u16,
}

impl Place {
    fn new(database: impl FnOnce(&Path) -> String) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        Self { database: database(folder.path()), folder, port }
    }

    fn service(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command
            .env("DATABASE_URL", &self.database)
            .env("IGGY_ADDRESS", format!("127.0.0.1:{}", self.port))
            .stdout(Stdio::piped());
        command
    }

    fn found(&self) -> String {
        let output =
            self.service(env!("CARGO_BIN_EXE_search-service")).args(["find", ""]).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        text.lines().last().unwrap_or_default().to_owned()
    }
}

fn start(command: &mut Command, ready: &str) -> Process {
    let mut child = command.spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    assert!(lines.any(|line| line == ready), "the service never said `{ready}`");
    thread::spawn(move || lines.for_each(drop));
    Process(child)
}

fn orders_placed_in_one_process_are_found_in_the_other(place: &Place) {
    let mut orders = place.service(env!("CARGO_BIN_EXE_order-service"));
    orders.arg("--embed").arg(place.folder.path().join("iggy")).args(["--orders", "40"]);
    let _orders = start(&mut orders, "order service ready");
    let _search =
        start(&mut place.service(env!("CARGO_BIN_EXE_search-service")), "search service ready");

    // 40 placed, every fourth cancelled.
    let deadline = Instant::now() + Duration::from_mins(1);
    while place.found() != "30 found" {
        assert!(Instant::now() < deadline, "{}", place.found());
        thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn on_sqlite() {
    let place = Place::new(|folder| format!("sqlite://{}/commerce.db?mode=rwc", folder.display()));
    orders_placed_in_one_process_are_found_in_the_other(&place);
}

#[test]
fn on_postgres() {
    let Ok(server) = std::env::var("TEST_POSTGRES_URL") else {
        // Not `eprintln!`, which the test harness would swallow.
        let _ = writeln!(
            std::io::stderr(),
            "SKIPPED commerce on PostgreSQL: TEST_POSTGRES_URL is not set"
        );
        return;
    };
    let schema = Schema::create(server);
    let place = Place::new(|_| schema.url());
    orders_placed_in_one_process_are_found_in_the_other(&place);
}

/// A schema of its own on a server, dropped at the end.
struct Schema {
    server: String,
    name: String,
}

impl Schema {
    fn create(server: String) -> Self {
        let schema = Self { server, name: format!("commerce_{}", Uuid::now_v7().simple()) };
        schema.execute(&format!("CREATE SCHEMA {}", schema.name));
        schema
    }

    fn url(&self) -> String {
        format!("{}?options=-c%20search_path%3D{}", self.server, self.name)
    }

    fn execute(&self, sql: &str) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let db = sea_orm::Database::connect(&self.server).await.unwrap();
            db.execute_unprepared(sql).await.unwrap();
        });
    }
}

impl Drop for Schema {
    fn drop(&mut self) {
        self.execute(&format!("DROP SCHEMA {} CASCADE", self.name));
    }
}
