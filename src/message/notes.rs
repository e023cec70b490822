//! What is kept of a message for the journal and its events, beyond the envelope.

/// Characters of the Subject that are kept.
pub const MAX_SUBJECT: usize = 200;

/// What the journal shows of a message. Every text in it is free of control characters and cut to a bound.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Notes {
    /// The decoded Subject, cut to 200 characters.
    pub subject: Option<String>,
    /// `X-Waystation-Tag`.
    pub tag: Option<String>,
    /// `X-Waystation-Meta-NAME`, name and value, in the order given.
    pub meta: Vec<(String, String)>,
    /// What `[[rewrite]]` changed, in words. Not kept in the content files.
    pub rewritten: Vec<String>,
    /// The fields that aren't kept as they came, by name, as they came: routes judge by these. In the content files alone.
    pub came: Vec<(Vec<u8>, Vec<u8>)>,
}
