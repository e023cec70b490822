//! SPF, DKIM, DMARC and ARC of the hop that reached us, as data (RFC 7208, RFC 6376, RFC 9989, RFC 8617).
//!
//! The one file that knows mail-auth. A result is never a reason to refuse: forwarding breaks SPF, and often more.
//! Promises: any message gives an [`Authentication`] within [`LIMIT`]; no more than [`MAX_SIGNATURES`] signatures and
//! [`MAX_SEALS`] ARC sets cost a look-up; what DNS doesn't answer is `temperror`, never an error of ours, and what hasn't
//! answered lately isn't waited for (`unanswered`). A parser that panics gives `permerror`.

mod unanswered;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{ResolverConfig, ResolverOpts};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::rr::{Name, RData};
use mail_auth::dkim::Canonicalization;
use mail_auth::dmarc::Policy;
use mail_auth::dmarc::verify::DmarcParameters;
use mail_auth::spf::verify::SpfParameters;
use mail_auth::{
    ArcOutput, AuthenticatedMessage, DkimOutput, DkimResult, DmarcResult, Error, MessageAuthenticator,
    Parameters, ResolverCache, SpfOutput, SpfResult, Txt,
};
use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, timeout};
use unanswered::{Asking, Unanswered};

/// DKIM signatures that are verified; the topmost ones.
pub const MAX_SIGNATURES: usize = 10;
/// ARC sets that are verified; a longer chain fails.
pub const MAX_SEALS: usize = 10;
/// Octets of a header section beyond which nothing of a message is verified.
const MAX_HEADER: usize = 256 * 1024;
/// Names that a signature may cover. mail-auth 0.13.3 compares each with all those before it.
const MAX_NAMES: usize = 500;
/// Names that a signature covers, times the fields there are: mail-auth 0.13.3 looks for each among all.
const MAX_COMPARED: usize = 200_000;
/// Octets of a message that is checked where it is read. To hash a larger one takes long enough to be in the way.
const SMALL: usize = 64 * 1024;
/// Larger messages that are checked at once.
const LARGE_ONES: usize = 8;
/// Messages that ask DNS at once, of all inboxes: a small resolver forwards 150 questions at a time and refuses the rest.
const ASKING: usize = 32;
/// What isn't done by then makes room for others …
const SWIFT: Duration = Duration::from_millis(700);
/// … and goes on as one of so many: each may have some sockets open.
const WAITING: usize = 48;
/// The envelope's domain is asked first, and for so long alone: mostly it has answered by then.
const HEAD_START: Duration = Duration::from_millis(300);
/// One message, all its look-ups together.
pub const LIMIT: Duration = Duration::from_secs(20);

/// The look-up of the author's policy, behind all others.
const LAST: Duration = Duration::from_millis(500);
/// The look-up of Google's own hosts, which has a time of its own.
const GOOGLES: Duration = Duration::from_secs(3);
/// The look-up of a name that we chose.
const OWN: Duration = Duration::from_secs(2);

/// What stands in the reverse-path that Google writes for an account that forwards.
const FORWARDED: &str = "+caf_=";
/// Its SPF names the hosts that send for every account of Google's.
const GMAIL: &str = "gmail.com";

/// A result, in the words of RFC 8601 §2.7.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize, Default)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// It holds.
    Pass,
    /// It doesn't.
    Fail,
    /// It probably doesn't (SPF only).
    Softfail,
    /// Nothing can be said.
    Neutral,
    /// There is nothing to check, or it wasn't checked.
    #[default]
    None,
    /// DNS didn't answer.
    Temperror,
    /// A record or signature is malformed.
    Permerror,
}

/// Everything that authentication says. Names and order are those of the event.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub struct Authentication {
    /// Whether the client may send for the envelope's domain.
    pub spf: Spf,
    /// One for each signature that was looked at.
    pub dkim: Vec<Dkim>,
    /// Whether SPF or DKIM speak for the author's domain.
    pub dmarc: Dmarc,
    /// What forwarders on the way saw.
    pub arc: Arc,
    /// Whether the client is a host of Google's; asked only when the envelope says so and SPF says nothing. Not in
    /// events.
    #[serde(skip_serializing, default)]
    pub google: Verdict,
}

/// SPF.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub struct Spf {
    /// The result.
    pub result: Verdict,
    /// The domain it is about: the envelope's, or the EHLO name for a null sender.
    pub domain: Option<String>,
}

