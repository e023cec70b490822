//! The colour of words in HTML, by which people set their answers apart from what they quote.
//!
//! Promises: only colours that an element itself names, in the forms that mail programs write; black, what inherits and
//! what isn't known is no colour.

use super::html::Element;

/// Red, green and blue.
pub type Colour = [u8; 3];

/// As much of each as black may have: Outlook writes its text in near black, too.
const DARK: u8 = 0x40;

/// Names that people's editors write.
const NAMES: &[(&str, Colour)] = &[
    ("red", [255, 0, 0]),
    ("blue", [0, 0, 255]),
    ("green", [0, 128, 0]),
    ("navy", [0, 0, 128]),
    ("purple", [128, 0, 128]),
    ("maroon", [128, 0, 0]),
    ("teal", [0, 128, 128]),
    ("fuchsia", [255, 0, 255]),
    ("magenta", [255, 0, 255]),
    ("orange", [255, 165, 0]),
    ("lime", [0, 255, 0]),
    ("olive", [128, 128, 0]),
    ("aqua", [0, 255, 255]),
    ("cyan", [0, 255, 255]),
    ("brown", [165, 42, 42]),
    ("crimson", [220, 20, 60]),
    ("darkred", [139, 0, 0]),
    ("darkblue", [0, 0, 139]),
    ("darkgreen", [0, 100, 0]),
    ("royalblue", [65, 105, 225]),
    ("gray", [128, 128, 128]),
    ("grey", [128, 128, 128]),
];

/// What people call a colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hue {
    /// Up to dark red and tomato, but not orange.
    Red,
    /// From Outlook's sky to navy.
    Blue,
    /// Light and dark.
    Green,
}

/// What people call a colour, where it is one that a mail's words name.
pub fn hue([red, green, blue]: Colour) -> Option<Hue> {
    let [red, green, blue] = [red, green, blue].map(u16::from);
    match () {
        () if green * 3 <= red && blue * 3 <= red => Some(Hue::Red),
        () if red * 5 <= blue * 3 && green * 4 <= blue * 3 => Some(Hue::Blue),
        () if red * 5 <= green * 4 && blue * 4 <= green * 3 => Some(Hue::Green),
        () => None,
    }
}

/// The colour of the words in an element that stands in others of `outer`; links have their own, which says nothing.
pub fn of(element: &Element<'_>, outer: Option<Colour>) -> Option<Colour> {
    if element.name == "a" {
        return outer;
    }
    let style = element.style();
    let styled = style.split(';').find_map(|rule| rule.strip_prefix("color:"));
    let named = || element.attribute("color").filter(|_| element.name == "font");
    match styled.or_else(named) {
        Some(value) if value.starts_with("inherit") => outer,
        Some(value) => {
            let colour = read(value.split('!').next().unwrap_or_default());
            colour.filter(|colour| colour.iter().any(|part| *part > DARK))
        }
        None => outer,
    }
}

fn read(value: &str) -> Option<Colour> {
    let value = value.trim().to_ascii_lowercase();
    if let Some(digits) = value.strip_prefix('#') {
        let parts: Vec<u8> = digits
            .chars()
            .map(|c| c.to_digit(16).and_then(|part| u8::try_from(part).ok()))
            .collect::<Option<_>>()?;
        return match parts[..] {
            [red, green, blue] => Some([red * 17, green * 17, blue * 17]),
            [_, _, _, _, _, _] => {
                let mut octets =
                    parts.chunks_exact(2).map(|pair| pair.iter().fold(0, |sum, part| sum * 16 + part));
                Some([octets.next()?, octets.next()?, octets.next()?])
            }
            _ => None,
        };
    }
    if let Some(parts) = value.strip_prefix("rgb(").and_then(|rest| rest.strip_suffix(')')) {
        let mut parts = parts.split(',').map(|part| part.trim().parse().ok());
        return Some([parts.next()??, parts.next()??, parts.next()??]);
    }
    NAMES.iter().find(|(name, _)| *name == value).map(|(_, colour)| *colour)
}

#[cfg(test)]
mod tests {
    use super::{Hue, hue};
    use crate::inbox::answer::html::parse;
    use crate::inbox::answer::render::lines;

    #[test]
    fn words_have_the_colour_that_their_elements_name() {
        let red = Some([255, 0, 0]);
        for (html, expected) in [
            ("<p style='color:red'>a", red),
            ("<p style='margin:0; COLOR: #F00'>a", red),
            ("<p style='color:#ff0000 !important'>a", red),
            ("<p>a <span style='color:rgb(255, 0, 0)'>b</span> c", red),
            ("<font color=red><b>a</b></font>", red),
            ("<div style='color:red'><span style='color:inherit'>a</span></div>", red),
            ("<div style='color:red'><span style='color:windowtext'>a</span></div>", None),
            ("<p style='color:#1F1F1F'>a", None),
            ("<p style='background-color:red'>a", None),
            ("<a style='color:blue' href=x>a</a>", None),
            ("<p style='color:#ffé'>a", None),
        ] {
            let lines = lines(&parse(html));
            let named = lines.iter().flat_map(|line| &line.colours).find_map(|(colour, _)| *colour);
            assert_eq!(named, expected, "{html}");
        }
    }

    #[test]
    fn colours_of_editors_are_called_as_people_call_them() {
        for (colour, expected) in [
            ([0xff, 0, 0], Some(Hue::Red)),
            ([0xc0, 0, 0], Some(Hue::Red)),
            ([0xe0, 0x3e, 0x2d], Some(Hue::Red)),
            ([0xc5, 0x5a, 0x11], None),
            ([0, 0x70, 0xc0], Some(Hue::Blue)),
            ([0x44, 0x72, 0xc4], Some(Hue::Blue)),
            ([0, 0xb0, 0xf0], Some(Hue::Blue)),
            ([0, 0xb0, 0x50], Some(Hue::Green)),
            ([0x92, 0xd0, 0x50], Some(Hue::Green)),
            ([0x80, 0x80, 0x80], None),
        ] {
            assert_eq!(hue(colour), expected, "{colour:?}");
        }
    }
}
