//! A Reply-To of ours on a message that says nothing of where answers go (RFC 5322 §3.6.2).

use super::phrase;
use super::{Edits, signature};
use crate::message::fields::HeaderSection;

/// Asks for answers at this address (US-ASCII), and tells the change in words; none when the message has a Reply-To or
/// its header section ends within one.
#[must_use]
pub fn ask_at(header: &HeaderSection<'_>, address: &str) -> Option<(Edits, Vec<String>)> {
    const NAME: &str = "Reply-To";
    let is_cut = header.unfinished().is_some_and(|name| name.eq_ignore_ascii_case(NAME.as_bytes()));
    if is_cut || header.named(NAME).next().is_some() || !address.is_ascii() {
        return None;
    }
    let mut edits = Edits::default();
    edits.append(header, &phrase::field(NAME, address));
    let mut changes = vec![format!("{NAME}: {address} added, so that answers find their conversation")];
    changes.extend(signature::broken(header, &[NAME]));
    Some((edits, changes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(message: &str) -> Option<(String, Vec<String>)> {
        let header = HeaderSection::of(message.as_bytes());
        let (edits, changes) = ask_at(&header, "inbox+r-abc@u.example")?;
        let head = edits.head(message.as_bytes());
        let rest = &message.as_bytes()[head.replaces..];
        Some((String::from_utf8([head.octets.as_slice(), rest].concat()).unwrap(), changes))
    }

    #[test]
    fn answers_are_asked_for_where_the_message_does_not_say() {
        let (message, changes) = asked("From: a@x.example\r\n\r\nHi\r\n").unwrap();
        assert_eq!(message, "From: a@x.example\r\nReply-To: inbox+r-abc@u.example\r\n\r\nHi\r\n");
        assert_eq!(
            changes,
            ["Reply-To: inbox+r-abc@u.example added, so that answers find their conversation"]
        );
        assert_eq!(asked("From: a@x.example\r\nreply-to: b@x.example\r\n\r\nHi\r\n"), None);
    }

    #[test]
    fn a_signature_that_forbids_it_is_told() {
        let (_, changes) =
            asked("DKIM-Signature: v=1; d=x.example; h=from:reply-to; b=\r\nFrom: a@x.example\r\n\r\n")
                .unwrap();
        assert!(changes[1].contains("the DKIM signature of x.example no longer holds"), "{changes:?}");
    }
}
