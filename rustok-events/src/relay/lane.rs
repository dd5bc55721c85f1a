//! A lane: reads, publishes and advances the parts that are its own, one page of a part at a time.
//!
//! A relay has several lanes, so that one reads while another publishes. A part belongs to one lane at a time, and goes
//! to another between two steps only: its pages never overtake each other.

use std::{collections::HashMap, time::Duration};

use sea_orm::DatabaseConnection;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{
    RelayConfig, RelayError, check_cluster,
    complaints::Complaints,
    leases::Leases,
    pace::Pace,
    parking::Parking,
    sender::Sender,
    spread::{Shape, Spread},
};
use crate::{
    backoff::Backoff,
    outbox::{
        Lease, Look, Page, StoredEvent,
        parked::{self, Parked},
        store,
        wake::{self, Commits},
    },
};

pub(super) struct Lane {
    db: DatabaseConnection,
    sender: Sender,
    config: RelayConfig,
    leases: watch::Receiver<Vec<Lease>>,
    complaints: Complaints,
    number: usize,
    spread: Spread,
    shape: watch::Receiver<Shape>,
    /// Who had which parts at the last step.
    last_shape: Shape,
    pace: Pace,
    parking: Parking,
    parked: u64,
    /// The start of the database server whose cluster the cursors were compared with.
    server: Option<i64>,
}

/// What one step found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Events went out, and their cursors moved.
    Published,
    /// There was nothing to publish.
    Idle,
    /// No part of this lane is leased to this relay.
    StandBy,
    /// A lease was lost on the way; what was published under it may be published again.
    Fenced,
}

impl Lane {
    pub(super) fn new(
        db: DatabaseConnection,
        sender: Sender,
        config: RelayConfig,
        leases: &Leases,
        spread: &Spread,
        number: usize,
        pace: Pace,
    ) -> Self {
        // Another lane may have found it out, from a server that was there before.
        pace.forget();
        Self {
            db,
            sender,
            config,
            leases: leases.subscribe(),
            complaints: leases.complaints(),
            number,
            spread: spread.clone(),
            shape: spread.subscribe(),
            last_shape: Shape::default(),
            pace,
            parking: Parking::default(),
            parked: 0,
            server: None,
        }
    }

    /// Publishes as events are committed, until `token` is cancelled; the page at hand is finished first. Ends
    /// early only with an error that waiting cannot mend.
    pub(super) async fn run(mut self, token: CancellationToken) -> Result<(), RelayError> {
        let mut commits = wake::listen();
        let mut backoff = Backoff::new(self.config.min_tick, self.config.max_backoff);
        let mut tick = self.config.min_tick;
        while !token.is_cancelled() {
            match self.step().await {
                Ok(Step::Published) => {
                    self.complaints.clear(self.number);
                    backoff.reset();
                    tick = self.config.min_tick;
                    // All that there was went out: what comes now is heard of, or found by the next tick.
                    if self.pace.more() || self.goes_on_with_parked() {
                        continue;
                    }
                }
                Ok(Step::Fenced) => {
                    tracing::warn!(owner = %self.config.owner, lane = self.number, "a lease was lost to another relay");
                    tick = self.config.min_tick;
                }
                Ok(Step::Idle | Step::StandBy) => {
                    self.complaints.clear(self.number);
                    backoff.reset();
                    tick = (tick * 2).min(self.config.max_tick);
                }
                Err(error) if error.is_retryable() => {
                    self.complaints.note(self.number, error.code());
                    tick = backoff.next();
                    tracing::warn!(code = error.code(), %error, retry_in = ?tick, "relay step failed");
                    // A wake does not shorten this pause: the error would only come sooner.
                    token.run_until_cancelled(tokio::time::sleep(tick)).await;
                    continue;
                }
                Err(error) => return Err(error),
            }
            token.run_until_cancelled(self.pause(&mut commits, tick)).await;
        }
        Ok(())
    }

    /// Waits for a commit, for the tick, or for other parts. A stand-by is not woken by a commit: it could do
    /// nothing. The tick is real time whatever the clock: it is a look at the database, not an appointment.
    async fn pause(&mut self, commits: &mut Commits, tick: Duration) {
        let stands_by = self.mine().is_empty();
        tokio::select! {
            () = commits.next(), if !stands_by => {}
            Ok(()) = self.leases.changed() => {}
            Ok(()) = self.shape.changed() => {}
            () = tokio::time::sleep(tick), if !stands_by => {}
        }
    }

    /// The leases of this lane's parts that have not run out by this process's clock.
    fn mine(&self) -> Vec<Lease> {
        let now = self.config.clock.now();
        let Shape { wide, .. } = *self.shape.borrow();
        let lane = |part: i64| if wide { self.spread.lane_of(part) } else { 0 };
        let leases = self.leases.borrow();
        let mine =
            leases.iter().filter(|lease| lane(lease.part) == self.number && lease.until > now);
        mine.cloned().collect()
    }

    /// Reads a page of each of the lane's parts, publishes it and moves the cursors.
    pub(super) async fn step(&mut self) -> Result<Step, RelayError> {
        let spread = self.spread.clone();
        let parts_stay = spread.step().await;
        let shape = *self.shape.borrow_and_update();
        if std::mem::replace(&mut self.last_shape, shape) != shape {
            // Another lane may have had these parts meanwhile, and parked events of theirs.
            self.parking = Parking::default();
        }
        let leases = self.mine();
        if leases.is_empty() {
            self.pace.forget();
            spread.stands_by(self.number);
            return Ok(Step::StandBy);
        }
        let step = self.step_with(&leases).await;
        drop(parts_stay);
        match &step {
            Ok(_) => spread.looked(self.number, self.pace.more()).await,
            Err(_) => spread.failed(self.number).await,
        }
        step
    }

