//! Coming in, going away, coming back.

use iggy::prelude::{Client as _, PersonalAccessTokenClient as _, PersonalAccessTokenExpiry};
use rustok_events::{TransportError, iggy::IggyTransport};

use crate::broker::{Broker, provision};

pub(crate) async fn a_wrong_password_is_named_and_not_shown(broker: Broker) {
    let mut config = broker.config();
    "swordfish".clone_into(&mut config.remote.password);
    let refused = IggyTransport::new(config.clone()).await.unwrap_err();
    assert!(
        matches!(&refused, TransportError::Unauthenticated { username, .. } if username == "iggy"),
        "{refused:?}"
    );
    for shown in [refused.to_string(), format!("{refused:?}"), format!("{config:?}")] {
        assert!(!shown.contains("swordfish"), "{shown}");
    }
    config.remote.personal_access_token = Some("iggypat-marlin".to_owned());
    let refused = IggyTransport::new(config.clone()).await.unwrap_err();
    assert!(matches!(&refused, TransportError::Unauthenticated { .. }), "{refused:?}");
    for shown in [refused.to_string(), format!("{refused:?}"), format!("{config:?}")] {
        assert!(!shown.contains("marlin"), "{shown}");
    }
}

pub(crate) async fn a_personal_access_token_lets_in(broker: Broker) {
    let client = broker.plain_client().await;
    let name = broker.stream.replace("rustok-", "");
    let expiry = PersonalAccessTokenExpiry::NeverExpire;
    let token = client.create_personal_access_token(&name, expiry).await.unwrap().token;
    let mut config = broker.config();
    "not the password".clone_into(&mut config.remote.password);
    config.remote.personal_access_token = Some(token);
    let transport = IggyTransport::new(config).await.unwrap();
    provision(&transport, &broker.topic("orders"), 1).await;
    client.delete_personal_access_token(&name).await.unwrap();
    client.shutdown().await.unwrap();
}
