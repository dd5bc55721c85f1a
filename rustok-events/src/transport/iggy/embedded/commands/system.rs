//! Log-in, and what the broker says of itself.

use iggy::prelude::IggyError;
use iggy_binary_protocol::{
    WireIdentifier,
    primitives::permissions::{WireGlobalPermissions, WirePermissions},
    requests::{
        system::GetClientRequest,
        users::{GetUserRequest, LoginUserRequest},
    },
    responses::{
        clients::{
            ClientDetailsResponse, ClientResponse, ConsumerGroupInfoResponse, GetClientsResponse,
        },
        system::{ClusterMetadataResponse, ClusterNodeResponse, StatsResponse},
        users::{GetUsersResponse, IdentityResponse, UserDetailsResponse, UserResponse},
    },
};

use super::Outcome;
use crate::transport::iggy::embedded::{
    broker::Broker,
    frame::Reply,
    session::{Client, Session, now},
    tokens::USER,
    topology::wire_name,
};

const ACTIVE: u8 = 1;
const TCP: u8 = 1;
const LEADER: u8 = 0;
const HEALTHY: u8 = 0;

pub(super) fn log_in(
    broker: &Broker,
    session: &mut Session,
    request: &LoginUserRequest,
) -> Outcome {
    let (name, password) = (&broker.config.username, &broker.config.password);
    let right = same(request.username.as_bytes(), name.as_bytes())
        & same(request.password.as_bytes(), password.as_bytes());
    if !right {
        tracing::warn!(address = %session.address, "the embedded broker refuses a log-in");
        return Err(IggyError::InvalidCredentials);
    }
    broker.log_in(session);
    Ok(Reply::body(&IdentityResponse { user_id: USER }))
}

/// Compares in a time that does not tell where two secrets differ.
fn same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |differs, (a, b)| differs | (a ^ b)) == 0
}

pub(super) fn cluster(broker: &Broker) -> Reply {
    Reply::body(&ClusterMetadataResponse {
        name: "single-node".to_owned(),
        nodes: vec![ClusterNodeResponse {
            name: "embedded".to_owned(),
            ip: broker.address.ip().to_string(),
            tcp_port: broker.address.port(),
            quic_port: 0,
            http_port: 0,
            websocket_port: 0,
            role: LEADER,
            status: HEALTHY,
        }],
    })
}

pub(super) fn stats(broker: &Broker) -> Reply {
    let topology = broker.topology();
    let (mut bytes, mut messages, mut topics, mut partitions, mut groups) = (0, 0, 0, 0, 0);
    for topic in topology.topics() {
        let size = topic.size();
        bytes += size.0;
        messages += size.1;
        topics += 1;
        partitions += topic.row.partitions;
        groups += count(topic.groups().len());
    }
    Reply::body(&StatsResponse {
        process_id: std::process::id(),
        cpu_usage: 0.0,
        total_cpu_usage: 0.0,
        memory_usage: 0,
        total_memory: 0,
        available_memory: 0,
        run_time: now().saturating_sub(broker.started_at),
        start_time: broker.started_at,
        read_bytes: 0,
        written_bytes: 0,
        messages_size_bytes: bytes,
        streams_count: count(topology.streams.len()),
        topics_count: topics,
        partitions_count: partitions,
        segments_count: partitions,
        messages_count: messages,
        clients_count: count(broker.clients().len()),
        consumer_groups_count: groups,
        hostname: "localhost".to_owned(),
        os_name: std::env::consts::OS.to_owned(),
        os_version: String::new(),
        kernel_version: String::new(),
        iggy_server_version: concat!("embedded-", env!("CARGO_PKG_VERSION")).to_owned(),
        iggy_server_semver: None,
        cache_metrics: Vec::new(),
        threads_count: 0,
        free_disk_space: 0,
        total_disk_space: 0,
    })
}

pub(super) fn client(broker: &Broker, number: u32) -> Reply {
    let Some(client) = broker.clients().get(&number).cloned() else { return Reply::Empty };
    let topology = broker.topology();
    let consumer_groups: Vec<ConsumerGroupInfoResponse> = client
        .groups
        .iter()
        .filter_map(|(topic, group)| {
            let topic = topology.topics().find(|known| known.row.number == *topic)?;
            Some(ConsumerGroupInfoResponse {
                stream_id: topic.row.stream,
                topic_id: topic.row.id,
                group_id: *group,
            })
        })
        .collect();
    let mut client = describe(number, &client);
    client.consumer_groups_count = count(consumer_groups.len());
    Reply::body(&ClientDetailsResponse { client, consumer_groups })
}

pub(super) fn client_by_number(broker: &Broker, request: &GetClientRequest) -> Reply {
    client(broker, request.client_id)
}

pub(super) fn clients(broker: &Broker) -> Reply {
    let clients =
        broker.clients().iter().map(|(number, client)| describe(*number, client)).collect();
    Reply::body(&GetClientsResponse { clients })
}

fn describe(number: u32, client: &Client) -> ClientResponse {
    ClientResponse {
        client_id: number,
        user_id: if client.logged_in { USER } else { u32::MAX },
        transport: TCP,
        address: client.address.to_string(),
        consumer_groups_count: count(client.groups.len()),
    }
}

pub(super) fn user(broker: &Broker, request: &GetUserRequest) -> Outcome {
    let known = match &request.user_id {
        WireIdentifier::Numeric(id) => *id == USER,
        WireIdentifier::String(name) => name.as_str() == broker.config.username,
    };
    if !known {
        return Ok(Reply::Empty);
    }
    let global = WireGlobalPermissions {
        manage_servers: false,
        read_servers: true,
        manage_users: false,
        read_users: true,
        manage_streams: true,
        read_streams: true,
        manage_topics: true,
        read_topics: true,
        poll_messages: true,
        send_messages: true,
    };
    Ok(Reply::body(&UserDetailsResponse {
        user: the_user(broker)?,
        permissions: Some(WirePermissions { global, streams: Vec::new() }),
    }))
}

pub(super) fn users(broker: &Broker) -> Outcome {
    Ok(Reply::body(&GetUsersResponse { users: vec![the_user(broker)?] }))
}

fn the_user(broker: &Broker) -> Result<UserResponse, IggyError> {
    Ok(UserResponse {
        id: USER,
        created_at: broker.started_at,
        status: ACTIVE,
        username: wire_name(&broker.config.username)?,
    })
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
