//! Encrypted connections, through a go-between that ends the encryption in front of the embedded broker.

use std::{fs, sync::Arc};

use rustok_events::{
    TransportError,
    iggy::{IggyConfig, IggyTransport},
};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig,
        crypto::aws_lc_rs,
        pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
    },
};

use crate::broker::{Broker, join, provision, publish, take};

/// A server whose certificate is for `iggy.test`, signed by nobody but itself; and the certificate's file.
async fn encrypted(broker: &Broker, folder: &std::path::Path) -> IggyConfig {
    let made = rcgen::generate_simple_self_signed(vec!["iggy.test".to_owned()]).unwrap();
    let file = folder.join("ca.pem");
    fs::write(&file, made.cert.pem()).unwrap();
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let provider = Arc::new(aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut config = broker.config();
    config.remote.addresses = vec![listener.local_addr().unwrap().to_string()];
    config.remote.tls_enabled = true;
    config.remote.tls_ca_file = Some(file.display().to_string());
    config.remote.tls_server_name = Some("iggy.test".to_owned());
    let behind = broker.address.clone();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let (acceptor, behind) = (acceptor.clone(), behind.clone());
            tokio::spawn(async move {
                let mut client = acceptor.accept(client).await?;
                let mut broker = TcpStream::connect(behind).await?;
                tokio::io::copy_bidirectional(&mut client, &mut broker).await
            });
        }
    });
    config
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_with_a_certificate_of_our_own_authority_is_trusted() {
    let (broker, folder) = (Broker::embedded().await, tempfile::tempdir().unwrap());
    let config = encrypted(&broker, folder.path()).await;
    let transport = IggyTransport::new(config).await.unwrap();
    let topic = broker.topic("orders");
    provision(&transport, &topic, 1).await;
    publish(&transport, &topic, 0, 0..2_000).await;
    assert_eq!(take(&mut *join(&transport, "readers", &topic).await, 2_000).await.len(), 2_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_cannot_prove_its_name_is_not() {
    let (broker, folder) = (Broker::embedded().await, tempfile::tempdir().unwrap());
    let config = encrypted(&broker, folder.path()).await;
    let mut other_name = config.clone();
    other_name.remote.tls_server_name = Some("other.test".to_owned());
    let mut no_authority = config.clone();
    no_authority.remote.tls_ca_file = None;
    for config in [other_name, no_authority] {
        let refused = IggyTransport::new(config).await.unwrap_err();
        assert!(matches!(&refused, TransportError::Unavailable(_)), "{refused:?}");
    }
    let not_pem = folder.path().join("ca.txt");
    fs::write(&not_pem, "no certificate").unwrap();
    let mut config = config;
    config.remote.tls_ca_file = Some(not_pem.display().to_string());
    let refused = IggyTransport::new(config).await.unwrap_err();
    assert!(
        matches!(&refused, TransportError::Config(_) | TransportError::Unavailable(_)),
        "{refused:?}"
    );
}