/// One DKIM signature.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Dkim {
    /// The result.
    pub result: Verdict,
    /// Whose signature it is.
    pub domain: Option<String>,
    /// With which key.
    pub selector: Option<String>,
}

/// DMARC.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Dmarc {
    /// The result.
    pub result: Verdict,
    /// What the author's domain asks for: `none`, `quarantine` or `reject`.
    pub policy: Option<String>,
}

impl Default for Dmarc {
    /// As of a domain that says nothing of DMARC.
    fn default() -> Self {
        Self { result: Verdict::default(), policy: policy(Policy::None) }
    }
}

/// ARC.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub struct Arc {
    /// The result of the whole chain.
    pub result: Verdict,
    /// The domain that sealed last; not in events.
    #[serde(skip_serializing, default)]
    pub sealer: Option<String>,
}

impl Authentication {
    /// Whether a DKIM signature of this very domain holds.
    #[must_use]
    pub fn is_signed_by(&self, domain: &str) -> bool {
        let by = |dkim: &Dkim| dkim.domain.as_deref().is_some_and(|own| own.eq_ignore_ascii_case(domain));
        self.dkim.iter().any(|dkim| dkim.result == Verdict::Pass && by(dkim))
    }

    /// Whether DNS kept something from being found out, so that asking again later may say more.
    #[must_use]
    pub fn is_incomplete(&self) -> bool {
        let all = [self.spf.result, self.dmarc.result, self.arc.result, self.google];
        all.into_iter().chain(self.dkim.iter().map(|dkim| dkim.result)).any(|one| one == Verdict::Temperror)
    }

    /// What would be known if DNS had said `verdict` wherever it said nothing.
    #[must_use]
    pub fn if_dns_said(&self, verdict: Verdict) -> Self {
        let mut told = self.clone();
        let dkim = told.dkim.iter_mut().map(|dkim| &mut dkim.result);
        let others = [&mut told.spf.result, &mut told.dmarc.result, &mut told.arc.result, &mut told.google];
        for result in others.into_iter().chain(dkim).filter(|result| **result == Verdict::Temperror) {
            *result = verdict;
        }
        told
    }

    /// What is known of a message that nobody looked at: nothing yet.
    #[must_use]
    pub fn unlooked(hop: &Hop<'_>) -> Self {
        let arc = Arc { result: Verdict::Temperror, sealer: None };
        let dmarc = Dmarc { result: Verdict::Temperror, policy: None };
        Self { dmarc, arc, ..Self::without_dns(None, hop) }
    }

    /// What a message says of itself, with `temperror` for all that DNS would have to be asked for.
    #[must_use]
    pub fn unasked(message: &[u8], hop: &Hop<'_>) -> Self {
        Self::without_dns(views(message).as_ref().map(|(whole, _)| whole), hop)
    }

    fn without_dns(message: Option<&AuthenticatedMessage<'_>>, hop: &Hop<'_>) -> Self {
        let asked = |is_asked| if is_asked { Verdict::Temperror } else { Verdict::None };
        let spf = Spf { result: asked(hop.client.is_some()), domain: spf_domain(hop) };
        let google = asked(hop.client.is_some() && asks_google(hop));
        let Some(message) = message else {
            let dmarc = Dmarc { result: Verdict::Permerror, policy: None };
            return Self { spf, dmarc, google, ..Self::default() };
        };
        let dkim = message.dkim_headers.iter().map(|signature| Dkim {
            result: Verdict::Temperror,
            domain: Some(signature.header.d.to_lowercase()),
            selector: Some(signature.header.s.clone()),
        });
        let arc = Arc { result: asked(!message.as_headers.is_empty()), sealer: sealer(message) };
        let dmarc = Dmarc { result: Verdict::Temperror, policy: None };
        Self { spf, dkim: dkim.collect(), dmarc, arc, google }
    }

    /// The domains whose DKIM signatures hold.
    pub fn signers(&self) -> impl Iterator<Item = &str> {
        let passes = self.dkim.iter().filter(|dkim| dkim.result == Verdict::Pass);
        passes.filter_map(|dkim| dkim.domain.as_deref())
    }
}

