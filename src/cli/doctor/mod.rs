//! `waystation doctor HOST|SMARTHOST`: every step that a provider's help page would ask for, taken by itself.
//!
//! [`probe`] looks (name, ports, TLS, EHLO), [`choice`] picks a way, [`diagnosis`], [`login`], [`envelope`] and [`words`] say what all that means, [`lines`] writes what works, [`render`] shows it. A
//! login is tried once, where everything before it is sound, and its password goes to another machine inside TLS only. Nothing is
//! sent: MAIL and RCPT are taken back, DATA is never said.

mod finding;
mod dns;
mod probe;
mod choice;
mod login;
mod envelope;
mod words;
mod diagnosis;
mod lines;
mod render;
#[cfg(test)]
mod tests;

use super::secret_input::secret;
use super::selection;
use super::{CONFIGURATION, Done, Failure, NOT_ALLOWED, OUR_BUG, TRY_LATER, UNAVAILABLE, USAGE, load, print};
use crate::config;
use crate::config::schema::{Config, PasswordSource, Smarthost, TlsMode};
use crate::deliver::providers;
use crate::deliver::route::Router;
use crate::deliver::target::Target;
use crate::deliver::trial::Trial;
use crate::deliver::verdict::{Cause, Verdict};
use crate::smtp::address::Address;
use choice::{Choice, choose, way};
use clap::Args;
use diagnosis::{Subject, diagnose};
use envelope::{Envelope, Fate};
use finding::{Findings, Outcome};
use login::{Login, LoginTrouble, login_trouble};
use probe::Plan;
use secrecy::SecretString;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// Where submission servers are, the best first (RFC 8314 §3.3, RFC 6409 §3.1).
const PORTS: [u16; 4] = [465, 587, 2525, 25];

#[derive(Debug, Args)]
pub(super) struct Doctor {
    /// A smarthost of the configuration, or any host name or address
    #[arg(value_name = "HOST|SMARTHOST")]
    subject: String,
    /// Try this port in place of 465, 587, 2525 and 25; may be given several times
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    port: Vec<u16>,
    /// Also log in to HOST as this user; the password is asked for, or read from standard input
    #[arg(long, value_name = "USER")]
    username: Option<String>,
    /// How long each step may take
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = step_limit)]
    timeout: Duration,
    /// One object with everything that was found
    #[arg(long)]
    json: bool,
}

fn step_limit(text: &str) -> Result<Duration, String> {
    let limit = selection::limit(text)?;
    let is_sound = (Duration::from_secs(1)..=Duration::from_mins(10)).contains(&limit);
    if is_sound { Ok(limit) } else { Err("write 1s to 10m".to_owned()) }
}

/// A host or smarthost, ready to be looked at.
struct Patient {
    /// With the defaults for everything that isn't configured.
    smarthost: Smarthost,
    /// The same, if it is one of the configuration's.
    name: Option<String>,
    /// Its section as the file has it, if it is one of those.
    written: Option<Vec<(String, String)>>,
    hostname: String,
    config: Config,
}

impl Doctor {
    pub(super) fn run(&self, path: Option<&Path>) -> Done {
        let patient = self.patient(path)?;
        let bug = |cause: std::io::Error| Failure::new(OUR_BUG, format!("waystation: {cause}"));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(bug)?;
        let plan = Arc::new(Plan {
            smarthost: patient.smarthost.clone(),
            hostname: patient.hostname.clone(),
            ports: self.ports(&patient),
            limit: self.timeout,
        });
        if !self.json {
            eprintln!("looking at {} …", patient.smarthost.host);
        }
        let findings = runtime.block_on(probe::look(plan));
        let subject = patient.subject(&findings);
        let choice = choose(&findings, &subject);
        let (login, envelope) =
            runtime.block_on(patient.log_in(self.timeout, &findings, &subject, choice.as_ref()));
        let mut sentences = diagnose(&findings, &subject, choice.as_ref(), &login, &envelope);
        let provider = providers::introduction(&patient.smarthost);
        let fate = envelope.fate(&subject);
        if let (None, Some(provider)) = (&choice, &provider) {
            sentences.extend(diagnosis::elsewhere(provider));
        }
        let lines = choice.as_ref().map(|choice| {
            let takes_logins = choice::ways(&findings).any(|(_, finding)| finding.offers_auth());
            let wants_login = matches!(fate, Fate::LoginWanted(_));
            let rest = lines::Rest {
                name: patient.name.clone().unwrap_or_else(|| lines::name_of(&patient.smarthost.host)),
                smarthost: &patient.smarthost,
                written: patient.written.as_deref(),
                username: self.username.as_deref(),
                takes_logins,
                wants_login,
            };
            lines::lines(choice, &rest)
        });
        let report = render::Report {
            host: &patient.smarthost.host,
            provider: provider.as_ref(),
            findings: &findings,
            login: &login,
            envelope: &envelope,
            fate,
            sentences: &sentences,
            lines: lines.as_deref(),
        };
        if self.json {
            print(&format!("{}\n", serde_json::to_string_pretty(&report.json()).unwrap_or_default()));
        } else {
            print(&report.text());
        }
        conclude(&findings, &subject, choice.as_ref(), &login, fate)
    }

