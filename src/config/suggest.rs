//! "Did you mean …?": the nearest of a few known words.
//!
//! Distance is counted in insertions, deletions, replacements and swaps of neighbours (optimal string alignment);
//! case, `-` and `_` don't count. A word further away than a third of its length is no suggestion.

/// What people call a thing elsewhere, and what it is called here.
const ALIASES: [(&str, &str); 14] = [
    ("user", "username"),
    ("login", "username"),
    ("pass", "password"),
    ("passwd", "password"),
    ("server", "host"),
    ("hostname", "host"),
    ("relayhost", "host"),
    ("listen", "address"),
    ("bind", "address"),
    ("ssl", "implicit"),
    ("smtps", "implicit"),
    ("ssl", "tls"),
    ("cert", "certificate"),
    ("to", "recipient"),
];

/// The known word that `word` was probably meant to be.
pub(super) fn nearest<'k>(word: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    let plain = fold(word);
    let room = plain.len().div_ceil(3).min(4);
    let mut best: Option<(usize, &str)> = None;
    for candidate in known {
        let folded = fold(candidate);
        let far = if ALIASES
            .iter()
            .any(|(other, ours)| *ours == candidate && other.chars().eq(plain.iter().copied()))
        {
            1
        } else {
            distance(&plain, &folded)
        };
        if far <= room && best.is_none_or(|(least, _)| far < least) {
            best = Some((far, candidate));
        }
    }
    best.map(|(_, candidate)| candidate)
}

/// Known words, the nearest to `word` first.
#[must_use]
pub fn nearest_first<'k>(word: &str, known: impl IntoIterator<Item = &'k str>) -> Vec<&'k str> {
    let plain = fold(word);
    let mut known: Vec<&str> = known.into_iter().collect();
    known.sort_by_cached_key(|candidate| distance(&plain, &fold(candidate)));
    known
}

/// `; did you mean "…"?`, or nothing.
pub(super) fn hint<'k>(word: &str, known: impl IntoIterator<Item = &'k str>) -> String {
    nearest(word, known).map(|near| format!("; did you mean \"{near}\"?")).unwrap_or_default()
}

fn fold(word: &str) -> Vec<char> {
    word.chars()
        .take(80)
        .flat_map(char::to_lowercase)
        .map(|c| if c == '-' || c == ' ' { '_' } else { c })
        .collect()
}

fn distance(a: &[char], b: &[char]) -> usize {
    let at = |row: &[usize], j: usize| row.get(j).copied().unwrap_or(usize::MAX / 2);
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for (i, left) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, right) in b.iter().enumerate() {
            let mut cost =
                (at(&row, j) + 1).min(at(&last, j + 1) + 1).min(at(&last, j) + usize::from(left != right));
            let swapped = i > 0 && j > 0 && a.get(i - 1) == Some(right) && b.get(j - 1) == Some(left);
            if swapped {
                cost = cost.min(at(&before, j - 1) + 1);
            }
            row.push(cost);
        }
        before = std::mem::replace(&mut last, row);
    }
    at(&last, b.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_words_are_told_the_nearest_first() {
        assert_eq!(
            nearest_first("Shp", ["inbox:guests", "spare", "shop"]),
            ["shop", "spare", "inbox:guests"]
        );
    }

    #[test]
    fn a_slip_of_the_finger_finds_the_key_and_a_foreign_word_finds_none() {
        let known = ["host", "port", "tls", "username", "password", "smarthost"];
        for (word, near, reason) in [
            ("smarthots", Some("smarthost"), "neighbours swapped"),
            ("prot", Some("port"), "neighbours swapped in a short word"),
            ("pasword", Some("password"), "a letter missing"),
            ("User-Name", Some("username"), "case doesn't count, and a dash is one letter too many"),
            ("user", Some("username"), "what others call it"),
            ("TLS", Some("tls"), "case"),
            ("colour", None, "nothing like it"),
            ("", None, "empty"),
        ] {
            assert_eq!(nearest(word, known), near, "{reason}");
        }
    }
}
