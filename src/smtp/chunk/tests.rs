//! The argument, and chunks of any size.

use super::*;
use crate::smtp::data::ContentFault;
use proptest::prelude::*;

#[test]
fn the_argument_is_a_number_and_perhaps_last() {
    for (argument, wanted) in [
        ("0", Some((0, false))),
        ("12 LAST", Some((12, true))),
        ("12  last", Some((12, true))),
        ("18446744073709551615", Some((u64::MAX, false))),
        ("18446744073709551616", None),
        ("", None),
        ("-1", None),
        ("+1", None),
        ("0x10", None),
        ("1 FIRST", None),
        ("1 LAST LAST", None),
        ("LAST", None),
        ("1LAST", None),
    ] {
        let found = Chunk::parse(argument.as_bytes()).map(|chunk| (chunk.size, chunk.last));
        assert_eq!(found, wanted, "{argument:?}");
    }
}

#[test]
fn a_cr_at_the_very_end_is_a_bare_one() {
    for (tolerate, outcome, content) in
        [(false, Err(ContentFault::BareLineEnd), "a"), (true, Ok(()), "a\r\n")]
    {
        let mut receiver = ChunkReceiver::new(100, tolerate);
        let mut out = Vec::new();
        receiver.begin(Chunk { size: 2, last: false });
        assert_eq!(receiver.receive(b"a\r", &mut out).ended, Some(Ok(())));
        receiver.begin(Chunk { size: 0, last: true });
        assert_eq!(receiver.receive(b"", &mut Vec::new()).ended, Some(outcome));
        assert_eq!((out.as_slice(), receiver.mended()), (content.as_bytes(), tolerate));
    }
}

/// The octets through a receiver, in chunks that each arrive in pieces.
fn feed(
    content: &[u8],
    chunk: usize,
    piece: usize,
    tolerate: bool,
) -> (Vec<u8>, Option<Result<(), ContentFault>>) {
    let mut receiver = ChunkReceiver::new(1000, tolerate);
    let (mut out, mut ended) = (Vec::new(), None);
    for chunk in content.chunks(chunk) {
        receiver.begin(Chunk { size: chunk.len() as u64, last: false });
        for piece in chunk.chunks(piece) {
            ended = receiver.receive(piece, &mut out).ended;
        }
        assert_eq!(ended, Some(Ok(())));
    }
    receiver.begin(Chunk { size: 0, last: true });
    ended = receiver.receive(b"", &mut out).ended.or(ended);
    (out, ended)
}

proptest! {
    #[test]
    fn chunks_and_pieces_change_nothing(content in r"[a.\r\n\x00]{0,40}", chunk in 1_usize..9, piece in 1_usize..9, tolerate: bool) {
        let found = feed(content.as_bytes(), chunk, piece, tolerate);
        prop_assert_eq!(&found, &feed(content.as_bytes(), 1000, 1000, tolerate));
        let rest = content.replace("\r\n", "");
        if !rest.contains(['\r', '\n']) {
            prop_assert_eq!(found, (content.into_bytes(), Some(Ok(()))));
        } else if tolerate {
            let mended = content.replace("\r\n", "\n").replace('\r', "\n").replace('\n', "\r\n");
            prop_assert_eq!(found, (mended.into_bytes(), Some(Ok(()))));
        } else {
            prop_assert_eq!(found.1, Some(Err(ContentFault::BareLineEnd)));
        }
    }
}
