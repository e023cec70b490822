//! Logging in: the client's side of AUTH (RFC 4954).
//!
//! [`LoginPlan::mechanisms`] says which mechanisms may be tried here, best first; [`Exchange`] speaks one of them.
//! Nothing secret has a `Debug`; what is written goes straight into the caller's buffer.

use crate::smtp::capabilities::Capabilities;
use crate::smtp::reply::{Enhanced, Reply};
use base64::Engine as _;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use md5::Md5;
use secrecy::zeroize::Zeroizing;
use secrecy::{ExposeSecret as _, SecretString};

/// A command line, its CRLF included (RFC 5321 §4.5.3.1.4): a longer initial response waits for its 334 (RFC 4954 §4).
const MAX_COMMAND: usize = 512;

/// Challenges come with and without padding.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// A login and how it may be used.
#[derive(Clone)]
pub struct LoginPlan {
    /// The authentication identity.
    pub username: Box<str>,
    /// The password, or the bearer token for [`MechanismChoice::XOAuth2`] and [`MechanismChoice::OAuthBearer`].
    pub secret: SecretString,
    /// Which mechanism may be used.
    pub choice: MechanismChoice,
    /// The server's name and port as we know them; OAUTHBEARER tells them.
    pub server: (Box<str>, u16),
}

impl std::fmt::Debug for LoginPlan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LoginPlan").field("choice", &self.choice).finish_non_exhaustive()
    }
}

/// `auth =` of a smarthost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum MechanismChoice {
    /// By password, whichever both know: inside TLS PLAIN, LOGIN, CRAM-MD5 in that order; outside CRAM-MD5 first.
    #[default]
    Auto,
    /// PLAIN only (RFC 4616).
    Plain,
    /// LOGIN only.
    Login,
    /// CRAM-MD5 only (RFC 2195).
    CramMd5,
    /// XOAUTH2 only.
    XOAuth2,
    /// OAUTHBEARER only (RFC 7628).
    OAuthBearer,
}

/// A way to log in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mechanism {
    /// RFC 4616.
    Plain,
    /// draft-murchison-sasl-login: user name, then password, whatever the prompts say.
    Login,
    /// RFC 2195: the password stays here.
    CramMd5,
    /// Google's and Microsoft's bearer token.
    XOAuth2,
    /// RFC 7628.
    OAuthBearer,
}

impl Mechanism {
    /// Its name in EHLO and AUTH.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::Login => "LOGIN",
            Self::CramMd5 => "CRAM-MD5",
            Self::XOAuth2 => "XOAUTH2",
            Self::OAuthBearer => "OAUTHBEARER",
        }
    }

    /// Whether its secret is an access token.
    const fn takes_token(self) -> bool {
        matches!(self, Self::XOAuth2 | Self::OAuthBearer)
    }

    /// Whether who listens learns the secret.
    const fn reveals_secret(self) -> bool {
        !matches!(self, Self::CramMd5)
    }
}

/// Why no mechanism can be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoMechanism {
    /// The server offers no AUTH at all.
    #[error("AUTH not offered")]
    NotOffered,
    /// It offers others; these.
    #[error("no common AUTH mechanism; offered: {0}")]
    NoneInCommon(String),
    /// Those that both know would show the secret to whoever listens.
    #[error("password not sent without TLS")]
    WithoutTls,
}

