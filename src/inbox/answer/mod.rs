//! The answer: the words a human newly wrote, out of a mail that also holds quotation, attribution, signature and
//! device line.
//!
//! | file | owns |
//! |---|---|
//! | `line` | a mail as lines, the folded form that rules read, and what was found out about each line |
//! | `phrases` | tables of words, looked for in one pass |
//! | `steps` | how much is looked at, for a test |
//! | `html`, `render` | HTML to lines and back |
//! | `lists`, `emoji`, `colour` | numbers of items, pictures that show an emoji, colours of words |
//! | `clients` | marks of mail programs in HTML, a row each |
//! | `dates`, `labels` | what dates, addresses and header labels look like |
//! | `attribution`, `headers`, `separators` | what announces a quotation |
//! | `initials` | quotation marks with initials |
//! | `pointer` | "see my answers below", and which they are |
//! | `armour` | what PGP puts around a signed text |
//! | `device`, `notices`, `signature`, `card`, `postscript` | what stands below an answer, and banners above |
//! | `stand_ins` | what programs write in a picture's place |
//! | `known` | text we sent ourselves |
//! | `weave`, `settle` | which lines stay |
//!
//! Promises: pure; linear in the mail, with no recursion and no backtracking; never fails. HTML goes first, structure
//! goes before words, own text that is known goes before all. When unsure, text is kept: a leftover quotation is
//! a nuisance, a lost sentence a damage.

mod line;
mod phrases;
mod steps;
mod html;
mod emoji;
mod lists;
mod colour;
mod render;
mod clients;
mod dates;
mod labels;
mod attribution;
mod unmarked;
mod headers;
mod initials;
mod armour;
mod separators;
mod pointer;
mod device;
mod notices;
mod card;
mod signature;
mod postscript;
mod stand_ins;
mod known;
mod weave;
mod settle;

use line::Line;
use settle::Woven;
use weave::weave;

/// So many octets of a body are read, as many as an event holds: programs fill the rest, no human types it.
pub const MOST: usize = super::mail::MAX_TEXT;

/// And so many lines of it.
const MOST_LINES: usize = 1 << 14;

/// What a human wrote.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// The answer as plain text, without white space around it. Empty only when it is certain that nothing was
    /// written.
    pub text: String,
    /// The answer's HTML, of harmless elements only, when it was taken from HTML.
    pub html: Option<String>,
    /// The rule that found where the answer ends, such as `html:gmail_quote`; `None` when nothing was cut.
    pub cut_by: Option<&'static str>,
    /// 0 to 1. Under 0.5 the whole mail was kept for want of a better idea.
    pub confidence: f32,
    /// The signature or device line that was cut.
    pub signature: Option<String>,
}

/// What a mail tells of itself beside its bodies.
#[derive(Debug, Clone, Copy)]
pub struct Told {
    /// It answers a mail, or passes one on: what nothing announces but fields of a mail is a history then, else a form.
    pub is_answer: bool,
    /// Something is attached: then it may be that nothing was written.
    pub has_attachments: bool,
}

impl Default for Told {
    /// Nothing is told, and so either may be.
    fn default() -> Told {
        Told { is_answer: true, has_attachments: true }
    }
}

/// Takes the answer out of bodies of which nothing else is told.
#[must_use]
pub fn extract(text: Option<&str>, html: Option<&str>, known: &[&str]) -> Answer {
    extract_told(text, html, known, Told::default())
}

/// Takes the answer out of a mail's plain text and HTML.
///
/// `text` and `html` are the decoded bodies, in whatever order the mail has them; `known` are texts that we sent to
/// this correspondent, which win over every other rule where they are found again.
#[must_use]
pub fn extract_told(text: Option<&str>, html: Option<&str>, known: &[&str], told: Told) -> Answer {
    let text = text.filter(|text| !text.trim().is_empty()).map(|text| bounded(text, MOST));
    let html = html.filter(|html| !html.trim().is_empty()).map(|html| bounded(html, MOST));
    let Some(html) = html else {
        return text.map_or_else(nothing, |text| of_text(text, known, told));
    };
    let nodes = html::parse(html);
    let (mut answer, lines, woven) = of_lines(render::lines(&nodes), known, told);
    if lines.iter().all(Line::is_blank) {
        return text.map_or(answer, |text| of_text(text, known, told));
    }
    let mut kept = vec![false; nodes.len()];
    for node in woven
        .kept
        .iter()
        .flat_map(|range| lines.get(range.clone()).unwrap_or_default())
        .flat_map(|line| &line.nodes)
    {
        if let Some(kept) = kept.get_mut(*node) {
            *kept = true;
        }
    }
    answer.html = render::html(&nodes, &kept);
    if let Some(text) = text {
        compare(&mut answer, &of_text(text, known, told));
    }
    answer
}

