//! `format=flowed`: lines that a program broke are put together again (RFC 3676).
//!
//! Promises: linear; only what the part's own label says; lines of another depth of quotation never become one, nor does
//! the line above a signature.

use mail_parser::{MessagePart, MimeHeaders as _};
use std::borrow::Cow;

/// The text of a part with its paragraphs whole, if the part says that it is flowed.
pub(super) fn unwrapped<'t>(part: &MessagePart<'_>, text: Cow<'t, str>) -> Cow<'t, str> {
    let kind = part.content_type();
    let says = |name: &str, value: &str| {
        kind.and_then(|kind| kind.attribute(name)).is_some_and(|given| given.eq_ignore_ascii_case(value))
    };
    if says("format", "flowed") { Cow::Owned(unflowed(&text, says("delsp", "yes"))) } else { text }
}

fn unflowed(text: &str, deletes_space: bool) -> String {
    let mut whole = String::with_capacity(text.len());
    // How deep the line before is quoted, if it goes on.
    let mut open: Option<usize> = None;
    for (number, line) in text.split('\n').enumerate() {
        let line = line.strip_suffix('\r').unwrap_or(line);
        let (depth, content) = unquoted(line);
        // A signature's dashes are a line of their own, though a space ends them.
        let is_dashes = content == "-- ";
        if open != Some(depth) || is_dashes {
            if number > 0 {
                whole.push('\n');
            }
            whole.extend(std::iter::repeat_n('>', depth));
            // What was set off so that it isn't read as a quotation stays set off.
            if (depth > 0 && !content.is_empty()) || content.starts_with('>') {
                whole.push(' ');
            }
        }
        let goes_on = content.ends_with(' ') && !is_dashes;
        let shown = if goes_on && deletes_space { content.strip_suffix(' ') } else { None };
        whole.push_str(shown.unwrap_or(content));
        open = goes_on.then_some(depth);
    }
    whole
}

/// The depth of quotation, and the line without its marks and without the space that may stand before its text (§4.4).
fn unquoted(line: &str) -> (usize, &str) {
    let (mut depth, mut rest) = (0, line);
    loop {
        // Some programs set a space between the marks.
        let spaced = rest.strip_prefix(' ').filter(|after| depth > 0 && after.starts_with('>'));
        match spaced.unwrap_or(rest).strip_prefix('>') {
            Some(after) => (depth, rest) = (depth + 1, after),
            None => return (depth, rest.strip_prefix(' ').unwrap_or(rest)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::unflowed;

    #[test]
    fn paragraphs_are_whole_within_their_depth() {
        for (flowed, expected) in [
            ("We come \r\nat six.\r\nTwo.\r\n", "We come at six.\nTwo.\n"),
            ("> When do \n> you come?\nAt \nsix.", "> When do you come?\nAt six."),
            ("> When \n>> How many?", "> When \n>> How many?"),
            ("> > When \n> > do you come?", ">> When do you come?"),
            ("Yes. \n-- \nAna", "Yes. \n-- \nAna"),
            (" From now on\n >not a quotation", "From now on\n >not a quotation"),
            (">\n> a", ">\n> a"),
        ] {
            assert_eq!(unflowed(flowed, false), expected, "{flowed:?}");
        }
        assert_eq!(unflowed("over-the- \nline", true), "over-the-line");
        assert_eq!(unflowed("two  \nwords", true), "two words");
    }
}
