//! From the pieces that a walk over the lines found to the answer: quotations that nothing announced are judged, and
//! what stands below each piece and isn't the answer is cut.
//!
//! Promises: linear; when nothing would be left and it isn't certain that nothing was written, everything is kept.

use std::ops::Range;

use super::line::Line;
use super::{card, clients, notices, postscript, separators, signature};

/// So many postscripts are looked at in a part of a mail: one above the signature, and what may stand below.
const MOST_POSTSCRIPTS: usize = 4;

/// Which lines are kept, and why the others aren't.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Woven {
    /// The parts that are kept, in order.
    pub kept: Vec<Range<usize>>,
    /// The lines of the signature.
    pub signature: Option<Range<usize>>,
    /// The rule that cut the history, or the first that cut anything.
    pub cut_by: Option<&'static str>,
    /// 0 to 1: how sure it is that the answer is whole and nothing else.
    pub confidence: f32,
}

/// A part of the mail that stays, or may.
#[derive(Debug)]
pub struct Piece {
    /// Its lines.
    pub lines: Range<usize>,
    /// What it is.
    pub kind: Kind,
}

/// What a part of the mail is.
#[derive(Debug)]
pub enum Kind {
    /// One's own words, with what may stand below them.
    Own,
    /// Lines of a history that hold answers: whoever signed there is somebody else.
    Answered,
    /// A quotation that nothing announced.
    Loose(Loose),
}

impl Piece {
    /// What is known of it as a quotation that nothing announced.
    fn loose(&self) -> Option<&Loose> {
        match &self.kind {
            Kind::Loose(loose) => Some(loose),
            Kind::Own | Kind::Answered => None,
        }
    }
}

/// What is known of a quotation that nothing announced.
#[derive(Debug)]
pub struct Loose {
    /// What it has in it.
    pub holds: Holds,
    /// A single line that stands right below one's own.
    pub stray: bool,
    /// Somebody put it there by hand, and the words above end with a colon; or the program's own is announced below.
    pub introduced: bool,
    /// Another quotation was announced above it.
    pub follows: bool,
    /// The rule that goes for it.
    pub rule: &'static str,
}

/// What a quotation that nothing announced has in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holds {
    /// Nothing that tells its origin.
    Words,
    /// An attribution, a header block or a deeper quotation.
    History,
    /// Such an announcement as its first lines, as Apple's programs write.
    Announcement,
}

/// What a walk over the lines found.
#[derive(Debug)]
pub struct Walked {
    /// In the order of the mail.
    pub pieces: Vec<Piece>,
    /// The rule that cut.
    pub cut_by: Option<&'static str>,
    /// How sure it is.
    pub confidence: f32,
    /// The history is certain, so that nothing may be left.
    pub certain: bool,
    /// A message that is passed on without a word.
    pub forward: bool,
    /// The signature, where a program marked it.
    pub signature: Option<Range<usize>>,
    /// The depth that is one's own.
    pub base: u8,
}

impl Default for Walked {
    fn default() -> Walked {
        Walked {
            pieces: Vec::new(),
            cut_by: None,
            confidence: 0.95,
            certain: false,
            forward: false,
            signature: None,
            base: 0,
        }
    }
}

impl Walked {
    /// Notes the rule that cut. The first that cut history stays; what cut a signature gives way to it, and what cut a single
    /// line to both.
    pub fn because(&mut self, rule: &'static str, confidence: f32) {
        let weight = |rule: &str| match rule {
            "text:banner" | "text:device" => 0,
            "text:quoted" | "text:disclaimer" => 1,
            rule if rule.ends_with("signature") => 1,
            _ => 2,
        };
        if self.cut_by.is_none_or(|cut_by| weight(cut_by) < weight(rule)) {
            self.cut_by = Some(rule);
        }
        self.confidence = self.confidence.min(confidence);
    }
}

/// The first of these lines that has one's own words, more than a ruler or a device line.
pub fn first_written(lines: &[Line], base: u8) -> Option<usize> {
    lines.iter().position(|line| {
        line.depth <= base && !line.is_blank() && !separators::is_ruler(&line.folded, 2) && !line.is_device()
    })
}

/// Do these lines of a signature say anything, more than who somebody is?
pub fn says(lines: &[Line], base: u8) -> bool {
    lines
        .iter()
        .map(std::slice::from_ref)
        .any(|line| first_written(line, base).is_some() && !card::tells_who(line, 0))
}

/// The words that somebody wrote into the element of the signature.
pub fn signed_words(lines: &[Line], walked: &Walked) -> Option<Range<usize>> {
    let Range { start, end } = walked.signature.clone()?;
    says(lines.get(start..end)?, walked.base).then_some(start..end)
}

/// A piece without what stands below it.
struct Trimmed {
    lines: Range<usize>,
    signature: Option<Range<usize>>,
    rule: Option<&'static str>,
    says: bool,
}

