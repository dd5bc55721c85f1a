//! How windows are read.

use std::{
    collections::HashMap,
    sync::{Arc, LazyLock},
};

use sea_orm::{ConnectionTrait, DatabaseConnection, DbErr, QueryResult, Value};

use super::{SERVER, array, ranges, sql};
use crate::outbox::{
    Ask, Lease, Look, Page,
    store::{
        Cursor,
        row::{self, COLUMNS, Found},
    },
};

/// Up to `limit` events of the leased parts' windows, and up to half as many of one part, part by part from `turn` on,
/// by id inside a part; durable.
pub(super) async fn pages(
    db: &DatabaseConnection,
    leases: &[Lease],
    Ask { limit, turn, cut, hints: Hints { mut recent, mut spans } }: Ask,
) -> Result<Look, DbErr> {
    if leases.is_empty() {
        return Ok(Look::default());
    }
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let (before, from) = leases.split_at(turn % leases.len());
    let in_turn = || from.iter().chain(before);
    // Rows are sorted whole, and half as many fit into the server's `work_mem` more often.
    let of_part = limit.div_ceil(2);
    // The one more tells a window that was read to its end from one that was not.
    let one_more = |limit: usize| i64::try_from(limit).unwrap_or(i64::MAX).saturating_add(1).into();
    let ask = async |select: &Select| {
        let mut values: Vec<Value> = vec![
            array(in_turn().map(|lease| lease.part)),
            array(in_turn().map(|lease| lease.epoch)),
        ];
        if select.takes_spans {
            // An array has no place for NULL.
            let span = |lease: &Lease| spans.get(&lease.part).cloned().unwrap_or_default();
            values.push(array(in_turn().map(span)));
        }
        values.resize(values.len() + select.limits_of_a_part, one_more(of_part));
        values.push(one_more(limit));
        let found = row::find(db, sql(&select.text, values)).await?;
        let falls_short = |row: &QueryResult| row.try_get_by_index(column::FALLS_SHORT);
        let enough = found.rows.first().map(falls_short).transpose()? == Some(false);
        Ok::<_, DbErr>((found, enough))
    };
    // From the cheapest statement on, until one has looked everywhere.
    let (mut found, mut enough) = (Found::default(), false);
    if let Some(select) = recent.as_deref().filter(|_| !cut) {
        match ask(select).await {
            Ok(asked) => (found, enough) = asked,
            // It may have been dropped since, by whoever keeps the log; what else is wrong is seen by the next.
            Err(error) => tracing::debug!(%error, "the newest partition of the log cannot be read"),
        }
    }
    if !enough && !cut {
        (found, enough) = ask(&SELECT_NEW).await?;
        recent = found.rows.first().map(recent_of).transpose()?.flatten();
    }
    if !enough {
        (found, _) = ask(&SELECT).await?;
    }
    let Found { rows, cut } = found;
    let Some((first, events)) = rows.split_first() else { return Ok(Look::default()) };
    let snapshot = first.try_get_by_index(column::NOW)?;
    let server = first.try_get_by_index(column::SERVER)?;
    let pages = if events.is_empty() {
        Vec::new()
    } else {
        // A statement that was cut off may not have ended yet, nor flushed anything by that.
        if cut || !first.try_get_by_index::<bool>(column::DURABLE)? {
            make_durable(db, first.try_get_by_index(column::WRITTEN)?).await?;
        }
        // The last row that was read stands for those that were not.
        let limit = if cut { events.len() - 1 } else { limit };
        into_pages(events, leases, limit, of_part, snapshot, server, &mut spans)?
    };
    Ok(Look { pages, server: Some(server), hints: Hints { recent, spans } })
}

/// What a look found out for the next one to begin with. A relay may forget it at any time: it costs that time alone.
#[derive(Debug, Default)]
pub(crate) struct Hints {
    /// The statement that looks into one partition of the log alone: everything that is not published lay there when
    /// it was made, and it says itself when it falls short.
    recent: Option<Arc<Select>>,
    /// By part, where the next pages of a window lie. The server compares the window and the cursor with it.
    spans: HashMap<i64, String>,
}

fn recent_of(first: &QueryResult) -> Result<Option<Arc<Select>>, DbErr> {
    let range: Option<Vec<i64>> = first.try_get_by_index(column::RECENT)?;
    let Some(&[from, upto]) = range.as_deref() else { return Ok(None) };
    Ok(Some(Arc::new(select(&Log::Partition { from, upto }))))
}

/// Where the columns behind the event's own are.
mod column {
    use crate::outbox::store::row::AFTER;

