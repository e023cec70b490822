//! The shape of Postmark's inbound webhook: JSON with its key names. Attachments that are too much are left out,
//! because a receiver of this shape decodes every one: `X-Waystation-Attachments-Left-Out` counts them, and each has an
//! `X-Waystation-Attachment-Left-Out` with its id, name, type, size and SHA-256.

use super::{
    EventBody, JSON, Source, is_mailable, left_out_fields, own_fields, shown_parties, shown_party,
    sound_fields, sound_type,
};
use crate::inbox::mail::Party;
use serde::Serialize;

/// Our number stands first among the headers, but for the reverse-path, which receivers look for at the top.
const SEQ: &[u8] = b"{\"Name\":\"X-Waystation-Seq\",\"Value\":\"";

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Whole<'a> {
    from_name: &'a str,
    message_stream: &'static str,
    from: String,
    /// Null when nobody can be read there: receivers refuse an address that is empty.
    from_full: Option<Full<'a>>,
    to: String,
    to_full: Vec<Full<'a>>,
    cc: String,
    cc_full: Vec<Full<'a>>,
    bcc: &'static str,
    bcc_full: [Full<'a>; 0],
    original_recipient: &'a str,
    subject: &'a str,
    #[serde(rename = "MessageID")]
    message_id: &'a str,
    reply_to: String,
    mailbox_hash: &'a str,
    date: String,
    text_body: &'a str,
    html_body: &'a str,
    stripped_text_reply: &'a str,
    tag: &'static str,
    headers: Vec<Pair>,
    attachments: Vec<Attached<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Full<'a> {
    email: &'a str,
    name: &'a str,
    mailbox_hash: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Pair {
    name: String,
    value: String,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Attached<'a> {
    name: &'a str,
    content: &'a str,
    /// The content's name in tests of Postmark's, where receivers look when it is empty.
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<&'a str>,
    content_type: &'a str,
    content_length: usize,
    /// Not there when there is none: an empty one makes receivers take it for a picture within the text.
    #[serde(rename = "ContentID", skip_serializing_if = "Option::is_none")]
    content_id: Option<&'a str>,
}

pub(super) fn body(source: &Source<'_>) -> Result<EventBody, serde_json::Error> {
    let data = source.data;
    let seq = ("X-Waystation-Seq".to_owned(), "0".to_owned());
    let ours = own_fields(source)
        .into_iter()
        .chain(left_out_fields(source))
        .map(|(name, value)| (name.to_owned(), value));
    let path = ("Return-Path".to_owned(), format!("<{}>", data.envelope.sender));
    let others = sound_fields(source.mail).into_iter().filter(|(name, _)| !is_apart(name));
    let pairs = [path, seq].into_iter().chain(ours).chain(others);
    let whole = Whole {
        from_name: data.from.and_then(|from| from.name.as_deref()).unwrap_or_default(),
        message_stream: "inbound",
        from: data.from.map(|from| from.address.clone()).unwrap_or_default(),
        from_full: data.from.filter(|from| is_mailable(from)).map(full),
        to: shown_parties(data.to),
        to_full: data.to.iter().filter(|party| is_mailable(party)).map(full).collect(),
        cc: shown_parties(data.cc),
        cc_full: data.cc.iter().filter(|party| is_mailable(party)).map(full).collect(),
        bcc: "",
        bcc_full: [],
        original_recipient: data.envelope.recipient,
        subject: data.subject,
        message_id: data.id,
        reply_to: data.reply_to.filter(|party| is_mailable(party)).map(shown_party).unwrap_or_default(),
        mailbox_hash: source.detail,
        date: source.mail.field("Date").unwrap_or_default(),
        text_body: source.mail.text.as_deref().unwrap_or_default(),
        html_body: source.mail.html.as_deref().unwrap_or_default(),
        stripped_text_reply: data.reply.text,
        tag: "",
        headers: pairs.map(|(name, value)| Pair { name, value }).collect(),
        attachments: data
            .attachments
            .iter()
            .zip(&source.mail.attachments)
            .filter_map(|(each, attachment)| {
                let content = each.content.as_deref()?;
                Some(Attached {
                    name: each.filename,
                    content,
                    data: content.is_empty().then_some(content),
                    content_type: sound_type(attachment),
                    content_length: each.size_bytes,
                    content_id: each.content_id,
                })
            })
            .collect(),
    };
    Ok(EventBody::parted(&serde_json::to_vec(&whole)?, SEQ, JSON))
}

/// Fields that stand beside the headers, and a reverse-path that isn't ours.
fn is_apart(name: &str) -> bool {
    let apart = ["return-path", "from", "to", "cc", "bcc", "subject", "date", "reply-to"];
    apart.contains(&name.to_ascii_lowercase().as_str())
}

fn full(party: &Party) -> Full<'_> {
    let address = party.address.as_str();
    let local = address.split('@').next().unwrap_or_default();
    Full {
        email: address,
        name: party.name.as_deref().unwrap_or_default(),
        mailbox_hash: local.split_once('+').map_or("", |(_, hash)| hash),
    }
}
