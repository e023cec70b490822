//! Are these credentials good? Argon2id hashes, answered in the same time for everybody (RFC 9106, RFC 4954 §9).
//!
//! Promises: an unknown user costs as much time as a known one with a wrong password; no more than two hashes are
//! computed at once, whoever asks; a login that was good is remembered for five minutes under a keyed hash, so that a
//! client with a connection per message doesn't pay each time, and forgotten when the hashes change. Who guesses is
//! slowed down: ten failures a minute for one user name from one address, fifty for an address with whatever names, so
//! that one program with an old password doesn't shut out its neighbours; an account is locked for nobody else. Passwords are compared as the octets that were
//! sent: the same characters in another Unicode form are another password.

use crate::config::schema::Application;
use argon2::{Argon2, PasswordHasher, PasswordVerifier};
use aws_lc_rs::{hmac, rand};
use jiff::{SignedDuration, Timestamp};
use parking_lot::{Mutex, RwLock};
use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;

/// Hashes computed at once: each takes 19 MiB and a core for some 20 ms.
const AT_ONCE: usize = 2;
/// How long a login waits for its turn.
const PATIENCE: Duration = Duration::from_secs(5);
const REMEMBERED_FOR: SignedDuration = SignedDuration::from_mins(5);
const MAX_REMEMBERED: usize = 1000;
/// Failures that one user name at one address has in hand, and how long it takes to get one back: ten a minute.
const BY_NAME: Allowance = Allowance { failures: 10, forgiven_after: SignedDuration::from_secs(6) };
/// The same for all user names at one address together: fifty a minute.
const BY_ADDRESS: Allowance = Allowance { failures: 50, forgiven_after: SignedDuration::from_millis(1200) };
const MAX_SUSPECTS: usize = 10_000;
/// Stands in for a hash where there is no application at all. No password is known for it.
const DECOY: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$d2F5c3RhdGlvbi1kZWNveQ$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// The applications' password hashes, and what is remembered of logins.
pub struct Credentials {
    accounts: RwLock<Arc<Accounts>>,
    memory: Mutex<Memory>,
    key: hmac::Key,
    turns: Semaphore,
}

/// What a login came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verified {
    /// Good.
    Good,
    /// Unknown user or wrong password: `535 5.7.8`.
    Bad,
    /// Not looked at: `454 4.7.0`.
    Later(Delay),
}

/// Why a login wasn't looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delay {
    /// This user name failed too often from this address.
    NameGuessed,
    /// Too many logins failed from this address.
    AddressGuesses,
    /// Too many others wait to be looked at.
    Busy,
}

impl Delay {
    /// What to write in the log.
    #[must_use]
    pub fn note(self) -> &'static str {
        match self {
            Self::NameGuessed => {
                "this user name failed too often from this address; one try is given back every 6 s"
            }
            Self::AddressGuesses => {
                "too many logins failed from this address; one try is given back every 1.2 s"
            }
            Self::Busy => "too many logins at once",
        }
    }
}

impl Credentials {
    /// Reads the hashes.
    #[must_use]
    pub fn new(applications: &BTreeMap<String, Application>) -> Self {
        let mut key = [0; 32];
        // Without randomness the key is a known one; it only ever stands between this process and its own memory.
        let _ = rand::fill(&mut key);
        Self {
            accounts: RwLock::new(Arc::new(Accounts::new(applications))),
            memory: Mutex::default(),
            key: hmac::Key::new(hmac::HMAC_SHA256, &key),
            turns: Semaphore::new(AT_ONCE),
        }
    }

    /// Takes new hashes; logins remembered under old ones are forgotten.
    pub fn replace(&self, applications: &BTreeMap<String, Application>) {
        *self.accounts.write() = Arc::new(Accounts::new(applications));
        self.memory.lock().remembered.clear();
    }

