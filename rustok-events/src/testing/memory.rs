//! A broker in a few maps: the smallest transport that keeps every promise of the seam.
//!
//! For harnesses that run thousands of schedules. Tests of an application use the embedded broker, which speaks
//! the real protocol.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::watch;

use crate::transport::{
    BoxFuture, EventTransport, IncomingMessage, OutgoingMessage, StartFrom, Subscription,
    TopicName, TopicSpec, TransportError,
};

/// The partition count of a topic whose events declare none.
const DEFAULT_PARTITIONS: u32 = 8;

/// A transport within the process. Clones share their topics and groups.
#[derive(Debug, Clone, Default)]
pub struct MemoryTransport {
    broker: Arc<Broker>,
}

#[derive(Debug, Default)]
struct Broker {
    state: Mutex<State>,
    changed: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct State {
    topics: HashMap<TopicName, Vec<Vec<IncomingMessage>>>,
    groups: HashMap<(String, TopicName), Group>,
    next_member: u64,
}

#[derive(Debug)]
struct Group {
    /// How many messages of each partition are done.
    done: Vec<u64>,
    members: Vec<u64>,
}

impl Broker {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn notify(&self) {
        self.changed.send_modify(|changes| *changes = changes.wrapping_add(1));
    }
}

impl Group {
    /// Partitions are dealt out to members in turn.
    fn owns(&self, member: u64, partition: usize) -> bool {
        !self.members.is_empty() && self.members[partition % self.members.len()] == member
    }
}

impl MemoryTransport {
    /// A broker without topics.
    pub fn new() -> Self {
        Self::default()
    }

    /// Everything that was appended to a topic, by partition, in order.
    pub fn messages(&self, topic: &TopicName) -> Vec<Vec<IncomingMessage>> {
        self.broker.lock().topics.get(topic).cloned().unwrap_or_default()
    }

    /// How many messages of each partition a group is done with; nothing for a group that nobody ever joined.
    pub fn stored_offsets(&self, group: &str, topic: &TopicName) -> Vec<u64> {
        let key = (group.to_owned(), topic.clone());
        self.broker.lock().groups.get(&key).map(|group| group.done.clone()).unwrap_or_default()
    }
}

impl EventTransport for MemoryTransport {
    fn provision<'a>(
        &'a self,
        topics: &'a [TopicSpec],
    ) -> BoxFuture<'a, Result<Vec<u32>, TransportError>> {
        Box::pin(async move {
            let mut state = self.broker.lock();
            topics.iter().map(|spec| provision(&mut state, spec)).collect()
        })
    }

    fn publish<'a>(
        &'a self,
        topic: &'a TopicName,
        partition: u32,
        messages: Vec<OutgoingMessage>,
    ) -> BoxFuture<'a, Result<(), TransportError>> {
        Box::pin(async move {
            let mut state = self.broker.lock();
            let log = state
                .topics
                .get_mut(topic)
                .and_then(|partitions| partitions.get_mut(partition as usize))
                .ok_or_else(|| TransportError::NotFound(format!("{topic}/{partition}")))?;
            for message in messages {
                log.push(IncomingMessage {
                    partition,
                    offset: log.len() as u64,
                    headers: message.headers,
                    payload: message.payload,
                });
            }
            drop(state);
            self.broker.notify();
            Ok(())
        })
    }

    fn subscribe<'a>(
        &'a self,
        group: &'a str,
        topic: &'a TopicName,
        start: StartFrom,
    ) -> BoxFuture<'a, Result<Box<dyn Subscription>, TransportError>> {
        Box::pin(async move {
            let mut state = self.broker.lock();
            let ends: Vec<u64> = state
                .topics
                .get(topic)
                .ok_or_else(|| TransportError::NotFound(topic.to_string()))?
                .iter()
                .map(|log| log.len() as u64)
                .collect();
            state.next_member += 1;
            let member = state.next_member;
            let key = (group.to_owned(), topic.clone());
            let group = state.groups.entry(key.clone()).or_insert_with(|| Group {
                done: match start {
                    StartFrom::Beginning => vec![0; ends.len()],
                    StartFrom::End => ends,
                },
                members: Vec::new(),
            });
            group.members.push(member);
            drop(state);
            self.broker.notify();
            let subscription = Member {
                broker: Arc::clone(&self.broker),
                key,
                id: member,
                handed_out: HashMap::new(),
                bound: u64::MAX,
            };
            Ok(Box::new(subscription) as Box<dyn Subscription>)
        })
    }

    fn is_connected(&self) -> bool {
        true
    }

    fn shutdown(&self) -> BoxFuture<'_, Result<(), TransportError>> {
        Box::pin(async { Ok(()) })
    }
}

