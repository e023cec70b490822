//! How an answer is compared with what is expected, and the tables that are printed.

use std::collections::BTreeMap;
use std::fmt::Write as _;

/// What counts of a text: no marks that nobody sees, one space for any white space.
pub fn normal(text: &str) -> String {
    let seen = |c: &char| !matches!(*c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}' | '\u{ad}');
    let text: String = text.chars().filter(seen).collect();
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// How right an answer is.
#[derive(Debug, Clone, Copy, Default)]
pub struct Score {
    /// As expected but for outer white space.
    pub exact: bool,
    /// As expected, or as good, but for white space.
    pub strict: bool,
    /// Or with a signature left in it.
    pub lenient: bool,
}

/// Compares an answer.
pub fn score(answer: &str, expected: &str, accept: &[String], with_signature: &[String]) -> Score {
    let found = normal(answer);
    let among = |texts: &[String]| texts.iter().any(|text| normal(text) == found);
    let strict = found == normal(expected) || among(accept);
    Score { exact: answer.trim() == expected.trim(), strict, lenient: strict || among(with_signature) }
}

/// Scores by slice.
#[derive(Default)]
pub struct Table {
    rows: BTreeMap<String, [usize; 4]>,
}

impl Table {
    /// Counts a mail in each of its slices.
    pub fn add(&mut self, slices: &[String], score: Score) {
        for slice in slices {
            let row = self.rows.entry(slice.clone()).or_default();
            for (count, right) in row.iter_mut().zip([true, score.strict, score.lenient, score.exact]) {
                *count += usize::from(right);
            }
        }
    }

    /// Mails and strictly right ones of a slice.
    #[allow(dead_code, reason = "the bench prints tables only")]
    pub fn strict(&self, slice: &str) -> (usize, usize) {
        self.rows.get(slice).map_or((0, 0), |[all, strict, ..]| (*all, *strict))
    }
}

impl std::fmt::Display for Table {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut text =
            format!("{:<32} {:>5} {:>7} {:>7} {:>7}\n", "slice", "mails", "strict", "lenient", "exact");
        for (slice, [all, strict, lenient, exact]) in &self.rows {
            // In tenths of a per cent, by whole numbers.
            let share = |part: &usize| part * 1000 / (*all).max(1);
            let shown = |part: &usize| format!("{}.{}", share(part) / 10, share(part) % 10);
            let _ = writeln!(
                text,
                "{slice:<32} {all:>5} {:>7} {:>7} {:>7}",
                shown(strict),
                shown(lenient),
                shown(exact)
            );
        }
        out.write_str(&text)
    }
}
