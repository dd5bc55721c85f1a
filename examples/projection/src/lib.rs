//! A table to search in, kept up to date from events. `Batch<E>` makes one statement of many events.

use rustok_events::{Batch, prelude::*};
use sea_orm::{ConnectionTrait, DatabaseConnection, DbErr, Statement, Value};
use serde::{Deserialize, Serialize};

/// A product has a new name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, DomainEvent)]
#[domain_event(stream = "shop", topic = "products", partition_key = product_id)]
pub struct ProductNamed {
    /// The product.
    pub product_id: i64,
    /// Its name from now on.
    pub name: String,
}

/// Makes the table.
///
/// # Errors
/// The database's.
pub async fn create_table(db: DatabaseConnection) -> Result<(), DbErr> {
    db.execute_unprepared(
        "CREATE TABLE search (product_id BIGINT PRIMARY KEY, words TEXT NOT NULL)",
    )
    .await?;
    Ok(())
}

/// Writes a batch. The events of a product come in order, so the last one of a batch is the one that counts.
#[event_handler(group = "search")]
pub async fn index_products<S>(
    ctx: &mut HandlerContext<'_, S>,
    events: Batch<ProductNamed>,
) -> HandlerResult {
    let mut latest = std::collections::BTreeMap::new();
    for envelope in events {
        latest.insert(envelope.event.product_id, envelope.event.name.to_lowercase());
    }
    let rows = vec!["(?, ?)"; latest.len()].join(", ");
    let sql = format!(
        "INSERT INTO search (product_id, words) VALUES {rows}
         ON CONFLICT (product_id) DO UPDATE SET words = excluded.words"
    );
    let values = latest.into_iter().flat_map(|(id, words)| [Value::from(id), Value::from(words)]);
    let backend = ctx.tx().get_database_backend();
    ctx.tx().execute_raw(Statement::from_sql_and_values(backend, sql, values)).await?;
    Ok(())
}
