//! What differs between two configurations, told in words for the log and `status`.
//!
//! Each configuration is laid out as things (`smarthost shop`, `route 2`) with facts (`connections` = `5`); the two
//! layouts are compared. Of a secret only the fact that it changed is told.

use super::schema::{
    Application, Config, Endpoint, Listener, Login, Mailbox, Match, PasswordSource, Rewrite, Route,
    Smarthost, TlsMode,
};
use super::units::{show_duration, show_size};
use crate::queue::limits::Day;
use secrecy::ExposeSecret as _;
use std::collections::BTreeMap;
use std::fmt::Display;

/// The difference told in words, one sentence each: `smarthost shop: connections 5 → 10`.
#[must_use]
pub fn changes(old: &Config, new: &Config) -> Vec<String> {
    let mut told = Vec::new();
    compare_things(&single_things(old), &single_things(new), &mut told);
    compare_things(
        &named("application", &old.applications, application),
        &named("application", &new.applications, application),
        &mut told,
    );
    compare_things(
        &named("smarthost", &old.smarthosts, smarthost),
        &named("smarthost", &new.smarthosts, smarthost),
        &mut told,
    );
    told.extend(renamed(&old.smarthosts, &new.smarthosts));
    if old.default_smarthost != new.default_smarthost {
        told.push(format!("default smarthost: {} → {}", old.default_smarthost, new.default_smarthost));
    }
    compare_rules("route", &old.routes, &new.routes, route, &mut told);
    compare_rules("rewrite", &old.rewrites, &new.rewrites, rewrite, &mut told);
    compare_things(&forwarded(old), &forwarded(new), &mut told);
    told.extend(renamed_mailboxes(&old.mailboxes, &new.mailboxes));
    told
}

/// Limits go by the name: an account under another one begins anew, which its provider doesn't know.
fn renamed(old: &BTreeMap<String, Smarthost>, new: &BTreeMap<String, Smarthost>) -> Vec<String> {
    let account = |smarthost: &Smarthost| {
        (smarthost.host.to_lowercase(), smarthost.login.as_ref().map(|login| login.username.clone()))
    };
    let gone = || old.iter().filter(|(name, _)| !new.contains_key(*name));
    let come = new.iter().filter(|(name, _)| !old.contains_key(*name));
    come.filter_map(|(name, smarthost)| {
        let (before, _) = gone().find(|(_, before)| account(before) == account(smarthost))?;
        Some(format!(
            "smarthost {name} is the account of {before} under another name: what {before} sent doesn't count among its limits"
        ))
    })
    .collect()
}

/// Conversations go by the name; reply tokens by the address, so that answers at signed addresses still find them.
fn renamed_mailboxes(old: &BTreeMap<String, Mailbox>, new: &BTreeMap<String, Mailbox>) -> Vec<String> {
    let gone = || old.iter().filter(|(name, _)| !new.contains_key(*name));
    let come = new.iter().filter(|(name, _)| !old.contains_key(*name));
    come.filter_map(|(name, mailbox)| {
        let (before, _) = gone().find(|(_, before)| before.address == mailbox.address)?;
        Some(format!(
            "mailbox {name} is {before} under another name: its conversations begin anew, but for answers to addresses that \
             reply_token signed"
        ))
    })
    .collect()
}

/// What is told of one setting.
#[derive(PartialEq, Eq)]
enum Fact {
    Plain(String),
    /// Compared, never shown.
    Secret(String),
}