    pub(super) const SPAN: usize = AFTER;
    pub(super) const PART: usize = AFTER + 1;
    pub(super) const MOVED: usize = AFTER + 2;
    pub(super) const NOW: usize = AFTER + 3;
    pub(super) const WRITTEN: usize = AFTER + 4;
    pub(super) const DURABLE: usize = AFTER + 5;
    pub(super) const SERVER: usize = AFTER + 6;
    pub(super) const FALLS_SHORT: usize = AFTER + 7;
    pub(super) const RECENT: usize = AFTER + 8;
}

/// Of so many pages of a part it is found out at a time where they lie.
const AHEAD: u32 = 5;

/// A statement that reads windows.
#[derive(Debug)]
struct Select {
    text: String,
    /// Whether its arrays of parts and epochs are followed by one of spans.
    takes_spans: bool,
    /// How many limits of a part it has, between its arrays and the limit of all.
    limits_of_a_part: usize,
}

/// Where a statement reads.
enum Log {
    /// All windows, page by page.
    Whole,
    /// New windows alone. A plan costs for what it does not come to as well: this takes two thirds of the server's time.
    New,
    /// New windows alone, in one partition of the log, for ids from `from` to below `upto`: two thirds again.
    Partition { from: i64, upto: i64 },
}

impl Log {
    fn table(&self) -> String {
        match self {
            Self::Whole | Self::New => "rustok_outbox".to_owned(),
            Self::Partition { from, .. } => ranges::table(*from),
        }
    }

    /// Whether there may be something that the statement does not see. An id that is seen was handed out before the
    /// statement began, so it is not above what the sequence says now; what lies below a floor is published.
    fn falls_short(&self) -> String {
        match self {
            Self::Whole => "FALSE".to_owned(),
            Self::New => "EXISTS (SELECT FROM c WHERE c.is_paged)".to_owned(),
            Self::Partition { from, upto } => format!(
                "(SELECT last_value FROM rustok_outbox_id) >= {upto}
                 OR EXISTS (SELECT FROM c WHERE c.is_paged OR GREATEST(c.floor, 1) < {from})"
            ),
        }
    }

    /// The partition, as its two ends, that can be looked at alone the next time.
    fn recent(&self) -> &'static str {
        match self {
            Self::Whole | Self::Partition { .. } => "NULL",
            Self::New => {
                "(SELECT ARRAY[r.from_id, r.upto_id] FROM rustok_outbox_range r, rustok_outbox_id i
                  WHERE r.from_id <= i.last_value AND i.last_value < r.upto_id
                    AND NOT EXISTS (SELECT FROM c WHERE GREATEST(c.floor, 1) < r.from_id))"
            }
        }
    }
}

static SELECT: LazyLock<Select> = LazyLock::new(|| select(&Log::Whole));

static SELECT_NEW: LazyLock<Select> = LazyLock::new(|| select(&Log::New));

