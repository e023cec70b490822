//! How addresses and texts are looked for: without case, in any script.
//!
//! SQLite's own LIKE knows the case of ASCII alone, so that these are functions of ours there, too.

use rusqlite::Connection;
use rusqlite::functions::FunctionFlags;

/// An address, `@domain`, or a pattern with `*`.
#[derive(Debug)]
pub(super) struct Pattern(String);

impl Pattern {
    pub(super) fn of(wanted: &str) -> Self {
        let wanted = wanted.to_lowercase();
        Self(if wanted.starts_with('@') { format!("*{wanted}") } else { wanted })
    }

    pub(super) fn matches(&self, address: &str) -> bool {
        let address = address.to_lowercase();
        let mut parts = self.0.split('*');
        let Some(mut rest) = parts.next().and_then(|first| address.strip_prefix(first)) else { return false };
        let Some(last) = parts.next_back() else { return rest.is_empty() };
        for part in parts {
            let Some((_, behind)) = rest.split_once(part) else { return false };
            rest = behind;
        }
        rest.ends_with(last)
    }
}

/// Gives a connection `matches(pattern, address)` and `has_text(text, within)`; NULL never does.
pub(super) fn teach(connection: &Connection) -> rusqlite::Result<()> {
    let flags = FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_DETERMINISTIC;
    connection.create_scalar_function("matches", 2, flags, |context| {
        let (wanted, address): (String, Option<String>) = (context.get(0)?, context.get(1)?);
        Ok(address.is_some_and(|address| Pattern::of(&wanted).matches(&address)))
    })?;
    connection.create_scalar_function("has_text", 2, flags, |context| {
        let (wanted, within): (String, Option<String>) = (context.get(0)?, context.get(1)?);
        Ok(within.is_some_and(|within| within.to_lowercase().contains(&wanted.to_lowercase())))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_mean_what_an_operator_expects() {
        for (wanted, address, is_meant) in [
            ("a@b.example", "A@B.example", true),
            ("a@b.example", "aa@b.example", false),
            ("a@b.example", "a@b.example.org", false),
            ("@b.example", "anna@b.example", true),
            ("@b.example", "anna@sub.b.example", false),
            ("@B.example", "anna@b.example", true),
            ("a*@b_c.example", "anna@b_c.example", true),
            ("a*@b_c.example", "anna@bxc.example", false),
            ("a*", "a", true),
            ("*", "", true),
            ("*na@*", "anna@b.example", true),
            ("*na*na*", "anna@b.example", false),
            ("a*a", "a", false),
            ("100%@b.example", "1000@b.example", false),
            ("ŻÓŁĆ@b.example", "żółć@b.example", true),
        ] {
            assert_eq!(Pattern::of(wanted).matches(address), is_meant, "{wanted} {address}");
        }
    }

    #[test]
    fn the_index_looks_for_text_without_case_in_any_script() {
        let connection = Connection::open_in_memory().unwrap();
        teach(&connection).unwrap();
        for (question, answer) in [
            ("has_text('ZAŻÓŁĆ','Re: zażółć gęślą')", true),
            ("has_text('ελλ','ΕΛΛΑΣ')", true),
            ("has_text('%','no')", false),
            ("has_text('x',NULL)", false),
            ("matches('ą@b.example','Ą@B.EXAMPLE')", true),
            ("matches('*',NULL)", false),
        ] {
            let told: bool =
                connection.query_row(&format!("SELECT {question}"), (), |row| row.get(0)).unwrap();
            assert_eq!(told, answer, "{question}");
        }
    }
}
