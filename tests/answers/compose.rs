//! Mails as programs write them, composed from what each language says: a reply known by construction.
//!
//! `languages.json` holds, for each language, what a guest writes and how programs of that language announce a
//! quotation. Here stand the forms of the programs. Nothing in either is taken from a collection of mails.

use serde_json::Value;

/// A composed mail and what was newly written in it.
pub struct Mail {
    pub client: &'static str,
    pub language: String,
    pub kind: &'static str,
    pub text: Option<String>,
    pub html: Option<String>,
    /// The first is expected, the others are as good.
    pub accept: Vec<String>,
}

/// What a language says.
struct Words<'a> {
    value: &'a Value,
    wrote: String,
}

impl Words<'_> {
    fn say(&self, key: &str) -> &str {
        self.value[key].as_str().unwrap_or_default()
    }

    fn label(&self, at: usize) -> &str {
        self.value["labels"][at].as_str().unwrap_or_default()
    }

    fn quoted(&self) -> &str {
        self.say("quoted")
    }

    fn marked(&self) -> String {
        self.quoted().lines().map(|line| format!("> {line}\n")).collect()
    }

    /// A header block as Outlook shows it in plain text.
    fn block(&self, colon: &str) -> String {
        let [from, sent, to, subject] = [0, 1, 2, 3].map(|at| self.label(at).to_owned() + colon);
        format!(
            "{from} Casa Sol <hola@casasol.example>\n{sent} {}\n{to} Anna <anna@guest.example>\n{subject} Re: Casa Sol 4711\n",
            self.say("date")
        )
    }

    /// A header block that somebody typed, or a device that knows no addresses.
    fn typed(&self) -> String {
        let [from, sent, to, subject] = [0, 1, 2, 3].map(|at| self.label(at));
        format!("{from}: Casa Sol\n{sent}: {}\n{to}: Anna\n{subject}: Re: Casa Sol 4711\n", self.say("date"))
    }

    fn html_block(&self, end: &str) -> String {
        let [from, sent, to, subject] = [0, 1, 2, 3].map(|at| format!("<b>{}:</b>", self.label(at)));
        format!(
            "{from} Casa Sol &lt;hola@casasol.example&gt;{end}{sent} {}{end}{to} Anna &lt;anna@guest.example&gt;{end}{subject} Re: Casa Sol 4711",
            self.say("date")
        )
    }

    fn html_wrote(&self) -> String {
        html(&self.wrote)
    }

    fn html_quoted(&self) -> String {
        html(self.quoted()).replace('\n', "<br>")
    }
}

fn html(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// A text as HTML, an element for each line.
pub fn rows(text: &str) -> String {
    html(text)
        .lines()
        .map(|line| if line.is_empty() { "<div><br></div>".to_owned() } else { format!("<div>{line}</div>") })
        .collect()
}

/// Breaks a line as programs do that fill to a width.
fn broken(line: &str) -> String {
    let at = line.char_indices().take(58).filter(|(_, c)| *c == ' ').map(|(at, _)| at).last();
    match at.filter(|_| line.chars().count() > 60) {
        Some(at) => {
            format!("{}\n{}", line.get(..at).unwrap_or_default(), line.get(at + 1..).unwrap_or_default())
        }
        None => line.to_owned(),
    }
}

/// Every mail of every language.
pub fn mails(languages: &str) -> Vec<Mail> {
    let languages: Value = serde_json::from_str(languages).unwrap();
    languages.as_array().unwrap().iter().flat_map(of_language).collect()
}

fn of_language(value: &Value) -> Vec<Mail> {
    let say = |key: &str| value[key].as_str().unwrap().to_owned();
    let own = format!("{}\n\n{}", say("body"), say("bye"));
    let mut mails = texts(value, &own);
    mails.extend(bottoms(value, &own));
    mails.extend(wholes(value, &own));
    mails.extend(htmls(value, &own));
    mails
}

fn words<'a>(value: &'a Value, wrote: &str) -> Words<'a> {
    Words { value, wrote: value[wrote].as_str().unwrap().to_owned() }
}

fn mail(
    value: &Value,
    client: &'static str,
    kind: &'static str,
    text: Option<String>,
    html: Option<String>,
    accept: &[&str],
) -> Mail {
    let language = value["lang"].as_str().unwrap().to_owned();
    Mail {
        client,
        language,
        kind,
        text,
        html,
        accept: accept.iter().map(|text| (*text).to_owned()).collect(),
    }
}

