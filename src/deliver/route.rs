//! Which lane a recipient's copy leaves by, and in which class. Pure; nothing here fails.
//!
//! The first `[[route]]` that matches decides; every key it gives must match. What it leaves open the application's
//! own settings decide, and then the default smarthost and class normal. The class is the route's, for the admin has the
//! last word; then what the message asks for (`X-Waystation-Class` before MT-PRIORITY); then the application's. A smarthost with `enabled = false` keeps its lane: its mail is queued as ever and waits
//! because nobody runs the lane, so that switching it on needs no release of each message.

use crate::config::schema::{Action, AddressPattern, Application, Match, Route};
use crate::message::decode;
use crate::message::envelope::{Class, Recipient};
use crate::message::fields::HeaderSection;
use crate::queue::{LaneName, Part};
use crate::smtp::address::Address;
use crate::smtp::reply::{Enhanced, Reply};
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

/// Characters of an encoded field that are read.
const MOST_READ: usize = 1000;

/// The rules, as the file gives them.
#[derive(Debug, Clone)]
pub struct Router {
    routes: Vec<Route>,
    applications: BTreeMap<String, Application>,
    default_smarthost: String,
}

/// What is known of a message when it is routed.
#[derive(Debug, Clone)]
pub struct Facts<'a> {
    /// The login.
    pub application: Option<&'a str>,
    /// The envelope sender.
    pub sender: Option<&'a Address>,
    /// The envelope recipients.
    pub recipients: &'a [Recipient],
    /// The client's address.
    pub client: Option<IpAddr>,
    /// The header section as it came in; read only by rules that ask for it.
    pub header: &'a HeaderSection<'a>,
    /// What the message asks for: `X-Waystation-Class`, else MT-PRIORITY.
    pub class: Option<Class>,
}

/// Where one recipient's copy goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Routed {
    /// The lane.
    pub lane: LaneName,
    /// The class.
    pub class: Class,
    /// What to do.
    pub action: Action,
    /// Reported instead of delivered when it is older than this.
    pub expires_after: Option<Duration>,
    /// Which rule said so.
    pub why: Why,
}

impl Routed {
    /// To an inbox: taken whatever the routes say.
    #[must_use]
    pub fn inbox(lane: LaneName) -> Self {
        Self { lane, class: Class::Normal, action: Action::Send, expires_after: None, why: Why::Inbox }
    }
}

/// Which rule decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// `[[route]]` of this number, counted from 1.
    Route(usize),
    /// The application's own settings.
    Application,
    /// None: the default smarthost.
    Default,
    /// None: the recipient is an inbox.
    Inbox,
}

/// What a class comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClassBy {
    /// The route that decided.
    Route,
    /// The message itself.
    Message,
    /// The application's own settings.
    Application,
    /// Nothing: it is the usual one.
    Default,
}

impl Router {
    /// A router by these rules.
    #[must_use]
    pub fn new(
        routes: Vec<Route>,
        applications: BTreeMap<String, Application>,
        default_smarthost: String,
    ) -> Self {
        Self { routes, applications, default_smarthost }
    }

    /// Routes each recipient; the answer has one entry per recipient, in their order.
    #[must_use]
    pub fn route(&self, facts: &Facts<'_>) -> Vec<Routed> {
        let application = facts.application.and_then(|name| self.applications.get(name));
        let wants_from = self.routes.iter().any(|route| route.matches.from.is_some());
        let from = if wants_from { from_addresses(facts.header) } else { Vec::new() };
        // All but the recipient is the same for every recipient: these rules may match, the others never.
        let candidates: Vec<(usize, &Route)> =
            (1..).zip(&self.routes).filter(|(_, route)| applies(&route.matches, facts, &from)).collect();
        let one = |recipient: &Recipient| {
            let rule = candidates.iter().find(|(_, route)| {
                route.matches.recipient.as_ref().is_none_or(|pattern| pattern.matches(&recipient.address))
            });
            self.decide(rule.copied(), application, facts.class)
        };
        facts.recipients.iter().map(one).collect()
    }

    /// What the class of a routed recipient comes from.
    #[must_use]
    pub fn class_by(&self, routed: &Routed, facts: &Facts<'_>) -> ClassBy {
        let route = match routed.why {
            Why::Route(number) => number.checked_sub(1).and_then(|index| self.routes.get(index)),
            Why::Application | Why::Default | Why::Inbox => None,
        };
        let application = facts.application.and_then(|name| self.applications.get(name));
        class(route, facts.class, application).1
    }

