//! Text that isn't in the charset its part names, and header fields in octets that name none.
//!
//! Promises: only a text labelled as UTF-8 that isn't any, and holds no sign of it, is read anew; nothing here fails.

use mail_parser::decoders::base64::base64_decode;
use mail_parser::decoders::charsets::map::charset_decoder;
use mail_parser::decoders::quoted_printable::quoted_printable_decode;
use mail_parser::{Encoding, Message, MessagePart, MimeHeaders as _};

/// Labels of what is UTF-8, or is to be.
const UTF8: [&str; 3] = ["utf-8", "utf8", "us-ascii"];
/// In front of a charset's name (RFC 2045 §5.1).
const LABEL: &[u8] = b"charset=";
/// Octets of a message in which the name of its charset is looked for.
const MAX_SEARCHED: usize = 64 * 1024;

/// Octets in a charset as text.
pub(super) type Reader = fn(&[u8]) -> String;

/// How to read header fields that hold raw octets and aren't UTF-8, which no standard allows and old programs write: in the
/// first other charset that the message names anywhere, else windows-1252. None where there are no such fields.
pub(super) fn of_raw_fields(fields: &[u8], message: &[u8]) -> Option<Reader> {
    if std::str::from_utf8(fields).is_ok() {
        return None;
    }
    let start = message.get(..message.len().min(MAX_SEARCHED)).unwrap_or_default().to_ascii_lowercase();
    let label = |at: usize| {
        let value = start.get(at + LABEL.len()..)?.trim_ascii_start();
        let value = value.strip_prefix(b"\"").unwrap_or(value);
        let is_part = |octet: &u8| octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'_');
        let label = value.split(|octet| !is_part(octet)).next()?;
        if UTF8.iter().any(|each| each.as_bytes() == label) { None } else { charset_decoder(label) }
    };
    let named = memchr::memmem::find_iter(&start, LABEL).find_map(label);
    named.or_else(|| charset_decoder(b"windows-1252"))
}

/// The text of a part labelled as UTF-8 or not at all, read as windows-1252, if it can't be UTF-8. Programs that write
/// the wrong label write that one. One broken octet in a text that otherwise is UTF-8 leaves it so.
pub(super) fn mislabelled(message: &Message<'_>, part: &MessagePart<'_>, text: &str) -> Option<String> {
    const LOST: char = '\u{fffd}';
    if !text.contains(LOST) || !text.chars().all(|c| c.is_ascii() || c == LOST) {
        return None;
    }
    let label = part.content_type().and_then(|kind| kind.attribute("charset")).unwrap_or("utf-8");
    if !UTF8.iter().any(|each| label.trim().eq_ignore_ascii_case(each)) {
        return None;
    }
    let (start, end) = (usize::try_from(part.offset_body).ok()?, usize::try_from(part.offset_end).ok()?);
    let raw = message.raw_message.get(start..end)?;
    let octets = match part.encoding {
        Encoding::None => raw.to_vec(),
        Encoding::Base64 => base64_decode(raw)?,
        Encoding::QuotedPrintable => quoted_printable_decode(raw)?,
    };
    // The sign may stand in the text itself.
    if std::str::from_utf8(&octets).is_ok() {
        return None;
    }
    charset_decoder(b"windows-1252").map(|decode| decode(&octets))
}

#[cfg(test)]
mod tests {
    use crate::inbox::mail::Mail;

    fn mail(octets: &[u8]) -> (String, Option<String>, Vec<String>) {
        let mail = Mail::read(octets);
        let names = mail.attachments.iter().map(|each| each.filename.clone()).collect();
        (mail.subject, mail.from.and_then(|from| from.name), names)
    }

    #[test]
    fn fields_in_raw_octets_are_read_in_the_charset_that_the_message_names() {
        // "询问" and "价格" in GBK, "質問" in Shift_JIS, whose second octets may be letters and backslashes.
        let parted = b"From: \"\xd1\xaf\xce\xca\" <li@guest.test>\r\nSubject: \xbc\xdb\xb8\xf1?\r\nMIME-Version: 1.0\r\n\
            Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: text/plain; charset=\"GBK\"\r\n\r\n\xbc\xdb\xb8\xf1\r\n\
            --b\r\nContent-Type: application/pdf\r\nContent-Disposition: attachment; filename=\"\xbc\xdb\xb8\xf1.pdf\"\r\n\
            charset=gbk\r\n\r\nx\r\n--b--\r\n";
        assert_eq!(mail(parted), ("价格?".to_owned(), Some("询问".to_owned()), vec!["价格.pdf".to_owned()]));
        let japanese = b"From: li@guest.test\r\nSubject: \x8e\xbf\x96\xe2\r\nContent-Type: text/plain; charset=shift_jis\r\n\r\nx\r\n";
        assert_eq!(mail(japanese).0, "質問");
        let nameless = b"From: J\xfcrgen <j@guest.test>\r\nSubject: Gr\xfc\xdfe\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nx\r\n";
        assert_eq!(mail(nameless), ("Grüße".to_owned(), Some("Jürgen".to_owned()), vec![]));
        // One field in UTF-8 stays so beside another that isn't.
        let mixed = "From: Jürgen <j@guest.test>\r\nSubject: ?\r\n\r\nx\r\n".as_bytes().to_vec();
        let at = mixed.iter().position(|octet| *octet == b'?').unwrap();
        let mixed = [&mixed[..at], b"\xfc", &mixed[at + 1..]].concat();
        assert_eq!(mail(&mixed), ("ü".to_owned(), Some("Jürgen".to_owned()), vec![]));
    }
}
