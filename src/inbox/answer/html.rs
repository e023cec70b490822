//! HTML as mail programs write it, read into a flat tree.
//!
//! Promises: linear in the input, whatever it holds; no recursion, so no depth of nesting overflows a stack; anything
//! is some tree, nothing fails. A browser's whole algorithm isn't needed to tell what stands in what: its scope
//! searches take quadratic time on hostile input. Rules followed are those of the HTML standard §13.2.5 for tags, attributes,
//! comments and raw text, and the common cases of implied end tags of §13.1.2.4. Character references are
//! resolved by mail-parser's table.

use super::steps;
use mail_parser::decoders::html::add_html_token;
use memchr::{memchr, memchr2};
use std::borrow::Cow;
use std::collections::HashMap;

/// Elements nested deeper are taken for siblings.
const DEEPEST: usize = 256;

/// So many attributes of an element are read; no program needs more.
const ATTRIBUTES: usize = 24;

/// A name and its value.
type Attribute<'a> = (Cow<'a, str>, Cow<'a, str>);

/// An element's start tag.
#[derive(Debug, Clone, Default)]
pub struct Element<'a> {
    /// In lower case.
    pub name: Cow<'a, str>,
    /// Names in lower case, values resolved.
    attributes: Vec<Attribute<'a>>,
    /// The style, in lower case and without spaces.
    style: String,
}

impl Element<'_> {
    /// The value of an attribute.
    pub fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_ref())
    }

    /// The style in lower case and without spaces.
    pub fn style(&self) -> &str {
        &self.style
    }

    /// Carries any attribute at all.
    pub fn is_marked(&self) -> bool {
        !self.attributes.is_empty()
    }
}

/// What a node is.
#[derive(Debug, Clone)]
pub enum Kind<'a> {
    /// An element; its content follows it in the tree, up to [`Node::end`].
    Element(Element<'a>),
    /// Text, with references resolved and white space as it came.
    Text(Cow<'a, str>),
}

/// A node, in document order.
#[derive(Debug, Clone)]
pub struct Node<'a> {
    /// What it is.
    pub kind: Kind<'a>,
    /// The node behind its last descendant.
    pub end: usize,
}

/// Reads HTML into nodes in document order.
pub fn parse(html: &str) -> Vec<Node<'_>> {
    let mut builder = Builder::default();
    let mut rest = html;
    while !rest.is_empty() {
        match memchr(b'<', rest.as_bytes()) {
            Some(0) => rest = builder.markup(rest),
            Some(at) => {
                let (text, tail) = rest.split_at(at);
                builder.text(text);
                rest = tail;
            }
            None => {
                builder.text(rest);
                rest = "";
            }
        }
    }
    steps::took(html.len());
    builder.close_to(0);
    builder.nodes
}

#[derive(Default)]
struct Builder<'a> {
    nodes: Vec<Node<'a>>,
    /// The elements that are open, outermost first: their nodes, and numbers of their names.
    open: Vec<(usize, usize)>,
    /// Numbers of names that were opened.
    names: HashMap<Cow<'a, str>, usize>,
    /// For each of those, which of the open elements have it: none needs to be looked for among the others.
    depths: Vec<Vec<usize>>,
    /// Raw elements whose end tag was sought in vain: it isn't sought again, or the time were quadratic.
    endless: Vec<String>,
    /// Likewise the end of a comment.
    is_endless_comment: bool,
}

impl<'a> Builder<'a> {
    fn text(&mut self, raw: &'a str) {
        let text = resolved(raw);
        let end = self.nodes.len() + 1;
        self.nodes.push(Node { kind: Kind::Text(text), end });
    }

