//! Streams: make, find, rename, empty, remove.

use iggy::prelude::IggyError;
use iggy_binary_protocol::{
    requests::streams::{
        CreateStreamRequest, DeleteStreamRequest, GetStreamRequest, PurgeStreamRequest,
        UpdateStreamRequest,
    },
    responses::streams::{GetStreamResponse, GetStreamsResponse},
};

use super::{Outcome, topics};
use crate::transport::iggy::embedded::{
    broker::{Broker, put},
    frame::Reply,
    session::now,
    store::{Change, Space, stream_key},
    topology::{Stream, StreamRow},
};

fn describe(stream: &Stream) -> Outcome {
    let topics = stream.topics.values().map(|topic| topic.header()).collect::<Result<_, _>>()?;
    Ok(Reply::body(&GetStreamResponse { stream: stream.header()?, topics }))
}

pub(super) fn get(broker: &Broker, request: &GetStreamRequest) -> Outcome {
    broker.topology().find(&request.stream_id).map_or(Ok(Reply::Empty), describe)
}

pub(super) fn list(broker: &Broker) -> Outcome {
    let streams =
        broker.topology().streams.values().map(Stream::header).collect::<Result<_, _>>()?;
    Ok(Reply::body(&GetStreamsResponse { streams }))
}

pub(super) async fn create(broker: &Broker, request: &CreateStreamRequest) -> Outcome {
    let mut counters = broker.counters.lock().await;
    let name = request.name.as_str().to_owned();
    if broker.topology().has(&name) {
        return Err(IggyError::StreamNameAlreadyExists(name));
    }
    let mut next = counters.clone();
    let row = StreamRow { id: next.next_stream, name, created_at: now(), next_topic: 1 };
    next.next_stream += 1;
    broker.change(vec![put(stream_key(row.id), &row), next.row()]).await?;
    *counters = next;
    let stream = Stream::new(row);
    let reply = describe(&stream);
    broker.topology_mut().insert(stream);
    reply
}

pub(super) async fn update(broker: &Broker, request: &UpdateStreamRequest) -> Outcome {
    let _counters = broker.counters.lock().await;
    let name = request.name.as_str().to_owned();
    let mut row = broker.topology().stream(&request.stream_id)?.row.clone();
    if row.name == name {
        return Ok(Reply::Empty);
    }
    if broker.topology().has(&name) {
        return Err(IggyError::StreamNameAlreadyExists(name));
    }
    row.name.clone_from(&name);
    broker.change(vec![put(stream_key(row.id), &row)]).await?;
    broker.topology_mut().rename(row.id, name);
    Ok(Reply::Empty)
}

pub(super) async fn delete(broker: &Broker, request: &DeleteStreamRequest) -> Outcome {
    let _counters = broker.counters.lock().await;
    let (id, doomed) = {
        let topology = broker.topology();
        let stream = topology.stream(&request.stream_id)?;
        (stream.row.id, stream.topics.values().cloned().collect::<Vec<_>>())
    };
    let mut changes = vec![Change::Remove(Space::Meta, stream_key(id))];
    changes.extend(doomed.iter().flat_map(|topic| topics::removal(topic)));
    broker.change(changes).await?;
    drop(broker.topology_mut().remove(id));
    for topic in &doomed {
        topics::bury(broker, topic);
    }
    Ok(Reply::Empty)
}

pub(super) async fn purge(broker: &Broker, request: &PurgeStreamRequest) -> Outcome {
    let topics: Vec<_> =
        broker.topology().stream(&request.stream_id)?.topics.values().cloned().collect();
    for topic in topics {
        topics::empty(broker, &topic).await?;
    }
    Ok(Reply::Empty)
}
