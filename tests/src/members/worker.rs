//! The other processes: the broker, and a member of the group. Each ends when its standard input does, so that none
//! outlives the driver.

use std::{net::SocketAddr, path::Path};

use rustok_events::{
    BoxError, ConsumerRuntime,
    iggy::{
        IggyConfig, IggyMode, IggyTransport,
        embedded::{BrokerConfig, EmbeddedBroker},
    },
    prelude::*,
};
use sea_orm::{ConnectionTrait, DatabaseTransaction};
use tokio::io::AsyncReadExt;
use tokio_util::sync::CancellationToken;

use super::{Echo, Step};
use crate::database;

#[event_handler(group = "members")]
async fn apply<S>(ctx: &mut HandlerContext<'_, S>, event: Step) -> HandlerResult {
    effect(ctx.tx(), "step", &event.key, event.number).await?;
    ctx.publish(Echo { key: event.key, number: event.number }).await?;
    Ok(())
}

#[event_handler(group = "members")]
async fn apply_echo<S>(ctx: &mut HandlerContext<'_, S>, event: Echo) -> HandlerResult {
    effect(ctx.tx(), "echo", &event.key, event.number).await?;
    Ok(())
}

async fn effect(
    txn: &DatabaseTransaction,
    kind: &str,
    key: &str,
    number: i64,
) -> Result<(), sea_orm::DbErr> {
    let sql = format!(
        "INSERT INTO effects (kind, event_key, number) VALUES ('{kind}', '{key}', {number})"
    );
    txn.execute_unprepared(&sql).await?;
    Ok(())
}

/// A transport to the broker at an address.
pub(super) async fn transport(broker: SocketAddr) -> Result<IggyTransport, BoxError> {
    let mut config = IggyConfig { mode: IggyMode::Remote, ..IggyConfig::default() };
    config.remote.addresses = vec![broker.to_string()];
    Ok(IggyTransport::new(config).await?)
}

/// Runs a broker on a folder, and prints its address.
///
/// # Errors
/// Whatever keeps it from running.
pub async fn broker(folder: &Path) -> Result<(), BoxError> {
    let broker = EmbeddedBroker::start(BrokerConfig::at(folder)).await?;
    println!("{}", broker.address());
    until_nobody_listens().await;
    Ok(())
}

/// Consumes as a member of the group.
///
/// # Errors
/// Whatever ends it before it is told to end.
pub async fn consume(broker: SocketAddr, url: &str, schema: &str) -> Result<(), BoxError> {
    let db = database::connect(url, schema, 8).await;
    let transport = transport(broker).await?;
    let runtime = ConsumerRuntime::builder(db, transport).handler(apply).handler(apply_echo);
    let stop = CancellationToken::new();
    let stopper = stop.clone();
    tokio::spawn(async move {
        until_nobody_listens().await;
        stopper.cancel();
    });
    Ok(runtime.build()?.run(stop).await?)
}

async fn until_nobody_listens() {
    let mut byte = [0];
    while matches!(tokio::io::stdin().read(&mut byte).await, Ok(1..)) {}
}
