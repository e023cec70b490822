//! From 8 bits to 7, for a smarthost without 8BITMIME (RFC 6152 §3), and lines of any length to lines of 998.
//!
//! The MIME structure is walked on the raw octets. Only a leaf that holds an octet above 127 or a line longer than
//! 998 octets is encoded anew, text as quoted-printable and all else as base64 (RFC 2045 §6.7, §6.8), its
//! Content-Transfer-Encoding put right, and a container's `8bit` or `binary` on the way to it made `7bit`. Every
//! other octet stays. Decoding gives the same octets as before.
//!
//! A header line that is too long is folded, a list of addresses behind their commas, too. Raw UTF-8 in a header field becomes encoded words (RFC 2047) where it is text for people: a Subject and the like, a
//! display name. Anywhere else it is an error.
//!
//! Not touched: DKIM and other signatures over what is converted break, as RFC 6152 §3 knows. A preamble or epilogue, which nobody is shown, has no encoding:
//! octets above 127 in it become `?`.

mod text_fields;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use memchr::memchr;
use std::borrow::Cow;
use std::ops::Range;

/// Containers within containers.
const MAX_DEPTH: usize = 50;
/// Octets in a line without its CRLF (RFC 5322 §2.1.1).
const MAX_LINE: usize = 998;
/// Octets in an encoded line without its CRLF (RFC 2045 §6.7 rule 5, §6.8).
const ENCODED_LINE: usize = 76;

/// Why content can't be converted. The message's doing: it fails for good with the code each one names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum ConvertError {
    /// A header field, of the message or a part, holds octets above 127 (RFC 6532) where no encoding is for them: 5.6.7.
    #[error("5.6.7 a header field holds 8-bit octets, which the smarthost doesn't take")]
    HeaderField,
    /// A multipart with 8-bit octets has no boundary, or it occurs nowhere: 5.6.3.
    #[error("5.6.3 conversion needed, but a multipart has no boundary")]
    BrokenMultipart,
    /// More than 50 levels: 5.6.3.
    #[error("5.6.3 conversion needed, but parts are nested too deeply")]
    TooDeep,
}

/// The same message in 7 bits and lines of at most 998 octets.
///
/// # Errors
/// Why that can't be.
pub fn to_seven_bit(content: &[u8]) -> Result<Vec<u8>, ConvertError> {
    let mut out = Vec::with_capacity(content.len() + content.len() / 8 + 256);
    convert_entity(content, Place::Message, 0, &mut out)?;
    if !out.ends_with(b"\r\n") && content.ends_with(b"\r\n") {
        out.extend_from_slice(b"\r\n");
    }
    Ok(out)
}

/// Where an entity stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// A message: MIME counts only with its MIME-Version (RFC 2045 §4).
    Message,
    Part,
    /// A part of multipart/digest: message/rfc822 unless it says otherwise (RFC 2046 §5.1.5).
    DigestPart,
}

/// What an entity's body is.
enum Kind {
    Multipart {
        boundary: Vec<u8>,
        digest: bool,
    },
    Message {
        /// message/global is, unlike message/rfc822 (RFC 6532 §3.7).
        may_be_encoded: bool,
    },
    Text,
    Binary,
}

/// Content-Transfer-Encoding (RFC 2045 §6.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Encoding {
    /// `7bit`, `8bit`, `binary`, none, and what isn't known.
    Identity,
    QuotedPrintable,
    Base64,
}

