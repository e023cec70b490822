//! Which lines of a mail are the answer.
//!
//! The lines are walked once from the top. What a mail program marked, a separator, a header block or an attribution
//! parts what is above it from history; quoted lines are history where something announces them, or where they end
//! the mail. What is left in parts loses banner, signature and device lines.
//!
//! Promises: every line is either kept whole or not at all; linear but for looks of bounded length; when
//! nothing would be left and it isn't certain that nothing was written, everything is kept.

use std::ops::Range;

use super::Told;
use super::clients::{Mark, Part};
use super::dates::Address;
use super::known::{self, Ours};
use super::line::Line;
use super::pointer::{self, Answers};
use super::separators::{self, Separator};
use super::settle::{self, Holds, Kind, Loose, Piece, Walked, Woven, first_written, says};
use super::{attribution, clients, device, headers, initials, notices, unmarked};

struct Weaver<'a> {
    lines: &'a [Line],
    told: Told,
    /// What was found so far.
    walked: Walked,
    /// One's own words are in some piece.
    written: bool,
    /// Where the part of one's own that is being walked begins.
    start: usize,
    /// From there up to here nothing was written: these lines need no second look.
    unwritten: usize,
    /// The depth that is one's own: more than 0 when a program quoted the whole mail.
    base: u8,
    ended: bool,
    /// The lines with words of ours, until answers are looked for among them, and those filled in between.
    ours: Ours,
    /// Answers were looked for in a quotation.
    searched: bool,
    /// Found once, when it is asked for.
    last_own: Option<usize>,
}

/// Where a program writes fields of a mail, so many lines are looked at for them.
const FIELDS: usize = 8;

/// A greeting has so many words at most.
const GREETING: usize = 5;

/// What is announced less surely than that isn't given as the answer below.
const SURE: f32 = 0.8;

/// A card that 163's programs draw has so many lines at most.
const CARD: usize = 12;

/// Words of a name that somebody wrote above what we sent, at most.
const NAME: usize = 4;

/// Decides which lines are kept; `ours` tells where words of a text stand that we sent.
pub fn weave(lines: &[Line], ours: Ours, told: Told) -> Woven {
    let depths = lines.iter().filter(|line| !line.is_blank()).map(|line| line.depth);
    let base = depths.min().unwrap_or(0);
    let mut weaver = Weaver { ours, ..Weaver::new(lines, 0, told) };
    weaver.walk();
    if !weaver.written && base > 0 && !weaver.walked.certain {
        // All is quoted, by nobody known: read it as if it weren't.
        let mut again = Weaver::new(lines, base, told);
        again.walk();
        if again.written && again.walked.cut_by.is_some() && lines.iter().any(|line| !line.nodes.is_empty()) {
            weaver = again;
        }
    }
    settle::settle(lines, weaver.walked, told.has_attachments)
}

impl<'a> Weaver<'a> {
    fn new(lines: &'a [Line], base: u8, told: Told) -> Weaver<'a> {
        Weaver {
            lines,
            told,
            walked: Walked { base, ..Walked::default() },
            written: false,
            start: 0,
            unwritten: 0,
            base,
            ended: false,
            ours: Ours::default(),
            searched: false,
            last_own: None,
        }
    }

    fn line(&self, at: usize) -> Option<&'a Line> {
        self.lines.get(at)
    }

    fn walk(&mut self) {
        if let Some(end) = notices::banner(self.lines) {
            self.start = end;
            self.because("text:banner", 0.95);
        }
        let behind = self.behind_device(self.start);
        if behind > self.start {
            self.because("text:device", 0.9);
            self.walked.signature = Some(self.start..behind);
            self.start = behind;
        }
        let mut at = self.start;
        while at < self.lines.len() && !self.ended {
            at = self.step(at);
        }
        if !self.ended {
            self.keep_to(self.lines.len());
        }
    }

