//! The configuration file: found, read, checked, complained about.

pub mod schema;
