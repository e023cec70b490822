//! The smuggling table (attacks B2) and the promise that cutting changes nothing.

use super::*;
use crate::smtp::chunk::{Chunk, ChunkReceiver};
use proptest::prelude::*;

/// What may stand before and behind a dot in the place of CRLF. The first one is the legal one.
const LINE_ENDS: [&[u8]; 24] = [
    b"\r\n",
    b"\n",
    b"\r",
    b"\n\r",
    b"\r\r\n",
    b"\r\r",
    b"\n\n",
    b"\r\n\n",
    b"\n\r\n\r",
    b"\r\0\n",
    b"\0\r\n",
    b"\r\n\0",
    b"\0",
    b"\x0b",
    b"\x0c",
    b"\x85",
    b"\xc2\x85",
    b"\xe2\x80\xa8",
    b"\xe2\x80\xa9",
    b"\r\n ",
    b" \r\n",
    b"\r ",
    b"\x1a",
    b"",
];
/// What hides behind a false end.
const HIDDEN: &[u8] = b"MAIL FROM:<evil@x.test>\r\nRCPT TO:<b@c.test>\r\nDATA\r\nSubject: second\r\n";
const END: &[u8] = b"\r\n.\r\n";
const ROOM: u64 = 1 << 20;

/// Feeds a receiver in pieces of at most `piece` octets: the content, the octets used up and the outcome.
fn feed(
    mut receiver: DataReceiver,
    wire: &[u8],
    piece: usize,
) -> (Vec<u8>, usize, Option<Result<(), ContentFault>>) {
    let (mut out, mut used) = (Vec::new(), 0);
    for piece in wire.chunks(piece.max(1)) {
        let read = receiver.receive(piece, &mut out);
        used += read.consumed;
        if read.ended.is_some() {
            return (out, used, read.ended);
        }
    }
    (out, used, None)
}

/// The standard in its slowest words: the index behind the first CRLF.CRLF, the beginning being a line start.
fn true_end(wire: &[u8]) -> Option<usize> {
    if wire.starts_with(b".\r\n") {
        return Some(3);
    }
    wire.windows(END.len()).position(|window| window == END).map(|at| at + END.len())
}

fn holds_bare_line_end(text: &[u8]) -> bool {
    let crlfs = text.windows(2).filter(|pair| pair == b"\r\n").count();
    let singles = text.iter().filter(|byte| matches!(byte, b'\r' | b'\n')).count();
    singles != 2 * crlfs
}

/// What must hold of any octets, in any pieces, tolerance or not.
fn check(wire: &[u8], piece: usize, tolerate: bool) {
    let (out, used, ended) = feed(DataReceiver::new(ROOM, tolerate), wire, piece);
    let shown = wire.escape_ascii();
    assert_eq!(
        (out.clone(), used, ended),
        feed(DataReceiver::new(ROOM, tolerate), wire, usize::MAX),
        "{shown}"
    );
    let end = true_end(wire);
    assert_eq!((ended.is_some(), used), (end.is_some(), end.unwrap_or(wire.len())), "{shown}");
    let content = end.and_then(|end| wire.get(..end.saturating_sub(3))).unwrap_or(wire);
    match ended {
        Some(Ok(())) => {
            assert!(!holds_bare_line_end(&out), "{shown} became {}", out.escape_ascii());
            assert!(out.is_empty() || out.ends_with(b"\r\n"), "{shown}");
            assert!(tolerate || !holds_bare_line_end(content), "{shown}");
        }
        Some(Err(fault)) => {
            assert_eq!((fault, tolerate), (ContentFault::BareLineEnd, false), "{shown}");
            assert!(holds_bare_line_end(content), "{shown}");
        }
        None => {}
    }
}

#[test]
fn of_all_pairs_of_line_ends_around_a_dot_only_the_legal_one_ends_the_content() {
    for before in LINE_ENDS {
        for behind in LINE_ENDS {
            let wire =
                [b"Subject: first\r\n\r\ntext", before, b".", behind, HIDDEN, b"QUIT", END, b"NOOP\r\n"]
                    .concat();
            for tolerate in [false, true] {
                for piece in [1, 2, 3, usize::MAX] {
                    check(&wire, piece, tolerate);
                }
            }
            let is_legal = true_end(&wire) != Some(wire.len() - b"NOOP\r\n".len());
            let holds_legal = [before, b".", behind].concat().windows(END.len()).any(|window| window == END);
            assert_eq!(is_legal, holds_legal, "{} . {}", before.escape_ascii(), behind.escape_ascii());
        }
    }
}

#[test]
fn of_all_pairs_of_line_ends_around_a_dot_none_ends_a_chunk() {
    for before in LINE_ENDS {
        for behind in LINE_ENDS {
            let content = [b"text", before, b".", behind, HIDDEN].concat();
            for tolerate in [false, true] {
                for split in 0..content.len().min(20) {
                    let mut receiver = ChunkReceiver::new(ROOM, tolerate);
                    let (first, second) = content.split_at(split);
                    let mut out = Vec::new();
                    receiver.begin(Chunk { size: first.len() as u64, last: false });
                    let read = receiver.receive(first, &mut out);
                    assert_eq!(read, Received { consumed: first.len(), ended: Some(Ok(())) });
                    receiver.begin(Chunk { size: second.len() as u64, last: true });
                    let read = receiver.receive(&[second, b"QUIT\r\n"].concat(), &mut out);
                    assert_eq!(read.consumed, second.len());
                    match read.ended {
                        Some(Ok(())) if holds_bare_line_end(&content) => {
                            assert!(tolerate && !holds_bare_line_end(&out));
                        }
                        Some(Ok(())) => assert_eq!(out, content),
                        Some(Err(fault)) => {
                            assert_eq!((fault, tolerate), (ContentFault::BareLineEnd, false));
                            assert!(holds_bare_line_end(&content));
                        }
                        None => panic!("the last chunk must end"),
                    }
                }
            }
        }
    }
}

