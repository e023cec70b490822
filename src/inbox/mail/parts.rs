//! The MIME tree laid flat: texts, attachments, reports (RFC 2045, RFC 2046, RFC 2231).

use super::{Attachment, MAX_ATTACHMENTS, MAX_TEXT, ReportPart, charset, disarm, flowed};
use crate::message::decode::{self, clean};
use crate::message::fields::HeaderSection;
use aws_lc_rs::digest::SHA256;
use mail_parser::{Message, MessagePart, MimeHeaders as _, PartType};
use std::borrow::Cow;

/// Octets of a delivery report that are read.
const MAX_REPORT: usize = 64 * 1024;

/// What the parser's tree holds, in our terms.
#[derive(Default)]
pub(super) struct Parts {
    pub(super) text: Option<String>,
    pub(super) html: Option<String>,
    pub(super) attachments: Vec<Attachment>,
    pub(super) reports: Vec<ReportPart>,
    pub(super) content_type: String,
    pub(super) left_out: bool,
    /// Whether what the parser saw must be armed again.
    pub(super) is_disarmed: bool,
}

impl Parts {
    pub(super) fn collect(&mut self, message: &Message<'_>) {
        self.content_type = message.parts.first().map(media_type).unwrap_or_default();
        for &part in &message.text_body {
            let Some(part) = message.part(part) else { continue };
            if let PartType::Text(text) = &part.body {
                let latin = charset::mislabelled(message, part, text);
                let text = self.armed(latin.as_deref().unwrap_or(text));
                let text = flowed::unwrapped(part, text);
                push(self.text.get_or_insert_default(), &text);
            }
        }
        for &part in &message.html_body {
            let Some(part) = message.part(part) else { continue };
            if let PartType::Html(html) = &part.body {
                let latin = charset::mislabelled(message, part, html);
                let html = self.armed(latin.as_deref().unwrap_or(html));
                // What follows another part stands below it: Apple's programs write one on each side of an attachment.
                let html = if self.html.is_some() { Cow::Owned(format!("<div>{html}</div>")) } else { html };
                push(self.html.get_or_insert_default(), &html);
            }
        }
        // Of a mail whose only text is HTML the parser says it is the text, too, and the other way round.
        for &part in &message.attachments {
            let Some(part) = message.part(part) else { continue };
            if self.attachments.len() >= MAX_ATTACHMENTS {
                self.left_out = true;
                break;
            }
            self.attach(message, part);
        }
        // Images that stand between the texts are in the lists of bodies only.
        for &part in message.html_body.iter().chain(&message.text_body) {
            let Some(part) = message.part(part) else { continue };
            let known = |content: &[u8]| self.attachments.iter().any(|each| each.content == content);
            if let PartType::InlineBinary(content) = &part.body
                && self.attachments.len() < MAX_ATTACHMENTS
                && !known(content)
            {
                self.attach(message, part);
            }
        }
    }

    fn armed<'t>(&self, text: &'t str) -> Cow<'t, str> {
        if self.is_disarmed {
            let armed = disarm::armed(text.as_bytes().to_vec());
            return Cow::Owned(String::from_utf8_lossy(&armed).into_owned());
        }
        Cow::Borrowed(text)
    }

    fn attach(&mut self, message: &Message<'_>, part: &MessagePart<'_>) {
        let content_type = media_type(part);
        let base = content_type.split(' ').next().unwrap_or_default().to_owned();
        let content = match &part.body {
            PartType::Text(text) | PartType::Html(text) => text.as_bytes().to_vec(),
            PartType::Binary(octets) | PartType::InlineBinary(octets) => octets.to_vec(),
            // Messages within are disarmed, so there are none.
            PartType::Message(_) | PartType::Multipart(_) => return,
        };
        let content = if self.is_disarmed { disarm::armed(content) } else { content };
        let report = matches!(
            base.as_str(),
            "message/delivery-status"
                | "message/global-delivery-status"
                | "message/disposition-notification"
                | "message/feedback-report"
                | "message/rfc822"
                | "message/global"
                | "message/global-headers"
                | "text/rfc822-headers"
                | "text/calendar"
        );
        // An invitation stands among the texts; a calendar file that a person attached invites nobody.
        let is_file = base == "text/calendar"
            && part.content_disposition().is_some_and(|how| how.ctype().eq_ignore_ascii_case("attachment"));
        if report && !is_file && self.reports.len() < 10 {
            let start = content.get(..content.len().min(MAX_REPORT)).unwrap_or_default();
            self.reports.push(ReportPart { content_type: content_type.clone(), content: start.to_vec() });
        }
        let disposition = part.content_disposition();
        self.attachments.push(Attachment {
            filename: filename(raw_name(message, part).as_deref().or(part.attachment_name()), &base),
            sha256: sha256(&content),
            content_id: part.content_id().map(|id| clean(id, 200)).filter(|id| !id.is_empty()),
            inline: disposition.is_some_and(mail_parser::ContentType::is_inline)
                || disposition.is_none() && part.content_id().is_some(),
            content_type: base,
            content,
        });
    }

    /// The body as it stands, for what the parser couldn't read.
    pub(super) fn unread(octets: &[u8], header: &HeaderSection<'_>) -> Self {
        let start = header.octets().len();
        let body = octets.get(start..).unwrap_or_default();
        let body = body.get(..body.len().min(MAX_TEXT + 1)).unwrap_or_default();
        let text = String::from_utf8_lossy(body).trim_start_matches(['\r', '\n']).to_owned();
        Self { text: Some(text), ..Self::default() }
    }
}

