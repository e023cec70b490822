//! What PGP puts around a text that it signs: "-----BEGIN PGP SIGNED MESSAGE-----", the signature below (RFC 9580 §6.2,
//! §7).
//!
//! Promises: of a signed text the armour goes and the text stays, its dashes as they were written; what is encrypted, a
//! key, and armour that isn't whole stay as they are. Nothing is verified. Linear.

use super::line::Line;
use super::steps;

/// The rule that cuts armour.
pub const RULE: &str = "text:pgp";

const SIGNED: &str = "-----BEGIN PGP SIGNED MESSAGE-----";
const SIGNATURE: &str = "-----BEGIN PGP SIGNATURE-----";
const END: &str = "-----END PGP SIGNATURE-----";

/// A signature is of so many lines at most, headers included.
const MOST_LINES: usize = 200;

/// Is this folded line the border of any armour? It announces a message that nobody answers.
pub fn is_border(folded: &str) -> bool {
    folded.starts_with("-----begin pgp ") || folded.starts_with("-----end pgp ")
}

/// Takes the armour from around signed texts; true if there was any.
pub fn strip(lines: &mut Vec<Line>) -> bool {
    let (mut goes, mut found) = (vec![false; lines.len()], false);
    let (mut signed, mut signature) = (None, None);
    for at in 0..lines.len() {
        match lines.get(at).filter(|line| line.depth == 0).map(|line| line.text.trim_end()) {
            Some(SIGNED) => (signed, signature) = (Some(at), None),
            Some(SIGNATURE) => signature = signature.or(Some(at)),
            Some(END) => {
                let whole = signed.take().zip(signature.take());
                if let Some((start, below)) = whole.filter(|(_, below)| at - below <= MOST_LINES) {
                    let text = start + 1 + headers(lines.get(start + 1..below).unwrap_or_default());
                    goes.get_mut(start..text).unwrap_or_default().fill(true);
                    goes.get_mut(below..=at).unwrap_or_default().fill(true);
                    lines.get_mut(text..below).unwrap_or_default().iter_mut().for_each(unescape);
                    found = true;
                }
            }
            _ => {}
        }
    }
    steps::took(lines.len());
    if found {
        let mut goes = goes.into_iter();
        lines.retain(|_| !goes.next().unwrap_or_default());
    }
    found
}

/// How many lines the armour's headers take, up to the empty line that ends them.
fn headers(lines: &[Line]) -> usize {
    let is_header = |line: &&Line| {
        line.text
            .split_once(": ")
            .is_some_and(|(name, _)| name.bytes().all(|octet| octet.is_ascii_alphanumeric() || octet == b'-'))
    };
    let count = lines.iter().take_while(is_header).count();
    if lines.get(count).is_some_and(Line::is_blank) { count + 1 } else { 0 }
}

/// Lines that begin with a dash have "- " in front (RFC 9580 §7.1).
fn unescape(line: &mut Line) {
    if let Some(text) = line.text.strip_prefix("- ").filter(|_| line.depth == 0) {
        line.reword(text.to_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::strip;
    use crate::inbox::answer::line::lines_of;

    fn stripped(text: &str) -> (String, bool) {
        let mut lines = lines_of(text);
        let found = strip(&mut lines);
        (lines.iter().map(|line| line.text.as_str()).collect::<Vec<_>>().join("\n"), found)
    }

    #[test]
    fn a_signed_text_stays_without_its_armour() {
        let signed = "Hi\n-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\nAt: six\n- - a cot\n- -- \nAna\n-----BEGIN PGP SIGNATURE-----\nVersion: x\n\niQEz\n=abcd\n-----END PGP SIGNATURE-----\nBye";
        assert_eq!(stripped(signed), ("Hi\nAt: six\n- a cot\n-- \nAna\nBye".to_owned(), true));
        let bare = "-----BEGIN PGP SIGNED MESSAGE-----\n\nAt six.\n-----BEGIN PGP SIGNATURE-----\n-----END PGP SIGNATURE-----";
        assert_eq!(stripped(bare), ("At six.".to_owned(), true));
        assert_eq!(stripped(&format!("{bare}\n{bare}")).0, "At six.\nAt six.");
    }

    #[test]
    fn armour_that_is_not_whole_and_what_is_encrypted_stay() {
        for text in [
            "-----BEGIN PGP MESSAGE-----\n\nhQEM\n-----END PGP MESSAGE-----",
            "-----BEGIN PGP SIGNED MESSAGE-----\n\nAt six.",
            "-----BEGIN PGP SIGNED MESSAGE-----\n\nAt six.\n-----BEGIN PGP SIGNATURE-----\n\niQEz",
            "At six.\n-----BEGIN PGP SIGNATURE-----\n\niQEz\n-----END PGP SIGNATURE-----",
            "> -----BEGIN PGP SIGNED MESSAGE-----\n>\n> When?\n> -----BEGIN PGP SIGNATURE-----\n> -----END PGP SIGNATURE-----",
        ] {
            assert_eq!(stripped(text), (text.to_owned(), false));
        }
    }
}
