//! The first process: starts the others, kills them, lets everything drain, judges.

use std::{
    env,
    fs::OpenOptions,
    net::TcpListener,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use rustok_events::{migration::Migrator, outbox::outbox_status};
use sea_orm::{ConnectionTrait, DatabaseConnection};
use sea_orm_migration::MigratorTrait;
use uuid::Uuid;

use super::{Draw, KEYS, Place, Plan, Role, Verdict, judge};
use crate::Cluster;
use crate::rows;

const WRITERS: u64 = 4;
const RELAYS: u64 = 3;
/// Once nobody writes or kills, what stands still for so long is lost.
const PATIENCE: Duration = Duration::from_mins(1);

/// A process of the run. Killed when it is dropped.
struct Process {
    role: Role,
    number: u64,
    child: Child,
}

impl Process {
    fn start(role: Role, number: u64, folder: &Path) -> Self {
        let log = folder.join(format!("{}-{number}.log", role.name()));
        let log = OpenOptions::new().append(true).create(true).open(log).expect("the log opens");
        let child = Command::new(env::current_exe().expect("this program"))
            .args(["--role", role.name(), "--number", &number.to_string(), "--folder"])
            .arg(folder)
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("the process starts");
        Self { role, number, child }
    }

    fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Runs a plan to its end and judges what came of it.
pub async fn run(plan: &Plan) -> Verdict {
    let folder = tempfile::Builder::new().prefix("rustok-ledgers-").tempdir();
    let folder = folder.expect("a temporary folder");
    let mut cluster = plan.database.is_none().then(|| {
        Cluster::create(&[]).expect(
            "initdb, postgres, pg_ctl, pg_dump and psql are in PATH or /usr/lib/postgresql; or give --database URL",
        )
    });
    let server = match (&plan.database, &cluster) {
        (Some(url), _) => url.clone(),
        (None, Some(cluster)) => cluster.url(),
        (None, None) => unreachable!("without a server there is a cluster"),
    };
    let schema = format!("processes_{}", Uuid::now_v7().simple());
    let place = Place {
        folder: folder.path().to_owned(),
        database: format!("{server}?options=-c%20search_path%3D{schema}"),
        broker: plan.broker.clone().unwrap_or_else(free_address),
        rate_per_writer: plan.rate / WRITERS,
    };
    place.write();
    let db = place.database(2).await;
    prepare(&db, &schema).await;

    let mut processes = Vec::new();
    let mut start = |role, number| processes.push(Process::start(role, number, folder.path()));
    if plan.broker.is_none() {
        start(Role::Broker, 0);
    }
    (0..RELAYS).for_each(|number| start(Role::Relay, number));
    start(Role::Consumer, 0);
    (0..WRITERS).for_each(|number| start(Role::Writer, number));

    let (kills, died) = kill_at_random(plan, &mut processes, cluster.as_mut(), folder.path()).await;
    processes.retain(|process| process.role != Role::Writer);
    let drained = drain(&db).await;
    processes.retain(|process| process.role == Role::Broker);
    let verdict =
        judge::judge(&place, &db, Verdict { kills, died, drained, ..Verdict::default() }).await;
    if plan.database.is_some() {
        let drop = format!("DROP SCHEMA {schema} CASCADE");
        db.execute_unprepared(&drop).await.expect("the schema is dropped");
    }
    if verdict.holds(plan) {
        return verdict;
    }
    eprintln!("ledgers and logs are kept in {}", folder.keep().display());
    verdict
}

/// An address that nobody listens on now.
fn free_address() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("the port is known").to_string()
}

/// Kills one process a second; how many, and how many ended by themselves.
async fn kill_at_random(
    plan: &Plan,
    processes: &mut [Process],
    mut cluster: Option<&mut Cluster>,
    folder: &Path,
) -> (u64, Vec<String>) {
    let mut draw = Draw(plan.seed);
    let (begun, mut kills, mut died) = (Instant::now(), 0, Vec::new());
    let mut crashes = 0;
    while begun.elapsed() < plan.duration {
        tokio::time::sleep(Duration::from_millis(500 + draw.below(1000))).await;
        for process in processes.iter_mut() {
            if let Ok(Some(status)) = process.child.try_wait() {
                died.push(format!("{}-{}: {status}", process.role.name(), process.number));
                *process = Process::start(process.role, process.number, folder);
            }
        }
        let chosen = usize::try_from(draw.below(processes.len() as u64)).unwrap_or(0);
        let victim = &mut processes[chosen];
        victim.kill();
        kills += 1;
        *victim = Process::start(victim.role, victim.number, folder);
        if let Some(cluster) = cluster.as_deref_mut()
            && begun.elapsed() > plan.duration * (crashes + 1) / 3
            && crashes < 2
        {
            if crashes == 0 {
                cluster.kill();
            } else {
                cluster.stop_immediately();
            }
            crashes += 1;
            kills += 1;
            cluster.start();
        }
    }
    (kills, died)
}

/// Waits until everything that was committed is published and handled; `false` if that came to a standstill.
async fn drain(db: &DatabaseConnection) -> bool {
    let (mut last, mut moved) = ((u64::MAX, 0), Instant::now());
    while moved.elapsed() < PATIENCE {
        tokio::time::sleep(Duration::from_millis(500)).await;
        // A database that does not answer has not moved.
        let Ok(status) = outbox_status(db).await else { continue };
        let waiting = status.backlog;
        let mut handled = 0;
        if waiting == 0 {
            let sql = "SELECT (SELECT COALESCE(SUM(number), 0)::bigint FROM counters),
                              (SELECT COUNT(*) FROM (SELECT DISTINCT event_key, number FROM effects) handled)";
            let counts: Vec<(i64, i64)> = rows(db, sql).await;
            let (written, of_them) = counts.first().copied().unwrap_or_default();
            if written == of_them {
                return true;
            }
            handled = of_them;
        }
        if std::mem::replace(&mut last, (waiting, handled)) != last {
            moved = Instant::now();
        }
    }
    false
}

/// The tables of the outbox, those of the run, and a trigger that counts take-overs: a part that had an owner who did
/// not give it back, and whose window was begun and not at its end.
async fn prepare(db: &DatabaseConnection, schema: &str) {
    let create = format!("CREATE SCHEMA {schema}");
    db.execute_unprepared(&create).await.expect("the schema is created");
    Migrator::up(db, None).await.expect("the tables are created");
    let tables = format!(
        "CREATE TABLE counters (event_key bigint PRIMARY KEY, number bigint NOT NULL) WITH (fillfactor = 50);
         INSERT INTO counters SELECT key, 0 FROM generate_series(0, {}) key;
         CREATE TABLE written (txn uuid NOT NULL, event_key bigint NOT NULL, first bigint NOT NULL, last bigint NOT NULL);
         CREATE TABLE effects (id bigserial, event_key bigint NOT NULL, number bigint NOT NULL, event_id uuid NOT NULL);
         CREATE TABLE takeovers (part bigint NOT NULL, epoch bigint NOT NULL, mid_window boolean NOT NULL);
         CREATE FUNCTION note_takeover() RETURNS trigger LANGUAGE plpgsql AS $$
         BEGIN
             INSERT INTO takeovers VALUES (NEW.part, NEW.epoch, OLD.hi IS NOT NULL);
             RETURN NULL;
         END $$;
         CREATE TRIGGER takeover AFTER UPDATE ON rustok_outbox_cursor FOR EACH ROW
             WHEN (NEW.epoch > OLD.epoch AND OLD.owner IS NOT NULL AND NEW.owner <> OLD.owner)
             EXECUTE FUNCTION note_takeover()",
        KEYS - 1
    );
    db.execute_unprepared(&tables).await.expect("the tables of the run are created");
}
