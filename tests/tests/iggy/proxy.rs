//! A go-between that can garble, swallow or deny, one request at a time: what a broker does on a bad day.

use std::sync::{Arc, Mutex};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

/// What becomes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It is answered as the broker answers it.
    Answer,
    /// It is answered with this status and never reaches the broker.
    Deny(u32),
    /// It is never answered, and never reaches the broker.
    Swallow,
    /// The broker handles it, and the connection ends in place of the answer.
    HangUp,
    /// Eight bytes of the answer, from this place on, are replaced by this number.
    Patch(usize, u64),
}

type Decide = dyn Fn(u32) -> Fate + Send + Sync;

/// Stands between a client and a broker.
#[derive(Clone)]
pub(crate) struct Proxy {
    pub(crate) address: String,
    decide: Arc<Mutex<Arc<Decide>>>,
}

impl Proxy {
    pub(crate) async fn before(broker: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let answer: Arc<Decide> = Arc::new(|_| Fate::Answer);
        let proxy = Self { address, decide: Arc::new(Mutex::new(answer)) };
        let (broker, decide) = (broker.to_owned(), Arc::clone(&proxy.decide));
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (broker, decide) = (broker.clone(), Arc::clone(&decide));
                tokio::spawn(async move {
                    let broker = TcpStream::connect(broker).await?;
                    serve(client, broker, &decide).await
                });
            }
        });
        proxy
    }

    /// From now on each request meets what is decided for its command code.
    pub(crate) fn decide(&self, decide: impl Fn(u32) -> Fate + Send + Sync + 'static) {
        *self.decide.lock().unwrap() = Arc::new(decide);
    }

    /// The next request with this code meets this fate, all others are answered.
    pub(crate) fn once(&self, code: u32, fate: Fate) {
        let left = Mutex::new(Some(fate));
        self.decide(move |of| {
            if of == code {
                left.lock().unwrap().take().unwrap_or(Fate::Answer)
            } else {
                Fate::Answer
            }
        });
    }
}

async fn serve(
    mut client: TcpStream,
    mut broker: TcpStream,
    decide: &Mutex<Arc<Decide>>,
) -> std::io::Result<()> {
    client.set_nodelay(true)?;
    broker.set_nodelay(true)?;
    loop {
        let length = client.read_u32_le().await?;
        let mut request = vec![0; length as usize];
        client.read_exact(&mut request).await?;
        let code = u32::from_le_bytes(request[..4].try_into().unwrap());
        let decide = Arc::clone(&decide.lock().unwrap());
        let fate = decide(code);
        match fate {
            Fate::Deny(status) => {
                client.write_all(&[status.to_le_bytes(), [0; 4]].concat()).await?;
                continue;
            }
            Fate::Swallow => continue,
            Fate::Answer | Fate::HangUp | Fate::Patch(..) => {}
        }
        broker.write_all(&[&length.to_le_bytes(), &request[..]].concat()).await?;
        let (status, length) = (broker.read_u32_le().await?, broker.read_u32_le().await?);
        let mut answer = vec![0; if status == 0 { length as usize } else { 0 }];
        broker.read_exact(&mut answer).await?;
        match fate {
            Fate::HangUp => return Ok(()),
            Fate::Patch(place, number) if answer.len() >= place + 8 => {
                answer[place..place + 8].copy_from_slice(&number.to_le_bytes());
            }
            _ => {}
        }
        let head = [status.to_le_bytes(), length.to_le_bytes()].concat();
        client.write_all(&[head, answer].concat()).await?;
    }
}
