//! SASL, server half: PLAIN and LOGIN as SMTP carries them (RFC 4954, RFC 4616).
//!
//! Takes lines apart into [`Credentials`]; whether they are good is asked of the shell. What was decoded on the way is
//! wiped. A user name with control octets, of more than 255 octets, or with somebody else's authority goes on without a
//! password: nobody can be meant, so that it meets no lookup, but the log tells of it as of any wrong one.

use super::replies;
use super::reply::Reply;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use secrecy::SecretString;
use secrecy::zeroize::Zeroizing;

/// The mechanisms of our EHLO line.
pub const MECHANISMS: &str = "PLAIN LOGIN";
/// Octets of a user name or password (RFC 4616 §2 asks for at least 255).
pub const MAX_NAME: usize = 255;

/// A user name and password to be judged. Its `Debug` shows neither.
#[derive(Clone)]
pub struct Credentials {
    /// The authentication identity, exactly as sent; where no password follows, as well as it can be shown. Escape it
    /// where it is written.
    pub username: String,
    /// The password, wiped when dropped. None: these can't be anybody's, and the answer is no.
    pub password: Option<SecretString>,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Credentials(…)")
    }
}

/// A login that waits for the client's next line.
#[derive(Debug)]
pub enum Exchange {
    /// PLAIN without initial response.
    Plain,
    /// LOGIN, before the user name.
    LoginUsername,
    /// LOGIN, before the password.
    LoginPassword {
        /// What came before.
        username: Zeroizing<Vec<u8>>,
    },
}

/// What follows from a line.
#[derive(Debug)]
pub enum Turn {
    /// Say this (334) and wait for a line.
    Prompt(Exchange, Reply),
    /// The client has said all.
    Verify(Credentials),
}

/// Why a login ends before anybody judged it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SaslError {
    /// Neither PLAIN nor LOGIN.
    #[error("unknown mechanism")]
    Mechanism,
    /// Not base64 (RFC 4648 §4).
    #[error("not base64")]
    Base64,
    /// Not authzid NUL authcid NUL password.
    #[error("not a PLAIN message")]
    Form,
    /// `*` (RFC 4954 §4).
    #[error("cancelled")]
    Cancelled,
}

impl Exchange {
    /// Begins with AUTH's arguments.
    ///
    /// # Errors
    /// The mechanism is unknown, or the initial response is wrong.
    pub fn begin(mechanism: &str, initial: Option<&str>) -> Result<Turn, SaslError> {
        let (exchange, prompt) = if mechanism.eq_ignore_ascii_case("PLAIN") {
            (Self::Plain, "")
        } else if mechanism.eq_ignore_ascii_case("LOGIN") {
            (Self::LoginUsername, "VXNlcm5hbWU6")
        } else {
            return Err(SaslError::Mechanism);
        };
        match initial {
            None => Ok(Turn::Prompt(exchange, replies::challenge(prompt))),
            // RFC 4954 §4: "=" is an initial response of no octets.
            Some("=") => exchange.respond(Zeroizing::default()),
            Some(initial) => exchange.respond(decode(initial.as_bytes())?),
        }
    }

    /// Goes on with a line from the client.
    ///
    /// # Errors
    /// It is cancelled, no base64, or not what the mechanism asks for.
    pub fn answer(self, line: &[u8]) -> Result<Turn, SaslError> {
        if line == b"*" {
            return Err(SaslError::Cancelled);
        }
        let response = decode(line)?;
        self.respond(response)
    }

    fn respond(self, response: Zeroizing<Vec<u8>>) -> Result<Turn, SaslError> {
        match self {
            Self::Plain => plain(&response).map(Turn::Verify),
            Self::LoginUsername => {
                let next = Self::LoginPassword { username: response };
                Ok(Turn::Prompt(next, replies::challenge("UGFzc3dvcmQ6")))
            }
            Self::LoginPassword { username } => Ok(Turn::Verify(credentials(&username, &response))),
        }
    }
}

fn decode(text: &[u8]) -> Result<Zeroizing<Vec<u8>>, SaslError> {
    STANDARD.decode(text).map(Zeroizing::new).map_err(|_| SaslError::Base64)
}

/// RFC 4616 §2: `[authzid] NUL authcid NUL passwd`. Nobody acts for somebody else here.
fn plain(message: &[u8]) -> Result<Credentials, SaslError> {
    let mut parts = message.split(|&byte| byte == 0);
    let (Some(authority), Some(username), Some(password), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(SaslError::Form);
    };
    if !authority.is_empty() && authority != username {
        let named = [shown(username), shown(authority)].join(" for ");
        return Ok(Credentials { username: named, password: None });
    }
    Ok(credentials(username, password))
}

