//! Publishing: what an event adds to a business transaction.

use anyhow::Result;
use rustok_events::TransactionalEventBus;

use super::{Floor, Options, clients, ours};
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
    target: f64,
}

const CELLS: [Cell; 3] = [
    Cell { name: "publish_in_tx, 1 client", clients: 1, batch: 1, events: 2_000, target: 0.93 },
    Cell { name: "publish_in_tx, 16 clients", clients: 16, batch: 1, events: 8_000, target: 0.93 },
    Cell { name: "publish_all_in_tx of 100", clients: 1, batch: 100, events: 50_000, target: 0.75 },
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
        let floor = floor.clone();
        let hand = clients::publish(cell.clients, from, cell.events, cell.batch, move |samples| {
            let floor = floor.clone();
            async move { floor.publish(&samples).await }
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
    Ok(Figure::new(place.server.name(), cell.name, "events/s", &pairs).target(cell.target))
}
