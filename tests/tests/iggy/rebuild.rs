//! Reading again into a group's handlers.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use rustok_events::{
    ConsumerConfig, ConsumerError, ConsumerRuntime, EventTransport as _, iggy::IggyTransport,
    prelude::*, transport::TopicName,
};
use rustok_events_tests::{Backend, eventually};
use sea_orm::{ConnectionTrait, DatabaseConnection};
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use crate::{
    broker::{Broker, provision},
    stream::event,
};

#[derive(Debug, Clone, Serialize, Deserialize, DomainEvent)]
#[domain_event(stream = "rebuild", topic = "orders", name = "counted", partition_key = none)]
struct Counted(u64);

#[event_handler(group = "projection", retry(attempts = 1))]
async fn project(ctx: &mut HandlerContext<'_, Arc<AtomicU32>>, event: Counted) -> HandlerResult {
    let sql = format!("INSERT INTO ledger (event_key, number) VALUES ('a', {})", event.0);
    ctx.tx().execute_unprepared(&sql).await?;
    if u64::from(ctx.state().load(Ordering::Relaxed)) == event.0 {
        return Err("told to fail".into());
    }
    Ok(())
}

async fn rows(db: &DatabaseConnection) -> usize {
    let select = sea_orm::Statement::from_string(
        db.get_database_backend(),
        "SELECT number FROM ledger WHERE event_key = 'a'",
    );
    db.query_all_raw(select).await.unwrap().len()
}

async fn lag(transport: &IggyTransport, topic: &TopicName) -> Option<u64> {
    let topics = transport.health().await.topics?;
    let topic = topics.iter().find(|known| known.topic == *topic)?;
    topic.groups.iter().find(|group| group.group == "projection")?.lag()
}

/// Ten events, of which one fails while the projection is first made.
async fn ten(transport: &IggyTransport, topic: &TopicName) {
    for number in 0..10 {
        transport.publish(topic, 0, vec![event("counted", "k", topic, number)]).await.unwrap();
    }
}

pub(crate) async fn a_replay_goes_into_handlers_that_the_inbox_guards_unless_told_otherwise(
    broker: Broker,
) {
    // The event names its stream.
    let broker = broker.with_stream("rebuild");
    let transport = broker.transport().await;
    let topic = broker.topic("orders");
    provision(&transport, &topic, 1).await;
    ten(&transport, &topic).await;
    for backend in Backend::available("replay into handlers") {
        let database = backend.create().await;
        on(&database.db, &transport, &topic).await;
    }
    transport.shutdown().await.unwrap();
    broker.clean_up().await;
}

async fn on(db: &DatabaseConnection, transport: &IggyTransport, topic: &TopicName) {
    let failing = Arc::new(AtomicU32::new(3));
    let runtime = || {
        ConsumerRuntime::builder(db.clone(), transport.clone())
            .config(ConsumerConfig::default())
            .state(Arc::clone(&failing))
            .handler(project)
            .build()
            .unwrap()
    };
    let nobody = TopicName::new("rebuild", "elsewhere");
    let mut replay = transport.replay(topic.clone()).start().await.unwrap();
    let token = CancellationToken::new();
    let refused = runtime().replay("projection", &nobody).run(&mut replay, token.clone()).await;
    assert!(matches!(refused, Err(ConsumerError::NoHandler { .. })), "{refused:?}");

    // The inbox is empty: everything is handled, and the failing event becomes a dead letter that parks its key.
    runtime().replay("projection", topic).run(&mut replay, token.clone()).await.unwrap();
    assert_eq!((replay.progress().remaining, replay.progress().delivered), (0, 10));
    assert_eq!(rows(db).await, 3, "those behind the dead letter wait");

    // Again: the inbox lets nothing through.
    let mut again = transport.replay(topic.clone()).start().await.unwrap();
    runtime().replay("projection", topic).run(&mut again, token.clone()).await.unwrap();
    assert_eq!(rows(db).await, 3);

    // Past the inbox: what was handled is handled again, what is held is left to its retry.
    let mut rebuild = transport.replay(topic.clone()).start().await.unwrap();
    let consumers = runtime();
    consumers.replay("projection", topic).past_inbox().run(&mut rebuild, token).await.unwrap();
    assert_eq!(rows(db).await, 6);

    // One that fails past the inbox ends the replay, which goes on from there.
    failing.store(2, Ordering::Relaxed);
    let mut failed = transport.replay(topic.clone()).start().await.unwrap();
    let token = CancellationToken::new();
    let ended =
        consumers.replay("projection", topic).past_inbox().run(&mut failed, token.clone()).await;
    assert!(matches!(ended, Err(ConsumerError::Unreadable { offset: 2, .. })), "{ended:?}");
    assert_eq!(rows(db).await, 8);
    failing.store(99, Ordering::Relaxed);
    let mut rest = transport.replay(topic.clone()).resume(failed.position()).start().await.unwrap();
    consumers.replay("projection", topic).past_inbox().run(&mut rest, token).await.unwrap();
    assert_eq!((rows(db).await, rest.progress().delivered), (9, 8));

    // The group's own offsets were never touched: it begins at the beginning, and the inbox guards it.
    let token = CancellationToken::new();
    let live = tokio::spawn(consumers.run(token.clone()));
    eventually(|| async { lag(transport, topic).await == Some(0) }).await;
    token.cancel();
    live.await.unwrap().unwrap();
    assert_eq!(rows(db).await, 9);
    eventually(|| async { transport.rewind("projection", topic, None).await.is_ok() }).await;
}
