//! What comes on standard input becomes a message: lines end in CRLF, a From field is there, addresses have a domain, and
//! recipients are found. Pure.

use crate::message::decode;
use crate::message::fields::{HeaderSection, Separator};
use crate::message::rewrite::list::AddressList;
use crate::message::rewrite::phrase::{self, Phrase};
use crate::smtp::address::Address;

/// Fields of mailboxes that leave with the message (RFC 5322 §3.6).
const ADDRESSES: [&str; 9] =
    ["From", "Sender", "Reply-To", "To", "Cc", "Resent-From", "Resent-Sender", "Resent-To", "Resent-Cc"];

/// Characters of a full name that are kept.
const MOST_NAME: usize = 100;

/// What is known of the person who sends.
#[derive(Debug, Clone, Copy)]
pub(super) struct Author<'a> {
    /// The envelope's sender.
    pub(super) address: Option<&'a Address>,
    /// The full name, if there is one.
    pub(super) name: Option<&'a str>,
}

/// Octets as a program writes them, with each line end made CRLF. Unless `ignores_dots`, a line with a dot alone ends
/// the message. A first line as mailbox files have it (`From ann Sun …`) is left out.
pub(in crate::cli) fn content(raw: &[u8], ignores_dots: bool) -> Vec<u8> {
    let mut content = Vec::with_capacity(raw.len() + raw.len() / 32);
    let mut rest = raw;
    let mut is_first = true;
    while !rest.is_empty() {
        let end = memchr::memchr2(b'\n', b'\r', rest).unwrap_or(rest.len());
        let (line, behind) = rest.split_at_checked(end).unwrap_or((rest, &[]));
        rest = behind.strip_prefix(b"\r\n").or(behind.get(1..)).unwrap_or_default();
        if line == b"." && !ignores_dots {
            break;
        }
        if !std::mem::take(&mut is_first) || !is_mailbox_line(line) {
            content.extend_from_slice(line);
            content.extend_from_slice(b"\r\n");
        }
    }
    content
}

/// `From ann Sun …`; not `From : ann@x.test`, a field in an obsolete form (RFC 5322 §4.5).
fn is_mailbox_line(line: &[u8]) -> bool {
    line.strip_prefix(b"From ").is_some_and(|rest| !rest.trim_ascii_start().starts_with(b":"))
}

/// An address as it stands on a command line or in a field; a name alone is one of this host.
///
/// # Errors
/// A sentence that says what is wrong with it.
pub(in crate::cli) fn qualify(text: &str, hostname: &str) -> Result<Address, String> {
    let text = text.trim();
    let inner = text.strip_prefix('<').and_then(|text| text.strip_suffix('>')).unwrap_or(text);
    let whole = if inner.contains('@') { inner.to_owned() } else { format!("{inner}@{hostname}") };
    Address::parse(&whole, true).map_err(|why| format!("\"{text}\" is not an address: {why}"))
}

/// Whom the header names: To, Cc and Bcc, or those of the latest resending (RFC 5322 §3.6.6). Whoever stands in
/// `but` gets no copy, as with the sendmails that had `-t` first.
///
/// # Errors
/// What stands there and is no address.
pub(in crate::cli) fn recipients(
    header: &HeaderSection<'_>,
    but: &[Address],
    hostname: &str,
) -> Result<Vec<Address>, String> {
    let resent = ["Resent-To", "Resent-Cc", "Resent-Bcc"];
    let is_resent = resent.iter().any(|name| header.named(name).next().is_some());
    let names = if is_resent { resent } else { ["To", "Cc", "Bcc"] };
    let mut found: Vec<Address> = Vec::new();
    for name in names {
        for text in header.named(name).flat_map(|field| decode::mailboxes(&field.value())) {
            let address = qualify(&text, hostname).map_err(|why| format!("{name}: {why}"))?;
            if !but.contains(&address) && !found.contains(&address) {
                found.push(address);
            }
        }
    }
    Ok(found)
}