    /// Whether any rule looks at the header section.
    #[must_use]
    pub fn reads_header(&self) -> bool {
        let reads = |route: &Route| route.matches.from.is_some() || !route.matches.header.is_empty();
        self.routes.iter().any(reads)
    }

    /// Whether another router sends the same mail the same ways.
    #[must_use]
    pub fn routes_as(&self, other: &Self) -> bool {
        let smarthosts = |router: &Self| -> Vec<(String, Option<String>)> {
            let own = router.applications.iter();
            own.map(|(name, application)| (name.clone(), application.smarthost.clone())).collect()
        };
        self.default_smarthost == other.default_smarthost
            && self.routes == other.routes
            && smarthosts(self) == smarthosts(other)
    }

    fn decide(
        &self,
        rule: Option<(usize, &Route)>,
        application: Option<&Application>,
        asked: Option<Class>,
    ) -> Routed {
        let route = rule.map(|(_, route)| route);
        let own = application.and_then(|application| application.smarthost.as_deref());
        let smarthost = route.and_then(|route| route.smarthost.as_deref()).or(own);
        Routed {
            lane: LaneName::new(smarthost.unwrap_or(&self.default_smarthost)),
            class: class(route, asked, application).0,
            action: route.map_or(Action::Send, |route| route.action),
            expires_after: route.and_then(|route| route.expires_after),
            why: match (rule, own) {
                (Some((number, _)), _) => Why::Route(number),
                (None, Some(_)) => Why::Application,
                (None, None) => Why::Default,
            },
        }
    }
}

/// The first that says anything of it: the route, the message, the application.
fn class(route: Option<&Route>, asked: Option<Class>, application: Option<&Application>) -> (Class, ClassBy) {
    let ruled = route.and_then(|route| route.class).map(|class| (class, ClassBy::Route));
    let asked = asked.map(|class| (class, ClassBy::Message));
    let own =
        application.and_then(|application| application.class).map(|class| (class, ClassBy::Application));
    ruled.or(asked).or(own).unwrap_or((Class::default(), ClassBy::Default))
}

/// Whether a message as a whole matches; a recipient pattern does when it fits any of the recipients.
#[must_use]
pub fn matches_message(matches: &Match, facts: &Facts<'_>) -> bool {
    let from = if matches.from.is_some() { from_addresses(facts.header) } else { Vec::new() };
    let fits = |pattern: &AddressPattern| facts.recipients.iter().any(|each| pattern.matches(&each.address));
    matches.recipient.as_ref().is_none_or(fits) && applies(matches, facts, &from)
}

/// Whether all keys but the recipient match.
fn applies(matches: &Match, facts: &Facts<'_>, from: &[Address]) -> bool {
    let Match { application, sender, from: from_pattern, recipient: _, client, header } = matches;
    application.as_deref().is_none_or(|name| facts.application == Some(name))
        && sender.as_ref().is_none_or(|pattern| pattern.matches_sender(facts.sender))
        && from_pattern.as_ref().is_none_or(|pattern| from.iter().any(|address| pattern.matches(address)))
        && client.is_none_or(|network| facts.client.is_some_and(|client| network.contains(client)))
        && header.iter().all(|(name, pattern)| {
            facts.header.named(name).any(|field| is_value_like(&field.value(), pattern))
        })
}

fn from_addresses(header: &HeaderSection<'_>) -> Vec<Address> {
    header.named("From").flat_map(|field| decode::addresses(&field.value())).collect()
}

/// Whether a field's value is like a pattern, as it stands or as it reads (RFC 2047); letters of any script match
/// without case.
fn is_value_like(value: &[u8], pattern: &str) -> bool {
    let value = value.trim_ascii();
    let without_case = |text: &str| is_like(lowered(text).as_bytes(), lowered(pattern).as_bytes());
    let is_encoded = || memchr::memmem::find(value, b"=?").is_some();
    is_like(value, pattern.as_bytes())
        || std::str::from_utf8(value).is_ok_and(|text| !text.is_ascii() && without_case(text))
        || is_encoded() && without_case(decode::text(value, MOST_READ).trim())
}

/// In lower case, letter by letter: what stands around one makes no difference, not even at a Greek word's end.
fn lowered(text: &str) -> String {
    text.chars().flat_map(char::to_lowercase).map(|c| if c == 'ς' { 'σ' } else { c }).collect()
}

