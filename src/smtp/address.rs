//! Mail addresses as the wire carries them (RFC 5321 §4.1.2, RFC 6531 §3.3).
//!
//! An [`Address`] keeps the exact characters that came in, checked once, so that writing it back into
//! `MAIL FROM:<…>` or `RCPT TO:<…>` can't inject anything. Nothing in it is ever decoded or unquoted.

/// A checked `Local-part@Domain`, with the exact characters of its source.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Address {
    text: Box<str>,
    /// Byte index of the `@` that parts local part and domain.
    at: usize,
}

impl Address {
    /// The part before the last `@`, quotes included.
    #[must_use]
    pub fn local(&self) -> &str {
        self.text.get(..self.at).unwrap_or_default()
    }

    /// The part behind the `@`: a domain name or an address literal in brackets.
    #[must_use]
    pub fn domain(&self) -> &str {
        self.text.get(self.at + 1..).unwrap_or_default()
    }

    /// The whole address, without angle brackets.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether it can travel without SMTPUTF8 (RFC 6531 §3.3).
    #[must_use]
    pub fn is_ascii(&self) -> bool {
        self.text.is_ascii()
    }
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::fmt::Debug for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "<{}>", self.text)
    }
}

/// Why a text is no address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not an address")]
pub struct AddressError;

impl Address {
    /// Checks `Local-part@Domain`; characters beyond ASCII only with `utf8`.
    ///
    /// # Errors
    ///
    /// When it could not stand between angle brackets.
    pub fn parse(text: &str, utf8: bool) -> Result<Self, AddressError> {
        let at = text.rfind('@').ok_or(AddressError)?;
        let clean = |c: char| {
            !c.is_whitespace()
                && !c.is_control()
                && !matches!(c, '<' | '>' | ',' | '(' | ')')
                && (utf8 || c.is_ascii())
        };
        let domain = text.get(at + 1..).unwrap_or_default();
        if at == 0 || at > 64 || domain.is_empty() || domain.contains("..") || !text.chars().all(clean) {
            return Err(AddressError);
        }
        Ok(Self { text: text.into(), at })
    }
}
