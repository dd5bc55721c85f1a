//! Coming in, going away, coming back.

use rustok_events::{TransportError, iggy::IggyTransport};

use crate::broker::Broker;

pub(crate) async fn a_wrong_password_is_named_and_not_shown(broker: Broker) {
    let mut config = broker.config();
    config.remote.password = "swordfish".to_owned();
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
