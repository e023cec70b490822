//! The difference of two texts as unified hunks, with one line of context. Pure.
//!
//! Equal beginnings and ends are set apart first; between them the longest common subsequence is found, as long as
//! that is cheap. Beyond [`CHEAP`] the whole middle counts as changed, which is true, if not as short as can be.

use std::fmt::Write;

/// Cells of the table that is filled at most.
const CHEAP: usize = 1 << 20;
/// Unchanged lines around a change.
const CONTEXT: usize = 1;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Line<'a> {
    Same(&'a str),
    Gone(&'a str),
    New(&'a str),
}

/// Hunks that make `after` of `before`; empty when there is no difference.
#[must_use]
pub fn unified<T: AsRef<str>>(before: &[T], after: &[T]) -> String {
    let before: Vec<&str> = before.iter().map(AsRef::as_ref).collect();
    let after: Vec<&str> = after.iter().map(AsRef::as_ref).collect();
    let lines = lines(&before, &after);
    let mut text = String::new();
    let (mut old, mut new, mut at) = (1, 1, 0);
    while let Some(hunk) = next_hunk(&lines, at) {
        let skipped = hunk.start - at;
        (old, new) = (old + skipped, new + skipped);
        let lines = lines.get(hunk.clone()).unwrap_or_default();
        let olds = lines.iter().filter(|line| !matches!(line, Line::New(_))).count();
        let news = lines.iter().filter(|line| !matches!(line, Line::Gone(_))).count();
        // A String takes everything.
        let _ = writeln!(text, "@@ -{old},{olds} +{new},{news} @@");
        for line in lines {
            let (mark, line) = match line {
                Line::Same(line) => (' ', line),
                Line::Gone(line) => ('-', line),
                Line::New(line) => ('+', line),
            };
            let _ = writeln!(text, "{mark}{line}");
        }
        (old, new, at) = (old + olds, new + news, hunk.end);
    }
    text
}

/// The next run of changes from `at` on, with its context; changes whose context would touch are one.
fn next_hunk(lines: &[Line<'_>], at: usize) -> Option<std::ops::Range<usize>> {
    let changed = |line: &Line<'_>| !matches!(line, Line::Same(_));
    let first = at + lines.get(at..)?.iter().position(changed)?;
    let mut last = first;
    for (index, line) in lines.iter().enumerate().skip(first) {
        if index > last + 2 * CONTEXT + 1 {
            break;
        }
        if changed(line) {
            last = index;
        }
    }
    Some(first.saturating_sub(CONTEXT).max(at)..(last + CONTEXT + 1).min(lines.len()))
}

fn lines<'a>(before: &[&'a str], after: &[&'a str]) -> Vec<Line<'a>> {
    let start = before.iter().zip(after).take_while(|(a, b)| a == b).count();
    let (head, before) = before.split_at_checked(start).unwrap_or((before, &[]));
    let after = after.get(start..).unwrap_or_default();
    let end = before.iter().rev().zip(after.iter().rev()).take_while(|(a, b)| a == b).count();
    let (before, tail) = before.split_at_checked(before.len() - end).unwrap_or((before, &[]));
    let after = after.get(..after.len() - end).unwrap_or_default();
    let mut lines: Vec<Line<'a>> = head.iter().map(|line| Line::Same(line)).collect();
    middle(before, after, &mut lines);
    lines.extend(tail.iter().map(|line| Line::Same(line)));
    lines
}

fn middle<'a>(before: &[&'a str], after: &[&'a str], lines: &mut Vec<Line<'a>>) {
    let width = after.len() + 1;
    let cells = (before.len() + 1).saturating_mul(width);
    // common[i * width + j]: the longest common subsequence of before[i..] and after[j..].
    let mut common = vec![0_u32; if cells <= CHEAP { cells } else { 0 }];
    let cell = |common: &[u32], i: usize, j: usize| common.get(i * width + j).copied().unwrap_or(0);
    if cells <= CHEAP {
        for (i, old) in before.iter().enumerate().rev() {
            for (j, new) in after.iter().enumerate().rev() {
                let value = if old == new {
                    cell(&common, i + 1, j + 1) + 1
                } else {
                    cell(&common, i + 1, j).max(cell(&common, i, j + 1))
                };
                if let Some(place) = common.get_mut(i * width + j) {
                    *place = value;
                }
            }
        }
    }
    let (mut i, mut j) = (0, 0);
    loop {
        match (before.get(i), after.get(j)) {
            (Some(old), Some(new)) if old == new && !common.is_empty() => {
                lines.push(Line::Same(old));
                (i, j) = (i + 1, j + 1);
            }
            (Some(old), _) if cell(&common, i + 1, j) >= cell(&common, i, j + 1) || j >= after.len() => {
                lines.push(Line::Gone(old));
                i += 1;
            }
            (_, Some(new)) => {
                lines.push(Line::New(new));
                j += 1;
            }
            (Some(old), None) => {
                lines.push(Line::Gone(old));
                i += 1;
            }
            (None, None) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn changes_stand_with_a_line_around_them() {
        let before = ["A: 1", "B: 2", "C: 3", "D: 4", "E: 5", "F: 6", "G: 7"];
        for (after, expected) in [
            (&before[..], ""),
            (
                &["X: 0", "A: 1", "B: 2", "C: 3", "D: 4", "E: 5", "G: 7"],
                "@@ -1,1 +1,2 @@\n+X: 0\n A: 1\n@@ -5,3 +6,2 @@\n E: 5\n-F: 6\n G: 7\n",
            ),
            (
                &["A: 1", "b: 2", "C: 3", "D: 4", "e: 5", "F: 6", "G: 7"],
                "@@ -1,6 +1,6 @@\n A: 1\n-B: 2\n+b: 2\n C: 3\n D: 4\n-E: 5\n+e: 5\n F: 6\n",
            ),
            (&[], "@@ -1,7 +1,0 @@\n-A: 1\n-B: 2\n-C: 3\n-D: 4\n-E: 5\n-F: 6\n-G: 7\n"),
        ] {
            assert_eq!(unified(&before, after), expected, "{after:?}");
        }
        assert_eq!(unified(&[], &["A"]), "@@ -1,0 +1,1 @@\n+A\n");
    }

    /// The other text, by the hunks.
    fn patched(before: &[String], hunks: &str) -> Vec<String> {
        let (mut after, mut at) = (Vec::new(), 0);
        for line in hunks.lines() {
            match line.split_at(1) {
                ("@", rest) => {
                    let start: usize = rest[3..].split(',').next().unwrap().parse().unwrap();
                    after.extend_from_slice(&before[at..start - 1]);
                    at = start - 1;
                }
                ("+", line) => after.push(line.to_owned()),
                (mark, line) => {
                    assert_eq!(before[at], line);
                    at += 1;
                    if mark == " " {
                        after.push(line.to_owned());
                    }
                }
            }
        }
        after.extend_from_slice(&before[at..]);
        after
    }

    proptest! {
        #[test]
        fn a_patch_makes_one_of_the_other(
            before in prop::collection::vec("[a-d]", 0..20),
            after in prop::collection::vec("[a-d]", 0..20),
        ) {
            prop_assert_eq!(patched(&before, &unified(&before, &after)), after);
        }
    }

    #[test]
    fn long_texts_differ_as_a_whole() {
        let before: Vec<String> = (0..2_000).map(|number| format!("a{number}")).collect();
        let after: Vec<String> = (0..2_000).map(|number| format!("b{number}")).collect();
        let hunks = unified(&before, &after);
        assert!(hunks.starts_with("@@ -1,2000 +1,2000 @@\n-a0\n"));
        assert_eq!(patched(&before, &hunks), after);
    }
}