    /// Looks at one line; gives the next to look at.
    fn step(&mut self, at: usize) -> usize {
        let Some(line) = self.line(at) else { return self.lines.len() };
        if line.is_blank() && (line.depth <= self.base || line.text.trim().is_empty()) {
            return at + 1;
        }
        if let Some(mark) = line.mark
            && let Some(next) = self.marked(at, mark)
        {
            return next;
        }
        if line.depth > self.base {
            return match separators::between_arrows(self.lines, at) {
                Some(behind) => self.attributed(at, behind),
                None => self.quotation(at, None),
            };
        }
        if let Some(separator) = separators::at(self.lines, at)
            && (separator != Separator::Answered || self.told.is_answer)
        {
            return self.separated(at, separator);
        }
        if self.told.is_answer
            && let Some(block) = headers::standing_alone(self.lines, self.start, at)
        {
            let (rule, confidence) =
                if block.known { ("text:headers", 0.93) } else { ("text:header_shape", 0.8) };
            return self.history(self.announced(at), block.end, rule, confidence);
        }
        if self.is_device_between(at) {
            // What is below may be an old mail, which nothing tells; or, as likely, the answer goes on.
            self.keep_to(at);
            self.start = at + 1;
            self.because("text:device", 0.7);
            return at + 1;
        }
        let below = self.next_written(at + 1);
        let quoted_below =
            below.is_some_and(|next| self.line(next).is_some_and(|line| line.depth > self.base));
        let by_initials =
            || below.and_then(|next| self.line(next)).filter(|_| quoted_below).is_some_and(initials::begin);
        let you_wrote =
            || by_initials().then(|| initials::announcement(self.lines, self.start, at)).flatten();
        match attribution::ending_at(self.lines, self.start, at, quoted_below).or_else(you_wrote) {
            Some(from) if below.is_some_and(|next| quoted_below && !self.is_announced_by(from, next)) => {
                at + 1
            }
            Some(from) if quoted_below => {
                let from = self.fields_above(from);
                self.keep_to(from);
                self.walked.certain = true;
                let quotation = below.unwrap_or(at + 1);
                let mark = self.line(quotation).and_then(|line| line.mark).filter(|mark| mark.quotes());
                let rule = mark.map_or(("text:attribution", 0.96), |mark| (mark.rule, 0.97));
                self.quotation(quotation, Some(rule))
            }
            Some(from) => match unmarked::confidence(self.lines, self.start, from, at, self.written) {
                Some(confidence) => self.history(from, at + 1, "text:attribution", confidence),
                None => at + 1,
            },
            None => at + 1,
        }
    }

