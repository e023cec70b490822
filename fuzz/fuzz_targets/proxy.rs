//! Any octets: a PROXY header is whole, absent or not yet there, and never longer than what was given.
#![no_main]

use libfuzzer_sys::fuzz_target;
use waystation::intake::proxy::{MAX_LENGTH, parse};

fuzz_target!(|octets: &[u8]| {
    match parse(octets) {
        Ok(Some(header)) => assert!(header.length <= octets.len().min(MAX_LENGTH)),
        Ok(None) => assert!(octets.len() < MAX_LENGTH),
        Err(_) => {}
    }
});
