//! The grants of `docs/operations.md`, as they stand there: each role does its work with them and with no more.

use std::sync::Arc;

use rustok_events::{
    ConsumerRuntime, Relay, RelayConfig, TransactionalEventBus, migration::Migrator,
    testing::MemoryTransport,
};
use rustok_events_tests::{Backend, TestDatabase, eventually};
use sea_orm::{ConnectOptions, ConnectionTrait, Database, DatabaseConnection, TransactionTrait};
use sea_orm_migration::MigratorTrait;
use tokio_util::sync::CancellationToken;

use crate::domain::{ALWAYS, App, TENANT, step, walk};

const ROLES: [&str; 4] = ["app_migrator", "app_publisher", "app_relay", "app_consumer"];

/// The statements of the page, for roles and a schema of this test's own.
struct Page {
    blocks: Vec<String>,
    suffix: String,
}

impl Page {
    fn read(schema: &str) -> Self {
        let page = include_str!("../../../docs/operations.md");
        let suffix = schema.trim_start_matches("rustok_test").to_owned();
        let blocks = page.split("```sql\n").skip(1).map(|block| {
            let mut sql = block.split("```").next().unwrap().to_owned();
            for role in ROLES {
                sql = sql.replace(role, &format!("{role}{suffix}"));
            }
            sql.replace("SCHEMA events", &format!("SCHEMA {schema}"))
        });
        Self { blocks: blocks.collect(), suffix }
    }

    async fn connect(&self, database: &TestDatabase, role: &str) -> DatabaseConnection {
        let (scheme, rest) = database.url.split_once("://").unwrap();
        let place = rest.rsplit_once('@').map_or(rest, |(_, place)| place);
        let url = format!("{scheme}://{role}{}:change-me@{place}", self.suffix);
        let mut options = ConnectOptions::new(url);
        options.max_connections(4).min_connections(0).sqlx_logging(false);
        options.set_schema_search_path(&database.schema);
        Database::connect(options).await.unwrap()
    }

    async fn drop_roles(&self, database: &TestDatabase) {
        let statements = ["DROP OWNED BY", "DROP ROLE"];
        for (statement, role) in statements.iter().flat_map(|sql| ROLES.map(|role| (sql, role))) {
            let cascade = if *statement == "DROP OWNED BY" { " CASCADE" } else { "" };
            let sql = format!("{statement} {role}{}{cascade}", self.suffix);
            database.db.execute_unprepared(&sql).await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_role_does_its_work_with_its_grants_alone() {
    if !Backend::Postgres.is_available("each_role_does_its_work_with_its_grants_alone") {
        return;
    }
    let database = Backend::Postgres.create_empty().await;
    let page = Page::read(&database.schema);
    assert_eq!(page.blocks.len(), 2, "who creates the roles, and what each may do");
    database.db.execute_unprepared(&page.blocks[0]).await.unwrap();
    let given = Arc::new((database, page));
    let worked = tokio::spawn(work(Arc::clone(&given))).await;
    // Roles are the whole cluster's: they go whatever became of the work.
    given.1.drop_roles(&given.0).await;
    worked.unwrap();
}

async fn work(given: Arc<(TestDatabase, Page)>) {
    let (database, page) = &*given;
    let migrator = page.connect(database, "app_migrator").await;
    Migrator::up(&migrator, None).await.unwrap();
    migrator.execute_unprepared(&page.blocks[1]).await.unwrap();
    let ledger = format!(
        "CREATE TABLE ledger (id bigserial, event_key varchar(255), number bigint);
         GRANT INSERT ON ledger TO app_consumer{0};
         GRANT USAGE ON SEQUENCE ledger_id_seq TO app_consumer{0}",
        page.suffix
    );
    migrator.execute_unprepared(&ledger).await.unwrap();
    migrator.close().await.unwrap();

    let publisher = page.connect(database, "app_publisher").await;
    let bus = TransactionalEventBus::new();
    let txn = publisher.begin().await.unwrap();
    bus.publish_all_in_tx(&txn, TENANT, None, (0..20).map(|number| step("a", number)))
        .await
        .unwrap();
    bus.event(step("b", 20))
        .tenant(TENANT)
        .id(uuid::Uuid::now_v7())
        .publish_in_tx(&txn)
        .await
        .unwrap();
    bus.publish_at(&txn, TENANT, None, chrono::Utc::now(), step("c", 21)).await.unwrap();
    bus.commit(txn).await.unwrap();
    let refused = publisher.execute_unprepared("DELETE FROM rustok_outbox").await;
    assert!(refused.is_err(), "a publisher only adds");
    assert!(publisher.execute_unprepared("SELECT 1 FROM rustok_inbox").await.is_err());

    let transport = MemoryTransport::new();
    let (state, token) = (App::default(), CancellationToken::new());
    state.fail(20, ALWAYS);
    let relay = page.connect(database, "app_relay").await;
    let relay = Relay::new(relay, transport.clone(), RelayConfig::default());
    let relay = tokio::spawn(relay.run(token.clone()));
    let consumer = page.connect(database, "app_consumer").await;
    let mut config = rustok_events::ConsumerConfig::default();
    config.inbox_retention = Some(std::time::Duration::ZERO);
    config.hygiene_tick = std::time::Duration::from_millis(50);
    config.retry_in_place = std::time::Duration::ZERO;
    let runtime = ConsumerRuntime::builder(consumer.clone(), transport)
        .state(state.clone())
        .config(config)
        .handler(walk);
    let runtime = tokio::spawn(runtime.build().unwrap().run(token.clone()));
    let handled = "SELECT COUNT(*) FROM ledger";
    eventually(|| async { database.count(handled).await == 21 }).await;
    let dead = "SELECT COUNT(*) FROM rustok_held WHERE state = 'dead'";
    eventually(|| async { database.count(dead).await == 1 }).await;
    let letters = rustok_events::dead_letter::DeadLetters::new(consumer.clone());
    let id = letters.list(&rustok_events::dead_letter::Filter::new()).await.unwrap()[0].id;
    state.fail(20, 0);
    letters.retry(id).await.unwrap();
    eventually(|| async { database.count(handled).await == 22 }).await;
    eventually(|| async { database.count("SELECT COUNT(*) FROM rustok_inbox").await == 0 }).await;
    assert!(consumer.execute_unprepared("DELETE FROM rustok_outbox").await.is_err());
    // The relay makes the log's partitions, and they are the migrator's like the rest.
    let of_migrator = "SELECT COUNT(*) FROM pg_tables
                        WHERE schemaname = current_schema() AND tablename ~ '^rustok_outbox_[0-9]+$'
                          AND tableowner LIKE 'app_migrator%'";
    eventually(|| async { database.count(of_migrator).await == 2 }).await;
    token.cancel();
    relay.await.unwrap().unwrap();
    runtime.await.unwrap().unwrap();
}
