//! SQLite: one writer at a time, so `AUTOINCREMENT` order is commit order and a single counter is the cursor.
//!
//! One part: one relay works, the others stand by on its lease.

use std::time::Duration;

use sea_orm::{
    ConnectionTrait, DatabaseConnection, DatabaseTransaction, DbBackend, DbErr, Statement, Value,
};
use sea_orm_migration::async_trait::async_trait;

use super::{
    Ask, BATCH, CleanedUp, Cursor, Lease, Look, Mark, OutboxStore, Page,
    row::{self, COLUMN_COUNT, COLUMNS, Found},
};
use crate::{
    clock::Clock,
    outbox::{OutboxRecord, PublishError},
    sql::{micros, statement, value_rows},
};

/// SQLite takes 32,766 parameters a statement.
const ROWS_PER_STATEMENT: usize = 1000;
/// The only part.
const PART: i64 = 0;

/// The SQLite store.
#[derive(Debug)]
pub(super) struct SqliteStore;

fn sql<const N: usize>(sql: &str, values: [Value; N]) -> Statement {
    statement(DbBackend::Sqlite, sql, values)
}

#[async_trait]
impl OutboxStore for SqliteStore {
    async fn append(
        &self,
        txn: &DatabaseTransaction,
        records: &[OutboxRecord],
    ) -> Result<(), PublishError> {
        for chunk in records.chunks(ROWS_PER_STATEMENT) {
            let insert = format!(
                "INSERT INTO rustok_outbox ({COLUMNS}) VALUES {}",
                value_rows(chunk.len(), COLUMN_COUNT)
            );
            let mut values = Vec::with_capacity(chunk.len() * COLUMN_COUNT);
            for record in chunk {
                values.extend(row::values(record)?);
            }
            txn.execute_raw(statement(DbBackend::Sqlite, &insert, values)).await?;
        }
        Ok(())
    }

    async fn pages(
        &self,
        db: &DatabaseConnection,
        leases: &[Lease],
        Ask { limit, .. }: Ask,
    ) -> Result<Look, DbErr> {
        let Some(lease) = leases.first() else { return Ok(Look::default()) };
        let select = format!(
            "SELECT o.id, {COLUMNS}, c.last_id
           FROM rustok_outbox_cursor c JOIN rustok_outbox o ON o.id > c.last_id
          WHERE c.part = ? AND c.epoch = ? ORDER BY o.id LIMIT ?"
        );
        let most = i64::try_from(limit).unwrap_or(i64::MAX);
        let values = [PART.into(), lease.epoch.into(), most.into()];
        let Found { rows, cut } = row::find(db, sql(&select, values)).await?;
        let Some(first) = rows.first() else { return Ok(Look::default()) };
        let after: i64 = first.try_get_by_index(row::AFTER)?;
        let events = row::events(&rows)?;
        let to = events.last().map_or(after, |event| event.id);
        let whole = !cut && (events.len() as u64) < limit;
        let cursor = Cursor::Sequence { after, to };
        Ok(vec![Page { lease: lease.clone(), events, whole, cursor }].into())
    }

    async fn advance(
        &self,
        db: &DatabaseConnection,
        pages: &[Page],
        clock: &Clock,
    ) -> Result<u64, DbErr> {
        let now = clock.now();
        let update = "UPDATE rustok_outbox_cursor SET last_id = ?
                WHERE part = ? AND epoch = ? AND last_id = ? AND lease_until >= ?";
        let mut moved = 0;
        for page in pages {
            let Cursor::Sequence { after, to } = page.cursor else { continue };
            let values = [
                to.into(),
                page.lease.part.into(),
                page.lease.epoch.into(),
                after.into(),
                micros(now),
            ];
            moved += db.execute_raw(sql(update, values)).await?.rows_affected();
        }
        Ok(moved)
    }

    async fn clean_up(
        &self,
        db: &DatabaseConnection,
        window: Duration,
        _least: u64,
        now: i64,
    ) -> Result<CleanedUp, DbErr> {
        let select = format!(
            "SELECT id FROM rustok_outbox
              WHERE id <= (SELECT last_id FROM rustok_outbox_cursor WHERE part = 0)
                AND created_at < ? ORDER BY id LIMIT {BATCH}"
        );
        super::delete_ids(db, &select, super::before(now, window)).await
    }

    async fn mark(&self, db: &DatabaseConnection) -> Result<Mark, DbErr> {
        let select = "SELECT COALESCE(MAX(id), 0) AS id FROM rustok_outbox";
        let row = db.query_one_raw(sql(select, [])).await?;
        let end = row.map(|row| row.try_get("", "id")).transpose()?;
        Ok(Mark::Sequence(end.unwrap_or(0)))
    }

    async fn backlog(&self, db: &DatabaseConnection, mark: &Mark) -> Result<u64, DbErr> {
        let Mark::Sequence(end) = mark else { return Ok(0) };
        let select = "SELECT COUNT(*) AS events FROM rustok_outbox o, rustok_outbox_cursor c
                       WHERE c.part = ? AND o.id > c.last_id AND o.id <= ?";
        super::count(db, sql(select, [PART.into(), (*end).into()])).await
    }

    async fn is_drained(&self, db: &DatabaseConnection, mark: &Mark) -> Result<bool, DbErr> {
        let Mark::Sequence(end) = mark else { return Ok(true) };
        let select = "SELECT COUNT(*) AS events FROM rustok_outbox_cursor
                       WHERE part = ? AND last_id < ?";
        Ok(super::count(db, sql(select, [PART.into(), (*end).into()])).await? == 0)
    }
}
