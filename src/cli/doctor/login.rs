//! A login's outcome: why it failed, in words. Pure.

use super::choice::{Choice, way, ways};
use super::diagnosis::{Report, Subject};
use super::finding::Findings;
use crate::config::schema::{ProviderReply, TlsMode};
use crate::deliver::providers::{self, Meaning};
use crate::deliver::verdict::{Cause, Stage};
use crate::smtp::reply::Enhanced;

/// How a login went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Login {
    /// Not tried, because.
    NotTried(String),
    /// The smarthost took it.
    Good,
    /// It didn't.
    Failed {
        trouble: LoginTrouble,
        /// The smarthost's reply, or ours in its place.
        said: String,
        advice: Option<String>,
    },
}

/// Why a login failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LoginTrouble {
    WrongPassword,
    /// The access token is no good, or no token is.
    TokenRefused,
    /// This provider takes app passwords only.
    AppPassword,
    /// Logging in by password is switched off for the account.
    Disabled,
    /// No AUTH at all.
    NotOffered,
    /// AUTH, but by no mechanism that the settings allow.
    NoMechanism,
    /// The server takes this login inside TLS alone.
    EncryptionNeeded,
    /// The account is switched off.
    AccountDisabled,
    /// AUTH is offered, and the command isn't taken.
    NotTaken,
    /// Refused, not for a wrong password by what is said.
    Refused,
    /// Not now.
    Later,
    /// It didn't come to that.
    Interrupted,
}

/// What a failed login means; `ours` is what the configuration says about this host's replies, `offered` what AUTH lists,
/// `by_token` whether the password is an access token.
pub(super) fn login_trouble(
    host: &str,
    ours: &[ProviderReply],
    cause: &Cause,
    offered: &[Box<str>],
    by_token: bool,
) -> Login {
    let known = providers::meaning(host, &cause.reply, ours).map(|(meaning, _)| meaning);
    let trouble = match known {
        _ if cause.stage != Stage::Auth && cause.from_peer && cause.reply.is_transient() => {
            LoginTrouble::Later
        }
        _ if cause.stage != Stage::Auth => LoginTrouble::Interrupted,
        _ if !cause.from_peer && offered.is_empty() => LoginTrouble::NotOffered,
        _ if !cause.from_peer && cause.advice.is_some() => LoginTrouble::NoMechanism,
        _ if !cause.from_peer => LoginTrouble::Interrupted,
        Some(Meaning::Quota) => LoginTrouble::Later,
        Some(Meaning::Encryption) => LoginTrouble::EncryptionNeeded,
        None | Some(Meaning::Login) if let Some(trouble) = by_code(cause) => trouble,
        _ if by_token && cause.reply.is_permanent() && !speaks_of_mechanism(cause) => {
            LoginTrouble::TokenRefused
        }
        Some(Meaning::AppPassword) => LoginTrouble::AppPassword,
        Some(Meaning::LoginDisabled) => LoginTrouble::Disabled,
        Some(Meaning::LoginLater) => LoginTrouble::Later,
        _ if cause.reply.is_transient() => LoginTrouble::Later,
        _ if speaks_of_mechanism(cause) => LoginTrouble::NoMechanism,
        Some(Meaning::Login) => LoginTrouble::WrongPassword,
        // RFC 4954 §6: the one code that speaks of user name and password.
        None if cause.reply.code == 535 => LoginTrouble::WrongPassword,
        _ => LoginTrouble::Refused,
    };
    // The verdict's own advice for a bad login says less than the diagnosis, and so does that for missing encryption.
    let is_known = known.is_some_and(|known| known != Meaning::Encryption);
    let advice = cause.advice.filter(|_| is_known || trouble == LoginTrouble::TokenRefused);
    Login::Failed { trouble, said: cause.reply.to_string(), advice: advice.map(str::to_owned) }
}

/// What a code says that can't be about user name, password or token (RFC 4954 §4 and §6, RFC 5248).
fn by_code(cause: &Cause) -> Option<LoginTrouble> {
    match cause.reply.code {
        538 => Some(LoginTrouble::EncryptionNeeded),
        525 => Some(LoginTrouble::AccountDisabled),
        _ if cause.reply.enhanced == Some(Enhanced(5, 7, 13)) => Some(LoginTrouble::AccountDisabled),
        500 | 502 | 503 => Some(LoginTrouble::NotTaken),
        _ => None,
    }
}

fn speaks_of_mechanism(cause: &Cause) -> bool {
    cause.reply.code == 504
}