/// The first row is without an event and says which snapshot was read with, whether what it shows is flushed, and by
/// which start of the server. It is flushed by the end of the statement's own transaction, if the first transaction of
/// some part is new to it: one question to the server fewer than [`make_durable`]. (Elsewhere an open transaction may
/// keep one first that is not new, and a look that finds nothing must not write.)
///
/// The holder names the epoch it holds: one read back from the row would let a relay that lost its lease adopt the
/// epoch of its successor.
///
/// Most parts have nothing new most of the time: `first` is the first transaction that may be new to a part, one look
/// at the index, and a part without one is passed over.
///
/// While no page is cut off, new windows are read in one go: mostly all of them is wanted. Behind a page that was, the
/// ids of a window are sorted alone, out of the index, and then the rows are read that lie between the page's first and
/// last; else each page would read and sort all that is left of a long backlog. Nor does each go through all of the
/// index: ids of several pages are looked for at once, and a **span** says up to which id they go, and between which
/// transactions they lie. It comes with the first row of a page and is handed in with the next look. It holds for one
/// window, from where the cursor stood. Where no more than a page is in it, the whole window is looked through again: a
/// page is the same with it and without.
///
/// `LIMIT` keeps the look-ups look-ups, whatever the planner thinks of a table it has no statistics of: the retained
/// rows of a part must not be read. (`txid = ANY (xip)` in their place becomes a filter over all of them.) What `xip`
/// holds is an array, which is taken for short: a function's rows are taken for a thousand, and a plan that is thought
/// dear is compiled each time it runs.
///
/// One text for any number of leases: planning it takes longer than running it, and it is planned once.
fn select(log: &Log) -> Select {
    let table = log.table();
    let columns: Vec<String> =
        COLUMNS.split(", ").map(|column| format!("e.{}", column.trim())).collect();
    let nothing = vec!["NULL"; columns.len()].join(", ");
    let whole = format!("e.id, {}", columns.join(", "));
    let takes_spans = matches!(log, Log::Whole);
    let (held, span, spans, windows) = if takes_spans {
        let held = "unnest(?::bigint[], ?::bigint[], ?::text[]) WITH ORDINALITY AS h (part, epoch, span, turn)";
        (held, SPAN_THAT_HOLDS, SPAN_READ, paged(&table, &whole))
    } else {
        let held = "unnest(?::bigint[], ?::bigint[]) WITH ORDINALITY AS h (part, epoch, turn)";
        let new = window(&table, &whole, ["", ""]);
        let new =
            format!("SELECT w.*, NULL FROM ({new}) w WHERE NOT c.is_paged ORDER BY w.id LIMIT ?");
        (held, "NULL", "", new)
    };
    let (falls_short, recent) = (log.falls_short(), log.recent());
    let text = format!(
        "WITH now AS MATERIALIZED (
                  SELECT pg_current_snapshot() AS s, pg_current_wal_insert_lsn() AS written),
              held AS (SELECT * FROM {held}),
              c AS MATERIALIZED (
                  SELECT h.turn, c.part, c.snapshot AS lo, COALESCE(c.hi, now.s) AS hi, c.last_id, c.floor, c.moved,
                         c.hi IS NOT NULL AS is_paged, {span} AS span,
                         (SELECT e.txid FROM {table} e
                           WHERE e.part = c.part AND e.txid >= pg_snapshot_xmin(c.snapshot) AND e.id >= c.floor
                           ORDER BY e.txid LIMIT 1) AS first
                    FROM held h JOIN rustok_outbox_cursor c ON c.part = h.part AND c.epoch = h.epoch, now)
         SELECT NULL, {nothing}, NULL::text, NULL, NULL, now.s::text, now.written::text,
                CASE WHEN pg_current_wal_flush_lsn() >= now.written THEN TRUE
                     WHEN EXISTS (SELECT FROM c WHERE NOT pg_visible_in_snapshot(c.first, c.lo))
                     THEN {FLUSHED_BY_COMMIT} IS NOT NULL
                     ELSE FALSE END,
                {SERVER}, {falls_short}, {recent}
           FROM now
          UNION ALL
        (SELECT e.*, c.part, c.moved, NULL, NULL, NULL, NULL, NULL, NULL
           FROM (SELECT c.*, ARRAY(SELECT pg_snapshot_xip(c.lo)) AS xip
                   FROM c WHERE c.first IS NOT NULL ORDER BY turn) c {spans} CROSS JOIN LATERAL ({windows}) e
          LIMIT ?)"
    );
    let limits_of_a_part = windows.matches('?').count();
    Select { text, takes_spans, limits_of_a_part }
}

/// A part's window, or what of it has transactions and ids within bounds.
fn window(table: &str, columns: &str, [txids, ids]: [&str; 2]) -> String {
    format!(
        "SELECT {columns} FROM {table} e
              WHERE e.part = c.part AND e.id >= c.floor{txids}{ids}
                AND e.txid >= pg_snapshot_xmax(c.lo) AND e.txid < pg_snapshot_xmax(c.hi)
                AND pg_visible_in_snapshot(e.txid, c.hi) AND e.id > c.last_id
             UNION ALL
             SELECT e.* FROM unnest(c.xip) AS x (txid) CROSS JOIN LATERAL (
                 SELECT {columns} FROM {table} e
                  WHERE e.part = c.part AND e.txid = x.txid AND e.id >= c.floor{ids} AND e.id > c.last_id
                  ORDER BY e.id LIMIT ?) e
              WHERE c.first < pg_snapshot_xmax(c.lo) AND pg_visible_in_snapshot(x.txid, c.hi)"
    )
}

