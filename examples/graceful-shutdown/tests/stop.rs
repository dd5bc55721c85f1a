//! Stopped again and again in the middle of the work: every report is written once.

use std::time::Duration;

use graceful_shutdown::{ReportAsked, create_table, serve};
use rustok_events::{TransactionalEventBus, migration::Migrator, testing::MemoryTransport};
use sea_orm::{ConnectionTrait, Database, Statement, TransactionTrait};
use sea_orm_migration::MigratorTrait;
use uuid::Uuid;

const REPORTS: i64 = 40;

#[tokio::test]
async fn stops_in_the_middle_lose_nothing_and_repeat_nothing() {
    let db = Database::connect("sqlite:file:reports?mode=memory&cache=shared").await.unwrap();
    Migrator::up(&db, None).await.unwrap();
    create_table(&db).await.unwrap();
    let bus = TransactionalEventBus::new();
    let txn = db.begin().await.unwrap();
    let events = (0..REPORTS).map(|number| ReportAsked { number });
    bus.publish_all_in_tx(&txn, Uuid::from_u128(1), None, events).await.unwrap();
    bus.commit(txn).await.unwrap();
    let transport = MemoryTransport::new();
    let count = async |sql: &str| -> i64 {
        let statement = Statement::from_string(db.get_database_backend(), sql);
        db.query_one_raw(statement).await.unwrap().unwrap().try_get_by_index(0).unwrap()
    };
    let mut stops = 0;
    while count("SELECT COUNT(*) FROM reports").await < REPORTS {
        let signal = tokio::time::sleep(Duration::from_millis(150));
        serve(db.clone(), transport.clone(), signal).await.unwrap();
        stops += 1;
        assert!(stops < 100, "it does not get on");
    }
    assert!(stops > 1, "it was not stopped in the middle");
    assert_eq!(count("SELECT COUNT(*) FROM reports").await, REPORTS);
    assert_eq!(count("SELECT COUNT(DISTINCT number) FROM reports").await, REPORTS);
}
