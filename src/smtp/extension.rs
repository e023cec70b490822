//! Our EHLO answer: the extensions, listed only while they work (RFC 5321 §4.1.1.1).

use super::reply::Reply;
use super::sasl::MECHANISMS;
use super::server::Steering;
use std::borrow::Cow;

/// What a session can do at this moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Offer<'a> {
    /// Our name.
    pub hostname: &'a str,
    /// `SIZE` (RFC 1870).
    pub max_message_size: u64,
    /// `LIMITS RCPTMAX` (RFC 9422).
    pub max_recipients: usize,
    /// `STARTTLS` (RFC 3207): offered, and not done yet.
    pub starttls: bool,
    /// `AUTH` (RFC 4954): allowed on this channel, and not done yet.
    pub auth: bool,
    /// `FUTURERELEASE` (RFC 4865) and `MT-PRIORITY` (RFC 6710): this client may steer.
    pub steering: Option<Steering>,
}

impl Offer<'_> {
    /// The reply to EHLO. It carries no enhanced code (RFC 2034 §4).
    #[must_use]
    pub fn announce(&self) -> Reply {
        let mut lines: Vec<Cow<'static, str>> = Vec::with_capacity(13);
        lines.push(self.hostname.to_owned().into());
        lines.push("PIPELINING".into());
        lines.push(format!("SIZE {}", self.max_message_size).into());
        lines.extend(["8BITMIME", "SMTPUTF8", "CHUNKING", "DSN", "ENHANCEDSTATUSCODES"].map(Cow::from));
        lines.push(format!("LIMITS RCPTMAX={}", self.max_recipients).into());
        if let Some(Steering { longest, latest, .. }) = self.steering {
            // RFC 4865: both limits, in this order.
            let latest = latest.strftime("%Y-%m-%dT%H:%M:%SZ");
            lines.push(format!("FUTURERELEASE {longest} {latest}").into());
            lines.push("MT-PRIORITY".into());
        }
        if self.starttls {
            lines.push("STARTTLS".into());
        }
        if self.auth {
            lines.push(format!("AUTH {MECHANISMS}").into());
        }
        Reply { code: 250, enhanced: None, lines }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_work_now_is_not_listed() {
        let offer = Offer {
            hostname: "relay.example",
            max_message_size: 100,
            max_recipients: 7,
            starttls: false,
            auth: false,
            steering: None,
        };
        let plain = "relay.example PIPELINING SIZE 100 8BITMIME SMTPUTF8 CHUNKING DSN ENHANCEDSTATUSCODES LIMITS RCPTMAX=7";
        assert_eq!(offer.announce().lines.join(" "), plain);
        let latest = "2026-12-22T15:40:12.5Z".parse().unwrap();
        let steering = Some(Steering { without_login: true, longest: 2_592_000, latest });
        let all = Offer { starttls: true, auth: true, steering, ..offer };
        let more = "FUTURERELEASE 2592000 2026-12-22T15:40:12Z MT-PRIORITY STARTTLS AUTH PLAIN LOGIN";
        assert_eq!(all.announce().lines.join(" "), format!("{plain} {more}"));
    }
}
