//! Rewriting: a corpus of ugly header sections with what becomes of each, a second opinion, random ones; and the real
//! binary with a stand-in smarthost.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails loudly"
)]

#[path = "../support/mod.rs"]
mod support;

mod corpus;
mod delivery;