/// Answers above the quotation, in plain text.
fn texts(value: &Value, own: &str) -> Vec<Mail> {
    let (gmail, apple, bird) = (words(value, "gmail"), words(value, "apple"), words(value, "bird"));
    let say = |key: &str| value[key].as_str().unwrap();
    let (marked, quoted) = (gmail.marked(), gmail.quoted());
    let strokes = "_".repeat(32);
    let original = say("original");
    let forms: Vec<(&'static str, String)> = vec![
        ("gmail", format!("{own}\n\n{}\n\n{marked}", gmail.wrote)),
        ("gmail-broken", format!("{own}\n\n{}\n\n{marked}", broken(&gmail.wrote))),
        ("gmail-unmarked", format!("{own}\n\n{}\n\n{quoted}\n", gmail.wrote)),
        ("gmail-tight", format!("{own}\n{}\n{marked}", gmail.wrote)),
        ("apple", format!("{own}\n\n> {}\n> \n{marked}", apple.wrote)),
        ("apple-mac", format!("{own}\n\n{}\n\n{marked}", apple.wrote)),
        (
            "apple-device",
            format!(
                "{own}\n\n{}\n\n> {}\n> \n> \u{feff}{}\n",
                say("iphone"),
                apple.wrote,
                quoted.replace('\n', "\n> ")
            ),
        ),
        ("apple-unmarked", format!("{own}\n\n{}\n\n{}\n\n{quoted}\n", say("iphone"), apple.wrote)),
        ("thunderbird", format!("{own}\n\n{}\n{marked}", bird.wrote)),
        ("outlook", format!("{own}\n\n{}\n{quoted}\n", gmail.block(":"))),
        ("outlook-spaced", format!("{own}\n\n\n{}\n\n{quoted}\n", gmail.block(" :"))),
        ("outlook-original", format!("{own}\n\n-----{original}-----\n{}\n{quoted}\n", gmail.block(":"))),
        ("outlook-web", format!("{own}\n{strokes}\n{}\n{quoted}\n", gmail.block(":"))),
        ("outlook-phone", format!("{own}\n\n{}\n{strokes}\n{}\n{quoted}\n", say("other"), gmail.block(":"))),
        ("outlook-starred", format!("{own}\n\n{}\n{quoted}\n", starred(&gmail))),
        ("yahoo", format!("{own}\n\n    {}\n \n {}\n", gmail.wrote, quoted.replace('\n', "\n "))),
        ("samsung", format!("{own}\n\n-------- {original} --------\n{}\n{quoted}\n", gmail.block(":"))),
        ("original-alone", format!("{own}\n\n-------- {original} --------\n\n{quoted}\n")),
        ("typed", format!("{own}\n\n{}\n{quoted}\n", gmail.typed())),
        ("device-on-top", format!("{}\n\n{own}\n\n{}\n\n{marked}", say("iphone"), gmail.wrote)),
        ("fullwidth", format!("{own}\n\n{}\n{quoted}\n", gmail.block("："))),
        (
            "forward-gmail",
            format!("{own}\n\n---------- {} ---------\n{}\n\n{quoted}\n", say("forward"), gmail.block(":")),
        ),
        (
            "forward-bird",
            format!("{own}\n\n-------- {} --------\n{}\n\n{quoted}\n", say("forward"), gmail.block(":")),
        ),
    ];
    forms.into_iter().map(|(client, text)| mail(value, client, "reply", Some(text), None, &[own])).collect()
}

fn starred(words: &Words<'_>) -> String {
    let line = |line: &str| {
        line.split_once(':').map(|(label, rest)| format!("*{label}:*{rest}\n")).unwrap_or_default()
    };
    words.block(":").lines().map(line).collect()
}

