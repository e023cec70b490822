//! What is known of providers: who is behind a host, what they allow, and what they mean by their replies.
//!
//! Tables of facts, collected in November 2026 ([`CHECKED`]) from the providers' own pages and from public threads in which
//! people pasted what they were told. They advise, they sort replies, and limits that stand on a provider's page are defaults
//! ([`assume`]): what the configuration says of a limit always goes before. `[[provider]]` goes before [`hosts`], and `[[provider_reply]]`
//! before [`replies`], so that a provider's new limit or wording needs no release.

mod hosts;
mod replies;
mod tokens;
#[cfg(test)]
mod real;

pub use crate::config::schema::{Meaning, ProviderReply};
pub use hosts::{Limit, Provider, Server, known};
pub use replies::is_about_long_lines;
pub use tokens::token_advice;

use crate::config::schema::{Smarthost, TlsMode};
use crate::queue::limits::{Count, Known};
use crate::smtp::reply::Reply;

/// The day on which the [pages](Limit::page) of limits were read, in copies that may be older.
pub const READ: &str = "28 November 2026";

/// When the tables were last gone through.
pub const CHECKED: &str = "November 2026";

/// What this host means by this reply, and what to do about it; none if neither `ours` (those of the
/// configuration that concern this host) nor the table knows it.
#[must_use]
pub fn meaning(host: &str, reply: &Reply, ours: &[ProviderReply]) -> Option<(Meaning, Option<&'static str>)> {
    match own_meaning(reply, ours) {
        // Advice that belongs to a meaning holds whoever sorted the reply.
        Some(means) => Some((means, replies::general_advice(means))),
        None => replies::find(&plain_host(host), &said(reply), reply),
    }
}

/// What the configuration says that this reply means.
#[must_use]
pub fn own_meaning(reply: &Reply, ours: &[ProviderReply]) -> Option<Meaning> {
    let text = said(reply);
    let is_meant = |own: &&ProviderReply| {
        own.code.is_none_or(|code| code == reply.code) && text.contains(&own.text.to_ascii_lowercase())
    };
    ours.iter().find(is_meant).map(|own| own.means)
}

fn said(reply: &Reply) -> String {
    reply.lines.join(" ").to_ascii_lowercase()
}

/// Puts what is known of each smarthost's provider in place of limits that its configuration says nothing of.
pub fn assume<'s>(smarthosts: impl IntoIterator<Item = &'s mut Smarthost>) {
    smarthosts.into_iter().for_each(assume_one);
}

/// The same for one of them.
pub fn assume_one(smarthost: &mut Smarthost) {
    for (name, most, count, of) in defaults(smarthost) {
        if smarthost.written.contains(&name) {
            continue;
        }
        let limits = &mut smarthost.limits;
        match name {
            "connections" => smarthost.connections = usize::try_from(most).unwrap_or(usize::MAX),
            "per_minute" => limits.per_minute = Some(most),
            "per_hour" => limits.per_hour = Some(most),
            "per_day" => limits.per_day = Some(most),
            "per_month" => limits.per_month = Some(most),
            _ => continue,
        }
        limits.known.push(Known { name, count, of });
    }
}

/// What a smarthost's provider is known to allow: setting, most, what is counted, and who it is.
fn defaults(smarthost: &Smarthost) -> Vec<(&'static str, u64, Count, String)> {
    if let Some(own) = &smarthost.provider {
        return own.limits.iter().map(|(key, most)| (*key, *most, own.count, own.name.clone())).collect();
    }
    let Some(provider) = known(&smarthost.host) else { return Vec::new() };
    let default = |limit: &Limit| (limit.key, limit.most, limit.count, provider.name.to_owned());
    provider.defaults().map(default).collect()
}

/// The limits that [`assume`] gave a smarthost, in one sentence; none if there are none.
#[must_use]
pub fn defaults_in_words(smarthost: &Smarthost) -> Option<String> {
    let limits = &smarthost.limits;
    let of = &limits.known.first()?.of;
    let told = limits.known.iter().filter_map(|known| {
        let most = match known.name {
            "connections" => u64::try_from(smarthost.connections).ok(),
            "per_minute" => limits.per_minute,
            "per_hour" => limits.per_hour,
            "per_day" => limits.per_day,
            _ => limits.per_month,
        }?;
        let counts_messages = known.count == Count::Messages && known.name != "connections";
        Some(format!("{} = {most}{}", known.name, if counts_messages { " messages" } else { "" }))
    });
    let told: Vec<String> = told.collect();
    let by = if smarthost.provider.is_some() { "by [[provider]]" } else { CHECKED };
    let told = told.join(", ");
    Some(format!(
        "by default, as is known of {of} ({by}): {told}; a value of your own, or 0 for none, goes before"
    ))
}

