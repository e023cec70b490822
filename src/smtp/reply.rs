//! Replies: what either side of SMTP says back (RFC 5321 §4.2, RFC 3463).

use std::borrow::Cow;

/// A reply code with its enhanced status code and text lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// 200 to 599.
    pub code: u16,
    /// RFC 3463 `class.subject.detail`; none where the peer sent none, and in greetings, EHLO and 3yz replies.
    pub enhanced: Option<Enhanced>,
    /// The text of each line, without codes. At least one; octets that aren't UTF-8 stand as `\xNN`.
    pub lines: Vec<Cow<'static, str>>,
}

/// An RFC 3463 status code: `4.3.1` is `Enhanced(4, 3, 1)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Enhanced(pub u8, pub u16, pub u16);

impl Reply {
    /// Whether the command was carried out (2yz).
    #[must_use]
    pub fn is_positive(&self) -> bool {
        (200..300).contains(&self.code)
    }

    /// Whether more input is awaited (3yz).
    #[must_use]
    pub fn is_intermediate(&self) -> bool {
        (300..400).contains(&self.code)
    }

    /// Whether the same may succeed later (4yz).
    #[must_use]
    pub fn is_transient(&self) -> bool {
        (400..500).contains(&self.code)
    }

    /// Whether the same will never succeed (5yz).
    #[must_use]
    pub fn is_permanent(&self) -> bool {
        (500..600).contains(&self.code)
    }
}

impl std::fmt::Display for Reply {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.code)
    }
}

/// Why what came is no reply (RFC 5321 §4.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum ReplyError {
    /// A line doesn't begin with a code from 200 to 599 and a space, hyphen or line end.
    #[error("no reply code")]
    NoCode,
}
