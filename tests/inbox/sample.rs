//! A station's inbox to try mail on: mailboxes, and samples with their envelope and authentication on top.

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use waystation::config::schema::{Config, EventFormat, Inbox, Include, Mailbox};
use waystation::config::webhook_secret::WebhookSecret;
use waystation::inbox::authentication::{Arc, Authentication, Dkim, Spf, Verdict};
use waystation::inbox::conversation::ConversationId;
use waystation::inbox::token::TokenKey;
use waystation::inbox::{Envelope, Interpret, Interpretation, Known, interpret};
use waystation::smtp::address::Address;

/// Name and address of each mailbox; all of inbox `guests`.
pub const MAILBOXES: [(&str, &str); 12] = [
    ("sol", "hola@casasol.example"),
    ("luna", "luna@gmail.com"),
    ("faro", "faro@faro.example"),
    ("estrella", "estrella@outlook.es"),
    ("viento", "viento@yahoo.com"),
    ("isla", "isla@zoho-hosted.example"),
    ("nube", "nube@icloud.com"),
    ("roca", "roca@proton.me"),
    ("playa", "playa@yandex.ru"),
    ("bosque", "bosque@mail.ru"),
    ("haus", "haus@gmx.de"),
    ("mar", "mar@casamar.example"),
];

/// The folder of this test.
pub fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/inbox").join(name)
}

/// Compares with a golden file, or writes it.
pub fn golden(path: &Path, told: &[u8], wrong: &mut String) {
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(path, told).unwrap();
    } else if fs::read(path).unwrap_or_default() != told {
        *wrong += &format!("---- {} now gives ----\n{}\n", path.display(), String::from_utf8_lossy(told));
    }
}

/// A configured inbox with its mailboxes.
pub struct Station {
    pub config: Config,
    pub secret: WebhookSecret,
    pub keys: Vec<TokenKey>,
    pub client: Option<IpAddr>,
}

impl Station {
    /// With this `format`, and the words of `include`.
    pub fn new(format: &str, include: &str) -> Self {
        let mut config = bare();
        let format = match format {
            "postmark" => EventFormat::Postmark,
            "mailgun" => EventFormat::Mailgun,
            "cloudevents" => EventFormat::CloudEvents,
            "raw" => EventFormat::Raw,
            _ => EventFormat::Native,
        };
        let inbox = Inbox {
            name: "guests".to_owned(),
            address: Address::parse("inbox@users.example.com", false).unwrap(),
            webhook: "https://app.example.com/hooks/mail".to_owned(),
            secret_file: PathBuf::new(),
            allow_private: false,
            format,
            include: Include {
                text: include.contains("text"),
                html: include.contains("html"),
                headers: include.contains("headers"),
            },
        };
        config.inboxes.insert(inbox.name.clone(), inbox);
        for (name, address) in MAILBOXES {
            let mailbox = Mailbox {
                name: name.to_owned(),
                address: Address::parse(address, false).unwrap(),
                inbox: "guests".to_owned(),
                token: Some(name.to_owned()),
                smarthost: None,
                reply_token: false,
            };
            config.mailboxes.insert(name.to_owned(), mailbox);
        }
        let secret = WebhookSecret::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        Self { config, secret, keys: vec![TokenKey::new(&[7; 32])], client: "192.0.2.1".parse().ok() }
    }

    /// What a message means.
    pub fn interpret(&self, sample: &Sample, known: &Known<'_>) -> Interpretation {
        let mailboxes: Vec<&Mailbox> = self.config.mailboxes.values().collect();
        interpret(
            &Interpret {
                id: "0b5x2hm9wv4t0",
                new_conversation: ConversationId::from_bits(0x0102_0304_0506_0708),
                message: &sample.message,
                envelope: Envelope {
                    sender: sample.sender.as_deref(),
                    recipient: &sample.recipient,
                    client: self.client,
                },
                received_at: "2026-11-22T15:40:11.902Z".parse().unwrap(),
                now: "2026-11-22T15:40:12.114Z".parse().unwrap(),
                hostname: "relay.example.com",
                inbox: &self.config.inboxes["guests"],
                mailboxes: &mailboxes,
                assigned: None,
                channels: &[],
                authentication: &sample.authentication,
                token_keys: &self.keys,
                secret: &self.secret,
            },
            known,
        )
    }
}

fn bare() -> Config {
    let text = "[smarthost.shop]\nhost = \"smtp.example.com\"\n";
    let loaded = waystation::config::parse(Path::new("/etc/waystation.toml"), text, std::iter::empty());
    loaded.unwrap_or_else(|complaints| panic!("{complaints}")).config
}

/// A message with its envelope.
#[derive(Debug, Clone)]
pub struct Sample {
    pub message: Vec<u8>,
    pub sender: Option<String>,
    pub recipient: String,
    pub authentication: Authentication,
}

impl Sample {
    /// A message to the shared address, of whose hop nothing is known.
    pub fn of(message: &str) -> Self {
        Self {
            message: message.replace("\r\n", "\n").replace('\n', "\r\n").into_bytes(),
            sender: Some("ana@guest.example".to_owned()),
            recipient: "inbox@users.example.com".to_owned(),
            authentication: Authentication::default(),
        }
    }

    /// From a file: lines of `# key: value`, `---`, then the message.
    pub fn read(path: &Path) -> Self {
        let text = fs::read_to_string(path).unwrap();
        let (head, message) = text.split_once("---\n").unwrap();
        let mut sample = Self::of(message);
        for line in head.lines() {
            let Some((key, value)) = line.trim_start_matches("# ").split_once(": ") else { continue };
            let (word, domain) = value.split_once(' ').unwrap_or((value, ""));
            let domain = Some(domain.to_owned()).filter(|domain| !domain.is_empty());
            match key {
                "recipient" => value.clone_into(&mut sample.recipient),
                "sender" => sample.sender = Some(value.to_owned()).filter(|sender| sender != "<>"),
                "spf" => sample.authentication.spf = Spf { result: verdict(word), domain },
                "google" => sample.authentication.google = verdict(word),
                "arc" => sample.authentication.arc = Arc { result: verdict(word), sealer: domain },
                "dkim" => sample.authentication.dkim.push(Dkim {
                    result: verdict(word),
                    domain,
                    selector: Some("s1".to_owned()),
                }),
                _ => {}
            }
        }
        sample
    }
}

pub fn verdict(word: &str) -> Verdict {
    serde_json::from_value(word.into()).unwrap()
}

/// The event's body as JSON.
pub fn json(interpretation: &Interpretation) -> serde_json::Value {
    let event = interpretation.event.as_ref().unwrap();
    serde_json::from_slice(&event.body.with_seq(4181)).unwrap()
}
