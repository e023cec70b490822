//! `waystation test SMARTHOST ADDRESS`: a test letter, and every word that the smarthost says to it.
//!
//! Goes over a connection of its own by the code that delivers, past the queue: the daemon needn't run, and the journal doesn't hold it. A
//! daemon that runs counts it against the limits, whatever becomes of it, and says no when they have no room.

use super::table::printable;
use super::{
    BAD_DATA, CONFIGURATION, Done, Failure, NOT_ALLOWED, OUR_BUG, TRY_LATER, UNAVAILABLE, USAGE, load, print,
};
use crate::admin::{Charged, Client, Request};
use crate::clock::Clock;
use crate::config::schema::{Config, Smarthost};
use crate::deliver::route::Router;
use crate::deliver::target::Target;
use crate::deliver::trial::{Said, Trial};
use crate::deliver::verdict::{Cause, Fault, Stop, Verdict};
use crate::message::rewrite::phrase::{self, Phrase};
use crate::message::trace;
use crate::queue::LaneName;
use crate::smtp::address::Address;
use crate::smtp::client::{Job, JobRecipient};
use bytes::Bytes;
use clap::Args;
use jiff::Timestamp;
use serde_json::{Value, json};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

#[derive(Debug, Args)]
pub(super) struct SendTest {
    /// Which smarthost it goes through
    smarthost: String,
    /// Who gets it
    address: String,
    /// One object: the result and each step
    #[arg(long)]
    json: bool,
}

impl SendTest {
    pub(super) fn run(&self, path: Option<&Path>) -> Done {
        let loaded = load(path, true)?;
        let config = &loaded.config;
        let Some(smarthost) = config.smarthosts.get(&self.smarthost) else {
            let names: Vec<&str> = config.smarthosts.keys().map(String::as_str).collect();
            let text = format!(
                "waystation test: there is no [smarthost.{}], but {}",
                self.smarthost,
                names.join(", ")
            );
            return Err(Failure::new(USAGE, text));
        };
        let recipient = Address::parse(&self.address, true)
            .map_err(|cause| Failure::new(USAGE, format!("waystation test: {}: {cause}", self.address)))?;
        let sender = own_address(smarthost)?;
        let letter = letter(config, smarthost, &sender, &recipient, Clock::system().now());
        let (counting, is_counted) = self.count(&config.state_dir)?;
        let (verdict, steps) =
            self.send(is_counted, config, smarthost, job(sender, recipient, letter.len()), letter)?;
        drop(counting);
        if self.json {
            let text = serde_json::to_string_pretty(&report(&verdict, &steps)).unwrap_or_default();
            print(&format!("{text}\n"));
        }
        self.conclude(&verdict)
    }

    /// Has the daemon count it, if one runs and knows the smarthost; whether it does, and the connection by which it knows
    /// that the letter is on its way.
    fn count(&self, state_dir: &Path) -> Result<(Option<Client>, bool), Failure> {
        let Ok(mut client) = Client::connect(state_dir) else { return Ok((None, false)) };
        match client.ask(&Request::Charge { lane: LaneName::new(&self.smarthost) })? {
            Charged::Counted => Ok((Some(client), true)),
            Charged::Unknown => Ok((None, false)),
            Charged::Spent(next) => {
                let next =
                    next.map_or_else(|| "try again".to_owned(), |next| format!("there is room at {next}"));
                let text = format!(
                    "waystation test: smarthost.{} has used up its limit; {next}; `waystation status` shows what is left",
                    self.smarthost
                );
                Err(Failure::new(TRY_LATER, text))
            }
        }
    }

    /// Sends it; steps are printed as they come.
    fn send(
        &self,
        is_counted: bool,
        config: &Config,
        smarthost: &Smarthost,
        job: Job,
        letter: Bytes,
    ) -> Result<(Verdict, Vec<Value>), Failure> {
        let bug = |cause: std::io::Error| Failure::new(OUR_BUG, format!("waystation: {cause}"));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(bug)?;
        let router =
            Router::new(config.routes.clone(), config.applications.clone(), config.default_smarthost.clone());
        let target = Target::new(smarthost.clone(), &config.hostname, config.retry.clone(), Arc::new(router));
        let steps = Mutex::new(Vec::new());
        if !self.json {
            print(&format!(
                "test letter through smarthost.{} ({}:{}); past the queue and the journal; {}\n",
                smarthost.name,
                smarthost.host,
                smarthost.port,
                if is_counted {
                    "it counts against the limits"
                } else {
                    "no daemon counts it against the limits"
                }
            ));
        }
        let tell = |said: Said| {
            if !self.json {
                print(&shown(&said));
            }
            steps.lock().unwrap_or_else(PoisonError::into_inner).push(step(&said));
        };
        let verdict = runtime.block_on(async {
            match Trial::open(&target, Trial::LIMIT, Box::new(tell)).await {
                Ok(trial) => trial.send(job, letter).await,
                Err(verdict) => verdict,
            }
        });
        Ok((verdict, steps.into_inner().unwrap_or_else(PoisonError::into_inner)))
    }

    fn conclude(&self, verdict: &Verdict) -> Done {
        let (code, result, cause) = match verdict {
            Verdict::Delivered(reply) => {
                if !self.json {
                    print(&format!("taken: {}\n", printable(&reply.to_string())));
                }
                return Ok(());
            }
            Verdict::Failed(cause) if cause.fault == Fault::Policy => (NOT_ALLOWED, "refused", cause),
            Verdict::Failed(cause) => (BAD_DATA, "refused", cause),
            Verdict::Deferred(cause) => (TRY_LATER, "not now", cause),
            Verdict::Uncertain(cause) => (TRY_LATER, "sent, but no answer came; it may have arrived", cause),
            Verdict::LaneStopped(stop, cause) => (stop_code(*stop), stop_words(*stop), cause),
        };
        Err(Failure::new(code, format!("waystation test: {result}: {}", in_words(cause))))
    }
}

