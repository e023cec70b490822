//! A session with a program on this machine that came through a socket of ours instead of a listener: `waystation
//! sendmail` by the control socket, or in one process with the queue when no daemon runs.
//!
//! Who can open such a socket is our user or root, so that the client is trusted. Everything else goes as with any
//! client: the same commands, limits, routes and receipts.

use super::access::Access;
use super::listener::{Intakes, Policy};
use super::session::{Client, Session};
use super::steering;
use crate::net::stream::Stream;
use crate::smtp::server::{Server, ServerSettings};
use std::sync::Arc;
use tokio::net::UnixStream;

/// Runs one session to its end.
pub async fn serve(socket: UnixStream, intakes: Arc<Intakes>, policy: Arc<Policy>) {
    let stream = Stream::local_to(socket);
    let settings = ServerSettings {
        hostname: policy.hostname.clone(),
        max_message_size: policy.intake.max_message_size,
        max_recipients: policy.intake.max_recipients,
        max_errors: policy.intake.max_errors,
        steering: Some(steering::steering(true, intakes.clock.now())),
        ..ServerSettings::default()
    };
    let session = intakes.next_session();
    intakes.events.connected(session, stream.peer(), &"this machine");
    let client = Client {
        session,
        peer: stream.peer(),
        tls: None,
        greeted: policy.clone(),
        policy,
        access: Access::local(),
        intakes: intakes.clone(),
        queue: intakes.queue.clone(),
        clock: intakes.clock.clone(),
        events: intakes.events.clone(),
        stop: intakes.stop.clone(),
        detours: intakes.detours.clone(),
        login: None,
    };
    Session::new(client, stream, Server::new(Arc::new(settings), false)).run(false).await;
}
