//! A throw-away PostgreSQL cluster that may be killed, and replaced by its dump.

use std::{
    env, fs,
    net::TcpListener,
    os::unix::{fs::chown, process::CommandExt as _},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use tempfile::TempDir;

/// The programs of the server that are run.
const PROGRAMS: [&str; 6] = ["initdb", "postgres", "pg_ctl", "pg_isready", "pg_dump", "psql"];

/// A cluster in a temporary folder. Killed and removed when it is dropped.
#[derive(Debug)]
pub struct Cluster {
    folder: TempDir,
    programs: PathBuf,
    /// What is set on the command line: `name=value`.
    settings: &'static [&'static str],
    user: Option<(u32, u32)>,
    port: u16,
    postmaster: Child,
}

impl Cluster {
    /// Makes a cluster and starts it with settings, each `name=value`. `None` if the server's programs are neither in
    /// `PATH` nor in Debian's folder.
    pub fn create(settings: &'static [&'static str]) -> Option<Self> {
        let programs = programs()?;
        let folder = tempfile::Builder::new().prefix("rustok-processes-").tempdir();
        let folder = folder.expect("a temporary folder");
        let user = unprivileged(folder.path());
        if let Some((uid, gid)) = user {
            chown(folder.path(), Some(uid), Some(gid)).expect("the folder is given to postgres");
        }
        init(&programs, folder.path(), user);
        let port = free_port();
        let postmaster = start(&programs, folder.path(), port, user, settings);
        let cluster = Self { folder, programs, settings, user, port, postmaster };
        cluster.wait();
        Some(cluster)
    }

    /// Where its database `postgres` is.
    pub fn url(&self) -> String {
        format!("postgres://postgres@127.0.0.1:{}/postgres", self.port)
    }

    /// Kills every process of the server at once, as a crash of the machine does but for what the kernel still holds.
    pub fn kill(&mut self) {
        let children = children(self.postmaster.id());
        let _ = self.postmaster.kill();
        for child in children {
            // One that has ended by itself is as dead.
            let _ = Command::new("kill")
                .args(["-9", &child.to_string()])
                .stderr(Stdio::null())
                .status();
        }
        let _ = self.postmaster.wait();
    }

    /// Stops the server at once, without a checkpoint.
    pub fn stop_immediately(&mut self) {
        let stopped = command(&self.programs.join("pg_ctl"), self.user)
            .args(["stop", "-m", "immediate", "-D"])
            .arg(self.folder.path().join("data"))
            .stdout(Stdio::null())
            .status();
        assert!(stopped.expect("pg_ctl runs").success(), "pg_ctl stop -m immediate");
        let _ = self.postmaster.wait();
    }

    /// Starts the server again and waits until it has recovered.
    pub fn start(&mut self) {
        self.postmaster =
            start(&self.programs, self.folder.path(), self.port, self.user, self.settings);
        self.wait();
    }

    /// The database as SQL.
    pub fn dump(&self) -> Vec<u8> {
        let dumped = Command::new(self.programs.join("pg_dump")).arg(self.url()).output();
        let dumped = dumped.expect("pg_dump runs");
        assert!(dumped.status.success(), "{}", String::from_utf8_lossy(&dumped.stderr));
        dumped.stdout
    }

    /// Kills the server and puts a new cluster in its place, at the same address, that holds a [`dump`](Self::dump).
    pub fn replace(&mut self, dump: &[u8]) {
        self.kill();
        fs::remove_dir_all(self.folder.path().join("data")).expect("the data is removed");
        init(&self.programs, self.folder.path(), self.user);
        // At another address until it is all there.
        let port = std::mem::replace(&mut self.port, free_port());
        self.start();
        let file = self.folder.path().join("dump.sql");
        fs::write(&file, dump).expect("the dump can be written");
        let restored = Command::new(self.programs.join("psql"))
            .args(["-q", "-v", "ON_ERROR_STOP=1", "-o", "/dev/null", "-f"])
            .arg(file)
            .arg(self.url())
            .output();
        let restored = restored.expect("psql runs");
        assert!(restored.status.success(), "{}", String::from_utf8_lossy(&restored.stderr));
        self.stop_immediately();
        self.port = port;
        self.start();
    }

    fn wait(&self) {
        let deadline = Instant::now() + Duration::from_mins(1);
        let port = self.port.to_string();
        let ready = || {
            Command::new(self.programs.join("pg_isready"))
                .args(["-q", "-h", "127.0.0.1", "-p", &port])
                .status()
                .is_ok_and(|status| status.success())
        };
        while !ready() {
            if Instant::now() >= deadline {
                let log = fs::read_to_string(self.folder.path().join("log"));
                panic!("PostgreSQL does not start:\n{}", log.unwrap_or_default());
            }
            thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.kill();
    }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("the port is known").port()
}

