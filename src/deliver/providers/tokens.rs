//! What helps against a refused access token. What providers say of passwords doesn't: an app password is no token.
//!
//! Facts from learn.microsoft.com ("Authenticate an IMAP, POP or SMTP connection using OAuth", "Authenticated client SMTP submission"),
//! developers.google.com/workspace/gmail/imap/xoauth2-protocol, and public threads with the replies in them.

use crate::smtp::reply::Enhanced;
use crate::smtp::sasl_client::TokenRefusal;

const SWITCHED_OFF: &str = "Microsoft 365 has \"Authenticated SMTP\" switched off for this mailbox or tenant, and no token changes that: \
                            an admin must allow it (https://aka.ms/smtp_auth_disabled); personal Outlook.com mailboxes may not have it at all";
const POLICY: &str = "a policy of this Microsoft 365 tenant (security defaults, conditional access) forbids this login, and no token \
                      changes that: an admin must exempt this account";
const NOT_ACCEPTED: &str = "Microsoft 365 says so to a token of another user than username, to one without the scope \
                            https://outlook.office.com/SMTP.Send, and where this user may not use the mailbox; or the token has run out";
const NOT_A_TOKEN: &str = "Microsoft 365 took this for a password: see that auth is \"xoauth2\" and that what is fetched is an access token, \
                           not a password or a refresh token";
const GMAIL: &str = "Gmail wants an access token of this very account with the scope https://mail.google.com/; it lives for an hour, so \
                     password_file must be renewed by a program, or password_command print a fresh one";
const ANYBODY: &str = "access tokens live for an hour or so: see that what password_file or password_command names gives a fresh one, \
                       that it is this user's, and that it has the scope for sending mail";

/// What to do about this refusal.
#[must_use]
pub fn token_advice(refusal: &TokenRefusal) -> &'static str {
    let reply = refusal.reply.as_ref();
    let said = reply.map(|reply| reply.lines.join(" ").to_ascii_lowercase()).unwrap_or_default();
    let says = |words: &[&str]| words.iter().any(|word| said.contains(word));
    let enhanced = reply.and_then(|reply| reply.enhanced);
    let scope = refusal.scope.as_deref().unwrap_or_default();
    if says(&["security defaults policy", "did not meet the criteria to be authenticated"]) {
        POLICY
    } else if says(&["user credentials were incorrect"]) || enhanced == Some(Enhanced(5, 7, 3)) {
        NOT_ACCEPTED
    } else if says(&["smtpclientauthentication is disabled"]) || enhanced == Some(Enhanced(5, 7, 139)) {
        SWITCHED_OFF
    } else if enhanced == Some(Enhanced(5, 7, 30)) {
        NOT_A_TOKEN
    } else if scope.contains("mail.google.com") || says(&["gsmtp", "support.google.com"]) {
        GMAIL
    } else {
        ANYBODY
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deliver::verdict::tests::reply;

    #[test]
    fn each_refusal_tells_what_to_mend() {
        let rows = [
            (
                None,
                "535 5.7.139 Authentication unsuccessful, SmtpClientAuthentication is disabled for the Tenant.",
                SWITCHED_OFF,
            ),
            (
                None,
                "535 5.7.139 Authentication unsuccessful, the user credentials were incorrect.",
                NOT_ACCEPTED,
            ),
            (
                None,
                "535 5.7.139 Authentication unsuccessful, user is locked by your organization's security defaults policy.",
                POLICY,
            ),
            (
                None,
                "535 5.7.3 Authentication unsuccessful [AM0PR10CA0001.EURPRD10.PROD.OUTLOOK.COM]",
                NOT_ACCEPTED,
            ),
            (None, "550 5.7.30 Basic authentication is not supported for Client Submission.", NOT_A_TOKEN),
            (
                None,
                "535 5.7.8 Username and Password not accepted. https://support.google.com/mail/?p=BadCredentials - gsmtp",
                GMAIL,
            ),
            (Some("https://mail.google.com/"), "535 5.7.8 no", GMAIL),
            (None, "535 5.7.8 no", ANYBODY),
        ];
        for (scope, line, expected) in rows {
            let refusal =
                TokenRefusal { status: None, scope: scope.map(Into::into), reply: Some(reply(line)) };
            assert_eq!(token_advice(&refusal), expected, "{line}");
        }
        assert_eq!(token_advice(&TokenRefusal::default()), ANYBODY);
    }
}