fn push(whole: &mut String, piece: &str) {
    if whole.len() <= MAX_TEXT {
        if !whole.is_empty() && !whole.ends_with('\n') {
            whole.push('\n');
        }
        whole.push_str(piece);
    }
}

fn sha256(content: &[u8]) -> String {
    let digest = aws_lc_rs::digest::digest(&SHA256, content);
    digest.as_ref().iter().map(|octet| format!("{octet:02x}")).collect()
}

/// `multipart/report delivery-status`, `text/calendar reply`, `text/plain`.
fn media_type(part: &MessagePart<'_>) -> String {
    let Some(content_type) = part.content_type() else { return "text/plain".to_owned() };
    let subtype = content_type.subtype().unwrap_or("octet-stream");
    let subtype = disarm::armed(subtype.as_bytes().to_vec());
    let mut shown = format!("{}/{}", content_type.ctype(), String::from_utf8_lossy(&subtype));
    if let Some(detail) = content_type.attribute("report-type").or_else(|| content_type.attribute("method")) {
        shown = format!("{shown} {detail}");
    }
    clean(&shown, 200).to_ascii_lowercase()
}

/// A part's file name where its fields hold raw octets that aren't UTF-8.
fn raw_name(message: &Message<'_>, part: &MessagePart<'_>) -> Option<String> {
    let (start, end) = (usize::try_from(part.offset_header).ok()?, usize::try_from(part.offset_body).ok()?);
    let fields = message.raw_message.get(start..end)?;
    let fields = charset::of_raw_fields(fields, &message.raw_message)?(fields);
    let header = HeaderSection::of(fields.as_bytes());
    let parameter = |field: &str, name: &str| {
        let value = decode::typed(&header.named(field).next()?.value())?;
        value.parameter(name).map(str::to_owned)
    };
    parameter("Content-Disposition", "filename").or_else(|| parameter("Content-Type", "name"))
}

/// A name that is safe to show and has an extension.
fn filename(given: Option<&str>, content_type: &str) -> String {
    let name = clean(given.unwrap_or_default(), 200);
    let name = name.rsplit(['/', '\\']).next().unwrap_or_default().trim().trim_start_matches('.').to_owned();
    let name = if name.is_empty() { "attachment".to_owned() } else { name };
    let has_extension = name.rsplit_once('.').is_some_and(|(stem, extension)| {
        !stem.is_empty() && (1..=10).contains(&extension.len()) && !extension.contains(' ')
    });
    if has_extension {
        return name;
    }
    let extension = match content_type {
        "text/plain" => "txt",
        "text/html" => "html",
        "text/calendar" => "ics",
        "image/jpeg" => "jpg",
        "image/png" => "png",
        "image/gif" => "gif",
        "application/pdf" => "pdf",
        "message/rfc822" | "message/global" => "eml",
        _ => "bin",
    };
    format!("{name}.{extension}")
}

/// The second `plan.pdf` becomes `plan-2.pdf`.
pub(super) fn named_apart(mut attachments: Vec<Attachment>) -> Vec<Attachment> {
    let mut used = std::collections::BTreeSet::new();
    for attachment in &mut attachments {
        let (stem, extension) = attachment.filename.rsplit_once('.').unwrap_or((&attachment.filename, "bin"));
        let named = (2..).map(|count| format!("{stem}-{count}.{extension}"));
        let mut choices = std::iter::once(attachment.filename.clone()).chain(named);
        if let Some(name) = choices.find(|name| !used.contains(&name.to_lowercase())) {
            used.insert(name.to_lowercase());
            attachment.filename = name;
        }
    }
    attachments
}
