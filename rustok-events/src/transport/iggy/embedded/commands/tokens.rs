//! Personal access tokens: make, list, remove, log in with.

use iggy::prelude::IggyError;
use iggy_binary_protocol::{
    requests::personal_access_tokens::{
        CreatePersonalAccessTokenRequest, DeletePersonalAccessTokenRequest,
        LoginWithPersonalAccessTokenRequest,
    },
    responses::{
        personal_access_tokens::{
            GetPersonalAccessTokensResponse, PersonalAccessTokenResponse,
            RawPersonalAccessTokenResponse,
        },
        users::IdentityResponse,
    },
};

use super::Outcome;
use crate::transport::iggy::embedded::{
    broker::{Broker, put},
    frame::Reply,
    session::{Session, now},
    store::{Change, Space, token_key},
    tokens::USER,
    topology::wire_name,
};

/// What the protocol calls the server's default, and here means no expiry.
const DEFAULT: u64 = 0;
const NEVER: u64 = u64::MAX;

pub(super) fn log_in(
    broker: &Broker,
    session: &mut Session,
    request: &LoginWithPersonalAccessTokenRequest,
) -> Outcome {
    if let Err(error) = broker.tokens().check(request.token.as_str(), now()) {
        tracing::warn!(address = %session.address, %error, "the embedded broker refuses a log-in");
        return Err(error);
    }
    broker.log_in(session);
    Ok(Reply::body(&IdentityResponse { user_id: USER }))
}

pub(super) fn list(broker: &Broker) -> Outcome {
    let tokens = broker.tokens();
    let tokens = tokens.0.values().map(|row| {
        let expiry_at = row.expires_at.unwrap_or_default();
        Ok(PersonalAccessTokenResponse { name: wire_name(&row.name)?, expiry_at })
    });
    let tokens = tokens.collect::<Result<_, IggyError>>()?;
    Ok(Reply::body(&GetPersonalAccessTokensResponse { tokens }))
}

pub(super) async fn create(broker: &Broker, request: &CreatePersonalAccessTokenRequest) -> Outcome {
    let _counters = broker.counters.lock().await;
    let expires_at = match request.expiry {
        DEFAULT | NEVER => None,
        micros => Some(now().saturating_add(micros)),
    };
    let (row, token) = broker.tokens().make(request.name.as_str(), expires_at)?;
    broker.change(vec![put(token_key(&row.name), &row)]).await?;
    broker.tokens().0.insert(row.name.clone(), row);
    Ok(Reply::body(&RawPersonalAccessTokenResponse { token: wire_name(&token)? }))
}

pub(super) async fn delete(broker: &Broker, request: &DeletePersonalAccessTokenRequest) -> Outcome {
    let _counters = broker.counters.lock().await;
    let name = request.name.as_str();
    if !broker.tokens().0.contains_key(name) {
        return Err(IggyError::ResourceNotFound(name.to_owned()));
    }
    broker.change(vec![Change::Remove(Space::Meta, token_key(name))]).await?;
    broker.tokens().0.remove(name);
    Ok(Reply::Empty)
}
