//! The order service: places orders, cancels some, and learns which of them the search has taken in.

#![allow(unreachable_pub, reason = "nothing of a program is reachable from outside")]

use std::{path::PathBuf, time::Duration};

use clap::Parser;
use commerce::{Shared, stop_signal};
use commerce_events::{CustomerId, OrderCancelled, OrderIndexed, OrderPlaced};
use rustok_events::{EventRuntime, RelayConfig, iggy::IggyTransport, prelude::*};
use sea_orm::{
    ActiveModelTrait, ColumnTrait, ConnectionTrait, DatabaseConnection, EntityTrait, QueryFilter,
    Schema, Set, TransactionTrait, sea_query::Expr,
};
use uuid::{Uuid, uuid};

const TENANT: Uuid = uuid!("0190f2a4-0000-7000-8000-000000000001");
const TITLES: [&str; 5] =
    ["Assam tea", "Huila beans", "Stoneware cup", "Hand grinder", "Oat biscuits"];

/// Orders, as this service knows them.
mod order {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "commerce_order")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub order_id: Uuid,
        pub customer_id: String,
        pub total_cents: i64,
        pub cancelled: bool,
        pub searchable: bool,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

#[derive(Debug, Parser)]
struct Args {
    #[command(flatten)]
    shared: Shared,
    /// Keeps the broker in this process, with its data in this folder.
    #[arg(long, value_name = "FOLDER")]
    embed: Option<PathBuf>,
    /// How many orders to place.
    #[arg(long, default_value_t = 20)]
    orders: u32,
}

/// Notes that the search knows an order.
#[event_handler(group = "orders")]
async fn note_searchable<S>(ctx: &mut HandlerContext<'_, S>, event: OrderIndexed) -> HandlerResult {
    order::Entity::update_many()
        .col_expr(order::Column::Searchable, Expr::value(true))
        .filter(order::Column::OrderId.eq(event.order_id))
        .exec(ctx.tx())
        .await?;
    println!("order {} can be found", event.order_id);
    Ok(())
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let db = args.shared.connect().await?;
    let schema = Schema::new(db.get_database_backend());
    db.execute(schema.create_table_from_entity(order::Entity).if_not_exists()).await?;
    let config = match &args.embed {
        Some(folder) => args.shared.embedded(folder)?,
        None => args.shared.remote(),
    };
    let transport = IggyTransport::new(config).await?;
    println!("order service ready");

    let runtime = EventRuntime::builder(db.clone())
        .transport(transport.clone())
        .relay(RelayConfig::default().lease(Duration::from_secs(2)))
        .handler(note_searchable)
        .run_until(stop_signal());
    let (ran, placed) = tokio::join!(runtime, place_orders(&db, args.orders));
    transport.shutdown().await?;
    ran?;
    placed
}

/// Places orders of five customers, and takes every fourth one back.
async fn place_orders(db: &DatabaseConnection, orders: u32) -> anyhow::Result<()> {
    let bus = TransactionalEventBus::new();
    for number in 0..orders {
        let order_id = Uuid::now_v7();
        let customer_id = CustomerId(format!("customer-{}", number % 5));
        let title = TITLES[number as usize % TITLES.len()];
        let total_cents = 500 + i64::from(number);

        let txn = db.begin().await?;
        order::ActiveModel {
            order_id: Set(order_id),
            customer_id: Set(customer_id.0.clone()),
            total_cents: Set(total_cents),
            cancelled: Set(false),
            searchable: Set(false),
        }
        .insert(&txn)
        .await?;
        let titles = vec![title.to_owned()];
        let placed =
            OrderPlaced { order_id, customer_id: customer_id.clone(), titles, total_cents };
        bus.publish_in_tx(&txn, TENANT, None, placed).await?;
        bus.commit(txn).await?;

        if number % 4 == 3 {
            let txn = db.begin().await?;
            order::Entity::update_many()
                .col_expr(order::Column::Cancelled, Expr::value(true))
                .filter(order::Column::OrderId.eq(order_id))
                .exec(&txn)
                .await?;
            let cancelled = OrderCancelled { order_id, customer_id };
            bus.publish_in_tx(&txn, TENANT, None, cancelled).await?;
            bus.commit(txn).await?;
        }
    }
    println!("{orders} orders placed");
    Ok(())
}
