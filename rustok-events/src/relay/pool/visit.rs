//! One visit of an outbox: connect, look whether there is anything, and if so lease, publish and give back.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use sea_orm::{ConnectOptions, Database, DatabaseConnection, DbErr, RuntimeErr};
use tokio_util::sync::CancellationToken;

use super::{
    Inner,
    outbox::{Found, Upkeep},
    roster::{Visit, close},
};
use crate::{
    outbox::{PublishError, store},
    relay::{
        RelayConfig, RelayError, check_once,
        janitor::{self, Janitor},
        lane::{Lane, Step},
        leases::Leases,
        pace::Pace,
        releaser::Releaser,
        sender::Sender,
        spread::Spread,
        step_unless_in_the_way,
    },
    transport::EventTransport,
};

/// The longest that a server is waited for, unless the options say otherwise.
const CONNECT: Duration = Duration::from_secs(5);
/// How long after the end of its turn a visit that gets no answer is given up.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often an outbox without events is kept: cleaned up, and asked for what an operator decided.
const KEEP: Duration = Duration::from_secs(15);

/// Visits outboxes until `token` is cancelled.
pub(super) async fn work(pool: Arc<Inner>, token: CancellationToken) {
    let mut config = pool.config.relay.clone();
    config.lanes = 1;
    let mut sender = None;
    while let Some(mut visit) = token.run_until_cancelled(pool.roster.next()).await {
        if let Some(db) = visit.to_close.take() {
            close(db).await;
        }
        let connected = match visit.db.take() {
            Some(db) => Ok(db),
            None => connect(visit.options.clone()).await,
        };
        let (db, result) = match connected {
            Err(error) => (None, Err(error.into())),
            Ok(db) => {
                // A turn that is too long for the clock has no end.
                let until = Instant::now().checked_add(pool.config.turn);
                let transport = &pool.transport;
                let visitor = Visitor { db: &db, transport, config: &config, until, token: &token };
                let visited = visitor.visit(&visit, &mut sender);
                let patience = pool.config.turn.saturating_add(PATIENCE);
                let visited = tokio::time::timeout(patience, visited).await;
                match visited.unwrap_or_else(|_| Err(no_answer(PATIENCE).into())) {
                    Ok(found) => (Some(db), Ok(found)),
                    Err(error) => {
                        // It may be the connection that is bad.
                        close(db).await;
                        (None, Err(error))
                    }
                }
            }
        };
        if let Some(db) = visit.end(db, result) {
            close(db).await;
        }
    }
}

async fn connect(mut options: ConnectOptions) -> Result<DatabaseConnection, DbErr> {
    options.max_connections(1).min_connections(0);
    let timeout = options.get_connect_timeout().unwrap_or(CONNECT);
    options.connect_timeout(timeout);
    let connecting = tokio::time::timeout(timeout, Database::connect(options));
    connecting.await.unwrap_or_else(|_| Err(no_answer(timeout)))
}

fn no_answer(patience: Duration) -> DbErr {
    let what = format!("no answer within {} s", patience.as_secs());
    DbErr::Conn(RuntimeErr::Internal(what))
}

struct Visitor<'v> {
    db: &'v DatabaseConnection,
    transport: &'v Arc<dyn EventTransport>,
    config: &'v RelayConfig,
    /// When the turn is over.
    until: Option<Instant>,
    token: &'v CancellationToken,
}

impl Visitor<'_> {
    async fn visit(
        &self,
        visit: &Visit<'_>,
        sender: &mut Option<Sender>,
    ) -> Result<Found, RelayError> {
        if !visit.is_checked {
            check_once(self.db).await?;
            crate::sql::complain_unless_durable(self.db).await;
        }
        let keeps = visit.kept.is_none_or(|ago| ago >= KEEP);
        let leases = Leases::new(self.db.clone(), self.config.clone());
        let releaser = Releaser::new(self.db.clone(), self.config.clone(), leases.subscribe());
        let delayed = match releaser.release().await {
            Ok(due) => due,
            Err(PublishError::Database(error)) => return Err(error.into()),
            Err(error) => {
                tracing::warn!(code = error.code(), %error, "delayed events could not be released");
                None
            }
        };
        // The rest of the look costs two queries, where leases cost two transactions.
        if !keeps && delayed.is_some() && self.is_drained().await? {
            return Ok(Found { delayed, ..Found::default() });
        }
        let store = store::of(self.db)?;
        leases.take(store).await?;
        let result = tokio::select! {
            result = self.publish(&leases, sender, &visit.pace) => result,
            kept = leases.keep_on() => kept.map(|_| Found::default()),
        };
        match result {
            Ok(mut found) => {
                if keeps {
                    self.clean_up(&leases).await;
                    if found.upkeep == Upkeep::NotDue {
                        found.upkeep = Upkeep::Done;
                    }
                }
                leases.give_back().await;
                Ok(Found { delayed, ..found })
            }
            Err(error @ RelayError::Transport(_)) => {
                // Told with the leases, which end by themselves: for whoever asks after the outbox's health.
                leases.complaints().note(0, error.code());
                leases.take(store).await?;
                Err(error)
            }
            Err(error) => Err(error),
        }
    }

    async fn is_drained(&self) -> Result<bool, DbErr> {
        let Ok(store) = store::of(self.db) else { return Ok(true) };
        let mark = store.mark(self.db).await?;
        store.is_drained(self.db, &mark).await
    }

    /// Publishes page by page until there is nothing left or the turn is over.
    async fn publish(
        &self,
        leases: &Leases,
        sender: &mut Option<Sender>,
        pace: &Pace,
    ) -> Result<Found, RelayError> {
        let known = sender.take();
        let known = known.unwrap_or_else(|| Sender::new(Arc::clone(self.transport), self.config));
        let alone = Spread::over(1);
        let (db, config) = (self.db.clone(), self.config.clone());
        let mut lane = Lane::new(db, known, config, leases, &alone, 0, pace.clone());
        let found = self.publish_through(&mut lane).await;
        *sender = Some(lane.into_sender());
        found
    }

    async fn publish_through(&self, lane: &mut Lane) -> Result<Found, RelayError> {
        let mut found = Found::default();
        loop {
            match step_unless_in_the_way(lane).await? {
                Step::Published => found.events = true,
                Step::Fenced => {}
                Step::Idle | Step::StandBy => return Ok(found),
            }
            if self.is_over() || self.token.is_cancelled() {
                found.more = true;
                if lane.goes_on_with_parked() {
                    found.upkeep = Upkeep::Left;
                }
                return Ok(found);
            }
        }
    }

    fn is_over(&self) -> bool {
        self.until.is_some_and(|until| Instant::now() >= until)
    }

    /// Cleans up until the turn is over, if this is who keeps the log. An error only means that the next time has more
    /// to do.
    async fn clean_up(&self, leases: &Leases) {
        let janitor = Janitor::new(self.db.clone(), self.config.clone(), leases.subscribe());
        while janitor.keeps_the_log() {
            match janitor.step().await {
                Ok(Some(_)) if !self.is_over() => {}
                Ok(_) => return,
                Err(error) => return janitor::complain(&error),
            }
        }
    }
}
