//! The signed token of an answer's address: `inbox+r-TOKEN@…` names a conversation, and nobody else can make one.
//!
//! A token is `r-` and 26 characters of lower-case base32 (RFC 4648 §6, no padding), because local parts get folded to
//! lower case: 8 octets of conversation and 8 of HMAC-SHA256 over the mailbox's address and the conversation: a name is the
//! configuration's to change, and whoever gets another one's name doesn't get its answers. Keys rotate: the first one signs,
//! every one is believed. Compared in constant time.

use super::conversation::ConversationId;
use super::mailbox::account;
use aws_lc_rs::{constant_time, hmac};

/// RFC 4648 §6 in lower case.
const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
/// Octets in a token.
const OCTETS: usize = 16;
/// Characters of a token behind its mark.
const SHOWN: usize = 26;
pub use crate::config::schema::REPLY_TOKEN_MARK as MARK;
/// Octets of the longest local part of an inbox that a token fits behind (RFC 5321 §4.5.3.1.1).
pub const LONGEST_LOCAL: usize = 64 - 1 - MARK.len() - SHOWN;

/// A key that signs tokens; it shows nothing of itself.
#[derive(Clone)]
pub struct TokenKey(hmac::Key);

impl std::fmt::Debug for TokenKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TokenKey")
    }
}

impl TokenKey {
    /// From secret octets; 32 random ones are right.
    #[must_use]
    pub fn new(secret: &[u8]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, secret))
    }

    fn tag(&self, mailbox: &str, conversation: [u8; 8]) -> [u8; 8] {
        let mut context = hmac::Context::with_key(&self.0);
        context.update(b"waystation reply token 2\0");
        context.update(account(mailbox).as_bytes());
        context.update(b"\0");
        context.update(&conversation);
        let mut tag = [0; 8];
        tag.iter_mut().zip(context.sign().as_ref()).for_each(|(octet, signed)| *octet = *signed);
        tag
    }
}

/// The token of a conversation of the mailbox at this address, with its mark: `r-` and 26 characters.
#[must_use]
pub fn sign(mailbox: &str, conversation: ConversationId, key: &TokenKey) -> String {
    let conversation = conversation.to_bits().to_be_bytes();
    let tag = key.tag(mailbox, conversation);
    let octets = u128::from_be_bytes(std::array::from_fn(|place| {
        conversation.iter().chain(&tag).nth(place).copied().unwrap_or_default()
    }));
    // 128 bits in 26 × 5: the last two are zero.
    let letters = (0..SHOWN).rev().map(|place| {
        let shift = place * 5;
        let five = if shift >= 2 { octets >> (shift - 2) } else { octets << (2 - shift) } & 31;
        usize::try_from(five)
            .ok()
            .and_then(|five| ALPHABET.get(five))
            .map_or('a', |letter| char::from(*letter))
    });
    MARK.chars().chain(letters).collect()
}

/// The address that answers in this conversation go to: the inbox's, with a token in it.
#[must_use]
pub fn address(inbox: &str, mailbox: &str, conversation: ConversationId, key: &TokenKey) -> Option<String> {
    let (local, domain) = inbox.rsplit_once('@')?;
    (local.len() <= LONGEST_LOCAL).then(|| format!("{local}+{}@{domain}", sign(mailbox, conversation, key)))
}

/// The conversation that a token names, if it was made for the mailbox at this address, with one of the keys.
#[must_use]
pub fn check(token: &str, mailbox: &str, keys: &[TokenKey]) -> Option<ConversationId> {
    let (conversation, tag) = parse(token)?;
    let held = |key: &TokenKey| {
        constant_time::verify_slices_are_equal(&key.tag(mailbox, conversation), &tag).is_ok()
    };
    keys.iter().any(held).then(|| ConversationId::from_bits(u64::from_be_bytes(conversation)))
}

/// Whether a text has a token's form; says nothing of whether it holds.
#[must_use]
pub fn is_token(text: &str) -> bool {
    parse(text).is_some()
}

fn parse(token: &str) -> Option<([u8; 8], [u8; 8])> {
    let lower = token.to_ascii_lowercase();
    let letters = lower.strip_prefix(MARK).filter(|letters| letters.len() == SHOWN)?;
    let mut bits: u128 = 0;
    for (place, letter) in letters.bytes().enumerate() {
        let five = u128::try_from(ALPHABET.iter().position(|&known| known == letter)?).ok()?;
        // One spelling for each token: the two bits left over must be zero.
        if place + 1 == SHOWN {
            if five & 3 != 0 {
                return None;
            }
            bits = (bits << 3) | (five >> 2);
        } else {
            bits = (bits << 5) | five;
        }
    }
    let octets: [u8; OCTETS] = bits.to_be_bytes();
    let (conversation, tag) = octets.split_at(8);
    Some((conversation.try_into().ok()?, tag.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SOL: &str = "hola@casasol.example";

    fn key(octet: u8) -> TokenKey {
        TokenKey::new(&[octet; 32])
    }

    #[test]
    fn a_token_holds_for_its_mailbox_and_key_alone() {
        let conversation = ConversationId::from_bits(0x0123_4567_89ab_cdef);
        let token = sign(SOL, conversation, &key(1));
        assert_eq!((token.len(), &token[..2]), (28, "r-"));
        assert_eq!(check(&token, SOL, &[key(1)]), Some(conversation));
        assert_eq!(check(&token.to_uppercase(), SOL, &[key(1)]), Some(conversation), "folded on its way");
        assert_eq!(
            check(&token, SOL, &[key(2), key(1)]),
            Some(conversation),
            "signed before the key changed"
        );
        assert_eq!(check(&token, "Hola@CasaSol.example", &[key(1)]), Some(conversation), "the same account");
        assert_eq!(check(&token, "luna@casasol.example", &[key(1)]), None);
        assert_eq!(check(&token, SOL, &[key(2)]), None);
        assert_eq!(check(&token, SOL, &[]), None);
    }

    #[test]
    fn the_address_fits_a_local_part() {
        let conversation = ConversationId::from_bits(7);
        let whole = address("inbox@users.example.com", SOL, conversation, &key(1)).unwrap();
        assert!(whole.starts_with("inbox+r-") && whole.ends_with("@users.example.com"), "{whole}");
        assert!(whole.split('@').next().unwrap().len() <= 64);
        let of = |octets| address(&format!("{}@x.test", "i".repeat(octets)), SOL, conversation, &key(1));
        assert_eq!(of(LONGEST_LOCAL).unwrap().find('@'), Some(64));
        assert_eq!(of(LONGEST_LOCAL + 1), None);
    }

    proptest! {
        #[test]
        fn one_changed_letter_breaks_a_token(bits in any::<u64>(), place in 0_usize..26, letter in 0_usize..32) {
            let token = sign(SOL, ConversationId::from_bits(bits), &key(1));
            let mut changed = token.clone().into_bytes();
            changed[2 + place] = ALPHABET[letter];
            let changed = String::from_utf8(changed).unwrap();
            prop_assert_eq!(check(&token, SOL, &[key(1)]), Some(ConversationId::from_bits(bits)));
            prop_assert_eq!(check(&changed, SOL, &[key(1)]).is_some(), changed == token);
        }

        #[test]
        fn any_text_is_a_token_or_not(text in "\\PC{0,40}") {
            let _ = check(&text, SOL, &[key(1)]);
        }
    }
}