/// The next page of a window: `near` are its ids by the span, `far` those of several pages where no more than a page is
/// in it, `w` those of the page. In `far` a transaction that was open may be cut short; `near` looks it up again.
fn paged(table: &str, whole: &str) -> String {
    let within = |range: &str, columns: &str| {
        let txids = format!(" AND e.txid >= {range}.first AND e.txid <= {range}.latest");
        window(table, columns, [&txids, &format!(" AND e.id <= {range}.last")])
    };
    // A transaction that was open is looked up by itself, so only the others need to lie between two.
    let range = |ids: &str| {
        let new = format!("SELECT txid FROM {ids} WHERE txid >= pg_snapshot_xmax(c.lo)");
        format!(
            "SELECT ({new} ORDER BY txid LIMIT 1) AS first, ({new} ORDER BY txid DESC LIMIT 1) AS latest,
                        MIN(id) AS id, MAX(id) AS last FROM {ids}"
        )
    };
    let ids = "e.id, e.txid";
    let (near, far, page) = (within("span", ids), window(table, ids, ["", ""]), within("b", whole));
    let (of_far, of_w) = (range("far"), range("w"));
    format!(
        "WITH near AS MATERIALIZED (
                  SELECT * FROM ({near}) w WHERE span.last IS NOT NULL ORDER BY w.id LIMIT ?),
              far AS MATERIALIZED (
                  SELECT * FROM ({far}) w WHERE (SELECT COUNT(*) FROM near) < ? ORDER BY w.id LIMIT {AHEAD} * ?::bigint),
              w AS MATERIALIZED (
                  SELECT * FROM near WHERE NOT EXISTS (SELECT FROM far) UNION ALL SELECT * FROM far ORDER BY id LIMIT ?),
              b AS MATERIALIZED ({of_w})
         SELECT e.*, CASE WHEN e.id = b.id THEN (
                    SELECT concat_ws('/', c.lo, c.hi, c.last_id, f.last, f.first, f.latest) FROM ({of_far}) f
                     WHERE f.last IS NOT NULL) END
           FROM b CROSS JOIN LATERAL ({page}) e ORDER BY e.id LIMIT ?"
    )
}

/// A span that was handed in, where it is of the window at hand and begins no later than the cursor stands.
const SPAN_THAT_HOLDS: &str = "CASE WHEN split_part(h.span, '/', 1) = c.snapshot::text
                               AND split_part(h.span, '/', 2) = c.hi::text
                               AND NULLIF(split_part(h.span, '/', 3), '')::bigint <= c.last_id THEN h.span END";

/// Its end, and between which transactions it lies.
const SPAN_READ: &str = "CROSS JOIN LATERAL (
                 SELECT NULLIF(split_part(c.span, '/', 4), '')::bigint AS last,
                        NULLIF(split_part(c.span, '/', 5), '')::xid8 AS first,
                        NULLIF(split_part(c.span, '/', 6), '')::xid8 AS latest) span";

/// Makes the commit of its statement's transaction flush all that was written before it. The settings end with it. A
/// commit that has written nothing itself would not wait.
const FLUSHED_BY_COMMIT: &str =
    "concat(set_config('synchronous_commit', 'on', true), pg_current_xact_id(),
                                        pg_logical_emit_message(true, 'rustok', ''))";

/// Makes sure that the log is flushed up to `written`, so that what was read is durable.
///
/// With `synchronous_commit = off` a transaction is visible before it is flushed, and the server could forget it
/// after its event went out. If the log is not flushed that far by now, one synchronous commit flushes all that was
/// written before it.
async fn make_durable(db: &DatabaseConnection, written: String) -> Result<(), DbErr> {
    let commit = format!(
        "SELECT CASE WHEN pg_current_wal_flush_lsn() < ?::pg_lsn THEN {FLUSHED_BY_COMMIT} END"
    );
    db.query_one_raw(sql(&commit, [written.into()])).await?;
    Ok(())
}

/// The rows of a window as pages, one per part. Takes note of where the next pages lie.
fn into_pages(
    rows: &[QueryResult],
    leases: &[Lease],
    limit: usize,
    of_part: usize,
    now: String,
    server: i64,
    spans: &mut HashMap<i64, String>,
) -> Result<Vec<Page>, DbErr> {
    let now: Arc<str> = now.into();
    let mut pages: Vec<Page> = Vec::new();
    let mut reader = row::Reader::default();
    for (place, row) in rows.iter().enumerate() {
        let part: i64 = row.try_get_by_index(column::PART)?;
        if pages.last().is_none_or(|page| page.lease.part != part) {
            if place == limit {
                break;
            }
            let Some(lease) = leases.iter().find(|lease| lease.part == part) else { continue };
            let moved = row.try_get_by_index(column::MOVED)?;
            let cursor = Cursor::Window { moved, now: Arc::clone(&now), last_id: 0, server };
            pages.push(Page { lease: lease.clone(), events: Vec::new(), whole: true, cursor });
            if let Some(span) = row.try_get_by_index(column::SPAN)? {
                spans.insert(part, span);
            }
        }
        if let Some(Page { events, whole, cursor: Cursor::Window { last_id, .. }, .. }) =
            pages.last_mut()
        {
            // The one more than asked for: its part goes on.
            if place == limit || events.len() == of_part {
                *whole = false;
                continue;
            }
            let event = reader.event(row)?;
            *last_id = event.id;
            events.push(event);
        }
    }
    // What a window has no more of needs none.
    for page in pages.iter().filter(|page| page.whole) {
        spans.remove(&page.lease.part);
    }
    Ok(pages)
}
