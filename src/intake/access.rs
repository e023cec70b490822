//! Who may do what. Pure: a listener's settings, the peer's address and the login decide.
//!
//! Promises: nobody relays but a trusted network or a login, and nobody is trusted for what he says of himself: not
//! for a sender of ours (OR12), not for a PROXY header from a host that isn't listed (OR9). IPv4-mapped IPv6 peers
//! are IPv4 peers (OR11). On a listener with `auth = "required"` a trusted network too needs a login.

use crate::config::schema::{Application, AuthMode, Listener};
use crate::inbox::addresses::Inboxes;
use crate::smtp::address::Address;
use crate::smtp::reply::{Enhanced, Reply};
use std::net::IpAddr;

/// What a client on one connection may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Access {
    trusted: bool,
    auth: AuthMode,
}

/// Why a client may not do what it asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// This listener takes mail only after a login.
    #[error("login needed")]
    LoginNeeded,
    /// The application may not use this sender.
    #[error("sender not allowed")]
    SenderNotAllowed,
    /// There is no such address in the domain of an inbox.
    #[error("no such inbox")]
    NoSuchInbox,
    /// A stranger asked us to send mail on.
    #[error("relaying denied; log in, or send from a trusted network")]
    RelayingDenied,
}

impl Access {
    /// What a client at `peer` may do on `listener`.
    #[must_use]
    pub fn of(listener: &Listener, peer: IpAddr) -> Self {
        Self { trusted: listener.trust.iter().any(|network| network.contains(peer)), auth: listener.auth }
    }

    /// What a program of this machine may do that reached us through a socket which only our user and root can open.
    #[must_use]
    pub fn local() -> Self {
        Self { trusted: true, auth: AuthMode::None }
    }

    /// Whether the peer is in a trusted network of the listener.
    #[must_use]
    pub fn is_trusted(self) -> bool {
        self.trusted
    }

    /// Whether the client may have its `X-Waystation-…` fields obeyed and mail relayed.
    #[must_use]
    pub fn may_relay(self, login: Option<&Application>) -> bool {
        login.is_some() || self.trusted && self.auth != AuthMode::Required
    }

    /// May it send as `sender`? None is the null sender.
    ///
    /// # Errors
    ///
    /// When it may not.
    pub fn sender(
        self,
        login: Option<&Application>,
        sender: Option<&Address>,
        inboxes: &Inboxes,
    ) -> Result<(), Refusal> {
        match (login, sender) {
            // Whoever writes to an inbox needs none; the recipient tells.
            (None, _) if self.auth == AuthMode::Required && inboxes.is_empty() => Err(Refusal::LoginNeeded),
            // Bounces are everybody's to send (RFC 5321 §4.5.5).
            (None, _) | (Some(_), None) => Ok(()),
            (Some(login), Some(sender)) => {
                let allowed =
                    login.from.is_empty() || login.from.iter().any(|pattern| pattern.matches(sender));
                if allowed { Ok(()) } else { Err(Refusal::SenderNotAllowed) }
            }
        }
    }

    /// May it send to `recipient`?
    ///
    /// # Errors
    ///
    /// When it may not.
    pub fn recipient(
        self,
        login: Option<&Application>,
        recipient: &Address,
        inboxes: &Inboxes,
    ) -> Result<(), Refusal> {
        // An inbox takes mail from anybody; all else is relaying.
        if inboxes.find(recipient).is_some() || self.may_relay(login) {
            Ok(())
        } else if inboxes.is_ours(recipient) {
            Err(Refusal::NoSuchInbox)
        } else if self.auth == AuthMode::Required && login.is_none() {
            Err(Refusal::LoginNeeded)
        } else {
            Err(Refusal::RelayingDenied)
        }
    }
}

impl Refusal {
    /// What the client is told.
    #[must_use]
    pub fn reply(self) -> Reply {
        match self {
            Self::LoginNeeded => Reply::new(530, Some(Enhanced(5, 7, 0)), "log in first"),
            Self::SenderNotAllowed => {
                Reply::new(550, Some(Enhanced(5, 7, 1)), "this login may not use that sender address")
            }
            Self::NoSuchInbox => {
                Reply::new(550, Some(Enhanced(5, 1, 1)), "there is no inbox of this address")
            }
            Self::RelayingDenied => Reply::new(
                550,
                Some(Enhanced(5, 7, 1)),
                "relaying denied; log in, or send from a trusted network",
            ),
        }
    }
}

