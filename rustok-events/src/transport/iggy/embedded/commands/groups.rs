//! Consumer groups: make, find, join, leave, remove.

use std::{collections::BTreeMap, sync::Arc};

use iggy::prelude::IggyError;
use iggy_binary_protocol::{
    WireIdentifier,
    requests::consumer_groups::{
        CreateConsumerGroupRequest, DeleteConsumerGroupRequest, GetConsumerGroupRequest,
        GetConsumerGroupsRequest, JoinConsumerGroupRequest, LeaveConsumerGroupRequest,
    },
    responses::consumer_groups::{
        ConsumerGroupDetailsResponse, ConsumerGroupMemberResponse, ConsumerGroupResponse,
        GetConsumerGroupsResponse,
    },
};

use super::Outcome;
use crate::transport::iggy::embedded::{
    broker::{Broker, put, put_topic},
    frame::Reply,
    groups::Group,
    partition::Reader,
    session::{Session, now},
    store::{Change, Space, group_key, offset_key},
    topology::{GroupRow, Topic, identifier, number, wire_name},
};

/// Finds a group by number or name.
pub(super) fn find<'a>(
    groups: &'a mut BTreeMap<u32, Group>,
    id: &WireIdentifier,
) -> Option<&'a mut Group> {
    match id {
        WireIdentifier::Numeric(id) => groups.get_mut(id),
        WireIdentifier::String(name) => {
            groups.values_mut().find(|group| group.name == name.as_str())
        }
    }
}

/// That there is no such group.
pub(super) fn missing(topic: &Topic, group: &WireIdentifier) -> IggyError {
    IggyError::ConsumerGroupIdNotFound(identifier(group), number(topic.row.id))
}

/// What the group has stored on a partition.
pub(super) fn stored(topic: &Topic, group: u32) -> impl Fn(u32) -> Option<u64> {
    move |partition| topic.partitions.get(partition as usize)?.offset(&Reader::Group(group))
}

fn describe(topic: &Topic, group: &Group) -> Result<ConsumerGroupResponse, IggyError> {
    Ok(ConsumerGroupResponse {
        id: group.id,
        partitions_count: topic.row.partitions,
        members_count: u32::try_from(group.members.len()).unwrap_or(u32::MAX),
        name: wire_name(&group.name)?,
    })
}

fn details(topic: &Topic, group: &Group) -> Outcome {
    let members = group
        .members
        .iter()
        .map(|member| ConsumerGroupMemberResponse {
            id: member.id,
            partitions_count: u32::try_from(member.partitions.len()).unwrap_or(u32::MAX),
            partitions: member.partitions.clone(),
        })
        .collect();
    Ok(Reply::body(&ConsumerGroupDetailsResponse { group: describe(topic, group)?, members }))
}

fn topic(
    broker: &Broker,
    stream: &WireIdentifier,
    topic: &WireIdentifier,
) -> Result<Arc<Topic>, IggyError> {
    broker.topology().topic(stream, topic).cloned()
}

pub(super) fn get(broker: &Broker, request: &GetConsumerGroupRequest) -> Outcome {
    let Ok(topic) = topic(broker, &request.stream_id, &request.topic_id) else {
        return Ok(Reply::Empty);
    };
    let mut groups = topic.groups();
    match find(&mut groups, &request.group_id) {
        Some(group) => {
            group.settle(now(), stored(&topic, group.id));
            details(&topic, group)
        }
        None => Ok(Reply::Empty),
    }
}

pub(super) fn list(broker: &Broker, request: &GetConsumerGroupsRequest) -> Outcome {
    let Ok(topic) = topic(broker, &request.stream_id, &request.topic_id) else {
        return Ok(Reply::Empty);
    };
    let groups =
        topic.groups().values().map(|group| describe(&topic, group)).collect::<Result<_, _>>()?;
    Ok(Reply::body(&GetConsumerGroupsResponse { groups }))
}

pub(super) async fn create(broker: &Broker, request: &CreateConsumerGroupRequest) -> Outcome {
    let _counters = broker.counters.lock().await;
    let mut topic = Topic::clone(topic(broker, &request.stream_id, &request.topic_id)?.as_ref());
    let name = request.name.as_str().to_owned();
    if topic.groups().values().any(|group| group.name == name) {
        return Err(IggyError::ConsumerGroupNameAlreadyExists(name, number(topic.row.id)));
    }
    let row = GroupRow { id: topic.row.next_group, name };
    topic.row.next_group += 1;
    let changes = vec![put(group_key(topic.row.number, row.id), &row), put_topic(&topic.row)];
    broker.change(changes).await?;
    let group = Group::new(row.id, row.name, topic.row.partitions, broker.config.rebalance);
    let reply = details(&topic, &group);
    topic.groups().insert(row.id, group);
    if let Some(stream) = broker.topology_mut().streams.get_mut(&topic.row.stream) {
        stream.set(Arc::new(topic));
    }
    reply
}

pub(super) async fn delete(broker: &Broker, request: &DeleteConsumerGroupRequest) -> Outcome {
    let _counters = broker.counters.lock().await;
    let topic = topic(broker, &request.stream_id, &request.topic_id)?;
    let id = find(&mut topic.groups(), &request.group_id)
        .ok_or_else(|| missing(&topic, &request.group_id))?
        .id;
    let number = topic.row.number;
    let mut changes = vec![Change::Remove(Space::Meta, group_key(number, id))];
    changes.extend(topic.partitions.iter().map(|partition| {
        Change::Remove(Space::Offsets, offset_key(number, partition.id, &Reader::Group(id)))
    }));
    broker.change(changes).await?;
    topic.groups().remove(&id);
    for partition in &topic.partitions {
        partition.remove_offset(&Reader::Group(id));
    }
    for client in broker.clients().values_mut() {
        client.groups.retain(|membership| *membership != (number, id));
    }
    Ok(Reply::Empty)
}

pub(super) fn join(
    broker: &Broker,
    session: &Session,
    request: &JoinConsumerGroupRequest,
) -> Outcome {
    let topic = topic(broker, &request.stream_id, &request.topic_id)?;
    let mut groups = topic.groups();
    let group =
        find(&mut groups, &request.group_id).ok_or_else(|| missing(&topic, &request.group_id))?;
    group.join(session.client, now(), stored(&topic, group.id));
    let membership = (topic.row.number, group.id);
    if let Some(client) = broker.clients().get_mut(&session.client)
        && !client.groups.contains(&membership)
    {
        client.groups.push(membership);
    }
    Ok(Reply::Empty)
}

pub(super) fn leave(
    broker: &Broker,
    session: &Session,
    request: &LeaveConsumerGroupRequest,
) -> Outcome {
    let topic = topic(broker, &request.stream_id, &request.topic_id)?;
    let mut groups = topic.groups();
    let group =
        find(&mut groups, &request.group_id).ok_or_else(|| missing(&topic, &request.group_id))?;
    if !group.leave(session.client) {
        return Err(IggyError::ConsumerGroupMemberNotFound(
            session.client,
            identifier(&request.group_id),
            number(topic.row.id),
        ));
    }
    let membership = (topic.row.number, group.id);
    if let Some(client) = broker.clients().get_mut(&session.client) {
        client.groups.retain(|known| *known != membership);
    }
    Ok(Reply::Empty)
}