/// Answers below and between.
fn bottoms(value: &Value, own: &str) -> Vec<Mail> {
    let (gmail, bird) = (words(value, "gmail"), words(value, "bird"));
    let marked = bird.marked();
    let body = value["body"].as_str().unwrap();
    let (first, second) = body.split_once('\n').unwrap();
    let (asked, also) = gmail.quoted().split_once('\n').unwrap();
    let between = format!("{first}\n\n{second}");
    let kept = format!("> {asked}\n\n{first}\n\n> {also}\n\n{second}");
    vec![
        mail(
            value,
            "thunderbird",
            "bottom-post",
            Some(format!("{}\n{marked}\n{own}\n", bird.wrote)),
            None,
            &[own],
        ),
        mail(
            value,
            "gmail",
            "bottom-post",
            Some(format!("{}\n\n{marked}\n{own}\n", broken(&gmail.wrote))),
            None,
            &[own],
        ),
        mail(
            value,
            "thunderbird",
            "interleaved",
            Some(format!("{}\n{kept}\n", bird.wrote)),
            None,
            &[&between, &kept],
        ),
    ]
}

/// Mails without a quotation: what isn't a signature or a device line stays.
fn wholes(value: &Value, own: &str) -> Vec<Mail> {
    let say = |key: &str| value[key].as_str().unwrap();
    let card = "Anna Example\nExample Ltd.\n+34 600 000 000";
    let list = format!("{own}\n\n1. 12.05.2026 10:30\n2. 13.05.2026\n- anna@guest.example\n* 120.50 EUR");
    let colon = format!(
        "{}:\n\n12.05.2026 09:41\nhola@casasol.example\n\n{own}",
        say("body").lines().next().unwrap().trim_end_matches(['.', '。'])
    );
    let whole = |text: &str| mail(value, "any", "no-quote", Some(text.to_owned()), None, &[text]);
    let postscript = format!("P.S. {}", say("body").lines().next().unwrap());
    let with_postscript = format!("{own}\n\n{postscript}");
    let signed = |text: String, answer: &str| mail(value, "any", "signature", Some(text), None, &[answer]);
    let mut mails: Vec<Mail> =
        OPERATORS.iter().map(|line| signed(format!("{own}\n\n{line}\n"), own)).collect();
    mails.extend([
        // Some programs say in which direction the line is to be read.
        signed(format!("{own}\n\n\u{202b}{}\u{202c}\n", say("iphone")), own),
        signed(format!("{own}\n\n\u{200f}{}\u{200f}\n", say("other")), own),
        signed(format!("{}\n\n{own}\n", say("iphone")), own),
        signed(format!("{own}\n\n-- \n{card}\n\n{postscript}\n"), &with_postscript),
        signed(format!("{own}\n\n-- \n{card}\n{postscript}\n\n{}\n", say("iphone")), &with_postscript),
        mail(value, "any", "signature", Some(format!("{own}\n\n{}\n", say("iphone"))), None, &[own]),
        mail(value, "any", "signature", Some(format!("{own}\n\n{}\n", say("other"))), None, &[own]),
        mail(value, "any", "signature", Some(format!("{own}\n\n-- \n{card}\n")), None, &[own]),
        whole(own),
        whole(&list),
        whole(&colon),
        whole(&format!("{own}\n\n{card}")),
    ]);
    mails
}

/// By what operators' own programs are advertised, whatever language the guest writes.
const OPERATORS: [&str; 4] = [
    "Gesendet mit der Telekom Mail App",
    "Inviato da TIM Mail",
    "Sent from Xfinity Connect App",
    "Sent from Xfinity Connect Mobile App",
];

/// What answers in HTML are made of.
struct Pieces<'a> {
    value: &'a Value,
    own: &'a str,
    gmail: Words<'a>,
    apple: Words<'a>,
    bird: Words<'a>,
    /// The answer, a `div` for each line.
    mine: String,
    /// The answer as Word writes it.
    paragraphs: String,
    /// What is answered.
    theirs: String,
}

/// Answers in HTML.
fn htmls(value: &Value, own: &str) -> Vec<Mail> {
    let (gmail, apple, bird) = (words(value, "gmail"), words(value, "apple"), words(value, "bird"));
    let mine = rows(own);
    let paragraphs = html(own)
        .split("\n\n")
        .map(|part| {
            format!(
                "<p class=\"MsoNormal\">{}</p><p class=\"MsoNormal\"><o:p>&nbsp;</o:p></p>",
                part.replace('\n', "<br>")
            )
        })
        .collect::<String>();
    let theirs = gmail.html_quoted();
    let pieces = Pieces { value, own, gmail, apple, bird, mine, paragraphs, theirs };
    let forms = [programs(&pieces), webmail(&pieces), more_webmail(&pieces)].into_iter().flatten();
    let mut mails: Vec<Mail> =
        forms.map(|(client, html)| mail(value, client, "reply", None, Some(html), &[own])).collect();
    mails.push(mail(
        value,
        "any",
        "no-quote",
        None,
        Some(format!("<html><body>{}</body></html>", pieces.mine)),
        &[own],
    ));
    let below = format!(
        "<div class=\"moz-cite-prefix\">{}<br></div><blockquote type=\"cite\">{}</blockquote><p>{}</p>",
        pieces.bird.html_wrote(),
        pieces.theirs,
        html(own).replace('\n', "<br>")
    );
    mails.push(mail(value, "thunderbird", "bottom-post", None, Some(below), &[own]));
    mails
}

