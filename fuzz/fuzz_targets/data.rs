//! Any content in any pieces: the true end and no other, and no bare line end comes out.
#![no_main]

use libfuzzer_sys::fuzz_target;
use waystation::smtp::data::DataReceiver;

fuzz_target!(|input: &[u8]| {
    let Some((&piece, wire)) = input.split_first() else { return };
    ends_only_at_the_true_end(wire, usize::from(piece >> 1) + 1, piece & 1 == 1);
});

fn ends_only_at_the_true_end(wire: &[u8], piece: usize, tolerate: bool) {
    let mut receiver = DataReceiver::new(1 << 30, tolerate);
    let (mut out, mut used, mut ended) = (Vec::new(), 0, None);
    for piece in wire.chunks(piece) {
        let received = receiver.receive(piece, &mut out);
        used += received.consumed;
        ended = received.ended;
        if ended.is_some() {
            break;
        }
    }
    let end = if wire.starts_with(b".\r\n") {
        Some(3)
    } else {
        wire.windows(5).position(|window| window == b"\r\n.\r\n").map(|at| at + 5)
    };
    assert_eq!((ended.is_some(), used), (end.is_some(), end.unwrap_or(wire.len())));
    let crlfs = out.windows(2).filter(|pair| pair == b"\r\n").count();
    assert_eq!(out.iter().filter(|byte| matches!(byte, b'\r' | b'\n')).count(), 2 * crlfs);
}