    /// Checks a login from `client` on the blocking pool, two at once. `now` is by a clock that nobody sets.
    pub async fn verify(
        self: &Arc<Self>,
        client: IpAddr,
        user: &str,
        password: &str,
        now: Timestamp,
    ) -> Verified {
        let accounts = Arc::clone(&self.accounts.read());
        let tag = self.tag(&accounts, user, password);
        if let Some(known) = self.memory.lock().answer(&tag, client, user, now) {
            return known;
        }
        let Ok(Ok(_turn)) = tokio::time::timeout(PATIENCE, self.turns.acquire()).await else {
            return Verified::Later(Delay::Busy);
        };
        // Those before us in the queue may have had the same login, as a pool that connects all at once does, or have
        // guessed too often.
        if let Some(known) = self.memory.lock().answer(&tag, client, user, now) {
            return known;
        }
        let (name, password) = (user.to_owned(), password.to_owned());
        let check = tokio::task::spawn_blocking(move || accounts.check(&name, &password));
        let Ok(good) = check.await else { return Verified::Later(Delay::Busy) };
        let mut memory = self.memory.lock();
        if good {
            memory.remember(tag, now);
            Verified::Good
        } else {
            memory.failed(client, user, now);
            Verified::Bad
        }
    }

    /// Names a login without telling its password: keyed, over user, password and the hashes it would be checked
    /// against, each with its length so that none runs into the next.
    fn tag(&self, accounts: &Accounts, user: &str, password: &str) -> Tag {
        let mut context = hmac::Context::with_key(&self.key);
        let hashes = accounts.hashes.get(user).map(Vec::as_slice).unwrap_or_default();
        for part in [user, password].into_iter().chain(hashes.iter().map(String::as_str)) {
            context.update(&part.len().to_be_bytes());
            context.update(part.as_bytes());
        }
        let mut tag = Tag::default();
        tag.iter_mut().zip(context.sign().as_ref()).for_each(|(to, from)| *to = *from);
        tag
    }
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Credentials")
    }
}

struct Accounts {
    hashes: BTreeMap<String, Vec<String>>,
    /// Checked where a real one is lacking; whatever comes of it counts as wrong.
    decoy: String,
    /// Hashes checked for each login: as many as any account has.
    each: usize,
}

impl Accounts {
    fn new(applications: &BTreeMap<String, Application>) -> Self {
        let hashes: BTreeMap<String, Vec<String>> = applications
            .iter()
            .map(|(name, application)| (name.clone(), application.password_hashes.clone()))
            .collect();
        // A real hash as decoy has the same cost as the real ones.
        let decoy = hashes.values().flatten().next().cloned().unwrap_or_else(|| DECOY.to_owned());
        let each = hashes.values().map(Vec::len).max().unwrap_or(0).max(1);
        Self { hashes, decoy, each }
    }

    /// Slow on purpose. Checks the same number of hashes for everybody, without an early end.
    fn check(&self, user: &str, password: &str) -> bool {
        let known = self.hashes.get(user).map(Vec::as_slice).unwrap_or_default();
        let mut good = false;
        for index in 0..self.each.max(known.len()) {
            let hash = known.get(index);
            let text = hash.unwrap_or(&self.decoy);
            let matches = Argon2::default().verify_password(password.as_bytes(), text.as_str()).is_ok();
            good |= matches && hash.is_some();
        }
        good
    }
}

type Tag = [u8; 32];

#[derive(Default)]
struct Memory {
    /// Good logins and when they are forgotten.
    remembered: HashMap<Tag, Timestamp>,
    /// Who failed: one user name at one address.
    names: Suspects<(IpAddr, Box<str>)>,
    /// Who failed: an address.
    addresses: Suspects<IpAddr>,
}

enum Recalled {
    Good,
    Slowed(Delay),
    Unknown,
}

impl Memory {
    /// The answer that needs no hash, if there is one.
    fn answer(&mut self, tag: &Tag, client: IpAddr, user: &str, now: Timestamp) -> Option<Verified> {
        match self.recall(tag, client, user, now) {
            Recalled::Good => Some(Verified::Good),
            Recalled::Slowed(delay) => Some(Verified::Later(delay)),
            Recalled::Unknown => None,
        }
    }

    /// A remembered login is good even where others at its address guess: they may share a host or a NAT.
    fn recall(&mut self, tag: &Tag, client: IpAddr, user: &str, now: Timestamp) -> Recalled {
        if let Some(until) = self.remembered.get_mut(tag).filter(|until| now < **until) {
            *until = later(now, REMEMBERED_FOR);
            return Recalled::Good;
        }
        let client = network(client);
        if self.names.is_slowed(&(client, user.into()), BY_NAME, now) {
            return Recalled::Slowed(Delay::NameGuessed);
        }
        if self.addresses.is_slowed(&client, BY_ADDRESS, now) {
            return Recalled::Slowed(Delay::AddressGuesses);
        }
        Recalled::Unknown
    }

