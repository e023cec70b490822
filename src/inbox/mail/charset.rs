//! Text that isn't in the charset its part names.
//!
//! Promises: only a text labelled as UTF-8 that isn't any, and holds no sign of it, is read anew; nothing here fails.

use mail_parser::decoders::base64::base64_decode;
use mail_parser::decoders::charsets::map::charset_decoder;
use mail_parser::decoders::quoted_printable::quoted_printable_decode;
use mail_parser::{Encoding, Message, MessagePart, MimeHeaders as _};

/// The text of a part labelled as UTF-8 or not at all, read as windows-1252, if it can't be UTF-8. Programs that write
/// the wrong label write that one. One broken octet in a text that otherwise is UTF-8 leaves it so.
pub(super) fn mislabelled(message: &Message<'_>, part: &MessagePart<'_>, text: &str) -> Option<String> {
    const LOST: char = '\u{fffd}';
    if !text.contains(LOST) || !text.chars().all(|c| c.is_ascii() || c == LOST) {
        return None;
    }
    let label = part.content_type().and_then(|kind| kind.attribute("charset")).unwrap_or("utf-8");
    if !["utf-8", "utf8", "us-ascii"].iter().any(|each| label.trim().eq_ignore_ascii_case(each)) {
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
