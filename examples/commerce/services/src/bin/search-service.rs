//! The search service: keeps a table of what can be found, from events alone.

#![allow(unreachable_pub, reason = "nothing of a program is reachable from outside")]

use std::time::Duration;

use clap::{Parser, Subcommand};
use commerce::{Shared, stop_signal};
use commerce_events::{OrderCancelled, OrderIndexed, OrderPlaced};
use rustok_events::{EventRuntime, RelayConfig, iggy::IggyTransport, prelude::*};
use sea_orm::{
    ActiveModelTrait, ColumnTrait, ConnectionTrait, DatabaseConnection, EntityTrait, QueryFilter,
    QueryOrder, Schema, Set,
};

/// What can be found.
mod entry {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "commerce_search_entry")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub order_id: Uuid,
        pub words: String,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

#[derive(Debug, Parser)]
struct Args {
    #[command(flatten)]
    shared: Shared,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Handles events until it is stopped (the default).
    Run,
    /// Prints the orders that contain a word.
    Find {
        /// The word.
        word: String,
    },
}

/// Takes an order in, and says so.
#[event_handler(group = "search")]
async fn index_order<S>(ctx: &mut HandlerContext<'_, S>, event: OrderPlaced) -> HandlerResult {
    let words = event.titles.join(" ").to_lowercase();
    entry::ActiveModel { order_id: Set(event.order_id), words: Set(words) }
        .insert(ctx.tx())
        .await?;
    ctx.publish(OrderIndexed { order_id: event.order_id }).await?;
    Ok(())
}

/// Forgets an order. It has always been taken in before: both events have the customer for a key.
#[event_handler(group = "search")]
async fn forget_order<S>(ctx: &mut HandlerContext<'_, S>, event: OrderCancelled) -> HandlerResult {
    let deleted = entry::Entity::delete_by_id(event.order_id).exec(ctx.tx()).await?;
    if deleted.rows_affected != 1 {
        return Err(format!("order {} was cancelled before it was placed", event.order_id).into());
    }
    Ok(())
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let db = args.shared.connect().await?;
    let schema = Schema::new(db.get_database_backend());
    db.execute(schema.create_table_from_entity(entry::Entity).if_not_exists()).await?;
    match args.command.unwrap_or(Command::Run) {
        Command::Run => run(&args.shared, db).await,
        Command::Find { word } => find(&db, &word).await,
    }
}

async fn run(shared: &Shared, db: DatabaseConnection) -> anyhow::Result<()> {
    let transport = IggyTransport::new(shared.remote()).await?;
    println!("search service ready");
    EventRuntime::builder(db)
        .transport(transport.clone())
        .relay(RelayConfig::default().lease(Duration::from_secs(2)))
        .handler(index_order)
        .handler(forget_order)
        .run_until(stop_signal())
        .await?;
    transport.shutdown().await?;
    Ok(())
}

async fn find(db: &DatabaseConnection, word: &str) -> anyhow::Result<()> {
    let found = entry::Entity::find()
        .filter(entry::Column::Words.contains(word.to_lowercase()))
        .order_by_asc(entry::Column::OrderId)
        .all(db)
        .await?;
    for entry in &found {
        println!("{}  {}", entry.order_id, entry.words);
    }
    println!("{} found", found.len());
    Ok(())
}