impl LoginPlan {
    /// The mechanisms to try, best first, never empty. `private`: nobody can listen (TLS); `plain_ok`: it doesn't
    /// matter (loopback).
    ///
    /// # Errors
    /// Why there is none.
    pub fn mechanisms(
        &self,
        offered: &Capabilities,
        private: bool,
        plain_ok: bool,
    ) -> Result<Vec<Mechanism>, NoMechanism> {
        use Mechanism::{CramMd5, Login, OAuthBearer, Plain, XOAuth2};
        if offered.auth.is_empty() {
            return Err(NoMechanism::NotOffered);
        }
        let configured: &[Mechanism] = match self.choice {
            MechanismChoice::Auto if private => &[Plain, Login, CramMd5],
            MechanismChoice::Auto => &[CramMd5, Plain, Login],
            MechanismChoice::Plain => &[Plain],
            MechanismChoice::Login => &[Login],
            MechanismChoice::CramMd5 => &[CramMd5],
            MechanismChoice::XOAuth2 => &[XOAuth2],
            MechanismChoice::OAuthBearer => &[OAuthBearer],
        };
        let mut usable: Vec<_> = configured
            .iter()
            .copied()
            .filter(|mechanism| offered.offers_auth(mechanism.name()) && self.fits(*mechanism))
            .collect();
        if usable.is_empty() {
            return Err(NoMechanism::NoneInCommon(offered.auth.join(" ")));
        }
        usable.retain(|mechanism| private || plain_ok || !mechanism.reveals_secret());
        if usable.is_empty() { Err(NoMechanism::WithoutTls) } else { Ok(usable) }
    }

    /// Whether user name and secret can be written in this mechanism without meaning something else.
    fn fits(&self, mechanism: Mechanism) -> bool {
        let separators: &[char] = match mechanism {
            // RFC 4616 §2: NUL parts the fields.
            Mechanism::Plain => &['\0'],
            Mechanism::Login | Mechanism::CramMd5 => &[],
            // RFC 7628 §3.1: 0x01 parts the pairs.
            Mechanism::XOAuth2 | Mechanism::OAuthBearer => &['\u{1}'],
        };
        // The token itself stands behind the last separator that matters but 0x01 and NUL.
        let secret_is_clean = !self.secret.expose_secret().contains(['\0', '\u{1}']);
        !self.username.contains(separators) && (secret_is_clean || separators.is_empty())
    }
}

/// A refused access token: what the server said of it. Nothing of it is ours, and nothing of it is the token.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TokenRefusal {
    /// `status` of its JSON: `400`, `401`, `invalid_token`, …
    pub status: Option<Box<str>>,
    /// `scope` of its JSON: what it wants.
    pub scope: Option<Box<str>>,
    /// The reply behind it; none if the connection ended first.
    pub reply: Option<Reply>,
}

impl TokenRefusal {
    /// The error in front of the reply (RFC 7628 §3.2.2); empty if it can't be read.
    fn from_challenge(challenge: &str) -> Self {
        let json = LENIENT.decode(challenge.trim()).ok();
        let json: Option<serde_json::Value> = json.and_then(|octets| serde_json::from_slice(&octets).ok());
        let text = |key| match json.as_ref()?.get(key)? {
            serde_json::Value::String(text) if !text.is_empty() => Some(text.as_str().into()),
            serde_json::Value::Number(number) => Some(number.to_string().into()),
            _ => None,
        };
        Self { status: text("status"), scope: text("scope"), reply: None }
    }

    /// Whether a token that is fetched now may fare better: this one may have run out. A server that has logins
    /// switched off, or wants another scope, takes no other token either.
    #[must_use]
    pub fn may_be_stale(&self) -> bool {
        let status =
            self.status.as_deref().is_none_or(|word| ["400", "401", "invalid_token"].contains(&word));
        let reply = self.reply.as_ref();
        status && reply.is_none_or(|said| said.code == 535 && said.enhanced != Some(Enhanced(5, 7, 139)))
    }
}

impl std::fmt::Display for TokenRefusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("access token refused")?;
        for (name, value) in [("status", &self.status), ("scope", &self.scope)] {
            if let Some(value) = value {
                write!(f, ", {name} {value}")?;
            }
        }
        self.reply.as_ref().map_or(Ok(()), |reply| write!(f, ": {reply}"))
    }
}

/// One AUTH exchange.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exchange {
    mechanism: Mechanism,
    turn: Turn,
    /// What a bearer mechanism's 334 told.
    refusal: Option<TokenRefusal>,
}

