//! Any octets as replies: no panic, bounded, the same whole and octet by octet, and safe to show.
#![no_main]

use libfuzzer_sys::fuzz_target;
use waystation::smtp::reply::{Reply, ReplyError, ReplyParser};

fn read(octets: &[u8], piece: usize) -> Vec<Result<Reply, ReplyError>> {
    let (mut parser, mut all) = (ReplyParser::default(), Vec::new());
    for mut rest in octets.chunks(piece.max(1)) {
        while !rest.is_empty() {
            let fed = parser.feed(rest);
            rest = &rest[fed.consumed..];
            match fed.reply {
                Some(Err(error)) => {
                    all.push(Err(error));
                    return all;
                }
                Some(reply) => all.push(reply),
                None => {}
            }
        }
    }
    all
}

fuzz_target!(|octets: &[u8]| {
    let whole = read(octets, octets.len());
    assert_eq!(whole, read(octets, 1));
    for reply in whole.into_iter().flatten() {
        assert!((200..600).contains(&reply.code));
        assert!(!reply.lines.is_empty());
        assert!(!reply.to_string().chars().any(char::is_control));
        let mut wire = Vec::new();
        reply.write_to(&mut wire);
        assert!(wire.ends_with(b"\r\n"));
    }
});
