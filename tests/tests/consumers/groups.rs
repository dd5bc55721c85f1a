//! Groups whose handlers change while they live: added, renamed, taken away, and two programs side by side.

use rustok_events::{
    ConsumerConfig, ConsumerRuntime, DomainEvent, EventHandler, Relay, RelayConfig,
    TransactionalEventBus,
    prelude::*,
    testing::MemoryTransport,
    transport::{EventTransport, OutgoingMessage, TopicName},
};
use rustok_events_tests::{TestDatabase, eventually, on_every_database};
use sea_orm::TransactionTrait;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::domain::{ALWAYS, App, Step, TENANT, call_out, record, step};

/// Writes which program took the event.
macro_rules! handler {
    ($name:ident, $durable:literal) => {
        #[event_handler(group = "changing", name = $durable, retry(attempts = 2, min = "1ms", max = "2ms"))]
        async fn $name(ctx: &mut HandlerContext<'_, App>, event: Step) -> HandlerResult {
            ctx.state().check(event.number)?;
            record(ctx.tx(), stringify!($name), event.number).await?;
            Ok(())
        }
    };
}

handler!(first, "first");
handler!(second, "second");
handler!(first_with_a_new_function, "first");
handler!(first_with_a_new_name, "newest");

/// A program that runs.
struct Program {
    token: CancellationToken,
    task: JoinHandle<()>,
}

impl Program {
    fn start<H: EventHandler<App>>(
        database: &TestDatabase,
        transport: &MemoryTransport,
        state: &App,
        handler: H,
        also: Option<second>,
    ) -> Self {
        let mut config = ConsumerConfig::default();
        config.retry_in_place = std::time::Duration::ZERO;
        let mut builder = ConsumerRuntime::builder(database.db.clone(), transport.clone())
            .state(state.clone())
            .config(config)
            .handler(handler);
        if let Some(also) = also {
            builder = builder.handler(also);
        }
        let (runtime, token) = (builder.build().unwrap(), CancellationToken::new());
        let task = tokio::spawn(runtime.run(token.clone()));
        let task = tokio::spawn(async move { task.await.unwrap().unwrap() });
        Self { token, task }
    }

    async fn stop(self) {
        self.token.cancel();
        self.task.await.unwrap();
    }
}

async fn publish(
    database: &TestDatabase,
    transport: &MemoryTransport,
    numbers: std::ops::Range<i64>,
) {
    let txn = database.db.begin().await.unwrap();
    let events = numbers.map(|number| step(&format!("k{}", number % 7), number));
    TransactionalEventBus::new().publish_all_in_tx(&txn, TENANT, None, events).await.unwrap();
    txn.commit().await.unwrap();
    let config = RelayConfig::default();
    Relay::new(database.db.clone(), transport.clone(), config).drain().await.unwrap();
}

/// What a handler's function wrote, sorted.
async fn seen(database: &TestDatabase, function: &str) -> Vec<i64> {
    let mut numbers = crate::domain::of_key(database, function).await;
    numbers.sort_unstable();
    numbers
}

/// Waits until the group is done with so many events of the topic.
async fn done(transport: &MemoryTransport, events: u64) {
    let topic = TopicName::new(Step::STREAM, Step::TOPIC);
    eventually(|| async {
        transport.stored_offsets("changing", &topic).iter().sum::<u64>() == events
    })
    .await;
}

on_every_database! {
async fn a_handler_added_to_a_live_group_sees_what_comes_from_then_on(database) {
    let (transport, state) = (MemoryTransport::new(), App::default());
    publish(&database, &transport, 0..20).await;
    let old = Program::start(&database, &transport, &state, first, None);
    done(&transport, 20).await;
    old.stop().await;
    let new = Program::start(&database, &transport, &state, first, Some(second));
    publish(&database, &transport, 20..30).await;
    done(&transport, 30).await;
    new.stop().await;
    assert_eq!(seen(&database, "first").await, (0..30).collect::<Vec<_>>());
    assert_eq!(seen(&database, "second").await, (20..30).collect::<Vec<_>>());
}
}

on_every_database! {
async fn a_renamed_function_that_keeps_its_name_handles_nothing_again(database) {
    let (transport, state) = (MemoryTransport::new(), App::default());
    publish(&database, &transport, 0..20).await;
    let old = Program::start(&database, &transport, &state, first, None);
    done(&transport, 20).await;
    old.stop().await;
    // Everything comes again, as after a crash before the offset was stored.
    let again = MemoryTransport::new();
    publish(&database, &again, 20..25).await;
    republish(&transport, &again).await;
    let new = Program::start(&database, &again, &state, first_with_a_new_function, None);
    done(&again, 25).await;
    new.stop().await;
    assert_eq!(seen(&database, "first_with_a_new_function").await, (20..25).collect::<Vec<_>>());
}
}

