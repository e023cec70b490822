//! One SMTP session while no daemon runs: what it hands in is kept, and the daemon sends it when it starts.
//!
//! The queue is locked meanwhile, as by a daemon; nothing is delivered here.

use super::queue_settings;
use crate::clock::Clock;
use crate::config::schema::Config;
use crate::deliver::route::Router;
use crate::events::Events;
use crate::inbox::addresses::Inboxes;
use crate::inbox::channel::Guard;
use crate::intake::credentials::Credentials;
use crate::intake::listener::{Intakes, Policy};
use crate::intake::local;
use crate::queue::{Queue, QueueError};
use std::io;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::thread::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Opens the queue and begins a session in a thread of its own; the client's end of it, and the thread, which ends
/// when the session has ended and the queue is closed.
///
/// # Errors
/// When the queue can't be opened, above all because somebody has it: [`QueueError::Locked`].
pub fn serve_one(config: Config, clock: Clock) -> Result<(UnixStream, JoinHandle<()>), QueueError> {
    let queue = Queue::open(queue_settings(&config), clock.clone())?;
    let failed = |cause: io::Error| QueueError::Index(cause.to_string());
    let (ours, theirs) = UnixStream::pair().map_err(failed)?;
    ours.set_nonblocking(true).map_err(failed)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
    let thread = std::thread::spawn(move || {
        runtime.block_on(async move {
            if let Ok(socket) = tokio::net::UnixStream::from_std(ours) {
                session(&config, &queue, clock, socket).await;
            }
            queue.close().await;
        });
    });
    Ok((theirs, thread))
}

async fn session(config: &Config, queue: &Queue, clock: Clock, socket: tokio::net::UnixStream) {
    let router =
        Router::new(config.routes.clone(), config.applications.clone(), config.default_smarthost.clone());
    let policy = Policy {
        hostname: config.hostname.as_str().into(),
        min_rate: config.intake.min_rate,
        intake: config.intake.clone(),
        applications: config.applications.clone(),
        credentials: Arc::new(Credentials::new(&config.applications)),
        router: Arc::new(router),
        rewrites: config.rewrites.clone(),
        inboxes: Inboxes::new(config.inboxes.values()),
        guard: Guard::of(config),
        tls: None,
    };
    let (stop, tracker) = (CancellationToken::new(), TaskTracker::new());
    // Nothing is logged: this is a command's process, and its user is told by the command.
    let events = Events::new(config.log.addresses);
    // Nothing is known of how the lanes are.
    let intakes = Intakes::new(queue.clone(), clock, events, stop, tracker, Arc::new(|_| None));
    local::serve(socket, intakes, Arc::new(policy)).await;
}
