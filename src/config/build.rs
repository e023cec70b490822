//! From judged tables to the [`Config`] the program sees.
//!
//! Nothing is complained about here. Where a key is broken a placeholder stands, and the whole is thrown away later.

mod forwarded;

use super::endpoint::{Alert, EVENTS, EventSettings, endpoint};
use super::schema::{
    Action, AddressPattern, Application, AuthMode, Config, FromMode, Intake, KNOWN_LIMITS, ListenAddress,
    Listener, Log, LogAddresses, LogFormat, Login, Match, Meaning, Mechanism, Network, PasswordSource,
    Provider, ProviderReply, Retry, Rewrite, Route, Smarthost, Spool, TlsFiles, TlsMode, Tolerate,
};
use super::value::Value;
use super::walk::{Table, Tables};
use crate::message::envelope::Class;
use crate::message::rewrite::rules::Rule;
use crate::queue::limits::{Count, Day, Limits};
use jiff::tz::TimeZone;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What of the machine shows in the configuration, and what is known beside it.
#[derive(Debug, Clone)]
pub(super) struct Surroundings {
    /// The system's own name.
    pub(super) hostname: Option<String>,
    /// Variables of the process.
    pub(super) variables: Vec<(String, String)>,
    /// Adds the limits that are known of a smarthost's provider.
    pub(super) assume: fn(&mut Smarthost),
    /// Whether this process is to have the secrets: those of its environment are missed where there are none.
    pub(super) has_secrets: bool,
}

impl Surroundings {
    /// Those of a daemon.
    pub(super) fn new(
        hostname: Option<String>,
        variables: Vec<(String, String)>,
        assume: fn(&mut Smarthost),
    ) -> Self {
        Self { hostname, variables, assume, has_secrets: true }
    }

    /// A variable's value.
    pub(super) fn variable(&self, name: &str) -> Option<&str> {
        self.variables.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str())
    }
}

/// Fills in the [`Config`].
pub(super) fn build(path: &Path, base: &Path, tables: &Tables, around: &Surroundings) -> Config {
    let mut config = blank(path, base, around);
    if let Some(top) = tables.one("") {
        config.hostname = top.text("hostname").unwrap_or(config.hostname);
        config.state_dir = top.path_value("state_dir", base).unwrap_or(config.state_dir);
    }
    if let Some(table) = tables.one("intake") {
        config.intake = intake(table);
    }
    if let Some(table) = tables.one("retry") {
        config.retry = retry(table);
    }
    if let Some(table) = tables.one("spool") {
        config.spool = Spool { max_size: table.number("max_size"), min_free: table.number("min_free") };
    }
    if let Some(table) = tables.one("journal") {
        config.journal_keep = table.duration("keep").unwrap_or_default();
    }
    if let Some(table) = tables.one("events") {
        config.events.endpoint = endpoint(EVENTS, table, base);
        config.events.schedule = durations(table, "schedule");
    }
    if let Some(table) = tables.one("alert") {
        config.alert = Alert {
            endpoint: endpoint("alert", table, base),
            command: table.texts("command"),
            oldest_message: table.duration("oldest_message"),
            min_free: table.number("min_free"),
        };
    }
    if let Some(table) = tables.one("log") {
        config.log = log(table);
    }
    config.tls = tables.one("tls").map(|table| TlsFiles {
        certificate: table.path_value("certificate", base).unwrap_or_default(),
        key: table.path_value("key", base).unwrap_or_default(),
    });
    config.listeners = tables.all("listener").map(listener).collect();
    config.applications =
        tables.all("application").map(|table| (table.name.clone(), application(table))).collect();
    config.smarthosts =
        tables.all("smarthost").map(|table| (table.name.clone(), smarthost(table, base))).collect();
    config.providers = tables.all("provider").map(provider).collect();
    config.provider_replies = tables.all("provider_reply").map(provider_reply).collect();
    for smarthost in config.smarthosts.values_mut() {
        tell_provider(smarthost, &config.providers, &config.provider_replies);
    }
    config.routes = tables.all("route").map(route).collect();
    config.rewrites = tables.all("rewrite").map(rewrite).collect();
    forwarded::build(&mut config, tables, base);
    config
}