/// Compared as octets, without any Unicode preparation: what was hashed is what must be sent.
fn credentials(username: &[u8], password: &[u8]) -> Credentials {
    let is_odd = |text: &str| text.is_empty() || text.len() > MAX_NAME;
    match (std::str::from_utf8(username), std::str::from_utf8(password)) {
        (Ok(name), Ok(password))
            if !is_odd(name)
                && !is_odd(password)
                && !name.chars().any(char::is_control)
                && !password.contains('\0') =>
        {
            Credentials { username: name.to_owned(), password: Some(password.into()) }
        }
        _ => Credentials { username: shown(username), password: None },
    }
}

/// A name that is only shown.
fn shown(name: &[u8]) -> String {
    String::from_utf8_lossy(name.get(..MAX_NAME).unwrap_or(name)).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use secrecy::ExposeSecret;

    fn base64(text: &[u8]) -> String {
        STANDARD.encode(text)
    }

    fn said(turn: Result<Turn, SaslError>) -> Result<(String, String), SaslError> {
        match turn? {
            Turn::Verify(Credentials { username, password: Some(password) }) => {
                Ok((username, password.expose_secret().to_owned()))
            }
            Turn::Verify(Credentials { username, password: None }) => Ok((username, "nobody's".to_owned())),
            Turn::Prompt(_, prompt) => Ok(("prompt".to_owned(), prompt.lines.concat())),
        }
    }

    #[test]
    fn plain_takes_the_empty_and_the_own_authority_only() {
        let good = Ok(("shop".to_owned(), "pass".to_owned()));
        let nobodys = |name: &str| Ok((name.to_owned(), "nobody's".to_owned()));
        for (message, wanted) in [
            (&b"\0shop\0pass"[..], good.clone()),
            (b"shop\0shop\0pass", good),
            (b"admin\0shop\0pass", nobodys("shop for admin")),
            (b"", Err(SaslError::Form)),
            (b"shop", Err(SaslError::Form)),
            (b"\0shop", Err(SaslError::Form)),
            (b"\0shop\0pa\0ss", Err(SaslError::Form)),
            (b"\0shop\0pass\0\0", Err(SaslError::Form)),
            (b"\0\0pass", nobodys("")),
            (b"\0shop\0", nobodys("shop")),
            (b"\0sh\nop\0pass", nobodys("sh\nop")),
            (b"\0\x1b[1m\0pass", nobodys("\x1b[1m")),
            (b"\0shop\0\xff", nobodys("shop")),
            (format!("\0{}\0pass", "a".repeat(256)).as_bytes(), nobodys(&"a".repeat(255))),
        ] {
            assert_eq!(said(Exchange::begin("plain", Some(&base64(message)))), wanted, "{message:?}");
            let Ok(Turn::Prompt(exchange, prompt)) = Exchange::begin("PLAIN", None) else {
                panic!("no prompt")
            };
            assert_eq!(prompt, Reply::new(334, None, ""));
            if !message.is_empty() {
                assert_eq!(said(exchange.answer(base64(message).as_bytes())), wanted, "{message:?}");
            }
        }
    }

    #[test]
    fn an_initial_equals_sign_is_the_empty_response() {
        assert_eq!(said(Exchange::begin("PLAIN", Some("="))), Err(SaslError::Form));
        assert_eq!(
            said(Exchange::begin("LOGIN", Some("="))),
            Ok(("prompt".to_owned(), "UGFzc3dvcmQ6".to_owned()))
        );
    }

    #[test]
    fn login_asks_for_the_name_unless_it_came_along() {
        let Ok(Turn::Prompt(exchange, prompt)) = Exchange::begin("Login", None) else { panic!("no prompt") };
        assert_eq!(prompt, Reply::new(334, None, "VXNlcm5hbWU6"));
        let Ok(Turn::Prompt(exchange, _)) = exchange.answer(b"c2hvcA==") else { panic!("no prompt") };
        assert_eq!(said(exchange.answer(b"cGFzcw==")), Ok(("shop".to_owned(), "pass".to_owned())));
        let Ok(Turn::Prompt(exchange, _)) = Exchange::begin("LOGIN", Some("c2hvcA==")) else {
            panic!("no prompt")
        };
        assert_eq!(said(exchange.answer(b"cGFzcw==")), Ok(("shop".to_owned(), "pass".to_owned())));
    }

    #[test]
    fn a_star_cancels_and_what_is_not_base64_is_refused() {
        for (line, why) in [
            (&b"*"[..], SaslError::Cancelled),
            (b"**", SaslError::Base64),
            (b"c2hvcA", SaslError::Base64),
            (b"c2hv cA==", SaslError::Base64),
            (b"=", SaslError::Base64),
            (b"\xff\xff", SaslError::Base64),
        ] {
            assert_eq!(said(Exchange::LoginUsername.answer(line)), Err(why), "{line:?}");
        }
        assert_eq!(said(Exchange::begin("CRAM-MD5", None)), Err(SaslError::Mechanism));
    }

    #[test]
    fn debug_shows_no_secret() {
        let found = plain(b"\0shop\0pass").expect("credentials");
        assert_eq!(format!("{found:?}"), "Credentials(…)");
    }
}
