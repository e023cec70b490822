//! `waystation demo`: everything at once, on loopback, with nothing to set up.
//!
//! The relay is the real daemon with a real configuration file in a temporary folder; only the two ends are
//! stand-ins: a smarthost that takes everything, and the service that is told of forwarded mail.

use super::receiver::{Post, Receiver};
use super::stand_in::{StandIn, Taken};
use super::{Done, Failure, OUR_BUG, UNAVAILABLE, print, table};
use crate::clock::Clock;
use crate::config;
use crate::config::schema::LogFormat;
use crate::daemon::Daemon;
use crate::events::start_logging;
use crate::queue::Filter;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use clap::Args;
use lettre::message::header::ContentType;
use lettre::{AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor};
use std::io::Write as _;
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, sleep, timeout};

/// The key that signs the demo's events.
const KEY: &[u8; 32] = b"the demo's key is for everybody.";
/// Every station must be reached within this time.
const STATION_LIMIT: Duration = Duration::from_secs(20);

#[derive(Debug, Args)]
pub(super) struct Demo {
    /// Exit when both messages have arrived
    #[arg(long)]
    once: bool,
}

/// A temporary folder that goes with the demo.
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        // What can't be removed stays in the temporary folder, where the system cleans up.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

impl Demo {
    pub(super) fn run(&self) -> Done {
        let failed = |what: &str, cause: std::io::Error| {
            Failure::new(OUR_BUG, format!("waystation demo: {what}: {cause}"))
        };
        let _log =
            start_logging(LogFormat::Text, tracing::Level::WARN).map_err(|cause| failed("log", cause))?;
        let folder = std::env::temp_dir().join(format!("waystation-demo-{}", std::process::id()));
        std::fs::DirBuilder::new()
            .mode(0o700)
            .create(&folder)
            .map_err(|cause| failed(&folder.display().to_string(), cause))?;
        let folder = Folder(folder);
        let runtime = tokio::runtime::Runtime::new().map_err(|cause| failed("runtime", cause))?;
        runtime.block_on(show(&folder.0, self.once))
    }
}

async fn show(folder: &Path, once: bool) -> Done {
    let listening =
        |cause: std::io::Error| Failure::new(UNAVAILABLE, format!("waystation demo: loopback: {cause}"));
    let mut smarthost = StandIn::start("smarthost.demo").await.map_err(listening)?;
    let mut service = Receiver::start(KEY).await.map_err(listening)?;
    let file = folder.join("waystation.toml");
    let secret = format!("whsec_{}\n", BASE64_STANDARD.encode(KEY));
    write(&folder.join("guests.secret"), &secret)?;
    write(&file, &configuration(smarthost.address(), &service.url()))?;
    let loaded = config::load(&file, std::iter::empty())
        .map_err(|complaints| Failure::new(OUR_BUG, complaints.to_string()))?;
    let daemon = Daemon::start(loaded, Clock::system())
        .await
        .map_err(|cause| Failure::new(cause.exit_code(), cause.to_string()))?;
    let relay = *daemon
        .addresses()
        .first()
        .ok_or_else(|| Failure::new(OUR_BUG, "waystation demo: nothing listens"))?;
    print(&format!(
        "waystation demo\n\n  relay      {relay}      point an application here\n  smarthost  {}      stands in for \
         your provider\n  webhook    {}      stands in for your service\n  state      {}\n",
        smarthost.address(),
        service.url(),
        folder.display()
    ));
    print("\n1  an application submits a message\n");
    let reply = send(relay, submission()?).await?;
    print(&format!("   relay      said   {reply}\n"));
    arrived("smarthost", &mut smarthost).await?;
    print("\n2  a mailbox forwards a guest's answer to inbox+sol@users.demo\n");
    for line in String::from_utf8_lossy(&forwarded()?.formatted()).lines() {
        print(&format!("              | {}\n", table::printable(line)));
    }
    let reply = send(relay, forwarded()?).await?;
    print(&format!("   relay      said   {reply}\n"));
    match timeout(STATION_LIMIT, service.next()).await {
        Ok(Some(post)) if post.is_signed => tell_post(&post),
        Ok(Some(_)) => return Err(Failure::new(OUR_BUG, "waystation demo: the event's signature is wrong")),
        _ => return Err(Failure::new(OUR_BUG, "waystation demo: no event reached the webhook in 20 s")),
    }
    print("\n3  the journal has both\n");
    journal(&daemon).await?;
    if !once {
        stay(relay, &mut smarthost, &mut service).await;
    }
    daemon.stop("demo over").await;
    Ok(())
}