/// The hop that reached us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hop<'a> {
    /// The client's address; none skips SPF.
    pub client: Option<IpAddr>,
    /// Its EHLO name.
    pub helo: &'a str,
    /// The reverse-path without brackets; none is the null sender.
    pub sender: Option<&'a str>,
    /// Our own name.
    pub hostname: &'a str,
}

/// Why there is no authenticator: this machine's resolver configuration is no good.
#[derive(Debug, thiserror::Error)]
#[error("no DNS resolver: {0}; see that /etc/resolv.conf can be read and names a server")]
pub struct NoResolver(String);

/// Checks messages. Cheap to clone; DNS answers are cached below.
#[derive(Clone)]
pub struct Authenticator {
    checker: MessageAuthenticator,
    records: std::sync::Arc<Records>,
    unanswered: std::sync::Arc<Unanswered>,
    asking: std::sync::Arc<Semaphore>,
    waiting: std::sync::Arc<Semaphore>,
}

/// A place among the messages that ask DNS at once.
pub struct Place {
    asking: OwnedSemaphorePermit,
    waiting: std::sync::Arc<Semaphore>,
}

impl Place {
    /// Does this, and gives the place to another when it takes long and there is room among those that wait.
    async fn keep_for<T>(self, work: impl Future<Output = T>) -> T {
        let mut work = Box::pin(work);
        if let Ok(done) = timeout(SWIFT, &mut work).await {
            return done;
        }
        let _waiting = tokio::select! {
            biased;
            done = &mut work => return done,
            waiting = self.waiting.acquire_owned() => waiting,
        };
        drop(self.asking);
        work.await
    }
}

/// How long a check waits for DNS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Patience {
    /// So long at most, and hardly for domains that didn't answer lately.
    Short(Duration),
    /// So long at most, whatever didn't answer lately: what leans on it is asked for again.
    Full(Duration),
}

impl Authenticator {
    /// With the system's own resolvers (`/etc/resolv.conf`).
    ///
    /// # Errors
    /// When that can't be read.
    pub fn system() -> Result<Self, NoResolver> {
        let checker =
            MessageAuthenticator::new_system_conf().map_err(|error| NoResolver(error.to_string()))?;
        Ok(Self::with(checker))
    }

    /// Without DNS: everything that needs a look-up is `temperror`.
    ///
    /// # Errors
    /// When the resolver can't be built at all.
    pub fn offline() -> Result<Self, NoResolver> {
        let (config, mut options) = (ResolverConfig::default(), ResolverOpts::default());
        options.attempts = 0;
        let resolver = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
            .with_options(options)
            .build()
            .map_err(|error| NoResolver(error.to_string()))?;
        Ok(Self::with(MessageAuthenticator(resolver)))
    }

    fn with(checker: MessageAuthenticator) -> Self {
        let places = |most| std::sync::Arc::new(Semaphore::new(most));
        Self {
            checker,
            records: std::sync::Arc::default(),
            unanswered: std::sync::Arc::default(),
            asking: places(ASKING),
            waiting: places(WAITING),
        }
    }

    /// Waits for a place to ask from. None only if the places were closed, which nobody does.
    pub async fn place(&self) -> Option<Place> {
        let asking = std::sync::Arc::clone(&self.asking).acquire_owned().await.ok()?;
        Some(Place { asking, waiting: std::sync::Arc::clone(&self.waiting) })
    }

    /// Checks a message. What isn't known by the end of its patience, [`LIMIT`] at most, is `temperror`, and nothing else is
    /// for that: the sender chooses whose DNS is asked for signatures, and mustn't hide by that what the envelope's or the
    /// author's says.
    pub async fn check(
        &self,
        place: Place,
        message: &[u8],
        hop: &Hop<'_>,
        patience: Patience,
    ) -> Authentication {
        let (limit, is_patient) = match patience {
            Patience::Short(limit) => (limit, false),
            Patience::Full(limit) => (limit, true),
        };
        let until = Instant::now() + limit.min(LIMIT.saturating_sub(LAST));
        let asking = || Asking::new(&self.records, &self.unanswered, hop.client, is_patient);
        let asking = [asking(), asking(), asking(), asking()];
        let checked = Box::pin(place.keep_for(self.check_asking(&asking, message, hop, until))).await;
        if checked.is_incomplete() {
            asking.iter().for_each(Asking::failed);
        }
        checked
    }

