//! The configuration as the rest of the program sees it: checked, with every default filled in.
//!
//! Nothing here can be half right: a [`Config`] exists only if there was no complaint.

pub use super::endpoint::{Alert, EVENTS, Endpoint, EventSettings};
use crate::message::envelope::Class;
use crate::message::rewrite::from::Account;
pub use crate::message::rewrite::from::FromMode;
use crate::message::rewrite::rules::Rule;
use crate::queue::limits::{Count, Limits};
use crate::smtp::address::Address;
pub use crate::smtp::command::Tolerate;
use secrecy::SecretString;
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

/// Everything in `waystation.toml`.
#[derive(Debug, Clone)]
pub struct Config {
    /// The file it came from.
    pub path: PathBuf,
    /// EHLO name and Received field.
    pub hostname: String,
    /// Queue, journal, control socket. Absolute.
    pub state_dir: PathBuf,
    /// At least one.
    pub listeners: Vec<Listener>,
    /// Certificate and key for listeners that speak TLS.
    pub tls: Option<TlsFiles>,
    /// Limits on what comes in.
    pub intake: Intake,
    /// Logins for submission, by user name.
    pub applications: BTreeMap<String, Application>,
    /// Upstream accounts by name; at least one.
    pub smarthosts: BTreeMap<String, Smarthost>,
    /// The smarthost that takes what no route claims.
    pub default_smarthost: String,
    /// First match wins.
    pub routes: Vec<Route>,
    /// All that match, in order.
    pub rewrites: Vec<Rewrite>,
    /// When to try again.
    pub retry: Retry,
    /// What is told of providers, in order.
    pub providers: Vec<Provider>,
    /// What is told of their replies, in order.
    pub provider_replies: Vec<ProviderReply>,
    /// Room on disk.
    pub spool: Spool,
    /// How long the journal is kept.
    pub journal_keep: Duration,
    /// Addresses that take forwarded mail, by name.
    pub inboxes: BTreeMap<String, Inbox>,
    /// Outside mailboxes that forward to them, by name.
    pub mailboxes: BTreeMap<String, Mailbox>,
    /// The operator's own channel rules, by name; they go before the built-in ones.
    pub channels: BTreeMap<String, Channel>,
    /// What webhooks are told.
    pub events: EventSettings,
    /// What the admin is told.
    pub alert: Alert,
    /// Logging.
    pub log: Log,
}

/// One `[[listener]]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    /// Where it listens.
    pub address: ListenAddress,
    /// How TLS starts.
    pub tls: TlsMode,
    /// Whether clients must log in.
    pub auth: AuthMode,
    /// Networks that may relay without a login.
    pub trust: Vec<Network>,
    /// Networks whose PROXY header is believed.
    pub proxy_protocol: Vec<Network>,
    /// Named leniences.
    pub tolerate: Tolerate,
    /// Whether AUTH is offered without TLS.
    pub auth_without_tls: bool,
}

impl Listener {
    /// Where a program on this machine reaches it, if such a program may relay there in plain and without a login.
    #[must_use]
    pub fn open_at(&self) -> Option<SocketAddr> {
        let ListenAddress::Socket(address) = self.address else { return None };
        let unspecified = address.ip().is_unspecified();
        let here = match address.ip() {
            IpAddr::V4(_) if unspecified => IpAddr::from(std::net::Ipv4Addr::LOCALHOST),
            IpAddr::V6(_) if unspecified => IpAddr::from(std::net::Ipv6Addr::LOCALHOST),
            own => own,
        };
        // A client on this machine has the address that it connects to.
        let open = self.tls != TlsMode::Implicit
            && self.auth != AuthMode::Required
            && self.proxy_protocol.iter().all(|network| !network.contains(here))
            && self.trust.iter().any(|network| network.contains(here));
        open.then_some(SocketAddr::new(here, address.port()))
    }
}

/// A socket address to bind, or one that systemd passes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ListenAddress {
    /// Bind it.
    Socket(SocketAddr),
    /// `fd:NAME`: a socket passed under this name (`sd_listen_fds_with_names(3)`).
    Passed(String),
}

impl ListenAddress {
    /// Whether it can't be bound while `other` is. `[::]` is every address of IPv4, too.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Passed(a), Self::Passed(b)) => a == b,
            (Self::Socket(a), Self::Socket(b)) => {
                let (ip, other) = (a.ip().to_canonical(), b.ip().to_canonical());
                let covers = |all: IpAddr, one: IpAddr| {
                    all.is_unspecified() && (all.is_ipv6() || all.is_ipv4() == one.is_ipv4())
                };
                a.port() != 0
                    && a.port() == b.port()
                    && (ip == other || covers(ip, other) || covers(other, ip))
            }
            _ => false,
        }
    }
}

