//! What the SDK's errors mean here: a lost connection, a refused log-in, a refused message, or the rest.

use iggy::prelude::IggyError;

use crate::transport::TransportError;

/// Whether the connection can no longer be used.
///
/// `Unauthenticated` is among them: for a moment after a server's restart it answers so on connections that are
/// logged in, and a new log-in mends it.
pub(super) fn is_lost(error: &IggyError) -> bool {
    match error {
        IggyError::ProducerSendFailed { cause, .. } => is_lost(cause),
        _ => matches!(
            error,
            IggyError::Disconnected
                | IggyError::CannotEstablishConnection
                | IggyError::StaleClient
                | IggyError::TcpError
                | IggyError::NotConnected
                | IggyError::ClientShutdown
                | IggyError::ConnectionClosed
                | IggyError::EmptyResponse
                | IggyError::Unauthenticated
                | IggyError::CannotSendMessagesDueToClientDisconnection
        ),
    }
}

/// Whether the broker refuses the message itself, whatever the connection.
pub(super) fn is_refusal(error: &IggyError) -> bool {
    match error {
        IggyError::ProducerSendFailed { cause, .. } => is_refusal(cause),
        _ => matches!(
            error,
            IggyError::TooBigMessagePayload
                | IggyError::EmptyMessagePayload
                | IggyError::InvalidMessagePayloadLength
                | IggyError::TooBigUserHeaders
                | IggyError::InvalidHeaderKey
                | IggyError::InvalidHeaderValue
                | IggyError::InvalidHeaderKind(_)
                | IggyError::InvalidMessagesSize(..)
                | IggyError::TooSmallMessage(..)
        ),
    }
}

/// Whether the broker refuses a member the work of a partition, as one that belongs to another member.
pub(super) fn is_lost_ownership(error: &IggyError) -> bool {
    matches!(error, IggyError::NotResolvedConsumer(_) | IggyError::ConsumerGroupMemberNotFound(..))
}

/// Whether the broker says of its own log that it is damaged, in answer to a poll.
///
/// Server 0.8.0, killed between the write of a message and that of its index entry, gives the message's offset once
/// more after the restart, and refuses to read from there on.
pub(super) fn is_damage(error: &IggyError) -> bool {
    matches!(
        error,
        IggyError::InvalidOffset(_)
            | IggyError::InvalidMessageChecksum(..)
            | IggyError::InvalidBatchChecksum(..)
            | IggyError::InvalidIndexesByteSize(_)
            | IggyError::InvalidIndexesCount(..)
            | IggyError::CannotReadMessage
            | IggyError::CannotReadMessagePayload
            | IggyError::CannotReadIndexPosition
    )
}

/// Any error, as the seam has it. `what` names what was asked for, `username` who asked.
pub(super) fn map(error: IggyError, what: &str, username: &str) -> TransportError {
    if is_lost(&error) {
        return TransportError::Unavailable(format!("{what}: {error}").into());
    }
    match error {
        IggyError::ProducerSendFailed { cause, .. } => map(*cause, what, username),
        IggyError::InvalidCredentials
        | IggyError::InvalidUsername
        | IggyError::InvalidPassword
        | IggyError::UserInactive
        | IggyError::InvalidPersonalAccessToken
        | IggyError::PersonalAccessTokenExpired(..) => TransportError::Unauthenticated {
            username: username.to_owned(),
            source: Box::new(error),
        },
        IggyError::Unauthorized => {
            TransportError::Config(format!("`{username}` has no permission to {what}"))
        }
        IggyError::InvalidTlsDomain
        | IggyError::InvalidTlsCertificate
        | IggyError::InvalidTlsCertificatePath
        | IggyError::InvalidIpAddress(..)
        | IggyError::InvalidServerAddress
        | IggyError::InvalidReplicationFactor
        | IggyError::InvalidTopicSize(..)
        | IggyError::InvalidStreamName
        | IggyError::InvalidTopicName
        | IggyError::TooManyPartitions
        | IggyError::InvalidPartitionsCount => TransportError::Config(format!("{what}: {error}")),
        IggyError::StreamIdNotFound(_)
        | IggyError::StreamNameNotFound(_)
        | IggyError::TopicIdNotFound(..)
        | IggyError::TopicNameNotFound(..)
        | IggyError::PartitionNotFound(..)
        | IggyError::ConsumerGroupIdNotFound(..)
        | IggyError::ConsumerGroupNameNotFound(..) => TransportError::NotFound(what.to_owned()),
        error => TransportError::Broker(format!("{what}: {error}").into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waiting_mends_is_retryable_and_what_it_cannot_is_not() {
        let retryable = |error| map(error, "publish", "iggy").is_retryable();
        assert!(retryable(IggyError::Unauthenticated), "passing, after a restart");
        assert!(retryable(IggyError::TcpError));
        assert!(retryable(IggyError::CannotAppendMessage));
        assert!(!retryable(IggyError::InvalidCredentials));
        assert!(!retryable(IggyError::Unauthorized));
        assert!(!retryable(IggyError::StreamNameNotFound("a".into())));
    }
}
