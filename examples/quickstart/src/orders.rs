//! Orders as JSON lines: read, checked, placed. State and event in one transaction.

use std::{
    collections::HashMap,
    fs::File,
    io::{BufRead, BufReader},
    path::Path,
};

use anyhow::{Context, anyhow, bail};
use chrono::{DateTime, Utc};
use rustok_events::TransactionalEventBus;
use sea_orm::{
    ActiveModelTrait, DatabaseConnection, EntityTrait, QuerySelect, Set, TransactionTrait,
};
use serde::Deserialize;
use tokio_util::sync::CancellationToken;
use uuid::{Uuid, uuid};

use crate::{events::OrderPlaced, tables::order};

/// This shop has one tenant.
const TENANT: Uuid = uuid!("0190f2a4-0000-7000-8000-000000000001");

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct OrderLine {
    order_id: Uuid,
    customer_id: String,
    placed_at: DateTime<Utc>,
    currency: String,
    items: Vec<Item>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Item {
    #[allow(dead_code, reason = "part of the format")]
    sku: String,
    title: String,
    quantity: u32,
    unit_cents: u32,
}

/// What became of a file.
#[derive(Debug, Default)]
pub struct Placed {
    /// Orders placed now.
    pub now: u64,
    /// Orders that an earlier run had placed.
    pub before: u64,
    /// Lines that are no orders.
    pub bad: u64,
}

/// Places every order of a file that is not placed yet, until `stop`.
pub async fn place_all(
    db: &DatabaseConnection,
    bus: &TransactionalEventBus,
    file: &Path,
    stop: &CancellationToken,
    mut progress: impl FnMut(&Placed),
) -> anyhow::Result<Placed> {
    let source = file.canonicalize().unwrap_or_else(|_| file.to_owned()).display().to_string();
    let reader = File::open(file).with_context(|| format!("cannot open {}", file.display()))?;
    let mut known = placed_before(db).await?;
    let mut placed = Placed::default();
    for (number, line) in (1_i64..).zip(BufReader::new(reader).split(b'\n')) {
        if stop.is_cancelled() {
            break;
        }
        let line = line.with_context(|| format!("cannot read {}", file.display()))?;
        if line.trim_ascii().is_empty() {
            continue;
        }
        match parse(&line) {
            Err(error) => {
                placed.bad += 1;
                eprintln!("line {number}: skipped: {error:#}");
            }
            Ok(order) => match known.get(&order.order_id) {
                Some(place) if *place == (source.clone(), number) => placed.before += 1,
                Some((other, line)) => {
                    placed.bad += 1;
                    let id = order.order_id;
                    eprintln!(
                        "line {number}: skipped: order {id} was placed before, on line {line} of {other}"
                    );
                }
                None => {
                    known.insert(order.order_id, (source.clone(), number));
                    place(db, bus, order, &source, number)
                        .await
                        .with_context(|| format!("line {number} could not be placed"))?;
                    placed.now += 1;
                }
            },
        }
        progress(&placed);
    }
    Ok(placed)
}

/// Inserts one order and publishes `OrderPlaced`: both or neither.
async fn place(
    db: &DatabaseConnection,
    bus: &TransactionalEventBus,
    line: OrderLine,
    source: &str,
    number: i64,
) -> anyhow::Result<()> {
    let total_cents = line.total_cents()?;
    let txn = db.begin().await?;
    order::ActiveModel {
        order_id: Set(line.order_id),
        customer_id: Set(line.customer_id.clone()),
        total_cents: Set(total_cents),
        currency: Set(line.currency.clone()),
        placed_at: Set(line.placed_at),
        source: Set(source.to_owned()),
        line: Set(number),
    }
    .insert(&txn)
    .await?;
    let event = OrderPlaced {
        order_id: line.order_id,
        customer_id: line.customer_id,
        total_cents,
        currency: line.currency,
        titles: line.items.into_iter().map(|item| item.title).collect(),
    };
    bus.publish_in_tx(&txn, TENANT, None, event).await?;
    bus.commit(txn).await?;
    Ok(())
}

fn parse(line: &[u8]) -> anyhow::Result<OrderLine> {
    let order: OrderLine = serde_json::from_slice(line)?;
    if !(1..=255).contains(&order.customer_id.len()) {
        bail!("`customer_id` has {} bytes: 1 to 255 are needed", order.customer_id.len());
    }
    if order.items.is_empty() {
        bail!("`items` is empty: an order has at least one");
    }
    order.total_cents()?;
    Ok(order)
}

impl OrderLine {
    fn total_cents(&self) -> anyhow::Result<i64> {
        self.items
            .iter()
            .try_fold(0_i64, |sum, item| {
                sum.checked_add(i64::from(item.quantity) * i64::from(item.unit_cents))
            })
            .ok_or_else(|| anyhow!("the total is too large"))
    }
}

/// Where each order that is already placed came from.
async fn placed_before(db: &DatabaseConnection) -> anyhow::Result<HashMap<Uuid, (String, i64)>> {
    let placed: Vec<(Uuid, String, i64)> = order::Entity::find()
        .select_only()
        .columns([order::Column::OrderId, order::Column::Source, order::Column::Line])
        .into_tuple()
        .all(db)
        .await?;
    Ok(placed.into_iter().map(|(id, source, line)| (id, (source, line))).collect())
}