    async fn check_asking(
        &self,
        [for_spf, for_dkim, for_arc, for_dmarc]: &[Asking<'_>; 4],
        message: &[u8],
        hop: &Hop<'_>,
        until: Instant,
    ) -> Authentication {
        let Some((whole, cut)) = views(message) else {
            let (spf, google) = self.envelope(for_spf, hop, until).await;
            return Authentication {
                spf: shown(&spf, hop),
                google,
                ..Authentication::without_dns(None, hop)
            };
        };
        let (is_done, done) = oneshot::channel::<()>();
        let envelope = async {
            let _is_done = is_done;
            self.envelope(for_spf, hop, until).await
        };
        let signatures = async {
            let _ = timeout(HEAD_START, done).await;
            tokio::join!(
                for_dkim.within(until, self.dkim(for_dkim, &whole, cut.as_ref())),
                for_arc.within(until, self.arc(for_arc, &whole, cut.as_ref())),
            )
        };
        let ((spf, google), (dkim, arc)) = tokio::join!(envelope, signatures);
        let dkim = dkim.unwrap_or_else(|| unanswered_signatures(&whole));
        let dmarc = for_dmarc.within(until + LAST, self.dmarc(for_dmarc, &whole, &dkim, &spf, hop)).await;
        let late = Authentication::without_dns(Some(&whole), hop);
        Authentication {
            spf: shown(&spf, hop),
            dkim: dkim.iter().take(MAX_SIGNATURES).map(told).collect(),
            dmarc: dmarc.unwrap_or(late.dmarc),
            arc: arc.unwrap_or(late.arc),
            google,
        }
    }

    /// SPF, and what Google says of the client where that settles nothing.
    async fn envelope(&self, asking: &Asking<'_>, hop: &Hop<'_>, until: Instant) -> (SpfOutput, Verdict) {
        let late = || SpfOutput::new(spf_domain(hop).unwrap_or_default()).with_result(SpfResult::TempError);
        let spf = asking.within(until, self.spf(asking, hop)).await.unwrap_or_else(late);
        if matches!(spf.result(), SpfResult::Pass | SpfResult::Fail | SpfResult::SoftFail) {
            return (spf, Verdict::None);
        }
        // Whose names SPF asked for so long the sender may choose (`ptr`, RFC 7208 §5.5); Google's own he doesn't.
        let asked = asking.within(Instant::now() + GOOGLES, self.google(asking, hop)).await;
        (spf, asked.unwrap_or(Verdict::Temperror))
    }

    /// Whether DNS says anything of a name, be it that there is no such name. Nobody's cache must know it.
    pub async fn is_answered(&self, name: &str) -> bool {
        // What isn't a name can't be asked for, which shows nothing.
        let Ok(name) = Name::from_str_relaxed(format!("{}.", name.trim_end_matches('.'))) else {
            return true;
        };
        match timeout(OWN, self.checker.resolver().txt_lookup(name)).await {
            Ok(Ok(_) | Err(NetError::Dns(DnsError::NoRecordsFound(_)))) => true,
            Ok(Err(_)) | Err(_) => false,
        }
    }

    async fn dmarc<'m>(
        &'m self,
        asking: &'m Asking<'m>,
        whole: &'m AuthenticatedMessage<'m>,
        dkim: &[DkimOutput<'m>],
        spf: &SpfOutput,
        hop: &Hop<'_>,
    ) -> Dmarc {
        let sender =
            hop.sender.and_then(|sender| sender.rsplit_once('@')).map_or(hop.helo, |(_, domain)| domain);
        let parameters = Parameters::new(DmarcParameters::new(whole, dkim, sender, spf));
        let dmarc =
            self.checker.verify_dmarc(parameters.with_txt_cache(asking).with_ipv4_cache(asking)).await;
        let result = dmarc_verdict(&dmarc.result());
        // Where none was read, mail-auth calls it "none", as if the author had said so.
        let is_unread = result == Verdict::Temperror && dmarc.dmarc_record().is_none();
        Dmarc { result, policy: policy(dmarc.policy()).filter(|_| !is_unread) }
    }

    /// Whether Google names the client as one of its own hosts, of an envelope such as Google writes: the domain of an
    /// account that forwards need not name them.
    async fn google(&self, asking: &Asking<'_>, hop: &Hop<'_>) -> Verdict {
        if !asks_google(hop) {
            return Verdict::None;
        }
        let sender = format!("postmaster@{GMAIL}");
        let found = self.spf(asking, &Hop { sender: Some(&sender), ..*hop }).await;
        spf_verdict(found.result())
    }

    async fn spf(&self, asking: &Asking<'_>, hop: &Hop<'_>) -> SpfOutput {
        let Some(client) = hop.client else {
            return SpfOutput::new(String::new()).with_result(SpfResult::None);
        };
        let parameters = match hop.sender {
            Some(sender) => SpfParameters::verify_mail_from(client, hop.helo, hop.hostname, sender),
            None => SpfParameters::verify_ehlo(client, hop.helo, hop.hostname),
        };
        let parameters = Parameters::new(parameters).with_txt_cache(asking).with_mx_cache(asking);
        let parameters = parameters.with_ipv4_cache(asking).with_ipv6_cache(asking).with_ptr_cache(asking);
        let output = self.checker.verify_spf(parameters).await;
        match (output.result(), spf_domain(hop)) {
            (SpfResult::None | SpfResult::TempError | SpfResult::PermError, _) | (_, None) => output,
            (_, Some(domain)) if self.has_many_policies(asking, &domain).await => {
                SpfOutput::new(domain).with_result(SpfResult::PermError)
            }
            _ => output,
        }
    }

    /// Whether a domain has more than one SPF record, of which mail-auth 0.13.3 takes the first (RFC 7208 §4.5). What was
    /// looked up for that is cached; what can't be looked up again changes nothing.
    async fn has_many_policies(&self, asking: &Asking<'_>, domain: &str) -> bool {
        let Ok(name) = Name::from_str_relaxed(format!("{}.", domain.trim_end_matches('.'))) else {
            return false;
        };
        asking.asks(domain);
        let Ok(found) = self.checker.resolver().txt_lookup(name).await else { return false };
        let policies = found.answers().iter().filter(|record| match &record.data {
            RData::TXT(text) => is_policy(&text.txt_data.concat()),
            _ => false,
        });
        policies.count() > 1
    }

    /// Each signature with the view that its body canonicalisation needs.
    async fn dkim<'m>(
        &'m self,
        asking: &'m Asking<'m>,
        whole: &'m AuthenticatedMessage<'m>,
        cut: Option<&'m AuthenticatedMessage<'m>>,
    ) -> Vec<DkimOutput<'m>> {
        let outputs = self.checker.verify_dkim(Parameters::new(whole).with_txt_cache(asking)).await;
        let Some(cut) = cut else { return outputs };
        let others = self.checker.verify_dkim(Parameters::new(cut).with_txt_cache(asking)).await;
        let relaxed = |output: &DkimOutput<'_>| {
            output.signature().is_some_and(|signature| signature.cb == Canonicalization::Relaxed)
        };
        let pairs = outputs.into_iter().zip(others);
        pairs.map(|(output, other)| if relaxed(&output) { other } else { output }).collect()
    }

    async fn arc<'m>(
        &'m self,
        asking: &'m Asking<'m>,
        whole: &'m AuthenticatedMessage<'m>,
        cut: Option<&'m AuthenticatedMessage<'m>>,
    ) -> Arc {
        let sealer = sealer(whole);
        let is_costly = whole.ams_headers.iter().any(|one| !is_affordable(&one.header.h, whole));
        if whole.as_headers.len().max(whole.ams_headers.len()) > MAX_SEALS || is_costly {
            return Arc { result: Verdict::Fail, sealer };
        }
        // Only the newest message signature covers the body as it is now.
        let relaxed =
            whole.ams_headers.last().is_some_and(|newest| newest.header.cb == Canonicalization::Relaxed);
        let view = cut.filter(|_| relaxed).unwrap_or(whole);
        let output: ArcOutput<'_> =
            self.checker.verify_arc(Parameters::new(view).with_txt_cache(asking)).await;
        Arc { result: dkim_verdict(output.result()), sealer }
    }
}