    /// Takes what begins with `<`; gives what follows it.
    fn markup(&mut self, rest: &'a str) -> &'a str {
        let bytes = rest.as_bytes();
        match bytes.get(1) {
            Some(b'!' | b'?') => self.skip_declaration(rest),
            Some(b'/') if bytes.get(2).is_some_and(u8::is_ascii_alphabetic) => {
                let (name, _) = tag_name(rest.get(2..).unwrap_or_default());
                self.end_tag(&name);
                let end = memchr(b'>', bytes).map_or(rest.len(), |at| at + 1);
                rest.get(end..).unwrap_or_default()
            }
            Some(first) if first.is_ascii_alphabetic() => self.start_tag(rest),
            // A lone "<" is text, and of a row of them all but the last.
            _ => {
                let row = bytes.iter().take_while(|octet| **octet == b'<').count();
                let (text, tail) = rest.split_at((row - 1).max(1));
                self.text(text);
                tail
            }
        }
    }

    fn start_tag(&mut self, rest: &'a str) -> &'a str {
        let (name, after) = tag_name(rest.get(1..).unwrap_or_default());
        // "<ana@example.com>" that nobody escaped is text.
        if name.contains('@') {
            let end = memchr(b'>', rest.as_bytes()).map_or(rest.len(), |at| at + 1);
            let (text, tail) = rest.split_at(end);
            self.text(text);
            return tail;
        }
        let (attributes, closed, tail) = attributes(after);
        let style = attributes.iter().find(|(key, _)| key == "style");
        let style = style.map(|(_, value)| {
            value.chars().filter(|c| !c.is_whitespace()).map(|c| c.to_ascii_lowercase()).collect()
        });
        self.imply_ends(&name);
        let element = Element { style: style.unwrap_or_default(), name, attributes };
        let is_void = closed && element.name.contains(':') || is_void(&element.name);
        if is_raw(&element.name) {
            return self.skip_raw(&element.name, tail);
        }
        let at = self.nodes.len();
        self.nodes.push(Node { kind: Kind::Element(element), end: at + 1 });
        if !is_void && self.open.len() < DEEPEST {
            self.push(at);
        }
        tail
    }

    /// What follows a raw element. Without an end the rest were its content, as browsers have it; that would lose the
    /// mail, so it is read as markup.
    fn skip_raw(&mut self, name: &str, tail: &'a str) -> &'a str {
        if self.endless.iter().any(|endless| endless == name) {
            return tail;
        }
        behind_end(name, tail).unwrap_or_else(|| {
            self.endless.push(name.to_owned());
            tail
        })
    }

    /// Elements whose end tag may be left out end where another of their kind begins.
    fn imply_ends(&mut self, name: &str) {
        let (ends, bounds): (&[&str], &[&str]) = match name {
            "p" => (&["p"], &["div", "td", "th", "blockquote", "li", "table", "body", "center"]),
            "li" => (&["li"], &["ul", "ol", "table"]),
            "td" | "th" => (&["td", "th"], &["tr", "table"]),
            "tr" => (&["tr"], &["table"]),
            "dd" | "dt" => (&["dd", "dt"], &["dl", "table"]),
            _ => return,
        };
        if let Some(depth) = self.innermost(ends)
            && self.innermost(bounds).is_none_or(|bound| bound < depth)
        {
            self.close_to(depth);
        }
    }

    fn end_tag(&mut self, name: &str) {
        let is_table = matches!(name, "table" | "tr" | "td" | "th" | "tbody" | "body" | "html");
        let depth = self.innermost(&[name]);
        // An end tag astray in a cell doesn't end what is around the table.
        let bound = if is_table { None } else { self.innermost(&["td", "th", "table"]) };
        match (depth, bound) {
            (Some(depth), bound) if bound.is_none_or(|bound| bound < depth) => return self.close_to(depth),
            (_, Some(_)) => return,
            _ => {}
        }
        if name == "p" || name == "br" {
            let at = self.nodes.len();
            let element = Element { name: Cow::Borrowed("br"), ..Element::default() };
            self.nodes.push(Node { kind: Kind::Element(element), end: at + 1 });
        }
    }

    /// The innermost open element of these names, as a place among those that are open.
    fn innermost(&self, names: &[&str]) -> Option<usize> {
        let depths = |name: &&str| self.depths.get(*self.names.get(*name)?)?.last().copied();
        steps::took(names.len());
        names.iter().filter_map(depths).max()
    }

    /// Opens the element at `at`.
    fn push(&mut self, at: usize) {
        let Some(Node { kind: Kind::Element(element), .. }) = self.nodes.get(at) else { return };
        let next = self.depths.len();
        let number = self.names.get(element.name.as_ref()).copied().unwrap_or(next);
        if number == next {
            self.names.insert(element.name.clone(), number);
            self.depths.push(Vec::new());
        }
        if let Some(depths) = self.depths.get_mut(number) {
            depths.push(self.open.len());
        }
        self.open.push((at, number));
    }

    fn close_to(&mut self, depth: usize) {
        let end = self.nodes.len();
        for (at, name) in self.open.drain(depth..) {
            if let Some(node) = self.nodes.get_mut(at) {
                node.end = end;
            }
            if let Some(depths) = self.depths.get_mut(name) {
                depths.pop();
            }
        }
    }

    /// Comments, doctypes, processing instructions and conditional comments.
    fn skip_declaration(&mut self, rest: &'a str) -> &'a str {
        let bytes = rest.as_bytes();
        let is_comment = bytes.starts_with(b"<!--");
        let mut end = None;
        if is_comment && !self.is_endless_comment {
            // "<!-->" and "<!--->" end at once.
            let from = 2;
            end = memchr::memmem::find(bytes.get(from..).unwrap_or_default(), b"-->").map(|at| from + at + 3);
            self.is_endless_comment = end.is_none();
            steps::took(end.unwrap_or(bytes.len()));
        }
        // A comment without an end is taken for its first tag only: the mail behind it stays.
        let end = end.or_else(|| memchr(b'>', bytes).map(|at| at + 1)).unwrap_or(bytes.len());
        rest.get(end..).unwrap_or_default()
    }
}

/// Elements without content.
pub fn is_void(name: &str) -> bool {
    matches!(
        name,
        "br" | "hr"
            | "img"
            | "meta"
            | "link"
            | "input"
            | "base"
            | "area"
            | "col"
            | "embed"
            | "source"
            | "wbr"
            | "track"
    )
}

/// An element whose content isn't markup, or is never shown.
fn is_raw(name: &str) -> bool {
    matches!(
        name,
        "style"
            | "script"
            | "title"
            | "noscript"
            | "iframe"
            | "textarea"
            | "select"
            | "object"
            | "svg"
            | "template"
    )
}

/// The tail behind the end tag of `name`.
fn behind_end<'a>(name: &str, tail: &'a str) -> Option<&'a str> {
    let bytes = tail.as_bytes();
    let mut from = 0;
    while let Some(at) = bytes.get(from..).and_then(|rest| memchr(b'<', rest)).map(|at| at + from) {
        let rest = bytes.get(at + 1..).unwrap_or_default();
        let ends = rest.first() == Some(&b'/')
            && rest.get(1..=name.len()).is_some_and(|found| found.eq_ignore_ascii_case(name.as_bytes()));
        if ends {
            let end = memchr(b'>', rest).map_or(tail.len(), |end| at + end + 2);
            return Some(tail.get(end..).unwrap_or_default());
        }
        from = at + 1;
    }
    steps::took(bytes.len());
    None
}

/// The name of a tag in lower case, and what follows it.
fn tag_name(rest: &str) -> (Cow<'_, str>, &str) {
    let length = rest
        .bytes()
        .take_while(|byte| !byte.is_ascii_whitespace() && !matches!(byte, b'/' | b'>'))
        .take(320)
        .count();
    let (name, after) = rest.split_at(rest.floor_char_boundary(length));
    (lower_case(name), after)
}

fn lower_case(name: &str) -> Cow<'_, str> {
    if name.bytes().any(|octet| octet.is_ascii_uppercase()) {
        Cow::Owned(name.to_ascii_lowercase())
    } else {
        Cow::Borrowed(name)
    }
}

/// The attributes of a start tag, whether it closes itself, and what follows it.
fn attributes(mut rest: &str) -> (Vec<Attribute<'_>>, bool, &str) {
    let mut found: Vec<Attribute<'_>> = Vec::new();
    let mut closed = false;
    loop {
        rest = rest.trim_start_matches(|c: char| c.is_ascii_whitespace());
        let Some(first) = rest.bytes().next() else { return (found, closed, rest) };
        match first {
            b'>' => return (found, closed, rest.get(1..).unwrap_or_default()),
            b'/' => {
                closed = true;
                rest = rest.get(1..).unwrap_or_default();
                continue;
            }
            _ => closed = false,
        }
        // An equals sign in front is part of the name.
        let length = 1 + rest
            .bytes()
            .skip(1)
            .take_while(|byte| !byte.is_ascii_whitespace() && !matches!(byte, b'=' | b'>' | b'/'))
            .count();
        let length = (length..=rest.len()).find(|at| rest.is_char_boundary(*at)).unwrap_or(rest.len());
        let (name, after) = rest.split_at(length);
        let trimmed = after.trim_start_matches(|c: char| c.is_ascii_whitespace());
        let (value, after) = match trimmed.strip_prefix('=') {
            Some(after) => value(after.trim_start_matches(|c: char| c.is_ascii_whitespace())),
            None => ("", after),
        };
        if found.len() < ATTRIBUTES {
            let name = lower_case(name);
            if !found.iter().any(|(key, _)| *key == name) {
                found.push((name, resolved(value)));
            }
        }
        rest = after;
    }
}

/// The value of an attribute, and what follows it.
fn value(rest: &str) -> (&str, &str) {
    let quote = rest.bytes().next().filter(|byte| matches!(byte, b'"' | b'\''));
    if let Some(quote) = quote {
        let inner = rest.get(1..).unwrap_or_default();
        if let Some(end) = memchr(quote, inner.as_bytes()) {
            return (inner.get(..end).unwrap_or_default(), inner.get(end + 1..).unwrap_or_default());
        }
        // A quote that never ends would swallow the mail: the tag ends the value.
        let end = memchr(b'>', inner.as_bytes()).unwrap_or(inner.len());
        return inner.split_at(end);
    }
    let length = rest.bytes().take_while(|byte| !byte.is_ascii_whitespace() && *byte != b'>').count();
    rest.split_at(length)
}

/// Text with its character references resolved.
fn resolved(raw: &str) -> Cow<'_, str> {
    let reference_in = |text: &str| memchr2(b'&', b'\0', text.as_bytes());
    if reference_in(raw).is_none() {
        return Cow::Borrowed(raw);
    }
    let mut text = String::with_capacity(raw.len());
    let mut rest = raw;
    while let Some(at) = reference_in(rest) {
        text.push_str(rest.get(..at).unwrap_or_default());
        let reference = rest.get(at..).unwrap_or_default();
        let length = reference
            .bytes()
            .skip(1)
            .take(32)
            .take_while(|byte| byte.is_ascii_alphanumeric() || *byte == b'#')
            .count();
        if length > 0 && reference.as_bytes().get(length + 1) == Some(&b';') {
            add_html_token(&mut text, reference.as_bytes().get(..length + 2).unwrap_or_default(), false);
            rest = reference.get(length + 2..).unwrap_or_default();
        } else {
            // Outlook's &nbsp without its semicolon, and a lone ampersand.
            let (shown, used) = if reference.starts_with("&nbsp") { ("\u{a0}", 5) } else { ("&", 1) };
            text.push_str(if reference.starts_with('\0') { "" } else { shown });
            rest = reference.get(used..).unwrap_or_default();
        }
    }
    text.push_str(rest);
    Cow::Owned(text)
}

