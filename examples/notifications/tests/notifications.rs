//! A gateway that fails after it has sent: the worst case of at least once.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use notifications::{App, Gateway, ParcelSent, tell_receiver};
use rustok_events::{
    BoxError,
    testing::{TestApp, TestError},
    transport::BoxFuture,
};
use uuid::Uuid;

const TENANT: Uuid = Uuid::from_u128(1);

#[derive(Default)]
struct Forgetful {
    sent: Mutex<HashMap<Uuid, String>>,
    calls: Mutex<u32>,
}

impl Gateway for Forgetful {
    fn send<'a>(
        &'a self,
        key: Uuid,
        phone: &'a str,
        _text: &'a str,
    ) -> BoxFuture<'a, Result<(), BoxError>> {
        Box::pin(async move {
            self.sent.lock().unwrap().insert(key, phone.to_owned());
            let mut calls = self.calls.lock().unwrap();
            *calls += 1;
            if *calls == 1 { Err("the answer was lost".into()) } else { Ok(()) }
        })
    }
}

#[tokio::test]
async fn a_message_whose_answer_was_lost_is_sent_again_under_the_same_key() -> Result<(), TestError>
{
    let gateway = Arc::new(Forgetful::default());
    let state: App = gateway.clone();
    let app = TestApp::builder().state(state).handler(tell_receiver).start().await?;
    let event = ParcelSent { parcel_id: Uuid::from_u128(7), phone: "+49 30 1234".to_owned() };
    let id = app.publish(TENANT, event).await?;
    app.settle().await?;
    app.clock().advance(Duration::from_secs(1));
    app.settle().await?;
    assert_eq!(*gateway.calls.lock().unwrap(), 2);
    let sent = gateway.sent.lock().unwrap().clone();
    assert_eq!(sent.len(), 1, "one key, one message");
    assert_eq!(sent.get(&id.into()).map(String::as_str), Some("+49 30 1234"));
    assert_eq!(app.handled("notifications", "tell_receiver").await?, 1);
    Ok(())
}
