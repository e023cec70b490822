//! HTML as lines: what a human reads of it, with what its markup says about each line; and back, the HTML of lines
//! that are kept.
//!
//! Promises: linear; what isn't shown isn't read; the HTML given back holds only harmless elements (no script, no style,
//! no handler, no address but of the web, mail, or an attached picture).

use super::MOST_LINES;
use super::attribution;
use super::clients::{self, Mark, Part};
use super::colour::{self, Colour};
use super::dates::Address;
use super::emoji;
use super::headers::Field;
use super::html::{Element, Kind, Node, is_void};
use super::line::{Line, fold};
use super::lists::Lists;
use super::notices;
use super::steps;
use std::ops::Range;

/// What mail programs put above a signature.
const DELIMITER: &str = "-- ";

/// What holds while an element is open.
#[expect(clippy::struct_excessive_bools, reason = "each is inherited by itself")]
#[derive(Clone, Copy, Default)]
struct Scope {
    end: usize,
    depth: u8,
    mark: Option<Mark>,
    hidden: bool,
    preformatted: bool,
    block: bool,
    /// Paragraphs stand apart by an empty line.
    apart: bool,
    /// It is a list.
    list: bool,
    colour: Option<Colour>,
}

#[derive(Default)]
struct Renderer {
    lines: Vec<Line>,
    text: String,
    nodes: Vec<usize>,
    /// The pictures of that line, which may show nothing else.
    pictures: Vec<usize>,
    /// What the line that is being made stands in.
    depth: u8,
    mark: Option<Mark>,
    /// The colours of its words, and of how many octets.
    colours: Vec<(Option<Colour>, usize)>,
    /// Of those that come.
    next_colour: Option<Colour>,
    /// It links to what explains a notice.
    is_explained: bool,
    /// A history begins with the next line that shows something.
    pending: Option<Mark>,
    /// The lines that quotation marks stand in front of, and no element quotes.
    typed: Vec<usize>,
    /// The line below what opens a history, until one begins.
    unconfirmed: Option<usize>,
    /// An empty line is due.
    gap: bool,
    /// The open lists.
    lists: Lists,
    /// The number of the item whose first words are due.
    number: Option<String>,
}