/// Two bodies that say the same make it surer; that differ, less sure, and unsure if the plain text goes on behind what
/// was cut from the HTML alone.
fn compare(answer: &mut Answer, plain: &Answer) {
    if words(&answer.text).eq(words(&plain.text)) {
        answer.confidence = answer.confidence.max(plain.confidence);
        // Two that are unsure alike know no more than one.
        if answer.confidence > 0.5 {
            answer.confidence += (1.0 - answer.confidence) * 0.5;
        }
    } else if answer.cut_by.is_none() && plain.cut_by.is_some() {
        answer.confidence = answer.confidence.min(0.6);
    } else if answer.cut_by.is_some() && plain.cut_by.is_some() && goes_on(answer, plain) {
        answer.confidence = answer.confidence.min(0.5);
    }
}

/// Does the plain text hold all words of the answer, and more behind them than its signature has?
fn goes_on(answer: &Answer, plain: &Answer) -> bool {
    let mut longer = words(&plain.text);
    let is_begun = words(&answer.text).all(|word| longer.next() == Some(word));
    is_begun && longer.count() > words(answer.signature.as_deref().unwrap_or_default()).count()
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty())
}

fn nothing() -> Answer {
    Answer { text: String::new(), html: None, cut_by: None, confidence: 1.0, signature: None }
}

/// The part of a body that is read.
fn bounded(body: &str, most: usize) -> &str {
    body.get(..body.floor_char_boundary(most)).unwrap_or(body)
}

fn of_text(text: &str, known: &[&str], told: Told) -> Answer {
    let (mut answer, lines, woven) = of_lines(line::lines_of(text), known, told);
    if let [kept] = woven.kept.as_slice()
        && answer.cut_by != Some(armour::RULE)
        && lines.iter().enumerate().all(|(at, line)| kept.contains(&at) || line.text.trim().is_empty())
    {
        // Lines may have been parted to be read: what stays whole stays as it was.
        answer.text = joined(line::ended_alike(text).split('\n'));
    }
    answer
}

fn of_lines(mut lines: Vec<Line>, known: &[&str], told: Told) -> (Answer, Vec<Line>, Woven) {
    let is_signed = armour::strip(&mut lines);
    initials::mark(&mut lines);
    let ours = known::mark(&mut lines, known);
    let woven = weave(&lines, ours, told);
    let shown = |range: std::ops::Range<usize>| {
        lines.get(range).unwrap_or_default().iter().map(|line| line.text.as_str())
    };
    let parts: Vec<String> =
        woven.kept.iter().map(|range| joined(shown(range.clone()))).filter(|part| !part.is_empty()).collect();
    let signature =
        woven.signature.clone().map(|range| joined(shown(range))).filter(|signature| !signature.is_empty());
    let answer = Answer {
        text: parts.join("\n\n"),
        html: None,
        cut_by: woven.cut_by.or(is_signed.then_some(armour::RULE)),
        confidence: woven.confidence,
        signature,
    };
    (answer, lines, woven)
}

/// Lines as a text without empty lines around it.
fn joined<'a>(lines: impl Iterator<Item = &'a str>) -> String {
    let text = lines.collect::<Vec<_>>().join("\n");
    let text = text.trim_end().trim_start_matches(['\n', '\r']);
    match text.split_once('\n') {
        // White space before the first line's text is kept only where lines below it are set in as well.
        _ if text.trim().is_empty() => String::new(),
        _ => text.to_owned(),
    }
}
