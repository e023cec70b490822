//! Logging in: the client's side of AUTH (RFC 4954).
//!
//! [`LoginPlan::mechanisms`] says which mechanisms may be tried here, best first; [`Exchange`] speaks one of them.
//! Nothing secret has a `Debug`; what is written goes straight into the caller's buffer.

use crate::smtp::capabilities::Capabilities;
use crate::smtp::reply::Reply;
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
            // RFC 7628 §3.1: 0x01 parts the pairs, a comma ends the GS2 header.
            Mechanism::XOAuth2 => &['\u{1}'],
            Mechanism::OAuthBearer => &['\u{1}', ',', '='],
        };
        // The token itself stands behind the last separator that matters but 0x01 and NUL.
        let secret_is_clean = !self.secret.expose_secret().contains(['\0', '\u{1}']);
        !self.username.contains(separators) && (secret_is_clean || separators.is_empty())
    }
}

/// One AUTH exchange.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exchange {
    mechanism: Mechanism,
    turn: Turn,
}

/// What the next 334 asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    InitialResponse,
    Username,
    Password,
    Digest,
    /// A bearer mechanism's 334 is its error; it wants an empty answer before the real reply.
    ErrorSeen,
    Nothing,
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
        Self { mechanism, turn }
    }

    /// Appends the answer to a 334; `*`, which cancels, where there is nothing to say (RFC 4954 §4).
    pub fn answer(&mut self, challenge: &str, plan: &LoginPlan, out: &mut Vec<u8>) {
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
                match digest(challenge, plan) {
                    Some(response) => out.extend_from_slice(response.as_bytes()),
                    None => out.push(b'*'),
                }
                Turn::Nothing
            }
            Turn::ErrorSeen => {
                // RFC 7628 §3.2.3: a lone 0x01; XOAUTH2 wants an empty line.
                if self.mechanism == Mechanism::OAuthBearer {
                    out.extend_from_slice(b"AQ==");
                }
                Turn::Nothing
            }
            Turn::Nothing => {
                out.push(b'*');
                Turn::Nothing
            }
        };
        out.extend_from_slice(b"\r\n");
        self.turn = next;
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
        Mechanism::XOAuth2 | Mechanism::OAuthBearer => Turn::ErrorSeen,
        Mechanism::Plain | Mechanism::Login | Mechanism::CramMd5 => Turn::Nothing,
    }
}

fn initial_response(mechanism: Mechanism, plan: &LoginPlan) -> Zeroizing<String> {
    let (user, secret) = (&plan.username, plan.secret.expose_secret());
    let message = Zeroizing::new(match mechanism {
        Mechanism::XOAuth2 => format!("user={user}\u{1}auth=Bearer {secret}\u{1}\u{1}"),
        Mechanism::OAuthBearer => format!("n,a={user},\u{1}auth=Bearer {secret}\u{1}\u{1}"),
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
        LoginPlan { username: "tim".into(), secret: SecretString::from("tanstaaftanstaaf"), choice }
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
            exchange.answer(challenge, &plan, &mut out);
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
                "AUTH OAUTHBEARER bixhPXRpbSwBYXV0aD1CZWFyZXIgdGFuc3RhYWZ0YW5zdGFhZgEB\r\nAQ==\r\n",
                "RFC 7628 §3.2.3",
            ),
        ];
        for (mechanism, challenges, expected, reason) in rows {
            assert_eq!(speak(mechanism, &challenges), expected, "{reason}");
        }
    }

    #[test]
    fn a_token_too_long_for_the_command_line_waits_for_its_334() {
        let secret = SecretString::from("t".repeat(2000));
        let plan = LoginPlan { username: "u".into(), secret, choice: MechanismChoice::XOAuth2 };
        let mut out = Vec::new();
        let mut exchange = Exchange::begin(Mechanism::XOAuth2, &plan, &mut out);
        assert_eq!(out, b"AUTH XOAUTH2\r\n");
        exchange.answer("", &plan, &mut out);
        assert!(out.len() > 2000);
    }

    #[test]
    fn a_password_with_nul_is_never_put_into_plain() {
        let secret = SecretString::from("a\0b");
        let plan = LoginPlan { username: "u".into(), secret, choice: MechanismChoice::Auto };
        assert_eq!(plan.mechanisms(&offering("PLAIN LOGIN"), true, false), Ok(vec![Login]));
    }

    #[test]
    fn debug_shows_nothing_secret() {
        let shown = format!("{:?}", plan(MechanismChoice::Auto));
        assert_eq!(shown, "LoginPlan { choice: Auto, .. }");
    }
}