fn init(programs: &Path, folder: &Path, user: Option<(u32, u32)>) {
    let made = command(&programs.join("initdb"), user)
        .args(["-A", "trust", "-U", "postgres", "-E", "UTF8", "--no-locale", "-D"])
        .arg(folder.join("data"))
        .output()
        .expect("initdb runs");
    assert!(made.status.success(), "initdb: {}", String::from_utf8_lossy(&made.stderr));
}

fn start(
    programs: &Path,
    folder: &Path,
    port: u16,
    user: Option<(u32, u32)>,
    settings: &[&str],
) -> Child {
    let log = fs::OpenOptions::new().append(true).create(true).open(folder.join("log"));
    let log = log.expect("the log can be written");
    command(&programs.join("postgres"), user)
        .arg("-D")
        .arg(folder.join("data"))
        .args(["-p", &port.to_string(), "-c", "listen_addresses=127.0.0.1"])
        .args(["-c", "unix_socket_directories=", "-c", "max_connections=100"])
        .args(settings.iter().flat_map(|setting| ["-c", setting]))
        .stdout(log.try_clone().expect("a second handle of the log"))
        .stderr(log)
        .spawn()
        .expect("postgres starts")
}

fn command(program: &Path, user: Option<(u32, u32)>) -> Command {
    let mut command = Command::new(program);
    command.current_dir("/").stdin(Stdio::null());
    if let Some((uid, gid)) = user {
        command.uid(uid).gid(gid);
    }
    command
}

/// Where the server's programs are: in `PATH`, or the newest in Debian's folder.
fn programs() -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = env::split_paths(&path).collect();
    let mut debian: Vec<PathBuf> = fs::read_dir("/usr/lib/postgresql")
        .map(|versions| versions.flatten().map(|version| version.path().join("bin")).collect())
        .unwrap_or_default();
    debian.sort();
    folders.extend(debian.into_iter().rev());
    let has_all = |folder: &PathBuf| PROGRAMS.iter().all(|name| folder.join(name).exists());
    folders.into_iter().find(has_all)
}

/// PostgreSQL refuses to run as root: then its own user's ids.
fn unprivileged(owned: &Path) -> Option<(u32, u32)> {
    use std::os::unix::fs::MetadataExt as _;

    let me = fs::metadata(owned).expect("the folder is there").uid();
    if me != 0 {
        return None;
    }
    let users = fs::read_to_string("/etc/passwd").expect("the users are known");
    let ids = users.lines().find_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        let is_postgres = fields.first() == Some(&"postgres");
        is_postgres.then(|| Some((fields.get(2)?.parse().ok()?, fields.get(3)?.parse().ok()?)))?
    });
    Some(ids.expect("a user `postgres`, since PostgreSQL does not run as root"))
}

/// The processes that a process started.
fn children(parent: u32) -> Vec<u32> {
    let Ok(processes) = fs::read_dir("/proc") else { return Vec::new() };
    let ids = processes.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    ids.filter(|id: &u32| {
        let stat = fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
        let after_name = stat.rsplit(')').next().unwrap_or_default();
        after_name.split_whitespace().nth(1) == Some(parent.to_string().as_str())
    })
    .collect()
}