/// What the next 334 asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    InitialResponse,
    Username,
    Password,
    Digest,
    /// A bearer mechanism's 334 is its error; it wants an empty answer before the real reply.
    Error,
    Nothing,
    /// It was cancelled: no 334 may follow.
    Cancelled,
}

impl Exchange {
    /// Appends the AUTH command.
    #[must_use]
    pub fn begin(mechanism: Mechanism, plan: &LoginPlan, out: &mut Vec<u8>) -> Self {
        out.extend_from_slice(b"AUTH ");
        out.extend_from_slice(mechanism.name().as_bytes());
        let turn = match mechanism {
            Mechanism::Login => Turn::Username,
            Mechanism::CramMd5 => Turn::Digest,
            Mechanism::Plain | Mechanism::XOAuth2 | Mechanism::OAuthBearer => {
                let response = initial_response(mechanism, plan);
                if "AUTH ".len() + mechanism.name().len() + 1 + response.len() + 2 <= MAX_COMMAND {
                    out.push(b' ');
                    out.extend_from_slice(response.as_bytes());
                    after_initial(mechanism)
                } else {
                    Turn::InitialResponse
                }
            }
        };
        out.extend_from_slice(b"\r\n");
        Self { mechanism, turn, refusal: None }
    }

    /// Appends the answer to a 334; `*`, which cancels, where there is nothing to say (RFC 4954 §4). False if that
    /// was said already: a server that goes on asking would be answered for ever.
    #[must_use]
    pub fn answer(&mut self, challenge: &str, plan: &LoginPlan, out: &mut Vec<u8>) -> bool {
        let next = match self.turn {
            Turn::InitialResponse => {
                out.extend_from_slice(initial_response(self.mechanism, plan).as_bytes());
                after_initial(self.mechanism)
            }
            Turn::Username => {
                out.extend_from_slice(STANDARD.encode(plan.username.as_bytes()).as_bytes());
                Turn::Password
            }
            Turn::Password => {
                let response = Zeroizing::new(STANDARD.encode(plan.secret.expose_secret()));
                out.extend_from_slice(response.as_bytes());
                Turn::Nothing
            }
            Turn::Digest => {
                if let Some(response) = digest(challenge, plan) {
                    out.extend_from_slice(response.as_bytes());
                    Turn::Nothing
                } else {
                    out.push(b'*');
                    Turn::Cancelled
                }
            }
            Turn::Error => {
                self.refusal = Some(TokenRefusal::from_challenge(challenge));
                // RFC 7628 §3.2.3: a lone 0x01; XOAUTH2 wants an empty line.
                if self.mechanism == Mechanism::OAuthBearer {
                    out.extend_from_slice(b"AQ==");
                }
                Turn::Nothing
            }
            Turn::Nothing => {
                out.push(b'*');
                Turn::Cancelled
            }
            Turn::Cancelled => return false,
        };
        out.extend_from_slice(b"\r\n");
        self.turn = next;
        true
    }

    /// Whether the token is known to be refused already, with the server's reply still to come.
    #[must_use]
    pub fn is_refused(&self) -> bool {
        self.refusal.is_some()
    }

    /// That the token was refused, by this reply or by the error in front of it; none if it was no token, or if the
    /// reply speaks of something else.
    pub fn refused(&mut self, reply: Option<&Reply>) -> Option<TokenRefusal> {
        let about_token = reply.is_none_or(|reply| reply.is_permanent() && !Self::rejects_mechanism(reply));
        if !self.mechanism.takes_token() || !about_token {
            return None;
        }
        let told = self.refusal.take().or_else(|| reply.is_some().then(TokenRefusal::default))?;
        Some(TokenRefusal { reply: reply.cloned(), ..told })
    }

