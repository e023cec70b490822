//! Rows for people and for programs: an aligned table, or CSV (RFC 4180).

/// Columns as wide as their widest cell, two spaces between, no trailing blanks.
pub(super) fn aligned(header: &[&str], rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
        cells.chain(header.get(column).map(|title| title.chars().count())).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..header.len()).map(width).collect();
    let title: Vec<String> = header.iter().map(|title| (*title).to_owned()).collect();
    let mut text = String::new();
    for row in std::iter::once(&title).chain(rows) {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            line.push_str(cell);
            line.extend(std::iter::repeat_n(' ', width.saturating_sub(cell.chars().count()) + 2));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// One line of RFC 4180: CRLF, and quotes where a cell needs them.
pub(super) fn csv_line(cells: &[&str]) -> String {
    let quoted: Vec<String> = cells.iter().map(|cell| quoted(cell)).collect();
    format!("{}\r\n", quoted.join(","))
}

/// Peer text for a CSV cell: a spreadsheet would take what begins like a formula for one, and an apostrophe in front
/// tells it not to.
pub(super) fn harmless(text: &str) -> String {
    let text = printable(text);
    if text.starts_with(['=', '+', '-', '@', '\t', '\r']) { format!("'{text}") } else { text }
}

fn quoted(cell: &str) -> String {
    let guarded;
    let cell = if cell.starts_with(['=', '+', '-', '@', '\t', '\r']) {
        guarded = format!("'{cell}");
        &guarded
    } else {
        cell
    };
    if cell.contains([',', '"', '\r', '\n']) {
        format!("\"{}\"", cell.replace('"', "\"\""))
    } else {
        cell.to_owned()
    }
}

/// Peer text on one terminal line: the lines of a reply follow one another, control characters are shown, never sent.
pub(super) fn printable(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\t' => line.push(' '),
            '\n' => line.push_str(" / "),
            '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => line.push('\u{fffd}'),
            _ if c.is_control() => line.push('\u{fffd}'),
            _ => line.push(c),
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_lines_end_with_their_text() {
        let rows = vec![vec!["a".into(), "long cell".into()], vec!["żółw".into(), String::new()]];
        assert_eq!(aligned(&["ID", "TEXT"], &rows), "ID    TEXT\na     long cell\nżółw\n");
    }

    #[test]
    fn csv_quotes_what_would_break_a_row() {
        assert_eq!(csv_line(&["a,b", "say \"x\"\nnow", "c"]), "\"a,b\",\"say \"\"x\"\"\nnow\",c\r\n");
    }

    #[test]
    fn what_begins_like_a_formula_is_marked_as_text() {
        for (text, cell) in [
            ("=HYPERLINK(\"x\")", "'=HYPERLINK(\"x\")"),
            ("+1", "'+1"),
            ("-1", "'-1"),
            ("@SUM(1)", "'@SUM(1)"),
            ("a=b", "a=b"),
            ("", ""),
        ] {
            assert_eq!(harmless(text), cell);
        }
    }

    #[test]
    fn escape_sequences_do_not_reach_the_terminal() {
        assert_eq!(printable("a\u{1b}[2Jb\u{202e}c\u{2066}"), "a\u{fffd}[2Jb\u{fffd}c\u{fffd}");
    }

    #[test]
    fn a_reply_of_several_lines_stands_on_one() {
        assert_eq!(printable("250 9066 octets\nOK id=1xXgiZ"), "250 9066 octets / OK id=1xXgiZ");
    }
}
