//! The words a human wrote: a stand-in that keeps the whole text, until the extraction proper stands here.

/// What somebody wrote, without what they quoted.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// Plain text.
    pub text: String,
    /// The same as HTML, where the message had HTML.
    pub html: Option<String>,
    /// The rule that cut; none when nothing was cut.
    pub cut_by: Option<String>,
    /// How sure that is, 0 to 1.
    pub confidence: f32,
    /// The signature that was taken off.
    pub signature: Option<String>,
}

/// Takes the answer out of a message's bodies. `known`: texts we sent in this conversation.
#[must_use]
pub fn extract(text: Option<&str>, html: Option<&str>, _known: &[&str]) -> Answer {
    let words = text.map(str::to_owned).or_else(|| html.map(super::mail::words_of_html));
    Answer {
        text: words.unwrap_or_default().trim().to_owned(),
        html: None,
        cut_by: None,
        confidence: 1.0,
        signature: None,
    }
}
