//! Any content in any chunks: cutting changes nothing, and no bare line end comes out.
#![no_main]

use libfuzzer_sys::fuzz_target;
use waystation::smtp::chunk::{Chunk, ChunkReceiver};
use waystation::smtp::data::ContentFault;

fuzz_target!(|input: &[u8]| {
    let _ = Chunk::parse(input);
    let Some((&size, content)) = input.split_first() else { return };
    let tolerate = size & 1 == 1;
    assert_eq!(feed(content, usize::from(size >> 1) + 1, tolerate), feed(content, usize::MAX, tolerate));
});

fn feed(content: &[u8], size: usize, tolerate: bool) -> (Result<(), ContentFault>, Vec<u8>) {
    let mut receiver = ChunkReceiver::new(1 << 30, tolerate);
    let mut out = Vec::new();
    for chunk in content.chunks(size) {
        receiver.begin(Chunk { size: chunk.len() as u64, last: false });
        assert_eq!(receiver.receive(chunk, &mut out).ended, Some(Ok(())));
    }
    receiver.begin(Chunk { size: 0, last: true });
    let outcome = receiver.receive(b"", &mut out).ended.expect("an end");
    let crlfs = out.windows(2).filter(|pair| pair == b"\r\n").count();
    assert_eq!(out.iter().filter(|byte| matches!(byte, b'\r' | b'\n')).count(), 2 * crlfs);
    // What was put out before a fault was found hangs on the cutting and is thrown away.
    (outcome, if outcome.is_ok() { out } else { Vec::new() })
}
