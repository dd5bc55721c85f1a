//! A connection to the broker: one SDK client, connected within a bounded time, logged in, checked while idle.
//!
//! The SDK's own reconnection is off: it knows one address, has no jitter, waits without bound, and re-sends on
//! its own. A connection that fails is given up whole and [`Link`](super::link::Link) makes another, so that no
//! half-written frame and no late answer ever meets a new request.

use std::{
    collections::HashMap,
    fmt,
    future::Future,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use iggy::prelude::{
    AutoLogin, Client as _, ClientWrapper, IggyClient, IggyDuration, IggyError, IggyProducer,
    PersonalAccessTokenClient as _, SystemClient as _, TcpClient, TcpClientConfig,
    TcpClientReconnectionConfig, UserClient as _, locking::IggyRwLockFn as _,
};
use tokio_util::sync::CancellationToken;

use super::{
    config::{ConnectionConfig, RemoteConfig},
    errors,
};
use crate::transport::{TopicName, TransportError};

/// Where to connect to, and as whom.
#[derive(Clone)]
pub(super) struct Endpoint {
    pub(super) addresses: Vec<String>,
    pub(super) username: String,
    pub(super) password: String,
    pub(super) token: Option<String>,
    pub(super) tls: Option<Tls>,
    pub(super) timing: ConnectionConfig,
}

/// How a connection is encrypted.
#[derive(Debug, Clone)]
pub(super) struct Tls {
    server_name: Option<String>,
    ca_file: Option<String>,
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint")
            .field("addresses", &self.addresses)
            .field("username", &self.username)
            .field("tls", &self.tls)
            .finish_non_exhaustive()
    }
}

impl Endpoint {
    /// Checks what can be checked without connecting.
    pub(super) fn remote(
        config: &RemoteConfig,
        timing: &ConnectionConfig,
    ) -> Result<Self, TransportError> {
        let wrong = |what: String| Err(TransportError::Config(what));
        if !config.protocol.eq_ignore_ascii_case("tcp") {
            return wrong(format!("unknown protocol `{}`: only `tcp` is known", config.protocol));
        }
        if config.addresses.is_empty() {
            return wrong("`remote.addresses` is empty: name at least one `host:port`".to_owned());
        }
        for address in &config.addresses {
            let port = address.rsplit_once(':').and_then(|(host, port)| {
                port.parse::<u16>().ok().filter(|port| !host.is_empty() && *port > 0)
            });
            if port.is_none() {
                return wrong(format!("`{address}` is no address: write `host:port`"));
            }
        }
        if let Some(file) = config.tls_ca_file.as_ref().filter(|_| config.tls_enabled)
            && !Path::new(file).is_file()
        {
            return wrong(format!("`remote.tls_ca_file`: there is no file `{file}`"));
        }
        Ok(Self {
            addresses: config.addresses.clone(),
            username: config.username.clone(),
            password: config.password.clone(),
            token: config.personal_access_token.clone(),
            tls: config.tls_enabled.then(|| Tls {
                server_name: config.tls_server_name.clone(),
                ca_file: config.tls_ca_file.clone(),
            }),
            timing: timing.clone(),
        })
    }

    /// Who logs in, for messages.
    pub(super) fn user(&self) -> &str {
        if self.token.is_some() { "personal access token" } else { &self.username }
    }

    /// How often a consumer's idle connection is checked. Seldom, since there may be many of them and any news makes
    /// them ask; often enough for a server that wants a sign of life every five seconds.
    pub(super) fn member_check(&self) -> Duration {
        self.timing.heartbeat * 3
    }

    fn client(&self, address: &str) -> Result<IggyClient, IggyError> {
        let config = TcpClientConfig {
            server_address: address.to_owned(),
            tls_enabled: self.tls.is_some(),
            tls_domain: self
                .tls
                .as_ref()
                .and_then(|tls| tls.server_name.clone())
                .unwrap_or_default(),
            tls_ca_file: self.tls.as_ref().and_then(|tls| tls.ca_file.clone()),
            tls_validate_certificate: true,
            auto_login: AutoLogin::Disabled,
            reconnection: TcpClientReconnectionConfig { enabled: false, ..Default::default() },
            heartbeat_interval: IggyDuration::from(self.timing.heartbeat),
            nodelay: true,
        };
        Ok(IggyClient::new(ClientWrapper::Tcp(TcpClient::create(Arc::new(config))?)))
    }
}

/// One client that is logged in. Dropping it ends the connection.
pub(super) struct Connection {
    client: Arc<IggyClient>,
    address: String,
    user: String,
    request_timeout: Duration,
    /// Cancelled when the connection can no longer be used.
    lost: CancellationToken,
    pub(super) producers: Mutex<HashMap<TopicName, Arc<IggyProducer>>>,
}

