//! Tables of phrases, all of them looked for in one pass over a text.
//!
//! Promises: a text is read once, however many phrases a table has; a phrase is found wherever it stands. Phrases have
//! two octets or more.

use super::steps;

/// A table that is searched as a whole.
#[derive(Debug)]
pub struct Phrases {
    /// By their first two octets; the order of the table within.
    sorted: Vec<(u16, &'static str)>,
    /// A bit for each two octets, set where a phrase begins with them.
    beginnings: Vec<u64>,
}

impl Phrases {
    /// The phrases of a table.
    pub fn of(table: &[&'static str]) -> Phrases {
        let keyed = table.iter().filter_map(|phrase| Some((key(phrase.as_bytes())?, *phrase)));
        let mut sorted: Vec<_> = keyed.collect();
        sorted.sort_by_key(|(key, _)| *key);
        let mut beginnings = vec![0u64; 1024];
        for (key, _) in &sorted {
            if let Some(bits) = beginnings.get_mut(usize::from(key / 64)) {
                *bits |= 1 << (key % 64);
            }
        }
        Phrases { sorted, beginnings }
    }

    /// The phrases that stand in `text`, and where, from its beginning on.
    pub fn found<'a>(&'a self, text: &'a str) -> impl Iterator<Item = (usize, &'static str)> + 'a {
        steps::took(text.len());
        let begins = |two: &[u8]| key(two).is_some_and(|key| self.begins(key));
        let pairs = text.as_bytes().windows(2).enumerate();
        let places = pairs.filter(move |(_, two)| begins(two)).map(|(at, _)| at);
        places.flat_map(move |at| self.at(text, at).map(move |phrase| (at, phrase)))
    }

    /// Does any stand in `text`?
    pub fn any_in(&self, text: &str) -> bool {
        self.found(text).next().is_some()
    }

    /// The phrases that `text` begins with.
    pub fn beginning<'a>(&'a self, text: &'a str) -> impl Iterator<Item = &'static str> + 'a {
        self.at(text, 0)
    }

    /// Is `text` one of them?
    pub fn has(&self, text: &str) -> bool {
        self.beginning(text).any(|phrase| phrase.len() == text.len())
    }

    fn at<'a>(&'a self, text: &'a str, at: usize) -> impl Iterator<Item = &'static str> + 'a {
        let rest = text.as_bytes().get(at..).unwrap_or_default();
        let key = key(rest).filter(|key| self.begins(*key));
        let same = key.map(|key| {
            let from = self.sorted.partition_point(|(other, _)| *other < key);
            let behind = self.sorted.get(from..).unwrap_or_default();
            behind.iter().take_while(move |(other, _)| *other == key)
        });
        let same = same.into_iter().flatten().map(|(_, phrase)| *phrase);
        same.filter(move |phrase| rest.starts_with(phrase.as_bytes()))
    }

    fn begins(&self, key: u16) -> bool {
        self.beginnings.get(usize::from(key / 64)).is_some_and(|bits| bits >> (key % 64) & 1 == 1)
    }
}

/// The first two octets.
fn key(octets: &[u8]) -> Option<u16> {
    octets.first_chunk::<2>().map(|two| u16::from_be_bytes(*two))
}

#[cfg(test)]
mod tests {
    use super::Phrases;

    #[test]
    fn every_phrase_is_found_where_it_stands() {
        let phrases = Phrases::of(&["ana", "an", "wrote", "né"]);
        let found: Vec<_> = phrases.found("anané wrote an").collect();
        assert_eq!(
            found,
            [(0, "ana"), (0, "an"), (2, "an"), (3, "né"), (7, "wrote"), (13, "an")][..].to_vec()
        );
        assert!(phrases.has("an") && !phrases.has("anan") && !phrases.has("a") && !phrases.has(""));
        assert!(phrases.any_in("xx wrote") && !phrases.any_in("xx wrot"));
        assert_eq!(phrases.beginning("anas").collect::<Vec<_>>(), ["ana", "an"]);
    }
}
