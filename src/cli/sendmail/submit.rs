//! Handing a message to the daemon by SMTP, over whatever connection there is (RFC 5321 §3.3, blocking).
//!
//! Promises: a message was taken when its reply is returned, and only then. More recipients than the server takes at
//! once go as several messages. What can fail: the connection, and the server's refusal in its own words.

use crate::cli::{BAD_DATA, Failure, NOT_ALLOWED, TRY_LATER};
use crate::message::fields::HeaderSection;
use crate::message::{convert, decode};
use crate::smtp::address::Address;
use crate::smtp::command::{Notify, Ret};
use std::io::{self, BufRead, BufReader, Read, Write};

/// Recipients of one message when the server doesn't say how many it takes (RFC 5321 §4.5.3.1.8).
const USUAL_RECIPIENTS: usize = 100;

/// Fields of mailboxes that are shown (RFC 5322 §3.6).
const ADDRESSES: [&str; 5] = ["From", "Sender", "Reply-To", "To", "Cc"];

/// An open session.
pub(super) struct Session<W> {
    wire: BufReader<W>,
    /// The server's name for itself.
    pub(super) hostname: String,
    recipients_at_once: usize,
}

/// A message's envelope.
#[derive(Debug)]
pub(super) struct Envelope<'a> {
    pub(super) sender: Option<&'a Address>,
    pub(super) recipients: &'a [Address],
    pub(super) notify: Option<Notify>,
    pub(super) ret: Option<Ret>,
    pub(super) envid: Option<&'a str>,
}

/// A reply: its code, and its lines without their codes.
struct Reply {
    code: u16,
    lines: Vec<String>,
}

impl<W: Read + Write> Session<W> {
    /// Reads the greeting and says EHLO.
    pub(super) fn begin(wire: BufReader<W>) -> Result<Self, Failure> {
        let mut session = Self { wire, hostname: String::new(), recipients_at_once: USUAL_RECIPIENTS };
        session.expect(2)?;
        session.send(b"EHLO localhost\r\n")?;
        let reply = session.expect(2)?;
        session.hostname = reply.lines.first().cloned().unwrap_or_default();
        let limit = reply.lines.iter().find_map(|line| line.strip_prefix("LIMITS RCPTMAX="));
        if let Some(limit) = limit.and_then(|limit| limit.parse().ok()) {
            session.recipients_at_once = limit;
        }
        Ok(session)
    }

    /// Hands in one message; what the server said, once for each group of recipients.
    pub(super) fn submit(&mut self, envelope: &Envelope<'_>, content: &[u8]) -> Result<Vec<String>, Failure> {
        let groups = envelope.recipients.chunks(self.recipients_at_once.max(1));
        groups.map(|recipients| self.transaction(envelope, recipients, content)).collect()
    }

    fn transaction(
        &mut self,
        envelope: &Envelope<'_>,
        recipients: &[Address],
        content: &[u8],
    ) -> Result<String, Failure> {
        self.send(mail(envelope, recipients, content).as_bytes())?;
        self.expect(2)?;
        for recipient in recipients {
            let notify = envelope.notify.map(notify_parameter).unwrap_or_default();
            self.send(format!("RCPT TO:<{recipient}>{notify}\r\n").as_bytes())?;
            self.expect(2)?;
        }
        self.send(b"DATA\r\n")?;
        self.expect(3)?;
        self.send(&stuffed(content))?;
        let reply = self.expect(2)?;
        Ok(format!("{} {}", reply.code, reply.lines.join(" ")))
    }

    /// Ends the session; the connection, for whoever waits for its end.
    pub(super) fn quit(mut self) {
        // Everything is settled; whether the goodbye arrives doesn't matter.
        if self.send(b"QUIT\r\n").is_ok() {
            let _ = self.reply();
        }
    }

    fn send(&mut self, octets: &[u8]) -> Result<(), Failure> {
        let wire = self.wire.get_mut();
        wire.write_all(octets).and_then(|()| wire.flush()).map_err(|cause| lost(&cause))
    }

    /// The next reply, if its code begins with this digit.
    fn expect(&mut self, class: u16) -> Result<Reply, Failure> {
        let reply = self.reply()?;
        if reply.code / 100 == class {
            return Ok(reply);
        }
        let text = format!("sendmail: not taken: {} {}", reply.code, reply.lines.join(" "));
        Err(Failure::new(
            match reply.code {
                400..=499 => TRY_LATER,
                530..=538 | 550 => NOT_ALLOWED,
                _ => BAD_DATA,
            },
            text,
        ))
    }

    fn reply(&mut self) -> Result<Reply, Failure> {
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            let count = self.wire.read_line(&mut line).map_err(|cause| lost(&cause))?;
            let code = line.get(..3).and_then(|code| code.parse().ok());
            let (Some(code), 1..) = (code, count) else {
                return Err(lost(&io::Error::from(io::ErrorKind::UnexpectedEof)));
            };
            lines.push(line.get(4..).unwrap_or_default().trim_end().to_owned());
            if line.as_bytes().get(3) != Some(&b'-') {
                return Ok(Reply { code, lines });
            }
        }
    }
}

fn lost(cause: &io::Error) -> Failure {
    Failure::new(TRY_LATER, format!("sendmail: lost the daemon before it took the message: {cause}"))
}

