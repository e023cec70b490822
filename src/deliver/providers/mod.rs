//! What is known of providers: who is behind a host, what they allow, and what they mean by their replies.
//!
//! Tables of facts, collected in November 2026 ([`CHECKED`]) from the providers' own pages and from public threads in which
//! people pasted what they were told. They advise and they sort replies; they never hold mail back: a limit acts only when it stands
//! in the configuration. `[[provider_reply]]` tables go before [`replies`], so that a provider's new wording needs no release.

mod hosts;
mod replies;
mod tokens;
#[cfg(test)]
mod real;

pub use crate::config::schema::{Meaning, ProviderReply};
pub use hosts::{Limit, Provider, Server, known};
pub use tokens::token_advice;

use crate::smtp::reply::Reply;

/// The day on which the [pages](Limit::page) of limits were read, in copies that may be older.
pub const READ: &str = "28 November 2026";

/// When the tables were last gone through.
pub const CHECKED: &str = "November 2026";

/// What this host means by this reply, and what to do about it; none if neither `ours` (those of the
/// configuration that concern this host) nor the table knows it.
#[must_use]
pub fn meaning(host: &str, reply: &Reply, ours: &[ProviderReply]) -> Option<(Meaning, Option<&'static str>)> {
    let text = reply.lines.join(" ").to_ascii_lowercase();
    let host = plain_host(host);
    let configured = ours.iter().find(|own| {
        own.code.is_none_or(|code| code == reply.code) && text.contains(&own.text.to_ascii_lowercase())
    });
    match configured {
        // Advice that belongs to a meaning holds whoever sorted the reply.
        Some(own) => Some((own.means, replies::general_advice(own.means))),
        None => replies::find(&host, &text, reply),
    }
}

/// What the provider behind a host is known to allow, in one sentence; none if that isn't known.
#[must_use]
pub fn limits_of(host: &str) -> Option<String> {
    let provider = known(host)?;
    let limits = provider.limits_in_words();
    (!limits.is_empty()).then(|| format!("{} is known to allow {limits} ({CHECKED})", provider.name))
}

/// Where the settings of a smarthost exceed or lack what its provider is known to allow. `configured` tells a limit by its key:
/// none if this release has no such setting or it isn't for us to judge, 0 if it isn't limited.
#[must_use]
pub fn doubts(host: &str, configured: impl Fn(&str) -> Option<u64>) -> Vec<String> {
    let Some(provider) = known(host) else { return Vec::new() };
    let doubt = |limit: &Limit| {
        let (key, name, words) = (limit.key, provider.name, limit.in_words());
        match configured(key)? {
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

    #[test]
    fn limits_that_are_exceeded_or_missing_are_told_and_others_are_not() {
        let with = |connections, per_day| {
            move |key: &str| match key {
                "connections" => Some(connections),
                "per_day" => Some(per_day),
                _ => None,
            }
        };
        let doubts = |host, connections, per_day| super::doubts(host, with(connections, per_day));
        assert_eq!(doubts("smtp.office365.com", 3, 9_999), Vec::<String>::new());
        assert_eq!(doubts("mail.example.com", 500, 0), Vec::<String>::new());
        let told = doubts("smtp.office365.com", 5, 0);
        assert!(
            told[0].starts_with("per_day is not set, and Microsoft 365 is known to allow 10,000"),
            "{told:?}"
        );
        assert!(
            told[1].starts_with("connections = 5 is more than Microsoft 365 is known to allow"),
            "{told:?}"
        );
        assert_eq!(told.len(), 2);
    }

    #[test]
    fn known_limits_are_one_sentence() {
        assert_eq!(limits_of("mail.example.com"), None);
        let gmail = limits_of("smtp.gmail.com").unwrap();
        assert!(
            gmail.starts_with("Gmail is known to allow 2,000 messages and 3,000 recipients")
                && gmail.ends_with("about 25 MiB a message (unverified) (November 2026)"),
            "{gmail}"
        );
    }
}
