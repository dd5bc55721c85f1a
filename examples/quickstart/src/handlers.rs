//! What follows from an order. Each handler sees each event once, in the order of its customer.

use rustok_events::prelude::*;
use sea_orm::{
    ActiveModelTrait,
    ActiveValue::NotSet,
    DatabaseTransaction, DbErr, EntityTrait, Set,
    sea_query::{Expr, ExprTrait, OnConflict},
};

use crate::{
    events::{OrderIndexed, OrderPlaced},
    tables::{ledger, search, total},
};

/// Makes an order findable, and says so.
#[event_handler(group = "search")]
pub async fn index_order<S>(ctx: &mut HandlerContext<'_, S>, event: OrderPlaced) -> HandlerResult {
    let words = event.titles.join(" ").to_lowercase();
    let row = search::ActiveModel { order_id: Set(event.order_id), words: Set(words) };
    search::Entity::insert(row)
        .on_conflict(
            OnConflict::column(search::Column::OrderId)
                .update_column(search::Column::Words)
                .to_owned(),
        )
        .exec_without_returning(ctx.tx())
        .await?;
    record(ctx.tx(), "index_order", ctx.envelope().id(), &event.customer_id).await?;
    ctx.publish(OrderIndexed { order_id: event.order_id, customer_id: event.customer_id }).await?;
    Ok(())
}

/// Adds an order to its customer's total.
#[event_handler(group = "accounts")]
pub async fn add_to_total<S>(ctx: &mut HandlerContext<'_, S>, event: OrderPlaced) -> HandlerResult {
    let row = total::ActiveModel {
        customer_id: Set(event.customer_id.clone()),
        orders: Set(1),
        total_cents: Set(event.total_cents),
    };
    let add = |column: total::Column, by: i64| (column, Expr::col((total::Entity, column)).add(by));
    total::Entity::insert(row)
        .on_conflict(
            OnConflict::column(total::Column::CustomerId)
                .values([
                    add(total::Column::Orders, 1),
                    add(total::Column::TotalCents, event.total_cents),
                ])
                .to_owned(),
        )
        .exec_without_returning(ctx.tx())
        .await?;
    record(ctx.tx(), "add_to_total", ctx.envelope().id(), &event.customer_id).await?;
    Ok(())
}

/// Hears of the follow-up: the end of the road.
#[event_handler(group = "notifications")]
pub async fn note_indexed<S>(
    ctx: &mut HandlerContext<'_, S>,
    event: OrderIndexed,
) -> HandlerResult {
    record(ctx.tx(), "note_indexed", ctx.envelope().id(), &event.customer_id).await?;
    Ok(())
}

async fn record(
    txn: &DatabaseTransaction,
    handler: &str,
    event_id: EventId,
    customer_id: &str,
) -> Result<(), DbErr> {
    ledger::ActiveModel {
        id: NotSet,
        handler: Set(handler.to_owned()),
        event_id: Set(event_id.into()),
        customer_id: Set(customer_id.to_owned()),
    }
    .insert(txn)
    .await?;
    Ok(())
}
