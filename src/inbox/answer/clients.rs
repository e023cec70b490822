//! Marks that mail programs leave in their HTML: which element is a quotation, where the history begins, what is a
//! signature.
//!
//! Promises: each program is one row, with a name that comes out as `cut_by`; nothing is told from words here.

use super::html::Element;
use std::collections::HashMap;
use std::sync::LazyLock;

/// What an element's markup says about what stands in it, or behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// What is in it is quoted.
    Quote,
    /// Likewise; but people put what they cite from elsewhere into such an element, too.
    Cited,
    /// It wraps attribution and quotation; an answer may stand between quotations.
    Wrapper,
    /// From here on all is history.
    History,
    /// Likewise, unless another element says so further down: there is room for one's words between them.
    Opening,
    /// From here on all is history if a header block stands here.
    Headers,
    /// It is a signature or a device line.
    Signature,
    /// Quoted or just set in: what is around it decides.
    Indented,
    /// It was sent by ourselves ([`super::known`]).
    Known,
}

/// A mark on a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    /// The rule's name.
    pub rule: &'static str,
    /// What it says.
    pub part: Part,
}

impl Mark {
    /// What it is on is quoted.
    pub fn quotes(self) -> bool {
        matches!(self.part, Part::Quote | Part::Cited)
    }

    /// A program's history begins on its line: what stands above is none of its header block.
    pub fn begins_history(self) -> bool {
        matches!(self.part, Part::History | Part::Opening | Part::Headers)
    }

    /// It is on the attribution itself.
    pub fn is_attribution(self) -> bool {
        self.part == Part::Quote && matches!(self.rule, GMAIL | "html:moz_cite" | "html:roundcube_intro")
    }
}

