//! Any octets: the header section covers what it says, and the prepared message keeps every byte it doesn't name.
#![no_main]

use libfuzzer_sys::fuzz_target;
use waystation::message::envelope::Origin;
use waystation::message::fields::{HeaderScan, HeaderSection};
use waystation::message::trace::{Controls, Protocol, TraceContext, prepare};

fuzz_target!(|content: &[u8]| {
    let header = HeaderSection::of(content);
    let mut last = 0;
    for field in header.fields() {
        assert!(field.range().start >= last);
        assert_eq!(content.get(field.range()), Some(field.octets()));
        last = field.range().end;
    }
    let mut scan = HeaderScan::default();
    let complete = (0..=content.len()).find(|end| scan.is_complete(&content[..*end]));
    if let Some(end) = complete {
        assert_eq!(HeaderSection::of(&content[..end]).octets(), header.octets());
    }
    let origin = Origin { client: None, helo: String::from_utf8_lossy(content).into(), application: None };
    let context = TraceContext {
        hostname: "relay.test",
        id: "1",
        origin: &origin,
        protocol: Protocol { extended: true, tls: false, authenticated: false, utf8: false },
        tls: None,
        received_at: jiff::Timestamp::UNIX_EPOCH,
        recipient: None,
        controls: Controls::Read,
    };
    if let Ok(prepared) = prepare(&header, &context) {
        let whole = prepared.pieces(content).collect::<Vec<_>>().concat();
        assert_eq!(whole.len(), prepared.length(content.len()));
        assert_eq!(HeaderSection::of(&whole).count("Bcc"), 0);
        assert!(HeaderSection::of(&whole).fields().next().is_some_and(|field| field.is_named("Received")));
    }
});