/// Checks a message of this many octets where that is in nobody's way: mail-auth hashes a large body without a pause.
/// None when it isn't done within [`LIMIT`].
pub async fn aside<T: Send + 'static>(
    octets: usize,
    checking: impl Future<Output = T> + Send + 'static,
) -> Option<T> {
    if octets <= SMALL {
        return Some(checking.await);
    }
    timeout(LIMIT, beside(Box::pin(checking))).await.ok().flatten()
}

/// Does it on other threads, few at once. Each step between two waits has a place of its own, so that whoever waits takes
/// nobody's. None when it panics.
async fn beside<T: Send + 'static>(mut work: Pin<Box<dyn Future<Output = T> + Send>>) -> Option<T> {
    static PLACES: Semaphore = Semaphore::const_new(LARGE_ONES);
    let woken = std::sync::Arc::new(Woken::default());
    loop {
        let place = PLACES.acquire().await.ok()?;
        let waker = Waker::from(std::sync::Arc::clone(&woken));
        let step = spawn_blocking(move || {
            // Kept to the end of the step, also when nobody waits for it any more.
            let _place = place;
            let polled = work.as_mut().poll(&mut Context::from_waker(&waker));
            (work, polled)
        });
        let polled;
        (work, polled) = step.await.ok()?;
        match polled {
            Poll::Ready(done) => return Some(done),
            Poll::Pending => woken.0.notified().await,
        }
    }
}

