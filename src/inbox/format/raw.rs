//! The message itself, below fields of ours. Every octet of it stays: signatures still hold.

use super::{EventBody, Source, own_fields};
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
    after.extend_from_slice(source.octets);
    EventBody {
        before: b"X-Waystation-Seq: ".to_vec(),
        after,
        name_at: None,
        content_type: "message/rfc822".to_owned(),
    }
}