/// How TLS starts on a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsMode {
    /// Never.
    None,
    /// By STARTTLS (RFC 3207).
    StartTls,
    /// Before the greeting (RFC 8314 §3).
    Implicit,
}

impl TlsMode {
    /// As the file writes it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::StartTls => "starttls",
            Self::Implicit => "implicit",
        }
    }
}

/// Whether a listener wants a login.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuthMode {
    /// AUTH isn't offered.
    None,
    /// AUTH is offered; trusted networks may do without.
    Optional,
    /// Nothing but a login lets mail in.
    Required,
}

/// A network in CIDR notation. IPv4-mapped IPv6 peers are compared as IPv4.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    /// The network's address, host bits zero.
    pub address: IpAddr,
    /// Leading bits that count.
    pub prefix: u8,
}

/// PEM files, absolute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// Chain, leaf first.
    pub certificate: PathBuf,
    /// Private key.
    pub key: PathBuf,
}

/// `[intake]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Intake {
    /// Octets.
    pub max_message_size: u64,
    /// Per transaction.
    pub max_recipients: usize,
    /// At once, over all listeners.
    pub max_connections: usize,
    /// At once, per client address; trusted networks are exempt.
    pub max_connections_per_client: usize,
    /// Errors before `421`.
    pub max_errors: u32,
    /// Octets per second in DATA and BDAT.
    pub min_rate: u64,
    /// Octets of content in flight.
    pub memory: u64,
}

/// `[application.NAME]`.
#[derive(Clone)]
pub struct Application {
    /// PHC strings; any one matches.
    pub password_hashes: Vec<String>,
    /// Senders it may use; empty is any.
    pub from: Vec<AddressPattern>,
    /// Its smarthost, unless a route names another; none lets routes decide.
    pub smarthost: Option<String>,
    /// Its class; none lets routes decide.
    pub class: Option<Class>,
}

impl std::fmt::Debug for Application {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Application")
            .field("password_hashes", &self.password_hashes.len())
            .field("from", &self.from)
            .field("smarthost", &self.smarthost)
            .field("class", &self.class)
            .finish()
    }
}

/// `"shop@example.com"` or `"@example.com"`, for a sender `"<>"` as well. Compared without case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AddressPattern {
    /// This address.
    Exact(Address),
    /// Any address at this domain (lower case, without the `@`).
    Domain(String),
    /// The null sender, of bounces.
    Null,
}

/// `[smarthost.NAME]`.
#[derive(Debug, Clone)]
pub struct Smarthost {
    /// Its name here.
    pub name: String,
    /// False holds its mail.
    pub enabled: bool,
    /// DNS name or IP address.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// How TLS starts.
    pub tls: TlsMode,
    /// Extra trust anchors.
    pub ca_file: Option<PathBuf>,
    /// SHA-256 of the leaf's DER; when given it alone decides.
    pub pin_sha256: Option<[u8; 32]>,
    /// Name in the certificate and SNI; default: host.
    pub server_name: Option<String>,
    /// Whether X25519MLKEM768 is offered.
    pub post_quantum: bool,
    /// How to log in; none is `auth = "none"` or no username.
    pub login: Option<Login>,
    /// At once.
    pub connections: usize,
    /// Then a new one.
    pub messages_per_connection: u32,
    /// Octets; none: as the smarthost says.
    pub max_size: Option<u64>,
    /// The mailbox's own address.
    pub address: Option<Address>,
    /// The name it goes by; none keeps the original's.
    pub display_name: Option<String>,
    /// When From is rewritten to the address.
    pub from: FromMode,
    /// What it accepts as From and as envelope sender; empty is any.
    pub allowed_from: Vec<AddressPattern>,
    /// Smarthosts to use when this one can't be.
    pub fallback: Vec<String>,
    /// What may be sent in which time.
    pub limits: Limits,
    /// What the configuration says about its replies: those `[[provider_reply]]` tables that concern its host.
    pub replies: Vec<ProviderReply>,
    /// The first `[[provider]]` table that concerns its host.
    pub provider: Option<Provider>,
    /// Limits that the configuration gives a value, 0 included: what is known of the provider doesn't touch those.
    pub written: Vec<&'static str>,
}