impl Connection {
    /// Tries the addresses in turn, beginning at number `first`. A refused log-in or a wrong configuration ends
    /// the tour: the next address would say the same. While idle the connection is checked every `check`.
    pub(super) async fn open(
        endpoint: &Endpoint,
        first: usize,
        check: Duration,
    ) -> Result<Self, TransportError> {
        let mut last = TransportError::Config("no address".to_owned());
        for number in 0..endpoint.addresses.len() {
            let address = &endpoint.addresses[(first + number) % endpoint.addresses.len()];
            match Self::open_at(endpoint, address).await {
                Err(error) if error.is_retryable() => last = error,
                result => {
                    return result.inspect(|connection| connection.check_while_idle(check));
                }
            }
        }
        Err(last)
    }

    async fn open_at(endpoint: &Endpoint, address: &str) -> Result<Self, TransportError> {
        let user = endpoint.user();
        let what = format!("connect to {address}");
        let client = endpoint.client(address).map_err(|error| errors::map(error, &what, user))?;
        // Owned by the connection from the start, so that a time-out closes the socket too.
        let connection = Self {
            client: Arc::new(client),
            address: address.to_owned(),
            user: user.to_owned(),
            request_timeout: endpoint.timing.request_timeout,
            lost: CancellationToken::new(),
            producers: Mutex::new(HashMap::new()),
        };
        let limit = endpoint.timing.connect_timeout;
        // The SDK's heartbeat, which comes with `IggyClient::connect`, does not tell us when it fails.
        let connect = async { connection.client.client().read().await.connect().await };
        connection.bounded(limit, &what, connect).await?;
        let login = async {
            match &endpoint.token {
                Some(token) => connection.client.login_with_personal_access_token(token).await,
                None => connection.client.login_user(&endpoint.username, &endpoint.password).await,
            }
        };
        // Whatever the broker answers to a log-in is about the log-in: an unknown token is "not found".
        connection.raw(limit, &what, login).await?.map_err(|error| {
            TransportError::Unauthenticated { username: user.to_owned(), source: Box::new(error) }
        })?;
        tracing::debug!(address, user, "connected to the broker");
        Ok(connection)
    }

    /// Asks for a sign of life now and then; without one the connection is lost.
    fn check_while_idle(&self, interval: Duration) {
        let (client, lost) = (Arc::downgrade(&self.client), self.lost.clone());
        let limit = self.request_timeout;
        tokio::spawn(async move {
            while lost.run_until_cancelled(tokio::time::sleep(interval)).await.is_some() {
                let Some(client) = client.upgrade() else { return };
                let ping = tokio::time::timeout(limit, client.ping());
                if !matches!(lost.run_until_cancelled(ping).await, Some(Ok(Ok(())))) {
                    lost.cancel();
                }
            }
        });
    }

    /// Sends a request within the request time-out.
    pub(super) async fn ask<T>(
        &self,
        what: &str,
        request: impl Future<Output = Result<T, IggyError>>,
    ) -> Result<T, TransportError> {
        self.bounded(self.request_timeout, what, request).await
    }

    /// Sends a request within a time. One that takes longer, or shows that the connection is broken, ends the
    /// connection: its answer might come in place of the next one's.
    pub(super) async fn bounded<T>(
        &self,
        limit: Duration,
        what: &str,
        request: impl Future<Output = Result<T, IggyError>>,
    ) -> Result<T, TransportError> {
        self.raw(limit, what, request).await?.map_err(|error| errors::map(error, what, &self.user))
    }

    /// The same, with the broker's own error where it is not the connection's.
    pub(super) async fn raw<T>(
        &self,
        limit: Duration,
        what: &str,
        request: impl Future<Output = Result<T, IggyError>>,
    ) -> Result<Result<T, IggyError>, TransportError> {
        let unavailable = |why: String| TransportError::Unavailable(why.into());
        tokio::select! {
            biased;
            answer = request => match answer {
                Err(error) if errors::is_lost(&error) => {
                    self.lost.cancel();
                    Err(unavailable(format!("{what} at {}: {error}", self.address)))
                }
                answer => Ok(answer),
            },
            () = self.lost.cancelled() => {
                Err(unavailable(format!("{what} at {}: the connection was lost", self.address)))
            }
            () = tokio::time::sleep(limit) => {
                self.lost.cancel();
                Err(unavailable(format!("{what} at {}: no answer within {limit:?}", self.address)))
            }
        }
    }

    pub(super) fn client(&self) -> &IggyClient {
        &self.client
    }

    pub(super) fn user(&self) -> &str {
        &self.user
    }

    pub(super) fn request_timeout(&self) -> Duration {
        self.request_timeout
    }

    /// Whether it can still be used, as far as is known.
    pub(super) fn is_alive(&self) -> bool {
        !self.lost.is_cancelled()
    }

    /// Cancelled when the connection can no longer be used.
    pub(super) fn lost(&self) -> &CancellationToken {
        &self.lost
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.lost.cancel();
        self.producers.get_mut().unwrap_or_else(PoisonError::into_inner).clear();
        // The SDK ends its tasks and closes its socket when told to, not when dropped.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let client = Arc::clone(&self.client);
            runtime.spawn(async move { client.shutdown().await });
        }
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("address", &self.address)
            .field("alive", &self.is_alive())
            .finish_non_exhaustive()
    }
}