#[test]
fn other_stops_and_encodings_of_a_dot_are_text() {
    for false_dot in [
        &b""[..],
        b"..",
        b"...",
        b". ",
        b" .",
        b".\0",
        b"\0.",
        b".\x08",
        b"\x08.",
        b"\xef\xbc\x8e",
        b"\xe3\x80\x82",
        b"\xef\xbd\xa1",
        b"\xc0\xae",
        b"=2E",
        b"\x1a",
        b"\x04",
    ] {
        let wire = [b"text\r\n", false_dot, b"\r\n", HIDDEN, &END[2..]].concat();
        for tolerate in [false, true] {
            check(&wire, 1, tolerate);
            let (out, used, ended) = feed(DataReceiver::new(ROOM, tolerate), &wire, 1);
            assert_eq!((used, ended), (wire.len(), Some(Ok(()))), "{}", false_dot.escape_ascii());
            assert!(out.ends_with(HIDDEN));
        }
    }
}

#[test]
fn the_legal_end_is_seen_however_it_arrives() {
    for wire in
        [&b".\r\nQUIT\r\n"[..], b"\r\n.\r\nQUIT\r\n", b"text\r\n.\r\nQUIT\r\n", b"..\r\n.\r\nQUIT\r\n"]
    {
        for piece in 1..wire.len() {
            let (_, used, ended) = feed(DataReceiver::new(ROOM, false), wire, piece);
            assert_eq!(
                (used, ended),
                (wire.len() - b"QUIT\r\n".len(), Some(Ok(()))),
                "{}",
                wire.escape_ascii()
            );
        }
    }
}

#[test]
fn stuffed_dots_are_undone_and_nothing_else_is_touched() {
    let wire = b"..\r\n...\r\n.a\r\na.\r\n a..b\r\n\0\xff\x85\r\n\r\n..\r\n.\r\n";
    let (out, ..) = feed(DataReceiver::new(ROOM, false), wire, usize::MAX);
    assert_eq!(
        out.escape_ascii().to_string(),
        b".\r\n..\r\na\r\na.\r\n a..b\r\n\0\xff\x85\r\n\r\n.\r\n".escape_ascii().to_string()
    );
}

#[test]
fn a_line_end_made_by_tolerance_ends_nothing_and_unstuffs_nothing() {
    for (wire, content) in [
        (&b"a\n.\r\nb\r\n.\r\n"[..], &b"a\r\n.\r\nb\r\n"[..]),
        (b"a\r.\r\nb\r\n.\r\n", b"a\r\n.\r\nb\r\n"),
        (b"a\n..\r\n.\r\n", b"a\r\n..\r\n"),
        (b"a\r\n.\nb\r\n.\r\n", b"a\r\n\r\nb\r\n"),
        (b"a\r\n.\rb\r\n.\r\n", b"a\r\n\r\nb\r\n"),
        (b"a\r\n.\r\r\n.\r\n", b"a\r\n\r\n\r\n"),
        (b"a\r\r\n.\r\n", b"a\r\n\r\n"),
    ] {
        for piece in [1, usize::MAX] {
            let (out, used, ended) = feed(DataReceiver::new(ROOM, true), wire, piece);
            assert_eq!(
                (out.escape_ascii().to_string(), used),
                (content.escape_ascii().to_string(), wire.len())
            );
            assert_eq!(ended, Some(Ok(())));
        }
    }
}

#[test]
fn too_big_is_told_at_the_true_end_and_patience_ends_at_twice_the_limit() {
    let exact = b"12345678\r\n.\r\n";
    assert_eq!(feed(DataReceiver::new(10, false), exact, 1).2, Some(Ok(())));
    let (out, used, ended) = feed(DataReceiver::new(9, false), exact, 1);
    assert_eq!((out.len(), used, ended), (8, exact.len(), Some(Err(ContentFault::TooBig))));
    let endless = vec![b'x'; 4000];
    for piece in [1, 100, usize::MAX] {
        let (out, used, ended) = feed(DataReceiver::new(9, false), &endless, piece);
        assert_eq!((used, ended), (2 * 9 + 1024, Some(Err(ContentFault::Endless))));
        assert!(out.len() <= 9);
    }
}

/// Octets of which most matter.
fn wire() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        4 => Just(&b"\r\n"[..]), 3 => Just(&b"."[..]), 2 => Just(&b"\r"[..]), 2 => Just(&b"\n"[..]),
        2 => Just(&b"text"[..]), 1 => Just(&b"\0"[..]), 1 => Just(&b"\r\n.\r\n"[..]),
    ];
    proptest::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn any_octets_in_any_pieces_follow_the_standard(wire in wire(), piece in 1_usize..9, tolerate: bool) {
        check(&wire, piece, tolerate);
    }

    #[test]
    fn any_text_that_a_sender_stuffs_comes_back_as_it_was(lines in proptest::collection::vec("[.a ]{0,5}", 0..8), piece in 1_usize..9) {
        let content: String = lines.iter().flat_map(|line| [line, "\r\n"]).collect();
        let stuffed: String = lines.iter().map(|line| if line.starts_with('.') { format!(".{line}\r\n") } else { format!("{line}\r\n") }).collect();
        let (out, _, ended) = feed(DataReceiver::new(ROOM, false), format!("{stuffed}.\r\n").as_bytes(), piece);
        prop_assert_eq!((out, ended), (content.into_bytes(), Some(Ok(()))));
    }
}
