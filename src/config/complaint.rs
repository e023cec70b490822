//! Complaints about the configuration, and how they are shown.
//!
//! A complaint knows where it belongs (file, line, column, or an environment variable), which key it is about, and
//! what to do. It shows the line itself, underlined, but never the value of a secret. The shape is fixed:
//!
//! ```text
//! waystation.toml:14:8: smarthost.shop.port: 46S is not a port number
//!    14 | port = "46S"
//!       |        ^^^^^
//! waystation: 1 complaint, not started
//! ```

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// Lines longer than this are cut when shown.
const WIDEST: usize = 160;

/// One thing that is wrong (or, among the warnings, merely doubtful), and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Complaint {
    /// Where it is.
    pub position: Position,
    /// The dotted path of the key, arrays counted from 1; empty when it is about no key.
    pub key: String,
    /// What is wrong and what to do.
    pub message: String,
    /// Whether the configuration can be used all the same.
    pub warning: bool,
}

/// Where a complaint belongs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Position {
    /// A place in the file.
    Line(Excerpt),
    /// The file as a whole.
    File(PathBuf),
    /// An environment variable that overrides a key.
    Environment(String),
}

/// A line of the file with a part of it marked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Excerpt {
    /// The file as it was named.
    pub file: PathBuf,
    /// Counted from 1.
    pub line: usize,
    /// In characters, counted from 1.
    pub column: usize,
    /// The line, secrets and control characters hidden.
    pub text: String,
    /// How many characters of it are meant.
    pub length: usize,
}

/// All that is wrong with a configuration.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Complaints {
    /// Each of these alone is a reason to refuse it.
    pub errors: Vec<Complaint>,
    /// These alone would not be.
    pub warnings: Vec<Complaint>,
}

impl Complaints {
    /// Everything, and a last line that counts the errors and tells the outcome (`"not started"`, `"not reloaded"`).
    #[must_use]
    pub fn render(&self, outcome: &str) -> String {
        use fmt::Write as _;
        let mut text = String::new();
        for complaint in self.warnings.iter().chain(&self.errors) {
            let _ = writeln!(text, "{complaint}");
        }
        let count = self.errors.len();
        let plural = if count == 1 { "" } else { "s" };
        let _ = write!(text, "waystation: {count} complaint{plural}, {outcome}");
        text
    }
}

impl fmt::Display for Complaints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render("not started"))
    }
}

impl std::error::Error for Complaints {}

impl fmt::Display for Complaint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.position {
            Position::Line(at) => write!(f, "{}:{}:{}: ", at.file.display(), at.line, at.column)?,
            Position::File(file) => write!(f, "{}: ", file.display())?,
            Position::Environment(name) => write!(f, "environment: {}: ", clean(name))?,
        }
        if self.warning {
            f.write_str("warning: ")?;
        }
        if !self.key.is_empty() {
            write!(f, "{}: ", clean(&self.key))?;
        }
        f.write_str(&clean(&self.message))?;
        match &self.position {
            Position::Line(at) => at.fmt(f),
            Position::File(_) | Position::Environment(_) => Ok(()),
        }
    }
}

impl fmt::Display for Excerpt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let start = self.column.saturating_sub(1);
        if start >= WIDEST {
            return Ok(());
        }
        let shown: String = self.text.chars().take(WIDEST).collect();
        let cut = if shown.len() < self.text.len() { "…" } else { "" };
        // Tabs stay tabs, so that the mark stands below the text however wide the terminal makes them.
        let mut indent = String::new();
        for c in shown.chars().take(start) {
            if c == '\t' {
                indent.push('\t');
            } else {
                indent.extend(std::iter::repeat_n(' ', width(c)));
            }
        }
        let marked: usize = shown.chars().skip(start).take(self.length).map(width).sum();
        let number = self.line.to_string();
        let gutter = number.len().max(5);
        write!(f, "\n{number:>gutter$} | {shown}{cut}")?;
        write!(f, "\n{:>gutter$} | {indent}{}", "", "^".repeat(marked.max(1)))
    }
}

/// The file's name and text, for cutting excerpts.
pub(super) struct Source<'t> {
    file: &'t Path,
    text: &'t str,
    /// Byte ranges that must not be shown.
    secrets: Vec<Range<usize>>,
}

impl<'t> Source<'t> {
    pub(super) fn new(file: &'t Path, text: &'t str) -> Self {
        Self { file, text, secrets: Vec::new() }
    }

    pub(super) fn hide(&mut self, secret: Range<usize>) {
        self.secrets.push(secret);
    }

    pub(super) fn file(&self) -> &Path {
        self.file
    }