fn convert_entity(entity: &[u8], place: Place, depth: usize, out: &mut Vec<u8>) -> Result<(), ConvertError> {
    let (header_end, body_start) = split_entity(entity);
    let (head, body) = entity.split_at(body_start);
    let (header, separator) = head.split_at(header_end);
    let mut header = Cow::Borrowed(header);
    if !header.is_ascii() {
        header = Cow::Owned(text_fields::encoded(&header).ok_or(ConvertError::HeaderField)?);
    }
    if has_long_line(&header) {
        header = Cow::Owned(folded(&header));
    }
    if body.is_ascii() && !has_long_line(body) {
        out.extend_from_slice(&header);
        out.extend_from_slice(separator);
        out.extend_from_slice(body);
        return Ok(());
    }
    if depth >= MAX_DEPTH {
        return Err(ConvertError::TooDeep);
    }
    let line_between: &[u8] = if separator.is_empty() { b"\r\n" } else { separator };
    let fields = Fields::of(&header);
    let encoding = fields.encoding();
    match (fields.kind(place), encoding) {
        (Kind::Multipart { boundary, digest }, Encoding::Identity) => {
            fields.write(fields.relabelled("7bit"), place, out);
            out.extend_from_slice(line_between);
            convert_multipart(body, &boundary, digest, depth, out)
        }
        (Kind::Message { may_be_encoded }, Encoding::Identity) => {
            let start = out.len();
            fields.write(fields.relabelled("7bit"), place, out);
            out.extend_from_slice(line_between);
            let converted = convert_entity(body, Place::Message, depth + 1, out);
            if converted.is_ok() || !may_be_encoded {
                return converted;
            }
            out.truncate(start);
            fields.write(Some("quoted-printable"), place, out);
            out.extend_from_slice(line_between);
            encode_quoted_printable(body, false, out);
            Ok(())
        }
        (Kind::Text, Encoding::Identity) => {
            fields.write(Some("quoted-printable"), place, out);
            out.extend_from_slice(line_between);
            encode_quoted_printable(body, false, out);
            Ok(())
        }
        (Kind::Binary, Encoding::Identity) => {
            fields.write(Some("base64"), place, out);
            out.extend_from_slice(line_between);
            encode_base64(body, out);
            Ok(())
        }
        // Encoded already, and yet with octets that no encoding makes.
        (_, Encoding::QuotedPrintable) => {
            out.extend_from_slice(&header);
            out.extend_from_slice(separator);
            encode_quoted_printable(body, true, out);
            Ok(())
        }
        (_, Encoding::Base64) => {
            out.extend_from_slice(&header);
            out.extend_from_slice(separator);
            rewrap_base64(body, out);
            Ok(())
        }
    }
}

fn convert_multipart(
    body: &[u8],
    boundary: &[u8],
    digest: bool,
    depth: usize,
    out: &mut Vec<u8>,
) -> Result<(), ConvertError> {
    let delimiters = find_delimiters(body, boundary);
    let mut delimiters = delimiters.iter().peekable();
    let Some(first) = delimiters.peek() else { return Err(ConvertError::BrokenMultipart) };
    write_unseen(body.get(..first.line.start).unwrap_or_default(), out);
    while let Some(delimiter) = delimiters.next() {
        out.extend_from_slice(body.get(delimiter.line.clone()).unwrap_or_default());
        let end = delimiters.peek().map_or(body.len(), |next| next.line.start);
        let between = body.get(delimiter.line.end..end).unwrap_or_default();
        if delimiter.closes {
            write_unseen(between, out);
        } else {
            // RFC 2046 §5.1.1: the line end in front of a delimiter belongs to the delimiter.
            let line_end = if delimiters.peek().is_none() { 0 } else { line_end_len(between) };
            let (part, line_end) = between.split_at(between.len() - line_end);
            let place = if digest { Place::DigestPart } else { Place::Part };
            convert_entity(part, place, depth + 1, out)?;
            out.extend_from_slice(line_end);
        }
    }
    Ok(())
}

/// A boundary line.
struct Delimiter {
    /// With its line end.
    line: Range<usize>,
    closes: bool,
}

