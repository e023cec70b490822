//! What a segment file holds, as octets: a file head, then records that tell everything about themselves. Pure.
//!
//! ```text
//! file   = head record*
//! head   = "waystation seg" version:u16 nonce:8 crc:u32 zero:4          32 octets
//! record = prefix content header
//! prefix = nonce:8 "WAYR" version:u16 0:u16 header_length:u32
//!          content_length:u64 content_crc:u32 header_crc:u32 crc:u32    40 octets
//! header = field*        field = tag:u8 length:u32 octets               unknown tags are passed over
//! ```
//!
//! Numbers are little-endian, checksums CRC-32C. The nonce is drawn per file: a damaged record is passed by looking
//! for the next nonce, and a message that carries something like a record inside can't be mistaken for one.
//! The header stands behind the content because a streamed message's envelope is complete before its length is known.

use super::{Notes, Part, QueueId, Submission};
use crate::message::envelope::{Body, Class, Envelope, Notify, Origin, Recipient, Ret};
use crate::smtp::address::Address;
use jiff::Timestamp;

/// Octets of a file's head.
pub const HEAD: usize = 32;
/// Octets in front of a record's content.
pub const PREFIX: usize = 40;
/// Octets that a header may have; thousands of the longest recipients stay below.
const MAX_HEADER: u32 = 16 << 20;
const VERSION: u16 = 1;
const FILE_MAGIC: &[u8; 14] = b"waystation seg";
const RECORD_MAGIC: &[u8; 4] = b"WAYR";

/// Drawn at random for each file.
pub type Nonce = [u8; 8];

/// A file's first octets.
#[must_use]
pub fn head(nonce: Nonce) -> [u8; HEAD] {
    let mut octets = Vec::with_capacity(HEAD);
    octets.extend_from_slice(FILE_MAGIC);
    octets.extend_from_slice(&VERSION.to_le_bytes());
    octets.extend_from_slice(&nonce);
    octets.extend_from_slice(&crc32c::crc32c(&octets).to_le_bytes());
    padded(&octets)
}

/// The nonce of a file with this head; none when it isn't one.
#[must_use]
pub fn head_nonce(octets: &[u8]) -> Option<Nonce> {
    let mut rest = Cursor(octets);
    let covered = octets.get(..24)?;
    let sound = rest.take(14)? == FILE_MAGIC && rest.u16()? == VERSION;
    let nonce = rest.array()?;
    (sound && rest.u32()? == crc32c::crc32c(covered)).then_some(nonce)
}

/// What stands in front of the content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Prefix {
    /// The file's nonce.
    pub nonce: Nonce,
    /// Octets of the header behind the content.
    pub header_length: u32,
    /// Octets of the content.
    pub content_length: u64,
    /// CRC-32C of the content.
    pub content_crc: u32,
    /// CRC-32C of the header.
    pub header_crc: u32,
}

impl Prefix {
    /// The octets.
    #[must_use]
    pub fn encode(&self) -> [u8; PREFIX] {
        let mut octets = Vec::with_capacity(PREFIX);
        octets.extend_from_slice(&self.nonce);
        octets.extend_from_slice(RECORD_MAGIC);
        octets.extend_from_slice(&VERSION.to_le_bytes());
        octets.extend_from_slice(&[0; 2]);
        octets.extend_from_slice(&self.header_length.to_le_bytes());
        octets.extend_from_slice(&self.content_length.to_le_bytes());
        octets.extend_from_slice(&self.content_crc.to_le_bytes());
        octets.extend_from_slice(&self.header_crc.to_le_bytes());
        octets.extend_from_slice(&crc32c::crc32c(&octets).to_le_bytes());
        padded(&octets)
    }

    /// Reads a prefix; none when the octets aren't a sound one.
    #[must_use]
    pub fn decode(octets: &[u8]) -> Option<Self> {
        let mut rest = Cursor(octets);
        let nonce = rest.array()?;
        let sound = rest.take(4)? == RECORD_MAGIC && rest.u16()? == VERSION && rest.u16()? == 0;
        let (header_length, content_length) = (rest.u32()?, rest.u64()?);
        let (content_crc, header_crc) = (rest.u32()?, rest.u32()?);
        let covered = octets.get(..PREFIX - 4)?;
        let sound = sound && rest.u32()? == crc32c::crc32c(covered) && header_length <= MAX_HEADER;
        sound.then_some(Self { nonce, header_length, content_length, content_crc, header_crc })
    }

