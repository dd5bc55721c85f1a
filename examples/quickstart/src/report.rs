//! The last line: what was published, handled, repeated, reordered, lost. Counted from the tables.

use std::fmt;

use sea_orm::{
    DatabaseConnection, DbErr, EntityTrait, FromQueryResult, QueryOrder, QuerySelect, Statement,
};

use crate::tables::total;

/// The counts of the last line.
#[derive(Debug, Clone, PartialEq, Eq, FromQueryResult)]
pub struct Report {
    /// Events committed: orders and follow-ups.
    pub published: i64,
    /// Results recorded by handlers.
    pub handled: i64,
    /// Results recorded again.
    pub duplicates: i64,
    /// Results of one customer recorded out of the order their events were committed in.
    pub out_of_order: i64,
    /// Expected results that are missing.
    pub lost: i64,
    /// Dead letters.
    pub dead: i64,
    /// Dead letters and what waits behind them: results that nobody need wait for.
    pub held: i64,
}

impl Report {
    /// Whether everything that was committed has its result, or is held.
    pub fn is_finished(&self) -> bool {
        self.lost <= self.held
    }
}

/// Every event and every handler that must see it, against every result there is.
const COUNT: &str = "
WITH expected AS (
    SELECT e.id, e.event_id, h.column2 AS handler
      FROM rustok_outbox e
      JOIN (VALUES ('order_placed', 'index_order'), ('order_placed', 'add_to_total'),
                   ('order_indexed', 'note_indexed')) h ON h.column1 = e.name
), results AS (
    SELECT l.id, l.handler, l.customer_id, e.id AS committed,
           LAG(e.id) OVER (PARTITION BY l.handler, l.customer_id ORDER BY l.id) AS before
      FROM shop_ledger l JOIN rustok_outbox e ON e.event_id = l.event_id
)
SELECT (SELECT COUNT(*) FROM rustok_outbox) AS published,
       (SELECT COUNT(*) FROM shop_ledger) AS handled,
       (SELECT COUNT(*) FROM shop_ledger)
         - (SELECT COUNT(*) FROM (SELECT DISTINCT handler, event_id FROM shop_ledger)) AS duplicates,
       (SELECT COUNT(*) FROM results WHERE committed < before) AS out_of_order,
       (SELECT COUNT(*) FROM expected x WHERE NOT EXISTS
           (SELECT 1 FROM shop_ledger l WHERE l.event_id = x.event_id AND l.handler = x.handler))
         + MAX(0, (SELECT COUNT(*) FROM shop_order)
             - (SELECT COUNT(*) FROM rustok_outbox WHERE name = 'order_placed'))
         + MAX(0, (SELECT COUNT(DISTINCT event_id) FROM shop_ledger WHERE handler = 'index_order')
             - (SELECT COUNT(*) FROM rustok_outbox WHERE name = 'order_indexed')) AS lost,
       (SELECT COUNT(*) FROM rustok_held WHERE state = 'dead') AS dead,
       (SELECT COUNT(*) FROM rustok_held) AS held";

/// Counts what is in the tables now. An order without its event, or an indexed order without its follow-up, is a
/// lost result too.
pub async fn count(db: &DatabaseConnection) -> Result<Report, DbErr> {
    let statement = Statement::from_string(sea_orm::DbBackend::Sqlite, COUNT);
    Report::find_by_statement(statement)
        .one(db)
        .await?
        .ok_or_else(|| DbErr::RecordNotFound("the counts".to_owned()))
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { published, handled, duplicates, out_of_order, lost, dead, .. } = self;
        write!(
            f,
            "published={published} handled={handled} duplicates={duplicates} \
             out_of_order={out_of_order} lost={lost} dead={dead}"
        )
    }
}

/// The customers who spent most.
pub async fn top_customers(db: &DatabaseConnection) -> Result<Vec<total::Model>, DbErr> {
    total::Entity::find()
        .order_by_desc(total::Column::TotalCents)
        .order_by_asc(total::Column::CustomerId)
        .limit(5)
        .all(db)
        .await
}