/// The boundary lines up to and with the closing one; a look-alike behind that is epilogue.
fn find_delimiters(body: &[u8], boundary: &[u8]) -> Vec<Delimiter> {
    let (mut found, mut start) = (Vec::new(), 0);
    while start < body.len() {
        let rest = body.get(start..).unwrap_or_default();
        let end = start + memchr(b'\n', rest).map_or(rest.len(), |at| at + 1);
        let line = body.get(start..end).unwrap_or_default();
        if let Some(behind) = line.strip_prefix(b"--").and_then(|line| line.strip_prefix(boundary)) {
            let (closes, padding) = match behind.strip_prefix(b"--") {
                Some(padding) => (true, padding),
                None => (false, behind),
            };
            if padding.iter().all(|octet| matches!(octet, b' ' | b'\t' | b'\r' | b'\n')) {
                found.push(Delimiter { line: start..end, closes });
                if closes {
                    break;
                }
            }
        }
        start = end;
    }
    found
}

/// Preamble or epilogue.
fn write_unseen(text: &[u8], out: &mut Vec<u8>) {
    for line in text.split_inclusive(|octet| *octet == b'\n') {
        let end = line_end_len(line);
        let (line, end) = line.split_at(line.len() - end);
        for (number, piece) in line.chunks(MAX_LINE).enumerate() {
            if number > 0 {
                out.extend_from_slice(b"\r\n");
            }
            out.extend(piece.iter().map(|octet| if octet.is_ascii() { *octet } else { b'?' }));
        }
        out.extend_from_slice(end);
    }
}

/// The header section's end and the body's begin. Without an empty line all of it is header (RFC 5322 §2.1), except
/// that a part may begin with its body at once (RFC 2046 §5.1.1).
fn split_entity(entity: &[u8]) -> (usize, usize) {
    let mut start = 0;
    while start < entity.len() {
        let rest = entity.get(start..).unwrap_or_default();
        let end = start + memchr(b'\n', rest).map_or(rest.len(), |at| at + 1);
        let line = entity.get(start..end).unwrap_or_default();
        if line.len() == line_end_len(line) {
            return (start, end);
        }
        start = end;
    }
    (entity.len(), entity.len())
}

fn line_end_len(line: &[u8]) -> usize {
    if line.ends_with(b"\r\n") { 2 } else { usize::from(line.ends_with(b"\n")) }
}

/// A header section whose lines are broken where they may be (RFC 5322 §2.2.3) when they are longer than 998 octets: at white
/// space, and behind an address of a list. One that has neither stays as it is.
fn folded(header: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(header.len() + header.len() / 64);
    let fields = Fields::of(header);
    for field in fields.ranges.iter().filter_map(|range| header.get(range.clone())) {
        let between = if has_long_line(field) { between_addresses(field) } else { Vec::new() };
        let mut start = 0;
        for line in field.split_inclusive(|octet| *octet == b'\n') {
            let end = start + line.len();
            let [from, to] = [start, end].map(|bound| between.partition_point(|at| *at < bound));
            let breaks = between.get(from..to).unwrap_or_default().iter().map(|at| at - start);
            fold_line(line, &breaks.collect::<Vec<_>>(), &mut out);
            start = end;
        }
    }
    out
}

/// Appends a line, broken where it is too long: at its white space, and where there is none at these places.
fn fold_line(line: &[u8], breaks: &[usize], out: &mut Vec<u8>) {
    let is_space = |octet: &u8| matches!(octet, b' ' | b'\t');
    let (text, end) = line.split_at(line.len() - line_end_len(line));
    // What stands before and behind a break must not be white space alone.
    let last = text.iter().rposition(|octet| !is_space(octet)).unwrap_or(0);
    let (mut start, mut room) = (0, MAX_LINE);
    while text.len() - start > room {
        let rest = text.get(start..).unwrap_or_default();
        let first = start + rest.iter().position(|octet| !is_space(octet)).unwrap_or(rest.len());
        let may_break = |at: &usize| {
            let is_here = text.get(*at).is_some_and(is_space) || breaks.binary_search(at).is_ok();
            *at > first && *at <= last && is_here
        };
        let at = (start..=start + room).rev().find(may_break);
        let Some(at) = at.or_else(|| (start + room..text.len()).find(may_break)) else { break };
        out.extend_from_slice(text.get(start..at).unwrap_or_default());
        out.extend_from_slice(b"\r\n");
        (start, room) = (at, MAX_LINE);
        if !text.get(at).is_some_and(is_space) {
            out.push(b' ');
            room -= 1;
        }
    }
    out.extend_from_slice(text.get(start..).unwrap_or_default());
    out.extend_from_slice(end);
}

