//! Our EHLO answer: the extensions, listed only while they work (RFC 5321 §4.1.1.1).

use super::reply::Reply;
use super::sasl::MECHANISMS;
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
}

impl Offer<'_> {
    /// The reply to EHLO. It carries no enhanced code (RFC 2034 §4).
    #[must_use]
    pub fn announce(&self) -> Reply {
        let mut lines: Vec<Cow<'static, str>> = Vec::with_capacity(11);
        lines.push(self.hostname.to_owned().into());
        lines.push("PIPELINING".into());
        lines.push(format!("SIZE {}", self.max_message_size).into());
        lines.extend(["8BITMIME", "SMTPUTF8", "CHUNKING", "DSN", "ENHANCEDSTATUSCODES"].map(Cow::from));
        lines.push(format!("LIMITS RCPTMAX={}", self.max_recipients).into());
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
        };
        let plain = "relay.example PIPELINING SIZE 100 8BITMIME SMTPUTF8 CHUNKING DSN ENHANCEDSTATUSCODES LIMITS RCPTMAX=7";
        assert_eq!(offer.announce().lines.join(" "), plain);
        let all = Offer { starttls: true, auth: true, ..offer };
        assert_eq!(all.announce().lines.join(" "), format!("{plain} STARTTLS AUTH PLAIN LOGIN"));
    }
}
