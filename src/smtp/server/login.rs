//! AUTH in the session machine (RFC 4954): when it may begin, its lines, and what failures cost.

use super::{AuthPolicy, Checked, Closing, Login, MAX_AUTH_LINE, Server, State, Step};
use crate::smtp::replies;
use crate::smtp::sasl::{Exchange, SaslError, Turn};

/// So many failed logins close the session.
const MAX_FAILED_LOGINS: u32 = 3;

impl Server {
    /// Answers [`Step::Verify`].
    pub fn verified(&mut self, checked: Checked) -> Step {
        let State::Verifying = self.state else { return self.out_of_step() };
        self.state = State::Ready;
        match checked {
            Checked::Good => {
                self.login = Login::Somebody;
                Step::Say(replies::LOGGED_IN.reply())
            }
            Checked::Bad => self.login_failed(),
            // Counted, or a client could go on asking for ever.
            Checked::Unknown => self.complain(replies::LOGIN_UNAVAILABLE.reply()),
        }
    }

    /// Whether AUTH may be said on this channel.
    pub(super) fn auth_fits_channel(&self) -> bool {
        self.is_secured() || !self.settings.auth_needs_tls
    }

    /// Deviation: AUTH is also taken after HELO, as some old devices send it.
    pub(super) fn auth(&mut self, mechanism: &str, initial: Option<&str>) -> Step {
        let wrong = match self.state {
            _ if self.settings.auth == AuthPolicy::NotOffered => Some(replies::NO_LOGIN),
            _ if self.hello.is_none() => Some(replies::SAY_EHLO),
            _ if self.is_logged_in() => Some(replies::LOGGED_IN_ALREADY),
            State::Open(_) | State::BetweenChunks(..) => Some(replies::LOGIN_TOO_LATE),
            _ if !self.auth_fits_channel() => Some(replies::LOGIN_NEEDS_TLS),
            _ => None,
        };
        match wrong {
            Some(wrong) => self.complain(wrong.reply()),
            None => self.turn(Exchange::begin(mechanism, initial)),
        }
    }

    /// The client's next line of a login, in state [`State::LoggingIn`].
    pub(super) fn login_line(&mut self, line: &[u8]) -> Step {
        let State::LoggingIn(exchange) = self.take_state() else { return self.out_of_step() };
        if line.len() + 2 > MAX_AUTH_LINE {
            return self.complain(replies::LONG_AUTH_LINE.reply());
        }
        self.turn(exchange.answer(line))
    }

    fn turn(&mut self, turn: Result<Turn, SaslError>) -> Step {
        match turn {
            Ok(Turn::Prompt(exchange, prompt)) => {
                self.state = State::LoggingIn(exchange);
                Step::Say(prompt)
            }
            Ok(Turn::Verify(credentials)) => {
                self.state = State::Verifying;
                Step::Verify(credentials)
            }
            Err(error) => self.complain(replies::Fixed::from(error).reply()),
        }
    }

    fn login_failed(&mut self) -> Step {
        let failures = match self.login {
            Login::Nobody { failures } => failures.saturating_add(1),
            Login::Somebody => return self.out_of_step(),
        };
        self.login = Login::Nobody { failures };
        if failures >= MAX_FAILED_LOGINS {
            return self.close(replies::TOO_MANY_LOGINS, Closing::TooManyLogins);
        }
        Step::Say(replies::BAD_LOGIN.reply())
    }
}
