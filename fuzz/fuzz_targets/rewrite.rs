//! Any header section: what isn't From, Sender or Reply-To stays to the octet, and a rewritten From is the mailbox and
//! nothing else, for our reader and for another.
#![no_main]

use libfuzzer_sys::fuzz_target;
use waystation::message::decode;
use waystation::message::fields::HeaderSection;
use waystation::message::rewrite::from::{Account, FromMode, Message, rewrite};
use waystation::message::rewrite::list::AddressList;
use waystation::message::rewrite::rules::{Rule, Wish, apply, objection};
use waystation::smtp::address::Address;

fuzz_target!(|input: &[u8]| {
    let Some((&settings, rest)) = input.split_first() else { return };
    // As stored content is: our own field on top, no bare line ends.
    let text: Vec<u8> = rest.iter().copied().filter(|octet| *octet != b'\r').collect();
    let mut content = b"Received: by relay.test\r\n".to_vec();
    for octet in text {
        if octet == b'\n' {
            content.push(b'\r');
        }
        content.push(octet);
    }
    // A last line without an end gets one before anything is added behind it.
    if !content.ends_with(b"\r\n") {
        content.extend_from_slice(b"\r\n");
    }
    from(&content, settings);
    rules(&content, settings);
});

fn from(content: &[u8], settings: u8) {
    let address = Address::parse("shop@shop.test", true).unwrap();
    let allowed = |address: &Address| address.domain().eq_ignore_ascii_case("shop.test");
    let account = Account {
        smarthost: "shop",
        mode: match settings & 3 {
            0 => FromMode::Keep,
            1 => FromMode::Force,
            _ => FromMode::IfNotAllowed,
        },
        address: Some(&address),
        display_name: (settings & 4 != 0).then_some("The, Shop ż"),
        allowed: (settings & 8 != 0).then_some(&allowed),
    };
    let message = Message { sender: None, smtputf8: settings & 16 != 0 };
    let header = HeaderSection::of(content);
    let rewriting = rewrite(&header, message, &account);
    let head = rewriting.edits.head(content);
    let whole = [&head.octets, &content[head.replaces..]].concat();
    assert_eq!(without_named(&whole), without_named(content));
    if rewriting.changes.iter().any(|change| change.starts_with("From: ") && change.contains(" → ")) {
        let after = HeaderSection::of(&whole);
        assert_eq!((after.count("From"), after.count("Sender")), (1, 0));
        for field in after.named("From") {
            assert_eq!(decode::addresses(&field.value()), [address.clone()]);
            assert_eq!(AddressList::of(field.raw_value()).addresses().collect::<Vec<_>>(), [&address]);
            assert!(field.octets().split(|octet| *octet == b'\n').all(|line| line.len() <= 999));
        }
    }
}

/// The input is a field to put in and to take out again.
fn rules(content: &[u8], settings: u8) {
    let text = String::from_utf8_lossy(content).into_owned();
    let Some((name, value)) = text.lines().nth(1).and_then(|line| line.split_once(':')) else { return };
    let wish = if settings & 1 == 0 { Wish::Add } else { Wish::Replace };
    if objection(wish, name, value).is_some() {
        return;
    }
    let pair = vec![(name.to_owned(), value.to_owned())];
    let rule = match wish {
        Wish::Add => Rule { add: pair, ..Rule::default() },
        _ => Rule { replace: pair, ..Rule::default() },
    };
    let (before, ruled) = (HeaderSection::of(content).count(name), apply(content, &[rule]));
    let Some(ruled) = ruled else { return };
    let after = HeaderSection::of(&ruled.content).count(name);
    assert!(if wish == Wish::Add { after == before + 1 } else { after == 1 });
}

fn without_named(content: &[u8]) -> Vec<u8> {
    let header = HeaderSection::of(content);
    let mut rest = Vec::new();
    let mut at = 0;
    for field in header.fields().filter(|field| ["From", "Sender", "Reply-To"].iter().any(|name| field.is_named(name))) {
        rest.extend_from_slice(&content[at..field.range().start]);
        at = field.range().end;
    }
    rest.extend_from_slice(&content[at..]);
    rest
}