/// Mail programs, and Gmail.
fn programs(pieces: &Pieces<'_>) -> Vec<(&'static str, String)> {
    let Pieces { value, own, gmail, apple, bird, mine, paragraphs, theirs } = pieces;
    let say = |key: &str| html(value[key].as_str().unwrap());
    let outlook_style = "border:none;border-top:solid #E1E1E1 1.0pt;padding:3.0pt 0cm 0cm 0cm";
    vec![
        (
            "gmail",
            format!(
                "<div dir=\"ltr\">{mine}</div><br><div class=\"gmail_quote gmail_quote_container\"><div dir=\"ltr\" class=\"gmail_attr\">{}<br></div><blockquote class=\"gmail_quote\" style=\"margin:0px 0px 0px 0.8ex;border-left:1px solid rgb(204,204,204);padding-left:1ex\"><div>{theirs}</div></blockquote></div>",
                gmail.html_wrote()
            ),
        ),
        (
            "gmail-phone",
            format!(
                "<div dir=\"auto\">{mine}</div><br><div class=\"gmail_quote\">{}<br type=\"attribution\"><blockquote class=\"gmail_quote\">{theirs}</blockquote></div>",
                gmail.html_wrote()
            ),
        ),
        (
            "apple",
            format!(
                "<html><body><div>{mine}</div><div><br><blockquote type=\"cite\"><div>{}</div><br class=\"Apple-interchange-newline\"><div>{theirs}</div></blockquote></div></body></html>",
                apple.html_wrote()
            ),
        ),
        (
            "apple-phone",
            format!(
                "<html><body dir=\"auto\">{mine}<br id=\"lineBreakAtBeginningOfSignature\"><div dir=\"ltr\">{}</div><div dir=\"ltr\"><br><blockquote type=\"cite\">{}<br><br></blockquote></div><blockquote type=\"cite\"><div dir=\"ltr\">\u{feff}{theirs}</div></blockquote></body></html>",
                say("iphone"),
                apple.html_wrote()
            ),
        ),
        (
            "thunderbird",
            format!(
                "<html><head><meta></head><body><p>{}</p><div class=\"moz-cite-prefix\">{}<br></div><blockquote type=\"cite\" cite=\"mid:x@y\">{theirs}</blockquote></body></html>",
                html(own).replace('\n', "<br>"),
                bird.html_wrote()
            ),
        ),
        (
            "outlook",
            format!(
                "<html><head><style>p{{}}</style></head><body><div class=\"WordSection1\">{paragraphs}<div><div style=\"{outlook_style}\"><p class=\"MsoNormal\">{}<o:p></o:p></p></div></div><p class=\"MsoNormal\"><o:p>&nbsp;</o:p></p><p class=\"MsoNormal\">{theirs}</p></div></body></html>",
                gmail.html_block("<br>")
            ),
        ),
    ]
}