fn stop_code(stop: Stop) -> u8 {
    match stop {
        Stop::Down => UNAVAILABLE,
        Stop::Busy | Stop::LoginLater | Stop::Quota => TRY_LATER,
        Stop::Tls | Stop::Local => CONFIGURATION,
        Stop::Login | Stop::Policy => NOT_ALLOWED,
    }
}

fn stop_words(stop: Stop) -> &'static str {
    match stop {
        Stop::Down => "the smarthost can't be reached",
        Stop::Busy => "not now",
        Stop::LoginLater => "no login at the moment",
        Stop::Quota => "its quota is used up",
        Stop::Tls => "TLS",
        Stop::Local => "our own trouble",
        Stop::Login => "the login is refused",
        Stop::Policy => "the account is refused",
    }
}

fn in_words(cause: &Cause) -> String {
    let advice = cause.advice.map(|advice| format!("\n→ {advice}")).unwrap_or_default();
    format!("{}{advice}", printable(&cause.reply.to_string()))
}

/// The mailbox's address, or the user name if it is one.
fn own_address(smarthost: &Smarthost) -> Result<Address, Failure> {
    let username =
        smarthost.login.as_ref().map(|login| login.username.as_str()).filter(|name| name.contains('@'));
    let from_username = || username.and_then(|name| Address::parse(name, true).ok());
    smarthost.address.clone().or_else(from_username).ok_or_else(|| {
        let text = format!(
            "waystation test: smarthost.{} has no address to send from; write address = \"you@example.com\" there",
            smarthost.name
        );
        Failure::new(CONFIGURATION, text)
    })
}

fn job(sender: Address, recipient: Address, octets: usize) -> Job {
    let recipient = JobRecipient { address: recipient, notify: None, orcpt: None };
    let smtputf8 = !sender.to_string().is_ascii() || !recipient.address.to_string().is_ascii();
    Job {
        token: 1,
        sender: Some(sender),
        recipients: vec![recipient],
        size: octets as u64,
        eight_bit: smtputf8,
        smtputf8,
        ret: None,
        envid: None,
    }
}

fn letter(
    config: &Config,
    smarthost: &Smarthost,
    sender: &Address,
    recipient: &Address,
    now: Timestamp,
) -> Bytes {
    let id = format!("{}.test", now.as_nanosecond());
    let ascii = |text: &str| text.chars().filter(|c| c.is_ascii_graphic() || *c == ' ').collect::<String>();
    let (name, host) = (ascii(&smarthost.name), ascii(&smarthost.host));
    let date = jiff::fmt::rfc2822::to_string(&now.to_zoned(jiff::tz::TimeZone::UTC)).unwrap_or_default();
    // As all other mail of this account goes.
    let from = smarthost.with_account(|account| match account.display_name.and_then(Phrase::of_text) {
        Some(name) => phrase::field("From", &format!("{} <{sender}>", name.written())),
        None => format!("From: <{sender}>\r\n").into_bytes(),
    });
    let from = String::from_utf8_lossy(&from);
    Bytes::from(format!(
        "Date: {date}\r\n{from}To: <{recipient}>\r\nSubject: waystation test: smarthost {name}\r\n\
         Message-ID: {}\r\nAuto-Submitted: auto-generated\r\nMIME-Version: 1.0\r\n\
         Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: {}\r\n\r\n\
         This is a test letter. Somebody ran \"waystation test\" on {}\r\n\
         to see whether mail leaves through the smarthost {name} ({host}).\r\n\
         It does. Nobody needs to answer.\r\n",
        trace::message_id(&id, &config.hostname, now),
        if sender.to_string().is_ascii() && recipient.to_string().is_ascii() { "7bit" } else { "8bit" },
        ascii(&config.hostname),
    ))
}

fn shown(said: &Said) -> String {
    match said {
        Said::Connected(peer) => format!("   connected to {peer}\n"),
        Said::Secured(summary) => format!("   encrypted: {summary}\n"),
        Said::Us(line) => format!(" > {}\n", printable(line)),
        Said::Smarthost(reply) => {
            let mut octets = Vec::new();
            reply.write_to(&mut octets);
            let text = String::from_utf8_lossy(&octets);
            text.lines().map(|line| format!(" < {}\n", printable(line))).collect()
        }
    }
}

fn step(said: &Said) -> Value {
    match said {
        Said::Connected(peer) => json!({"step": "connected", "text": peer.to_string()}),
        Said::Secured(summary) => json!({"step": "encrypted", "text": summary}),
        Said::Us(line) => json!({"step": "said", "text": line}),
        Said::Smarthost(reply) => json!({"step": "heard", "code": reply.code, "text": reply.to_string()}),
    }
}

fn report(verdict: &Verdict, steps: &[Value]) -> Value {
    let (result, reply, advice) = match verdict {
        Verdict::Delivered(reply) => ("taken", reply, None),
        Verdict::Deferred(cause) => ("deferred", &cause.reply, cause.advice),
        Verdict::LaneStopped(_, cause) => ("stopped", &cause.reply, cause.advice),
        Verdict::Failed(cause) => ("failed", &cause.reply, cause.advice),
        Verdict::Uncertain(cause) => ("uncertain", &cause.reply, cause.advice),
    };
    json!({"result": result, "reply": reply.to_string(), "advice": advice, "steps": steps})
}
