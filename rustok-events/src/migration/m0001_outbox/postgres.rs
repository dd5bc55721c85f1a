//! The tables on PostgreSQL.

/// The log is insert-only, read by (part, txid), and partitioned by id, so that old events go by the partition. `txid`
/// stands before `id`: defaults are taken in the order of columns, so whoever takes an id has its transaction id by
/// then, and `rustok_outbox_range` can tell from transaction ids when nobody can write below an id any more.
///
/// The cursor's mutable columns carry no index and leave room in the page, so that its updates stay heap-only. The
/// check forbids the state in which a part falls silent for ever. All that lies below `floor` is published.
pub(super) const TABLES: &[&str] = &[
    "CREATE SEQUENCE IF NOT EXISTS rustok_outbox_id CACHE 1",
    "CREATE TABLE IF NOT EXISTS rustok_outbox (
        txid xid8 NOT NULL DEFAULT pg_current_xact_id(),
        id bigint NOT NULL DEFAULT nextval('rustok_outbox_id'),
        part smallint NOT NULL,
        event_id uuid NOT NULL,
        name text NOT NULL,
        version bigint NOT NULL,
        stream text NOT NULL,
        topic text NOT NULL,
        partitions bigint,
        partition_key bytea,
        tenant_id uuid NOT NULL,
        actor_id uuid,
        correlation_id uuid NOT NULL,
        causation_id uuid,
        occurred_at bigint NOT NULL,
        content_type text NOT NULL,
        headers text NOT NULL,
        payload bytea NOT NULL,
        created_at bigint NOT NULL DEFAULT (EXTRACT(EPOCH FROM clock_timestamp()) * 1000000)::bigint
    ) PARTITION BY RANGE (id)",
    "ALTER SEQUENCE rustok_outbox_id OWNED BY rustok_outbox.id",
    "CREATE INDEX IF NOT EXISTS rustok_outbox_part_txid_id ON rustok_outbox (part, txid, id)",
    // Where events lie for which no partition was made in time.
    "CREATE TABLE IF NOT EXISTS rustok_outbox_rest PARTITION OF rustok_outbox DEFAULT",
    "CREATE TABLE IF NOT EXISTS rustok_outbox_1 PARTITION OF rustok_outbox FOR VALUES FROM (1) TO (1000001)",
    "CREATE TABLE IF NOT EXISTS rustok_outbox_range (
        from_id bigint NOT NULL PRIMARY KEY,
        upto_id bigint NOT NULL,
        made_id bigint NOT NULL,
        made_at bigint NOT NULL,
        filled_at bigint,
        filled_xid xid8
    )",
    "INSERT INTO rustok_outbox_range (from_id, upto_id, made_id, made_at)
     VALUES (1, 1000001, 0, (EXTRACT(EPOCH FROM clock_timestamp()) * 1000000)::bigint) ON CONFLICT DO NOTHING",
    "CREATE TABLE IF NOT EXISTS rustok_outbox_once (
        event_id uuid NOT NULL PRIMARY KEY,
        digest bytea NOT NULL,
        created_at bigint NOT NULL
    )",
    "CREATE TABLE IF NOT EXISTS rustok_outbox_cursor (
        part bigint NOT NULL PRIMARY KEY,
        snapshot pg_snapshot NOT NULL,
        hi pg_snapshot,
        last_id bigint NOT NULL DEFAULT 0,
        floor bigint NOT NULL DEFAULT 0,
        moved bigint NOT NULL DEFAULT 0,
        owner text,
        lease_until bigint NOT NULL DEFAULT 0,
        epoch bigint NOT NULL DEFAULT 0,
        CONSTRAINT rustok_outbox_cursor_hi CHECK (hi IS NULL OR pg_snapshot_xmax(hi) >= pg_snapshot_xmax(snapshot))
    ) WITH (fillfactor = 50)",
    // Before the first transaction id there is: everything in the log is still to be read.
    "INSERT INTO rustok_outbox_cursor (part, snapshot)
     SELECT part, '3:3:' FROM generate_series(0, 63) part ON CONFLICT DO NOTHING",
    "CREATE TABLE IF NOT EXISTS rustok_outbox_relay (
        owner text NOT NULL PRIMARY KEY,
        alive_until bigint NOT NULL,
        trouble text NOT NULL DEFAULT ''
    ) WITH (fillfactor = 50)",
    "CREATE TABLE IF NOT EXISTS rustok_outbox_delayed (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        due_at bigint NOT NULL,
        event_id uuid NOT NULL,
        name text NOT NULL,
        version bigint NOT NULL,
        stream text NOT NULL,
        topic text NOT NULL,
        partitions bigint,
        partition_key bytea,
        tenant_id uuid NOT NULL,
        actor_id uuid,
        correlation_id uuid NOT NULL,
        causation_id uuid,
        occurred_at bigint NOT NULL,
        content_type text NOT NULL,
        headers text NOT NULL,
        payload bytea NOT NULL
    )",
    "CREATE INDEX IF NOT EXISTS rustok_outbox_delayed_due ON rustok_outbox_delayed (due_at, id)",
    "CREATE TABLE IF NOT EXISTS rustok_outbox_parked (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        part bigint NOT NULL,
        log_id bigint NOT NULL,
        state text NOT NULL,
        error text NOT NULL,
        parked_at bigint NOT NULL,
        event_id uuid NOT NULL,
        name text NOT NULL,
        version bigint NOT NULL,
        stream text NOT NULL,
        topic text NOT NULL,
        partitions bigint,
        partition_key bytea,
        tenant_id uuid NOT NULL,
        actor_id uuid,
        correlation_id uuid NOT NULL,
        causation_id uuid,
        occurred_at bigint NOT NULL,
        content_type text NOT NULL,
        headers text NOT NULL,
        payload bytea NOT NULL,
        UNIQUE (part, log_id)
    )",
    "CREATE INDEX IF NOT EXISTS rustok_outbox_parked_key
        ON rustok_outbox_parked (part, tenant_id, partition_key, id)",
    "CREATE TABLE IF NOT EXISTS rustok_outbox_meta (
        name text NOT NULL PRIMARY KEY,
        value text NOT NULL
    )",
    // The transactions that cursors speak of are those of this cluster.
    "INSERT INTO rustok_outbox_meta (name, value)
     SELECT 'cluster', system_identifier::text FROM pg_control_system()
      UNION ALL VALUES ('release', ''), ('version', '1') ON CONFLICT DO NOTHING",
    "CREATE TABLE IF NOT EXISTS rustok_inbox (
        group_name text NOT NULL,
        handler text NOT NULL,
        event_id uuid NOT NULL,
        outcome text NOT NULL,
        recorded_at bigint NOT NULL,
        PRIMARY KEY (group_name, handler, event_id)
    )",
    "CREATE TABLE IF NOT EXISTS rustok_held (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        group_name text NOT NULL,
        handler text NOT NULL,
        state text NOT NULL,
        blocks_key boolean NOT NULL,
        tenant_id uuid,
        stream text NOT NULL,
        topic text NOT NULL,
        partition_key bytea,
        partition_no bigint NOT NULL,
        partition_offset bigint NOT NULL,
        event_id uuid,
        headers bytea NOT NULL,
        payload bytea NOT NULL,
        code text NOT NULL,
        error text NOT NULL,
        attempts bigint NOT NULL,
        attempts_left bigint NOT NULL,
        first_failed_at bigint,
        last_failed_at bigint,
        held_at bigint NOT NULL,
        due_at bigint,
        lease_owner text,
        lease_until bigint,
        reason text
    )",
    "CREATE INDEX IF NOT EXISTS rustok_held_key
        ON rustok_held (group_name, handler, stream, topic, blocks_key, partition_key, tenant_id, id)",
    "CREATE INDEX IF NOT EXISTS rustok_held_due ON rustok_held (state, due_at)",
];