/// Every field present, nothing of the file in it yet.
fn blank(path: &Path, base: &Path, around: &Surroundings) -> Config {
    Config {
        path: path.to_owned(),
        hostname: around.hostname.clone().unwrap_or_else(|| "localhost".to_owned()),
        state_dir: base.join("state"),
        listeners: Vec::new(),
        tls: None,
        intake: Intake {
            max_message_size: 0,
            max_recipients: 0,
            max_connections: 0,
            max_connections_per_client: 0,
            max_errors: 0,
            min_rate: 0,
            memory: 0,
        },
        applications: std::collections::BTreeMap::new(),
        smarthosts: std::collections::BTreeMap::new(),
        default_smarthost: String::new(),
        routes: Vec::new(),
        rewrites: Vec::new(),
        retry: Retry { schedule: Vec::new(), give_up_after: Duration::ZERO, warn_after: None },
        providers: Vec::new(),
        provider_replies: Vec::new(),
        spool: Spool { max_size: 0, min_free: 0 },
        journal_keep: Duration::ZERO,
        inboxes: std::collections::BTreeMap::new(),
        mailboxes: std::collections::BTreeMap::new(),
        channels: std::collections::BTreeMap::new(),
        events: EventSettings { endpoint: None, schedule: Vec::new() },
        alert: Alert { endpoint: None, command: Vec::new(), oldest_message: None, min_free: 0 },
        log: Log { format: LogFormat::Text, level: tracing::Level::INFO, addresses: LogAddresses::Full },
    }
}

fn listener(table: &Table) -> Listener {
    let address = match table.value("address") {
        Some(Value::Listen(address)) => address,
        _ => ListenAddress::Socket(SocketAddr::from((Ipv4Addr::LOCALHOST, 2525))),
    };
    let trust = match table.value("trust") {
        Some(_) => table.networks("trust"),
        None if is_loopback(&address) => Network::LOOPBACK.to_vec(),
        None => Vec::new(),
    };
    let tolerates =
        |name| table.list("tolerate").iter().any(|value| matches!(value, Value::Word(word) if *word == name));
    Listener {
        address,
        tls: tls_mode(table),
        auth: match table.word("auth") {
            "optional" => AuthMode::Optional,
            "required" => AuthMode::Required,
            _ => AuthMode::None,
        },
        trust,
        proxy_protocol: table.networks("proxy_protocol"),
        tolerate: Tolerate {
            bare_lf: tolerates("bare-lf"),
            space_after_colon: tolerates("space-after-colon"),
            missing_brackets: tolerates("missing-brackets"),
        },
        auth_without_tls: table.flag("auth_without_tls"),
    }
}

/// Whether only this machine can reach it; of a passed socket we can't know.
pub(super) fn is_loopback(address: &ListenAddress) -> bool {
    match address {
        ListenAddress::Socket(address) => address.ip().to_canonical().is_loopback(),
        ListenAddress::Passed(_) => false,
    }
}

fn intake(table: &Table) -> Intake {
    let count = |key| usize::try_from(table.number(key)).unwrap_or(usize::MAX);
    Intake {
        max_message_size: table.number("max_message_size"),
        max_recipients: count("max_recipients"),
        max_connections: count("max_connections"),
        max_connections_per_client: count("max_connections_per_client"),
        max_errors: table.number_u32("max_errors"),
        min_rate: table.number("min_rate"),
        memory: table.number("memory"),
    }
}

fn application(table: &Table) -> Application {
    use secrecy::ExposeSecret as _;
    let hashes = table.list("password_hash");
    let hash = |value: &Value| match value {
        Value::Secret(hash) => Some(hash.expose_secret().to_owned()),
        _ => None,
    };
    Application {
        password_hashes: hashes.iter().filter_map(hash).collect(),
        from: table.patterns("from"),
        smarthost: table.text("smarthost"),
        class: class(table),
    }
}

fn smarthost(table: &Table, base: &Path) -> Smarthost {
    let tls = tls_mode(table);
    let usual = if tls == TlsMode::Implicit { 465 } else { 587 };
    Smarthost {
        name: table.name.clone(),
        enabled: table.flag("enabled"),
        host: table.text("host").unwrap_or_default(),
        port: match table.value("port") {
            Some(Value::Number(port)) => u16::try_from(port).unwrap_or(usual),
            _ => usual,
        },
        tls,
        ca_file: table.path_value("ca_file", base),
        pin_sha256: match table.value("pin_sha256") {
            Some(Value::Pin(pin)) => Some(pin),
            _ => None,
        },
        server_name: table.text("server_name"),
        post_quantum: table.flag("post_quantum"),
        login: login(table, base),
        connections: usize::try_from(table.number("connections")).unwrap_or(usize::MAX),
        messages_per_connection: table.number_u32("messages_per_connection"),
        max_size: match table.value("max_size") {
            Some(Value::Number(octets)) => Some(octets),
            _ => None,
        },
        address: match table.value("address") {
            // As any smarthost takes it.
            Some(Value::Address(address)) => Some(address.with_dns_domain()),
            _ => None,
        },
        replies: Vec::new(),
        provider: None,
        written: KNOWN_LIMITS.into_iter().filter(|key| table.mentions(key)).collect(),
        display_name: table.text("display_name"),
        from: match table.word("from") {
            "keep" => FromMode::Keep,
            "force" => FromMode::Force,
            _ => FromMode::IfNotAllowed,
        },
        allowed_from: table.patterns("allowed_from"),
        fallback: table.texts("fallback"),
        limits: limits(table),
    }
}