    fn ports(&self, patient: &Patient) -> Vec<u16> {
        let mut ports = if self.port.is_empty() { PORTS.to_vec() } else { self.port.clone() };
        let own = patient.smarthost.port;
        if patient.name.is_some() && !ports.contains(&own) {
            ports.insert(0, own);
        }
        ports.dedup();
        ports
    }

    /// A smarthost of that name if there is one; else a host, for which the configuration needn't exist or be right.
    fn patient(&self, path: Option<&Path>) -> Result<Patient, Failure> {
        let loaded = load(path, false);
        if let Ok(loaded) = &loaded
            && let Some(smarthost) = loaded.config.smarthosts.get(&self.subject)
        {
            if self.username.is_some() {
                let text = format!(
                    "waystation doctor: smarthost.{} has its own login; leave --username out",
                    self.subject
                );
                return Err(Failure::new(USAGE, text));
            }
            return Ok(Patient {
                smarthost: smarthost.clone(),
                name: Some(self.subject.clone()),
                written: Some(config::smarthost_as_written(&loaded.config.path, &self.subject)),
                hostname: loaded.config.hostname.clone(),
                config: loaded.config.clone(),
            });
        }
        let is_host = self.subject.contains(['.', ':']) || self.subject.eq_ignore_ascii_case("localhost");
        if !is_host {
            return Err(match loaded {
                Err(failure) => failure,
                Ok(loaded) => {
                    let names: Vec<&str> = loaded.config.smarthosts.keys().map(String::as_str).collect();
                    let text = format!(
                        "waystation doctor: there is no [smarthost.{}] (but {}), and it is no host name either",
                        self.subject,
                        names.join(", ")
                    );
                    Failure::new(USAGE, text)
                }
            });
        }
        self.stranger(loaded.ok().map(|loaded| loaded.config).as_ref())
    }

    /// A host with everything else at its default, made from text so that no setting is forgotten; with what the
    /// configuration tells of its provider, where there is one.
    fn stranger(&self, own: Option<&Config>) -> Result<Patient, Failure> {
        let hostname = own.map(|own| own.hostname.clone()).or_else(config::system_hostname);
        let hostname = hostname.unwrap_or_else(|| "localhost".into());
        let bare =
            self.subject.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(&self.subject);
        let host = serde_json::Value::from(bare).to_string();
        let text = format!("hostname = \"doctor.invalid\"\n[smarthost.x]\nhost = {host}\n");
        let parsed = config::parse(Path::new("host"), &text, std::iter::empty());
        let Ok(loaded) = parsed else {
            let text = format!("waystation doctor: {:?} is no host name or address", self.subject);
            return Err(Failure::new(USAGE, text));
        };
        let config = loaded.config;
        let Some(mut smarthost) = config.smarthosts.get("x").cloned() else {
            return Err(Failure::new(OUR_BUG, "waystation doctor: a host without a smarthost"));
        };
        if let Some(own) = own {
            own.tell_of(&mut smarthost);
        }
        if let Some(username) = &self.username {
            let password = secret("doctor", &["Password: "])?.into_iter().next().unwrap_or_default();
            if password.is_empty() {
                let text = "waystation doctor: the password is empty; type one, or pipe it in";
                return Err(Failure::new(super::BAD_DATA, text));
            }
            smarthost.login = Some(config::schema::Login {
                mechanism: config::schema::Mechanism::Auto,
                username: username.clone(),
                password: PasswordSource::Literal(SecretString::from(password)),
            });
        }
        Ok(Patient { smarthost, name: None, written: None, hostname, config })
    }
}

