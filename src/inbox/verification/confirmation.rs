//! How a confirmation goes: fetch the page, post its form, look whether the question is gone. Pure: the caller fetches.
//!
//! A GET alone confirms nothing: its `200` is the page that asks. Promises: no address is asked for but a [`Link`]; the
//! form is posted twice at most; whatever is unclear ends with [`Step::ActionNeeded`], never with a false success.

use super::link::Link;
use super::page;
use std::time::Duration;

/// Redirects followed in one fetch.
const MAX_REDIRECTS: u8 = 3;
/// Octets of a page that are looked at; the caller need not read more.
pub const MAX_PAGE: usize = 256 * 1024;
/// How long one request may take.
pub const PATIENCE: Duration = Duration::from_secs(10);
/// Waits after a failure of the network or the server.
const WAITS: [Duration; 5] = [
    Duration::from_secs(5),
    Duration::from_secs(30),
    Duration::from_mins(2),
    Duration::from_mins(10),
    Duration::from_hours(1),
];

/// What came back. No cookies are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen<'a> {
    /// An answer that is no redirect: its status and the first [`MAX_PAGE`] octets.
    Page(u16, &'a [u8]),
    /// A redirect: its Location.
    Redirect(&'a str),
    /// Nothing: no connection, no TLS, no end within [`PATIENCE`].
    Nothing,
}

/// What to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub enum Step {
    /// GET this; don't follow redirects.
    Get(Link),
    /// POST this body (`application/x-www-form-urlencoded`); don't follow redirects.
    Post(Link, String),
    /// Wait, then call [`Confirmation::resume`].
    Wait(Duration),
    /// It is confirmed.
    Confirmed,
    /// A human must.
    ActionNeeded(Why),
}

/// Why a confirmation didn't come about by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum Why {
    /// The page has no form: used already, or too old.
    #[error("the link has expired or was used already; switch forwarding on again")]
    Expired,
    /// The page isn't as it was known.
    #[error("the page asks something else than before; open the link by hand")]
    PageChanged,
    /// It led somewhere else.
    #[error("the link leads away from Google's confirmation page, so it isn't followed; open it by hand")]
    LeadsAway,
    /// The network, for more than an hour.
    #[error("Google's page could not be reached; open the link by hand")]
    Unreachable,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Stage {
    Asking,
    Posted,
}

/// A confirmation on its way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Confirmation {
    start: Link,
    /// What is being fetched.
    at: Link,
    stage: Stage,
    redirects: u8,
    posts: u8,
    failures: usize,
}

impl Confirmation {
    /// Begins one, with what to fetch first.
    pub fn start(link: Link) -> (Self, Step) {
        let step = Step::Get(link.clone());
        let at = link.clone();
        (Self { start: link, at, stage: Stage::Asking, redirects: 0, posts: 0, failures: 0 }, step)
    }

    /// One that failed so often before the daemon was started anew, with what to fetch first.
    pub fn again(link: Link, failures: u32) -> (Self, Step) {
        let (begun, step) = Self::start(link);
        (Self { failures: usize::try_from(failures).unwrap_or(usize::MAX), ..begun }, step)
    }

    /// How often the page couldn't be reached.
    #[must_use]
    pub fn failures(&self) -> u32 {
        u32::try_from(self.failures).unwrap_or(u32::MAX)
    }

    /// After a wait: from the beginning, because the form may have been taken.
    pub fn resume(&mut self) -> Step {
        self.at = self.start.clone();
        self.redirects = 0;
        // Whether a form that got no answer was taken can't be seen: a page without one may as well have expired.
        self.stage = Stage::Asking;
        Step::Get(self.at.clone())
    }

    /// What came back, and what to do next.
    pub fn next(&mut self, seen: Seen<'_>) -> Step {
        match seen {
            Seen::Nothing | Seen::Page(429 | 500.., _) => self.failed(),
            Seen::Redirect(location) => self.redirected(location),
            Seen::Page(200..=299, page) => self.page(page),
            Seen::Page(..) => Step::ActionNeeded(Why::Expired),
        }
    }

    fn failed(&mut self) -> Step {
        let wait = WAITS.get(self.failures);
        self.failures = self.failures.saturating_add(1);
        wait.map_or(Step::ActionNeeded(Why::Unreachable), |wait| Step::Wait(*wait))
    }

    fn redirected(&mut self, location: &str) -> Step {
        self.redirects += 1;
        let target = self.at.join(location).filter(|_| self.redirects <= MAX_REDIRECTS);
        match target {
            Some(target) => {
                self.at = target;
                Step::Get(self.at.clone())
            }
            None => Step::ActionNeeded(Why::LeadsAway),
        }
    }

    fn page(&mut self, page: &[u8]) -> Step {
        let page = page.get(..page.len().min(MAX_PAGE)).unwrap_or_default();
        let page = String::from_utf8_lossy(page);
        let forms = page::forms(&page);
        let form = match (forms.as_slice(), &self.stage) {
            ([], Stage::Posted) => return Step::Confirmed,
            ([], Stage::Asking) => return Step::ActionNeeded(Why::Expired),
            ([form], _) if form.is_post && !form.has_visible_field => form,
            _ => return Step::ActionNeeded(Why::PageChanged),
        };
        if self.posts >= 2 {
            return Step::ActionNeeded(Why::PageChanged);
        }
        let Some(target) = self.at.join(&form.action) else { return Step::ActionNeeded(Why::LeadsAway) };
        self.posts += 1;
        self.stage = Stage::Posted;
        self.redirects = 0;
        self.at = target;
        Step::Post(self.at.clone(), form.body())
    }
}