fn provision(state: &mut State, spec: &TopicSpec) -> Result<u32, TransportError> {
    match state.topics.entry(spec.name.clone()) {
        Entry::Vacant(vacant) => {
            let count = spec.partitions.unwrap_or(DEFAULT_PARTITIONS);
            vacant.insert(vec![Vec::new(); count as usize]);
            Ok(count)
        }
        Entry::Occupied(occupied) => {
            let found = u32::try_from(occupied.get().len()).unwrap_or(u32::MAX);
            match spec.partitions {
                Some(declared) if declared != found => Err(TransportError::PartitionMismatch {
                    topic: spec.name.clone(),
                    declared,
                    found,
                }),
                _ => Ok(found),
            }
        }
    }
}

struct Member {
    broker: Arc<Broker>,
    key: (String, TopicName),
    id: u64,
    /// How far each owned partition was handed out to this member.
    handed_out: HashMap<usize, u64>,
    bound: u64,
}

impl Member {
    fn take(&mut self, max: usize) -> Vec<IncomingMessage> {
        let state = self.broker.lock();
        let (Some(group), Some(logs)) =
            (state.groups.get(&self.key), state.topics.get(&self.key.1))
        else {
            return Vec::new();
        };
        self.handed_out.retain(|partition, _| group.owns(self.id, *partition));
        for (partition, log) in logs.iter().enumerate() {
            if !group.owns(self.id, partition) {
                continue;
            }
            let next = self.handed_out.entry(partition).or_insert(group.done[partition]);
            if next.saturating_sub(group.done[partition]) >= self.bound {
                continue;
            }
            let from = usize::try_from(*next).unwrap_or(usize::MAX);
            let messages: Vec<_> = log.iter().skip(from).take(max).cloned().collect();
            if !messages.is_empty() {
                *next += messages.len() as u64;
                return messages;
            }
        }
        Vec::new()
    }
}

impl Subscription for Member {
    fn next(&mut self, max: usize) -> BoxFuture<'_, Result<Vec<IncomingMessage>, TransportError>> {
        Box::pin(async move {
            let mut changed = self.broker.changed.subscribe();
            loop {
                let messages = self.take(max);
                if !messages.is_empty() {
                    return Ok(messages);
                }
                changed.changed().await.map_err(|_| TransportError::Closed)?;
            }
        })
    }

    fn bound(&mut self, unacknowledged: usize) {
        self.bound = unacknowledged as u64;
    }

    fn acknowledge(
        &mut self,
        partition: u32,
        offset: u64,
    ) -> BoxFuture<'_, Result<(), TransportError>> {
        Box::pin(async move {
            let mut state = self.broker.lock();
            let owned = state
                .groups
                .get_mut(&self.key)
                .filter(|group| group.owns(self.id, partition as usize));
            let Some(group) = owned else {
                // Should it come back, it is handed out again from what the group is done with then.
                self.handed_out.remove(&(partition as usize));
                return Err(TransportError::LostOwnership {
                    group: self.key.0.clone(),
                    topic: self.key.1.clone(),
                    partition,
                });
            };
            let done = &mut group.done[partition as usize];
            *done = (*done).max(offset + 1);
            drop(state);
            self.broker.notify();
            Ok(())
        })
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        if let Some(group) = self.broker.lock().groups.get_mut(&self.key) {
            group.members.retain(|member| *member != self.id);
        }
        self.broker.notify();
    }
}
