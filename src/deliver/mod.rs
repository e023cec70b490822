//! How mail leaves: which lane, over which connection, and what each outcome means.

pub mod route;
pub mod interpreter;
pub mod reroute;
pub mod fallback;
pub mod guests;
pub mod target;
pub mod connections;
mod expiry;
pub mod relay;
pub mod outgoing;
pub mod sent;
pub mod token_keys;
pub mod trial;
pub mod outcome;
mod fates;
mod ageing;
mod notices;
pub mod verdict;
pub mod providers;
pub mod lane_state;
pub mod learned;
pub mod frozen;
pub mod announce;
pub mod webhook;
pub mod confirm;