impl Smarthost {
    /// The account as [`rewrite`](crate::message::rewrite::from::rewrite) wants to see it: whoever wants to know what it
    /// would do, or whether a fallback [accepts](Account::accepts) a From, asks by this.
    pub fn with_account<T>(&self, ask: impl FnOnce(&Account<'_>) -> T) -> T {
        let allowed = |address: &Address| self.allowed_from.iter().any(|pattern| pattern.matches(address));
        ask(&Account {
            smarthost: &self.name,
            mode: self.from,
            address: self.address.as_ref(),
            display_name: self.display_name.as_deref(),
            allowed: if self.allowed_from.is_empty() { None } else { Some(&allowed) },
        })
    }
}

/// The limits of a smarthost that a provider is known by.
pub const KNOWN_LIMITS: [&str; 5] = ["connections", "per_minute", "per_hour", "per_day", "per_month"];

/// One `[[provider]]`: what a provider allows and wants, in place of all that the built-in table knows of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Provider {
    /// The smarthost's host, or a domain it is in.
    pub host: String,
    /// As people call it.
    pub name: String,
    /// Where its submissions go, `host:port`, the best first.
    pub servers: Vec<String>,
    /// Those of [`KNOWN_LIMITS`] that it has.
    pub limits: Vec<(&'static str, u64)>,
    /// What they count.
    pub count: Count,
    /// What user name and password it wants.
    pub login: Option<String>,
}

/// One `[[provider_reply]]`: what a reply means, whatever the built-in table says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProviderReply {
    /// The smarthost's host, or a domain it is in; none is any.
    pub host: Option<String>,
    /// The reply code; none is any.
    pub code: Option<u16>,
    /// Part of the text, in any case.
    pub text: String,
    /// What it means.
    pub means: Meaning,
}

/// What a smarthost's reply is about, where that isn't plain from its code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Meaning {
    /// The account has sent its share; more later.
    Quota,
    /// The login is missing or wrong.
    Login,
    /// The login is wrong because this provider wants an app password.
    AppPassword,
    /// Logging in by password is switched off for this account.
    LoginDisabled,
    /// A login is missing, if there was none; else it is about this recipient, perhaps in another host's words.
    NeedsLogin,
    /// It takes nothing outside TLS.
    Encryption,
    /// Too many logins or wrong ones; later.
    LoginLater,
    /// Too fast or too many connections; soon.
    Busy,
    /// The account or our address is refused altogether.
    Policy,
    /// The provider hasn't approved or activated the account yet.
    Pending,
    /// This sender isn't allowed to this account.
    Sender,
    /// This content isn't wanted.
    Content,
    /// Later, whatever the code says.
    Later,
    /// No more recipients in this transaction (RFC 5321 §4.5.3.1.10).
    RecipientLimit,
}

/// Credentials for a smarthost.
#[derive(Debug, Clone)]
pub struct Login {
    /// Which mechanism.
    pub mechanism: Mechanism,
    /// As typed.
    pub username: String,
    /// Where the password or access token comes from; fetched anew for each connection, so that a replaced file is picked up.
    pub password: PasswordSource,
}

/// `auth = …` of a smarthost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mechanism {
    /// The strongest both sides know.
    Auto,
    /// RFC 4616.
    Plain,
    /// draft-murchison-sasl-login.
    Login,
    /// RFC 2195.
    CramMd5,
    /// Google's and Microsoft's bearer token: the password is an access token.
    XOAuth2,
    /// RFC 7628: likewise.
    OAuthBearer,
}

impl Mechanism {
    /// As written in the file.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Plain => "plain",
            Self::Login => "login",
            Self::CramMd5 => "cram-md5",
            Self::XOAuth2 => "xoauth2",
            Self::OAuthBearer => "oauthbearer",
        }
    }

    /// Whether the password is an access token.
    #[must_use]
    pub const fn takes_token(self) -> bool {
        matches!(self, Self::XOAuth2 | Self::OAuthBearer)
    }
}

/// Where a password comes from.
#[derive(Debug, Clone)]
pub enum PasswordSource {
    /// In the file or the environment override.
    Literal(SecretString),
    /// First line of a file; absolute.
    File(PathBuf),
    /// An environment variable.
    Env(String),
    /// Standard output of a command: program and arguments.
    Command(Vec<String>),
}

/// One `[[route]]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// Every key given must match.
    pub matches: Match,
    /// Lane; none is the default smarthost.
    pub smarthost: Option<String>,
    /// Class; none is the application's, else normal.
    pub class: Option<Class>,
    /// Age from which it is reported instead of delivered.
    pub expires_after: Option<Duration>,
    /// What to do.
    pub action: Action,
}

/// Conditions of a route or a rewrite; an absent one matches everything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Match {
    /// Login.
    pub application: Option<String>,
    /// Envelope sender.
    pub sender: Option<AddressPattern>,
    /// From field.
    pub from: Option<AddressPattern>,
    /// Envelope recipient.
    pub recipient: Option<AddressPattern>,
    /// Client network.
    pub client: Option<Network>,
    /// Header fields: name and a value pattern in which `*` stands for anything; names without case.
    pub header: Vec<(String, String)>,
}

