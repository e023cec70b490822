//! The program as its users meet it: the real binary, real sockets on loopback, real files in a temporary folder.
//!
//! Ports are the system's choice and learnt from the log; whatever is waited for is waited for by reading, and a
//! limit only ends a test that has failed already. `home`, `smtp` and `smarthost` are the tools; every other file is
//! one thing that users do.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails loudly"
)]

mod home;
mod smtp;
mod smarthost;
#[path = "../support/receiver.rs"]
#[allow(dead_code, reason = "shared with other test files")]
mod receiver;

#[path = "../support/ports.rs"]
mod ports;

#[path = "../support/odd.rs"]
mod odd;

mod check;
mod queue;
mod journal;
mod reload;
mod stop;
mod beginners;
mod tls;
mod login;
mod relaying;
mod floods;
mod routes;
mod schedule;
mod sendmail;
mod limits;
mod fallback;
mod explain;
mod outlook;
mod doctor;
mod systemd;
mod webhooks;
mod inboxes;
mod documents;
mod salvage;