    /// Follows a program's mark; `None` if it says nothing here.
    fn marked(&mut self, at: usize, mark: Mark) -> Option<usize> {
        let run = |weaver: &Weaver<'a>| {
            let same = |line: &Line| line.mark == Some(mark) || line.is_blank();
            at + weaver.lines.get(at..).unwrap_or_default().iter().take_while(|line| same(line)).count()
        };
        match mark.part {
            Part::Cited if self.is_cited(at) => Some(self.quotation(at, None)),
            Part::Quote | Part::Cited => Some(self.quoted_by(at, mark)),
            Part::History | Part::Opening => Some(self.history(at, at, mark.rule, 0.97)),
            Part::Headers => {
                let fields = self.lines.get(at..at + 6).unwrap_or(self.lines.get(at..).unwrap_or_default());
                let fields = || fields.iter().filter(|line| headers::is_field(line));
                // What somebody puts into a box of his own tells neither a sender nor when it was sent.
                let tells = |line: &Line| line.figures().is_stamp() || line.address() != Address::None;
                (fields().count() >= 3 && fields().any(tells)).then(|| self.history(at, at, mark.rule, 0.95))
            }
            Part::Signature => {
                let behind = run(self);
                let end = self.signed_to(at, behind);
                self.keep_to(at);
                self.start = end;
                self.because(mark.rule, 0.95);
                // What a phone adds below its signature is part of it; a second one further down isn't.
                match &mut self.walked.signature {
                    Some(signature) if signature.end == at => signature.end = end,
                    Some(_) => {}
                    none => *none = Some(at..end),
                }
                Some(behind)
            }
            Part::Known => {
                let end = run(self);
                // One's own words below it stay, whatever was pasted above them.
                let goes_on = self.last_own() >= end;
                let named = if goes_on { None } else { self.named_above(at) };
                let own = named.unwrap_or_else(|| self.announced(at));
                self.keep_to(own);
                self.because(mark.rule, if goes_on { 0.85 } else { 0.97 });
                self.walked.certain |= !goes_on && self.written;
                if self.written && !goes_on {
                    self.ended = true;
                    return Some(self.lines.len());
                }
                self.start = end;
                Some(end)
            }
            Part::Wrapper | Part::Indented => None,
        }
    }

    /// Where the signature ends whose element holds `at..end`: a phone puts the cursor below its device line, so that
    /// what is typed there comes into that element.
    fn signed_to(&self, at: usize, end: usize) -> usize {
        let device = (at..end).find(|at| self.line(*at).is_some_and(Line::is_device));
        // It may have been found on top already.
        let is_found =
            || self.written_between(self.walked.signature.as_ref()?.end, at).is_none().then_some(at);
        let below = device.map(|device| device + 1).or_else(is_found);
        // An excuse right below it belongs to the device.
        let is_excuse = |below: &usize| self.line(*below).is_some_and(device::is_excuse);
        let below = below.map(|below| if is_excuse(&below) { below + 1 } else { below });
        let is_written = |below: &usize| says(self.lines.get(*below..end).unwrap_or_default(), self.base);
        below.filter(is_written).unwrap_or(end)
    }

    /// A quotation that a program's own element holds.
    fn quoted_by(&mut self, at: usize, mark: Mark) -> usize {
        let base = self.base;
        self.walked.forward |= !self.has_text_before(at) && self.announces_forward(at);
        let own = if self.line(at).is_some_and(|line| line.depth > base) { self.announced(at) } else { at };
        let own = if self.is_announced_by(own, at) { own } else { at };
        self.keep_to(own);
        self.walked.certain = true;
        self.quotation(at, Some((mark.rule, 0.97)))
    }

    /// Was what begins at `at` cited from elsewhere? So it seems below one's own words, where neither anything announces it,
    /// nor it tells that it is a history, nor did we send it.
    fn is_cited(&mut self, at: usize) -> bool {
        let lines = self.quoted(at);
        let inside = self.lines.get(lines.clone()).unwrap_or_default();
        let above =
            self.lines.get(self.start..at).unwrap_or_default().iter().rev().find(|line| !line.is_blank());
        let is_stamped = |line: &Line| line.figures().is_stamp() || line.address() != Address::None;
        !self.walked.certain
            && self.has_text_before(at)
            && self.announced(at) == at
            && !above.is_some_and(is_stamped)
            && !inside.iter().any(|line| line.is_ours)
            && self.holds(lines) == Holds::Words
    }

    /// The start of an attribution or a separator that stands right above the line at `at`, or `at`.
    fn announced(&self, at: usize) -> usize {
        let above =
            self.lines.get(self.start..at).and_then(|lines| lines.iter().rposition(|line| !line.is_blank()));
        let Some(above) = above.map(|above| above + self.start) else { return at };
        if let Some(from) = attribution::ending_at(self.lines, self.start, above, true) {
            return self.fields_above(from);
        }
        if self.line(above).is_some_and(attribution::introduces) { above } else { at }
    }

    /// The line right above `at` that holds nothing but a name and a colon, below one's own words: above the first it would
    /// greet.
    fn named_above(&mut self, at: usize) -> Option<usize> {
        let above = at.checked_sub(1).filter(|above| *above >= self.start)?;
        let name = self.line(above).filter(|line| line.depth <= self.base)?.text.trim().strip_suffix(':')?;
        let is_name = |word: &str| {
            word.starts_with(char::is_uppercase)
                && word.chars().all(|c| c.is_alphabetic() || matches!(c, '.' | '-' | '\''))
        };
        let words = name.split_whitespace();
        let is_whole = (2..=NAME).contains(&words.clone().count()) && words.clone().all(is_name);
        (is_whole && self.has_text_before(above)).then_some(above)
    }

    /// May the attribution that begins at `from` belong to what begins at `at`? Not where that has one of its own: what
    /// a program marked as such goes before all, and beside one in the text only a full form counts.
    fn is_announced_by(&self, from: usize, at: usize) -> bool {
        let Some(first) = self.line(at) else { return true };
        let quoted = first.mark.is_some_and(Mark::quotes);
        if !self.has_own_attribution(at, first) {
            return true;
        }
        !quoted && (from..at).any(|end| attribution::ending_at(self.lines, from, end, false).is_some())
    }

    /// Does a quotation begin with its own attribution, or whatever announces it, and not with that of a deeper one?
    fn has_own_attribution(&self, at: usize, first: &Line) -> bool {
        if first.mark.is_some_and(Mark::is_attribution) {
            return true;
        }
        (at..at + 4).take_while(|next| self.line(*next).is_some_and(|line| line.depth == first.depth)).any(
            |next| {
                let told = separators::at(self.lines, next).is_some()
                    || next == at && headers::starting_at(self.lines, next).is_some();
                let attributed = || attribution::ending_at(self.lines, at, next, false).is_some();
                let level = || {
                    let below = self.next_written(next + 1).and_then(|below| self.line(below));
                    below.is_some_and(|line| line.depth == first.depth)
                };
                told || attributed() && level()
            },
        )
    }

    /// Yandex writes some fields of the mail above its attribution, below a stroke: "To: Ana;", "Subject: Stay;".
    /// Where they begin, or `from`.
    fn fields_above(&self, from: usize) -> usize {
        let above = self.lines.get(self.start.max(from.saturating_sub(FIELDS))..from).unwrap_or_default();
        let is_field = |line: &&Line| line.folded.ends_with(';') && headers::is_field(line);
        let fields = above.iter().rev().take_while(is_field).count();
        let stroke = above.iter().rev().nth(fields).filter(|line| separators::is_ruler(&line.folded, 8));
        if fields > 0 && stroke.is_some() { from - fields - 1 } else { from }
    }

    fn announces_forward(&self, at: usize) -> bool {
        (at..self.lines.len().min(at + 3))
            .any(|at| separators::at(self.lines, at) == Some(Separator::Forwarded))
    }

    fn separated(&mut self, at: usize, separator: Separator) -> usize {
        match separator {
            Separator::ReplyAbove => self.history(at, at + 1, "text:reply_above", 0.95),
            Separator::Forwarded => {
                self.walked.forward |= !self.has_text_before(at);
                self.history(at, at + 1, "text:forwarded", 0.92)
            }
            Separator::Original | Separator::Answered => {
                // What stands below may be a header block, and behind it a quotation with an answer below.
                let block = self.next_written(at + 1).and_then(|next| headers::starting_at(self.lines, next));
                let from = self.card_above(at);
                self.history(from, block.map_or(at + 1, |block| block.end), "text:original", 0.94)
            }
        }
    }

    /// 163's programs draw a card right above their separator, whose frame is "|" in text. Where it begins, or `at`.
    fn card_above(&self, at: usize) -> usize {
        let is = |at: &usize, frame: &str| self.line(*at).is_some_and(|line| line.folded == frame);
        let first = at.saturating_sub(CARD).max(self.start);
        let is_framed = at.checked_sub(1).is_some_and(|above| is(&above, "|"));
        (first..at).rev().filter(|_| is_framed).find(|from| is(from, "| |")).unwrap_or(at)
    }

    /// An attribution whose shape tells it, `from..behind`; what it announces may be marked as quoted or not.
    fn attributed(&mut self, from: usize, behind: usize) -> usize {
        const RULE: (&str, f32) = ("text:attribution", 0.95);
        let quoted = |at: &usize| self.line(*at).is_some_and(|line| line.depth > self.base);
        let Some(quotation) = self.next_written(behind).filter(quoted) else {
            return self.history(from, behind, RULE.0, RULE.1);
        };
        self.keep_to(from);
        self.walked.certain = true;
        self.quotation(quotation, Some(RULE))
    }

    /// History begins at `from`; `behind` is what follows the lines that announce it.
    fn history(&mut self, from: usize, behind: usize, rule: &'static str, confidence: f32) -> usize {
        let quotation = self
            .next_written(behind)
            .filter(|next| self.line(*next).is_some_and(|line| line.depth > self.base));
        // Below nothing but a greeting somebody answered in the quotation, or under it; so one may where it is ours.
        let is_ours = |at: usize| self.quoted(at).any(|at| self.line(at).is_some_and(|line| line.is_ours));
        if let Some(quotation) = quotation.filter(|at| self.only_greets(from) || is_ours(*at)) {
            self.keep_to(from);
            self.walked.certain = true;
            return self.quotation(quotation, Some((rule, confidence)));
        }
        if self.has_text_before(from) || settle::signed_words(self.lines, &self.walked).is_some() {
            self.keep_to(from);
            self.because(rule, confidence);
            self.walked.certain = true;
            return self.answers_below(behind, rule);
        }
        // Nothing is above it: what was written stands below, or nothing was.
        if let Some(quotation) = quotation {
            self.keep_to(from);
            self.walked.certain = true;
            return self.quotation(quotation, Some((rule, confidence)));
        }
        if let Some(answered) = self.answered_below(behind) {
            self.because(rule, 0.85);
            return self.go_on(answered);
        }
        // Where it isn't sure that a program announces what is below, that may be anybody's.
        // Nor is it below "Original Message": programs that write so put the whole mail there, and people answer above it.
        let is_original = rule == "text:original";
        if self.walked.forward || behind == from || confidence < SURE || is_original {
            self.because(rule, 0.4);
            self.keep_to(from);
            // Nothing was written above: it is passed on, or somebody wrote inside.
            self.walked.forward = true;
            return self.end();
        }
        self.because(rule, 0.5);
        self.start = behind;
        behind
    }

    /// Is a greeting all that was written above line `end`?
    fn only_greets(&self, end: usize) -> bool {
        let above = self.lines.get(self.start..end).unwrap_or_default();
        let mut written = above.iter().filter(|line| !line.is_blank());
        let greets = |line: &Line| {
            line.folded.ends_with([',', ':', '，', '：', '、']) && line.folded.split(' ').count() <= GREETING
        };
        self.walked.pieces.is_empty() && written.next().is_some_and(greets) && written.next().is_none()
    }

    /// What stands below `behind`, where a history begins under one's own words: nothing of the answer, unless somebody
    /// wrote between our lines, or the words above say that they did and it can be told from what is quoted.
    fn answers_below(&mut self, behind: usize, rule: &'static str) -> usize {
        let is_ours = !self.ours.unmarked.is_empty();
        if let Some(answered) = self.answered_below(behind) {
            return self.go_on(answered);
        }
        let filled = self.filled_in(behind..self.lines.len());
        if !filled.is_empty() {
            self.because(rule, 0.7);
            let pieces = filled.into_iter().map(|lines| Piece { lines, kind: Kind::Answered });
            self.walked.pieces.extend(pieces);
            // What stands below the quotation may be more of the answer.
            let quoted = (behind..self.lines.len())
                .rfind(|at| self.line(*at).is_some_and(|line| line.depth > self.base));
            return quoted.map_or_else(|| self.lines.len(), |last| self.go_on(last + 1));
        }
        let pieces = &self.walked.pieces;
        let above = pieces.iter().flat_map(|piece| self.lines.get(piece.lines.clone()).unwrap_or_default());
        let is_plain = pieces.iter().all(|piece| matches!(piece.kind, Kind::Own));
        let pointer =
            if is_ours || !is_plain || rule == "text:forwarded" { None } else { pointer::points(above) };
        let Some(pointer) = pointer else { return self.end() };
        let behind = self
            .next_written(behind)
            .map_or(behind, |next| headers::starting_at(self.lines, next).map_or(next, |block| block.end));
        let mail = behind..self.announcement_from(behind);
        let (answers, confidence) = match pointer::answers(self.lines, mail.clone(), self.base, &pointer) {
            Answers::Between(quotation) => {
                self.because(rule, 0.7);
                return self.quotation(quotation, Some((rule, 0.7)));
            }
            Answers::Told(answers) => (answers, 0.7),
            // They stand in it somewhere.
            Answers::Untold => (Vec::from([mail]), 0.5),
            Answers::Nowhere => (Vec::new(), 0.5),
        };
        self.because(rule, confidence);
        self.walked.pieces.extend(answers.into_iter().map(|lines| Piece { lines, kind: Kind::Answered }));
        self.end()
    }

    /// Where from `from` on the next older mail is announced; the end if none is.
    fn announcement_from(&self, from: usize) -> usize {
        (from..self.lines.len())
            .find_map(|at| {
                attribution::ending_at(self.lines, from, at, false)
                    .or_else(|| self.tells_history(at).then_some(at))
            })
            .unwrap_or(self.lines.len())
    }

    /// What is below isn't the answer.
    fn end(&mut self) -> usize {
        self.ended = true;
        self.lines.len()
    }

    /// What is from here up to `start` isn't the answer.
    fn go_on(&mut self, start: usize) -> usize {
        self.start = start;
        start
    }

    /// Where our lines begin in the history, if somebody wrote between them, or behind our words on one: people do where
    /// a program marks no quotation.
    fn answered_below(&mut self, behind: usize) -> Option<usize> {
        let ours = std::mem::take(&mut self.ours.unmarked);
        let block = self.next_written(behind).and_then(|next| headers::starting_at(self.lines, next));
        let from = block.as_ref().map_or(behind, |block| block.end);
        let below = ours.get(ours.partition_point(|at| *at < from)..)?;
        let (first, last) = (*below.first()?, *below.last()?);
        for at in first..=last {
            let line = self.line(at)?;
            if line.depth > self.base || self.tells_history(at) {
                return None;
            }
            if line.mark.is_none()
                && !line.is_programs
                && first_written(std::slice::from_ref(line), self.base).is_some()
            {
                return Some(first);
            }
        }
        None
    }

    /// The run of quoted lines from `at` on.
    fn quoted(&self, at: usize) -> Range<usize> {
        let is_quoted = |line: &Line| line.depth > self.base || line.mark.is_some_and(Mark::quotes);
        let mut end = at;
        let mut next = at;
        while let Some(line) = self.line(next) {
            if is_quoted(line) {
                end = next + 1;
            } else if !line.is_blank() && !self.is_wrapped(next, end) {
                break;
            }
            next += 1;
        }
        at..end.max(at + 1)
    }

    /// A run of quoted lines from `at` on, announced by a rule or loose; gives the line behind it.
    fn quotation(&mut self, at: usize, announced: Option<(&'static str, f32)>) -> usize {
        let lines = self.quoted(at);
        let filled = self.filled_in(lines.clone());
        let known = (!filled.is_empty()).then_some((known::MARK.rule, 0.7));
        match announced.or(known) {
            Some((rule, confidence)) => {
                if announced.is_none() {
                    self.keep_to(self.announced(lines.start));
                    self.walked.certain = true;
                }
                let answers = if known.is_some() { filled } else { self.answers_inside(lines.clone()) };
                self.because(rule, if answers.is_empty() { confidence } else { 0.7 });
                let pieces = answers.into_iter().map(|lines| Piece { lines, kind: Kind::Answered });
                self.walked.pieces.extend(pieces);
            }
            None => self.keep_loose(lines.clone()),
        }
        self.start = lines.end;
        lines.end
    }

    /// What somebody wrote between our own lines in this quotation.
    fn filled_in(&self, quotation: Range<usize>) -> Vec<Range<usize>> {
        let filled = &self.ours.filled;
        let from = filled.partition_point(|at| *at < quotation.start);
        let to = filled.partition_point(|at| *at < quotation.end);
        let inside = filled.get(from..to).unwrap_or_default();
        inside
            .chunk_by(|one, next| one + 1 == *next)
            .filter_map(|run| Some(*run.first()?..run.last()? + 1))
            .collect()
    }

    /// Answers that stand in the first quotation, if the words above point to them.
    fn answers_inside(&mut self, quotation: Range<usize>) -> Vec<Range<usize>> {
        let pieces = &self.walked.pieces;
        if std::mem::replace(&mut self.searched, true)
            || !pieces.iter().all(|piece| matches!(piece.kind, Kind::Own))
        {
            return Vec::new();
        }
        let above = pieces.iter().flat_map(|piece| self.lines.get(piece.lines.clone()).unwrap_or_default());
        pointer::points(above)
            .map(|pointer| pointer::answers_inside(self.lines, quotation, &pointer))
            .unwrap_or_default()
    }

    /// Keeps a quotation that nothing announced, for [`settle`] to judge.
    fn keep_loose(&mut self, lines: Range<usize>) {
        let inside = self.lines.get(lines.clone()).unwrap_or_default();
        let holds = self.holds(lines.clone());
        let above = lines.start.checked_sub(1).and_then(|above| self.line(above));
        let joined = above.is_some_and(|line| !line.is_blank());
        let stray = joined && lines.len() == 1 && inside.iter().all(|line| line.nodes.is_empty());
        let rule = if holds == Holds::Announcement { "text:attribution" } else { "text:quoted" };
        let mark = inside.iter().find_map(|line| line.mark);
        let rule = mark.map_or(rule, |mark| mark.rule);
        let follows = self.walked.certain;
        // Gmail puts its histories into a wrapper, what its button cites not.
        let last = || self.lines.get(..lines.start)?.iter().rev().find(|line| !line.is_blank());
        let introduced = mark == Some(Mark { rule: clients::GMAIL, part: Part::Cited })
            && last().is_some_and(|line| line.folded.ends_with(':'));
        self.keep_to(lines.start);
        let kind = Kind::Loose(Loose { holds, stray, introduced, follows, rule });
        self.walked.pieces.push(Piece { lines, kind });
    }

    /// What a quotation has in it.
    fn holds(&self, lines: Range<usize>) -> Holds {
        let inside = self.lines.get(lines.clone()).unwrap_or_default();
        let deepest = inside.iter().map(|line| line.depth).max().unwrap_or(0);
        let nested = deepest > self.base + 1 && inside.iter().any(|line| line.depth == self.base + 1);
        if lines.clone().take(5).any(|at| self.tells_history(at)) {
            Holds::Announcement
        } else if nested || lines.clone().any(|at| self.tells_history(at)) {
            Holds::History
        } else {
            Holds::Words
        }
    }

    fn tells_history(&self, at: usize) -> bool {
        let below =
            self.line(at + 1).is_some_and(|next| self.line(at).is_some_and(|line| next.depth > line.depth));
        attribution::ending_at(self.lines, at.saturating_sub(3), at, below).is_some()
            || headers::starting_at(self.lines, at).is_some()
            || separators::at(self.lines, at).is_some()
    }

    /// The rest of a quoted line that a program broke: short, unmarked, in the midst of quoted lines.
    fn is_wrapped(&self, at: usize, end: usize) -> bool {
        let quoted = |at: usize| self.line(at).is_some_and(|line| line.depth > self.base);
        let above = at.checked_sub(1).filter(|above| end == above + 1).and_then(|above| self.line(above));
        let (Some(above), Some(line)) = (above, self.line(at)) else { return false };
        if above.depth <= self.base || !line.nodes.is_empty() || !quoted(at + 1) {
            return false;
        }
        // Whoever answers between the lines begins anew, below a question.
        let (long, short) = (above.text.chars().count(), line.text.chars().count());
        let goes_on = line.text.trim_start().starts_with(char::is_lowercase)
            && !line.folded.starts_with("http")
            && !above.folded.ends_with(['?', '!', ':', '…', '？', '！', '؟'])
            && long + short >= 70;
        let says_nothing = !line.text.contains(char::is_alphanumeric);
        let is_rest = (short < 40 || line.text.contains("://")) && long >= 60 && (goes_on || says_nothing);
        // The rest of an address that was broken, or of what stands in brackets around one.
        let is_open = || {
            let opened = |open, close| above.folded.rfind(open) > above.folded.rfind(close);
            opened('(', ')')
                || opened('<', '>')
                || above.folded.rsplit(' ').next().is_some_and(|word| word.contains("://"))
        };
        let is_odd =
            line.text.trim_start().starts_with(['(', '_', '&', '=']) || line.folded.starts_with("http");
        let is_link = line.folded.starts_with("(http");
        is_rest || is_link || is_odd && is_open()
    }

    /// A device line may stand on top where the mail was answered below a template.
    fn behind_device(&self, from: usize) -> usize {
        let first = (from..self.lines.len()).find(|at| self.line(*at).is_some_and(|line| !line.is_blank()));
        let device = first.filter(|at| self.line(*at).is_some_and(device::is_lone_device));
        device.filter(|at| self.line(at + 1).is_some_and(Line::is_blank)).map_or(from, |at| at + 1)
    }

    /// A device line that is a paragraph of its own between others.
    fn is_device_between(&mut self, at: usize) -> bool {
        let blank = |at: Option<usize>| at.and_then(|at| self.line(at)).is_none_or(Line::is_blank);
        if !blank(at.checked_sub(1)) || !blank(Some(at + 1)) {
            return false;
        }
        if !self.line(at).is_some_and(device::is_lone_device) || !self.has_text_before(at) {
            return false;
        }
        let next = (at + 1..self.lines.len()).find_map(|at| self.line(at).filter(|line| !line.is_blank()));
        next.is_some_and(|line| line.depth <= self.base && !line.is_device())
    }

    /// The last line with words that neither we sent nor anything marks; 0 if there is none.
    fn last_own(&mut self) -> usize {
        *self.last_own.get_or_insert_with(|| {
            let is_own = |line: &Line| {
                line.mark.is_none()
                    && !line.is_programs
                    && first_written(std::slice::from_ref(line), self.base).is_some()
            };
            self.lines.iter().rposition(is_own).unwrap_or(0)
        })
    }

    fn written_between(&self, from: usize, to: usize) -> Option<usize> {
        self.lines.get(from..to)?.iter().position(|line| !line.is_blank())
    }

    fn next_written(&self, from: usize) -> Option<usize> {
        let to = self.lines.len().min(from + 4);
        (from..to).find(|at| self.line(*at).is_some_and(|line| !line.is_blank()))
    }

    fn keep_to(&mut self, end: usize) {
        if end > self.start {
            self.written = self.has_text_before(end);
            self.walked.pieces.push(Piece { lines: self.start..end, kind: Kind::Own });
        }
        self.start = end;
    }

    fn because(&mut self, rule: &'static str, confidence: f32) {
        self.walked.because(rule, confidence);
    }

    /// Anything of one's own above line `at`?
    fn has_text_before(&mut self, at: usize) -> bool {
        if self.written {
            return true;
        }
        let from = self.unwritten.max(self.start);
        let found = first_written(self.lines.get(from..at).unwrap_or_default(), self.base);
        self.unwritten = found.map_or(at.max(from), |found| from + found);
        found.is_some()
    }
}
