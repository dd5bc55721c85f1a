//! Publishing: what an event adds to a business transaction.

use anyhow::Result;
use rustok_events::TransactionalEventBus;

use super::{Floor, Options, clients, ours, seaorm};
use crate::{
    database::{Place, Server},
    figure::Figure,
    pairs::Pairs,
};

struct Cell {
    name: &'static str,
    clients: u64,
    batch: u64,
    /// Events in one measurement.
    events: u64,
    by_hand: ByHand,
}

/// What the other side is written with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ByHand {
    Sqlx,
    /// For one event a transaction.
    SeaOrm,
}

impl Cell {
    const fn new(name: &'static str, clients: u64, batch: u64, events: u64) -> Self {
        Self { name, clients, batch, events, by_hand: ByHand::Sqlx }
    }

    const fn against_seaorm(self, name: &'static str) -> Self {
        Self { name, by_hand: ByHand::SeaOrm, ..self }
    }

    fn target(&self) -> Option<f64> {
        match self.by_hand {
            ByHand::SeaOrm => None,
            ByHand::Sqlx if self.batch > 1 => Some(0.75),
            ByHand::Sqlx => Some(0.93),
        }
    }
}

const ONE: Cell = Cell::new("publish_in_tx, 1 client", 1, 1, 2_000);
const SIXTEEN: Cell = Cell::new("publish_in_tx, 16 clients", 16, 1, 8_000);
const CELLS: [Cell; 5] = [
    ONE,
    ONE.against_seaorm("publish_in_tx, 1 client, to SeaORM by hand"),
    SIXTEEN,
    SIXTEEN.against_seaorm("publish_in_tx, 16 clients, to SeaORM by hand"),
    Cell::new("publish_all_in_tx of 100", 1, 100, 50_000),
];

pub(super) async fn measure<F: Floor>(server: Server, options: &Options) -> Result<()> {
    for cell in CELLS {
        // SQLite has one writer: sixteen clients would measure how long it sleeps between two tries.
        let alone = server == Server::Sqlite && cell.clients > 1;
        if options.wants(cell.name) && !alone {
            let place = Place::create(server).await?;
            let figure = one::<F>(&place, &cell, options).await;
            place.remove().await?;
            options.print(&figure?);
        }
    }
    Ok(())
}

async fn one<F: Floor>(place: &Place, cell: &Cell, options: &Options) -> Result<Figure> {
    let floor = F::connect(place).await?;
    let bus = TransactionalEventBus::new();
    let mut pairs = Pairs::default();
    let mut from = 0;
    // The first pair only opens connections and prepares statements.
    for pair in 0..=options.pairs() {
        let (db, bus) = (place.db.clone(), bus.clone());
        let ours = clients::publish(cell.clients, from, cell.events, cell.batch, move |samples| {
            let (db, bus) = (db.clone(), bus.clone());
            async move { ours::publish(&db, &bus, samples, None).await }
        });
        let (floor, db, by_hand) = (floor.clone(), place.db.clone(), cell.by_hand);
        let hand = clients::publish(cell.clients, from, cell.events, cell.batch, move |samples| {
            let (floor, db) = (floor.clone(), db.clone());
            async move {
                match by_hand {
                    ByHand::Sqlx => floor.publish(&samples).await,
                    ByHand::SeaOrm => seaorm::publish(&db, &samples[0]).await,
                }
            }
        });
        // Who comes first changes, so that neither always meets the other's checkpoint.
        let (ours, hand) = if pair % 2 == 0 {
            let ours = ours.await?;
            (ours, hand.await?)
        } else {
            let hand = hand.await?;
            (ours.await?, hand)
        };
        if pair > 0 {
            pairs.push(ours, hand);
        }
        from += cell.events;
    }
    let figure = Figure::new(place.server.name(), cell.name, "events/s", &pairs);
    Ok(match cell.target() {
        Some(target) => figure.target(target),
        None => figure,
    })
}