impl Patient {
    fn subject(&self, findings: &Findings) -> Subject {
        let lookup = &findings.lookup;
        let mut addresses = lookup.ipv4.iter().chain(&lookup.ipv6).map(IpAddr::to_canonical).peekable();
        let loopback = addresses.peek().is_some() && addresses.all(|address| address.is_loopback());
        Subject {
            host: self.smarthost.host.clone(),
            configured: self.name.clone().map(|name| (name, self.smarthost.port, self.smarthost.tls)),
            disabled: !self.smarthost.enabled,
            server_name: self.smarthost.server_name.clone(),
            has_login: self.smarthost.login.is_some(),
            mechanism: self.smarthost.login.as_ref().map(|login| login.mechanism),
            wanted_login: providers::login_of(&self.smarthost),
            replies: self.smarthost.replies.clone(),
            loopback,
        }
    }

    /// Logs in the way that was chosen, once: another try with the same password could lock the account.
    async fn log_in(
        &self,
        limit: Duration,
        findings: &Findings,
        subject: &Subject,
        choice: Option<&Choice>,
    ) -> (Login, Envelope) {
        let behind_login = Envelope::NotAsked("the login comes before them");
        let not_tried = |why: &str| (Login::NotTried(why.into()), behind_login.clone());
        let Some(choice) = choice else { return not_tried("no way to begin works") };
        let Some(finding) = way(findings, choice) else { return not_tried("no way to begin works") };
        if self.smarthost.login.is_none() && self.name.is_none() {
            return not_tried("no user name was given (--username)");
        }
        if !finding.is_sound() && !subject.loopback {
            return not_tried(
                "the certificate isn't trusted, and a password is never sent to a stranger; write the lines below, then run this again",
            );
        }
        let by_helo = finding.offers.as_ref().is_some_and(|offers| offers.ehlo_refused.is_some());
        if by_helo && self.smarthost.login.is_some() {
            // AUTH is offered by EHLO.
            let (said, advice) = (String::new(), None);
            return (Login::Failed { trouble: LoginTrouble::NotOffered, said, advice }, behind_login);
        }
        let mut smarthost = self.smarthost.clone();
        (smarthost.port, smarthost.tls) = (choice.port, choice.tls);
        if let Some(name) = &choice.server_name {
            smarthost.server_name = Some(name.clone());
        }
        // What logs in by a password may do it in another way; a password is no token.
        if let (Some(login), Some(auth)) = (&mut smarthost.login, choice.auth)
            && login.mechanism.takes_token() == auth.takes_token()
        {
            login.mechanism = auth;
        }
        if let Some(pin) = &choice.pin {
            smarthost.pin_sha256 = unhex(pin);
        }
        let router = Router::new(
            self.config.routes.clone(),
            self.config.applications.clone(),
            self.config.default_smarthost.clone(),
        );
        let target = Target::new(smarthost, &self.hostname, self.config.retry.clone(), Arc::new(router));
        let trial = match Trial::open(&target, limit, Box::new(|_| {})).await {
            Ok(trial) => trial,
            Err(verdict) => {
                let by_token =
                    self.smarthost.login.as_ref().is_some_and(|login| login.mechanism.takes_token());
                let offered = finding.offers.as_ref().map(|offers| offers.capabilities.auth.as_slice());
                let (host, replies) = (&subject.host, &self.smarthost.replies);
                let failed = cause(&verdict)
                    .map(|cause| login_trouble(host, replies, cause, offered.unwrap_or_default(), by_token));
                return (
                    failed.unwrap_or_else(|| Login::NotTried("it was over at once".into())),
                    behind_login,
                );
            }
        };
        let login = match self.smarthost.login {
            Some(_) => Login::Good,
            None => Login::NotTried("none is configured".into()),
        };
        let Some(address) = self.own_address() else {
            trial.quit().await;
            let why =
                "the account's own address isn't known; write address = \"…\", or a username that is one";
            return (login, Envelope::NotAsked(why));
        };
        let envelope = Envelope::Asked(trial.ask(&address, &address).await);
        (login, envelope)
    }

    /// The account's address: as configured, or the user name if it is one.
    fn own_address(&self) -> Option<Address> {
        let username =
            self.smarthost.login.as_ref().and_then(|login| Address::parse(&login.username, false).ok());
        self.smarthost.address.clone().or(username.filter(|address| address.to_string().contains('@')))
    }
}

