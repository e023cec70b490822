//! How mail comes in: listeners, sessions, and who may do what.

pub mod access;
pub mod credentials;
pub mod proxy;
pub mod steering;
pub mod decision;
mod incoming;
pub mod session;
pub mod listener;
pub mod local;