/// What the provider behind a smarthost is known to allow, in one sentence; none if that isn't known, or the configuration
/// tells it.
#[must_use]
pub fn limits_of(smarthost: &Smarthost) -> Option<String> {
    let Introduction { name, limits, by, .. } =
        introduction(smarthost).filter(|_| smarthost.provider.is_none())?;
    (!limits.is_empty()).then(|| format!("{name} is known to allow {limits} ({by})"))
}

/// Who is behind a smarthost.
#[derive(Debug, PartialEq, Eq)]
pub struct Introduction {
    /// As people call the provider.
    pub name: String,
    /// Where it takes mail, in words: `smtp.example.com:465 (tls = "implicit")`, the best first.
    pub servers: Vec<String>,
    /// What it is known to allow; empty when nothing is known.
    pub limits: String,
    /// Who says so: the configuration, or when the built-in table was gone through.
    pub by: &'static str,
}

/// Who is behind a smarthost, as the configuration tells it or else the built-in table; none if neither does.
#[must_use]
pub fn introduction(smarthost: &Smarthost) -> Option<Introduction> {
    if let Some(own) = &smarthost.provider {
        let limits: Vec<String> = own.limits.iter().map(|(key, most)| format!("{key} = {most}")).collect();
        let server = |server: &String| {
            let tls = if server.ends_with(":465") { TlsMode::Implicit } else { TlsMode::StartTls };
            hosts::in_words(server, tls)
        };
        return Some(Introduction {
            name: own.name.clone(),
            servers: own.servers.iter().map(server).collect(),
            limits: limits.join(", "),
            by: "[[provider]]",
        });
    }
    let provider = known(&smarthost.host)?;
    Some(Introduction {
        name: provider.name.to_owned(),
        servers: provider.servers.iter().map(ToString::to_string).collect(),
        limits: provider.limits_in_words(),
        by: CHECKED,
    })
}

/// What login the provider behind a smarthost wants, if that is known.
#[must_use]
pub fn login_of(smarthost: &Smarthost) -> Option<String> {
    match &smarthost.provider {
        Some(own) => own.login.clone(),
        None => known(&smarthost.host).map(|provider| provider.login.to_owned()),
    }
}

/// Where the settings of a smarthost exceed or lack what its provider is known to allow. What the configuration itself says
/// of a provider is no doubt.
#[must_use]
pub fn doubts(smarthost: &Smarthost) -> Vec<String> {
    let Some(provider) = known(&smarthost.host).filter(|_| smarthost.provider.is_none()) else {
        return Vec::new();
    };
    let doubt = |limit: &Limit| {
        let (key, name, words) = (limit.key, provider.name, limit.in_words());
        match configured(smarthost, key)? {
            0 => Some(format!(
                "{key} is not set, and {name} is known to allow {words} ({CHECKED}); write {key} = …"
            )),
            value if value > limit.most => {
                Some(format!("{key} = {value} is more than {name} is known to allow: {words} ({CHECKED})"))
            }
            _ => None,
        }
    };
    provider.limits.iter().filter_map(doubt).collect()
}

/// A smarthost's limit by its key: none if there is no such setting or it isn't for us to judge, 0 if nobody thought of it.
fn configured(smarthost: &Smarthost, key: &str) -> Option<u64> {
    let limits = &smarthost.limits;
    // Batches bound every window, and who writes 0 wants none.
    let is_meant = limits.batch.is_some() || smarthost.written.contains(&key);
    let unlimited = if is_meant { None } else { Some(0) };
    match key {
        "connections" => u64::try_from(smarthost.connections).ok(),
        // Without one the smarthost's own SIZE holds.
        "max_size" => smarthost.max_size,
        "per_minute" => limits.per_minute.or(unlimited),
        "per_hour" => limits.per_hour.or(unlimited),
        "per_day" => limits.per_day.or(unlimited),
        _ => None,
    }
}

/// Lower case, without the final dot.
fn plain_host(host: &str) -> String {
    host.trim_end_matches('.').to_ascii_lowercase()
}