/// Where a row looks.
#[derive(Debug, Clone, Copy)]
enum At {
    /// One of the words of `class`.
    Class,
    /// The end of one of the words of `class`, whatever a program put in front.
    ClassEnd,
    /// The whole `id`.
    Id,
    /// The beginning of `id`.
    IdStart,
    /// An `id` of this and nothing but digits behind it.
    IdNumber,
    /// A piece of `style`, in lower case and without spaces.
    Style,
    /// The whole of another attribute.
    Attribute(&'static str),
}

/// One rule for one program.
struct Row {
    rule: &'static str,
    at: At,
    value: &'static str,
    part: Part,
}

const fn row(rule: &'static str, at: At, value: &'static str, part: Part) -> Row {
    Row { rule, at, value, part }
}

const ROWS: &[Row] = &[
    // Gmail on the web and on phones, and the many that write as it does.
    row(GMAIL, At::Class, "gmail_quote", Part::Wrapper),
    row(GMAIL, At::Class, "gmail_quote_container", Part::Wrapper),
    row(GMAIL, At::Class, "gmail_attr", Part::Quote),
    row("html:gmail_signature", At::Class, "gmail_signature", Part::Signature),
    row("html:gmail_signature", At::Class, "gmail_signature_prefix", Part::Signature),
    row("html:gmail_signature", At::Attribute("data-smartmail"), "gmail_signature", Part::Signature),
    // Outlook on the web, on phones, on the desk.
    row("html:outlook_reply", At::Id, "divRplyFwdMsg", Part::History),
    row("html:outlook_reply", At::Id, "appendonsend", Part::Opening),
    row("html:outlook_reply", At::Id, "mail-editor-reference-message-container", Part::History),
    row("html:outlook_reply", At::Class, "ms-outlook-mobile-reference-message", Part::History),
    row("html:outlook_reply", At::Id, "OLK_SRC_BODY_SECTION", Part::History),
    row("html:outlook_reply", At::Class, "OutlookMessageHeader", Part::History),
    row("html:outlook_border", At::Style, "border:none;border-top:solid", Part::Headers),
    row("html:outlook_border", At::Style, "border-style:solidnonenone", Part::Headers),
    row("html:outlook_border", At::Style, "border-top:1ptsolid", Part::Headers),
    row("html:outlook_border", At::Style, "border-top:solid1.0pt", Part::Headers),
    row("html:outlook_border", At::Style, "border-top-width:1px;border-top-style:solid", Part::Headers),
    row("html:outlook_inline", At::Style, "border-left:solidblue", Part::Quote),
    row("html:hotmail_rule", At::Id, "stopSpelling", Part::History),
    row("html:outlook_signature", At::Id, "Signature", Part::Signature),
    row("html:outlook_signature", At::Id, "ms-outlook-mobile-signature", Part::Signature),
    row("html:outlook_signature", At::Class, "ms-outlook-mobile-signature", Part::Signature),
    // Mozilla, Apple, and all that took over their blockquote.
    row("html:moz_cite", At::Class, "moz-cite-prefix", Part::Quote),
    row("html:moz_cite", At::Class, "moz-email-headers-table", Part::History),
    row("html:moz_forward", At::Class, "moz-forward-container", Part::Quote),
    row("html:moz_signature", At::Class, "moz-signature", Part::Signature),
    row("html:moz_signature", At::Class, "moz-txt-sig", Part::Signature),
    row("html:cite", At::Attribute("type"), "cite", Part::Cited),
    row("html:apple_signature", At::Id, "AppleMailSignature", Part::Signature),
    row("html:apple_signature", At::IdStart, "lineBreakAtBeginningOfSignature", Part::Signature),
    // Web mailers.
    row("html:yahoo_quoted", At::ClassEnd, "yahoo_quoted", Part::Quote),
    row("html:yahoo_quoted", At::IdStart, "yahoo_quoted", Part::Quote),
    row("html:yahoo_signature", At::Id, "ymail_android_signature", Part::Signature),
    row("html:yahoo_signature", At::Id, "ymail_ios_signature", Part::Signature),
    row("html:yahoo_signature", At::ClassEnd, "yahoo-signature", Part::Signature),
    row("html:protonmail_quote", At::Class, "protonmail_quote", Part::Wrapper),
    row("html:protonmail_signature", At::Class, "protonmail_signature_block", Part::Signature),
    row("html:tutanota_quote", At::Class, "tutanota_quote", Part::Quote),
    row("html:zmail_quote", At::Class, "zmail_extra", Part::Wrapper),
    row("html:zmail_quote", At::Id, "blockquote_zmail", Part::Quote),
    row("html:zmail_signature", At::Id, "Zm-_Id_-Sgn", Part::Signature),
    row("html:zimbra_rule", At::Id, "zwchr", Part::History),
    row("html:zimbra_rule", At::Attribute("data-marker"), "__DIVIDER__", Part::History),
    row("html:zimbra_rule", At::Attribute("data-marker"), "__QUOTED_TEXT__", Part::Quote),
    row("html:zimbra_rule", At::Attribute("data-marker"), "__HEADERS__", Part::Quote),
    row("html:zimbra_signature", At::Attribute("data-marker"), "__SIG_PRE__", Part::Signature),
    row("html:zimbra_signature", At::Attribute("data-marker"), "__SIG_POST__", Part::Signature),
    row("html:named_quote", At::Attribute("name"), "quote", Part::Quote),
    row("html:roundcube_intro", At::Id, "reply-intro", Part::Quote),
    row("html:aol_quote", At::IdStart, "AOLMsgPart", Part::Quote),
    row("html:yandex_quote", At::Attribute("data-quote-type"), "reply", Part::Quote),
    row("html:mailru_quote", At::Class, "mail-quote-collapse", Part::Quote),
    row("html:netease_quote", At::Id, "isReplyContent", Part::Quote),
    row("html:netease_quote", At::Id, "isForwardContent", Part::Quote),
    row("html:qq_quote", At::Class, "qm_original_mail", Part::Quote),
    row("html:qq_quote", At::Class, "xm_mail_oringinal_describe", Part::History),
    row("html:fastmail_signature", At::IdNumber, "sig", Part::Signature),
    row("html:orange_quote", At::Class, "Wmail-quote", Part::Quote),
    row("html:infomaniak_quote", At::Class, "ik_mail_quote", Part::Quote),
    row("html:infomaniak_quote", At::Class, "forwardContentMessage", Part::Quote),
    // Programs on the desk and on phones.
    row("html:spark_quote", At::Attribute("name"), "messageReplySection", Part::Quote),
    row("html:spark_signature", At::Attribute("name"), "messageSignatureSection", Part::Signature),
    row("html:airmail_quote", At::Class, "clean_bq", Part::Quote),
    row("html:airmail_quote", At::Class, "airmail_on", Part::Quote),
    row("html:bluemail_quote", At::Class, "replyHeader", Part::History),
    row("html:k9_quote", At::Class, "k9mail_quote", Part::Quote),
    row("html:k9_signature", At::Class, "k9mail-signature", Part::Signature),
    row("html:fairemail_quote", At::Class, "fairemail_quote", Part::Quote),
    row("html:fairemail_signature", At::Class, "fairemail_signature", Part::Signature),
    row("html:emclient_quote", At::Class, "cite2", Part::Quote),
    row("html:nine_quote", At::Class, "quoted_output_body", Part::Quote),
    row("html:mailbird_quote", At::Class, "history_container", Part::Quote),
    row("html:samsung_signature", At::Id, "composer_signature", Part::Signature),
    row("html:samsung_signature", At::Id, "mail-app-auto-default-signature", Part::Signature),
    row("html:evolution_quote", At::Class, "-x-evo-quoted", Part::Quote),
    row("html:superhuman_quote", At::Class, "sh-quoted-content", Part::Quote),
    row("html:superhuman_signature", At::Class, "sh-signature", Part::Signature),
    row("html:edison_quote", At::Class, "edo-quoted", Part::Quote),
    row("html:newton_quote", At::Class, "cm_quote", Part::Quote),
    // Shared inboxes and help desks.
    row("html:missive_quote", At::Class, "missive_quote", Part::Quote),
    row("html:missive_signature", At::Class, "missive_signature", Part::Signature),
    row("html:front_quote", At::Class, "front-blockquote", Part::Quote),
    row("html:front_signature", At::Class, "front-signature", Part::Signature),
    row("html:freshdesk_quote", At::Class, "freshdesk_quote", Part::Quote),
    row("html:freshdesk_quote", At::Class, "quoted-text", Part::Quote),
    row("html:zendesk_quote", At::Class, "zd-quote", Part::Quote),
    row("html:hubspot_quote", At::Class, "hs_reply", Part::Quote),
    row("html:hey_quote", At::Class, "trix-quote", Part::Quote),
];

/// What an element's markup says, if a program is known by it.
pub fn mark(element: &Element<'_>) -> Option<Mark> {
    let words = element.attribute("class").unwrap_or_default().split_ascii_whitespace();
    let by_class = words.filter_map(|word| INDEX.classes.get(bare(word))).min();
    let by_id = element.attribute("id").and_then(|id| INDEX.ids.get(bare(id)));
    let by_other = INDEX.others.iter().find(|at| ROWS.get(**at).is_some_and(|row| fits(row, element)));
    let first = [by_class, by_id, by_other].into_iter().flatten().min().and_then(|at| ROWS.get(*at));
    // Thunderbird names the mail that it quotes.
    let names_mail = || element.attribute("cite").is_some_and(|cite| cite.starts_with("mid:"));
    let part = |row: &Row| if row.part == Part::Cited && names_mail() { Part::Quote } else { row.part };
    first.map(|row| Mark { rule: row.rule, part: part(row) }).or_else(|| by_shape(element))
}

/// The rows by what they look at, so that a class of a thousand words is read once and not once for each row. Of the
/// rows that fit, the first goes.
struct Index {
    classes: HashMap<&'static str, usize>,
    ids: HashMap<&'static str, usize>,
    others: Vec<usize>,
}

static INDEX: LazyLock<Index> = LazyLock::new(|| {
    let mut index = Index { classes: HashMap::new(), ids: HashMap::new(), others: Vec::new() };
    for (at, row) in ROWS.iter().enumerate() {
        match row.at {
            At::Class => _ = index.classes.entry(row.value).or_insert(at),
            At::Id => _ = index.ids.entry(row.value).or_insert(at),
            At::ClassEnd | At::IdStart | At::IdNumber | At::Style | At::Attribute(_) => index.others.push(at),
        }
    }
    index
});

/// What every program writes alike.
fn by_shape(element: &Element<'_>) -> Option<Mark> {
    match element.name.as_ref() {
        // Outlook on the web draws this above its header block.
        "hr" if element.attribute("tabindex") == Some("-1") && element.style().contains("width:98%") => {
            Some(Mark { rule: "html:outlook_reply", part: Part::History })
        }
        "blockquote" if is_plain_indent(element.style()) => None,
        "blockquote" if element.style().contains("border-left") => {
            Some(Mark { rule: "html:blockquote", part: Part::Indented })
        }
        "blockquote" => Some(Mark { rule: INDENT, part: Part::Indented }),
        _ => None,
    }
}

/// Gmail's rule.
pub const GMAIL: &str = "html:gmail_quote";

/// The rule of a blockquote of which nothing is known.
pub const INDENT: &str = "html:indent";

/// Editors set text in with a blockquote that has no border.
fn is_plain_indent(style: &str) -> bool {
    style.contains("border:none") || style.contains("border:0") || style.contains("border:medium none")
}

/// Does an element fit a row that the index doesn't tell?
fn fits(row: &Row, element: &Element<'_>) -> bool {
    match row.at {
        // The index tells these.
        At::Class | At::Id => false,
        At::ClassEnd => element
            .attribute("class")
            .is_some_and(|class| class.split_ascii_whitespace().any(|word| word.ends_with(row.value))),
        At::IdStart => element.attribute("id").is_some_and(|id| bare(id).starts_with(row.value)),
        At::IdNumber => element.attribute("id").is_some_and(|id| {
            bare(id).strip_prefix(row.value).is_some_and(|number| {
                !number.is_empty() && number.bytes().all(|octet| octet.is_ascii_digit())
            })
        }),
        At::Style => element.attribute("style").is_some() && element.style().contains(row.value),
        At::Attribute(name) => {
            element.attribute(name) == Some(row.value) && (name != "type" || element.name == "blockquote")
        }
    }
}

/// Outlook and Hotmail put these in front of the names of others.
fn bare(name: &str) -> &str {
    let mut name = name;
    while let Some(rest) = name.strip_prefix("x_").or_else(|| name.strip_prefix("ecx")) {
        name = rest;
    }
    name
}
