//! What each command does. Codes and payloads are those of `iggy_binary_protocol`.

mod groups;
mod messages;
mod offsets;
mod streams;
mod system;
mod tokens;
mod topics;

use std::sync::Arc;

use bytes::BytesMut;
use iggy::prelude::IggyError;
use iggy_binary_protocol::{WireDecode, codes as code};

use super::{broker::Broker, frame::Reply, session::Session};

type Outcome = Result<Reply, IggyError>;

/// Executes a request.
pub(super) async fn execute(
    broker: &Arc<Broker>,
    session: &mut Session,
    command: u32,
    body: BytesMut,
) -> Outcome {
    match command {
        code::PING_CODE => return Ok(Reply::Empty),
        code::LOGIN_USER_CODE => return system::log_in(broker, session, &decode(&body)?),
        code::LOGIN_WITH_PERSONAL_ACCESS_TOKEN_CODE => {
            return tokens::log_in(broker, session, &decode(&body)?);
        }
        _ if !session.logged_in => return Err(IggyError::Unauthenticated),
        _ => {}
    }
    let body_len = body.len();
    match command {
        code::SEND_MESSAGES_CODE => messages::send(broker, body).await,
        code::POLL_MESSAGES_CODE => messages::poll(broker, session, decode(&body)?).await,
        code::FLUSH_UNSAVED_BUFFER_CODE => messages::flush(broker, &decode(&body)?).await,

        code::GET_CONSUMER_OFFSET_CODE => Ok(offsets::get(broker, &decode(&body)?)),
        code::STORE_CONSUMER_OFFSET_CODE => offsets::store(broker, session, decode(&body)?).await,
        code::DELETE_CONSUMER_OFFSET_CODE => offsets::delete(broker, session, decode(&body)?).await,

        code::GET_STREAM_CODE => streams::get(broker, &decode(&body)?),
        code::GET_STREAMS_CODE => streams::list(broker),
        code::CREATE_STREAM_CODE => streams::create(broker, &decode(&body)?).await,
        code::DELETE_STREAM_CODE => streams::delete(broker, &decode(&body)?).await,
        code::UPDATE_STREAM_CODE => streams::update(broker, &decode(&body)?).await,
        code::PURGE_STREAM_CODE => streams::purge(broker, &decode(&body)?).await,

        code::GET_TOPIC_CODE => topics::get(broker, &decode(&body)?),
        code::GET_TOPICS_CODE => topics::list(broker, &decode(&body)?),
        code::CREATE_TOPIC_CODE => topics::create(broker, &decode(&body)?).await,
        code::DELETE_TOPIC_CODE => topics::delete(broker, &decode(&body)?).await,
        code::UPDATE_TOPIC_CODE => topics::update(broker, &decode(&body)?).await,
        code::PURGE_TOPIC_CODE => topics::purge(broker, &decode(&body)?).await,
        code::CREATE_PARTITIONS_CODE => topics::add_partitions(broker, &decode(&body)?).await,
        code::DELETE_PARTITIONS_CODE => topics::drop_partitions(broker, &decode(&body)?).await,

        code::GET_CONSUMER_GROUP_CODE => groups::get(broker, &decode(&body)?),
        code::GET_CONSUMER_GROUPS_CODE => groups::list(broker, &decode(&body)?),
        code::CREATE_CONSUMER_GROUP_CODE => groups::create(broker, &decode(&body)?).await,
        code::DELETE_CONSUMER_GROUP_CODE => groups::delete(broker, &decode(&body)?).await,
        code::JOIN_CONSUMER_GROUP_CODE => groups::join(broker, session, &decode(&body)?),
        code::LEAVE_CONSUMER_GROUP_CODE => groups::leave(broker, session, &decode(&body)?),

        code::GET_STATS_CODE => Ok(system::stats(broker)),
        code::GET_CLUSTER_METADATA_CODE => Ok(system::cluster(broker)),
        code::GET_ME_CODE => Ok(system::client(broker, session.client)),
        code::GET_CLIENT_CODE => Ok(system::client_by_number(broker, &decode(&body)?)),
        code::GET_CLIENTS_CODE => Ok(system::clients(broker)),
        code::GET_USER_CODE => system::user(broker, &decode(&body)?),
        code::GET_USERS_CODE => system::users(broker),
        code::GET_PERSONAL_ACCESS_TOKENS_CODE => tokens::list(broker),
        code::CREATE_PERSONAL_ACCESS_TOKEN_CODE => tokens::create(broker, &decode(&body)?).await,
        code::DELETE_PERSONAL_ACCESS_TOKEN_CODE => tokens::delete(broker, &decode(&body)?).await,
        code::LOGOUT_USER_CODE => {
            broker.log_out(session);
            Ok(Reply::Empty)
        }
        known if code::command_name(known).is_ok() => Err(IggyError::FeatureUnavailable),
        _ => {
            tracing::debug!(command, body_len, "the embedded broker does not know a command");
            Err(IggyError::InvalidCommand)
        }
    }
}

/// Takes a payload apart.
fn decode<T: WireDecode>(body: &[u8]) -> Result<T, IggyError> {
    T::decode_from(body).map_err(|_| IggyError::InvalidCommand)
}
