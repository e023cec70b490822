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
    /// A reply of one line.
    #[must_use]
    pub fn new(code: u16, enhanced: Option<Enhanced>, text: impl Into<Cow<'static, str>>) -> Self {
        Self { code, enhanced, lines: vec![text.into()] }
    }

    /// Appends all lines as the wire carries them, each ended by CRLF (RFC 5321 §4.2.1, RFC 2034 §4).
    pub fn write_to(&self, out: &mut Vec<u8>) {
        let last = self.lines.len().saturating_sub(1);
        for (number, line) in self.lines.iter().enumerate() {
            out.extend_from_slice(self.code.to_string().as_bytes());
            out.push(if number == last { b' ' } else { b'-' });
            if let Some(Enhanced(class, subject, detail)) = self.enhanced {
                out.extend_from_slice(format!("{class}.{subject}.{detail} ").as_bytes());
            }
            out.extend_from_slice(line.as_bytes());
            out.extend_from_slice(b"\r\n");
        }
    }

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
