//! Lists of HTML as they are read: which number or letter an item has, and how far it stands in (HTML standard §4.4.5,
//! CSS Counter Styles 3 §6 for the forms).
//!
//! Promises: linear in all lists together; an item that shows no number has none. Bullets aren't written: they say nothing.

use super::html::{Element, Kind, Node};
use super::steps;

/// Deeper lists stand in no further.
const DEEPEST: usize = 8;

/// What stands in front of the lines of a list within a list, once for each.
const INDENT: &str = "  ";

/// How items are numbered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// Not at all, or by bullets.
    None,
    Decimal,
    Letters,
    Roman,
}

/// An open list.
#[derive(Debug)]
struct List {
    form: Form,
    capitals: bool,
    next: i32,
    step: i32,
}

/// The open lists, the innermost last.
#[derive(Debug, Default)]
pub struct Lists(Vec<List>);

impl Lists {
    /// A list begins: the element at `at`.
    pub fn open(&mut self, element: &Element<'_>, nodes: &[Node<'_>], at: usize) {
        let is_reversed = element.attribute("reversed").is_some();
        let first = element.attribute("start").and_then(|start| start.trim().parse().ok());
        let first = first.unwrap_or_else(|| if is_reversed { items(nodes, at) } else { 1 });
        let usual = if element.name == "ol" { Form::Decimal } else { Form::None };
        let (form, capitals) = form(element).unwrap_or((usual, false));
        self.0.push(List { form, capitals, next: first, step: if is_reversed { -1 } else { 1 } });
    }

    /// The innermost list ends.
    pub fn close(&mut self) {
        self.0.pop();
    }

    /// An item begins; what stands in front of it, if it is numbered.
    pub fn item(&mut self, element: &Element<'_>) -> Option<String> {
        let list = self.0.last_mut()?;
        let own = element.attribute("value").and_then(|value| value.trim().parse().ok());
        let number: i32 = own.unwrap_or(list.next);
        list.next = number.saturating_add(list.step);
        let (form, capitals) = form(element).unwrap_or((list.form, list.capitals));
        let shown = match form {
            Form::None => return None,
            Form::Letters => letters(number),
            Form::Roman => roman(number),
            Form::Decimal => None,
        };
        let shown = shown.unwrap_or_else(|| number.to_string());
        Some(format!("{}. ", if capitals { shown.to_ascii_uppercase() } else { shown }))
    }

    /// What a line in the innermost list begins with.
    pub fn indent(&self) -> String {
        INDENT.repeat(self.0.len().saturating_sub(1).min(DEEPEST))
    }
}

/// The form that a list or an item asks for, and whether in capitals.
fn form(element: &Element<'_>) -> Option<(Form, bool)> {
    const STYLES: [(&str, Form, bool); 10] = [
        ("lower-alpha", Form::Letters, false),
        ("lower-latin", Form::Letters, false),
        ("upper-alpha", Form::Letters, true),
        ("upper-latin", Form::Letters, true),
        ("lower-roman", Form::Roman, false),
        ("upper-roman", Form::Roman, true),
        ("decimal", Form::Decimal, false),
        ("none", Form::None, false),
        ("disc", Form::None, false),
        ("circle", Form::None, false),
    ];
    let style = element.style();
    let styled = style.rsplit_once("list-style-type:").or_else(|| style.rsplit_once("list-style:"));
    let value = styled.map(|(_, value)| value.split(';').next().unwrap_or_default());
    // The short form has other words beside it.
    let found = value.and_then(|value| STYLES.iter().find(|(name, ..)| value.contains(name)));
    if let Some((_, form, capitals)) = found {
        return Some((*form, *capitals));
    }
    // The only attribute whose case tells.
    match element.attribute("type").map(str::trim)? {
        "1" => Some((Form::Decimal, false)),
        "a" => Some((Form::Letters, false)),
        "A" => Some((Form::Letters, true)),
        "i" => Some((Form::Roman, false)),
        "I" => Some((Form::Roman, true)),
        _ => None,
    }
}