/// Whether a value is like a pattern in which `*` stands for anything. US-ASCII letters match without case.
fn is_like(value: &[u8], pattern: &[u8]) -> bool {
    let mut parts = pattern.split(|octet| *octet == b'*');
    let first = parts.next().unwrap_or_default();
    let Some((start, mut rest)) = value.split_at_checked(first.len()) else { return false };
    if !start.eq_ignore_ascii_case(first) {
        return false;
    }
    let Some(last) = parts.next_back() else { return rest.is_empty() };
    for part in parts {
        if part.is_empty() {
            continue;
        }
        let Some(at) = rest.windows(part.len()).position(|window| window.eq_ignore_ascii_case(part)) else {
            return false;
        };
        rest = rest.get(at + part.len()..).unwrap_or_default();
    }
    rest.len() >= last.len()
        && rest.get(rest.len() - last.len()..).is_some_and(|end| end.eq_ignore_ascii_case(last))
}

/// Recipients sorted into the parts that are queued, and those that aren't.
#[derive(Debug, Clone, Default)]
pub struct Sorted {
    /// One for each lane, class, hold and expiry, in order of first appearance.
    pub parts: Vec<Part>,
    /// Recipients accepted and dropped, with a journal line.
    pub discarded: Vec<usize>,
    /// Recipients refused with [`rejection`]. One is enough to refuse the message at the final dot: by then there is
    /// only one reply for all of them (RFC 5321 §4.2.5).
    pub rejected: Vec<usize>,
}

/// Sorts routed recipients into parts. `due`: when they may leave, from which their time runs.
#[must_use]
pub fn sort(routed: &[Routed], due: Timestamp) -> Sorted {
    let mut sorted = Sorted::default();
    for (index, each) in routed.iter().enumerate() {
        let held = match each.action {
            Action::Discard => {
                sorted.discarded.push(index);
                continue;
            }
            Action::Reject => {
                sorted.rejected.push(index);
                continue;
            }
            Action::Send => false,
            Action::Hold => true,
        };
        let expires_at = each.expires_after.map(|after| due.checked_add(after).unwrap_or(Timestamp::MAX));
        let same = |part: &&mut Part| {
            (&part.lane, part.class, part.held, part.expires_at) == (&each.lane, each.class, held, expires_at)
        };
        match sorted.parts.iter_mut().find(same) {
            Some(part) => part.recipients.push(index),
            None => sorted.parts.push(Part {
                lane: each.lane.clone(),
                class: each.class,
                recipients: vec![index],
                due,
                held,
                discarded: false,
                expires_at,
            }),
        }
    }
    sorted
}

