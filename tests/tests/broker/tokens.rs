//! Personal access tokens.

use std::{net::SocketAddr, time::Duration};

use iggy::prelude::*;

use crate::{client::*, disk::start};

async fn log_in(address: SocketAddr, token: &str) -> Result<(), IggyError> {
    let client = stranger(address);
    client.connect().await.unwrap();
    let logged_in = client.login_with_personal_access_token(token).await;
    // Not only said to be: what needs a log-in is answered.
    let answered = client.get_streams().await.is_ok();
    client.shutdown().await.unwrap();
    assert_eq!(logged_in.is_ok(), answered);
    logged_in.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_lets_in_until_it_is_deleted_also_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let broker = start(folder.path()).await;
    let client = connect(broker.address()).await;
    let never = PersonalAccessTokenExpiry::NeverExpire;
    let kept = client.create_personal_access_token("kept", never).await.unwrap().token;
    let gone = client.create_personal_access_token("gone", never).await.unwrap().token;
    let again = client.create_personal_access_token("kept", never).await;
    assert!(matches!(again, Err(IggyError::PersonalAccessTokenAlreadyExists(..))), "{again:?}");
    log_in(broker.address(), &gone).await.unwrap();
    client.delete_personal_access_token("gone").await.unwrap();
    assert!(client.delete_personal_access_token("gone").await.is_err());
    client.shutdown().await.unwrap();
    broker.shutdown().await;

    let broker = start(folder.path()).await;
    log_in(broker.address(), &kept).await.unwrap();
    for wrong in [gone.as_str(), "", &kept[1..], "kept"] {
        assert!(log_in(broker.address(), wrong).await.is_err(), "{wrong}");
    }
    let client = connect(broker.address()).await;
    let tokens = client.get_personal_access_tokens().await.unwrap();
    let tokens: Vec<_> = tokens.iter().map(|token| (&token.name[..], token.expiry_at)).collect();
    assert_eq!(tokens, [("kept", None)]);
    broker.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_has_expired_is_refused_as_that() {
    let broker = broker().await;
    let client = connect(broker.address()).await;
    let soon = IggyDuration::from(Duration::from_secs(1));
    let soon = PersonalAccessTokenExpiry::ExpireDuration(soon);
    let token = client.create_personal_access_token("short", soon).await.unwrap().token;
    log_in(broker.address(), &token).await.unwrap();
    assert!(client.get_personal_access_tokens().await.unwrap()[0].expiry_at.is_some());
    tokio::time::sleep(Duration::from_millis(1100)).await;
    assert!(matches!(
        log_in(broker.address(), &token).await,
        Err(IggyError::PersonalAccessTokenExpired(..))
    ));
}