/// Whether a connection from `peer` begins with a PROXY header. From anybody else such a header is what it looks
/// like: no SMTP command.
#[must_use]
pub fn believes_proxy(listener: &Listener, peer: IpAddr) -> bool {
    listener.proxy_protocol.iter().any(|network| network.contains(peer))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::schema::{AddressPattern, ListenAddress, Network, TlsMode, Tolerate};

    fn listener(auth: AuthMode, trust: &[(&str, u8)]) -> Listener {
        let networks = |list: &[(&str, u8)]| {
            list.iter()
                .map(|(address, prefix)| Network { address: address.parse().unwrap(), prefix: *prefix })
                .collect::<Vec<_>>()
        };
        Listener {
            address: ListenAddress::Passed("smtp".into()),
            tls: TlsMode::None,
            auth,
            trust: networks(trust),
            proxy_protocol: networks(&[("10.9.0.0", 16)]),
            tolerate: Tolerate::default(),
            auth_without_tls: false,
        }
    }

    fn application(from: Vec<AddressPattern>) -> Application {
        Application { password_hashes: vec![], from, smarthost: None, class: None }
    }

    fn address(text: &str) -> Address {
        Address::parse(text, true).unwrap()
    }

    #[test]
    fn trust_is_a_matter_of_the_network() {
        let listener = listener(AuthMode::None, &[("127.0.0.0", 8), ("::1", 128), ("192.0.2.0", 24)]);
        for (peer, trusted) in [
            ("127.0.0.1", true),
            ("127.9.9.9", true),
            ("::1", true),
            ("192.0.2.255", true),
            ("::ffff:192.0.2.7", true),
            ("192.0.3.0", false),
            ("::ffff:192.0.3.0", false),
            ("::2", false),
            ("::192.0.2.7", false),
        ] {
            assert_eq!(Access::of(&listener, peer.parse().unwrap()).is_trusted(), trusted, "{peer}");
        }
    }

    #[test]
    fn who_may_send_and_relay() {
        let ours = [AddressPattern::Exact(address("shop@x.test")), AddressPattern::Domain("y.test".into())];
        let login = application(ours.to_vec());
        let to = address("bob@z.test");
        let inside = [("192.0.2.0", 24)];
        for (auth, trust, login, from, expected, reason) in [
            (
                AuthMode::None,
                &inside[..],
                None,
                Some("a@b.test"),
                Ok(()),
                "a trusted network uses any sender",
            ),
            (AuthMode::None, &[], None, Some("a@b.test"), Err(Refusal::RelayingDenied), "a stranger"),
            (AuthMode::None, &[], None, Some("shop@x.test"), Err(Refusal::RelayingDenied), "OR12"),
            (AuthMode::None, &[], None, None, Err(Refusal::RelayingDenied), "a stranger's bounce"),
            (AuthMode::Optional, &[], None, Some("a@b.test"), Err(Refusal::RelayingDenied), "no login yet"),
            (
                AuthMode::Required,
                &inside,
                None,
                Some("a@b.test"),
                Err(Refusal::LoginNeeded),
                "trust is no login",
            ),
            (AuthMode::Required, &[], Some(&login), Some("shop@X.test"), Ok(()), "domains have no case"),
            (AuthMode::Required, &[], Some(&login), Some("Shop@x.test"), Ok(()), "nor have local parts"),
            (AuthMode::Required, &[], Some(&login), Some("any@Y.test"), Ok(()), "any at a domain"),
            (
                AuthMode::Required,
                &[],
                Some(&login),
                Some("any@z.y.test"),
                Err(Refusal::SenderNotAllowed),
                "below",
            ),
            (AuthMode::Required, &[], Some(&login), None, Ok(()), "null sender"),
            (
                AuthMode::Optional,
                &inside,
                Some(&login),
                Some("a@b.test"),
                Err(Refusal::SenderNotAllowed),
                "a login binds",
            ),
        ] {
            let access = Access::of(&listener(auth, trust), "192.0.2.1".parse().unwrap());
            let sender = from.map(address);
            let none = Inboxes::default();
            let result = access
                .sender(login, sender.as_ref(), &none)
                .and_then(|()| access.recipient(login, &to, &none));
            assert_eq!(result, expected, "{reason}");
        }
    }

    #[test]
    fn an_empty_list_allows_any_sender() {
        let access = Access::of(&listener(AuthMode::Required, &[]), "192.0.2.1".parse().unwrap());
        assert_eq!(
            access.sender(Some(&application(vec![])), Some(&address("a@b.test")), &Inboxes::default()),
            Ok(())
        );
    }

    #[test]
    fn refusals_have_their_codes() {
        let code = |refusal: Refusal| (refusal.reply().code, refusal.reply().enhanced);
        assert_eq!(code(Refusal::LoginNeeded), (530, Some(Enhanced(5, 7, 0))));
        assert_eq!(code(Refusal::SenderNotAllowed), (550, Some(Enhanced(5, 7, 1))));
        assert_eq!(code(Refusal::RelayingDenied), (550, Some(Enhanced(5, 7, 1))));
    }

    #[test]
    fn a_proxy_header_is_believed_from_listed_networks_only() {
        let listener = listener(AuthMode::None, &[("127.0.0.0", 8)]);
        assert!(believes_proxy(&listener, "::ffff:10.9.1.1".parse().unwrap()));
        assert!(!believes_proxy(&listener, "127.0.0.1".parse().unwrap()));
    }
}
