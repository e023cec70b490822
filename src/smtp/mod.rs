//! The protocol, pure: bytes and values in, decisions out. No socket, clock, file or log.
//!
//! Reading order: addresses and replies are the vocabulary; command, data, chunk, extension and sasl are the
//! grammar of each direction; [`server`] and [`client`] are the two sans-IO machines that speak it.

pub mod address;
pub mod reply;
pub mod replies;
pub mod extension;
pub mod command;
pub mod data;
pub mod chunk;
pub mod sasl;
pub mod server;
pub mod capabilities;
pub mod data_out;
pub mod sasl_client;
pub mod client;