    fn failed(&mut self, client: IpAddr, user: &str, now: Timestamp) {
        let client = network(client);
        self.names.failed((client, user.into()), BY_NAME, now);
        self.addresses.failed(client, BY_ADDRESS, now);
    }

    fn remember(&mut self, tag: Tag, now: Timestamp) {
        if self.remembered.len() >= MAX_REMEMBERED {
            self.remembered.retain(|_, until| now < *until);
        }
        if self.remembered.len() >= MAX_REMEMBERED {
            let oldest = self.remembered.iter().min_by_key(|(_, until)| **until).map(|(tag, _)| *tag);
            oldest.and_then(|oldest| self.remembered.remove(&oldest));
        }
        self.remembered.insert(tag, later(now, REMEMBERED_FOR));
    }
}

/// Failures that somebody has in hand.
#[derive(Debug, Clone, Copy)]
struct Allowance {
    failures: i32,
    /// How long until one of them is given back.
    forgiven_after: SignedDuration,
}

/// For each who failed, when the last failure will be forgiven.
struct Suspects<K>(HashMap<K, Timestamp>);

impl<K> Default for Suspects<K> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<K: Eq + Hash> Suspects<K> {
    fn is_slowed(&self, who: &K, allowance: Allowance, now: Timestamp) -> bool {
        let limit = later(now, allowance.forgiven_after * (allowance.failures - 1));
        self.0.get(who).is_some_and(|forgiven| *forgiven > limit)
    }

    fn failed(&mut self, who: K, allowance: Allowance, now: Timestamp) {
        if self.0.len() >= MAX_SUSPECTS {
            self.0.retain(|_, forgiven| now < *forgiven);
        }
        if self.0.len() >= MAX_SUSPECTS {
            self.0.clear();
        }
        let forgiven = self.0.entry(who).or_insert(now);
        *forgiven = later((*forgiven).max(now), allowance.forgiven_after);
    }
}

fn later(at: Timestamp, by: SignedDuration) -> Timestamp {
    at.checked_add(by).unwrap_or(Timestamp::MAX)
}

/// An IPv6 client has a whole /64 to guess from.
fn network(client: IpAddr) -> IpAddr {
    match client.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from(u128::from(address) & !u128::from(u64::MAX))),
    }
}

/// A PHC string for `[application.NAME] password_hash`: Argon2id, 19 MiB, 2 passes, 1 lane, as OWASP advises.
///
/// # Errors
///
/// When the system gives no randomness.
pub fn hash_password(password: &str) -> Result<String, HashError> {
    let hash = Argon2::default().hash_password(password.as_bytes()).map_err(|_| HashError)?;
    Ok(hash.to_string())
}

/// The system gave no randomness for a salt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no randomness for a salt")]
pub struct HashError;

#[cfg(test)]
mod tests {
    use super::*;
    use argon2::{Algorithm, Params, Version};

