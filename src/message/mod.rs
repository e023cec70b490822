//! The mail object, pure: its envelope, its header section as raw fields, and what we write ourselves.

pub mod envelope;
pub mod notes;
pub mod fields;
pub mod decode;
pub mod attachments;
pub mod send_at;
pub mod trace;
pub mod rewrite;
pub mod convert;
pub mod lines;
pub mod bounce;