    /// Octets of the whole record.
    #[must_use]
    pub fn record_length(&self) -> Option<u64> {
        (PREFIX as u64).checked_add(self.content_length)?.checked_add(u64::from(self.header_length))
    }
}

/// The octets that each record of this file begins with.
#[must_use]
pub fn mark(nonce: Nonce) -> [u8; 12] {
    let mut mark = [0; 12];
    for (to, from) in mark.iter_mut().zip(nonce.iter().chain(RECORD_MAGIC)) {
        *to = *from;
    }
    mark
}

/// Where records may begin, whatever their nonce.
pub fn marks(octets: &[u8]) -> impl Iterator<Item = usize> {
    memchr::memmem::find_iter(octets, RECORD_MAGIC).filter_map(|found| found.checked_sub(size_of::<Nonce>()))
}

mod tag {
    pub const RECEIVED_AT: u8 = 1;
    pub const SENDER: u8 = 2;
    pub const WISHES: u8 = 3;
    pub const ENVID: u8 = 4;
    pub const RECIPIENT: u8 = 5;
    pub const CLIENT: u8 = 6;
    pub const HELO: u8 = 7;
    pub const APPLICATION: u8 = 8;
    pub const SUBJECT: u8 = 9;
    pub const TAG: u8 = 10;
    pub const META: u8 = 11;
    pub const PART: u8 = 12;
    pub const CAME: u8 = 13;

    pub const ADDRESS: u8 = 1;
    pub const NOTIFY: u8 = 2;
    pub const ORCPT: u8 = 3;

    pub const NAME: u8 = 1;
    pub const VALUE: u8 = 2;

    pub const ID: u8 = 1;
    pub const LANE: u8 = 2;
    pub const CLASS: u8 = 3;
    pub const DUE: u8 = 4;
    pub const HELD: u8 = 5;
    pub const NUMBERS: u8 = 6;
    pub const EXPIRES: u8 = 7;
}

/// A record's header: the whole submission, and the id of each of its parts.
#[must_use]
pub fn encode_header(ids: &[QueueId], submission: &Submission) -> Vec<u8> {
    let mut out = Vec::with_capacity(512);
    let envelope = &submission.envelope;
    put(&mut out, tag::RECEIVED_AT, &submission.received_at.as_millisecond().to_le_bytes());
    if let Some(sender) = &envelope.sender {
        put(&mut out, tag::SENDER, sender.as_str().as_bytes());
    }
    put(&mut out, tag::WISHES, &[wishes(envelope)]);
    put_text(&mut out, tag::ENVID, envelope.envid.as_deref());
    for recipient in &envelope.recipients {
        put_nested(&mut out, tag::RECIPIENT, |out| {
            put(out, tag::ADDRESS, recipient.address.as_str().as_bytes());
            if let Some(notify) = recipient.notify {
                put(out, tag::NOTIFY, &[notify_bits(notify)]);
            }
            put_text(out, tag::ORCPT, recipient.orcpt.as_deref());
        });
    }
    let client = submission.origin.client.map(|client| client.to_string());
    put_text(&mut out, tag::CLIENT, client.as_deref());
    put(&mut out, tag::HELO, submission.origin.helo.as_bytes());
    put_text(&mut out, tag::APPLICATION, submission.origin.application.as_deref());
    put_text(&mut out, tag::SUBJECT, submission.notes.subject.as_deref());
    put_text(&mut out, tag::TAG, submission.notes.tag.as_deref());
    for (name, value) in &submission.notes.meta {
        put_nested(&mut out, tag::META, |out| {
            put(out, tag::NAME, name.as_bytes());
            put(out, tag::VALUE, value.as_bytes());
        });
    }
    for (name, fields) in &submission.notes.came {
        put_nested(&mut out, tag::CAME, |out| {
            put(out, tag::NAME, name);
            put(out, tag::VALUE, fields);
        });
    }
    for (id, part) in ids.iter().zip(&submission.parts) {
        put_nested(&mut out, tag::PART, |out| {
            put(out, tag::ID, &id.to_bits().to_le_bytes());
            put(out, tag::LANE, part.lane.as_str().as_bytes());
            put(out, tag::CLASS, &[class_bits(part.class)]);
            put(out, tag::DUE, &part.due.as_millisecond().to_le_bytes());
            put(out, tag::HELD, &[u8::from(part.held) | u8::from(part.discarded) << 1]);
            put_nested(out, tag::NUMBERS, |out| {
                for &number in &part.recipients {
                    out.extend_from_slice(&u32::try_from(number).unwrap_or(u32::MAX).to_le_bytes());
                }
            });
            if let Some(expires_at) = part.expires_at {
                put(out, tag::EXPIRES, &expires_at.as_millisecond().to_le_bytes());
            }
        });
    }
    out
}

