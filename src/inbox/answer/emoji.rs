//! Pictures that stand for an emoji: mail programs write the character they show beside them.
//!
//! Promises: only what is an emoji and nothing else counts, so that no title of a picture becomes somebody's words.

use super::html::Element;

/// Where programs write it, the surest first.
const WRITTEN_IN: [&str; 3] = ["alt", "data-emoji", "title"];

/// The emoji that a picture shows, if it shows one.
pub fn of_picture<'a>(picture: &'a Element<'_>) -> Option<&'a str> {
    WRITTEN_IN.iter().filter_map(|name| picture.attribute(name)).map(str::trim).find(|text| is_emoji(text))
}

/// Emoji and nothing besides: a few of them at most.
fn is_emoji(text: &str) -> bool {
    // A keycap is a digit, `#` or `*` under a sign of its own (UTS #51, ED-14c).
    let rest = text.replace("\u{fe0f}\u{20e3}", "\u{20e3}");
    let (mut shows, mut characters) = (false, rest.chars().peekable());
    while let Some(character) = characters.next() {
        let is_capped =
            matches!(character, '0'..='9' | '#' | '*') && characters.next_if_eq(&'\u{20e3}').is_some();
        if !is_capped && !is_part(character) {
            return false;
        }
        shows |= is_capped || character >= '\u{203c}';
    }
    shows && text.len() <= 40
}

/// A sign, or what joins or colours signs. Letters and figures in a frame are letters to Unicode, too.
fn is_part(character: char) -> bool {
    character >= '\u{1f100}'
        || matches!(character, '\u{2139}' | '\u{24c2}' | '\u{3297}' | '\u{3299}')
        || character >= '\u{200d}' && !character.is_alphanumeric()
}

#[cfg(test)]
mod tests {
    use super::{is_emoji, of_picture};
    use crate::inbox::answer::html::{Kind, parse};

    #[test]
    fn emoji_are_told_from_words() {
        for text in [
            "👍",
            "👍🏽",
            "❤\u{fe0f}",
            "👩\u{200d}👩\u{200d}👧",
            "🇪🇸",
            "1\u{fe0f}\u{20e3}",
            "#\u{20e3}",
            "1\u{fe0f}\u{20e3}2\u{fe0f}\u{20e3}",
            "🅰\u{fe0f}",
            "ℹ\u{fe0f}",
            "㊗\u{fe0f}",
            "‼\u{fe0f}",
        ] {
            assert!(is_emoji(text), "{text}");
        }
        for text in [
            "",
            "1",
            "12",
            "IMG_1.jpg",
            "Logo",
            ":-)",
            "1\u{fe0f}",
            "\u{20e3}x",
            "写真",
            "é",
            "👍 ok",
            "—",
            "\u{200d}",
        ] {
            assert!(!is_emoji(text), "{text}");
        }
    }

    #[test]
    fn an_emoji_is_found_wherever_programs_write_it() {
        for (source, expected) in [
            ("<img alt='👍'>", Some("👍")),
            ("<img alt='' title='👍'>", Some("👍")),
            ("<img alt=thumbs-up data-emoji='👍'>", Some("👍")),
            ("<img alt=emoji title='Thumbs up'>", None),
            ("<img>", None),
        ] {
            let nodes = parse(source);
            let Some(Kind::Element(picture)) = nodes.first().map(|node| &node.kind) else { unreachable!() };
            assert_eq!(of_picture(picture), expected, "{source}");
        }
    }
}
