//! Writing commands, and refusing envelopes that would break out of them (RFC 5321 §4.1.1).

use super::job::{Job, JobRecipient, Notify, Refusal, Ret};
use crate::smtp::address::Address;
use crate::smtp::capabilities::{Capabilities, SizeLimit};
use crate::smtp::reply::push_decimal;

/// Appends EHLO or HELO. Octets of the name that are in no host name or address literal are left out.
pub(super) fn write_hello(verb: &str, hostname: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(verb.as_bytes());
    out.push(b' ');
    let named = |octet: &u8| {
        octet.is_ascii_alphanumeric() || matches!(octet, b'.' | b'-' | b'_' | b':' | b'[' | b']')
    };
    let begin = out.len();
    out.extend(hostname.bytes().filter(|octet| named(octet)));
    if out.len() == begin {
        out.extend_from_slice(b"localhost");
    }
    out.extend_from_slice(b"\r\n");
}

/// Appends MAIL with the parameters that this server understands (RFC 5321 §4.1.1.2).
pub(super) fn write_mail(job: &Job, offered: &Capabilities, out: &mut Vec<u8>) {
    out.extend_from_slice(b"MAIL FROM:<");
    if let Some(sender) = &job.sender {
        out.extend_from_slice(sender.as_str().as_bytes());
    }
    out.push(b'>');
    if offered.size != SizeLimit::NotOffered {
        out.extend_from_slice(b" SIZE=");
        push_decimal(out, job.size);
    }
    if job.eight_bit && offered.eight_bit_mime {
        out.extend_from_slice(b" BODY=8BITMIME");
    }
    if job.smtputf8 && offered.smtputf8 {
        out.extend_from_slice(b" SMTPUTF8");
    }
    if offered.dsn {
        match job.ret {
            Some(Ret::Full) => out.extend_from_slice(b" RET=FULL"),
            Some(Ret::Headers) => out.extend_from_slice(b" RET=HDRS"),
            None => {}
        }
        if let Some(envid) = &job.envid {
            out.extend_from_slice(b" ENVID=");
            out.extend_from_slice(envid.as_bytes());
        }
    }
    out.extend_from_slice(b"\r\n");
}

/// Appends RCPT (RFC 5321 §4.1.1.3, RFC 3461 §4.1).
pub(super) fn write_rcpt(recipient: &JobRecipient, offered: &Capabilities, out: &mut Vec<u8>) {
    out.extend_from_slice(b"RCPT TO:<");
    out.extend_from_slice(recipient.address.as_str().as_bytes());
    out.push(b'>');
    if offered.dsn {
        if let Some(notify) = recipient.notify {
            out.extend_from_slice(b" NOTIFY=");
            write_notify(notify, out);
        }
        if let Some(orcpt) = &recipient.orcpt {
            out.extend_from_slice(b" ORCPT=");
            out.extend_from_slice(orcpt.as_bytes());
        }
    }
    out.extend_from_slice(b"\r\n");
}

fn write_notify(notify: Notify, out: &mut Vec<u8>) {
    let begin = out.len();
    let wishes = [(notify.success, "SUCCESS"), (notify.failure, "FAILURE"), (notify.delay, "DELAY")];
    for (_, word) in wishes.iter().filter(|(wanted, _)| *wanted) {
        if out.len() > begin {
            out.push(b',');
        }
        out.extend_from_slice(word.as_bytes());
    }
    if out.len() == begin {
        out.extend_from_slice(b"NEVER");
    }
}

/// Appends BDAT for a message in one chunk (RFC 3030 §2).
pub(super) fn write_bdat(size: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(b"BDAT ");
    push_decimal(out, size);
    out.extend_from_slice(b" LAST\r\n");
}

/// Why this job can't go to a server that offers this.
pub(super) fn refusal(job: &Job, offered: &Capabilities) -> Option<Refusal> {
    let words =
        job.envid.iter().chain(job.recipients.iter().filter_map(|recipient| recipient.orcpt.as_ref()));
    if job.recipients.is_empty()
        || !job.addresses().all(stays_in_brackets)
        || offered.dsn && !words.into_iter().all(|word| is_word(word))
    {
        return Some(Refusal::UnsafeEnvelope);
    }
    if let SizeLimit::Octets(limit) = offered.size
        && job.size > limit
    {
        return Some(Refusal::TooBig { size: job.size, limit });
    }
    if needs_smtputf8(job) && !offered.smtputf8 {
        return Some(Refusal::NeedsSmtpUtf8);
    }
    // RFC 6531 §3.1 item 8: who offers SMTPUTF8 takes 8-bit content; one that forgot to say so is believed.
    if job.eight_bit && !offered.eight_bit_mime && !(needs_smtputf8(job) && offered.smtputf8) {
        return Some(Refusal::NeedsSevenBit);
    }
    None
}

/// Whether it can only go to a server with SMTPUTF8 (RFC 6531 §3.2).
pub(super) fn needs_smtputf8(job: &Job) -> bool {
    job.smtputf8 || !job.has_ascii_addresses()
}

/// Whether an address can't end its angle brackets or its line. An [`Address`] was checked when it was made; this
/// is the last door before the wire, and it trusts nobody (lettre RUSTSEC-2020-0069, nodemailer GHSA-vvjj-xcjg-gr5g).
fn stays_in_brackets(address: &Address) -> bool {
    stays_in_brackets_text(address.as_str())
}

fn stays_in_brackets_text(text: &str) -> bool {
    let (mut quoted, mut escaped) = (false, false);
    for octet in text.bytes() {
        if octet.is_ascii_control() {
            return false;
        }
        match octet {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b' ' | b'<' | b'>' | b'\\' if !quoted => return false,
            _ => {}
        }
    }
    !quoted && !escaped && !text.is_empty()
}

/// Whether a parameter's value is one word (RFC 5321 §4.1.2: `esmtp-value`; ORCPT alone may hold `=` by xtext's rules, so it may here).
fn is_word(word: &str) -> bool {
    !word.is_empty() && word.len() <= 1000 && word.bytes().all(|octet| octet.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_breaks_out_of_its_brackets() {
        let rows = [
            ("a@b.test", true, "plain"),
            ("\"a> NOTIFY=NEVER x\"@b.test", true, "quoted, and the quotes stay"),
            ("\"a\\\" b\"@b.test", true, "an escaped quote inside"),
            ("a>@b.test", false, "ends the bracket"),
            ("a b@c.test", false, "a space"),
            ("a@b.test\r\nDATA", false, "CR LF"),
            ("\"a\nb\"@c.test", false, "LF, even in quotes"),
            ("\"a\0\"@c.test", false, "NUL"),
            ("\"a@b.test", false, "a quote that doesn't end"),
            ("\"a\\\"@b.test> X=\"", true, "the quote ends at the end, and so all of it was quoted"),
            ("\"a\"> X=\"b\"@c.test", false, "outside of the quotes"),
            ("", false, "empty"),
        ];
        for (text, expected, reason) in rows {
            assert_eq!(stays_in_brackets_text(text), expected, "{reason}");
        }
    }

    #[test]
    fn a_host_name_can_not_carry_a_command() {
        let mut out = Vec::new();
        write_hello("EHLO", "relay.test\r\nMAIL FROM:<x>", &mut out);
        write_hello("HELO", " ", &mut out);
        assert_eq!(out, b"EHLO relay.testMAILFROM:x\r\nHELO localhost\r\n");
    }
}
