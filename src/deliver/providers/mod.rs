//! What is known of providers: who is behind a host, what they allow, and what they mean by their replies.
//!
//! Tables of facts, collected in November 2026 ([`CHECKED`]) from the providers' own pages and from public threads in which
//! people pasted what they were told. They advise and they sort replies; they never hold mail back: a limit acts only when it stands
//! in the configuration. `[[provider_reply]]` tables go before [`replies`], so that a provider's new wording needs no release.

mod hosts;
mod replies;
#[cfg(test)]
mod real;

pub use crate::config::schema::{Meaning, ProviderReply};
pub use hosts::{Limit, Provider, Server, known};

use crate::smtp::reply::Reply;

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

/// Lower case, without the final dot.
fn plain_host(host: &str) -> String {
    host.trim_end_matches('.').to_ascii_lowercase()
}

/// Whether the host is this domain or in it; an empty domain is everything.
fn is_within(host: &str, domain: &str) -> bool {
    domain.is_empty() || host.strip_suffix(domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}
