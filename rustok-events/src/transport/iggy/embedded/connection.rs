//! One connection: a request, its answer, the next request.

use std::{io, sync::Arc, time::Duration};

use iggy::prelude::IggyError;
use iggy_binary_protocol::codes::{LOGIN_USER_CODE, LOGIN_WITH_PERSONAL_ACCESS_TOKEN_CODE};
use tokio::{
    io::{AsyncRead, AsyncWrite, BufReader},
    net::TcpStream,
    time::{Instant, timeout, timeout_at},
};
use tokio_util::sync::CancellationToken;

use super::{
    broker::Broker,
    commands,
    frame::{self, Head},
    session::Session,
};

/// What a client that is not logged in may send at most: a log-in is shorter.
const BEFORE_LOGIN: usize = 4096;

/// Serves a connection to its end.
pub(super) async fn serve(broker: Arc<Broker>, stream: TcpStream, stop: CancellationToken) {
    let Ok(address) = stream.peer_addr() else { return };
    if stream.set_nodelay(true).is_err() {
        return;
    }
    // Also when the task is aborted, its memberships must end.
    let guest = Guest { session: broker.connect(address), broker };
    let (read, write) = stream.into_split();
    talk(guest, Wire { read: BufReader::new(read), write }, stop).await;
}

/// Answers requests until there are no more.
async fn talk<R, W>(mut guest: Guest, mut wire: Wire<R, W>, stop: CancellationToken)
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let broker = Arc::clone(&guest.broker);
    let login_by = Instant::now() + broker.config.login_timeout;
    loop {
        let idle = if guest.session.logged_in {
            Instant::now() + broker.config.idle_timeout
        } else {
            login_by
        };
        let first = tokio::select! {
            biased;
            () = stop.cancelled() => return,
            first = timeout_at(idle, frame::read_first(&mut wire.read)) => first,
        };
        let Ok(Ok(Some(first))) = first else { return };
        if let Err(error) = exchange(first, &broker, &mut guest.session, &mut wire).await {
            tracing::debug!(address = %guest.session.address, %error, "the embedded broker closes a connection");
            return;
        }
    }
}

/// Serves a connection that sends these bytes and ends; gives what it is answered.
#[cfg(feature = "testing")]
pub(super) async fn converse(broker: &Arc<Broker>, logged_in: bool, bytes: &[u8]) -> Vec<u8> {
    let mut guest = Guest { session: broker.connect(broker.address), broker: Arc::clone(broker) };
    if logged_in {
        broker.log_in(&mut guest.session);
    }
    let mut answers = Vec::new();
    let wire = Wire { read: BufReader::new(bytes), write: &mut answers };
    talk(guest, wire, CancellationToken::new()).await;
    answers
}

struct Wire<R, W> {
    read: BufReader<R>,
    write: W,
}

struct Guest {
    session: Session,
    broker: Arc<Broker>,
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.broker.disconnect(&self.session);
    }
}

/// One request and its answer; an error ends the connection.
async fn exchange<R, W>(
    first: u8,
    broker: &Arc<Broker>,
    session: &mut Session,
    wire: &mut Wire<R, W>,
) -> io::Result<()>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let patience = broker.config.io_timeout;
    let head = within(patience, frame::read_head(first, &mut wire.read)).await?;
    let Some(Head { code, length }) = head else {
        within(patience, frame::write(Err(IggyError::InvalidCommand), &mut wire.write)).await?;
        return Err(io::ErrorKind::InvalidData.into());
    };
    let logging_in = code == LOGIN_USER_CODE || code == LOGIN_WITH_PERSONAL_ACCESS_TOKEN_CODE;
    if !session.logged_in && length > BEFORE_LOGIN {
        let refusal =
            if logging_in { IggyError::InvalidCredentials } else { IggyError::Unauthenticated };
        within(patience, frame::write(Err(refusal), &mut wire.write)).await?;
        return Err(io::ErrorKind::InvalidData.into());
    }
    let (answer, _room) = if length + 4 > broker.config.max_frame as usize {
        // Read to its end, so that the client reads a refusal and not a broken connection it would mend by sending
        // the same again.
        within(patience, frame::skip_body(length, &mut wire.read)).await?;
        (Err(IggyError::TooBigMessagePayload), None)
    } else {
        let room = if length > frame::SMALL {
            Some(within(patience, frame::room(&broker.incoming, length)).await?)
        } else {
            None
        };
        let body = within(patience, frame::read_body(length, &mut wire.read)).await?;
        (commands::execute(broker, session, code, body).await, room)
    };
    within(patience, frame::write(answer, &mut wire.write)).await
}

async fn within<T>(patience: Duration, step: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    timeout(patience, step).await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
}
