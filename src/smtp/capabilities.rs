//! What a server offers: its answer to EHLO, parsed (RFC 5321 §4.1.1.1).
//!
//! Keywords are compared without regard to case; what isn't known is skipped; a later line wins over an earlier one.

use crate::smtp::reply::Reply;

/// The extensions a server named in its last EHLO reply. Nothing after HELO.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is an independent EHLO keyword, not a state")]
pub struct Capabilities {
    /// PIPELINING (RFC 2920).
    pub pipelining: bool,
    /// 8BITMIME (RFC 6152).
    pub eight_bit_mime: bool,
    /// SMTPUTF8 (RFC 6531).
    pub smtputf8: bool,
    /// CHUNKING (RFC 3030).
    pub chunking: bool,
    /// DSN (RFC 3461).
    pub dsn: bool,
    /// ENHANCEDSTATUSCODES (RFC 2034).
    pub enhanced_status_codes: bool,
    /// STARTTLS (RFC 3207).
    pub starttls: bool,
    /// SIZE (RFC 1870).
    pub size: SizeLimit,
    /// AUTH mechanisms, in capitals, in the server's order (RFC 4954).
    pub auth: Vec<Box<str>>,
    /// LIMITS RCPTMAX: recipients per transaction (RFC 9422).
    pub recipients_max: Option<usize>,
    /// LIMITS MAILMAX: transactions per connection (RFC 9422).
    pub mails_max: Option<u64>,
}

/// SIZE as offered (RFC 1870 §4).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum SizeLimit {
    /// Not offered: `SIZE=` must not be sent.
    #[default]
    NotOffered,
    /// Offered without a number, or with 0: no fixed limit.
    Unlimited,
    /// Octets.
    Octets(u64),
}

impl Capabilities {
    /// Reads them from the 250 to EHLO; the first line is the server's name.
    #[must_use]
    pub fn from_reply(reply: &Reply) -> Self {
        let mut this = Self::default();
        for line in reply.lines.iter().skip(1) {
            this.add(line);
        }
        this
    }

    /// Whether this AUTH mechanism is offered.
    #[must_use]
    pub fn offers_auth(&self, mechanism: &str) -> bool {
        self.auth.iter().any(|offered| offered.eq_ignore_ascii_case(mechanism))
    }

    fn add(&mut self, line: &str) {
        let mut words = line.split([' ', '\t']).filter(|word| !word.is_empty());
        let Some(keyword) = words.next() else { return };
        match keyword.to_ascii_uppercase().as_str() {
            "PIPELINING" => self.pipelining = true,
            "8BITMIME" => self.eight_bit_mime = true,
            "SMTPUTF8" => self.smtputf8 = true,
            "CHUNKING" => self.chunking = true,
            "DSN" => self.dsn = true,
            "ENHANCEDSTATUSCODES" => self.enhanced_status_codes = true,
            "STARTTLS" => self.starttls = true,
            "SIZE" => {
                self.size = match words.next().map(str::parse) {
                    Some(Ok(octets)) if octets > 0 => SizeLimit::Octets(octets),
                    _ => SizeLimit::Unlimited,
                }
            }
            "AUTH" => self.add_auth(words),
            "LIMITS" => words.for_each(|word| self.add_limit(word)),
            // Deviation: `AUTH=LOGIN`, from a draft before RFC 2554, is all that some old servers say.
            other => {
                if let Some(first) = other.strip_prefix("AUTH=") {
                    self.add_auth(std::iter::once(first).chain(words));
                }
            }
        }
    }

    fn add_auth<'a>(&mut self, words: impl Iterator<Item = &'a str>) {
        for word in words {
            if !word.is_empty() && !self.offers_auth(word) && self.auth.len() < 32 {
                self.auth.push(word.to_ascii_uppercase().into_boxed_str());
            }
        }
    }

    fn add_limit(&mut self, word: &str) {
        let Some((name, value)) = word.split_once('=') else { return };
        if name.eq_ignore_ascii_case("RCPTMAX") {
            self.recipients_max = value.parse().ok().filter(|most| *most > 0);
        } else if name.eq_ignore_ascii_case("MAILMAX") {
            self.mails_max = value.parse().ok().filter(|most| *most > 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offered(lines: &[&str]) -> Capabilities {
        let mut all = vec!["mx.test".to_owned().into()];
        all.extend(lines.iter().map(|line| (*line).to_owned().into()));
        Capabilities::from_reply(&Reply { code: 250, enhanced: None, lines: all })
    }

    #[test]
    fn keywords_are_known_in_any_case() {
        let all = offered(&[
            "pipelining",
            "Size 10485760",
            "8bitmime",
            "SmtpUtf8",
            "chunking",
            "dsn",
            "EnhancedStatusCodes",
            "starttls",
            "auth plain Login CRAM-MD5",
            "limits rcptmax=50 MAILMAX=20 foo=1",
            "X-UNKNOWN 1",
        ]);
        let expected = Capabilities {
            pipelining: true,
            eight_bit_mime: true,
            smtputf8: true,
            chunking: true,
            dsn: true,
            enhanced_status_codes: true,
            starttls: true,
            size: SizeLimit::Octets(10_485_760),
            auth: vec!["PLAIN".into(), "LOGIN".into(), "CRAM-MD5".into()],
            recipients_max: Some(50),
            mails_max: Some(20),
        };
        assert_eq!(all, expected);
    }

    #[test]
    fn the_first_line_is_a_name_even_if_it_looks_like_a_keyword() {
        let reply = Reply { code: 250, enhanced: None, lines: vec!["PIPELINING".into()] };
        assert_eq!(Capabilities::from_reply(&reply), Capabilities::default());
    }

    #[test]
    fn the_old_auth_line_with_an_equals_sign_counts() {
        let old = offered(&["AUTH=LOGIN PLAIN", "AUTH LOGIN"]);
        assert_eq!(old.auth, ["LOGIN".into(), "PLAIN".into()]);
    }

    #[test]
    fn size_without_a_number_or_with_zero_or_nonsense_is_no_limit() {
        for line in ["SIZE", "SIZE 0", "SIZE x", "SIZE 99999999999999999999999999"] {
            assert_eq!(offered(&[line]).size, SizeLimit::Unlimited, "{line}");
        }
        assert_eq!(offered(&[]).size, SizeLimit::NotOffered);
    }
}
