//! `waystation explain`: what would become of a message that never came.
//!
//! The configuration is read anew and explained by; the daemon, if one runs, is only asked how its lanes are and which
//! address of a conversation is the newest. A daemon
//! that runs by another file says so on standard error.

use super::sendmail::letter;
use super::{BAD_DATA, Done, Failure, USAGE, load, print, table};
use crate::admin::{Client, InboxRequest, Request, Status};
use crate::config::schema::{Channel, Config};
use crate::config::webhook_secret::{self, WebhookSecret};
use crate::events::fingerprint;
use crate::explain::{self, Explanation, Question};
use crate::inbox::channel::{self, Newest};
use crate::message::decode;
use crate::message::fields::HeaderSection;
use crate::smtp::address::Address;
use crate::smtp::command::Mail;
use clap::Args;
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::io::Read;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};

/// Stands for the id that a message would get.
const NO_ID: &str = "0000000000000";
/// Stands for a key that this user may not read: only Mailgun's own fields need the true one.
const NO_KEY: &str = "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";

#[derive(Debug, Args)]
pub(super) struct Explain {
    /// The message; - is standard input. Without --from and --to its own fields say who and whom
    file: Option<PathBuf>,
    /// Envelope sender; <> is the null sender
    #[arg(long, value_name = "ADDRESS")]
    from: Option<String>,
    /// Envelope recipient; may be given several times
    #[arg(long, value_name = "ADDRESS")]
    to: Vec<String>,
    /// The client's address
    #[arg(long, value_name = "IP", default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    client: IpAddr,
    /// The application that logged in
    #[arg(long, value_name = "NAME")]
    application: Option<String>,
    /// The client says SMTPUTF8, as it must where an envelope address isn't US-ASCII, and may for UTF-8 in fields alone
    #[arg(long)]
    smtputf8: bool,
    /// A header field to put on top; may be given several times
    #[arg(long, value_name = "NAME: VALUE")]
    header: Vec<String>,
    /// One array with one object
    #[arg(long)]
    json: bool,
}

impl Explain {
    pub(super) fn run(&self, path: Option<&Path>) -> Done {
        if self.file.is_none() && (self.from.is_none() || self.to.is_empty()) {
            let text = "waystation: explain what? Name a message's FILE, or --from and --to";
            return Err(Failure::new(USAGE, text));
        }
        let config = load(path, false)?.config;
        self.check_application(&config)?;
        let mut content = match &self.file {
            Some(file) => letter::content(&read(file)?, true),
            None => Vec::new(),
        };
        let (sender, recipients) = self.envelope(&config, &content)?;
        if self.file.is_none() {
            content = sample(sender.as_ref(), &recipients);
        }
        content.splice(0..0, self.fields()?);
        // Raw octets above 127 in a field are what many clients send without a word.
        let utf8 = self.smtputf8 || sender.iter().chain(&recipients).any(|address| !address.is_ascii());
        let now = Timestamp::now();
        let question = Question {
            content: &content,
            mail: Mail { sender, smtputf8: utf8, ..Mail::from_null() },
            recipients: &recipients,
            client: self.client,
            helo: "client.invalid",
            application: self.application.as_deref(),
            id: NO_ID,
            now,
            secrets: &secrets(&config),
            newest: &newest(&config, &recipients)?,
        };
        let mut explanation = explain::explain(&config, &question);
        ask_daemon(&config, &mut explanation)?;
        if self.json {
            print(&format!("{}\n", serde_json::to_string_pretty(&[&explanation]).unwrap_or_default()));
        } else {
            let text = explain::text(&explanation, now);
            // A message's own words stand in it.
            print(&text.lines().map(|line| format!("{}\n", table::printable(line))).collect::<String>());
        }
        Ok(())
    }

    fn check_application(&self, config: &Config) -> Done {
        match &self.application {
            Some(name) if !config.applications.contains_key(name) => {
                let known: Vec<&str> = config.applications.keys().map(String::as_str).collect();
                let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
                let text =
                    format!("waystation: --application {name}: no such application; there are: {known}");
                Err(Failure::new(USAGE, text))
            }
            _ => Ok(()),
        }
    }

