//! The shape of Mailgun's routes: `multipart/form-data` with its field names and its own signature.
//!
//! Mailgun's `signature` is HMAC-SHA256, in hex, over `timestamp` and `token`, keyed with the text that the receiver has as
//! its signing key: here the first line of the inbox's secret file as it stands, `whsec_` and all. It doesn't cover the
//! content; the Standard Webhooks fields do. Made once with the event, so that every attempt has the same bytes.

use super::{
    EventBody, Source, left_out_fields, own_fields, shown_parties, shown_party, sound_fields, sound_type,
};
use aws_lc_rs::{digest, hmac};

pub(super) fn body(source: &Source<'_>) -> Result<EventBody, serde_json::Error> {
    let data = source.data;
    let boundary = boundary(source);
    let mut form = Form { octets: Vec::new(), boundary: &boundary };
    form.field("seq", "");
    // What stands so far ends behind the head of the first field: the number is its value.
    let before = form.octets.split_off(0);
    let before = before.strip_suffix(b"\r\n").unwrap_or(&before).to_vec();
    form.octets.extend_from_slice(b"\r\n");
    let timestamp = source.now.as_second().to_string();
    let key = hmac::Key::new(hmac::HMAC_SHA256, source.secret.text().as_bytes());
    let token = hex(hmac::sign(&key, format!("token {}", data.id).as_bytes()).as_ref());
    let token = token.get(..50).unwrap_or(&token).to_owned();
    let signature = hex(hmac::sign(&key, format!("{timestamp}{token}").as_bytes()).as_ref());
    for (name, value) in own_fields(source).into_iter().chain(left_out_fields(source)) {
        form.field(name, &value);
    }
    form.field("recipient", data.envelope.recipient);
    form.field("sender", data.envelope.sender);
    form.field("from", &data.from.map(shown_party).unwrap_or_default());
    form.field("To", &shown_parties(data.to));
    form.field("Cc", &shown_parties(data.cc));
    form.field("subject", data.subject);
    form.field("Message-Id", data.message_id.unwrap_or_default());
    form.field("Date", &source.mail.field("Date").unwrap_or_default());
    form.field("body-plain", source.mail.text.as_deref().unwrap_or_default());
    form.field("stripped-text", data.reply.text);
    form.field("stripped-signature", data.reply.signature.unwrap_or_default());
    if let Some(html) = source.mail.html.as_deref() {
        form.field("body-html", html);
    }
    if let Some(html) = data.reply.html {
        form.field("stripped-html", html);
    }
    form.field("message-headers", &serde_json::to_string(&sound_fields(source.mail))?);
    form.field("timestamp", &timestamp);
    form.field("token", &token);
    form.field("signature", &signature);
    let whole = data.attachments.iter().zip(&source.mail.attachments);
    let whole: Vec<_> = whole.filter(|(each, _)| each.content.is_some()).collect();
    form.field("attachment-count", &whole.len().to_string());
    let ids: serde_json::Map<String, serde_json::Value> = whole
        .iter()
        .zip(1..)
        .filter_map(|((each, _), number): (_, usize)| {
            Some((format!("<{}>", each.content_id?), format!("attachment-{number}").into()))
        })
        .collect();
    if !ids.is_empty() {
        form.field("content-id-map", &serde_json::to_string(&ids)?);
    }
    for ((each, attachment), number) in whole.iter().zip(1_usize..) {
        let name = format!("attachment-{number}");
        form.file(&name, each.filename, sound_type(attachment), &attachment.content);
    }
    form.octets.extend_from_slice(format!("--{boundary}--\r\n").as_bytes());
    let content_type = format!("multipart/form-data; boundary={boundary}");
    Ok(EventBody { before, after: form.octets, name_at: None, content_type })
}

/// A line that no content can hold by accident, the same for the same event.
fn boundary(source: &Source<'_>) -> String {
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(source.data.id.as_bytes());
    context.update(source.octets);
    format!("waystation-{}", hex(context.finish().as_ref()).get(..40).unwrap_or_default())
}

fn hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}

/// A form in the making (RFC 7578).
struct Form<'b> {
    octets: Vec<u8>,
    boundary: &'b str,
}

impl Form<'_> {
    fn field(&mut self, name: &str, value: &str) {
        let head = format!("--{}\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n", self.boundary);
        self.octets.extend_from_slice(head.as_bytes());
        self.octets.extend_from_slice(value.as_bytes());
        self.octets.extend_from_slice(b"\r\n");
    }

    fn file(&mut self, name: &str, filename: &str, content_type: &str, content: &[u8]) {
        // RFC 7578 §4.2 with the escapes that browsers use; names are free of control characters already.
        let filename = filename.replace('"', "%22");
        let plain = |c: char| c.is_ascii_alphanumeric() || "/.+-_".contains(c);
        let content_type =
            if content_type.chars().all(plain) { content_type } else { "application/octet-stream" };
        let head = format!(
            "--{}\r\nContent-Disposition: form-data; name=\"{name}\"; filename=\"{filename}\"\r\nContent-Type: {content_type}\r\n\r\n",
            self.boundary
        );
        self.octets.extend_from_slice(head.as_bytes());
        self.octets.extend_from_slice(content);
        self.octets.extend_from_slice(b"\r\n");
    }
}