/// Wakes who waits for the next step.
#[derive(Default)]
struct Woken(Notify);

impl Wake for Woken {
    fn wake(self: std::sync::Arc<Self>) {
        self.0.notify_one();
    }
}

/// The message as the verifier must see it, and a second view for relaxed bodies that end in lines of white space:
/// mail-auth 0.13.3 keeps those lines where RFC 6376 §3.4.4 drops them. Signatures that would cost too much are left
/// out. None when it can't be parsed.
fn views(message: &[u8]) -> Option<(AuthenticatedMessage<'_>, Option<AuthenticatedMessage<'_>>)> {
    if header_length(message) > MAX_HEADER {
        return None;
    }
    let parse = |octets| {
        let parsed = catch_unwind(AssertUnwindSafe(|| AuthenticatedMessage::parse(octets))).ok().flatten();
        parsed.map(|mut parsed| {
            let mut signatures = std::mem::take(&mut parsed.dkim_headers);
            signatures.retain(|one| is_affordable(&one.header.h, &parsed));
            signatures.truncate(MAX_SIGNATURES);
            parsed.dkim_headers = signatures;
            parsed.errors.truncate(MAX_SIGNATURES);
            parsed
        })
    };
    let whole = parse(message)?;
    let body = usize::try_from(whole.body_offset).ok()?;
    let end = without_blank_end(message, body);
    let cut = if end < message.len() { message.get(..end).and_then(parse) } else { None };
    Some((whole, cut))
}

/// Octets in front of the empty line.
fn header_length(message: &[u8]) -> usize {
    memchr::memmem::find(message, b"\r\n\r\n").unwrap_or(message.len())
}

/// Whether a signature that covers these names can be verified in little time: who signs chooses them.
fn is_affordable(names: &[String], message: &AuthenticatedMessage<'_>) -> bool {
    names.len() <= MAX_NAMES && names.len().saturating_mul(message.headers.len()) <= MAX_COMPARED
}

/// Where the body ends when lines of nothing but spaces and tabs are taken off its end.
fn without_blank_end(message: &[u8], body: usize) -> usize {
    let mut end = message.len();
    while end > body {
        let text = message.get(body..end).unwrap_or_default();
        let line = text.strip_suffix(b"\r\n").unwrap_or(text);
        let start = memchr::memrchr(b'\n', line).map_or(0, |found| found + 1);
        let blank =
            line.get(start..).is_some_and(|line| line.iter().all(|octet| matches!(octet, b' ' | b'\t')));
        if !blank {
            break;
        }
        end = body + start;
    }
    end
}

fn shown(spf: &SpfOutput, hop: &Hop<'_>) -> Spf {
    Spf { result: spf_verdict(spf.result()), domain: spf_domain(hop) }
}

/// What is known of signatures whose keys DNS keeps from us.
fn unanswered_signatures<'m>(message: &'m AuthenticatedMessage<'m>) -> Vec<DkimOutput<'m>> {
    let late = || Error::Dns(mail_auth::DnsError::Resolver(String::new()));
    let signatures = message.dkim_headers.iter().map(|signature| &signature.header);
    signatures.map(|signature| DkimOutput::temp_err(late()).with_signature(signature)).collect()
}