fn limits(table: &Table) -> Limits {
    let most = |key| Some(table.number(key)).filter(|most| *most > 0);
    let interval = table.duration("interval").filter(|interval| !interval.is_zero());
    Limits {
        per_minute: most("per_minute"),
        per_hour: most("per_hour"),
        per_day: most("per_day"),
        per_month: most("per_month"),
        count: count(table),
        known: Vec::new(),
        // A zone that isn't known was complained about.
        day: match table.text("day").as_deref() {
            None | Some("rolling") => Day::Rolling,
            Some(zone) => TimeZone::get(zone).map_or(Day::Rolling, Day::Calendar),
        },
        priority_reserve: table.number("priority_reserve"),
        batch: interval.map(|interval| (interval, most("batch").unwrap_or(1))),
    }
}

fn count(table: &Table) -> Count {
    match table.word("count") {
        "messages" => Count::Messages,
        _ => Count::Recipients,
    }
}

fn provider(table: &Table) -> Provider {
    let host = table.text("host").unwrap_or_default();
    let most = |key: &'static str| match table.given(key).map(|item| &item.value) {
        Some(Value::Number(most)) if *most > 0 => Some((key, *most)),
        _ => None,
    };
    Provider {
        name: table.text("name").unwrap_or_else(|| host.clone()),
        host,
        servers: table.texts("servers"),
        limits: KNOWN_LIMITS.into_iter().filter_map(most).collect(),
        count: count(table),
        login: table.text("login"),
    }
}

fn provider_reply(table: &Table) -> ProviderReply {
    ProviderReply {
        host: table.text("host"),
        code: match table.value("code") {
            Some(Value::Number(code)) => u16::try_from(code).ok(),
            _ => None,
        },
        text: table.text("text").unwrap_or_default(),
        means: match table.word("means") {
            "quota" => Meaning::Quota,
            "login" => Meaning::Login,
            "login-later" => Meaning::LoginLater,
            "busy" => Meaning::Busy,
            "policy" => Meaning::Policy,
            "sender" => Meaning::Sender,
            "content" => Meaning::Content,
            _ => Meaning::Later,
        },
    }
}

/// Puts into a smarthost what is told of its host.
fn tell_provider(smarthost: &mut Smarthost, providers: &[Provider], replies: &[ProviderReply]) {
    let host = &smarthost.host;
    let concerned = replies.iter().filter(|reply| concerns(reply.host.as_deref(), host));
    smarthost.replies = concerned.cloned().collect();
    smarthost.provider = providers.iter().find(|provider| concerns(Some(&provider.host), host)).cloned();
}

impl Config {
    /// Puts into a smarthost that isn't one of the configuration's what the configuration tells of its host.
    pub fn tell_of(&self, smarthost: &mut Smarthost) {
        tell_provider(smarthost, &self.providers, &self.provider_replies);
    }
}

