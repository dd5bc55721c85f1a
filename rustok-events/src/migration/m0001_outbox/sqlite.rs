//! The tables on SQLite.

/// `AUTOINCREMENT`, so that an id is never used twice: the cursor counts on it. One writer at a time makes the
/// order of ids the order of commits.
pub(super) const TABLES: &[&str] = &[
    "CREATE TABLE IF NOT EXISTS rustok_outbox (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        event_id BLOB NOT NULL,
        name TEXT NOT NULL,
        version INTEGER NOT NULL,
        stream TEXT NOT NULL,
        topic TEXT NOT NULL,
        partitions INTEGER,
        partition_key BLOB,
        tenant_id BLOB NOT NULL,
        actor_id BLOB,
        correlation_id BLOB NOT NULL,
        causation_id BLOB,
        occurred_at INTEGER NOT NULL,
        content_type TEXT NOT NULL,
        headers TEXT NOT NULL,
        payload BLOB NOT NULL,
        created_at INTEGER NOT NULL DEFAULT (CAST((julianday('now') - 2440587.5) * 86400000000 AS INTEGER))
    )",
    "CREATE TABLE IF NOT EXISTS rustok_outbox_once (
        event_id BLOB NOT NULL PRIMARY KEY,
        digest BLOB NOT NULL,
        created_at INTEGER NOT NULL
    ) WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS rustok_outbox_cursor (
        part INTEGER NOT NULL PRIMARY KEY,
        last_id INTEGER NOT NULL DEFAULT 0,
        owner TEXT,
        lease_until INTEGER NOT NULL DEFAULT 0,
        epoch INTEGER NOT NULL DEFAULT 0
    )",
    "INSERT INTO rustok_outbox_cursor (part) VALUES (0) ON CONFLICT DO NOTHING",
    "CREATE TABLE IF NOT EXISTS rustok_outbox_relay (
        owner TEXT NOT NULL PRIMARY KEY,
        alive_until INTEGER NOT NULL,
        trouble TEXT NOT NULL DEFAULT ''
    ) WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS rustok_outbox_delayed (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        due_at INTEGER NOT NULL,
        event_id BLOB NOT NULL,
        name TEXT NOT NULL,
        version INTEGER NOT NULL,
        stream TEXT NOT NULL,
        topic TEXT NOT NULL,
        partitions INTEGER,
        partition_key BLOB,
        tenant_id BLOB NOT NULL,
        actor_id BLOB,
        correlation_id BLOB NOT NULL,
        causation_id BLOB,
        occurred_at INTEGER NOT NULL,
        content_type TEXT NOT NULL,
        headers TEXT NOT NULL,
        payload BLOB NOT NULL
    )",
    "CREATE INDEX IF NOT EXISTS rustok_outbox_delayed_due ON rustok_outbox_delayed (due_at, id)",
    "CREATE TABLE IF NOT EXISTS rustok_outbox_parked (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        part INTEGER NOT NULL,
        log_id INTEGER NOT NULL,
        state TEXT NOT NULL,
        error TEXT NOT NULL,
        parked_at INTEGER NOT NULL,
        event_id BLOB NOT NULL,
        name TEXT NOT NULL,
        version INTEGER NOT NULL,
        stream TEXT NOT NULL,
        topic TEXT NOT NULL,
        partitions INTEGER,
        partition_key BLOB,
        tenant_id BLOB NOT NULL,
        actor_id BLOB,
        correlation_id BLOB NOT NULL,
        causation_id BLOB,
        occurred_at INTEGER NOT NULL,
        content_type TEXT NOT NULL,
        headers TEXT NOT NULL,
        payload BLOB NOT NULL,
        UNIQUE (part, log_id)
    )",
    "CREATE INDEX IF NOT EXISTS rustok_outbox_parked_key
        ON rustok_outbox_parked (part, tenant_id, partition_key, id)",
    "CREATE TABLE IF NOT EXISTS rustok_outbox_meta (
        name TEXT NOT NULL PRIMARY KEY,
        value TEXT NOT NULL
    )",
    "INSERT INTO rustok_outbox_meta (name, value) VALUES ('release', ''), ('version', '1') ON CONFLICT DO NOTHING",
    "CREATE TABLE IF NOT EXISTS rustok_inbox (
        group_name TEXT NOT NULL,
        handler TEXT NOT NULL,
        event_id BLOB NOT NULL,
        outcome TEXT NOT NULL,
        recorded_at INTEGER NOT NULL,
        PRIMARY KEY (group_name, handler, event_id)
    ) WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS rustok_held (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        group_name TEXT NOT NULL,
        handler TEXT NOT NULL,
        state TEXT NOT NULL,
        blocks_key BOOLEAN NOT NULL,
        tenant_id BLOB,
        stream TEXT NOT NULL,
        topic TEXT NOT NULL,
        partition_key BLOB,
        partition_no INTEGER NOT NULL,
        partition_offset INTEGER NOT NULL,
        event_id BLOB,
        headers BLOB NOT NULL,
        payload BLOB NOT NULL,
        code TEXT NOT NULL,
        error TEXT NOT NULL,
        attempts INTEGER NOT NULL,
        attempts_left INTEGER NOT NULL,
        first_failed_at INTEGER,
        last_failed_at INTEGER,
        held_at INTEGER NOT NULL,
        due_at INTEGER,
        lease_owner TEXT,
        lease_until INTEGER,
        reason TEXT
    )",
    "CREATE INDEX IF NOT EXISTS rustok_held_key
        ON rustok_held (group_name, handler, stream, topic, blocks_key, partition_key, tenant_id, id)",
    "CREATE INDEX IF NOT EXISTS rustok_held_due ON rustok_held (state, due_at)",
];
