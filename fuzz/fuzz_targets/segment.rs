//! Whatever a segment file holds, salvage walks over it without a crash, and no more is found than fits.
#![no_main]

use libfuzzer_sys::fuzz_target;
use waystation::queue::record::{HEAD, PREFIX, decode_header};
use waystation::queue::salvage::scan_octets;

fuzz_target!(|octets: &[u8]| {
    let (records, _) = scan_octets(octets);
    let room = octets.len().saturating_sub(HEAD) / PREFIX;
    assert!(usize::try_from(records).is_ok_and(|records| records <= room));
    let _ = decode_header(octets);
});