/// What the client is told when a rule says `action = "reject"`.
#[must_use]
pub fn rejection() -> Reply {
    Reply::new(550, Some(Enhanced(5, 7, 1)), "a rule of this relay refuses this message")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::schema::Network;

    fn address(text: &str) -> Address {
        Address::parse(text, true).unwrap()
    }

    fn domain(name: &str) -> AddressPattern {
        AddressPattern::Domain(name.into())
    }

    fn rule(matches: Match, smarthost: &str) -> Route {
        Route {
            matches,
            smarthost: Some(smarthost.into()),
            class: None,
            expires_after: None,
            action: Action::Send,
        }
    }

    fn router(routes: Vec<Route>) -> Router {
        let application = |smarthost: Option<&str>, class| Application {
            password_hashes: vec![],
            from: vec![],
            smarthost: smarthost.map(Into::into),
            class,
        };
        let applications = BTreeMap::from([
            ("shop".into(), application(Some("shop"), Some(Class::Bulk))),
            ("cron".into(), application(None, None)),
        ]);
        Router::new(routes, applications, "default".into())
    }

    /// What becomes of one message from ana@x.test at 192.0.2.1 to bob@y.test and eve@z.test.
    fn routed(
        router: &Router,
        application: Option<&str>,
        content: &[u8],
        class: Option<Class>,
    ) -> Vec<Routed> {
        let recipients: Vec<Recipient> = ["bob@y.test", "eve@z.test"]
            .iter()
            .map(|text| Recipient { address: address(text), notify: None, orcpt: None })
            .collect();
        router.route(&Facts {
            application,
            sender: Some(&address("ana@x.test")),
            recipients: &recipients,
            client: Some("192.0.2.1".parse().unwrap()),
            header: &HeaderSection::of(content),
            class,
        })
    }

    fn expected(lane: &str, class: Class, why: Why) -> Routed {
        Routed { lane: LaneName::new(lane), class, action: Action::Send, expires_after: None, why }
    }

    #[test]
    fn without_a_rule_the_application_decides_and_then_the_default() {
        let router = router(vec![]);
        let normal = Class::Normal;
        for (application, class, expected) in [
            (None, None, expected("default", normal, Why::Default)),
            (Some("cron"), None, expected("default", normal, Why::Default)),
            (Some("shop"), None, expected("shop", Class::Bulk, Why::Application)),
            (Some("shop"), Some(normal), expected("shop", normal, Why::Application)),
            (Some("gone"), None, expected("default", normal, Why::Default)),
        ] {
            assert_eq!(routed(&router, application, b"", class)[0], expected, "{application:?}");
        }
    }

    #[test]
    fn each_key_must_match() {
        let network = |text: &str| Some(Network { address: text.parse().unwrap(), prefix: 24 });
        let field = |name: &str, value: &str| vec![(name.into(), value.into())];
        let content = b"From: Ana <ana@news.x.test>\r\nX-Kind:\r\n Reset\r\nX-Kind: two\r\n\r\n";
        for (matches, hits) in [
            (Match { application: Some("shop".into()), ..Match::default() }, [true, true]),
            (Match { application: Some("cron".into()), ..Match::default() }, [false, false]),
            (Match { sender: Some(domain("x.test")), ..Match::default() }, [true, true]),
            (Match { sender: Some(domain("y.test")), ..Match::default() }, [false, false]),
            (Match { from: Some(domain("news.x.test")), ..Match::default() }, [true, true]),
            (Match { from: Some(domain("x.test")), ..Match::default() }, [false, false]),
            (Match { recipient: Some(domain("y.test")), ..Match::default() }, [true, false]),
            (Match { client: network("192.0.2.0"), ..Match::default() }, [true, true]),
            (Match { client: network("192.0.3.0"), ..Match::default() }, [false, false]),
            (Match { header: field("x-kind", "reset"), ..Match::default() }, [true, true]),
            (Match { header: field("X-Kind", "tw*"), ..Match::default() }, [true, true]),
            (Match { header: field("X-Kind", "*"), ..Match::default() }, [true, true]),
            (Match { header: field("X-None", "*"), ..Match::default() }, [false, false]),
            (Match { sender: Some(AddressPattern::Null), ..Match::default() }, [false, false]),
            (
                Match {
                    sender: Some(domain("x.test")),
                    recipient: Some(domain("z.test")),
                    ..Match::default()
                },
                [false, true],
            ),
            (Match::default(), [true, true]),
        ] {
            let router = router(vec![rule(matches.clone(), "fast")]);
            let lanes = routed(&router, Some("shop"), content, None);
            let fast: Vec<bool> = lanes.iter().map(|each| each.lane == LaneName::new("fast")).collect();
            assert_eq!(fast, hits, "{matches:?}");
        }
    }

    #[test]
    fn one_recipient_is_enough_for_a_message() {
        let recipients: Vec<Recipient> = ["bob@y.test", "eve@z.test"]
            .iter()
            .map(|text| Recipient { address: address(text), notify: None, orcpt: None })
            .collect();
        let header = HeaderSection::of(b"From: ana@x.test\r\n\r\n");
        let sender = address("ana@x.test");
        let facts = Facts {
            application: None,
            sender: Some(&sender),
            recipients: &recipients,
            client: None,
            header: &header,
            class: None,
        };
        let to = |name: &str| Match { recipient: Some(domain(name)), ..Match::default() };
        for (matches, expected) in [
            (Match::default(), true),
            (to("z.test"), true),
            (to("w.test"), false),
            (Match { from: Some(domain("x.test")), ..to("y.test") }, true),
            (Match { from: Some(domain("w.test")), ..to("y.test") }, false),
            (Match { application: Some("shop".into()), ..to("y.test") }, false),
        ] {
            assert_eq!(matches_message(&matches, &facts), expected, "{matches:?}");
        }
    }

    #[test]
    fn the_first_match_wins_and_leaves_open_what_it_does_not_say() {
        let only_class = Route {
            matches: Match { recipient: Some(domain("y.test")), ..Match::default() },
            smarthost: None,
            class: Some(Class::Priority),
            expires_after: Some(Duration::from_mins(15)),
            action: Action::Send,
        };
        let router = router(vec![only_class, rule(Match::default(), "late")]);
        let soon = |lane: &str| Routed {
            expires_after: Some(Duration::from_mins(15)),
            ..expected(lane, Class::Priority, Why::Route(1))
        };
        let late = expected("late", Class::Bulk, Why::Route(2));
        assert_eq!(routed(&router, Some("shop"), b"", None), [soon("shop"), late]);
        assert_eq!(routed(&router, None, b"", None)[0], soon("default"));
        // The admin's word stands above the message's, and that above the application's.
        let classes = |class| {
            routed(&router, Some("shop"), b"", Some(class)).iter().map(|each| each.class).collect::<Vec<_>>()
        };
        assert_eq!(classes(Class::Normal), [Class::Priority, Class::Normal]);
    }

    #[test]
    fn a_null_sender_matches_no_pattern() {
        let router = router(vec![rule(Match { sender: Some(domain("x.test")), ..Match::default() }, "fast")]);
        let recipients = [Recipient { address: address("a@b.test"), notify: None, orcpt: None }];
        let header = HeaderSection::of(b"");
        let facts = Facts {
            application: None,
            sender: None,
            recipients: &recipients,
            client: None,
            header: &header,
            class: None,
        };
        assert_eq!(router.route(&facts), [expected("default", Class::Normal, Why::Default)]);
    }

    #[test]
    fn encoded_words_match_as_they_read() {
        for value in [
            "Mein Rücken",
            "=?utf-8?q?Mein_R=C3=BCcken?=",
            "=?iso-8859-1?q?Mein_R=FCcken?=",
            "=?UTF-8?B?TWVpbiBSw7xja2Vu?=",
        ] {
            assert!(is_value_like(value.as_bytes(), "mein *ücken"), "{value}");
            assert!(!is_value_like(value.as_bytes(), "rücken*"), "{value}");
        }
        assert!(is_value_like(b"=?utf-8?q?a?=", "=?utf-8*"), "as it stands, too");
        for (value, pattern) in [
            ("RÜCKEN", "rücken"),
            ("=?utf-8?q?R=C3=9CCKEN?= 7", "rücken*"),
            ("zażółć gęślą", "*ŻÓŁĆ*"),
            ("СЧЁТ № 7", "счёт*"),
            ("Η ΟΔΟΣ ΜΑΣ", "*οδος*"),
        ] {
            assert!(is_value_like(value.as_bytes(), pattern), "{value} {pattern}");
        }
        assert!(!is_value_like("rücken".as_bytes(), "rucken"));
        assert!(!is_value_like(b"r\xfccken", "rücken"), "octets that are no text are what they are");
    }

    #[test]
    fn patterns() {
        for (value, pattern, expected) in [
            ("reset", "reset", true),
            ("Reset", "rESET", true),
            ("resets", "reset", false),
            ("password reset 7", "*reset*", true),
            ("ab", "a*b", true),
            ("a", "a*a", false),
            ("aXbXc", "a*b*c", true),
            ("abc", "*", true),
            ("", "*", true),
            ("", "", true),
            ("x", "", false),
            ("żółw", "*ół*", true),
            ("aab", "*ab", true),
            ("ab", "ab**", true),
        ] {
            assert_eq!(is_like(value.as_bytes(), pattern.as_bytes()), expected, "{value:?} {pattern:?}");
        }
    }

    #[test]
    fn recipients_are_grouped_by_lane_class_and_hold() {
        let with = |lane: &str, class, action| Routed { action, ..expected(lane, class, Why::Default) };
        let (normal, bulk) = (Class::Normal, Class::Bulk);
        let due = Timestamp::UNIX_EPOCH;
        let sorted = sort(
            &[
                with("a", normal, Action::Send),
                with("b", normal, Action::Send),
                with("a", normal, Action::Hold),
                with("a", normal, Action::Send),
                with("a", bulk, Action::Send),
                with("a", normal, Action::Discard),
                with("a", normal, Action::Reject),
            ],
            due,
        );
        let parts: Vec<_> = sorted
            .parts
            .iter()
            .map(|part| (part.lane.as_str(), part.class, part.held, part.recipients.as_slice()))
            .collect();
        assert_eq!(
            parts,
            [
                ("a", normal, false, &[0, 3][..]),
                ("b", normal, false, &[1]),
                ("a", normal, true, &[2]),
                ("a", bulk, false, &[4]),
            ]
        );
        assert_eq!((sorted.discarded, sorted.rejected), (vec![5], vec![6]));
    }

    #[test]
    fn what_expires_does_so_counted_from_when_it_may_leave() {
        let soon = Routed {
            expires_after: Some(Duration::from_mins(1)),
            ..expected("a", Class::Normal, Why::Default)
        };
        let never = Routed { expires_after: None, ..soon.clone() };
        let due = Timestamp::from_second(1_000).unwrap();
        let parts = sort(&[soon.clone(), never, soon], due).parts;
        let parts: Vec<_> = parts.iter().map(|part| (part.expires_at, part.recipients.as_slice())).collect();
        assert_eq!(parts, [(Timestamp::from_second(1_060).ok(), &[0, 2][..]), (None, &[1])]);
    }
}