/// The message with this host's name behind each name alone in its fields of mailboxes: elsewhere `root` is somebody
/// else, or nobody (RFC 6409 §4.2, §8). All else stays byte for byte.
pub(super) fn qualified(content: Vec<u8>, hostname: &str) -> Vec<u8> {
    let header = HeaderSection::of(&content);
    let named = header.fields().filter(|field| ADDRESSES.iter().any(|name| field.is_named(name)));
    let places: Vec<usize> = named
        .flat_map(|field| {
            let value = field.raw_value();
            let start = field.range().end - value.len();
            AddressList::unqualified(value).into_iter().map(move |at| start + at)
        })
        .collect();
    if places.is_empty() {
        return content;
    }
    let mut out = Vec::with_capacity(content.len() + places.len() * (hostname.len() + 1));
    let mut from = 0;
    for at in places {
        out.extend_from_slice(content.get(from..at).unwrap_or_default());
        out.push(b'@');
        out.extend_from_slice(hostname.as_bytes());
        from = at;
    }
    out.extend_from_slice(content.get(from..).unwrap_or_default());
    out
}

/// The message with a From field, if it has none (RFC 5322 §3.6.2 wants one).
pub(super) fn signed(content: Vec<u8>, author: Author<'_>, hostname: &str) -> Vec<u8> {
    let header = HeaderSection::of(&content);
    let lacks = |name: &str| header.named(name).next().is_none();
    let mut top = Vec::new();
    if lacks("From") {
        // Mail from nobody is from this host's mailer, as a bounce is.
        let address = author.address.map_or_else(|| format!("MAILER-DAEMON@{hostname}"), ToString::to_string);
        let name = author.name.map(|name| decode::clean(name, MOST_NAME));
        let mailbox = match name.and_then(|name| Phrase::of_text(name.trim())) {
            Some(name) => format!("{} <{address}>", name.written()),
            None => address,
        };
        top = phrase::field("From", &mailbox);
    }
    if header.separator() == Separator::Missing {
        top.extend_from_slice(b"\r\n");
    }
    if top.is_empty() { content } else { [top, content].concat() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(octets: Vec<u8>) -> String {
        String::from_utf8(octets).unwrap()
    }

    #[test]
    fn every_line_end_becomes_crlf_and_a_dot_ends_only_when_asked() {
        for (raw, dots, expected) in [
            ("a\nb\n", true, "a\r\nb\r\n"),
            ("a\r\nb\rc", true, "a\r\nb\r\nc\r\n"),
            ("a\n\n\nb", true, "a\r\n\r\n\r\nb\r\n"),
            ("a\n.\nb\n", true, "a\r\n.\r\nb\r\n"),
            ("a\n.\nb\n", false, "a\r\n"),
            ("a\n..\n .\n. \nb", false, "a\r\n..\r\n .\r\n. \r\nb\r\n"),
            (".\n", false, ""),
            ("", true, ""),
            ("From ann Sun Nov 22\nTo: x\n", true, "To: x\r\n"),
            ("From : ann@x.test\nTo: x\n", true, "From : ann@x.test\r\nTo: x\r\n"),
            ("From \t: ann@x.test\n", true, "From \t: ann@x.test\r\n"),
            ("To: x\nFrom ann\n", true, "To: x\r\nFrom ann\r\n"),
        ] {
            assert_eq!(text(content(raw.as_bytes(), dots)), expected, "{raw:?}");
        }
    }

    #[test]
    fn recipients_come_from_the_header_but_not_those_on_the_command_line() {
        let all = |header: &str, but: &[&str]| {
            let but: Vec<Address> = but.iter().map(|text| qualify(text, "here.test").unwrap()).collect();
            let found = recipients(&HeaderSection::of(header.as_bytes()), &but, "here.test");
            found.map(|found| found.iter().map(ToString::to_string).collect::<Vec<_>>())
        };
        let strings = |list: &[&str]| Ok(list.iter().map(|each| (*each).to_owned()).collect());
        let header =
            "To: Ana <ana@x.test>, root\r\nCc: bob@x.test\r\n , ana@x.test\r\nbcc: eve@x.test\r\n\r\n";
        assert_eq!(all(header, &[]), strings(&["ana@x.test", "root@here.test", "bob@x.test", "eve@x.test"]));
        assert_eq!(all(header, &["root", "bob@x.test"]), strings(&["ana@x.test", "eve@x.test"]));
        let resent = format!("Resent-To: kim@x.test\r\n{header}");
        assert_eq!(all(&resent, &[]), strings(&["kim@x.test"]));
        assert_eq!(all("To: undisclosed-recipients:;\r\n\r\n", &[]), strings(&[]));
        assert!(all("To: ana@@x.test\r\n\r\n", &[]).is_err());
    }

    #[test]
    fn names_alone_in_fields_of_mailboxes_are_of_this_host_and_nothing_else_changes() {
        let with = |raw: &str| text(qualified(raw.as_bytes().to_vec(), "here.test"));
        assert_eq!(
            with(
                "From: root (Cron Daemon)\r\nX-From: root\r\nto :\tadmin,\r\n  Ana  <ana@x.test>\r\nSubject: root\r\n\r\nTo: root\r\n"
            ),
            "From: root@here.test (Cron Daemon)\r\nX-From: root\r\nto :\tadmin@here.test,\r\n  Ana  <ana@x.test>\r\nSubject: root\r\n\r\nTo: root\r\n"
        );
        for name in ADDRESSES {
            assert_eq!(with(&format!("{name}: Op <op>\r\n")), format!("{name}: Op <op@here.test>\r\n"));
        }
        let whole = "From: a@x.test\r\nTo: undisclosed-recipients:;\r\n\r\nhi\r\n";
        assert_eq!(with(whole), whole);
    }

    #[test]
    fn a_message_without_a_from_field_gets_one() {
        let ann = qualify("ann@x.test", "here.test").unwrap();
        let with = |raw: &str, address: Option<&Address>, name: Option<&str>| {
            text(signed(raw.as_bytes().to_vec(), Author { address, name }, "here.test"))
        };
        for (raw, name, expected) in [
            ("To: x\r\n\r\nhi\r\n", None, "From: ann@x.test\r\nTo: x\r\n\r\nhi\r\n"),
            ("To: x\r\n\r\n", Some("Ann Lee"), "From: Ann Lee <ann@x.test>\r\nTo: x\r\n\r\n"),
            ("To: x\r\n\r\n", Some("Lee, \"A\""), "From: \"Lee, \\\"A\\\"\" <ann@x.test>\r\nTo: x\r\n\r\n"),
            ("To: x\r\n\r\n", Some("a\r\nBcc: b"), "From: \"aBcc: b\" <ann@x.test>\r\nTo: x\r\n\r\n"),
            ("To: x\r\n\r\n", Some("Żółw"), "From: =?utf-8?b?xbvDs8WCdw==?= <ann@x.test>\r\nTo: x\r\n\r\n"),
            ("just text\r\n", None, "From: ann@x.test\r\n\r\njust text\r\n"),
            ("", None, "From: ann@x.test\r\n\r\n"),
            ("from: b@x.test\r\n\r\n", Some("Ann"), "from: b@x.test\r\n\r\n"),
        ] {
            assert_eq!(with(raw, Some(&ann), name), expected, "{raw:?}");
        }
        let long = with("To: x\r\n\r\n", Some(&ann), Some(&"ż".repeat(100)));
        assert!(long.lines().all(|line| line.len() <= 76), "RFC 2047 §2: {long}");
        assert_eq!(with("To: x\r\n\r\n", None, None), "From: MAILER-DAEMON@here.test\r\nTo: x\r\n\r\n");
    }
}
