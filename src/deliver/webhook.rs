//! How events leave: one task per endpoint posts what is due and records what came of it.
//!
//! An event stays due in the index until an attempt is recorded there, so a daemon that is killed posts at most those
//! again that were on their way, under the same `webhook-id` and with the same bytes. Four posts go at once to an
//! endpoint ([`gate`]), one for each conversation (the index shows no other as due).
//!
//! In reading order: [`schedule`] (what an answer means), [`gate`] (how many at once), [`receiver`] (one
//! attempt), [`endpoint`] (the task).

pub mod schedule;
pub mod gate;
pub mod receiver;
pub mod endpoint;

pub use endpoint::{Endpoint, EndpointStatus};
pub use receiver::{Letter, Target};