#[cfg(test)]
mod tests {
    use super::{Kind, Node, parse};

    /// The tree as nested brackets.
    fn shape(nodes: &[Node<'_>]) -> String {
        let mut out = String::new();
        let mut ends = Vec::new();
        for (at, node) in nodes.iter().enumerate() {
            while ends.last() == Some(&at) {
                ends.pop();
                out.push(')');
            }
            match &node.kind {
                Kind::Text(text) => out.push_str(text),
                Kind::Element(element) => {
                    out.push_str(&format!("({} ", element.name));
                    ends.push(node.end);
                }
            }
        }
        out + &")".repeat(ends.len())
    }

    #[test]
    fn markup_becomes_a_tree() {
        assert_eq!(shape(&parse("<p>a<b>c</b><p>d<br>e</P>f")), "(p a(b c))(p d(br )e)f");
        assert_eq!(shape(&parse("a<!-- <p> -->b<![if !x]>c<![endif]><style>p{}</style>d")), "abcd");
        assert_eq!(
            shape(&parse("<ul><li>a<li>b</ul><table><tr><td>x</div>y<td>z</table>")),
            "(ul (li a)(li b))(table (tr (td xy)(td z)))"
        );
        assert_eq!(
            shape(&parse("1 < 2 &amp; 3 &nbsp;&#65;&bogus; <ana@example.com>")),
            "1 < 2 & 3 \u{a0}A&bogus; <ana@example.com>"
        );
    }

    #[test]
    fn attributes_are_read_in_every_quoting() {
        let nodes = parse("<a HREF='x>y' class=b id = \"c d\" q title=&lt;>t</a>");
        let Some(Kind::Element(element)) = nodes.first().map(|node| &node.kind) else { unreachable!() };
        let values = ["href", "class", "id", "q", "title", "none"].map(|name| element.attribute(name));
        assert_eq!(values, [Some("x>y"), Some("b"), Some("c d"), Some(""), Some("<"), None]);
    }

    #[test]
    fn hostile_markup_is_some_tree() {
        for html in [
            "<",
            "</",
            "<a",
            "<a b='",
            "<!--",
            "<style>p",
            "&",
            "&#;",
            "&#xffffffff;",
            "<p <p",
            "<é>",
            "<a =\u{e9}>x",
            "</p></br>",
        ] {
            let _ = parse(html);
        }
        assert_eq!(parse(&"<div>".repeat(100_000)).len(), 100_000);
    }
}