/// Whether a record with this header holds this message. Looked for as octets, so that a header which is spoilt
/// somewhere else still tells.
#[must_use]
pub fn holds(header: &[u8], id: QueueId) -> bool {
    let mut field = Vec::with_capacity(13);
    put(&mut field, tag::ID, &id.to_bits().to_le_bytes());
    memchr::memmem::find(header, &field).is_some()
}

/// Reads a header back; none when it isn't one of ours.
#[must_use]
pub fn decode_header(octets: &[u8]) -> Option<(Vec<QueueId>, Submission)> {
    let mut envelope = Envelope {
        sender: None,
        recipients: Vec::new(),
        body: Body::SevenBit,
        smtputf8: false,
        ret: None,
        envid: None,
    };
    let mut origin = Origin { client: None, helo: "".into(), application: None };
    let (mut notes, mut received_at) = (Notes::default(), None);
    let (mut ids, mut parts) = (Vec::new(), Vec::new());
    let mut rest = Cursor(octets);
    while let Some((tag, field)) = rest.field()? {
        match tag {
            tag::RECEIVED_AT => received_at = time(field),
            tag::SENDER => envelope.sender = Some(Address::parse(field, true).ok()?),
            tag::WISHES => set_wishes(&mut envelope, *field.first()?),
            tag::ENVID => envelope.envid = Some(text(field)?.into()),
            tag::RECIPIENT => envelope.recipients.push(decode_recipient(field)?),
            tag::CLIENT => origin.client = text(field)?.parse().ok(),
            tag::HELO => origin.helo = text(field)?.into(),
            tag::APPLICATION => origin.application = Some(text(field)?.into()),
            tag::SUBJECT => notes.subject = Some(text(field)?.into()),
            tag::TAG => notes.tag = Some(text(field)?.into()),
            tag::META => notes.meta.push(decode_meta(field)?),
            tag::CAME => notes.came.push(decode_came(field)?),
            tag::PART => {
                let (id, part) = decode_part(field)?;
                ids.push(id);
                parts.push(part);
            }
            _ => {}
        }
    }
    let submission = Submission { envelope, origin, received_at: received_at?, notes, parts };
    is_sound(&submission).then_some((ids, submission))
}

/// Whether there are parts, each with recipients, and each of these exists.
#[must_use]
pub fn is_sound(submission: &Submission) -> bool {
    let known = submission.envelope.recipients.len();
    let sound =
        |part: &Part| !part.recipients.is_empty() && part.recipients.iter().all(|&number| number < known);
    !submission.parts.is_empty() && submission.parts.iter().all(sound)
}

fn decode_recipient(octets: &[u8]) -> Option<Recipient> {
    let (mut address, mut notify, mut orcpt) = (None, None, None);
    let mut rest = Cursor(octets);
    while let Some((tag, field)) = rest.field()? {
        match tag {
            tag::ADDRESS => address = Address::parse(field, true).ok(),
            tag::NOTIFY => notify = Some(notify_from(*field.first()?)),
            tag::ORCPT => orcpt = Some(text(field)?.into()),
            _ => {}
        }
    }
    Some(Recipient { address: address?, notify, orcpt })
}