/// Whether a `[[provider_reply]]` of this host is about a smarthost: that one's host is it, or in that domain.
pub(super) fn concerns(domain: Option<&str>, host: &str) -> bool {
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    domain.is_none_or(|domain| {
        let domain = domain.trim_end_matches('.').to_ascii_lowercase();
        host.strip_suffix(&domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    })
}

fn login(table: &Table, base: &Path) -> Option<Login> {
    let mechanism = match table.word("auth") {
        "none" => return None,
        "plain" => Mechanism::Plain,
        "login" => Mechanism::Login,
        "cram-md5" => Mechanism::CramMd5,
        "xoauth2" => Mechanism::XOAuth2,
        "oauthbearer" => Mechanism::OAuthBearer,
        _ => Mechanism::Auto,
    };
    let password = if let Some(Value::Secret(secret)) = table.value("password") {
        PasswordSource::Literal(secret)
    } else if let Some(file) = table.path_value("password_file", base) {
        PasswordSource::File(file)
    } else if let Some(variable) = table.text("password_env") {
        PasswordSource::Env(variable)
    } else {
        PasswordSource::Command(table.texts("password_command"))
    };
    table.text("username").map(|username| Login { mechanism, username, password })
}

fn matches(table: &Table) -> Match {
    let pattern = |key| match table.value(key) {
        Some(Value::Pattern(pattern)) => Some(pattern),
        _ => None,
    };
    Match {
        application: table.text("application"),
        sender: pattern("sender"),
        from: pattern("from"),
        recipient: pattern("recipient"),
        client: match table.value("client") {
            Some(Value::Network(network)) => Some(network),
            _ => None,
        },
        header: table.pairs("header"),
    }
}

fn rewrite(table: &Table) -> Rewrite {
    Rewrite {
        matches: matches(table),
        rule: Rule {
            remove: table.texts("remove"),
            replace: table.pairs("replace"),
            add: table.pairs("add"),
        },
    }
}

fn route(table: &Table) -> Route {
    Route {
        matches: matches(table),
        smarthost: table.text("smarthost"),
        class: class(table),
        expires_after: table.duration("expires_after"),
        action: match table.word("action") {
            "hold" => Action::Hold,
            "discard" => Action::Discard,
            "reject" => Action::Reject,
            _ => Action::Send,
        },
    }
}

fn retry(table: &Table) -> Retry {
    Retry {
        schedule: durations(table, "schedule"),
        give_up_after: table.duration("give_up_after").unwrap_or_default(),
        warn_after: table.duration("warn_after"),
    }
}

fn durations(table: &Table, key: &str) -> Vec<Duration> {
    let duration = |value: Value| match value {
        Value::Duration(duration) => Some(duration),
        _ => None,
    };
    table.list(key).into_iter().filter_map(duration).collect()
}

fn log(table: &Table) -> Log {
    Log {
        format: match table.word("format") {
            "json" => LogFormat::Json,
            "journald" => LogFormat::Journald,
            _ => LogFormat::Text,
        },
        level: table.word("level").parse().unwrap_or(tracing::Level::INFO),
        addresses: match table.word("addresses") {
            "domain" => LogAddresses::Domain,
            "hash" => LogAddresses::Hash,
            _ => LogAddresses::Full,
        },
    }
}

fn tls_mode(table: &Table) -> TlsMode {
    match table.word("tls") {
        "starttls" => TlsMode::StartTls,
        "implicit" => TlsMode::Implicit,
        _ => TlsMode::None,
    }
}

fn class(table: &Table) -> Option<Class> {
    match table.word("class") {
        "priority" => Some(Class::Priority),
        "normal" => Some(Class::Normal),
        "bulk" => Some(Class::Bulk),
        _ => None,
    }
}

impl Table {
    pub(super) fn number(&self, key: &str) -> u64 {
        match self.value(key) {
            Some(Value::Number(number)) => number,
            _ => 0,
        }
    }

    fn number_u32(&self, key: &str) -> u32 {
        u32::try_from(self.number(key)).unwrap_or(u32::MAX)
    }

    pub(super) fn flag(&self, key: &str) -> bool {
        matches!(self.value(key), Some(Value::Flag(true)))
    }

    /// None also for `"never"`.
    pub(super) fn duration(&self, key: &str) -> Option<Duration> {
        match self.value(key) {
            Some(Value::Duration(duration)) => Some(duration),
            _ => None,
        }
    }

    /// Empty text is no text.
    pub(super) fn text(&self, key: &str) -> Option<String> {
        match self.value(key) {
            Some(Value::Text(text)) if !text.is_empty() => Some(text),
            _ => None,
        }
    }

    /// One of the key's words; empty when there is none.
    pub(super) fn word(&self, key: &str) -> &'static str {
        match self.value(key) {
            Some(Value::Word(word)) => word,
            _ => "",
        }
    }

    pub(super) fn path_value(&self, key: &str, base: &Path) -> Option<PathBuf> {
        self.text(key).map(|text| base.join(text))
    }

    pub(super) fn list(&self, key: &str) -> Vec<Value> {
        match self.value(key) {
            Some(Value::List(items)) => items.into_iter().map(|item| item.value).collect(),
            _ => Vec::new(),
        }
    }

    pub(super) fn texts(&self, key: &str) -> Vec<String> {
        let text = |value| match value {
            Value::Text(text) => Some(text),
            _ => None,
        };
        self.list(key).into_iter().filter_map(text).collect()
    }

    pub(super) fn pairs(&self, key: &str) -> Vec<(String, String)> {
        match self.value(key) {
            Some(Value::Pairs(pairs)) => pairs,
            _ => Vec::new(),
        }
    }

    fn patterns(&self, key: &str) -> Vec<AddressPattern> {
        let pattern = |value| match value {
            Value::Pattern(pattern) => Some(pattern),
            _ => None,
        };
        self.list(key).into_iter().filter_map(pattern).collect()
    }

    fn networks(&self, key: &str) -> Vec<Network> {
        let network = |value| match value {
            Value::Network(network) => Some(network),
            _ => None,
        };
        self.list(key).into_iter().filter_map(network).collect()
    }
}
