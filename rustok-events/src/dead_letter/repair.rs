//! Retry and discard. Every change is one transaction, and a running consumer carries it out.

use std::collections::HashSet;

use sea_orm::{ConnectionTrait, DatabaseConnection, DatabaseTransaction, DbErr, Value};

use super::{DeadLetter, DeadLetterError, DeadLetters, Filter};
use crate::{
    held::{self, Holder, TenantKey, state},
    sql::{self, micros, statement, text},
};

/// A page of [`DeadLetters::retry_all`].
const PAGE: u32 = 200;

impl DeadLetters {
    /// Has one dead letter tried again, with a whole round of attempts. If it parks its key, what waits behind it
    /// follows once it is handled.
    ///
    /// # Errors
    /// [`DeadLetterError::NotFound`] if there is none of this number, or the database's.
    pub async fn retry(&self, id: i64) -> Result<(), DeadLetterError> {
        let txn = sql::begin_write(&self.db).await?;
        let retried = self.retry_in(&txn, id).await;
        end(txn, retried).await?;
        Ok(())
    }

    /// Has all dead letters of a dead letter's key tried again at its handler, in their order, and returns how many
    /// those are. From now on the key's later events wait behind them.
    ///
    /// # Errors
    /// [`DeadLetterError::NotFound`], [`DeadLetterError::NoKey`], or the database's.
    pub async fn retry_key(&self, id: i64) -> Result<u64, DeadLetterError> {
        let letter = self.get(id).await?;
        let key = key(&letter).ok_or(DeadLetterError::NoKey { id })?;
        let txn = sql::begin_write(&self.db).await?;
        let retried = self.retry_key_in(&txn, holder(&letter), &key).await;
        end(txn, retried.map_err(DeadLetterError::from)).await
    }

    /// Has every dead letter that matches tried again, each key in its order, and returns how many those are. The
    /// filter's limit does not count here.
    ///
    /// # Errors
    /// The database's; what was changed before it stays changed.
    pub async fn retry_all(&self, filter: &Filter) -> Result<u64, DeadLetterError> {
        let (mut retried, mut last) = (0, i64::MIN);
        loop {
            // Behind those of the last page, which may be dead again by now.
            let page = self.list(&filter.clone().after(last).limit(PAGE)).await?;
            let Some(letter) = page.last() else { return Ok(retried) };
            last = letter.id;
            let mut keys = HashSet::new();
            for letter in &page {
                let done = match key(letter) {
                    Some(key)
                        if !keys.insert((
                            letter.group.clone(),
                            letter.handler.clone(),
                            letter.topic.clone(),
                            key.clone(),
                        )) =>
                    {
                        continue;
                    }
                    Some(_) => self.retry_key(letter.id).await,
                    None => self.retry(letter.id).await.map(|()| 1),
                };
                match done {
                    Ok(letters) => retried += letters,
                    // Another operator was faster.
                    Err(DeadLetterError::NotFound { .. }) => {}
                    Err(error) => return Err(error),
                }
            }
        }
    }

    /// Gives a dead letter up for good. What waits behind it goes on. A record of it and of the reason is kept.
    ///
    /// # Errors
    /// [`DeadLetterError::NotFound`], [`DeadLetterError::NoReason`], or the database's.
    pub async fn discard(&self, id: i64, reason: &str) -> Result<(), DeadLetterError> {
        if reason.trim().is_empty() {
            return Err(DeadLetterError::NoReason);
        }
        let letter = self.get(id).await?;
        let txn = sql::begin_write(&self.db).await?;
        let discarded = self.discard_in(&txn, &letter, reason).await;
        end(txn, discarded).await
    }