    /// Whether this refusal speaks of the mechanism and not of the password, so that another may be tried.
    ///
    /// RFC 4954 §6 has 534 for a mechanism that is too weak; Gmail says it when it wants another password or a
    /// login by browser, and each further try counts there.
    #[must_use]
    pub fn rejects_mechanism(refusal: &Reply) -> bool {
        let speaks_of =
            |word: &str| refusal.lines.iter().any(|line| line.to_ascii_lowercase().contains(word));
        match refusal.code {
            500..=504 => true,
            534 => !["password", "log in", "login", "sign in"].into_iter().any(speaks_of),
            _ => false,
        }
    }

    /// What is being spoken.
    #[must_use]
    pub fn mechanism(&self) -> Mechanism {
        self.mechanism
    }
}

const fn after_initial(mechanism: Mechanism) -> Turn {
    match mechanism {
        Mechanism::XOAuth2 | Mechanism::OAuthBearer => Turn::Error,
        Mechanism::Plain | Mechanism::Login | Mechanism::CramMd5 => Turn::Nothing,
    }
}

fn initial_response(mechanism: Mechanism, plan: &LoginPlan) -> Zeroizing<String> {
    let (user, secret) = (&plan.username, plan.secret.expose_secret());
    let message = Zeroizing::new(match mechanism {
        Mechanism::XOAuth2 => format!("user={user}\u{1}auth=Bearer {secret}\u{1}\u{1}"),
        Mechanism::OAuthBearer => {
            let (host, port) = &plan.server;
            // RFC 5801 §4: the two characters that the GS2 header needs for itself.
            let user = user.replace('=', "=3D").replace(',', "=2C");
            format!("n,a={user},\u{1}host={host}\u{1}port={port}\u{1}auth=Bearer {secret}\u{1}\u{1}")
        }
        Mechanism::Plain | Mechanism::Login | Mechanism::CramMd5 => format!("\0{user}\0{secret}"),
    });
    Zeroizing::new(STANDARD.encode(message.as_bytes()))
}

/// `user digest` in base64 (RFC 2195 §2); none if the challenge isn't base64.
fn digest(challenge: &str, plan: &LoginPlan) -> Option<String> {
    use std::fmt::Write as _;
    let challenge = LENIENT.decode(challenge.trim()).ok()?;
    let mut mac = Hmac::<Md5>::new_from_slice(plan.secret.expose_secret().as_bytes()).ok()?;
    mac.update(&challenge);
    let mut response = format!("{} ", plan.username);
    for octet in mac.finalize().into_bytes() {
        let _infallible = write!(response, "{octet:02x}");
    }
    Some(STANDARD.encode(response))
}

#[cfg(test)]
mod tests {
    use super::*;
    use Mechanism::{CramMd5, Login, Plain};

    fn plan(choice: MechanismChoice) -> LoginPlan {
        let secret = SecretString::from("tanstaaftanstaaf");
        LoginPlan { username: "tim".into(), secret, choice, server: ("mx.test".into(), 587) }
    }

    fn offering(names: &str) -> Capabilities {
        Capabilities { auth: names.split_whitespace().map(Into::into).collect(), ..Capabilities::default() }
    }