fn decode_meta(octets: &[u8]) -> Option<(String, String)> {
    let (mut name, mut value) = (String::new(), String::new());
    let mut rest = Cursor(octets);
    while let Some((tag, field)) = rest.field()? {
        match tag {
            tag::NAME => name = text(field)?.into(),
            tag::VALUE => value = text(field)?.into(),
            _ => {}
        }
    }
    Some((name, value))
}

fn decode_came(octets: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let (mut name, mut fields) = (Vec::new(), Vec::new());
    let mut rest = Cursor(octets);
    while let Some((tag, field)) = rest.field()? {
        match tag {
            tag::NAME => name = field.to_vec(),
            tag::VALUE => fields = field.to_vec(),
            _ => {}
        }
    }
    Some((name, fields))
}

fn decode_part(octets: &[u8]) -> Option<(QueueId, Part)> {
    let (mut id, mut lane, mut due) = (None, None, None);
    let (mut class, mut recipients) = (Class::Normal, Vec::new());
    let (mut held, mut discarded) = (false, false);
    let mut expires_at = None;
    let mut rest = Cursor(octets);
    while let Some((tag, field)) = rest.field()? {
        match tag {
            tag::ID => id = Some(QueueId::from_bits(Cursor(field).u64()?)),
            tag::LANE => lane = Some(text(field)?.into()),
            tag::CLASS => class = class_from(*field.first()?)?,
            tag::DUE => due = time(field),
            tag::HELD => {
                held = *field.first()? != 0;
                discarded = *field.first()? & 2 != 0;
            }
            tag::EXPIRES => expires_at = time(field),
            tag::NUMBERS => {
                let mut numbers = Cursor(field);
                while let Some(number) = numbers.u32() {
                    recipients.push(usize::try_from(number).ok()?);
                }
            }
            _ => {}
        }
    }
    Some((id?, Part { lane: lane?, class, recipients, due: due?, held, discarded, expires_at }))
}

/// `BODY`, `SMTPUTF8` and `RET` in one octet, as the index stores them, too.
#[must_use]
pub fn wishes(envelope: &Envelope) -> u8 {
    let ret = match envelope.ret {
        None => 0,
        Some(Ret::Full) => 4,
        Some(Ret::Headers) => 8,
    };
    u8::from(envelope.body == Body::EightBitMime) | u8::from(envelope.smtputf8) << 1 | ret
}

/// The reverse of [`wishes`].
pub fn set_wishes(envelope: &mut Envelope, bits: u8) {
    envelope.body = if bits & 1 == 0 { Body::SevenBit } else { Body::EightBitMime };
    envelope.smtputf8 = bits & 2 != 0;
    envelope.ret = match bits & 0b1100 {
        4 => Some(Ret::Full),
        8 => Some(Ret::Headers),
        _ => None,
    };
}

/// `NOTIFY` in one octet.
#[must_use]
pub fn notify_bits(notify: Notify) -> u8 {
    u8::from(notify.success) | u8::from(notify.failure) << 1 | u8::from(notify.delay) << 2
}

/// The reverse of [`notify_bits`].
#[must_use]
pub fn notify_from(bits: u8) -> Notify {
    Notify { success: bits & 1 != 0, failure: bits & 2 != 0, delay: bits & 4 != 0 }
}

/// A class as a number that sorts by urgency.
#[must_use]
pub fn class_bits(class: Class) -> u8 {
    match class {
        Class::Priority => 0,
        Class::Normal => 1,
        Class::Bulk => 2,
    }
}

/// The reverse of [`class_bits`].
#[must_use]
pub fn class_from(bits: u8) -> Option<Class> {
    Class::ALL.get(usize::from(bits)).copied()
}

fn time(field: &[u8]) -> Option<Timestamp> {
    let ms = i64::from_le_bytes(field.try_into().ok()?);
    Timestamp::from_millisecond(ms).ok()
}

fn text(field: &[u8]) -> Option<&str> {
    std::str::from_utf8(field).ok()
}

fn put(out: &mut Vec<u8>, tag: u8, octets: &[u8]) {
    put_nested(out, tag, |out| out.extend_from_slice(octets));
}

fn put_text(out: &mut Vec<u8>, tag: u8, text: Option<&str>) {
    if let Some(text) = text {
        put(out, tag, text.as_bytes());
    }
}

