//! Asks for twenty reports and writes them; Ctrl-C stops it. Start it again, and it goes on.

use graceful_shutdown::{ReportAsked, create_table, serve};
use rustok_events::{
    TransactionalEventBus,
    iggy::{IggyConfig, IggyTransport},
    migration::Migrator,
};
use sea_orm::{Database, TransactionTrait};
use sea_orm_migration::MigratorTrait;
use uuid::Uuid;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let db = Database::connect("sqlite://graceful-shutdown.db?mode=rwc").await?;
    Migrator::up(&db, None).await?;
    create_table(&db).await?;
    let bus = TransactionalEventBus::new();
    let txn = db.begin().await?;
    let events = (0..20).map(|number| ReportAsked { number });
    bus.publish_all_in_tx(&txn, Uuid::from_u128(1), None, events).await?;
    bus.commit(txn).await?;
    println!("writing reports; Ctrl-C stops");
    let transport = IggyTransport::new(IggyConfig::default()).await?;
    serve(db, transport.clone(), tokio::signal::ctrl_c()).await?;
    transport.shutdown().await?;
    println!("stopped: what was begun is done");
    Ok(())
}
