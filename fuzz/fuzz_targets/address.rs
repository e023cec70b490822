//! Any octets: an address that is taken keeps them, and can stand between angle brackets.
#![no_main]

use libfuzzer_sys::fuzz_target;
use waystation::smtp::address::{Address, path_end};

fuzz_target!(|source: &[u8]| {
    let strict = Address::parse(source, false);
    if let Ok(address) = Address::parse(source, true) {
        assert_eq!(address.as_str().as_bytes(), source);
        assert_eq!(strict.is_ok(), address.is_ascii());
        assert!(!address.as_str().chars().any(char::is_control));
        assert_eq!(format!("{}@{}", address.local(), address.domain()), address.as_str());
        assert_eq!(path_end(&[source, b">"].concat()), Some(source.len()));
    } else {
        assert!(strict.is_err());
    }
});