fn put_nested(out: &mut Vec<u8>, tag: u8, fill: impl FnOnce(&mut Vec<u8>)) {
    out.push(tag);
    let length_at = out.len();
    out.extend_from_slice(&[0; 4]);
    fill(out);
    let length = u32::try_from(out.len() - length_at - 4).unwrap_or(u32::MAX);
    if let Some(place) = out.get_mut(length_at..length_at + 4) {
        place.copy_from_slice(&length.to_le_bytes());
    }
}

fn padded<const N: usize>(octets: &[u8]) -> [u8; N] {
    let mut padded = [0; N];
    for (to, from) in padded.iter_mut().zip(octets) {
        *to = *from;
    }
    padded
}

/// Octets read from the front.
struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (front, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(front)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    /// The next field: `Some(None)` at the end, `None` when cut short.
    #[expect(
        clippy::option_option,
        reason = "the end and the damage are different things, and `?` parts them"
    )]
    fn field(&mut self) -> Option<Option<(u8, &'a [u8])>> {
        if self.0.is_empty() {
            return Some(None);
        }
        let [tag] = self.array()?;
        let length = usize::try_from(self.u32()?).ok()?;
        Some(Some((tag, self.take(length)?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::testing;
    use proptest::prelude::*;

    #[test]
    fn a_submission_reads_back_as_it_was() {
        let mut submission = testing::submission("shop", &["a@b.example", "\"x y\"@c.example"]);
        submission.envelope.envid = Some("QQ314159".into());
        submission.envelope.ret = Some(Ret::Headers);
        submission.envelope.body = Body::EightBitMime;
        submission.envelope.recipients[1].notify =
            Some(Notify { success: true, failure: false, delay: true });
        submission.envelope.recipients[1].orcpt = Some("rfc822;x".into());
        submission.origin.client = Some("2001:db8::1".parse().unwrap());
        submission.notes.meta = vec![("order".into(), "7".into()), ("order".into(), String::new())];
        submission.notes.subject = Some("Grüße".into());
        submission.parts[0].expires_at = Timestamp::from_second(1_795_000_900).ok();
        let ids = vec![QueueId::from_bits(7)];
        let (ids_back, back) = decode_header(&encode_header(&ids, &submission)).unwrap();
        assert_eq!(ids_back, ids);
        assert_eq!(format!("{back:?}"), format!("{submission:?}"));
    }

    #[test]
    fn a_null_sender_stays_null() {
        let mut submission = testing::submission("shop", &["a@b.example"]);
        submission.envelope.sender = None;
        let (_, back) = decode_header(&encode_header(&[QueueId::from_bits(7)], &submission)).unwrap();
        assert_eq!(back.envelope.sender, None);
    }

    #[test]
    fn one_flipped_bit_spoils_a_prefix_or_a_head() {
        let prefix = Prefix {
            nonce: *b"12345678",
            header_length: 9,
            content_length: 10,
            content_crc: 1,
            header_crc: 2,
        };
        let (octets, head) = (prefix.encode(), head(*b"12345678"));
        assert_eq!(Prefix::decode(&octets), Some(prefix));
        assert_eq!(head_nonce(&head), Some(*b"12345678"));
        for bit in 0..octets.len() * 8 {
            let mut spoilt = octets;
            spoilt[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Prefix::decode(&spoilt), None, "{bit}");
        }
        for bit in 0..28 * 8 {
            let mut spoilt = head;
            spoilt[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(head_nonce(&spoilt), None, "{bit}");
        }
    }

    proptest! {
        #[test]
        fn any_octets_decode_or_dont_but_never_crash(octets in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode_header(&octets);
            let _ = Prefix::decode(&octets);
        }

        #[test]
        fn a_header_cut_short_is_refused_or_smaller(cut in 0_usize..200) {
            let header = encode_header(&[QueueId::from_bits(7)], &testing::submission("shop", &["a@b.example"]));
            let cut = cut.min(header.len() - 1);
            // The part is the last field: without it there is no sound submission.
            prop_assert!(decode_header(&header[..cut]).is_none());
        }
    }
}
