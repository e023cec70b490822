//! How mail leaves: which lane, over which connection, and what each outcome means.

pub mod route;
pub mod reroute;
pub mod connections;
pub mod relay;
pub mod trial;
pub mod outcome;
pub mod verdict;
pub mod providers;
pub mod lane_state;