/// Renders nodes as lines.
pub fn lines(nodes: &[Node<'_>]) -> Vec<Line> {
    let mut renderer = Renderer::default();
    let mut scopes: Vec<Scope> = vec![Scope { end: nodes.len(), ..Scope::default() }];
    let mut wrapper: Option<Wrapper> = None;
    let mut is_written = false;
    for (at, node) in nodes.iter().enumerate() {
        if renderer.lines.len() >= MOST_LINES {
            break;
        }
        while scopes.len() > 1 && scopes.last().is_some_and(|scope| scope.end <= at) {
            if let Some(scope) = scopes.pop() {
                renderer.leave(&scope);
            }
        }
        steps::took(1);
        let scope = scopes.last().copied().unwrap_or_default();
        match &node.kind {
            Kind::Text(text) if !scope.hidden => {
                let said = wrapper.as_ref().and_then(|wrapper| wrapper.says(at));
                let depth = scope.depth + u8::from(said.is_some());
                is_written |= !text.trim().is_empty();
                renderer.next_colour = scope.colour;
                renderer.text(text, at, scope.preformatted, depth, said.or(scope.mark));
            }
            Kind::Text(_) => {}
            Kind::Element(element) => {
                let mut inner = Scope { end: node.end, block: false, apart: false, list: false, ..scope };
                let mark = if element.is_marked() || element.name == "blockquote" {
                    clients::mark(element)
                } else {
                    None
                };
                match mark {
                    Some(mark) if is_cited(element, mark) => {
                        // A program's reply has its attribution in the same wrapper.
                        let is_inside = wrapper.as_ref().is_some_and(|wrapper| at < wrapper.end);
                        let part = if is_inside { Part::Quote } else { Part::Cited };
                        renderer.marked(&mut inner, Mark { part, ..mark });
                    }
                    Some(mark) if mark.part == Part::Wrapper && element.name == "blockquote" => {
                        renderer.marked(&mut inner, Mark { part: Part::Quote, ..mark });
                    }
                    Some(mark)
                        if mark.part == Part::Wrapper
                            && inner.depth == 0
                            && wrapper.as_ref().is_none_or(|wrapper| wrapper.end <= at) =>
                    {
                        wrapper = Some(Wrapper::of(nodes, at..node.end, mark, is_written));
                    }
                    Some(mark) => renderer.marked(&mut inner, mark),
                    None => {}
                }
                renderer.enter(element, &mut inner, nodes, at);
                if !is_void(&element.name) {
                    scopes.push(inner);
                }
            }
        }
    }
    renderer.end_line();
    renderer.read_typed();
    renderer.lines
}

/// Is it of those that people cite with: Gmail's, or the one that all take over?
fn is_cited(element: &Element<'_>, mark: Mark) -> bool {
    mark.part == Part::Cited || mark.rule == clients::GMAIL && element.name == "blockquote"
}

/// An element that wraps an attribution and quotations, with room for answers between them.
struct Wrapper {
    mark: Mark,
    /// The nodes of the attribution.
    attribution: Range<usize>,
    end: usize,
}

impl Wrapper {
    fn of(nodes: &[Node<'_>], within: Range<usize>, mark: Mark, is_written: bool) -> Wrapper {
        let Range { start, end } = within;
        let inner = nodes.get(start..end).unwrap_or_default();
        let is_quotation =
            |node: &Node<'_>| matches!(&node.kind, Kind::Element(element) if element.name == "blockquote");
        let itself = inner.first().is_some_and(is_quotation);
        let first = inner.iter().position(is_quotation).filter(|_| !itself).map(|at| start + at);
        let above = start..first.unwrap_or(end);
        let marked = above.clone().find(|at| nodes.get(*at).is_some_and(is_attribution));
        let attribution = match (marked, first) {
            // What was passed on stands below as it is.
            (Some(_), _) if announces_forward(nodes, above.clone()) => above,
            (Some(at), Some(_)) => at..nodes.get(at).map_or(end, |node| node.end),
            (Some(_), None) => above,
            (None, first) => {
                let announced = announced_from(nodes, above.clone(), first.is_some(), is_written);
                announced.map_or(above.end..above.end, |at| at..above.end)
            }
        };
        Wrapper { mark, attribution, end }
    }

    /// What it says about the node at `at`: quoted, as its attribution is.
    fn says(&self, at: usize) -> Option<Mark> {
        self.attribution.contains(&at).then_some(Mark { part: Part::Quote, ..self.mark })
    }
}

/// Is it an element that holds nothing but the attribution?
fn is_attribution(node: &Node<'_>) -> bool {
    matches!(&node.kind, Kind::Element(element) if clients::mark(element).is_some_and(Mark::is_attribution))
}

/// Does a line of dashes, which people don't write there, stand first?
fn announces_forward(nodes: &[Node<'_>], within: Range<usize>) -> bool {
    let words = nodes.get(within).unwrap_or_default().iter().find_map(|node| match &node.kind {
        Kind::Text(text) if !text.trim().is_empty() => Some(text.trim_start()),
        _ => None,
    });
    words.is_some_and(|words| words.starts_with("---"))
}

/// The node at which begins what announces the quotation that ends `within`, where no element tells it: dashes, an attribution,
/// or else the last line, with a date or an address. What stands above, somebody wrote there. Where the quotation isn't an
/// element of its own, it is `within` as well, below the first attribution, or below a first line that ends with a colon where
/// something is written above the wrapper.
fn announced_from(
    nodes: &[Node<'_>],
    within: Range<usize>,
    is_quoted: bool,
    is_written: bool,
) -> Option<usize> {
    let mut line = String::new();
    let (mut begin, mut block) = (within.start, within.end);
    let (mut begins, mut lines) = (Vec::new(), Vec::new());
    let mut end_line = |begin: usize, line: &mut String| {
        let line = Line::plain(std::mem::take(line).trim());
        if !line.is_blank() {
            begins.push(begin);
            lines.push(line);
        }
    };
    for (at, node) in nodes.iter().enumerate().take(within.end).skip(within.start) {
        let is_break =
            matches!(&node.kind, Kind::Element(element) if element.name == "br" || is_block(&element.name));
        if is_break || at >= block {
            end_line(begin, &mut line);
            block = if is_break && node.end > at + 1 { node.end } else { within.end };
        }
        if let Kind::Text(text) = &node.kind
            && line.len() < MOST_ANNOUNCED
        {
            begin = if line.trim().is_empty() { at } else { begin };
            line.push_str(text);
        }
    }
    end_line(begin, &mut line);
    let attributed = |end: usize| attribution::ending_at(&lines, 0, end, true);
    let last = lines.len().checked_sub(1)?;
    let from = lines.iter().position(|line| line.folded.starts_with("---")).or_else(|| {
        let tells = |line: &Line| line.figures().is_date() || line.address() != Address::None;
        if !is_quoted {
            let is_lead = |line: &Line| tells(line) && line.folded.ends_with(':');
            let is_lead_in = || is_written && last > 0 && lines.first().is_some_and(is_lead);
            return (0..last).find_map(attributed).or_else(|| is_lead_in().then_some(0));
        }
        attributed(last).or_else(|| lines.last().is_some_and(tells).then_some(last))
    });
    begins.get(from?).copied()
}

/// So many octets of a line are looked at, whether it announces a quotation.
const MOST_ANNOUNCED: usize = 600;

impl Renderer {
    fn marked(&mut self, inner: &mut Scope, mark: Mark) {
        match mark.part {
            Part::Quote | Part::Cited => {
                self.end_line();
                inner.depth = inner.depth.saturating_add(1);
                inner.mark = inner.mark.or(Some(mark));
                inner.block = true;
            }
            Part::Indented => {
                self.end_line();
                inner.depth = inner.depth.saturating_add(1);
                inner.mark = inner.mark.or(Some(mark));
            }
            Part::Signature => {
                self.end_line();
                inner.mark = inner.mark.or(Some(mark));
                inner.block = true;
            }
            Part::History | Part::Headers | Part::Opening => {
                self.end_line();
                self.confirm(mark);
                let pending = self.pending.filter(|pending| pending.part != Part::Opening);
                self.pending = pending.or(Some(mark));
            }
            Part::Wrapper | Part::Known => {}
        }
    }

    /// Where a history begins below what only opened one, that line was written by hand, if it is no field of a mail.
    fn confirm(&mut self, mark: Mark) {
        if let Some(line) = self.unconfirmed.take_if(|_| mark.part != Part::Opening)
            && let Some(line) = self.lines.get_mut(line)
            && !line.field().is_some_and(Field::is_labelled)
        {
            line.mark = None;
        }
    }

    fn enter(&mut self, element: &Element<'_>, inner: &mut Scope, nodes: &[Node<'_>], at: usize) {
        let name = element.name.as_ref();
        inner.colour = colour::of(element, inner.colour);
        inner.preformatted |= element.style().contains("white-space:pre");
        if is_hidden(element) {
            inner.hidden = true;
        }
        match name {
            "br" => {
                if self.text.is_empty() && self.nodes.is_empty() {
                    self.gap = true;
                }
                self.nodes.push(at);
                self.end_line();
            }
            "img" if !inner.hidden => match emoji::of_picture(element) {
                Some(emoji) => self.words(emoji, at, false, inner.depth, inner.mark),
                None => self.pictures.push(at),
            },
            "hr" => {
                self.end_line();
                self.gap = true;
            }
            "pre" => inner.preformatted = true,
            "a" => self.is_explained |= element.attribute("href").is_some_and(notices::explains),
            "ol" | "ul" => {
                self.lists.open(element, nodes, at);
                inner.list = true;
            }
            "td" | "th" => self.space(),
            _ => {}
        }
        if is_block(name) {
            self.end_line();
            inner.block = true;
            inner.apart = matches!(
                name,
                "p" | "blockquote" | "h1" | "h2" | "h3" | "h4" | "ul" | "ol" | "table" | "pre"
            );
            self.gap |= inner.apart;
        }
        if name == "li" {
            self.number = self.lists.item(element).or(self.number.take());
        }
    }

    fn leave(&mut self, scope: &Scope) {
        if scope.block {
            self.end_line();
            self.gap |= scope.apart;
        }
        if scope.list {
            self.lists.close();
            self.number = None;
        }
    }

    fn text(&mut self, text: &str, at: usize, preformatted: bool, depth: u8, mark: Option<Mark>) {
        let mut parts = text.split(if preformatted { '\n' } else { '\0' });
        let mut part = parts.next();
        while let Some(shown) = part {
            self.words(shown, at, preformatted, depth, mark);
            part = parts.next();
            if part.is_some() {
                if self.text.is_empty() {
                    self.gap = true;
                }
                self.end_line();
            }
        }
    }

    fn words(&mut self, text: &str, at: usize, preformatted: bool, depth: u8, mark: Option<Mark>) {
        let shows = !text.trim_matches([' ', '\t', '\n', '\r', '\u{a0}', '\u{200b}']).is_empty();
        if self.text.is_empty() && !shows {
            // An empty paragraph of Outlook's holds a no-break space.
            self.gap |= text.contains('\u{a0}');
            return;
        }
        if self.text.is_empty() {
            self.depth = depth;
            self.mark = mark;
        } else if shows && (depth != self.depth || mark != self.mark) {
            self.end_line();
            self.depth = depth;
            self.mark = mark;
        }
        self.nodes.push(at);
        if shows {
            let length = text.trim_ascii().len();
            match self.colours.last_mut().filter(|(colour, _)| *colour == self.next_colour) {
                Some((_, octets)) => *octets += length,
                None => self.colours.push((self.next_colour, length)),
            }
        }
        if self.text.is_empty() {
            self.text = self.lists.indent();
            self.text.push_str(&self.number.take().unwrap_or_default());
        }
        if preformatted {
            self.text.push_str(text.trim_end_matches('\r'));
            return;
        }
        let mut is_apart = text.starts_with(|c: char| c.is_ascii_whitespace());
        for word in text.split_ascii_whitespace() {
            if is_apart {
                self.space();
            }
            self.text.push_str(word);
            is_apart = true;
        }
        if text.ends_with(|c: char| c.is_ascii_whitespace()) {
            self.space();
        }
    }

    /// One space between what is there and what comes, however many there are.
    fn space(&mut self) {
        if !matches!(self.text.as_bytes().last(), None | Some(b' ' | b'\n')) {
            self.text.push(' ');
        }
    }

    fn end_line(&mut self) {
        let mut nodes = std::mem::take(&mut self.nodes);
        let mut pictures = std::mem::take(&mut self.pictures);
        let colours = std::mem::take(&mut self.colours);
        let is_explained = std::mem::take(&mut self.is_explained);
        // The delimiter of a signature has a space at its end (RFC 3676 §4.3).
        let shown = if self.text == DELIMITER { DELIMITER } else { self.text.trim_end() }.to_owned();
        self.text.clear();
        if shown.is_empty() {
            // Pictures alone are an empty line to whoever reads text.
            if !pictures.is_empty() {
                self.gap = false;
                let mark = self.pending.or(self.mark);
                self.lines.push(Line::rendered(shown, self.depth, mark, pictures));
            }
            return;
        }
        nodes.append(&mut pictures);
        if std::mem::take(&mut self.gap) && !self.lines.is_empty() {
            let depth = self.depth.min(self.lines.last().map_or(0, |line| line.depth));
            self.lines.push(Line::rendered(String::new(), depth, None, Vec::new()));
        }
        let pending = self.pending.take();
        if pending.is_some() {
            let opens = pending.is_some_and(|mark| mark.part == Part::Opening);
            self.unconfirmed = opens.then_some(self.lines.len());
        }
        let mark = pending.or(self.mark);
        let mut line = Line::rendered(shown, self.depth, mark, nodes);
        (line.colours, line.is_explained) = (colours, is_explained);
        if self.depth == 0 && line.depth > 0 {
            self.typed.push(self.lines.len());
        }
        self.lines.push(line);
    }

    /// Where a program quotes by elements, a mark in front of a line is a sign that somebody typed: "> 100 EUR". So it is above
    /// a program's history; but not below an attribution.
    fn read_typed(&mut self) {
        let quotes = self.lines.iter().any(|line| line.mark.is_some_and(Mark::quotes));
        let history = self.lines.iter().position(|line| line.mark.is_some_and(Mark::begins_history));
        let mut behind = None;
        let mut announced = false;
        for at in std::mem::take(&mut self.typed) {
            if behind != Some(at) {
                announced = self.is_announced(at);
            }
            behind = Some(at + 1);
            if announced || !(quotes || history.is_some_and(|history| at < history)) {
                continue;
            }
            if let Some(line) = self.lines.get_mut(at).filter(|line| line.mark.is_none()) {
                line.quote(0, fold(&line.text));
            }
        }
    }

    /// Does an attribution end right above line `at`?
    fn is_announced(&self, at: usize) -> bool {
        let near = at.saturating_sub(NEAR);
        let above =
            (near..at).rev().find(|above| self.lines.get(*above).is_some_and(|line| !line.is_blank()));
        above.is_some_and(|above| {
            attribution::ending_at(&self.lines, above.saturating_sub(NEAR), above, true).is_some()
        })
    }
}

/// An attribution is looked for in so many lines above a quotation, and is as long.
const NEAR: usize = 3;

fn is_hidden(element: &Element<'_>) -> bool {
    let style = element.style();
    let is_tiny = |at: usize| {
        let size = style.get(at + "font-size:".len()..).unwrap_or_default();
        size.strip_prefix('0').is_some_and(|rest| !rest.starts_with(|c: char| c == '.' || c.is_ascii_digit()))
    };
    style.contains("display:none")
        || style.contains("mso-hide:all")
        || style.contains("visibility:hidden")
        || style.find("font-size:").is_some_and(is_tiny)
}

fn is_block(name: &str) -> bool {
    matches!(
        name,
        "p" | "div"
            | "blockquote"
            | "summary"
            | "table"
            | "tr"
            | "ul"
            | "ol"
            | "li"
            | "dl"
            | "dt"
            | "dd"
            | "pre"
            | "h1"
            | "h2"
            | "h3"
            | "h4"
            | "h5"
            | "h6"
            | "center"
            | "section"
            | "article"
            | "header"
            | "footer"
            | "address"
            | "body"
            | "form"
            | "fieldset"
            | "figure"
            | "main"
            | "nav"
            | "aside"
            | "details"
    )
}

/// Elements that come back, and nothing of them but a link's and a picture's address and a list's numbers.
fn is_harmless(name: &str) -> bool {
    matches!(
        name,
        "p" | "div"
            | "span"
            | "br"
            | "b"
            | "strong"
            | "i"
            | "em"
            | "u"
            | "s"
            | "a"
            | "img"
            | "ul"
            | "ol"
            | "li"
            | "table"
            | "tbody"
            | "thead"
            | "tr"
            | "td"
            | "th"
            | "blockquote"
            | "pre"
            | "code"
            | "h1"
            | "h2"
            | "h3"
            | "h4"
            | "h5"
            | "h6"
            | "sub"
            | "sup"
            | "dl"
            | "dt"
            | "dd"
            | "small"
            | "big"
            | "center"
    )
}

/// The HTML of the lines that are kept; `None` if nothing of them is.
pub fn html(nodes: &[Node<'_>], kept: &[bool]) -> Option<String> {
    let mut out = String::new();
    // Elements whose start tag is due when something in them is kept, and those that were written.
    let mut due: Vec<(usize, usize, &str, bool)> = Vec::new();
    for (at, node) in nodes.iter().enumerate() {
        while due.last().is_some_and(|(_, end, _, _)| *end <= at) {
            close(&mut due, &mut out);
        }
        let is_kept = kept.get(at).copied().unwrap_or(false);
        match &node.kind {
            Kind::Text(text) if is_kept => {
                open(&mut due, nodes, &mut out);
                escape(text, &mut out);
            }
            Kind::Text(_) => {}
            Kind::Element(element) if is_void(&element.name) => {
                if is_kept && is_harmless(&element.name) {
                    open(&mut due, nodes, &mut out);
                    start_tag(element, &mut out);
                }
            }
            Kind::Element(element) => due.push((at, node.end, &element.name, false)),
        }
    }
    while !due.is_empty() {
        close(&mut due, &mut out);
    }
    (!out.is_empty()).then_some(out)
}

fn open(due: &mut [(usize, usize, &str, bool)], nodes: &[Node<'_>], out: &mut String) {
    // Those that are written stand in front.
    let from = due.iter().rposition(|(_, _, _, written)| *written).map_or(0, |at| at + 1);
    for (at, _, name, written) in due.iter_mut().skip(from) {
        *written = true;
        if let (true, Some(Kind::Element(element))) =
            (is_harmless(name), nodes.get(*at).map(|node| &node.kind))
        {
            start_tag(element, out);
        }
    }
}

fn close(due: &mut Vec<(usize, usize, &str, bool)>, out: &mut String) {
    if let Some((_, _, name, true)) = due.pop()
        && is_harmless(name)
    {
        out.push_str(&format!("</{name}>"));
    }
}

fn start_tag(element: &Element<'_>, out: &mut String) {
    out.push('<');
    out.push_str(&element.name);
    let wanted: &[&str] = match element.name.as_ref() {
        "a" => &["href"],
        "img" => &["src", "alt"],
        "ol" => &["start", "reversed", "type"],
        "li" => &["value"],
        _ => &[],
    };
    for name in wanted {
        let Some(value) = element.attribute(name) else { continue };
        let lower = value.trim_start().to_ascii_lowercase();
        let safe = match *name {
            "alt" => true,
            "start" | "value" => value.trim().parse::<i32>().is_ok(),
            "reversed" => value.is_empty() || lower == "reversed",
            "type" => matches!(value, "1" | "a" | "A" | "i" | "I"),
            _ => ["http://", "https://", "mailto:", "tel:", "cid:"]
                .iter()
                .any(|scheme| lower.starts_with(scheme)),
        };
        if safe {
            out.push_str(&format!(" {name}=\""));
            escape(value, out);
            out.push('"');
        }
    }
    out.push('>');
}

fn escape(text: &str, out: &mut String) {
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            _ => out.push(character),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{html, lines};
    use crate::inbox::answer::html::parse;

    fn shown(source: &str) -> Vec<(String, u8)> {
        lines(&parse(source)).into_iter().map(|line| (line.text, line.depth)).collect()
    }

    #[test]
    fn lines_are_what_a_human_reads() {
        let expected =
            [("Hi there", 0), ("", 0), ("a b", 0), ("c", 0)].map(|(text, depth)| (text.to_owned(), depth));
        assert_eq!(shown("<p>Hi\n <b>there</b></p><div style='display:none'>x</div><div>a&nbsp;<span></span>b<br>c</div>").iter().map(|(text, depth)| (text.replace('\u{a0}', " "), *depth)).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn quoting_elements_raise_the_depth_and_indents_do_not_mark() {
        assert_eq!(
            shown("a<blockquote type=cite>b</blockquote><blockquote style='border: none'>c</blockquote>")
                .iter()
                .map(|(_, depth)| *depth)
                .collect::<Vec<_>>(),
            [0, 0, 1, 0, 0]
        );
    }

    #[test]
    fn html_that_comes_back_is_harmless() {
        let nodes = parse(
            "<div onclick=x style=y><a href='javascript:x'>a</a><a href='https://b.c/?d&e'>b</a><script>evil()</script><img src=cid:1 onerror=x><p>no</p></div>",
        );
        let kept: Vec<bool> = (0..nodes.len()).map(|at| at < nodes.len() - 2).collect();
        assert_eq!(
            html(&nodes, &kept).as_deref(),
            Some("<div><a>a</a><a href=\"https://b.c/?d&amp;e\">b</a><img src=\"cid:1\"></div>")
        );
        let nodes = parse(
            "<ol start=3 type=a reversed class=x><li value=9>a</li></ol><ol type='x\"' start=x><li>b</li></ol>",
        );
        assert_eq!(
            html(&nodes, &vec![true; nodes.len()]).as_deref(),
            Some("<ol start=\"3\" reversed=\"\" type=\"a\"><li value=\"9\">a</li></ol><ol><li>b</li></ol>")
        );
    }
}