    async fn step_with(&mut self, leases: &[Lease]) -> Result<Step, RelayError> {
        let store = store::of(&self.db)?;
        self.parking.refresh(&self.db, leases).await?;
        let unparked = self.take_up_parked(leases).await?;
        self.config.faults.database("relay.read.before").await?;
        let mut look = store.pages(&self.db, leases, self.pace.ask()).await?;
        self.config.faults.database("relay.read.after").await?;
        if look.server != self.server {
            check_cluster(&self.db).await?;
            if std::mem::replace(&mut self.server, look.server).is_some() {
                // Where it looked is what the server of before had said.
                look = store.pages(&self.db, leases, self.pace.ask()).await?;
            }
        }
        let Look { pages, hints, .. } = look;
        self.pace.read(leases, &pages, hints);
        if pages.is_empty() {
            return Ok(if unparked { Step::Published } else { Step::Idle });
        }
        if !self.publish(&pages).await? {
            return Ok(Step::Fenced);
        }
        self.config.faults.database("relay.advance.before").await?;
        let moved = store.advance(&self.db, &pages, &self.config.clock).await?;
        self.config.faults.database("relay.advance.after").await?;
        Ok(if moved == pages.len() as u64 { Step::Published } else { Step::Fenced })
    }

    /// The sender, with what it knows of topics, for another lane.
    pub(super) fn into_sender(self) -> Sender {
        self.sender
    }

    /// Whether the next step goes on with parked events.
    pub(super) fn goes_on_with_parked(&self) -> bool {
        self.parking.has_ready()
    }

    /// How many events this lane has parked.
    pub(super) fn parked(&self) -> u64 {
        self.parked
    }

    /// Publishes pages and returns once each event is acknowledged or parked; `false` if a lease was lost before
    /// something could be parked.
    async fn publish(&mut self, pages: &[Page]) -> Result<bool, RelayError> {
        let mut to_park: HashMap<i64, Vec<Parked<'_>>> = HashMap::new();
        let mut to_send = Vec::new();
        for page in pages {
            for event in &page.events {
                if self.parking.waits(page.lease.part, &event.record) {
                    let waits = Parked { event, refusal: None };
                    to_park.entry(page.lease.part).or_default().push(waits);
                } else {
                    to_send.push((page.lease.part, event));
                }
            }
        }
        let events: Vec<&StoredEvent> = to_send.iter().map(|(_, event)| *event).collect();
        self.pace.sends(events.len());
        let refused = self.sender.send(&events).await?;
        self.pace.sent();
        for refused in refused {
            let place = to_send.iter().find(|(_, event)| std::ptr::eq(*event, refused.event));
            let part = place.map_or(0, |(part, _)| *part);
            to_park.entry(part).or_default().push(refused);
        }
        for page in pages {
            let Some(mut events) = to_park.remove(&page.lease.part) else { continue };
            events.sort_by_key(|parked| parked.event.id);
            self.config.faults.database("relay.park.before").await?;
            if !parked::park(&self.db, &page.lease, &events, &self.config.clock).await? {
                return Ok(false);
            }
            self.config.faults.database("relay.park.after").await?;
            self.parked += events.len() as u64;
            for Parked { event, refusal } in events {
                self.parking.note(page.lease.part, &event.record);
                if let Some(error) = refusal {
                    let (id, name) = (event.record.meta.id, event.record.meta.name());
                    tracing::error!(%id, name, error, "the broker refuses an event; its key is parked");
                }
            }
        }
        Ok(true)
    }

    /// Publishes parked events that an operator wants published, of each key a page in its order: the next step goes on
    /// with it, so that other keys do not wait for a long one. `true` if there were any.
    async fn take_up_parked(&mut self, leases: &[Lease]) -> Result<bool, RelayError> {
        let mut any = false;
        for key in self.parking.take_ready() {
            let Some(lease) = leases.iter().find(|lease| lease.part == key.part) else { continue };
            let events = parked::events_of(&self.db, &key, self.pace.limit()).await?;
            if events.is_empty() {
                self.parking.free(&key);
                continue;
            }
            any = true;
            if self.republish(lease, &events).await? {
                self.parking.go_on(key);
            }
        }
        if self.parking.has_keyless() {
            let mut done = true;
            for lease in leases {
                let events = parked::keyless(&self.db, lease.part, self.config.page_size).await?;
                done &= events.is_empty();
                for event in &events {
                    self.republish(lease, std::slice::from_ref(event)).await?;
                }
            }
            if done {
                self.parking.keyless_are_done();
            }
            any |= !done;
        }
        Ok(any)
    }

    /// Publishes parked events and takes them out; `false` if one was refused again or the lease was lost.
    async fn republish(
        &mut self,
        lease: &Lease,
        events: &[StoredEvent],
    ) -> Result<bool, RelayError> {
        self.pace.sends(events.len());
        let refused = self.sender.send(&events.iter().collect::<Vec<_>>()).await?;
        self.pace.sent();
        let is_refused =
            |event: &&StoredEvent| refused.iter().any(|parked| std::ptr::eq(parked.event, *event));
        let published: Vec<i64> =
            events.iter().filter(|event| !is_refused(event)).map(|event| event.id).collect();
        let again =
            refused.iter().find_map(|parked| Some((parked.event.id, parked.refusal.clone()?)));
        let done = again.is_none();
        self.config.faults.database("relay.park.before").await?;
        let held = parked::settle(&self.db, lease, &published, again, &self.config.clock).await?;
        self.config.faults.database("relay.park.after").await?;
        Ok(held && done)
    }
}
