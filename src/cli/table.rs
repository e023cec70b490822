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

/// RFC 4180: CRLF, and quotes where a cell needs them. A cell that a spreadsheet would run as a formula is made text by
/// an apostrophe before it: subjects and addresses are strangers' words.
pub(super) fn csv(header: &[&str], rows: &[Vec<String>]) -> String {
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let quoted: Vec<String> = cells.map(quoted).collect();
        format!("{}\r\n", quoted.join(","))
    };
    let mut text = line(&mut header.iter().copied());
    for row in rows {
        text.push_str(&line(&mut row.iter().map(String::as_str)));
    }
    text
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

/// Peer text on one terminal line: control characters are shown, never sent.
pub(super) fn printable(text: &str) -> String {
    text.chars()
        .map(|c| {
            if c == '\t' {
                ' '
            } else if c.is_control() || ('\u{202a}'..='\u{202e}').contains(&c) {
                '\u{fffd}'
            } else {
                c
            }
        })
        .collect()
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
        let rows = vec![vec!["a,b".into(), "say \"x\"\nnow".into()]];
        assert_eq!(csv(&["one", "two"], &rows), "one,two\r\n\"a,b\",\"say \"\"x\"\"\nnow\"\r\n");
    }

    #[test]
    fn no_cell_is_a_formula() {
        let rows = ["=1+1", "+1", "-1", "@sum", "\tx", "a=b", "=cmd,\"x\""].map(|cell| vec![cell.to_owned()]);
        let guarded = "'=1+1\r\n'+1\r\n'-1\r\n'@sum\r\n'\tx\r\na=b\r\n\"'=cmd,\"\"x\"\"\"\r\n";
        assert_eq!(csv(&["x"], &rows), format!("x\r\n{guarded}"));
    }

    #[test]
    fn escape_sequences_do_not_reach_the_terminal() {
        assert_eq!(printable("a\u{1b}[2Jb\u{202e}"), "a\u{fffd}[2Jb\u{fffd}");
    }
}
