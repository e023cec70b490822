//! What forwarded mail means: pure but for verification.

pub mod answer;