/// The file that the demo runs with, as anyone could write it.
fn configuration(smarthost: SocketAddr, webhook: &str) -> String {
    format!(
        "hostname = \"relay.demo\"\nstate_dir = \"state\"\n\n[[listener]]\naddress = \"127.0.0.1:0\"\n\n\
         [smarthost.shop]\nhost = \"127.0.0.1\"\nport = {}\ntls = \"none\"\n\n\
         [inbox.guests]\naddress = \"inbox@users.demo\"\nwebhook = \"{webhook}\"\n\
         secret_file = \"guests.secret\"\nallow_private = true\n\n\
         [mailbox.sol]\naddress = \"hola@casasol.demo\"\ninbox = \"guests\"\ntoken = \"sol\"\n",
        smarthost.port(),
    )
}

/// A file that nobody else may read.
fn write(path: &Path, text: &str) -> Done {
    let written = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    written
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .map_err(|cause| Failure::new(UNAVAILABLE, format!("waystation demo: {}: {cause}", path.display())))
}

fn submission() -> Result<Message, Failure> {
    Message::builder()
        .from(mailbox("The Shop <shop@shop.demo>")?)
        .to(mailbox("Ana <ana@guest.demo>")?)
        .subject("Your order 4711 is on its way")
        .header(ContentType::TEXT_PLAIN)
        .body("Dear Ana,\r\n\r\nyour order left our house today.\r\n".to_owned())
        .map_err(|cause| Failure::new(OUR_BUG, format!("waystation demo: {cause}")))
}

/// A guest's answer as Gmail forwards it, quotation below.
fn forwarded() -> Result<Message, Failure> {
    let text = "Llegamos a las 18:00.\r\n\r\nEl dom, 22 nov 2026 a las 15:02, Casa Sol <hola@casasol.demo>\r\n\
                escribió:\r\n\r\n> ¿A qué hora llegan?\r\n";
    Message::builder()
        .from(mailbox("Ana <ana@guest.demo>")?)
        .to(mailbox("Casa Sol <hola@casasol.demo>")?)
        .subject("Re: Llegada")
        .header(ContentType::TEXT_PLAIN)
        .body(text.to_owned())
        .map_err(|cause| Failure::new(OUR_BUG, format!("waystation demo: {cause}")))
}

fn mailbox(text: &str) -> Result<lettre::message::Mailbox, Failure> {
    text.parse().map_err(|cause| Failure::new(OUR_BUG, format!("waystation demo: {text}: {cause}")))
}

/// Submits by lettre, which knows nothing of our code; the relay's own words.
async fn send(relay: SocketAddr, message: Message) -> Result<String, Failure> {
    let failed = |cause: &dyn std::fmt::Display| {
        Failure::new(UNAVAILABLE, format!("waystation demo: submission: {cause}"))
    };
    let client = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(relay.ip().to_string())
        .port(relay.port())
        .build();
    let forwarded = message.headers().get_raw("Subject").is_some_and(|subject| subject.starts_with("Re:"));
    let envelope = if forwarded {
        let address = |text: &str| text.parse::<lettre::Address>().map_err(|cause| failed(&cause));
        lettre::address::Envelope::new(
            Some(address("hola+caf_=inbox=users.demo@casasol.demo")?),
            vec![address("inbox+sol@users.demo")?],
        )
        .map_err(|cause| failed(&cause))?
    } else {
        message.envelope().clone()
    };
    let answer = client.send_raw(&envelope, &message.formatted()).await.map_err(|cause| failed(&cause))?;
    let words: Vec<&str> = answer.message().collect();
    Ok(format!("{} {}", answer.code(), words.join(" ")))
}