    /// Cheap, so that tests are fast.
    fn cheap(password: &str) -> String {
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, Params::new(8, 1, 1, None).unwrap());
        argon2.hash_password(password.as_bytes()).unwrap().to_string()
    }

    fn applications(all: &[(&str, &[&str])]) -> BTreeMap<String, Application> {
        all.iter()
            .map(|(name, passwords)| {
                let password_hashes = passwords.iter().map(|password| cheap(password)).collect();
                let application = Application { password_hashes, from: vec![], smarthost: None, class: None };
                ((*name).to_owned(), application)
            })
            .collect()
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_795_000_000 + seconds).unwrap()
    }

    fn client(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[tokio::test]
    async fn any_of_an_applications_passwords_is_good() {
        let credentials =
            Arc::new(Credentials::new(&applications(&[("shop", &["old", "new"]), ("cron", &["tick"])])));
        for (user, password, expected) in [
            ("shop", "old", Verified::Good),
            ("shop", "new", Verified::Good),
            ("shop", "tick", Verified::Bad),
            ("shop", "", Verified::Bad),
            ("cron", "tick", Verified::Good),
            ("Cron", "tick", Verified::Bad),
            ("nobody", "tick", Verified::Bad),
            ("nobody", "new", Verified::Bad),
            ("", "", Verified::Bad),
            ("shop\r\n\0", "old", Verified::Bad),
        ] {
            let verified = credentials.verify(client("192.0.2.1"), user, password, at(0)).await;
            assert_eq!(verified, expected, "{user:?} {password:?}");
        }
    }

    #[tokio::test]
    async fn nobody_gets_in_where_there_is_no_application() {
        let credentials = Arc::new(Credentials::new(&BTreeMap::new()));
        assert_eq!(credentials.verify(client("::1"), "a", "", at(0)).await, Verified::Bad);
    }

    #[tokio::test]
    async fn a_changed_hash_forgets_the_login() {
        let credentials = Arc::new(Credentials::new(&applications(&[("shop", &["old"])])));
        let verify = async |password| credentials.verify(client("::1"), "shop", password, at(0)).await;
        assert_eq!(verify("old").await, Verified::Good);
        credentials.replace(&applications(&[("shop", &["new"])]));
        assert_eq!(verify("old").await, Verified::Bad);
        assert_eq!(verify("new").await, Verified::Good);
        credentials.replace(&applications(&[]));
        assert_eq!(verify("new").await, Verified::Bad);
    }

    #[tokio::test]
    async fn who_guesses_is_slowed_down_and_others_at_the_address_are_not() {
        let credentials = Arc::new(Credentials::new(&applications(&[("shop", &["good"]), ("b", &["b"])])));
        let verify = async |from: &str, user, password, seconds| {
            credentials.verify(client(from), user, password, at(seconds)).await
        };
        let slowed = Verified::Later(Delay::NameGuessed);
        for _ in 0..10 {
            assert_eq!(verify("192.0.2.1", "shop", "bad", 0).await, Verified::Bad);
        }
        assert_eq!(verify("192.0.2.1", "shop", "bad", 0).await, slowed);
        assert_eq!(verify("::ffff:192.0.2.1", "shop", "good", 1).await, slowed, "the same address");
        assert_eq!(verify("192.0.2.1", "b", "b", 1).await, Verified::Good, "a neighbour's first login");
        assert_eq!(verify("192.0.2.2", "shop", "bad", 1).await, Verified::Bad, "another address");
        assert_eq!(verify("192.0.2.2", "shop", "good", 1).await, Verified::Good, "the account isn't locked");
        assert_eq!(verify("192.0.2.1", "shop", "bad", 7).await, Verified::Bad, "one is forgiven each 6 s");
        assert_eq!(verify("192.0.2.1", "shop", "bad", 7).await, slowed);
        assert_eq!(verify("192.0.2.1", "shop", "good", 90).await, Verified::Good);
    }

    #[tokio::test]
    async fn an_address_that_guesses_names_is_slowed_down_but_for_remembered_logins() {
        let credentials = Arc::new(Credentials::new(&applications(&[("shop", &["good"]), ("b", &["b"])])));
        let verify = async |from: &str, user: &str, password| {
            credentials.verify(client(from), user, password, at(0)).await
        };
        assert_eq!(verify("192.0.2.1", "b", "b").await, Verified::Good);
        for number in 0..50 {
            assert_eq!(verify("192.0.2.1", &format!("name{number}"), "bad").await, Verified::Bad);
        }
        let slowed = Verified::Later(Delay::AddressGuesses);
        assert_eq!(verify("192.0.2.1", "another", "bad").await, slowed);
        assert_eq!(verify("192.0.2.1", "shop", "good").await, slowed);
        assert_eq!(verify("192.0.2.1", "b", "b").await, Verified::Good, "remembered");
        assert_eq!(verify("192.0.2.2", "shop", "good").await, Verified::Good, "another address");
    }

    #[tokio::test]
    async fn a_password_is_its_octets_and_not_its_characters() {
        let composed = "p\u{e4}ss";
        let credentials = Arc::new(Credentials::new(&applications(&[("shop", &[composed])])));
        let verify = async |password| credentials.verify(client("::1"), "shop", password, at(0)).await;
        assert_eq!(verify(composed).await, Verified::Good);
        assert_eq!(verify("pa\u{308}ss").await, Verified::Bad, "AU18: the same, decomposed");
    }

    #[tokio::test]
    async fn guessing_all_at_once_is_slowed_down_as_well() {
        let credentials = Arc::new(Credentials::new(&applications(&[("shop", &["good"])])));
        let mut guesses = tokio::task::JoinSet::new();
        for _ in 0..50 {
            let credentials = credentials.clone();
            guesses.spawn(async move { credentials.verify(client("::1"), "shop", "bad", at(0)).await });
        }
        let checked = guesses.join_all().await.into_iter().filter(|one| *one == Verified::Bad).count();
        let most = usize::try_from(BY_NAME.failures).unwrap() + AT_ONCE - 1;
        assert!((10..=most).contains(&checked), "{checked} of 50 guesses were checked");
    }

    #[tokio::test(flavor = "current_thread")]
    async fn one_login_of_a_pool_that_connects_all_at_once_pays_for_the_others() {
        let credentials = Arc::new(Credentials::new(&applications(&[("shop", &["good"])])));
        let verify = || credentials.verify(client("::1"), "shop", "good", at(0));
        let both_turns = credentials.turns.acquire_many(2).await.unwrap();
        let mut waiting = std::pin::pin!(verify());
        assert!(polled_once(waiting.as_mut()).await.is_none(), "it has to wait for its turn");
        let tag = credentials.tag(&credentials.accounts.read(), "shop", "good");
        credentials.memory.lock().remember(tag, at(0));
        drop(both_turns);
        // Ready at once: no hash is computed on another thread.
        assert_eq!(polled_once(waiting.as_mut()).await, Some(Verified::Good));
    }

    /// Polls once.
    async fn polled_once<F: Future>(mut future: std::pin::Pin<&mut F>) -> Option<F::Output> {
        std::future::poll_fn(|context| match future.as_mut().poll(context) {
            std::task::Poll::Ready(output) => std::task::Poll::Ready(Some(output)),
            std::task::Poll::Pending => std::task::Poll::Ready(None),
        })
        .await
    }

    #[test]
    fn an_ipv6_network_is_one_suspect() {
        assert_eq!(network(client("2001:db8::1")), network(client("2001:db8::ffff:1")));
        assert_ne!(network(client("2001:db8::1")), network(client("2001:db8:0:1::1")));
    }

    #[test]
    fn good_logins_are_forgotten_when_idle_and_never_pile_up() {
        let mut memory = Memory::default();
        let from = client("::1");
        memory.remember([1; 32], at(0));
        assert!(matches!(memory.recall(&[1; 32], from, "shop", at(299)), Recalled::Good));
        assert!(matches!(memory.recall(&[1; 32], from, "shop", at(598)), Recalled::Good), "renewed by use");
        assert!(matches!(memory.recall(&[1; 32], from, "shop", at(898)), Recalled::Unknown));
        for n in 0..2000_u32 {
            let mut tag = [0; 32];
            tag[..4].copy_from_slice(&n.to_be_bytes());
            memory.remember(tag, at(i64::from(n) / 100));
        }
        assert_eq!(memory.remembered.len(), MAX_REMEMBERED);
    }

    #[test]
    fn a_hash_for_the_file_is_argon2id_and_checks() {
        let hash = hash_password("pässword").unwrap();
        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
        assert!(Argon2::default().verify_password("pässword".as_bytes(), hash.as_str()).is_ok());
        assert!(hash != hash_password("pässword").unwrap(), "salted");
        assert!(Argon2::default().verify_password(b"", DECOY).is_err());
        assert!(argon2::password_hash::phc::PasswordHash::new(DECOY).is_ok(), "the decoy costs time");
    }

    #[test]
    fn everybody_costs_the_same_number_of_hashes() {
        let accounts = Accounts::new(&applications(&[("two", &["a", "b"]), ("one", &["c"])]));
        assert_eq!(accounts.each, 2);
        assert!(accounts.check("one", "c") && accounts.check("two", "b"));
        // The decoy is a real hash: its password is nobody else's.
        let decoys = ["a", "b", "c"].map(|password| accounts.check("nobody", password));
        assert_eq!(decoys, [false; 3]);
        assert!(!accounts.check("one", "a"));
    }

    #[test]
    fn debug_shows_nothing() {
        let credentials = Credentials::new(&applications(&[("shop", &["x"])]));
        assert_eq!(format!("{credentials:?}"), "Credentials");
    }
}