/// Whether the host is this domain or in it; an empty domain is everything.
fn is_within(host: &str, domain: &str) -> bool {
    domain.is_empty() || host.strip_suffix(domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;
    use std::path::Path;

    fn shop(text: &str) -> Smarthost {
        let text = format!("[smarthost.shop]\n{text}");
        let loaded = config::parse(Path::new("x.toml"), &text, std::iter::empty());
        let mut config = loaded.unwrap_or_else(|complaints| panic!("{complaints}\n{text}")).config;
        assume(config.smarthosts.values_mut());
        config.smarthosts["shop"].clone()
    }

    /// A limit, what it counts, and whose it is.
    type Told = (&'static str, u64, Count, Option<String>);

    /// Connections, and each limit.
    fn limits(smarthost: &Smarthost) -> (usize, Vec<Told>) {
        let rule = |rule: crate::queue::limits::Rule| (rule.name, rule.most, rule.count, rule.known_of);
        (smarthost.connections, smarthost.limits.rules().into_iter().map(rule).collect())
    }

    const OFFICE: &str = "host = \"smtp.office365.com\"\n";

    #[test]
    fn limits_on_a_providers_page_are_defaults_and_what_the_admin_writes_goes_before() {
        let of = || Some("Microsoft 365".to_owned());
        let (minute, day) =
            (("per_minute", 30, Count::Messages, of()), ("per_day", 10_000, Count::Recipients, of()));
        assert_eq!(limits(&shop(OFFICE)), (3, vec![minute.clone(), day.clone()]));
        let own = "connections = 8\nper_minute = 0\nper_day = 20000\ncount = \"messages\"\n";
        let own = shop(&format!("{OFFICE}{own}"));
        assert_eq!(limits(&own), (8, vec![("per_day", 20_000, Count::Messages, None)]));
        let hour = shop(&format!("{OFFICE}per_hour = 100\n"));
        assert_eq!(limits(&hour), (3, vec![minute, ("per_hour", 100, Count::Recipients, None), day]));
        let hearsay = shop("host = \"smtp.fastmail.com\"\n");
        assert_eq!(limits(&hearsay), (5, vec![]), "hearsay holds nothing back");
        assert_eq!(limits(&shop("host = \"mail.example.com\"\n")), (5, vec![]));
        assert_eq!(
            defaults_in_words(&shop(OFFICE)).unwrap(),
            "by default, as is known of Microsoft 365 (November 2026): per_day = 10000, per_minute = 30 messages, \
             connections = 3; a value of your own, or 0 for none, goes before"
        );
        assert_eq!(defaults_in_words(&own), None);
    }

    #[test]
    fn the_configuration_overrides_what_is_known_of_a_provider() {
        let none = shop(&format!("{OFFICE}[[provider]]\nhost = \"office365.com\"\n"));
        assert_eq!((limits(&none), limits_of(&none), login_of(&none)), ((5, vec![]), None, None));
        let own = "host = \"mail.example.com\"\n[[provider]]\nhost = \"example.com\"\nname = \"Ours\"\nper_hour = 50\n\
                   count = \"messages\"\nconnections = 2\nlogin = \"ask Ann\"\n\
                   [[provider]]\nhost = \"example.net\"\nper_day = 1\n";
        let ours = shop(own);
        assert_eq!(limits(&ours), (2, vec![("per_hour", 50, Count::Messages, Some("Ours".to_owned()))]));
        assert_eq!(login_of(&ours), Some("ask Ann".to_owned()));
        let told = defaults_in_words(&ours).unwrap();
        assert!(
            told.contains("known of Ours (by [[provider]]): connections = 2, per_hour = 50 messages;"),
            "{told}"
        );
    }

    #[test]
    fn limits_that_are_exceeded_or_missing_are_told_and_others_are_not() {
        let doubts = |text: &str| super::doubts(&shop(text));
        assert_eq!(doubts(OFFICE), Vec::<String>::new());
        assert_eq!(doubts("host = \"mail.example.com\"\nconnections = 500\n"), Vec::<String>::new());
        let told = doubts(&format!("{OFFICE}connections = 5\nper_day = 0\n"));
        let many = "connections = 5 is more than Microsoft 365 is known to allow";
        assert!(told.len() == 1 && told[0].starts_with(many), "who writes 0 wants none: {told:?}");
        let told = doubts("host = \"smtp.fastmail.com\"\n");
        let unset = "per_day is not set, and Fastmail is known to allow about 8,000";
        assert!(told[0].starts_with(unset), "{told:?}");
    }

    #[test]
    fn known_limits_are_one_sentence() {
        assert_eq!(limits_of(&shop("host = \"mail.example.com\"\n")), None);
        let gmail = limits_of(&shop("host = \"smtp.gmail.com\"\n")).unwrap();
        assert!(
            gmail.starts_with("Gmail is known to allow 2,000 messages and 3,000 recipients")
                && gmail.ends_with("about 25 MiB a message (unverified) (November 2026)"),
            "{gmail}"
        );
    }
}
