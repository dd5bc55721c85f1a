//! The thread that writes: everything that waits goes into one journal write and one sync.

use std::{
    fmt, io,
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{self, Receiver, RecvTimeoutError, Sender},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use iggy::prelude::IggyError;
use tokio::sync::oneshot;

use super::{
    Change, Disk, Work,
    work::{Effect, Staged},
};
use crate::transport::iggy::embedded::{SyncPolicy, partition::Tails};

/// How much goes into one journal write at most.
const GROUP_BYTES: usize = 32 * 1024 * 1024;
/// How many pieces of work go into one journal write at most.
const GROUP: usize = 4096;

type Answer = oneshot::Sender<Result<u64, IggyError>>;

/// The way to the thread. The thread ends when this is dropped, after what waits is written.
pub(in super::super) struct Writer {
    jobs: Mutex<Option<Sender<(Work, Answer)>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl fmt::Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer").finish_non_exhaustive()
    }
}

impl Writer {
    pub(super) fn start(disk: Arc<Disk>, tails: Arc<Tails>, sync: SyncPolicy) -> io::Result<Self> {
        let (jobs, waiting) = mpsc::channel();
        let thread = std::thread::Builder::new()
            .name("rustok-broker".to_owned())
            .spawn(move || run(&disk, &tails, sync, &waiting))?;
        Ok(Self { jobs: Mutex::new(Some(jobs)), thread: Mutex::new(Some(thread)) })
    }

    pub(super) async fn submit(&self, work: Work) -> Result<u64, IggyError> {
        let (answer, done) = oneshot::channel();
        {
            let jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
            let jobs = jobs.as_ref().ok_or(IggyError::Disconnected)?;
            jobs.send((work, answer)).map_err(|_| IggyError::CannotWriteToFile)?;
        }
        done.await.map_err(|_| IggyError::CannotWriteToFile)?
    }

    /// Writes what waits, syncs, and ends the thread. Blocks.
    pub(super) fn stop(&self) {
        drop(self.jobs.lock().unwrap_or_else(PoisonError::into_inner).take());
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if thread.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the embedded broker's writer panicked");
        }
    }
}

fn run(disk: &Disk, tails: &Tails, sync: SyncPolicy, waiting: &Receiver<(Work, Answer)>) {
    // When the oldest write that is not on the disk was made.
    let mut dirty: Option<Instant> = None;
    loop {
        let first = match (sync, dirty) {
            (SyncPolicy::Interval(interval), Some(since)) => {
                match waiting.recv_timeout(interval.saturating_sub(since.elapsed())) {
                    Ok(job) => Some(job),
                    Err(RecvTimeoutError::Timeout) => None,
                    Err(RecvTimeoutError::Disconnected) => break,
                }
            }
            _ => match waiting.recv() {
                Ok(job) => Some(job),
                Err(_) => break,
            },
        };
        if let Some(job) = first {
            let always = sync == SyncPolicy::Always;
            let (mut synced, group) = gather(job, waiting);
            synced |= always;
            write(disk, tails, synced, group);
            dirty = if synced { None } else { dirty.or_else(|| Some(Instant::now())) };
        }
        let due = |interval: Duration| dirty.is_some_and(|since| since.elapsed() >= interval);
        if matches!(sync, SyncPolicy::Interval(interval) if due(interval)) {
            if let Err(error) = disk.sync() {
                tracing::error!(%error, "the embedded broker cannot sync its journal");
            }
            dirty = None;
        }
    }
    if let Err(error) = disk.sync() {
        tracing::error!(%error, "the embedded broker cannot sync its journal at its end");
    }
}

/// Takes what else waits; says whether any of it asks to be synced.
fn gather(
    first: (Work, Answer),
    waiting: &Receiver<(Work, Answer)>,
) -> (bool, Vec<(Work, Answer)>) {
    let mut bytes = first.0.bytes();
    let mut sync = matches!(first.0, Work::Sync);
    let mut group = vec![first];
    while bytes < GROUP_BYTES && group.len() < GROUP {
        let Ok(job) = waiting.try_recv() else { break };
        bytes += job.0.bytes();
        sync |= matches!(job.0, Work::Sync);
        group.push(job);
    }
    (sync, group)
}

/// Stages the group in its order, commits it as one, and answers.
fn write(disk: &Disk, tails: &Tails, sync: bool, group: Vec<(Work, Answer)>) {
    let mut changes: Vec<Change> = Vec::new();
    let mut done: Vec<(Effect, u64, Answer)> = Vec::with_capacity(group.len());
    for (work, answer) in group {
        match work.stage(Some(disk)) {
            Ok(Staged { changes: rows, effect, result }) => {
                changes.extend(rows);
                done.push((effect, result, answer));
            }
            // The one who asked may be gone; there is nobody else to tell.
            Err(error) => drop(answer.send(Err(error))),
        }
    }
    match disk.commit(changes, sync) {
        Ok(()) => {
            for (effect, result, answer) in done {
                effect.apply(Some(tails));
                drop(answer.send(Ok(result)));
            }
        }
        Err(error) => {
            tracing::error!(%error, "the embedded broker cannot write");
            for (effect, _, answer) in done {
                effect.abandon();
                drop(answer.send(Err(IggyError::CannotWriteToFile)));
            }
        }
    }
}
