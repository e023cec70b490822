//! What programs write in plain text in a picture's place, or a file's: `<door.jpg>`, `[image: Door]`, `[cid:…]`.
//!
//! Promises: only forms of programs count; an address or a word between brackets is somebody's. Linear.

/// What stands in front of a picture's name, folded.
const PICTURES: &[&str] = &["image:", "cid:"];

/// How the names of files end that people put into mails, folded.
const FILES: &[&str] = &[
    "jpg", "jpeg", "jfif", "png", "gif", "webp", "heic", "heif", "bmp", "tif", "tiff", "svg", "avif", "pdf",
    "doc", "docx", "xls", "xlsx", "ppt", "pptx", "odt", "ods", "rtf", "csv", "txt", "ics", "vcf", "zip",
    "mov", "mp4",
];

/// Between its brackets a stand-in is no longer, in octets.
const LONGEST: usize = 200;

/// Is a folded line nothing but such stand-ins?
pub fn is_stand_in(folded: &str) -> bool {
    folded.starts_with(['<', '[']) && around(folded).all(|part| part.trim().is_empty())
}

/// The parts of a folded line around them.
pub fn around(folded: &str) -> impl Iterator<Item = &str> {
    let mut rest = Some(folded);
    std::iter::from_fn(move || {
        let text = rest.take()?;
        let mut from = 0;
        while let Some(at) = text.get(from..).and_then(|text| text.find(['<', '['])).map(|at| at + from) {
            if let Some(behind) = stand_in(text.get(at..).unwrap_or_default()) {
                rest = text.get(at + behind..);
                return text.get(..at);
            }
            from = at + 1;
        }
        Some(text)
    })
}

/// Where the stand-in ends that `text` begins with.
fn stand_in(text: &str) -> Option<usize> {
    let close = if text.starts_with('<') { '>' } else { ']' };
    let near = text.get(..text.floor_char_boundary(LONGEST))?;
    let end = near.find(close)?;
    let inside = near.get(1..end)?;
    let is_file = || {
        let named = inside.rsplit_once('.').filter(|(name, kind)| !name.is_empty() && FILES.contains(kind));
        named.is_some() && !inside.contains(['@', '<', '['])
    };
    (PICTURES.iter().any(|front| inside.starts_with(front)) || is_file()).then_some(end + 1)
}

#[cfg(test)]
mod tests {
    use super::{FILES, PICTURES, around, is_stand_in};
    use crate::inbox::answer::line::fold;

    #[test]
    fn words_are_folded_as_lines_are() {
        for words in [PICTURES, FILES].concat() {
            assert_eq!(fold(words), words);
        }
    }

    #[test]
    fn stand_ins_are_told_from_what_people_put_in_brackets() {
        for line in ["<door.jpg>", "[image: Door]", "[cid:image001.png@01DC.7A]", "[a b.png] <c.pdf>"] {
            assert!(is_stand_in(&fold(line)), "{line}");
        }
        for line in ["", "<tom@guest.example>", "[x]", "[yes] <door.jpg>", "door.jpg", "<door.jpg", "<.jpg>"]
        {
            assert!(!is_stand_in(&fold(line)), "{line}");
        }
        let parts = |line| around(line).collect::<Vec<_>>();
        assert_eq!(parts("the <blue> door: <door.jpg>, left [x]"), ["the <blue> door: ", ", left [x]"]);
    }
}
