//! Any text, as plain text and as HTML: no panic, and the answer's plain lines all stand in the mail.
#![no_main]

use libfuzzer_sys::fuzz_target;
use waystation::inbox::answer::extract;

fuzz_target!(|input: &[u8]| {
    let input = String::from_utf8_lossy(input);
    let (first, second) = input.split_once('\0').unwrap_or((&input, "We sent this text to you before, and it comes back in what you answer."));
    let plain = extract(Some(first), None, &[second]);
    assert!((0.0..=1.0).contains(&plain.confidence));
    for line in plain.text.lines() {
        assert!(first.contains(line.trim_end()), "{line:?} isn't in the mail");
    }
    let rendered = extract(Some(second), Some(first), &[]);
    assert!((0.0..=1.0).contains(&rendered.confidence));
    if let Some(html) = rendered.html {
        assert!(!html.to_ascii_lowercase().contains("<script"));
    }
});
