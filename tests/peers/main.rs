//! The real program among real peers: clients in front of it, smarthosts behind it, and stand-ins where a peer must
//! misbehave. Foreign programs are installed by `tests/install-peers.sh`; tests whose peer can't be had say so, and
//! fail with `WAYSTATION_REQUIRE_PEERS=1`.
#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails loudly")]

#[path = "../support/mod.rs"]
mod support;

mod anymail;
mod doctor;
mod fidelity;
mod incoming;
mod notices;
mod outgoing;
mod tokens;
mod webhooks;
mod limits;
mod certificates;
mod workbook;