/// How many items the list at `at` has itself.
fn items(nodes: &[Node<'_>], at: usize) -> i32 {
    let end = nodes.get(at).map_or(0, |list| list.end);
    let (mut child, mut count) = (at + 1, 0_i32);
    while let Some(node) = nodes.get(child).filter(|_| child < end) {
        steps::took(1);
        let is_item = matches!(&node.kind, Kind::Element(element) if element.name == "li");
        count = count.saturating_add(i32::from(is_item));
        // What is within a child isn't looked at.
        child = node.end.max(child + 1);
    }
    count
}

/// `a` to `z`, then `aa`; nothing below one.
fn letters(number: i32) -> Option<String> {
    let mut rest = u32::try_from(number).ok().filter(|number| *number > 0)?;
    let mut shown = Vec::new();
    while rest > 0 {
        let letter = (rest - 1) % 26;
        shown.push(char::from(b'a' + u8::try_from(letter).unwrap_or_default()));
        rest = (rest - 1) / 26;
    }
    Some(shown.iter().rev().collect())
}

/// Up to 3999; nothing beyond or below one.
fn roman(number: i32) -> Option<String> {
    const SIGNS: [(i32, &str); 13] = [
        (1000, "m"),
        (900, "cm"),
        (500, "d"),
        (400, "cd"),
        (100, "c"),
        (90, "xc"),
        (50, "l"),
        (40, "xl"),
        (10, "x"),
        (9, "ix"),
        (5, "v"),
        (4, "iv"),
        (1, "i"),
    ];
    let mut rest = Some(number).filter(|number| (1..4000).contains(number))?;
    let mut shown = String::new();
    for (value, sign) in SIGNS {
        while rest >= value {
            shown.push_str(sign);
            rest -= value;
        }
    }
    Some(shown)
}

#[cfg(test)]
mod tests {
    use super::{letters, roman};
    use crate::inbox::answer::html::parse;
    use crate::inbox::answer::render::lines;

    fn shown(source: &str) -> String {
        lines(&parse(source)).iter().map(|line| line.text.as_str()).collect::<Vec<_>>().join("|")
    }

    #[test]
    fn items_have_the_numbers_that_are_seen() {
        for (source, expected) in [
            ("<ol><li>a<li>b</ol>", "1. a|2. b"),
            ("<ol start=3><li>a<li value=7>b<li>c</ol>", "3. a|7. b|8. c"),
            ("<ol start=-1><li>a<li>b<li>c</ol>", "-1. a|0. b|1. c"),
            ("<ol reversed><li>a<li>b<ol><li>c</ol><li>d</ol>", "3. a|2. b|  1. c|1. d"),
            ("<ol reversed start=10><li>a<li value=4>b<li>c</ol>", "10. a|4. b|3. c"),
            ("<ol type=a start=26><li>a<li>b</ol>", "z. a|aa. b"),
            (
                "<ol type=A><li>a</ol><ol type=i start=4><li>b</ol><ol type=I start=9><li>c</ol>",
                "A. a||iv. b||IX. c",
            ),
            ("<ol type=i start=0><li>a</ol>", "0. a"),
            ("<ol style='list-style-type: upper-roman'><li>a</ol>", "I. a"),
            ("<ol style='list-style-type:none'><li>a</ol>", "a"),
            ("<ol style='list-style: none inside'><li>a</ol>", "a"),
            ("<ol><li>a<li style='list-style-type:lower-alpha'>b</ol>", "1. a|b. b"),
            ("<ul><li value=4>a</ul>", "a"),
            ("<ul><li>a<ul><li>b<br>c<ol><li>d</ol></ul><li>e</ul>", "a|  b|  c|    1. d|e"),
        ] {
            assert_eq!(shown(source).replace("||", "|"), expected.replace("||", "|"), "{source}");
        }
    }

    #[test]
    fn letters_and_roman_numbers_have_bounds() {
        assert_eq!(letters(703).as_deref(), Some("aaa"));
        assert_eq!((letters(0), letters(-3), roman(0), roman(4000)), (None, None, None, None));
        assert_eq!(roman(3999).as_deref(), Some("mmmcmxcix"));
        assert!(letters(i32::MAX).is_some());
    }
}