    #[test]
    fn the_best_configured_mechanism_is_chosen_and_no_other() {
        use MechanismChoice as Choice;
        let everything = "CRAM-MD5 SCRAM-SHA-256 LOGIN PLAIN XOAUTH2 GSSAPI";
        let rows = [
            (Choice::Auto, everything, true, false, Ok(vec![Plain, Login, CramMd5]), "inside TLS"),
            (
                Choice::Auto,
                everything,
                false,
                false,
                Ok(vec![CramMd5]),
                "outside nothing that shows the password",
            ),
            (Choice::Auto, everything, false, true, Ok(vec![CramMd5, Plain, Login]), "loopback"),
            (Choice::Auto, "LOGIN", true, false, Ok(vec![Login]), "all there is"),
            (Choice::Auto, "login plain", false, false, Err(NoMechanism::WithoutTls), "never in plain"),
            (
                Choice::Auto,
                "XOAUTH2 GSSAPI",
                true,
                false,
                Err(NoMechanism::NoneInCommon("XOAUTH2 GSSAPI".into())),
                "auto has a password, not a token",
            ),
            (
                Choice::CramMd5,
                "PLAIN LOGIN",
                true,
                false,
                Err(NoMechanism::NoneInCommon("PLAIN LOGIN".into())),
                "never one that isn't configured",
            ),
            (Choice::Login, everything, true, false, Ok(vec![Login]), "as configured"),
            (Choice::XOAuth2, everything, true, false, Ok(vec![Mechanism::XOAuth2]), "as configured"),
            (Choice::XOAuth2, everything, false, false, Err(NoMechanism::WithoutTls), "a token is a secret"),
            (Choice::Auto, "", true, false, Err(NoMechanism::NotOffered), "stripped"),
        ];
        for (choice, offered, private, plain_ok, expected, reason) in rows {
            assert_eq!(plan(choice).mechanisms(&offering(offered), private, plain_ok), expected, "{reason}");
        }
    }