fn cause(verdict: &Verdict) -> Option<&Cause> {
    match verdict {
        Verdict::Delivered(_) => None,
        Verdict::Deferred(cause)
        | Verdict::LaneStopped(_, cause)
        | Verdict::Failed(cause)
        | Verdict::Uncertain(cause) => Some(cause),
    }
}

fn unhex(hex: &str) -> Option<[u8; 32]> {
    let octets: Option<Vec<u8>> = (0..hex.len() / 2)
        .map(|at| hex.get(at * 2..at * 2 + 2).and_then(|pair| u8::from_str_radix(pair, 16).ok()))
        .collect();
    octets?.try_into().ok()
}

/// The exit code, with the one line that says why.
fn conclude(
    findings: &Findings,
    subject: &Subject,
    choice: Option<&Choice>,
    login: &Login,
    envelope: Fate<'_>,
) -> Done {
    let failed = |code, text: &str| Err(Failure::new(code, format!("waystation doctor: {text}")));
    let Some(choice) = choice else {
        let modes = || findings.ports.iter().flat_map(|port| &port.modes);
        let no_tls = |finding: &finding::ModeFinding| matches!(finding.outcome, Outcome::StartTlsRefused(_));
        return if modes().any(|finding| finding.is_later() && !no_tls(finding)) {
            failed(TRY_LATER, "the server takes nothing at the moment")
        } else if modes().any(finding::ModeFinding::is_later) {
            failed(TRY_LATER, "the server has no encryption at the moment")
        } else {
            failed(UNAVAILABLE, "no way to send through this host was found")
        };
    };
    if let Login::Failed { trouble, .. } = login {
        return match trouble {
            LoginTrouble::Later => failed(TRY_LATER, "no login at the moment"),
            LoginTrouble::Interrupted => failed(UNAVAILABLE, "the login came to no end"),
            LoginTrouble::EncryptionNeeded if choice.tls == TlsMode::None => {
                failed(CONFIGURATION, "the server takes logins inside TLS alone")
            }
            LoginTrouble::NotOffered | LoginTrouble::NoMechanism | LoginTrouble::NotTaken => {
                failed(CONFIGURATION, "no login is possible this way")
            }
            LoginTrouble::WrongPassword
            | LoginTrouble::TokenRefused
            | LoginTrouble::AppPassword
            | LoginTrouble::Disabled
            | LoginTrouble::EncryptionNeeded
            | LoginTrouble::AccountDisabled
            | LoginTrouble::Refused => failed(NOT_ALLOWED, "the login is refused"),
        };
    }
    if !way(findings, choice).is_some_and(finding::ModeFinding::is_sound) {
        return failed(CONFIGURATION, "the certificate isn't trusted");
    }
    match &subject.configured {
        Some((_, port, tls)) if (*port, *tls) != (choice.port, choice.tls) => {
            failed(CONFIGURATION, "the configured port or TLS mode doesn't work; the lines above do")
        }
        Some(_) if choice.auth.is_some() => {
            failed(CONFIGURATION, "the configured auth isn't offered; the lines above work")
        }
        _ => judged(envelope, choice.tls),
    }
}

/// The exit code, where nothing but MAIL and RCPT is left to judge.
fn judged(envelope: Fate<'_>, tls: TlsMode) -> Done {
    let failed = |code, text: &str| Err(Failure::new(code, format!("waystation doctor: {text}")));
    match envelope {
        Fate::Accepted | Fate::NotTried(_) => Ok(()),
        Fate::LoginWanted(_) => failed(CONFIGURATION, "the server wants a login, and none is configured"),
        Fate::TlsWanted(_) if tls == TlsMode::None => {
            failed(CONFIGURATION, "the server takes mail inside TLS alone")
        }
        Fate::Quota(_) => failed(TRY_LATER, "the account has sent all it may for now"),
        Fate::Later(_) => failed(TRY_LATER, "the account's own address isn't taken at the moment"),
        Fate::Refused(_) => failed(NOT_ALLOWED, "the account's own address is refused"),
        Fate::TlsWanted(_) | Fate::Command(_) | Fate::OutOfPlace(_) => {
            failed(UNAVAILABLE, "the server takes no mail")
        }
        Fate::Unanswered(_) => failed(UNAVAILABLE, "MAIL and RCPT came to no end"),
    }
}