    /// As it is told, else as the message's own fields say.
    fn envelope(&self, config: &Config, content: &[u8]) -> Result<(Option<Address>, Vec<Address>), Failure> {
        let header = HeaderSection::of(content);
        let told = |option: &str, text: &str| {
            letter::qualify(text, &config.hostname)
                .map_err(|why| Failure::new(USAGE, format!("waystation: --{option}: {why}")))
        };
        let sender = match self.from.as_deref() {
            Some("" | "<>") => None,
            Some(text) => Some(told("from", text)?),
            None => ["Return-Path", "Sender", "From"]
                .iter()
                .flat_map(|name| header.named(name))
                .find_map(|field| decode::addresses(&field.value()).into_iter().next()),
        };
        // Each address once, as in a message's own fields: a message comes to it once, however often it is named.
        let mut recipients: Vec<Address> = Vec::new();
        for text in &self.to {
            let address = told("to", text)?;
            if !recipients.contains(&address) {
                recipients.push(address);
            }
        }
        if recipients.is_empty() {
            recipients = letter::recipients(&header, &[], &config.hostname).map_err(|why| {
                Failure::new(BAD_DATA, format!("waystation: {why}; name recipients with --to"))
            })?;
        }
        if recipients.is_empty() {
            let text = "waystation: the message has no To, Cc or Bcc; name recipients with --to";
            return Err(Failure::new(BAD_DATA, text));
        }
        Ok((sender, recipients))
    }

    /// Fields that go on top.
    fn fields(&self) -> Result<Vec<u8>, Failure> {
        let mut fields = Vec::new();
        for field in &self.header {
            let name = field.split_once(':').map(|(name, _)| name).unwrap_or_default();
            let is_name = !name.is_empty() && name.bytes().all(|octet| octet.is_ascii_graphic());
            if !is_name || field.contains(['\r', '\n', '\0']) {
                let text = format!("waystation: --header \"{field}\": write one field, like 'X-Kind: reset'");
                return Err(Failure::new(USAGE, table::printable(&text)));
            }
            fields.extend_from_slice(field.as_bytes());
            fields.extend_from_slice(b"\r\n");
        }
        Ok(fields)
    }
}

fn read(file: &Path) -> Result<Vec<u8>, Failure> {
    let mut octets = Vec::new();
    let read = if file == Path::new("-") {
        std::io::stdin().lock().read_to_end(&mut octets)
    } else {
        std::fs::File::open(file).and_then(|mut open| open.read_to_end(&mut octets))
    };
    match read {
        Ok(_) => Ok(octets),
        Err(cause) => Err(Failure::new(BAD_DATA, format!("waystation: {}: {cause}", file.display()))),
    }
}

/// A message with nothing special about it.
fn sample(sender: Option<&Address>, recipients: &[Address]) -> Vec<u8> {
    let from = sender.map_or_else(|| "MAILER-DAEMON@localhost".to_owned(), ToString::to_string);
    let to: Vec<String> = recipients.iter().map(ToString::to_string).collect();
    format!("From: {from}\r\nTo: {}\r\nSubject: sample\r\n\r\nsample\r\n", to.join(",\r\n ")).into_bytes()
}

fn secrets(config: &Config) -> BTreeMap<String, WebhookSecret> {
    let key = |path: &Path| {
        let first = webhook_secret::read(path).ok().and_then(|keys| keys.into_iter().next());
        first.or_else(|| WebhookSecret::parse(NO_KEY).ok())
    };
    let keys =
        config.inboxes.values().filter_map(|inbox| Some((inbox.name.clone(), key(&inbox.secret_file)?)));
    keys.collect()
}

/// What the daemon knows of the recipients that are a channel's relay addresses, if it runs.
fn newest(config: &Config, recipients: &[Address]) -> Result<BTreeMap<String, Vec<Newest>>, Failure> {
    let own: Vec<&Channel> = config.channels.values().collect();
    let mut known = BTreeMap::new();
    let relays = recipients.iter().filter(|address| channel::of_address(address.as_str(), &own).is_some());
    let Ok(mut client) = Client::connect(&config.state_dir) else { return Ok(known) };
    for address in relays {
        let address = address.as_str().to_owned();
        let request = Request::Inbox(InboxRequest::Newest { address: address.clone() });
        known.insert(address, client.ask(&request)?);
    }
    Ok(known)
}

/// Adds what the daemon knows of each way, if it runs.
fn ask_daemon(config: &Config, explanation: &mut Explanation) -> Done {
    let Ok(mut client) = Client::connect(&config.state_dir) else { return Ok(()) };
    let status: Status = client.ask(&Request::Status)?;
    let file = std::fs::read(&config.path).unwrap_or_default();
    if status.configuration.fingerprint != fingerprint(&file) {
        eprintln!(
            "waystation: the daemon runs by another configuration ({}); `waystation reload` puts this file into force",
            status.configuration.file.display()
        );
    }
    explain::ask_live(explanation, &status.lanes, |inquiry| Ok(client.ask(inquiry)?))
}