/// One `[[rewrite]]`.
#[derive(Debug, Clone)]
pub struct Rewrite {
    /// Every key given must match.
    pub matches: Match,
    /// What it does to the header section.
    pub rule: Rule,
}

/// `action = …`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// As usual.
    Send,
    /// Keep until an admin releases it.
    Hold,
    /// Accept and drop, with a journal line.
    Discard,
    /// `550 5.7.1`.
    Reject,
}

/// `[retry]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retry {
    /// Waits between attempts; the last one repeats. Never empty.
    pub schedule: Vec<Duration>,
    /// Age at which an undelivered recipient fails.
    pub give_up_after: Duration,
    /// Age at which the sender is told once; none is `"never"`.
    pub warn_after: Option<Duration>,
}

/// `[spool]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spool {
    /// Octets of content kept.
    pub max_size: u64,
    /// Octets that stay free on the disk.
    pub min_free: u64,
}

/// `[inbox.NAME]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inbox {
    /// Its name here.
    pub name: String,
    /// What mailboxes forward to; with `+TOKEN` in its local part, too.
    pub address: Address,
    /// Where events are posted: an `http` or `https` URL.
    pub webhook: String,
    /// Keys that sign events; absolute. Read by [`super::webhook_secret::read`].
    pub secret_file: PathBuf,
    /// Whether the webhook may be at a private or loopback address.
    pub allow_private: bool,
    /// The shape of an event.
    pub format: EventFormat,
    /// What an event holds.
    pub include: Include,
}

/// `format = …` of an inbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventFormat {
    /// Our own JSON.
    Native,
    /// As Postmark's inbound webhook.
    Postmark,
    /// As Mailgun's routes.
    Mailgun,
    /// `CloudEvents` 1.0, structured JSON.
    CloudEvents,
    /// The message itself.
    Raw,
}

/// `include = …` of an inbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Include {
    /// The whole text.
    pub text: bool,
    /// The whole HTML.
    pub html: bool,
    /// All header fields.
    pub headers: bool,
}

/// What the tokens of answers begin with, so that no mailbox's token is taken for one.
pub const REPLY_TOKEN_MARK: &str = "r-";

/// `[mailbox.NAME]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mailbox {
    /// Its name here.
    pub name: String,
    /// Its own address.
    pub address: Address,
    /// The inbox it forwards to.
    pub inbox: String,
    /// `inbox+TOKEN@…` identifies it beyond doubt; lower case.
    pub token: Option<String>,
    /// The smarthost it sends through.
    pub smarthost: Option<String>,
    /// Whether mail it sends asks for answers at a signed address of the inbox.
    pub reply_token: bool,
}

/// `[channel.NAME]`: what is known of a booking channel's mail relay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Channel {
    /// Its name.
    pub name: String,
    /// Domains of its relay addresses, lower case; subdomains count.
    pub domains: Vec<String>,
    /// Where a conversation's key stands, in the order of trust.
    pub keys: Vec<ChannelKey>,
    /// Lines above or below which the channel's own text stands.
    pub markers: Vec<String>,
    /// Whether an answer must go to the newest Reply-To, because the address changes with every message.
    pub reply_to_latest: bool,
    /// Whether the channel drops mail that isn't from the mailbox's own address.
    pub from_must_be_mailbox: bool,
    /// The most octets of attachments it takes.
    pub max_attachment_bytes: Option<u64>,
    /// File name extensions it refuses, lower case, without the dot.
    pub blocked_extensions: Vec<String>,
}

/// Where a channel puts what all mail of one conversation has in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChannelKey {
    /// The digits that the relay address begins with.
    LeadingDigits,
    /// The whole local part of the relay address.
    LocalPart,
    /// The thread's number in a link, behind `/thread/`.
    ThreadLink,
    /// A reservation code in the subject: 8 to 16 capitals and digits, both kinds among them.
    SubjectCode,
    /// A number of 6 to 12 digits in the subject.
    SubjectNumber,
}

/// `[log]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    /// Form of a line.
    pub format: LogFormat,
    /// `error`, `warn`, `info`, `debug`, `trace`.
    pub level: tracing::Level,
    /// How addresses are shown.
    pub addresses: LogAddresses,
}

/// `log.format`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One object a line.
    Json,
    /// To journald, with fields.
    Journald,
}

/// `log.addresses`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogAddresses {
    /// As they are.
    Full,
    /// `…@example.com`.
    Domain,
    /// A keyed hash.
    Hash,
}