/// What a login's outcome means, and what to do.
pub(super) fn words(
    report: &mut Report,
    findings: &Findings,
    subject: &Subject,
    choice: &Choice,
    login: &Login,
) {
    let offered = way(findings, choice).and_then(|finding| finding.offers.as_ref());
    let mechanisms = offered.map(|offers| offers.capabilities.auth.join(" ")).unwrap_or_default();
    let instead = subject.mechanism.zip(choice.auth);
    if let Some((configured, auth)) = instead.filter(|(one, other)| one.takes_token() == other.takes_token())
    {
        report.bad(format!(
            "auth = \"{}\" isn't offered there, but AUTH {mechanisms}: write auth = \"{}\".",
            configured.word(),
            auth.word()
        ));
    }
    let (trouble, said, advice) = match login {
        Login::Good => return report.good("The login is good."),
        Login::NotTried(why) => return report.note(format!("The login was not tried: {why}.")),
        Login::Failed { trouble, said, advice } => (trouble, said, advice),
    };
    let text = match trouble {
        LoginTrouble::WrongPassword => format!("The server refuses user name or password: {said}"),
        LoginTrouble::TokenRefused => format!("The login by access token came to nothing: {said}"),
        LoginTrouble::AppPassword => {
            format!("The server wants an app password in place of the account's own password: {said}")
        }
        LoginTrouble::Disabled => {
            format!(
                "Logging in by password is switched off for this account; the password may be right: {said}"
            )
        }
        LoginTrouble::NotOffered => "The server offers no login (AUTH) here, but one is configured.".into(),
        LoginTrouble::NoMechanism => {
            format!("The server offers no login that the settings allow; it offers {mechanisms}.")
        }
        LoginTrouble::EncryptionNeeded if choice.tls == TlsMode::None => format!(
            "The server takes this login inside TLS alone: {said}. Write tls = \"starttls\", or \"implicit\" with the port \
             for it."
        ),
        LoginTrouble::EncryptionNeeded => format!(
            "The server says that this login needs encryption, although the connection has it: {said}. Something in front of \
             it may take TLS off; ask whoever runs it."
        ),
        LoginTrouble::AccountDisabled => {
            format!("The account is switched off at the server, whatever the password: {said}")
        }
        LoginTrouble::NotTaken => format!(
            "The server offers a login and doesn't take the command for it: {said}. That says nothing of user name and \
             password; ask whoever runs the server."
        ),
        LoginTrouble::Refused => format!(
            "The server refuses the login, and doesn't say that user name or password are wrong: {said}. The account may be \
             locked, not allowed to send, or this machine not welcome."
        ),
        LoginTrouble::Later => format!("The server takes no logins at the moment: {said}"),
        LoginTrouble::Interrupted => format!("The login came to no end: {said}"),
    };
    report.bad(text);
    if *trouble == LoginTrouble::NotOffered {
        match elsewhere(findings, choice) {
            Some((port, mode)) => report.bad(format!(
                "AUTH is offered on port {port} with tls = \"{}\": many servers take a login only inside TLS.",
                mode.as_str()
            )),
            None => report.bad(
                "It may be a server for incoming mail, or one that knows its clients by their address; ask the provider for \
                 its submission server, or leave username out.",
            ),
        }
    }
    if *trouble == LoginTrouble::NoMechanism && mechanisms.to_ascii_uppercase().contains("OAUTH") {
        report.note(
            "It takes access tokens: auth = \"xoauth2\" or \"oauthbearer\" logs in with one, which password_file or \
             password_command gives.",
        );
    }
    if let Some((_, auth)) = instead.filter(|(one, other)| one.takes_token() && !other.takes_token()) {
        report.note(format!(
            "It takes passwords, not access tokens: write auth = \"{}\", and the account's password (or an app password) where \
             the token was.",
            auth.word()
        ));
    }
    let provider = subject.wanted_login.as_deref();
    let general = match trouble {
        LoginTrouble::WrongPassword => provider.or(Some(
            "Check both at the provider's web mail. The user name is mostly the whole address. Some providers want a \
             password for mail programs of its own, or need \"SMTP\" to be allowed first",
        )),
        LoginTrouble::AppPassword
        | LoginTrouble::Disabled
        | LoginTrouble::NoMechanism
        | LoginTrouble::Refused => provider,
        _ => None,
    };
    for advice in
        advice.as_deref().into_iter().chain(general.filter(|general| advice.as_deref() != Some(general)))
    {
        report.advice(advice);
    }
}

/// Where else AUTH is offered.
fn elsewhere(findings: &Findings, choice: &Choice) -> Option<(u16, TlsMode)> {
    ways(findings)
        .find(|(port, finding)| {
            (port.port, finding.mode) != (choice.port, choice.tls) && finding.offers_auth()
        })
        .map(|(port, finding)| (port.port, finding.mode))
}
