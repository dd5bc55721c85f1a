//! The tables on MySQL 8 and MariaDB.

/// The log keeps its rows; the narrow list of what is pending beside it loses them as they are published. Binary
/// collations: two names that differ in case are two names.
pub(super) const TABLES: &[&str] = &[
    "CREATE TABLE IF NOT EXISTS rustok_outbox (
        id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
        event_id BINARY(16) NOT NULL,
        name VARCHAR(255) NOT NULL,
        version BIGINT NOT NULL,
        stream VARCHAR(255) NOT NULL,
        topic VARCHAR(255) NOT NULL,
        partitions BIGINT,
        partition_key VARBINARY(255),
        tenant_id BINARY(16) NOT NULL,
        actor_id BINARY(16),
        correlation_id BINARY(16) NOT NULL,
        causation_id BINARY(16),
        occurred_at BIGINT NOT NULL,
        content_type VARCHAR(255) NOT NULL,
        headers LONGTEXT NOT NULL,
        payload LONGBLOB NOT NULL,
        created_at BIGINT NOT NULL DEFAULT (CAST(UNIX_TIMESTAMP(SYSDATE(6)) * 1000000 AS SIGNED))
    ) ENGINE = InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_bin",
    "CREATE TABLE IF NOT EXISTS rustok_outbox_pending (
        part BIGINT NOT NULL,
        id BIGINT NOT NULL,
        PRIMARY KEY (part, id)
    ) ENGINE = InnoDB",
    "CREATE TABLE IF NOT EXISTS rustok_outbox_once (
        event_id BINARY(16) NOT NULL PRIMARY KEY,
        digest VARBINARY(16) NOT NULL,
        created_at BIGINT NOT NULL
    ) ENGINE = InnoDB",
    "CREATE TABLE IF NOT EXISTS rustok_outbox_cursor (
        part BIGINT NOT NULL PRIMARY KEY,
        owner VARCHAR(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin,
        lease_until BIGINT NOT NULL DEFAULT 0,
        epoch BIGINT NOT NULL DEFAULT 0
    ) ENGINE = InnoDB",
    "INSERT IGNORE INTO rustok_outbox_cursor (part)
     SELECT a.n + 8 * b.n
       FROM (SELECT 0 n UNION SELECT 1 UNION SELECT 2 UNION SELECT 3
             UNION SELECT 4 UNION SELECT 5 UNION SELECT 6 UNION SELECT 7) a,
            (SELECT 0 n UNION SELECT 1 UNION SELECT 2 UNION SELECT 3
             UNION SELECT 4 UNION SELECT 5 UNION SELECT 6 UNION SELECT 7) b",
    "CREATE TABLE IF NOT EXISTS rustok_outbox_relay (
        owner VARCHAR(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL PRIMARY KEY,
        alive_until BIGINT NOT NULL,
        trouble VARCHAR(64) NOT NULL DEFAULT ''
    ) ENGINE = InnoDB",
    "CREATE TABLE IF NOT EXISTS rustok_outbox_delayed (
        id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
        due_at BIGINT NOT NULL,
        event_id BINARY(16) NOT NULL,
        name VARCHAR(255) NOT NULL,
        version BIGINT NOT NULL,
        stream VARCHAR(255) NOT NULL,
        topic VARCHAR(255) NOT NULL,
        partitions BIGINT,
        partition_key VARBINARY(255),
        tenant_id BINARY(16) NOT NULL,
        actor_id BINARY(16),
        correlation_id BINARY(16) NOT NULL,
        causation_id BINARY(16),
        occurred_at BIGINT NOT NULL,
        content_type VARCHAR(255) NOT NULL,
        headers LONGTEXT NOT NULL,
        payload LONGBLOB NOT NULL,
        KEY rustok_outbox_delayed_due (due_at, id)
    ) ENGINE = InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_bin",
    "CREATE TABLE IF NOT EXISTS rustok_outbox_parked (
        id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
        part BIGINT NOT NULL,
        log_id BIGINT NOT NULL,
        state VARCHAR(255) NOT NULL,
        error TEXT NOT NULL,
        parked_at BIGINT NOT NULL,
        event_id BINARY(16) NOT NULL,
        name VARCHAR(255) NOT NULL,
        version BIGINT NOT NULL,
        stream VARCHAR(255) NOT NULL,
        topic VARCHAR(255) NOT NULL,
        partitions BIGINT,
        partition_key VARBINARY(255),
        tenant_id BINARY(16) NOT NULL,
        actor_id BINARY(16),
        correlation_id BINARY(16) NOT NULL,
        causation_id BINARY(16),
        occurred_at BIGINT NOT NULL,
        content_type VARCHAR(255) NOT NULL,
        headers LONGTEXT NOT NULL,
        payload LONGBLOB NOT NULL,
        UNIQUE (part, log_id),
        KEY rustok_outbox_parked_key (part, tenant_id, partition_key, id)
    ) ENGINE = InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_bin",
    "CREATE TABLE IF NOT EXISTS rustok_outbox_meta (
        name VARCHAR(255) NOT NULL PRIMARY KEY,
        value VARCHAR(255) NOT NULL
    ) ENGINE = InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_bin",
    "INSERT IGNORE INTO rustok_outbox_meta (name, value) VALUES ('release', ''), ('version', '1')",
    "CREATE TABLE IF NOT EXISTS rustok_inbox (
        group_name VARCHAR(255) NOT NULL,
        handler VARCHAR(255) NOT NULL,
        event_id BINARY(16) NOT NULL,
        outcome VARCHAR(16) NOT NULL,
        recorded_at BIGINT NOT NULL,
        PRIMARY KEY (group_name, handler, event_id)
    ) ENGINE = InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_bin",
    "CREATE TABLE IF NOT EXISTS rustok_held (
        id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
        group_name VARCHAR(255) NOT NULL,
        handler VARCHAR(255) NOT NULL,
        state VARCHAR(16) NOT NULL,
        blocks_key BOOLEAN NOT NULL,
        tenant_id BINARY(16),
        stream VARCHAR(255) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
        topic VARCHAR(255) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
        partition_key VARBINARY(255),
        partition_no BIGINT NOT NULL,
        partition_offset BIGINT NOT NULL,
        event_id BINARY(16),
        headers LONGBLOB NOT NULL,
        payload LONGBLOB NOT NULL,
        code VARCHAR(64) NOT NULL,
        error TEXT NOT NULL,
        attempts BIGINT NOT NULL,
        attempts_left BIGINT NOT NULL,
        first_failed_at BIGINT,
        last_failed_at BIGINT,
        held_at BIGINT NOT NULL,
        due_at BIGINT,
        lease_owner VARCHAR(255),
        lease_until BIGINT,
        reason TEXT,
        KEY rustok_held_key (group_name, handler, stream, topic, blocks_key, partition_key, tenant_id, id),
        KEY rustok_held_due (state, due_at)
    ) ENGINE = InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_bin",
];
