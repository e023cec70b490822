//! The message itself, below fields of ours. Every octet of it stays, so that signatures still hold, but for fields that
//! bear a name of ours: what a stranger writes there would pass for our word.

use super::{EventBody, Source, is_ours, own_fields};
use crate::message::fields::Separator;

pub(super) fn body(source: &Source<'_>) -> EventBody {
    let mut after = b"\r\n".to_vec();
    for (name, value) in own_fields(source) {
        let value: String = value.chars().filter(|c| !c.is_control()).collect();
        after.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
    }
    // What comes without a header section must not become part of ours.
    if source.mail.header.separator() == Separator::Missing || !source.mail.header.leading_gap().is_empty() {
        after.extend_from_slice(b"\r\n");
    }
    let (octets, mut from) = (source.octets, 0);
    for field in source.mail.header.fields().filter(|field| is_ours(field.name())) {
        after.extend_from_slice(octets.get(from..field.range().start).unwrap_or_default());
        from = field.range().end;
    }
    after.extend_from_slice(octets.get(from..).unwrap_or_default());
    EventBody {
        before: b"X-Waystation-Seq: ".to_vec(),
        after,
        name_at: None,
        content_type: "message/rfc822".to_owned(),
    }
}