/// Where white space may be put into a field of addresses: behind each comma that ends one (RFC 5322 §3.4). One in a quoted
/// string, comment or domain literal doesn't, nor one in a name that should have been quoted.
fn between_addresses(field: &[u8]) -> Vec<usize> {
    let name = field.split(|octet| *octet == b':').next().unwrap_or_default();
    if !text_fields::is_of_addresses(name) {
        return Vec::new();
    }
    let (mut quoted, mut escaped, mut literal, mut comments) = (false, false, false, 0_u32);
    let (mut has_address, mut found) = (false, Vec::new());
    for (at, octet) in field.iter().enumerate().skip(name.len() + 1) {
        match octet {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' if comments == 0 && !literal => quoted = !quoted,
            _ if quoted => {}
            b'(' if !literal => comments += 1,
            b')' => comments = comments.saturating_sub(1),
            _ if comments > 0 => {}
            b'[' => literal = true,
            b']' => literal = false,
            _ if literal => {}
            b'@' => has_address = true,
            b',' if std::mem::take(&mut has_address) => found.push(at + 1),
            _ => {}
        }
    }
    found
}

/// Whether a line is longer than 998 octets (RFC 5322 §2.1.1), CRLF apart.
#[must_use]
pub fn has_long_line(text: &[u8]) -> bool {
    let mut start = 0;
    while text.len() - start > MAX_LINE {
        // A window without a line end is a line too long; else go on behind the last line end in it.
        let window = text.get(start..(start + MAX_LINE + 2).min(text.len())).unwrap_or_default();
        match memchr::memrchr(b'\n', window) {
            Some(at) => start += at + 1,
            None => return true,
        }
    }
    false
}

/// The raw fields of an entity.
struct Fields<'a> {
    header: &'a [u8],
    /// Each with its folding and line end.
    ranges: Vec<Range<usize>>,
}

impl<'a> Fields<'a> {
    fn of(header: &'a [u8]) -> Self {
        let (mut ranges, mut start): (Vec<Range<usize>>, usize) = (Vec::new(), 0);
        for line in header.split_inclusive(|octet| *octet == b'\n') {
            let end = start + line.len();
            match ranges.last_mut() {
                Some(last) if line.starts_with(b" ") || line.starts_with(b"\t") => last.end = end,
                _ => ranges.push(start..end),
            }
            start = end;
        }
        Self { header, ranges }
    }

    fn find(&self, name: &str) -> Option<(usize, &'a [u8])> {
        self.ranges.iter().enumerate().find_map(|(number, range)| {
            let field = self.header.get(range.clone())?;
            let colon = memchr(b':', field)?;
            let (found, value) = field.split_at(colon);
            found
                .trim_ascii_end()
                .eq_ignore_ascii_case(name.as_bytes())
                .then(|| (number, value.get(1..).unwrap_or_default()))
        })
    }

    fn encoding(&self) -> Encoding {
        match self.find(TRANSFER_ENCODING).map(|(_, value)| first_token(value)).as_deref() {
            Some(b"quoted-printable") => Encoding::QuotedPrintable,
            Some(b"base64") => Encoding::Base64,
            _ => Encoding::Identity,
        }
    }

    fn kind(&self, place: Place) -> Kind {
        let Some((_, value)) = self.find("Content-Type") else {
            return if place == Place::DigestPart {
                Kind::Message { may_be_encoded: false }
            } else {
                Kind::Text
            };
        };
        let media_type = first_token(value);
        if let Some(subtype) = media_type.strip_prefix(b"multipart/") {
            let boundary = boundary(value).unwrap_or_default();
            return Kind::Multipart { boundary, digest: subtype == b"digest" };
        }
        match media_type.as_slice() {
            b"message/rfc822" | b"message/news" => Kind::Message { may_be_encoded: false },
            b"message/global" => Kind::Message { may_be_encoded: true },
            _ if media_type.starts_with(b"text/") || media_type.starts_with(b"message/") => Kind::Text,
            _ if media_type.contains(&b'/') => Kind::Binary,
            // RFC 2045 §5.2: what can't be read is text/plain.
            _ => Kind::Text,
        }
    }