fn mail(envelope: &Envelope<'_>, recipients: &[Address], content: &[u8]) -> String {
    let sender = envelope.sender.map(ToString::to_string).unwrap_or_default();
    let mut line = format!("MAIL FROM:<{sender}> SIZE={}", content.len());
    if !content.is_ascii() {
        line.push_str(" BODY=8BITMIME");
    }
    let mut addresses = envelope.sender.into_iter().chain(recipients);
    if addresses.any(|address| !address.is_ascii()) || is_internationalized(&HeaderSection::of(content)) {
        line.push_str(" SMTPUTF8");
    }
    match envelope.ret {
        Some(Ret::Full) => line.push_str(" RET=FULL"),
        Some(Ret::Headers) => line.push_str(" RET=HDRS"),
        None => {}
    }
    if let Some(envid) = envelope.envid {
        line.push_str(&format!(" ENVID={}", xtext(envid)));
    }
    line.push_str("\r\n");
    line
}

/// Whether a header section is one of RFC 6532: UTF-8, with an address that only SMTPUTF8 carries, or text that can be encoded
/// for a smarthost without it. Anything else would come back from such a smarthost, and goes on as it is without the word:
/// Latin-1 above all.
fn is_internationalized(header: &HeaderSection<'_>) -> bool {
    let octets = header.octets();
    if octets.is_ascii() || std::str::from_utf8(octets).is_err() {
        return false;
    }
    let fields = ADDRESSES.into_iter().flat_map(|name| header.named(name));
    let mut addresses = fields.flat_map(|field| decode::addresses(&field.value()));
    addresses.any(|address| !address.is_ascii()) || convert::to_seven_bit(octets).is_ok()
}

fn notify_parameter(notify: Notify) -> String {
    let words = [(notify.success, "SUCCESS"), (notify.failure, "FAILURE"), (notify.delay, "DELAY")];
    let wished: Vec<&str> = words.into_iter().filter(|(wished, _)| *wished).map(|(_, word)| word).collect();
    if wished.is_empty() { " NOTIFY=NEVER".to_owned() } else { format!(" NOTIFY={}", wished.join(",")) }
}

/// RFC 3461 §4.
fn xtext(text: &str) -> String {
    let encode = |octet: u8| match octet {
        b'!'..=b'~' if octet != b'+' && octet != b'=' => char::from(octet).to_string(),
        octet => format!("+{octet:02X}"),
    };
    text.bytes().map(encode).collect()
}

/// Content as DATA wants it: dots doubled, and the end (RFC 5321 §4.5.2). Its lines end in CRLF already.
fn stuffed(content: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(content.len() + 16);
    for line in content.split_inclusive(|octet| *octet == b'\n') {
        if line.starts_with(b".") {
            out.push(b'.');
        }
        out.extend_from_slice(line);
    }
    out.extend_from_slice(b".\r\n");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dots_are_doubled_and_the_end_is_a_dot() {
        for (content, expected) in
            [("", ".\r\n"), ("a\r\n", "a\r\n.\r\n"), (".\r\n..\r\na.\r\n", "..\r\n...\r\na.\r\n.\r\n")]
        {
            assert_eq!(stuffed(content.as_bytes()), expected.as_bytes());
        }
    }

    #[test]
    fn mail_says_what_the_message_needs() {
        let address = |text: &str| Address::parse(text, true).unwrap();
        let (ann, bob, turtle) = (address("ann@x.test"), [address("bob@x.test")], [address("żółw@x.test")]);
        let plain = Envelope { sender: Some(&ann), recipients: &bob, notify: None, ret: None, envid: None };
        assert_eq!(mail(&plain, &bob, b"To: x\r\n\r\nhi\r\n"), "MAIL FROM:<ann@x.test> SIZE=13\r\n");
        let full = Envelope {
            sender: None,
            ret: Some(Ret::Full),
            envid: Some("a+b c"),
            recipients: &turtle,
            notify: None,
        };
        let expected = "MAIL FROM:<> SIZE=11 BODY=8BITMIME SMTPUTF8 RET=FULL ENVID=a+2Bb+20c\r\n";
        assert_eq!(mail(&full, &turtle, "A: 1\r\n\r\n\u{17c}x".as_bytes()), expected);
        for (header, expected) in [
            (&b"Subject: Andr\xe9\r\n"[..], " BODY=8BITMIME"),
            (b"From: Andr\xe9 <ann@x.test>\r\n", " BODY=8BITMIME"),
            ("Content-Disposition: attachment; filename=ż\r\n".as_bytes(), " BODY=8BITMIME SMTPUTF8"),
            ("Message-ID: <ż@x.test>\r\n".as_bytes(), " BODY=8BITMIME"),
            ("From: Zoë <ann@x.test>\r\n".as_bytes(), " BODY=8BITMIME SMTPUTF8"),
            ("To: Zoë <zoë@x.test>\r\n".as_bytes(), " BODY=8BITMIME SMTPUTF8"),
        ] {
            let content = [header, b"\r\nhi\r\n"].concat();
            let expected = format!("MAIL FROM:<ann@x.test> SIZE={}{expected}\r\n", content.len());
            assert_eq!(mail(&plain, &bob, &content), expected);
        }
        let never = Notify { success: false, failure: false, delay: false };
        assert_eq!(notify_parameter(never), " NOTIFY=NEVER");
        assert_eq!(notify_parameter(Notify { success: true, delay: true, ..never }), " NOTIFY=SUCCESS,DELAY");
    }
}
