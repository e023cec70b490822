//! waystation: a local SMTP relay that keeps its word.
//!
//! # The map: a message's way
//!
//! ```text
//!  client ─► intake/listener ─► intake/session ⇄ smtp/server           each reply decided purely
//!                                  │ access      may this client do this?
//!                                  ▼
//!            message/rewrite ─► message/trace ─► deliver/route         by rules; which lane, which class
//!                                  ▼
//!            queue (keep) ─► writer: content synced, rows committed    only now a Receipt, only a Receipt makes "250"
//!                                  ▼
//!            queue/lane      due, connection free
//!                 │ quota      may it go now? limits: the rules; ledger: what was sent; starts: claimed on disk first
//!                 │ deliver/fallback   down or out of quota: another smarthost
//!                 ├─► deliver/relay ⇄ smtp/client ──────────────► smarthost    message/rewrite for this one
//!                 └─► deliver/interpreter ─► inbox             forwarded mail: whose, which words, what event
//!                                  ▼
//!            deliver/verdict ─► queue (settle)    delivered · schedule: later · message/bounce · journal
//!                                  ▼
//!            queue/outbox    events, kept in the same transaction ─► deliver/webhook ─► your service
//! ```
//!
//! # The rooms, in reading order
//!
//! | room | what it decides | may use |
//! |---|---|---|
//! | [`smtp`] | the protocol, both sides; pure | nothing of ours |
//! | [`message`] | the mail object; pure | `smtp` |
//! | [`config`] | the file: parsed, checked, complained about | `smtp`, `message`, what is pure in `net` |
//! | [`queue`] | how mail is kept | `smtp`, `message` |
//! | [`net`] | bounded streams, TLS, names | `smtp` |
//! | [`intake`] | how mail comes in | all of the above |
//! | [`inbox`] | what forwarded mail means; pure but for DNS in `authentication` | `smtp`, `message`, settings of `config`, names of `queue` |
//! | [`deliver`] | how mail leaves | all of the above but `intake` |
//! | [`admin`] | the control socket | all of the above |
//! | [`alert`] | who is told when an admin must act | `config`, `net`, `deliver::webhook` |
//! | [`explain`] | what would become of a message, by asking those who decide; pure | everything that is pure |
//! | [`daemon`] | the only wiring | everything |
//! | [`cli`] | one file per command | everything |
//!
//! # Invariants
//!
//! 1. Pure rooms never wait: no clock, socket, file, log or randomness in them; time is an argument.
//! 2. Fields and bodies that no rule touches leave byte for byte.
//! 3. A positive reply to data needs a [`queue::Receipt`], and only a finished commit makes one.
//! 4. Every accepted recipient ends in exactly one of delivered, bounced, expired, or dropped by an operator.
//! 5. Secrets have no `Display`, no `Serialize`, and a `Debug` that shows nothing.
//! 6. `unsafe` is forbidden.
//! 7. No static but constants.

pub mod smtp;
pub mod message;
pub mod config;
pub mod queue;
pub mod net;
pub mod intake;
pub mod inbox;
pub mod deliver;
pub mod admin;
pub mod events;
pub mod log;
pub mod clock;
pub mod state_file;
pub mod alert;
pub mod explain;
pub mod daemon;
pub mod cli;