    /// A container's new label, if it has one that is no longer true.
    fn relabelled(&self, label: &'static str) -> Option<&'static str> {
        let (_, value) = self.find(TRANSFER_ENCODING)?;
        matches!(first_token(value).as_slice(), b"8bit" | b"binary").then_some(label)
    }

    /// Appends them with this Content-Transfer-Encoding, and with what makes a bare message a MIME one.
    fn write(&self, encoding: Option<&str>, place: Place, out: &mut Vec<u8>) {
        let mut to_write = encoding;
        for range in &self.ranges {
            let field = self.header.get(range.clone()).unwrap_or_default();
            let name = memchr(b':', field).and_then(|colon| field.get(..colon)).unwrap_or_default();
            let is_label = name.trim_ascii_end().eq_ignore_ascii_case(TRANSFER_ENCODING.as_bytes());
            if encoding.is_none() || !is_label {
                out.extend_from_slice(field);
            } else if let Some(label) = to_write.take() {
                out.extend_from_slice(name.trim_ascii_end());
                out.extend_from_slice(b": ");
                out.extend_from_slice(label.as_bytes());
                out.extend_from_slice(b"\r\n");
            }
        }
        if line_end_len(out) == 0 && !self.header.is_empty() {
            out.extend_from_slice(b"\r\n");
        }
        if place == Place::Message && self.find("MIME-Version").is_none() {
            out.extend_from_slice(b"MIME-Version: 1.0\r\n");
            if self.find("Content-Type").is_none() {
                // RFC 1428 §3: 8-bit text that never said in which character set.
                out.extend_from_slice(b"Content-Type: text/plain; charset=unknown-8bit\r\n");
            }
        }
        if let Some(label) = to_write {
            out.extend_from_slice(TRANSFER_ENCODING.as_bytes());
            out.extend_from_slice(b": ");
            out.extend_from_slice(label.as_bytes());
            out.extend_from_slice(b"\r\n");
        }
    }
}

const TRANSFER_ENCODING: &str = "Content-Transfer-Encoding";

/// What stands before the first semicolon, without comments and white space, in small letters.
fn first_token(value: &[u8]) -> Vec<u8> {
    let (mut token, mut depth) = (Vec::new(), 0_u32);
    for octet in value {
        match octet {
            b'(' => depth += 1,
            b')' => depth = depth.saturating_sub(1),
            _ if depth > 0 || octet.is_ascii_whitespace() => {}
            b';' => break,
            other => token.push(other.to_ascii_lowercase()),
        }
    }
    token
}

/// The boundary parameter (RFC 2046 §5.1.1).
fn boundary(value: &[u8]) -> Option<Vec<u8>> {
    let mut rest = value.get(memchr(b';', value)? + 1..)?;
    loop {
        let equals = memchr(b'=', rest)?;
        let (name, behind) = rest.split_at(equals);
        let (text, behind) = parameter_value(behind.get(1..)?.trim_ascii_start());
        if name.trim_ascii().eq_ignore_ascii_case(b"boundary") {
            let text = text.trim_ascii_end();
            return (!text.is_empty()).then(|| text.to_vec());
        }
        rest = behind.get(memchr(b';', behind)? + 1..)?;
    }
}

/// A token or quoted string, and what is behind it.
fn parameter_value(text: &[u8]) -> (Vec<u8>, &[u8]) {
    let Some(mut rest) = text.strip_prefix(b"\"") else {
        let end = text.iter().position(|octet| matches!(octet, b';' | b'(') || octet.is_ascii_whitespace());
        let (token, rest) = text.split_at(end.unwrap_or(text.len()));
        return (token.to_vec(), rest);
    };
    let mut value = Vec::new();
    while let Some((octet, behind)) = rest.split_first() {
        rest = behind;
        match octet {
            b'"' => break,
            b'\r' | b'\n' => {}
            b'\\' => {
                if let Some((escaped, behind)) = rest.split_first() {
                    value.push(*escaped);
                    rest = behind;
                }
            }
            other => value.push(*other),
        }
    }
    (value, rest)
}

/// Appends text as quoted-printable (RFC 2045 §6.7). `encoded`: it is that already but for octets above 127 and long
/// lines, so `=` stays.
fn encode_quoted_printable(text: &[u8], encoded: bool, out: &mut Vec<u8>) {
    let mut start = 0;
    for end in memchr::memmem::find_iter(text, b"\r\n") {
        encode_line(text.get(start..end).unwrap_or_default(), encoded, out);
        out.extend_from_slice(b"\r\n");
        start = end + 2;
    }
    encode_line(text.get(start..).unwrap_or_default(), encoded, out);
}

fn encode_line(line: &[u8], encoded: bool, out: &mut Vec<u8>) {
    let mut column = 0;
    let mut rest = line;
    while let Some((octet, behind)) = rest.split_first() {
        // An escape that was there before must not be cut.
        let old_escape =
            encoded && matches!(rest, [b'=', a, b, ..] if a.is_ascii_hexdigit() && b.is_ascii_hexdigit());
        let unit = if old_escape { rest.get(..3).unwrap_or(rest) } else { rest.get(..1).unwrap_or(rest) };
        let plain = match octet {
            // Rule 3: white space at a line's end would get lost.
            b' ' | b'\t' => !behind.is_empty() || encoded,
            b'=' => encoded,
            // A soft break must not make a boundary line that wasn't there.
            b'-' => column > 0 || rest.len() == line.len(),
            b'!'..=b'~' => true,
            _ => false,
        };
        let width = if plain { unit.len() } else { 3 };
        let limit =
            if behind.is_empty() || unit.len() == rest.len() { ENCODED_LINE } else { ENCODED_LINE - 1 };
        if column + width > limit && !(encoded && unit == b"=") {
            out.extend_from_slice(b"=\r\n");
            column = 0;
            if rest.first() == Some(&b'-') {
                continue;
            }
        }
        if plain {
            out.extend_from_slice(unit);
        } else {
            out.extend_from_slice(&[b'=', hex(octet >> 4), hex(octet & 15)]);
        }
        column += width;
        rest = rest.get(unit.len()..).unwrap_or_default();
    }
}

const fn hex(nibble: u8) -> u8 {
    if nibble < 10 { b'0' + nibble } else { b'A' + nibble - 10 }
}

/// Appends octets as base64 in lines; the last one without a line end.
fn encode_base64(octets: &[u8], out: &mut Vec<u8>) {
    for (number, piece) in octets.chunks(ENCODED_LINE / 4 * 3).enumerate() {
        if number > 0 {
            out.extend_from_slice(b"\r\n");
        }
        let mut line = [0; ENCODED_LINE];
        let length = STANDARD.encode_slice(piece, &mut line).unwrap_or_default();
        out.extend_from_slice(line.get(..length).unwrap_or_default());
    }
}

/// Base64 with octets that decoders skip (RFC 2045 §6.8), or in lines too long: the same without.
fn rewrap_base64(text: &[u8], out: &mut Vec<u8>) {
    let mut column = 0;
    for octet in
        text.iter().filter(|octet| octet.is_ascii_alphanumeric() || matches!(octet, b'+' | b'/' | b'='))
    {
        if column == ENCODED_LINE {
            out.extend_from_slice(b"\r\n");
            column = 0;
        }
        out.push(*octet);
        column += 1;
    }
    out.extend_from_slice(text.get(text.len() - line_end_len(text)..).unwrap_or_default());
}

#[cfg(test)]
mod tests;
