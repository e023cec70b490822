//! Forwarded mail from outside: which mailbox, which question, which event. No network, no clock.
//!
//! `tests/inbox/providers/NAME.eml` must give `NAME.txt`, and so on; after a change on purpose write the golden files anew
//! with `UPDATE_GOLDEN=1 cargo test --test inbox` and read the difference.
#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails loudly")]

mod confirm;
mod formats;
mod hostile;
mod ladder;
#[path = "../support/odd.rs"]
mod odd;
#[path = "../support/gmail.rs"]
mod gmail;
mod sample;
mod threads;
mod verification;