/// Appends what one broker has to another.
async fn republish(from: &MemoryTransport, to: &MemoryTransport) {
    let topic = TopicName::new(Step::STREAM, Step::TOPIC);
    for (partition, messages) in from.messages(&topic).into_iter().enumerate() {
        let messages = messages.into_iter().map(|message| OutgoingMessage {
            id: EventId::new(),
            headers: message.headers,
            payload: message.payload,
        });
        let partition = u32::try_from(partition).unwrap();
        to.publish(&topic, partition, messages.collect()).await.unwrap();
    }
}

on_every_database! {
async fn a_handler_without_an_inbox_that_fails_at_what_comes_again_gets_it_again(database) {
    let state = App::default();
    let topic = TopicName::new(Step::STREAM, Step::TOPIC);
    let transport = MemoryTransport::new();
    publish(&database, &transport, 0..1).await;
    let again = MemoryTransport::new();
    publish(&database, &again, 1..2).await;
    republish(&transport, &again).await;
    for (broker, group_is_done, seen) in [(transport, 1, 1), (again, 2, 3)] {
        state.fail(0, 1);
        let program = Program::start(&database, &broker, &state, call_out, None);
        eventually(|| async {
            broker.stored_offsets("callers", &topic).iter().sum::<u64>() == group_is_done
        })
        .await;
        eventually(|| async { state.seen().len() == seen }).await;
        program.stop().await;
    }
    assert_eq!(database.count("SELECT COUNT(*) FROM rustok_held").await, 0);
}
}

on_every_database! {
async fn a_new_name_is_a_new_reader_from_the_offset_of_its_group_on(database) {
    let (transport, state) = (MemoryTransport::new(), App::default());
    publish(&database, &transport, 0..20).await;
    let old = Program::start(&database, &transport, &state, first, None);
    done(&transport, 20).await;
    old.stop().await;
    let new = Program::start(&database, &transport, &state, first_with_a_new_name, None);
    publish(&database, &transport, 20..30).await;
    done(&transport, 30).await;
    new.stop().await;
    assert_eq!(seen(&database, "first_with_a_new_name").await, (20..30).collect::<Vec<_>>());
}
}

on_every_database! {
async fn what_a_removed_handler_left_held_waits_for_a_program_that_has_it(database) {
    let (transport, state) = (MemoryTransport::new(), App::default());
    state.fail(3, ALWAYS);
    publish(&database, &transport, 0..10).await;
    let old = Program::start(&database, &transport, &state, first, None);
    done(&transport, 10).await;
    let dead = "SELECT COUNT(*) FROM rustok_held WHERE state = 'dead' AND handler = 'first'";
    eventually(|| async { database.count(dead).await == 1 }).await;
    old.stop().await;
    let without = Program::start(&database, &transport, &state, second, None);
    publish(&database, &transport, 10..20).await;
    done(&transport, 20).await;
    let letters = rustok_events::dead_letter::DeadLetters::new(database.db.clone());
    let id = letters.list(&rustok_events::dead_letter::Filter::default()).await.unwrap()[0].id;
    letters.retry(id).await.unwrap();
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    state.fail(3, 0);
    assert_eq!(database.count("SELECT COUNT(*) FROM rustok_held").await, 1, "it waits");
    without.stop().await;
    let back = Program::start(&database, &transport, &state, first, None);
    eventually(|| async { database.count("SELECT COUNT(*) FROM rustok_held").await == 0 }).await;
    back.stop().await;
    assert_eq!(seen(&database, "first").await, (0..10).collect::<Vec<_>>(), "nothing of what came meanwhile");
}
}

on_every_database! {
async fn two_programs_side_by_side_handle_each_event_once(database) {
    let (transport, state) = (MemoryTransport::new(), App::default());
    publish(&database, &transport, 0..200).await;
    let old = Program::start(&database, &transport, &state, first, None);
    let new = Program::start(&database, &transport, &state, first_with_a_new_function, Some(second));
    publish(&database, &transport, 200..300).await;
    done(&transport, 300).await;
    old.stop().await;
    publish(&database, &transport, 300..320).await;
    done(&transport, 320).await;
    new.stop().await;
    let mut both = seen(&database, "first").await;
    both.extend(seen(&database, "first_with_a_new_function").await);
    both.sort_unstable();
    assert_eq!(both, (0..320).collect::<Vec<_>>(), "by the old or by the new, never by both");
    let added = seen(&database, "second").await;
    assert!((300..320).all(|number| added.contains(&number)), "all that came when the old was gone");
}
}