/// Judges the pieces and gives what is left. That nothing was written is certain only where something `is_attached`.
pub fn settle(lines: &[Line], mut walked: Walked, is_attached: bool) -> Woven {
    let pieces = std::mem::take(&mut walked.pieces).into_iter().enumerate();
    let mut pieces: Vec<Piece> =
        pieces.flat_map(|(at, piece)| without_postscript(lines, piece, at == 0, walked.base)).collect();
    // A program announces what it quotes: above that, somebody cited what nothing announces.
    let is_announced = walked.certain;
    let mut announced = false;
    for piece in &mut pieces {
        // Apple's programs mark the attribution, too: it announces what is quoted below as an unmarked one does.
        if let Kind::Loose(loose) = &mut piece.kind {
            loose.follows |= announced;
            loose.introduced |= is_announced && !loose.follows && loose.holds == Holds::Words;
            announced |= loose.holds == Holds::Announcement;
        }
    }
    let mut first = true;
    let mut trimmed = Vec::with_capacity(pieces.len());
    for piece in &pieces {
        let is_footer = || notices::is_footer(lines.get(piece.lines.clone()).unwrap_or_default());
        let piece = if !matches!(piece.kind, Kind::Own) {
            let says = matches!(piece.kind, Kind::Answered);
            Trimmed { lines: piece.lines.clone(), signature: None, rule: None, says }
        } else if (!first || walked.certain) && is_footer() {
            let start = piece.lines.start;
            Trimmed { lines: start..start, signature: None, rule: Some("text:disclaimer"), says: false }
        } else {
            trim(lines, piece.lines.clone(), first, walked.base)
        };
        first &= !piece.says;
        trimmed.push(piece);
    }
    // A disclaimer at the end isn't what somebody said below a quotation.
    let says = |piece: &Trimmed| {
        piece.says && !notices::is_disclaimer(lines.get(piece.lines.clone()).unwrap_or_default())
    };
    let last_said = trimmed.iter().rposition(says);
    let mut said = false;
    let mut woven = Woven::default();
    for (at, (piece, trimmed)) in pieces.iter().zip(trimmed).enumerate() {
        said |= trimmed.says;
        if let Some(loose) = piece.loose()
            && goes(loose, piece.lines.len(), said, last_said.is_some_and(|last| last > at), &walked)
        {
            walked.because(loose.rule, 0.85);
            walked.certain |= loose.holds != Holds::Words;
            continue;
        }
        if let Some(rule) = trimmed.rule {
            walked.because(rule, 0.9);
        }
        woven.signature = trimmed.signature.or(woven.signature);
        // Between what is kept on both sides nothing is parted.
        match woven.kept.last_mut().filter(|last| last.end == trimmed.lines.start) {
            Some(last) => last.end = trimmed.lines.end,
            None => woven.kept.push(trimmed.lines),
        }
    }
    woven
        .kept
        .retain(|range| lines.get(range.clone()).unwrap_or_default().iter().any(|line| !line.is_blank()));
    if woven.kept.is_empty()
        && !walked.forward
        && let Some(words) = signed_words(lines, &walked)
    {
        woven.kept.push(words);
        walked.signature = None;
        walked.confidence = walked.confidence.min(0.5);
    }
    if woven.kept.is_empty() && (!walked.certain || walked.forward || !is_attached) {
        // When unsure, keep.
        return Woven {
            kept: Vec::from([Range { start: 0, end: lines.len() }]),
            signature: None,
            cut_by: None,
            confidence: 0.3,
        };
    }
    woven.signature = woven.signature.or(walked.signature);
    woven.cut_by = walked.cut_by;
    woven.confidence = if woven.kept.is_empty() { walked.confidence.min(0.6) } else { walked.confidence };
    woven
}

/// Quotations that nothing announced: gone at the end of a mail and where others were announced, kept between one's
/// own lines, and at the top unless they are plainly a history.
fn goes(loose: &Loose, length: usize, above: bool, below: bool, walked: &Walked) -> bool {
    let is_history = |loose: &Loose| loose.holds != Holds::Words;
    let announced = walked.certain && walked.cut_by.is_some_and(|rule| rule != "text:signature");
    match (above, below) {
        // An element that only sets in may be one's own.
        (true, false) => {
            is_history(loose)
                || loose.follows
                || (loose.rule != clients::INDENT && !loose.stray && !loose.introduced)
        }
        (true, true) => {
            loose.follows || (loose.holds == Holds::Announcement) || (is_history(loose) && length > 8)
        }
        (false, true) => is_history(loose) || length >= 4 || announced && !loose.introduced,
        (false, false) => is_history(loose),
    }
}

/// A piece in two where a postscript stands below a signature: what is above it is looked at as if it were all.
fn without_postscript(lines: &[Line], piece: Piece, first: bool, base: u8) -> Vec<Piece> {
    let Range { start, end } = piece.lines;
    if matches!(piece.kind, Kind::Own) {
        let own = lines.get(start..end).unwrap_or_default();
        for at in postscript::starts(own).map(|at| start + at).take(MOST_POSTSCRIPTS) {
            let signature = trim(lines, start..at, first, base).signature;
            let card = signature.and_then(|range| lines.get(range));
            let above = || lines.get(start..at)?.iter().rev().find(|line| !line.is_blank());
            // Right below a delimiter there is no card at all.
            let is_delimited = || above().is_some_and(|line| separators::is_ruler(&line.folded, 2));
            if card.map_or_else(is_delimited, |card| !signature::talks(card)) {
                let part = |lines| Piece { lines, kind: Kind::Own };
                return vec![part(start..at), part(at..end)];
            }
        }
    }
    vec![piece]
}

/// Cuts what stands at the end of a piece and isn't the answer.
fn trim(lines: &[Line], piece: Range<usize>, first: bool, base: u8) -> Trimmed {
    let mut trimmed = Trimmed { lines: piece, signature: None, rule: None, says: false };
    // Each round cuts at least a line; a signature has a handful of parts.
    for _ in 0..64 {
        let Range { start, end } = trimmed.lines;
        let left = lines.get(start..end).unwrap_or_default();
        let Some(tail) = signature::tail(left, first) else { break };
        let from = start + tail.from;
        if tail.is_signature {
            let behind =
                trimmed.signature.map_or(end, |found| if found.start == end { found.end } else { end });
            trimmed.signature = Some(from..behind);
            trimmed.rule = trimmed.rule.or(Some(tail.rule));
        }
        trimmed.lines.end = from;
    }
    trimmed.says = first_written(lines.get(trimmed.lines.clone()).unwrap_or_default(), base).is_some();
    trimmed
}