    async fn retry_in(&self, txn: &DatabaseTransaction, id: i64) -> Result<(), DeadLetterError> {
        let sql = "UPDATE rustok_held
                      SET state = 'retry', due_at = ?, attempts_left = 0, lease_owner = NULL, lease_until = NULL
                    WHERE id = ? AND state = 'dead'";
        let values = [micros(self.clock.now()), id.into()];
        let changed = txn.execute_raw(statement(txn.get_database_backend(), sql, values)).await?;
        if changed.rows_affected() == 0 {
            return Err(DeadLetterError::NotFound { id });
        }
        Ok(())
    }

    async fn retry_key_in(
        &self,
        txn: &DatabaseTransaction,
        holder: Holder<'_>,
        key: &TenantKey,
    ) -> Result<u64, DbErr> {
        let sql = format!(
            "UPDATE rustok_held SET state = 'waiting', blocks_key = TRUE, attempts_left = 0
              WHERE state = 'dead' AND {} AND tenant_id = ? AND partition_key = ?",
            Holder::CONDITION
        );
        let mut values = holder.values();
        values.extend([key.0.into(), key.1.clone().into()]);
        let changed = txn.execute_raw(statement(txn.get_database_backend(), &sql, values)).await?;
        held::promote(txn, holder, key, self.clock.now(), None).await?;
        Ok(changed.rows_affected())
    }

    async fn discard_in(
        &self,
        txn: &DatabaseTransaction,
        letter: &DeadLetter,
        reason: &str,
    ) -> Result<(), DeadLetterError> {
        let sql = "UPDATE rustok_held SET state = ?, blocks_key = FALSE, reason = ?, due_at = ?
                    WHERE id = ? AND state = 'dead'";
        let reason = text(reason);
        let now = micros(self.clock.now());
        let values: [Value; 4] = [state::DISCARDED.into(), reason.into(), now, letter.id.into()];
        let changed = txn.execute_raw(statement(txn.get_database_backend(), sql, values)).await?;
        if changed.rows_affected() == 0 {
            return Err(DeadLetterError::NotFound { id: letter.id });
        }
        let id = letter.event_id.unwrap_or_else(|| {
            held::id_of(letter.partition, letter.offset, &letter.headers, &letter.payload)
        });
        crate::inbox::skip(txn, &letter.group, &letter.handler, id).await?;
        if let Some(key) = key(letter) {
            held::promote(txn, holder(letter), &key, self.clock.now(), None).await?;
        }
        Ok(())
    }
}

/// How many events wait behind a dead letter.
pub(super) async fn waiting_behind(
    db: &DatabaseConnection,
    letter: &DeadLetter,
) -> Result<u64, DbErr> {
    let Some(key) = key(letter).filter(|_| letter.parks_key) else { return Ok(0) };
    let sql = format!(
        "SELECT COUNT(*) AS events FROM rustok_held
          WHERE {} AND blocks_key = TRUE AND partition_key = ? AND tenant_id = ? AND id > ?",
        Holder::CONDITION
    );
    let mut values = holder(letter).values();
    values.extend([key.1.into(), key.0.into(), letter.id.into()]);
    let row = db.query_one_raw(statement(db.get_database_backend(), &sql, values)).await?;
    let events: i64 = row.map(|row| row.try_get("", "events")).transpose()?.unwrap_or(0);
    Ok(events.unsigned_abs())
}

fn holder(letter: &DeadLetter) -> Holder<'_> {
    Holder { group: &letter.group, handler: &letter.handler, topic: &letter.topic }
}

fn key(letter: &DeadLetter) -> Option<TenantKey> {
    // Messages that no handler was called with wait for nobody.
    letter.tenant_id.zip(letter.key.clone()).filter(|_| !letter.handler.is_empty())
}

async fn end<T>(
    txn: DatabaseTransaction,
    result: Result<T, DeadLetterError>,
) -> Result<T, DeadLetterError> {
    match result {
        Ok(value) => {
            txn.commit().await?;
            held::notify();
            Ok(value)
        }
        Err(error) => {
            txn.rollback().await?;
            Err(error)
        }
    }
}
