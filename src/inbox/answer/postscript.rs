//! A postscript below a signature: "P.S. We bring a dog", which belongs to the answer.
//!
//! Promises: only a line that begins with the abbreviation, as a language writes it, counts; a disclaimer that does so is none.

use super::line::Line;
use super::notices::is_legal;
use super::phrases::Phrases;
use super::steps;
use std::sync::LazyLock;

/// Among so many lines from the end it is looked for.
const REACH: usize = 120;

/// How a postscript begins, folded. "PS Hotels" is a name: without full stops a sign must follow.
#[rustfmt::skip]
const MARKS: &[&str] = &[
    "p.s.", "p.s:", "p.s ", "p. s.", "p.-s.", "ps:", "ps.", "ps,", "ps!", "ps -", "ps :",
    "p.p.s.", "p.p.s:", "p.p.s ", "p. p. s.", "pps:", "pps.", "pps,", "pps -", "p.s.s.", "pss:",
    "p.d.", "p.d:", "pd:", "pd.", "p.p.d.", "posdata:", "postdata:", "post data:",
    "postscriptum:", "post scriptum:", "post-scriptum:", "postskriptum:", "nachtrag:", "pós-escrito:",
    "u.i.", "ui.:", "ui:", "jk:", "jk.", "j.k.", "t.b.", "tb:",
    "п.с.", "п. с.", "пс:", "пс.", "з.ы.", "зы:", "зы.", "υ.γ.", "υγ:", "υγ.",
    "נ.ב.", "נ.ב:", "נ\"ב", "נב:", "پ.ن.", "پ.ن:", "پ.ن ", "附言:", "又及:", "附注:", "追伸", "追伸:", "추신", "추신:", "ป.ล.", "ปล.",
];

static ALL_MARKS: LazyLock<Phrases> = LazyLock::new(|| Phrases::of(MARKS));

/// The lines at which a postscript may begin, from the top.
pub fn starts(lines: &[Line]) -> impl Iterator<Item = usize> {
    let near = lines.iter().enumerate().skip(lines.len().saturating_sub(REACH));
    near.filter(|(_, line)| begins(line) && !is_legal(line)).map(|(at, _)| at)
}

fn begins(line: &Line) -> bool {
    steps::took(1);
    ALL_MARKS.beginning(&line.folded).any(|mark| {
        // "ps.example.com" is an address, "P.S.We" somebody in a hurry.
        let may_touch = !mark.ends_with(['.', ',', '!']) || mark.matches('.').count() > 1;
        let rest = line.folded.get(mark.len()..).unwrap_or_default();
        rest.is_empty() || rest.starts_with(' ') || may_touch
    })
}

#[cfg(test)]
mod tests {
    use super::{MARKS, begins};
    use crate::inbox::answer::line::{Line, fold};

    #[test]
    fn marks_are_folded_as_lines_are() {
        for mark in MARKS {
            assert_eq!(fold(mark), mark.trim_end(), "{mark}");
        }
    }

    #[test]
    fn a_postscript_is_told_from_names_and_addresses() {
        for line in [
            "P.S. We bring a dog",
            "PS: we",
            "Ps – we",
            "P.P.S.: and a cat",
            "P.D.: un perro",
            "П.С. Собака",
            "追伸：犬",
            "נ.ב. כלב",
        ] {
            assert!(begins(&Line::plain(line)), "{line}");
        }
        for line in ["PS Hotels GmbH", "ps.example.com", "PSD files", "Pd Dr. Huber", "Psst", "P 12", "PS4"] {
            assert!(!begins(&Line::plain(line)), "{line}");
        }
    }
}
