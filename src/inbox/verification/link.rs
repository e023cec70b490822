//! The one link that may be fetched: Gmail's, pinned by scheme, host and path. Never logged: whoever has it can confirm.

/// Hosts of Gmail's confirmation pages.
pub const HOSTS: [&str; 2] = ["mail-settings.google.com", "mail.google.com"];
/// How the path of a confirmation begins. That of a cancellation is `/mail/uf-`.
pub const PATH: &str = "/mail/vf-";
/// Octets in a link.
const MAX_LINK: usize = 4096;

/// A confirmation link that passed every check. Its token shows neither in `Debug` nor in an error.
#[derive(Clone, PartialEq, Eq)]
pub struct Link(String);

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Link(https://{}{PATH}…)", self.host())
    }
}

impl Link {
    /// Checks a link: `https`, one of [`HOSTS`] without port or user, a path below [`PATH`] with nothing in it that
    /// another reader could take for a way out.
    #[must_use]
    pub fn parse(url: &str) -> Option<Self> {
        let (scheme, rest) = url.split_once("://")?;
        let (authority, path) = rest.split_at_checked(rest.find('/')?)?;
        let host = HOSTS.iter().find(|host| authority.eq_ignore_ascii_case(host))?;
        let sound = |c: u8| c.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@/%?[]".contains(&c);
        let lower = path.to_ascii_lowercase();
        let leads_out = ["..", "//", "%2e", "%2f", "%5c", "/uf-"].iter().any(|trick| lower.contains(trick));
        let is_right = scheme.eq_ignore_ascii_case("https")
            && url.len() <= MAX_LINK
            && path.starts_with(PATH)
            && path.len() > PATH.len()
            && path.bytes().all(sound)
            && !leads_out;
        is_right.then(|| Self(format!("https://{host}{path}")))
    }

    /// Where a redirect or a form leads: whole, or relative to this link.
    #[must_use]
    pub fn join(&self, reference: &str) -> Option<Self> {
        let reference = reference.trim();
        if reference.is_empty() {
            return Some(self.clone());
        }
        if reference.starts_with('/') && !reference.starts_with("//") {
            return Self::parse(&format!("https://{}{reference}", self.host()));
        }
        Self::parse(reference)
    }

    /// The host to connect to, with TLS on port 443.
    #[must_use]
    pub fn host(&self) -> &str {
        self.0.strip_prefix("https://").and_then(|rest| rest.split('/').next()).unwrap_or_default()
    }

    /// The whole link, for the request alone.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

/// Everything in a text that begins like a web link, up to where a link can't go on.
pub fn urls(text: &str) -> impl Iterator<Item = String> {
    let ends =
        |c: char| c.is_whitespace() || c.is_control() || matches!(c, '"' | '<' | '>' | '\'' | '`' | '\\');
    let starts = text.match_indices("http").filter_map(|(at, _)| text.get(at..));
    let links = starts.filter(|rest| rest.starts_with("https://") || rest.starts_with("http://"));
    links.take(500).map(move |rest| {
        let end = rest.find(ends).unwrap_or(rest.len()).min(rest.floor_char_boundary(MAX_LINK));
        let link = rest.get(..end).unwrap_or_default();
        link.trim_end_matches(['.', ',', ';', ')', '、', '。', '）']).replace("&amp;", "&")
    })
}