/// Outlook elsewhere, and webmail.
fn webmail(pieces: &Pieces<'_>) -> Vec<(&'static str, String)> {
    let Pieces { value, gmail, mine, theirs, .. } = pieces;
    let say = |key: &str| html(value[key].as_str().unwrap());
    vec![
        (
            "outlook-web",
            format!(
                "<div class=\"elementToProof\">{mine}</div><div id=\"appendonsend\"></div><hr style=\"display:inline-block;width:98%\" tabindex=\"-1\"><div id=\"divRplyFwdMsg\" dir=\"ltr\"><font>{}</font><div>&nbsp;</div></div><div>{theirs}</div>",
                gmail.html_block("<br>")
            ),
        ),
        (
            "outlook-phone",
            format!(
                "<div>{mine}</div><div id=\"ms-outlook-mobile-signature\"><div>{}</div></div><div id=\"mail-editor-reference-message-container\"><hr><div>{}</div><div>{theirs}</div></div>",
                say("other"),
                gmail.html_block("<br>")
            ),
        ),
        (
            "yahoo",
            format!(
                "<div class=\"ydp1yahoo-style-wrap\">{mine}</div><div id=\"ydp2yahoo_quoted_1\" class=\"ydp2yahoo_quoted\"><div><div>{}</div><div>{theirs}</div></div></div>",
                gmail.html_wrote()
            ),
        ),
        (
            "proton",
            format!(
                "<div style=\"font-family: Arial\">{mine}</div><div class=\"protonmail_signature_block\"><div>Sent with Proton Mail secure email.</div></div><div class=\"protonmail_quote\">{}<br><blockquote class=\"protonmail_quote\" type=\"cite\">{theirs}</blockquote></div>",
                gmail.html_wrote()
            ),
        ),
        (
            "zoho",
            format!(
                "<div>{mine}</div><div class=\"zmail_extra\"><div id=\"Zm-_Id_-Sgn1\">---- {} ----</div><blockquote id=\"blockquote_zmail\"><div>{theirs}</div></blockquote></div>",
                gmail.html_wrote()
            ),
        ),
        (
            "gmx",
            format!(
                "<div>{mine}<div name=\"quote\" style=\"margin:10px 5px 5px 10px; padding: 10px 0 10px 10px; border-left:2px solid #C3D9E5;\"><div>{}</div><div name=\"quoted-content\">{theirs}</div></div></div>",
                gmail.html_block("<br>")
            ),
        ),
    ]
}

/// More webmail, and forms without a name.
fn more_webmail(pieces: &Pieces<'_>) -> Vec<(&'static str, String)> {
    let Pieces { value, own, gmail, bird, mine, theirs, .. } = pieces;
    let say = |key: &str| html(value[key].as_str().unwrap());
    vec![
        (
            "mail.ru",
            format!(
                "<HTML><BODY>{mine}<blockquote style=\"border-left:1px solid #0857A6; margin:10px; padding:0 0 0 10px;\">{}<br><div>{theirs}</div></blockquote></BODY></HTML>",
                gmail.html_wrote()
            ),
        ),
        (
            "yandex",
            format!(
                "<div>{mine}</div><div>{}</div><blockquote><div>{theirs}</div></blockquote>",
                gmail.html_wrote()
            ),
        ),
        (
            "tutanota",
            format!(
                "<div>{mine}</div><br><br>{}<br><blockquote class=\"tutanota_quote\">{theirs}</blockquote>",
                gmail.html_wrote()
            ),
        ),
        (
            "zimbra",
            format!(
                "<html><body><div style=\"font-size: 12pt\">{mine}<hr id=\"zwchr\"><div>{}</div><br>{theirs}</div></body></html>",
                gmail.html_block("<br>")
            ),
        ),
        (
            "roundcube",
            format!(
                "<div>{mine}</div><p id=\"reply-intro\">{}</p><blockquote type=\"cite\">{theirs}</blockquote>",
                bird.html_wrote()
            ),
        ),
        ("bare-block", format!("<div>{mine}</div><hr><p>{}</p><p>{theirs}</p>", gmail.html_block("<br>"))),
        (
            "bare-rows",
            format!("<div>{mine}</div><div>{}</div><div>{theirs}</div>", gmail.html_block("</div><div>")),
        ),
        (
            "bare-attribution",
            format!("<p>{}</p><p>{}</p><p>{theirs}</p>", html(own).replace('\n', "<br>"), gmail.html_wrote()),
        ),
        (
            "samsung",
            format!(
                "<div>{mine}</div><div id=\"composer_signature\"><div>{}</div></div><div><br></div><div>-------- {} --------</div><div>{}</div><div>{theirs}</div>",
                say("iphone"),
                say("original"),
                gmail.html_block("</div><div>")
            ),
        ),
        (
            "forward",
            format!(
                "<div dir=\"ltr\">{mine}<br><div class=\"gmail_quote\"><div dir=\"ltr\" class=\"gmail_attr\">---------- {} ---------<br>{}<br></div><br>{theirs}</div></div>",
                say("forward"),
                gmail.html_block("<br>")
            ),
        ),
    ]
}