async fn arrived(place: &str, stand_in: &mut StandIn) -> Done {
    match timeout(STATION_LIMIT, stand_in.next()).await {
        Ok(Some(taken)) => {
            tell(place, &taken);
            Ok(())
        }
        _ => Err(Failure::new(OUR_BUG, format!("waystation demo: nothing reached the {place} in 20 s"))),
    }
}

fn tell(place: &str, taken: &Taken) {
    print(&format!(
        "   {place:<10} got    MAIL FROM:<{}> RCPT TO:<{}>\n",
        taken.sender,
        taken.recipients.join(">,<")
    ));
    for line in String::from_utf8_lossy(&taken.content).lines() {
        print(&format!("              | {}\n", table::printable(line)));
    }
}

/// What a service reads of an event first, then the event itself.
fn tell_post(post: &Post) {
    print(&format!("   webhook    got    {} (the signature is good)\n", table::printable(&post.id)));
    let event: serde_json::Value = serde_json::from_slice(&post.body).unwrap_or_default();
    let at = |path: &str| event.pointer(path).and_then(serde_json::Value::as_str).unwrap_or("?");
    let facts = [
        ("type", at("/type")),
        ("mailbox", at("/data/mailbox/name")),
        ("from", at("/data/from/address")),
        ("answer", at("/data/reply/text")),
        ("cut by", at("/data/reply/cut_by")),
    ];
    for (name, fact) in facts {
        print(&format!("              {name:<8} {}\n", table::printable(fact)));
    }
    print(&format!("              | {}\n", table::printable(&String::from_utf8_lossy(&post.body))));
}

async fn journal(daemon: &Daemon) -> Done {
    let asked = async |filter| {
        daemon.settled().await;
        let failed = |cause| Failure::new(OUR_BUG, format!("waystation demo: {cause}"));
        daemon.query(filter).await.map_err(failed)
    };
    // A smarthost has a message a moment before the relay has read that it has.
    let deadline = Instant::now() + STATION_LIMIT;
    while Instant::now() < deadline && !asked(Filter { open: true, ..Filter::default() }).await?.is_empty() {
        sleep(Duration::from_millis(5)).await;
    }
    let entries = asked(Filter::default()).await?;
    for entry in entries {
        for recipient in &entry.recipients {
            let reply = recipient.reply.as_deref().unwrap_or_default();
            let line = format!(
                "{} {} via {}: {} ({reply})",
                entry.id,
                recipient.address,
                entry.lane,
                recipient.state.as_str()
            );
            print(&format!("   {}\n", table::printable(&line)));
        }
    }
    Ok(())
}

/// Prints whatever else arrives, until interrupted.
async fn stay(relay: SocketAddr, smarthost: &mut StandIn, service: &mut Receiver) {
    print(&format!(
        "\nIt stays up for more. Try:\n   swaks --server {relay} --to you@guest.demo --from shop@shop.demo\n   \
         swaks --server {relay} --to inbox+sol@users.demo --from you@guest.demo\nEnd with Ctrl-C.\n\n"
    ));
    let terminated = async {
        match signal(SignalKind::terminate()) {
            Ok(mut told) => _ = told.recv().await,
            Err(_) => std::future::pending().await,
        }
    };
    tokio::pin!(terminated);
    loop {
        tokio::select! {
            Some(taken) = smarthost.next() => tell("smarthost", &taken),
            Some(post) = service.next() => tell_post(&post),
            _ = tokio::signal::ctrl_c() => return,
            () = &mut terminated => return,
        }
    }
}