    /// The line that holds the start of `span`, with as much of `span` marked as stands on it.
    pub(super) fn excerpt(&self, span: &Range<usize>) -> Excerpt {
        let start = floor(self.text, span.start.min(self.text.len()));
        let before = self.text.get(..start).unwrap_or_default();
        let begin = before.rfind('\n').map_or(0, |newline| newline + 1);
        let end =
            self.text.get(begin..).and_then(|rest| rest.find('\n')).map_or(self.text.len(), |n| begin + n);
        let line = self.text.get(begin..end).unwrap_or_default().trim_end_matches('\r');
        let stop = floor(self.text, span.end.clamp(start, begin + line.len().max(start - begin)));
        Excerpt {
            file: self.file.to_owned(),
            line: before.bytes().filter(|b| *b == b'\n').count() + 1,
            column: self
                .text
                .get(begin..start)
                .unwrap_or_default()
                .trim_start_matches('\u{feff}')
                .chars()
                .count()
                + 1,
            text: self.masked(line, begin),
            length: self.text.get(start..stop).unwrap_or_default().chars().count().max(1),
        }
    }

    fn masked(&self, line: &str, begin: usize) -> String {
        let named = secret_assignment(line);
        let mut text = String::new();
        for (at, c) in line.char_indices() {
            let place = begin + at;
            let secret = self.secrets.iter().any(|range| range.contains(&place))
                || named.is_some_and(|from| at >= from);
            if c == '\u{feff}' && place == 0 {
                continue;
            }
            let structure = matches!(c, '"' | '\'' | ' ' | '\t' | '=' | '[' | ']' | ',');
            text.push(if secret && !structure { '*' } else { printable(c) });
        }
        text
    }
}

/// Where in a line the value of a `password = …` begins, going by looks alone: the text may not even be TOML.
fn secret_assignment(line: &str) -> Option<usize> {
    let mut from = 0;
    while let Some(equals) = line.get(from..).and_then(|rest| rest.find('=')).map(|n| from + n) {
        let word = line.get(from..equals).unwrap_or_default().trim_end_matches(['"', '\'', ' ', '\t']);
        let word =
            word.rsplit(|c: char| !(c.is_alphanumeric() || c == '_' || c == '-')).next().unwrap_or_default();
        if is_secret_key(word) {
            return Some(equals + 1);
        }
        from = equals + 1;
    }
    None
}

/// Whether a key, even a misspelt one, holds a secret rather than tells where one is.
pub(super) fn is_secret_key(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    let holds = ["pass", "pasw", "pwd", "secret"].iter().any(|part| key.contains(part));
    holds && !["file", "env", "command", "cmd"].iter().any(|end| key.ends_with(end))
}

/// Control characters and the marks that turn text around are not for terminals.
fn printable(c: char) -> char {
    let turns =
        matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}');
    if (c.is_control() && c != '\t') || turns { '\u{fffd}' } else { c }
}

fn clean(text: &str) -> String {
    text.chars().map(|c| if c == '\n' { ' ' } else { printable(c) }).collect()
}

/// Columns a character takes on a terminal.
fn width(c: char) -> usize {
    match u32::from(c) {
        0x0300..=0x036f | 0x200b..=0x200d | 0xfe00..=0xfe0f => 0,
        0x1100..=0x115f
        | 0x2e80..=0xa4cf
        | 0xac00..=0xd7a3
        | 0xf900..=0xfaff
        | 0xfe30..=0xfe4f
        | 0xff00..=0xff60
        | 0xffe0..=0xffe6
        | 0x1f300..=0x1f64f
        | 0x1f900..=0x1f9ff
        | 0x20000..=0x3fffd => 2,
        _ => 1,
    }
}

fn floor(text: &str, mut at: usize) -> usize {
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str, part: &str) -> String {
        let at = text.find(part).unwrap();
        Complaint {
            position: Position::Line(Source::new(Path::new("w.toml"), text).excerpt(&(at..at + part.len()))),
            key: "a.b".to_owned(),
            message: "no".to_owned(),
            warning: false,
        }
        .to_string()
    }

    #[test]
    fn the_mark_stands_below_the_text_also_behind_tabs_and_wide_characters() {
        assert_eq!(shown("x = 1\n\ty = 2\n", "2"), "w.toml:2:6: a.b: no\n    2 | \ty = 2\n      | \t    ^");
        assert_eq!(shown("ü = 2", "2"), "w.toml:1:5: a.b: no\n    1 | ü = 2\n      |     ^");
        assert_eq!(shown("'漢' = 22", "22"), "w.toml:1:7: a.b: no\n    1 | '漢' = 22\n      |        ^^");
        assert_eq!(
            shown("a = 1\r\nb = 22\r\n", "22\r\n"),
            "w.toml:2:5: a.b: no\n    2 | b = 22\n      |     ^^"
        );
    }

    #[test]
    fn a_secret_is_never_shown_even_when_its_key_is_misspelt() {
        for line in
            ["password = \"hunter2\"", "pasword='hunter2'", "a = { password = hunter2 }", "db_passwd=hunter2"]
        {
            let text = shown(line, "=");
            assert!(!text.contains("hunter2") && text.contains("*******"), "{text}");
        }
        assert!(shown("password_file = \"shop.password\"", "=").contains("shop.password"));
    }

    #[test]
    fn terminal_sequences_do_not_reach_the_terminal() {
        assert!(!shown("a = \u{1b}[31m", "=").contains('\u{1b}'));
        assert!(!shown("a = \u{202e}x", "=").contains('\u{202e}'));
    }
}