fn told(output: &DkimOutput<'_>) -> Dkim {
    Dkim {
        result: dkim_verdict(output.result()),
        domain: output.signature().map(|signature| signature.d.to_lowercase()),
        selector: output.signature().map(|signature| signature.s.clone()),
    }
}

fn sealer(message: &AuthenticatedMessage<'_>) -> Option<String> {
    message.as_headers.last().map(|seal| seal.header.d.to_lowercase())
}

/// Whether the envelope is one that Google writes for an account that forwards, of another domain than its own.
fn asks_google(hop: &Hop<'_>) -> bool {
    let sender = hop.sender.filter(|sender| sender.contains(FORWARDED));
    let domain = sender.and_then(|sender| sender.rsplit_once('@')).map(|(_, domain)| domain);
    domain.is_some_and(|domain| !domain.eq_ignore_ascii_case(GMAIL))
}

fn spf_domain(hop: &Hop<'_>) -> Option<String> {
    let domain =
        hop.sender.map_or(hop.helo, |sender| sender.rsplit_once('@').map_or(hop.helo, |(_, domain)| domain));
    (!domain.is_empty()).then(|| domain.to_lowercase())
}

/// Whether a TXT record is an SPF record: begins with the version and nothing longer (RFC 7208 §4.5).
fn is_policy(record: &[u8]) -> bool {
    const VERSION: &[u8] = b"v=spf1";
    record.split_at_checked(VERSION.len()).is_some_and(|(front, rest)| {
        front.eq_ignore_ascii_case(VERSION) && matches!(rest.first(), None | Some(b' '))
    })
}

fn spf_verdict(result: SpfResult) -> Verdict {
    match result {
        SpfResult::Pass => Verdict::Pass,
        SpfResult::Fail => Verdict::Fail,
        SpfResult::SoftFail => Verdict::Softfail,
        SpfResult::Neutral => Verdict::Neutral,
        SpfResult::TempError => Verdict::Temperror,
        SpfResult::PermError => Verdict::Permerror,
        SpfResult::None => Verdict::None,
    }
}

/// A signature that doesn't match is a `fail` (RFC 8601 §2.7.1); mail-auth calls some of those neutral.
fn dkim_verdict(result: &DkimResult) -> Verdict {
    use mail_auth::dkim::DkimError::{FailedBodyHashMatch, SignatureExpired};
    match result {
        DkimResult::Pass => Verdict::Pass,
        DkimResult::None => Verdict::None,
        DkimResult::TempError(_) => Verdict::Temperror,
        DkimResult::Neutral(Error::Dkim(FailedBodyHashMatch | SignatureExpired) | Error::Arc(_))
        | DkimResult::Fail(_) => Verdict::Fail,
        DkimResult::PermError(_) | DkimResult::Neutral(_) => Verdict::Permerror,
    }
}

fn dmarc_verdict(result: &DmarcResult) -> Verdict {
    match result {
        DmarcResult::Pass => Verdict::Pass,
        DmarcResult::Fail(_) => Verdict::Fail,
        DmarcResult::TempError(_) => Verdict::Temperror,
        DmarcResult::PermError(_) => Verdict::Permerror,
        DmarcResult::None => Verdict::None,
    }
}

fn policy(policy: Policy) -> Option<String> {
    let word = match policy {
        Policy::None => "none",
        Policy::Quarantine => "quarantine",
        Policy::Reject => "reject",
        Policy::Unspecified => return None,
    };
    Some(word.to_owned())
}

/// TXT records known beforehand. Empty outside tests: hickory caches what DNS says, negative answers included.
#[derive(Default)]
struct Records {
    known: HashMap<Box<str>, Txt>,
    /// Whether a name that isn't known doesn't exist, instead of being asked for.
    complete: bool,
}

impl ResolverCache<Box<str>, Txt> for Records {
    fn get<Q>(&self, name: &Q) -> Option<Txt>
    where
        Box<str>: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let missing = || {
            let code = hickory_resolver::proto::op::ResponseCode::NXDomain;
            Txt::Error(Error::Dns(mail_auth::DnsError::RecordNotFound(code)))
        };
        self.known.get(name).cloned().or_else(|| self.complete.then(missing))
    }

    fn remove<Q>(&self, _name: &Q) -> Option<Txt>
    where
        Box<str>: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        None
    }

    fn insert(&self, _name: Box<str>, _value: Txt, _valid_until: std::time::Instant) {}
}

#[cfg(test)]
mod tests;
