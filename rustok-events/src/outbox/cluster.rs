//! Whether the cursors belong to this database cluster. PostgreSQL counts transactions by cluster: after a dump, a
//! restore or a logical migration every later event would look old to a cursor, and be lost in silence.

use std::fmt;

use sea_orm::{ConnectionTrait, DatabaseConnection, DbBackend, DbErr, Statement};

use crate::sql::{begin_write, statement};

/// Why the cursors cannot be trusted.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ClusterTrouble {
    /// The tables were made in another cluster.
    Changed {
        /// The cluster they were made in.
        made_in: String,
        /// This one.
        now_in: String,
    },
    /// A cursor stands behind the newest transaction there is.
    CursorInFuture {
        /// Its part.
        part: i64,
    },
}

impl ClusterTrouble {
    /// A short, stable code for records and metrics.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Changed { .. } => "cluster_changed",
            Self::CursorInFuture { .. } => "cursor_impossible",
        }
    }
}

impl fmt::Display for ClusterTrouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Changed { made_in, now_in } => {
                write!(f, "the outbox was made in cluster {made_in} and is now in {now_in}")?;
            }
            Self::CursorInFuture { part } => {
                write!(f, "the cursor of part {part} stands behind the newest transaction")?;
            }
        }
        f.write_str(
            ": transactions are counted anew after a restore, and later events would be lost; call \
             `rustok_events::outbox::rebase`",
        )
    }
}

/// What is wrong with the cursors; `None` on databases that keep their order across a restore.
pub(crate) async fn check(db: &DatabaseConnection) -> Result<Option<ClusterTrouble>, DbErr> {
    if db.get_database_backend() != DbBackend::Postgres {
        return Ok(None);
    }
    let select = "SELECT m.value AS made_in, (SELECT system_identifier::text FROM pg_control_system()) AS now_in,
                         (SELECT MIN(part) FROM rustok_outbox_cursor
                           WHERE pg_snapshot_xmax(snapshot) > pg_snapshot_xmax(pg_current_snapshot())
                              OR pg_snapshot_xmax(hi) > pg_snapshot_xmax(pg_current_snapshot())) AS part
                    FROM rustok_outbox_meta m WHERE m.name = 'cluster'";
    let row = db
        .query_one_raw(Statement::from_string(DbBackend::Postgres, select))
        .await?
        .ok_or_else(unknown_origin)?;
    let (made_in, now_in): (String, String) =
        (row.try_get("", "made_in")?, row.try_get("", "now_in")?);
    if made_in != now_in {
        return Ok(Some(ClusterTrouble::Changed { made_in, now_in }));
    }
    let part: Option<i64> = row.try_get("", "part")?;
    Ok(part.map(|part| ClusterTrouble::CursorInFuture { part }))
}

fn unknown_origin() -> DbErr {
    DbErr::RecordNotFound("the outbox does not say which cluster it was made in".to_owned())
}

/// Makes an outbox on PostgreSQL belong to the cluster it is in now, after a dump, a restore, an upgrade or a logical
/// migration: what was not published before is published, what was is not, and what was written here meanwhile comes
/// after it. Does nothing on other databases, whose outboxes need none of it.
///
/// One transaction that writes every row of the log and that writers wait for.
///
/// # Errors
/// The database's; then nothing was changed.
pub async fn rebase(db: &DatabaseConnection) -> Result<(), DbErr> {
    if db.get_database_backend() != DbBackend::Postgres {
        return Ok(());
    }
    let txn = begin_write(db).await?;
    let steps = [
        "LOCK TABLE rustok_outbox, rustok_outbox_cursor IN ACCESS EXCLUSIVE MODE",
        // Published rows lie before every snapshot from now on, the others in this transaction. Whether a row was
        // visible is asked of the stored numbers, which is the same in every cluster.
        // Not of a row that was written here since: by the transaction whose number it has, or a savepoint of it, and
        // after the tables were brought here; the number of a row that was brought is of another cluster. A cursor
        // moves by a transaction that is later than its snapshot; one that was written by an earlier transaction was
        // brought here too (after `pg_upgrade` nothing was). `xmin` is a number's lower half.
        "UPDATE rustok_outbox o
            SET txid = CASE
                WHEN c.brought AND o.txid::text::bigint BETWEEN c.since
                                   AND c.now - ((c.now - o.xmin::text::bigint) & 4294967295)
                THEN pg_current_xact_id()
                WHEN pg_visible_in_snapshot(o.txid, c.snapshot)
                  OR (c.hi IS NOT NULL AND o.id <= c.last_id AND pg_visible_in_snapshot(o.txid, c.hi))
                THEN '2'::xid8 ELSE pg_current_xact_id() END
           FROM (SELECT part, snapshot, hi, last_id, n.now,
                        n.now - ((n.now - m.xmin::text::bigint) & 4294967295) AS since,
                        n.now - ((n.now - c.xmin::text::bigint) & 4294967295)
                            < pg_snapshot_xmax(snapshot)::text::bigint AS brought
                   FROM rustok_outbox_cursor c LEFT JOIN rustok_outbox_meta m ON m.name = 'cluster',
                        (SELECT pg_current_xact_id()::text::bigint AS now) n) c
          WHERE c.part = o.part",
        // What is in progress now, this transaction with it, and what comes later is seen by none of the cursors.
        "UPDATE rustok_outbox_cursor
            SET snapshot = n.s, hi = NULL, last_id = 0, floor = 0, moved = moved + 1,
                owner = NULL, lease_until = 0, epoch = epoch + 1
           FROM (SELECT concat_ws(':', pg_snapshot_xmin(s), pg_snapshot_xmax(s),
                                  COALESCE((SELECT string_agg(x::text, ',' ORDER BY x)
                                              FROM (SELECT pg_snapshot_xip(s) UNION SELECT pg_current_xact_id()) u (x)
                                             WHERE x < pg_snapshot_xmax(s)), ''))::pg_snapshot AS s
                   FROM (SELECT pg_current_snapshot() AS s) now) n",
        // No id is handed out again, and none that is there lies above what was handed out: where rows were brought
        // without the sequence, relays would not see them.
        "SELECT setval('rustok_outbox_id', m.id)
           FROM (SELECT MAX(id) AS id FROM rustok_outbox) m, rustok_outbox_id i WHERE m.id >= i.last_value",
        // What is filled holds nothing of a later transaction than this one.
        "UPDATE rustok_outbox_range SET filled_xid = pg_current_xact_id() WHERE filled_at IS NOT NULL",
    ];
    for step in steps {
        txn.execute_unprepared(step).await?;
    }
    let update = "UPDATE rustok_outbox_meta
                     SET value = (SELECT system_identifier::text FROM pg_control_system()) WHERE name = ?";
    let noted = txn.execute_raw(statement(DbBackend::Postgres, update, ["cluster".into()])).await?;
    if noted.rows_affected() == 0 {
        txn.rollback().await?;
        return Err(unknown_origin());
    }
    txn.commit().await
}