    fn speak(mechanism: Mechanism, challenges: &[&str]) -> String {
        let (plan, mut out) = (plan(MechanismChoice::Auto), Vec::new());
        let mut exchange = Exchange::begin(mechanism, &plan, &mut out);
        for challenge in challenges {
            let _ = exchange.answer(challenge, &plan, &mut out);
        }
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn each_mechanism_speaks_by_its_book() {
        let rows = [
            (Plain, vec![], "AUTH PLAIN AHRpbQB0YW5zdGFhZnRhbnN0YWFm\r\n", "RFC 4616"),
            (Plain, vec!["x"], "AUTH PLAIN AHRpbQB0YW5zdGFhZnRhbnN0YWFm\r\n*\r\n", "334 where none is due"),
            (
                Login,
                vec!["UGFzc3dvcmQ6", "garbage"],
                "AUTH LOGIN\r\ndGlt\r\ndGFuc3RhYWZ0YW5zdGFhZg==\r\n",
                "user then password, whatever the prompts are",
            ),
            (
                Login,
                vec!["", "", ""],
                "AUTH LOGIN\r\ndGlt\r\ndGFuc3RhYWZ0YW5zdGFhZg==\r\n*\r\n",
                "a third prompt",
            ),
            (
                CramMd5,
                vec!["PDE4OTYuNjk3MTcwOTUyQHBvc3RvZmZpY2UucmVzdG9uLm1jaS5uZXQ+"],
                "AUTH CRAM-MD5\r\ndGltIGI5MTNhNjAyYzdlZGE3YTQ5NWI0ZTZlNzMzNGQzODkw\r\n",
                "the example of RFC 2195",
            ),
            (CramMd5, vec!["not base64!"], "AUTH CRAM-MD5\r\n*\r\n", "a broken challenge"),
            (
                Mechanism::XOAuth2,
                vec!["eyJzdGF0dXMiOiI0MDEifQ=="],
                "AUTH XOAUTH2 dXNlcj10aW0BYXV0aD1CZWFyZXIgdGFuc3RhYWZ0YW5zdGFhZgEB\r\n\r\n",
                "an empty line fetches the real reply",
            ),
            (
                Mechanism::OAuthBearer,
                vec!["eyJ9"],
                "AUTH OAUTHBEARER bixhPXRpbSwBaG9zdD1teC50ZXN0AXBvcnQ9NTg3AWF1dGg9QmVhcmVyIHRhbnN0YWFmdGFuc3RhYWYBAQ==\r\nAQ==\r\n",
                "RFC 7628 §3.1 and §3.2.3",
            ),
            (
                Mechanism::XOAuth2,
                vec!["eyJ9", "eyJ9", "eyJ9"],
                "AUTH XOAUTH2 dXNlcj10aW0BYXV0aD1CZWFyZXIgdGFuc3RhYWZ0YW5zdGFhZgEB\r\n\r\n*\r\n",
                "one that goes on asking is cancelled once, and then left",
            ),
        ];
        for (mechanism, challenges, expected, reason) in rows {
            assert_eq!(speak(mechanism, &challenges), expected, "{reason}");
        }
    }

    #[test]
    fn the_name_of_a_token_s_user_may_hold_what_parts_the_fields() {
        let mut plan = plan(MechanismChoice::OAuthBearer);
        plan.username = "a=b,c".into();
        let response = STANDARD.decode(initial_response(Mechanism::OAuthBearer, &plan).as_bytes()).unwrap();
        assert!(response.starts_with(b"n,a=a=3Db=2Cc,\x01host="), "{}", String::from_utf8_lossy(&response));
    }

    #[test]
    fn what_is_said_of_a_refused_token_is_read_whoever_wrote_it() {
        let said = |json: &str| TokenRefusal::from_challenge(&STANDARD.encode(json));
        let rows = [
            (
                r#"{"status":"401","schemes":"bearer","scope":"https://mail.google.com/"}"#,
                "status 401, scope https://mail.google.com/",
            ),
            (r#"{"status":400}"#, "status 400"),
            (r#"{"status":"invalid_token","scope":""}"#, "status invalid_token"),
        ];
        for (json, expected) in rows {
            assert_eq!(said(json).to_string(), format!("access token refused, {expected}"));
        }
        for nothing in [said("[1]"), said("{"), TokenRefusal::from_challenge("no base64!")] {
            assert_eq!(nothing, TokenRefusal::default());
        }
    }

    #[test]
    fn another_token_is_worth_a_try_unless_the_server_says_otherwise() {
        let reply = |code, enhanced| Some(Reply::new(code, Some(enhanced), "no"));
        let rows = [
            (Some("400"), reply(535, Enhanced(5, 7, 8)), true, "Gmail"),
            (Some("401"), None, true, "the connection ended behind the error"),
            (None, reply(535, Enhanced(5, 7, 3)), true, "Microsoft says nothing more"),
            (Some("invalid_token"), reply(535, Enhanced(5, 7, 8)), true, "RFC 6750 §3.1"),
            (Some("insufficient_scope"), reply(535, Enhanced(5, 7, 8)), false, "RFC 6750 §3.1"),
            (None, reply(535, Enhanced(5, 7, 139)), false, "switched off"),
            (None, reply(550, Enhanced(5, 7, 30)), false, "switched off"),
        ];
        for (status, reply, expected, reason) in rows {
            let refusal = TokenRefusal { status: status.map(Into::into), scope: None, reply };
            assert_eq!(refusal.may_be_stale(), expected, "{reason}");
        }
    }

    #[test]
    fn a_token_too_long_for_the_command_line_waits_for_its_334() {
        let secret = SecretString::from("t".repeat(2000));
        let plan = LoginPlan { secret, ..plan(MechanismChoice::XOAuth2) };
        let mut out = Vec::new();
        let mut exchange = Exchange::begin(Mechanism::XOAuth2, &plan, &mut out);
        assert_eq!(out, b"AUTH XOAUTH2\r\n");
        assert!(exchange.answer("", &plan, &mut out));
        assert!(out.len() > 2000);
    }

    #[test]
    fn a_password_with_nul_is_never_put_into_plain() {
        let secret = SecretString::from("a\0b");
        let plan = LoginPlan { secret, ..plan(MechanismChoice::Auto) };
        assert_eq!(plan.mechanisms(&offering("PLAIN LOGIN"), true, false), Ok(vec![Login]));
    }

    #[test]
    fn debug_shows_nothing_secret() {
        let shown = format!("{:?}", plan(MechanismChoice::Auto));
        assert_eq!(shown, "LoginPlan { choice: Auto, .. }");
    }
}