type Facts = Vec<(&'static str, Fact)>;
type Things = BTreeMap<String, Facts>;

fn fact(key: &'static str, value: impl Display) -> (&'static str, Fact) {
    (key, Fact::Plain(value.to_string()))
}

fn compare_things(old: &Things, new: &Things, told: &mut Vec<String>) {
    for (name, facts) in new {
        match old.get(name) {
            None => told.push(format!("{name} added")),
            Some(before) => compare_facts(name, before, facts, told),
        }
    }
    told.extend(old.keys().filter(|name| !new.contains_key(*name)).map(|name| format!("{name} removed")));
}

fn compare_facts(name: &str, old: &Facts, new: &Facts, told: &mut Vec<String>) {
    let parts: Vec<String> = new
        .iter()
        .filter_map(|(key, fact)| {
            let before = old.iter().find(|(other, _)| other == key).map(|(_, fact)| fact)?;
            match (before, fact) {
                (before, fact) if before == fact => None,
                (Fact::Plain(before), Fact::Plain(after)) => Some(format!("{key} {before} → {after}")),
                _ => Some(format!("{key} changed")),
            }
        })
        .collect();
    if !parts.is_empty() {
        let name = if name.is_empty() { String::new() } else { format!("{name}: ") };
        told.push(format!("{name}{}", parts.join(", ")));
    }
}

/// Rules are told apart by their place; what is the same at both ends didn't change.
fn compare_rules<T>(kind: &str, old: &[T], new: &[T], facts: fn(&T) -> Facts, told: &mut Vec<String>) {
    let before: Vec<Facts> = old.iter().map(facts).collect();
    let after: Vec<Facts> = new.iter().map(facts).collect();
    let head = before.iter().zip(&after).take_while(|(a, b)| a == b).count();
    let room = before.len().min(after.len()) - head;
    let tail = before.iter().rev().zip(after.iter().rev()).take(room).take_while(|(a, b)| a == b).count();
    let gone = before.len() - head - tail;
    let come = after.len() - head - tail;
    for (offset, (a, b)) in before.iter().zip(&after).skip(head).take(gone.min(come)).enumerate() {
        compare_facts(&format!("{kind} {}", head + offset + 1), a, b, told);
    }
    told.extend((come.min(gone)..come).map(|offset| format!("{kind} {} added", head + offset + 1)));
    told.extend((come.min(gone)..gone).map(|offset| format!("{kind} {} removed", head + offset + 1)));
}

fn named<T>(kind: &str, all: &BTreeMap<String, T>, facts: impl Fn(&T) -> Facts) -> Things {
    all.iter().map(|(name, thing)| (format!("{kind} {name}"), facts(thing))).collect()
}

/// Everything that stands once, and the listeners by their addresses.
fn single_things(config: &Config) -> Things {
    let mut things: Things =
        config.listeners.iter().map(|one| (format!("listener {}", one.address), listener(one))).collect();
    things.insert(
        String::new(),
        vec![fact("hostname", &config.hostname), fact("state_dir", config.state_dir.display())],
    );
    if let Some(tls) = &config.tls {
        let facts = vec![fact("certificate", tls.certificate.display()), fact("key", tls.key.display())];
        things.insert("tls".to_owned(), facts);
    }
    let intake = &config.intake;
    things.insert(
        "intake".to_owned(),
        vec![
            fact("max_message_size", show_size(intake.max_message_size)),
            fact("max_recipients", intake.max_recipients),
            fact("max_connections", intake.max_connections),
            fact("max_connections_per_client", intake.max_connections_per_client),
            fact("max_errors", intake.max_errors),
            fact("min_rate", format!("{}/s", show_size(intake.min_rate))),
            fact("memory", show_size(intake.memory)),
        ],
    );
    let retry = &config.retry;
    things.insert(
        "retry".to_owned(),
        vec![
            fact("schedule", list(retry.schedule.iter().map(|wait| show_duration(*wait)))),
            fact("give_up_after", show_duration(retry.give_up_after)),
            fact("warn_after", retry.warn_after.map_or_else(|| "never".to_owned(), show_duration)),
        ],
    );
    let spool = vec![
        fact("max_size", show_size(config.spool.max_size)),
        fact("min_free", show_size(config.spool.min_free)),
    ];
    things.insert("spool".to_owned(), spool);
    things.insert("journal".to_owned(), vec![fact("keep", show_duration(config.journal_keep))]);
    let events = &config.events;
    let waits = list(events.schedule.iter().map(|wait| show_duration(*wait)));
    let mut facts = webhook(events.endpoint.as_ref());
    facts.push(fact("schedule", waits));
    things.insert("events".to_owned(), facts);
    let alert = &config.alert;
    let mut facts = webhook(alert.endpoint.as_ref());
    facts.push(("command", Fact::Secret(alert.command.join("\0"))));
    let oldest = alert.oldest_message.map_or_else(|| "never".to_owned(), show_duration);
    facts.push(fact("oldest_message", oldest));
    facts.push(fact("min_free", show_size(alert.min_free)));
    things.insert("alert".to_owned(), facts);
    let log = vec![
        fact("format", word(&config.log.format)),
        fact("level", config.log.level.to_string().to_ascii_lowercase()),
        fact("addresses", word(&config.log.addresses)),
    ];
    things.insert("log".to_owned(), log);
    things
}

/// Inboxes, mailboxes and channels.
fn forwarded(config: &Config) -> Things {
    let mut things = named("inbox", &config.inboxes, |inbox| {
        let include =
            [("text", inbox.include.text), ("html", inbox.include.html), ("headers", inbox.include.headers)];
        let include = include.iter().filter(|(_, wanted)| *wanted).map(|(word, _)| (*word).to_owned());
        vec![
            fact("address", &inbox.address),
            fact("webhook", &inbox.webhook),
            fact("secret_file", inbox.secret_file.display()),
            fact("allow_private", inbox.allow_private),
            fact("format", word(&inbox.format)),
            fact("include", list(include)),
        ]
    });
    things.extend(named("mailbox", &config.mailboxes, |mailbox| {
        vec![
            fact("address", &mailbox.address),
            fact("inbox", &mailbox.inbox),
            fact("token", mailbox.token.as_deref().unwrap_or("none")),
            fact("smarthost", mailbox.smarthost.as_deref().unwrap_or("none")),
            fact("reply_token", mailbox.reply_token),
        ]
    }));
    things.extend(named("channel", &config.channels, |channel| {
        vec![
            fact("domains", list(channel.domains.iter().cloned())),
            fact("keys", list(channel.keys.iter().map(word))),
            fact("markers", list(channel.markers.iter().cloned())),
            fact("reply_to_latest", channel.reply_to_latest),
            fact("from_must_be_mailbox", channel.from_must_be_mailbox),
            fact(
                "max_attachments",
                channel.max_attachment_bytes.map_or_else(|| "no limit".to_owned(), show_size),
            ),
            fact("blocked_extensions", list(channel.blocked_extensions.iter().cloned())),
        ]
    }));
    things
}

fn webhook(endpoint: Option<&Endpoint>) -> Facts {
    vec![
        fact("webhook", shown(endpoint.map(|endpoint| &endpoint.url))),
        fact(
            "secret_file",
            shown(endpoint.and_then(|endpoint| endpoint.secret_file.as_ref()).map(|file| file.display())),
        ),
        fact("allow_private", endpoint.is_some_and(|endpoint| endpoint.allow_private)),
    ]
}

fn listener(listener: &Listener) -> Facts {
    let tolerate = &listener.tolerate;
    let named = [
        (tolerate.bare_lf, "bare-lf"),
        (tolerate.space_after_colon, "space-after-colon"),
        (tolerate.missing_brackets, "missing-brackets"),
    ];
    vec![
        fact("tls", tls(listener.tls)),
        fact("auth", word(&listener.auth)),
        fact("trust", list(&listener.trust)),
        fact("proxy_protocol", list(&listener.proxy_protocol)),
        fact("tolerate", list(named.iter().filter(|(on, _)| *on).map(|(_, name)| name))),
        fact("auth_without_tls", listener.auth_without_tls),
    ]
}

fn application(application: &Application) -> Facts {
    vec![
        ("password", Fact::Secret(application.password_hashes.join("\n"))),
        fact("from", or("any", &list(&application.from))),
        fact("smarthost", application.smarthost.as_deref().unwrap_or("by routes")),
        fact("class", application.class.map_or_else(|| "by routes".to_owned(), |class| word(&class))),
    ]
}

fn most(limit: Option<u64>) -> u64 {
    limit.unwrap_or(0)
}

fn day(day: &Day) -> String {
    match day {
        Day::Rolling => "rolling".to_owned(),
        Day::Calendar(zone) => zone.iana_name().unwrap_or("a time zone").to_owned(),
    }
}

fn smarthost(smarthost: &Smarthost) -> Facts {
    let limits = &smarthost.limits;
    let login = smarthost.login.as_ref();
    let pin = smarthost.pin_sha256.map_or_else(
        || "none".to_owned(),
        |pin| {
            use base64::Engine as _;
            base64::engine::general_purpose::STANDARD.encode(pin)
        },
    );
    vec![
        fact("enabled", smarthost.enabled),
        fact("host", &smarthost.host),
        fact("port", smarthost.port),
        fact("tls", tls(smarthost.tls)),
        fact("ca_file", shown(smarthost.ca_file.as_ref().map(|file| file.display()))),
        fact("pin_sha256", pin),
        fact("server_name", shown(smarthost.server_name.as_ref())),
        fact("post_quantum", smarthost.post_quantum),
        fact("auth", login.map_or("none", |login| login.mechanism.word())),
        fact("username", shown(login.map(|login| &login.username))),
        ("password", password(login)),
        fact("connections", smarthost.connections),
        fact("messages_per_connection", smarthost.messages_per_connection),
        fact("fallback", list(&smarthost.fallback)),
        fact("per_minute", most(limits.per_minute)),
        fact("per_hour", most(limits.per_hour)),
        fact("per_day", most(limits.per_day)),
        fact("per_month", most(limits.per_month)),
        fact("count", word(&limits.count)),
        fact("day", day(&limits.day)),
        fact("priority_reserve", limits.priority_reserve),
        fact("interval", limits.batch.map_or_else(|| "none".to_owned(), |(wait, _)| show_duration(wait))),
        fact("batch", most(limits.batch.map(|(_, most)| most))),
        fact("max_size", shown(smarthost.max_size.map(show_size))),
        fact("address", shown(smarthost.address.as_ref())),
        fact("provider_reply", shown(replies(smarthost))),
        fact("display_name", shown(smarthost.display_name.as_ref())),
        fact("from", smarthost.from),
        fact("allowed_from", or("any", &list(&smarthost.allowed_from))),
    ]
}

/// The `[[provider_reply]]` tables that concern a smarthost.
fn replies(smarthost: &Smarthost) -> Option<String> {
    let told = smarthost.replies.iter().map(|reply| {
        let code = reply.code.map(|code| format!("{code} ")).unwrap_or_default();
        format!("{code}\"{}\" means {:?}", reply.text, reply.means).to_lowercase()
    });
    (!smarthost.replies.is_empty()).then(|| told.collect::<Vec<_>>().join(", "))
}

/// Where a password comes from says much about it, and arguments of a command may hold it.
fn password(login: Option<&Login>) -> Fact {
    Fact::Secret(match login.map(|login| &login.password) {
        None => String::new(),
        Some(PasswordSource::Literal(secret)) => format!("literal {}", secret.expose_secret()),
        Some(PasswordSource::File(path)) => format!("file {}", path.display()),
        Some(PasswordSource::Env(name)) => format!("env {name}"),
        Some(PasswordSource::Command(words)) => format!("command {}", words.join("\0")),
    })
}

fn route(route: &Route) -> Facts {
    let mut facts = matches(&route.matches);
    facts.extend([
        fact("smarthost", route.smarthost.as_deref().unwrap_or("the default")),
        fact("class", route.class.map_or_else(|| "none".to_owned(), |class| word(&class))),
        fact("action", word(&route.action)),
    ]);
    facts
}

fn rewrite(rewrite: &Rewrite) -> Facts {
    let mut facts = matches(&rewrite.matches);
    facts.extend([
        fact("add", or("nothing", &list(pairs(&rewrite.rule.add)))),
        fact("remove", or("nothing", &list(&rewrite.rule.remove))),
        fact("replace", or("nothing", &list(pairs(&rewrite.rule.replace)))),
    ]);
    facts
}

fn matches(matches: &Match) -> Facts {
    let Match { application, sender, from, recipient, client, header } = matches;
    vec![
        fact("application", shown(application.as_ref())),
        fact("sender", shown(sender.as_ref())),
        fact("from", shown(from.as_ref())),
        fact("recipient", shown(recipient.as_ref())),
        fact("client", shown(client.as_ref())),
        fact("header", or("none", &list(pairs(header)))),
    ]
}

fn pairs(pairs: &[(String, String)]) -> impl Iterator<Item = String> {
    pairs.iter().map(|(name, value)| format!("{name}: {value}"))
}

fn tls(mode: TlsMode) -> String {
    word(&mode)
}

/// The word of the file for an enum whose variants are called the same.
fn word(value: &impl std::fmt::Debug) -> String {
    format!("{value:?}").to_ascii_lowercase()
}

fn list<T: Display>(items: impl IntoIterator<Item = T>) -> String {
    format!("[{}]", items.into_iter().map(|item| item.to_string()).collect::<Vec<_>>().join(", "))
}

fn shown<T: Display>(value: Option<T>) -> String {
    value.map_or_else(|| "none".to_owned(), |value| value.to_string())
}

fn or(empty: &str, text: &str) -> String {
    if text == "[]" { empty.to_owned() } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn config(extra: &str) -> Config {
        let text = format!("[smarthost.shop]\nhost = \"smtp.example.com\"\n{extra}");
        crate::config::parse(Path::new("w.toml"), &text, std::iter::empty()).unwrap().config
    }

    fn told(old: &str, new: &str) -> Vec<String> {
        changes(&config(old), &config(new))
    }

    #[test]
    fn settings_are_told_with_both_values_and_secrets_with_neither() {
        assert_eq!(told("connections = 5", "connections = 10"), ["smarthost shop: connections 5 → 10"]);
        assert_eq!(
            told("username='u'\npassword='hunter2'", "username='u'\npassword='hunter3'"),
            ["smarthost shop: password changed"]
        );
        assert_eq!(
            told("[retry]\nwarn_after='never'", "[log]\nlevel='debug'"),
            ["log: level info → debug", "retry: warn_after never → 4h"]
        );
        assert!(told("connections = 5", "").is_empty());
    }

    #[test]
    fn things_come_and_go_by_name_and_routes_by_number() {
        let two = "default = true\n[smarthost.bulk]\nhost = \"b.example.com\"";
        assert_eq!(told("", two), ["smarthost bulk added"]);
        assert_eq!(told(two, ""), ["smarthost bulk removed"]);
        assert_eq!(
            told(two, &two.replace(".bulk", ".mass")),
            [
                "smarthost mass added",
                "smarthost bulk removed",
                "smarthost mass is the account of bulk under another name: what bulk sent doesn't count among its limits"
            ]
        );
        let mailbox = "[inbox.guests]\naddress = \"inbox@users.example.com\"\nwebhook = \"https://app.example.com/x\"\n\
                       secret_file = \"s\"\n[mailbox.sol]\naddress = \"hola@casasol.example\"\ninbox = \"guests\"\n";
        let renamed = told(mailbox, &mailbox.replace(".sol]", ".sun]"));
        assert!(renamed[2].starts_with("mailbox sun is sol under another name"), "{renamed:?}");
        let route =
            |class: &str| format!("[[route]]\nrecipient = \"@{class}.example\"\nclass = \"{class}\"\n");
        let (p, b) = (route("priority"), route("bulk"));
        assert_eq!(told(&b, &format!("{p}{b}")), ["route 1 added"]);
        assert_eq!(told(&format!("{p}{b}"), &p), ["route 2 removed"]);
        assert_eq!(
            told(&b, &b.replace("class = \"bulk\"", "class = \"normal\"")),
            ["route 1: class bulk → normal"]
        );
        let rule = "[[rewrite]]\nremove = [\"X-Internal\"]\n";
        assert_eq!(told("", rule), ["rewrite 1 added"]);
        assert_eq!(
            told(rule, &rule.replace("X-Internal", "X-Mailer")),
            ["rewrite 1: remove [X-Internal] → [X-Mailer]"]
        );
        assert_eq!(
            told("from = 'keep'", "address = 'a@b.example'\nallowed_from = ['@b.example']"),
            [
                "smarthost shop: address none → a@b.example, from keep → if_not_allowed, allowed_from any → [@b.example]"
            ]
        );
        let moved = "[[listener]]\naddress = \"127.0.0.1:2526\"";
        assert_eq!(told("", moved), ["listener 127.0.0.1:2526 added", "listener 127.0.0.1:2525 removed"]);
    }
}
