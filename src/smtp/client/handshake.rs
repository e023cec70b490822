//! From the greeting to where mail may be sent: EHLO, STARTTLS, AUTH (RFC 5321 §3.1, RFC 3207, RFC 4954).
//!
//! Each step that fails ends the connection with the stage and the server's words; nothing is tried with less
//! safety than was asked for.

use super::commands::write_hello;
use super::{Cause, Client, Ending, Fault, Said, Setback, Stage, State, TlsUse, stage_of};
use crate::smtp::capabilities::Capabilities;
use crate::smtp::reply::Reply;
use crate::smtp::sasl_client::{Exchange, LoginPlan, Mechanism, NoMechanism};

/// A login under way.
#[derive(Debug)]
pub(super) struct Login {
    pub(super) exchange: Exchange,
    /// What else to try when the server turns out not to know the mechanism; one at most.
    fallback: Option<Mechanism>,
}

impl Client {
    /// A reply came before the connection was ready.
    pub(super) fn opened(&mut self, said: Said, reply: Reply) {
        if said == Said::Auth {
            return self.auth_answered(reply);
        }
        let stage = stage_of(said);
        if reply.is_positive() {
            match said {
                Said::Connected => self.say_hello(Said::Ehlo),
                Said::Ehlo => {
                    self.capabilities = Capabilities::from_reply(&reply);
                    self.after_hello();
                }
                Said::StartTls => self.state = State::TlsHandshake,
                _ => self.after_hello(),
            }
        } else if reply.is_intermediate() {
            self.out_of_place(stage, reply);
        } else if said == Said::Ehlo && matches!(reply.code, 500 | 502) && self.can_do_without_ehlo() {
            // RFC 5321 §3.2: a server that doesn't know EHLO may know HELO.
            self.say_hello(Said::Helo);
        } else {
            self.give_up(stage, Cause::Reply(reply));
        }
    }

    /// Appends EHLO or HELO.
    pub(super) fn say_hello(&mut self, which: Said) {
        let verb = if which == Said::Helo { "HELO" } else { "EHLO" };
        write_hello(verb, &self.settings.hostname, &mut self.out);
        self.expect(which);
    }

    /// HELO offers nothing: neither STARTTLS nor AUTH.
    fn can_do_without_ehlo(&self) -> bool {
        self.settings.login.is_none() && (self.private || self.settings.tls == TlsUse::None)
    }

    fn after_hello(&mut self) {
        if self.settings.tls == TlsUse::StartTls && !self.private {
            if self.capabilities.starttls {
                self.out.extend_from_slice(b"STARTTLS\r\n");
                self.expect(Said::StartTls);
            } else {
                self.give_up(Stage::StartTls, Cause::Fault(Fault::StartTlsNotOffered));
            }
            return;
        }
        let Some(plan) = self.settings.login.clone() else {
            self.state = State::Ready;
            return;
        };
        match plan.mechanisms(&self.capabilities, self.private, self.settings.plain_password_ok) {
            Ok(usable) => {
                let mut usable = usable.into_iter();
                if let Some(best) = usable.next() {
                    self.say_auth(best, usable.next(), &plan);
                }
            }
            Err(none) => self.give_up(Stage::Auth, Cause::Fault(none.into())),
        }
    }

    fn say_auth(&mut self, mechanism: Mechanism, fallback: Option<Mechanism>, plan: &LoginPlan) {
        let exchange = Exchange::begin(mechanism, plan, &mut self.out);
        self.expect(Said::Auth);
        self.state = State::Login(Login { exchange, fallback });
    }

    fn auth_answered(&mut self, reply: Reply) {
        let (State::Login(login), Some(plan)) = (&mut self.state, &self.settings.login) else {
            return self.out_of_place(Stage::Auth, reply);
        };
        if reply.is_positive() {
            self.state = State::Ready;
        } else if reply.code == 334 {
            let challenge = reply.lines.first().map_or("", |line| line);
            if login.exchange.answer(challenge, plan, &mut self.out) {
                self.expect(Said::Auth);
            } else {
                self.out_of_place(Stage::Auth, reply);
            }
        } else if reply.is_intermediate() {
            self.out_of_place(Stage::Auth, reply);
        } else if let Some(other) = login.fallback.take().filter(|_| Exchange::rejects_mechanism(&reply)) {
            // Never on a wrong password: a second try would count towards a locked account.
            let plan = plan.clone();
            self.say_auth(other, None, &plan);
        } else {
            let cause = match login.exchange.refused(Some(&reply)) {
                Some(refusal) => Cause::Fault(Fault::TokenRefused(Box::new(refusal))),
                None => Cause::Reply(reply),
            };
            self.give_up(Stage::Auth, cause);
        }
    }

    /// Ends it with good manners: nothing can be sent here.
    fn give_up(&mut self, stage: Stage, cause: Cause) {
        self.say_quit(Ending::Failed(Setback { stage, cause }));
    }
}

impl From<NoMechanism> for Fault {
    fn from(none: NoMechanism) -> Self {
        match none {
            NoMechanism::NotOffered => Self::AuthNotOffered,
            NoMechanism::NoneInCommon(offered) => Self::NoCommonMechanism(offered),
            NoMechanism::WithoutTls => Self::PasswordWithoutTls,
        }
    }
}
