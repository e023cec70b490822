//! Which addresses are inboxes: those take mail from anybody, and what they take is forwarded mail. Pure.

use crate::config::schema::{Inbox, Mailbox};
use crate::queue::LaneName;
use crate::smtp::address::{Address, dns_domain, plain_local};

/// What the lane of an inbox begins with; no smarthost's name can.
const MARK: &str = "inbox:";

/// The lane where an inbox's mail waits to be read.
#[must_use]
pub fn lane(name: &str) -> LaneName {
    LaneName::new(&format!("{MARK}{name}"))
}

/// The inbox whose mail waits in a lane; none for a smarthost's.
#[must_use]
pub fn of_lane(lane: &LaneName) -> Option<&str> {
    lane.as_str().strip_prefix(MARK)
}

/// What stands behind the `+` of an address of this inbox; none when nothing does.
#[must_use]
pub fn detail<'a>(address: &'a str, inbox: &str) -> Option<&'a str> {
    let local = plain_local(address.rsplit_once('@')?.0);
    let own = plain_local(inbox.rsplit_once('@').map_or(inbox, |(local, _)| local));
    let starts = local.get(..own.len()).is_some_and(|start| start.eq_ignore_ascii_case(own));
    local.get(own.len()..).filter(|_| starts)?.strip_prefix('+').filter(|detail| !detail.is_empty())
}

/// The addresses of all inboxes.
#[derive(Debug, Clone, Default)]
pub struct Inboxes(Vec<Own>);

#[derive(Debug, Clone)]
struct Own {
    lane: LaneName,
    local: String,
    domain: String,
    /// Of its mailboxes; lower case.
    tokens: Vec<String>,
}

impl Inboxes {
    /// Those of the configuration.
    #[must_use]
    pub fn new<'i>(inboxes: impl Iterator<Item = &'i Inbox>) -> Self {
        let own = |inbox: &Inbox| {
            let (local, domain) = inbox.address.as_str().rsplit_once('@')?;
            let local = plain_local(local).to_lowercase();
            Some(Own { lane: lane(&inbox.name), local, domain: dns_domain(domain), tokens: Vec::new() })
        };
        Self(inboxes.filter_map(own).collect())
    }

    /// Knowing the tokens of these mailboxes.
    #[must_use]
    pub fn with_tokens<'m>(mut self, mailboxes: impl Iterator<Item = &'m Mailbox>) -> Self {
        for mailbox in mailboxes {
            let lane = lane(&mailbox.inbox);
            let own = self.0.iter_mut().find(|own| own.lane == lane);
            if let Some((own, token)) = own.zip(mailbox.token.as_ref()) {
                own.tokens.push(token.to_lowercase());
            }
        }
        self
    }

    /// The lane of the inbox that this is an address of: its own, or with `+TOKEN` behind the local part.
    #[must_use]
    pub fn find(&self, address: &Address) -> Option<&LaneName> {
        Some(&self.own(address)?.0.lane)
    }

    /// Whether it is an address of an inbox that names no mailbox of it.
    #[must_use]
    pub fn is_anybodys(&self, address: &Address) -> bool {
        self.own(address).is_some_and(|(own, token)| !own.tokens.contains(&token))
    }

    /// The inbox, and what stands behind the `+`.
    fn own(&self, address: &Address) -> Option<(&Own, String)> {
        let (local, domain) = address.as_str().rsplit_once('@')?;
        let (local, domain) = (plain_local(local).to_lowercase(), dns_domain(domain));
        self.0.iter().filter(|own| own.domain == domain).find_map(|own| {
            let behind = local.strip_prefix(&own.local)?;
            let token = if behind.is_empty() { behind } else { behind.strip_prefix('+')? };
            Some((own, token.to_owned()))
        })
    }

    /// Whether an address is in the domain of an inbox.
    #[must_use]
    pub fn is_ours(&self, address: &Address) -> bool {
        let domain = address.as_str().rsplit_once('@').map(|(_, domain)| dns_domain(domain));
        domain.is_some_and(|domain| self.0.iter().any(|own| own.domain == domain))
    }

    /// Whether there are any.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_inbox_is_found_by_its_address_with_and_without_a_token_and_by_nothing_else() {
        let own = |local: &str| Own {
            lane: lane("guests"),
            local: local.into(),
            domain: "users.example".into(),
            tokens: vec!["sol".into()],
        };
        let inboxes = Inboxes(vec![own("inbox")]);
        for (address, found, ours) in [
            ("inbox@users.example", true, true),
            ("INBOX+sol@Users.Example", true, true),
            ("inbox+@users.example", true, true),
            ("\"Inbox+sol\"@users.example", true, true),
            ("\"inbox\"@users.example", true, true),
            ("\"inbox sol\"@users.example", false, true),
            ("\"inbox+a b\"@users.example", false, true),
            ("inboxes@users.example", false, true),
            ("other@users.example", false, true),
            ("inbox@example", false, false),
            ("inbox@sub.users.example", false, false),
        ] {
            let parsed = Address::parse(address, false).unwrap();
            assert_eq!(
                (inboxes.find(&parsed).is_some(), inboxes.is_ours(&parsed)),
                (found, ours),
                "{address}"
            );
        }
        for (address, is_anybodys) in [
            ("inbox@users.example", true),
            ("inbox+@users.example", true),
            ("inbox+mar@users.example", true),
            ("inbox+sol+1@users.example", true),
            ("Inbox+SOL@users.example", false),
            ("\"inbox+sol\"@users.example", false),
            ("other@users.example", false),
        ] {
            let parsed = Address::parse(address, false).unwrap();
            assert_eq!(inboxes.is_anybodys(&parsed), is_anybodys, "{address}");
        }
        // As it is written in either way.
        let inboxes = Inboxes(vec![Own {
            lane: lane("guests"),
            local: "inbox".into(),
            domain: dns_domain("Gäste.example"),
            tokens: Vec::new(),
        }]);
        for address in ["inbox+sol@xn--gste-loa.example", "inbox@gäste.example", "inbox@XN--GSTE-LOA.example"]
        {
            assert!(inboxes.find(&Address::parse(address, true).unwrap()).is_some(), "{address}");
        }
        for (address, behind) in [
            ("Inbox+sol@users.example", Some("sol")),
            ("\"inbox+sol\"@users.example", Some("sol")),
            ("inbox+sol+1@users.example", Some("sol+1")),
            ("inbox+@users.example", None),
            ("inbox@users.example", None),
            ("other+sol@users.example", None),
        ] {
            assert_eq!(detail(address, "inbox@users.example"), behind, "{address}");
        }
        assert_eq!(of_lane(&lane("guests")), Some("guests"));
        assert_eq!(of_lane(&"guests".into()), None);
    }
}
