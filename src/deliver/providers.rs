//! What known smarthosts mean by their replies: data, looked through from the top, first match wins.
//!
//! Only what the code alone would get wrong stands here: quota and login told as `5yz`, account trouble told at RCPT,
//! and words of advice. Collected in November 2026 from the providers' own pages and from threads where people
//! pasted them; texts are compared in lower case, so that a provider's rewording costs a match and never a message.

use crate::smtp::reply::{Enhanced, Reply};

/// What a reply is about, where that isn't plain from its code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Meaning {
    /// The account has sent its share; more later.
    Quota,
    /// The login is missing or wrong.
    Login,
    /// A login is missing, if there was none; else it is about this recipient, perhaps in another host's words.
    NeedsLogin,
    /// Too many logins or wrong ones; later.
    LoginLater,
    /// Too fast or too many connections; soon.
    Busy,
    /// The account or our address is refused altogether.
    Policy,
    /// This sender isn't allowed to this account.
    Sender,
    /// This content isn't wanted.
    Content,
    /// Later, whatever the code says.
    Later,
    /// No more recipients in this transaction (RFC 5321 §4.5.3.1.10).
    RecipientLimit,
}

/// One line of the table.
struct Known {
    /// The smarthost's host is this or ends in `.` and this; empty: any.
    host: &'static str,
    /// The code; 0: any.
    code: u16,
    /// The enhanced code.
    enhanced: Option<Enhanced>,
    /// Part of the text, in lower case; empty: any.
    text: &'static str,
    meaning: Meaning,
    advice: Option<&'static str>,
}

/// What this host means by this reply, and what to do about it; none if the table doesn't know it.
#[must_use]
pub fn meaning(host: &str, reply: &Reply) -> Option<(Meaning, Option<&'static str>)> {
    let text = reply.lines.join(" ").to_ascii_lowercase();
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    let host = host.replace("googlemail.com", "gmail.com").replace("outlook.com", "office365.com");
    let known = KNOWN.iter().find(|known| {
        (known.code == 0 || known.code == reply.code)
            && (known.enhanced.is_none() || known.enhanced == reply.enhanced)
            && text.contains(known.text)
            && is_within(&host, known.host)
    });
    known.map(|known| (known.meaning, known.advice))
}

fn is_within(host: &str, domain: &str) -> bool {
    domain.is_empty() || host.strip_suffix(domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

const APP_PASSWORD: Option<&str> =
    Some("make an app password for this account (needs 2-step verification) and set it as password");
const GMAIL_QUOTA: Option<&str> =
    Some("Gmail counts over 24 hours: about 500 recipients (2,000 with Workspace); set per_day below that");
const M365_BASIC: Option<&str> = Some(
    "Microsoft 365 has password login switched off for this mailbox or tenant: allow \"Authenticated SMTP\" for it, or use OAuth",
);
const M365_QUOTA: Option<&str> = Some(
    "Microsoft 365 allows 10,000 recipients in 24 hours and 30 messages a minute; set per_day and per_minute",
);
const SENDER: Option<&str> = Some(
    "this account may not send as that address: use one of its own, or let the account send as it at the provider",
);
const LOGIN: Option<&str> =
    Some("the smarthost wants a login: set username and password, and check that auth is not \"none\"");

const fn known(
    host: &'static str,
    code: u16,
    enhanced: Option<Enhanced>,
    text: &'static str,
    meaning: Meaning,
    advice: Option<&'static str>,
) -> Known {
    Known { host, code, enhanced, text, meaning, advice }
}

#[rustfmt::skip]
const KNOWN: &[Known] = &[
    // Gmail and Google Workspace: support.google.com/a/answer/3726730
    known("gmail.com", 550, Some(Enhanced(5, 4, 5)), "", Meaning::Quota, GMAIL_QUOTA),
    known("gmail.com", 0, None, "sending limit exceeded", Meaning::Quota, GMAIL_QUOTA),
    known("gmail.com", 0, None, "relay limit exceeded", Meaning::Quota, GMAIL_QUOTA),
    known("gmail.com", 454, Some(Enhanced(4, 7, 0)), "too many login attempts", Meaning::LoginLater, Some("keep connections low; Gmail lets logins in again after a while")),
    known("gmail.com", 534, Some(Enhanced(5, 7, 9)), "", Meaning::Login, APP_PASSWORD),
    known("gmail.com", 534, Some(Enhanced(5, 7, 14)), "", Meaning::Login, Some("log in to this account in a web browser once, then make an app password")),
    known("gmail.com", 535, Some(Enhanced(5, 7, 8)), "", Meaning::Login, APP_PASSWORD),
    known("gmail.com", 0, None, "invalid credentials for relay", Meaning::Policy, Some("list this machine's address under SMTP relay service in the Google admin console")),
    known("gmail.com", 550, Some(Enhanced(5, 7, 0)), "mail relay denied", Meaning::Policy, Some("list this machine's address under SMTP relay service in the Google admin console")),
    known("gmail.com", 552, Some(Enhanced(5, 7, 0)), "", Meaning::Content, Some("Gmail refuses some attachments (programs, archives with programs)")),
    // Microsoft 365 and Outlook: learn.microsoft.com/exchange/mail-flow-best-practices/non-delivery-reports-in-exchange-online
    known("office365.com", 432, Some(Enhanced(4, 3, 2)), "", Meaning::Busy, Some("set connections = 3: Microsoft 365 allows no more at once")),
    known("office365.com", 535, Some(Enhanced(5, 7, 139)), "", Meaning::Login, M365_BASIC),
    known("office365.com", 550, Some(Enhanced(5, 7, 30)), "", Meaning::Login, M365_BASIC),
    known("office365.com", 535, Some(Enhanced(5, 7, 3)), "", Meaning::Login, M365_BASIC),
    known("office365.com", 0, None, "submissionquotaexceeded", Meaning::Quota, M365_QUOTA),
    known("office365.com", 0, None, "submission quota was exceeded", Meaning::Quota, M365_QUOTA),
    known("office365.com", 554, Some(Enhanced(5, 2, 0)), "sendasdenied", Meaning::Sender, SENDER),
    known("office365.com", 550, Some(Enhanced(5, 7, 60)), "", Meaning::Sender, SENDER),
    known("office365.com", 550, Some(Enhanced(5, 1, 8)), "", Meaning::Policy, Some("Microsoft 365 has blocked this mailbox for outgoing spam: unblock it under Restricted entities")),
    known("office365.com", 550, Some(Enhanced(5, 7, 705)), "", Meaning::Policy, Some("Microsoft 365 has blocked this tenant: it sent too much unwanted mail")),
    known("office365.com", 554, Some(Enhanced(5, 2, 0)), "", Meaning::Quota, M365_QUOTA),
    known("office365.com", 451, Some(Enhanced(4, 7, 500)), "", Meaning::Busy, None),
    // Amazon SES: docs.aws.amazon.com/ses/latest/dg/troubleshoot-smtp.html
    known("amazonaws.com", 454, None, "daily message quota exceeded", Meaning::Quota, Some("ask Amazon for a higher daily quota, or set per_day to the present one")),
    known("amazonaws.com", 454, None, "maximum sending rate exceeded", Meaning::Busy, Some("set per_minute to what Amazon allows")),
    known("amazonaws.com", 554, None, "not verified", Meaning::Sender, Some("verify this address or domain at Amazon SES, in this region")),
    known("amazonaws.com", 554, None, "not authorized to perform", Meaning::Policy, Some("the IAM user needs ses:SendRawEmail")),
    known("amazonaws.com", 0, None, "sending paused", Meaning::Policy, Some("Amazon has paused this account's sending")),
    // SendGrid: support.sendgrid.com "SMTP errors and troubleshooting"
    known("sendgrid.net", 451, None, "maximum credits exceeded", Meaning::Quota, Some("this SendGrid plan is used up")),
    known("sendgrid.net", 550, None, "unauthenticated senders not allowed", Meaning::Login, LOGIN),
    known("sendgrid.net", 550, None, "verified sender identity", Meaning::Sender, SENDER),
    // Hosters with cPanel (Exim)
    known("", 0, None, "exceeded the max emails per hour", Meaning::Quota, Some("the hoster counts per domain and hour; set per_hour below its limit")),
    known("", 0, None, "exceeded the max defers and failures per hour", Meaning::Quota, Some("the hoster stops domains with many failures; it clears within the hour")),
    // IONOS, GMX, web.de
    known("", 450, None, "mail send limit exceeded", Meaning::Quota, Some("the mailbox's own sending limit; set per_hour and per_day below it")),
    known("", 0, None, "sender address is not allowed", Meaning::Sender, SENDER),
    // Zoho
    known("zoho.com", 550, Some(Enhanced(5, 4, 6)), "unusual sending activity", Meaning::Policy, Some("Zoho has blocked this account's sending: unblock it in the web mail")),
    known("zoho.eu", 550, Some(Enhanced(5, 4, 6)), "unusual sending activity", Meaning::Policy, Some("Zoho has blocked this account's sending: unblock it in the web mail")),
    known("", 553, None, "relaying disallowed as", Meaning::Sender, SENDER),
    // Anybody: Postfix, Exim, Exchange, Sendmail wordings
    known("", 0, None, "not owned by user", Meaning::Sender, SENDER),
    known("", 0, None, "not authorised to send from this", Meaning::Sender, SENDER),
    known("", 0, None, "does not have permissions to send as", Meaning::Sender, SENDER),
    known("", 0, None, "too many recipients", Meaning::RecipientLimit, None),
    known("", 452, Some(Enhanced(4, 5, 3)), "", Meaning::RecipientLimit, None),
    known("", 0, None, "too many login", Meaning::LoginLater, None),
    known("", 530, None, "", Meaning::Login, LOGIN),
    known("", 0, None, "authentication required", Meaning::NeedsLogin, LOGIN),
    known("", 0, None, "not authenticated", Meaning::NeedsLogin, LOGIN),
    known("", 0, None, "relay access denied", Meaning::NeedsLogin, LOGIN),
    known("", 0, None, "relaying denied", Meaning::NeedsLogin, LOGIN),
    known("", 0, None, "relay not permitted", Meaning::NeedsLogin, LOGIN),
    known("", 0, None, "daily sending limit", Meaning::Quota, Some("set per_day below the account's limit")),
    known("", 0, None, "sending limit exceeded", Meaning::Quota, Some("set per_day below the account's limit")),
    known("", 0, None, "sending quota exceeded", Meaning::Quota, Some("set the limits of this smarthost below the account's")),
    known("", 0, None, "hourly limit", Meaning::Quota, Some("set per_hour below the account's limit")),
    known("", 0, None, "too many connections", Meaning::Busy, Some("set connections lower")),
    known("", 0, None, "greylist", Meaning::Later, None),
    known("", 0, None, "graylist", Meaning::Later, None),
    known("", 554, Some(Enhanced(5, 7, 0)), "try again later", Meaning::Later, None),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deliver::verdict::tests::{reply, upstream, word};
    use crate::deliver::verdict::{Event, Stage, judge};

    const GMAIL: &str = "smtp.gmail.com";
    const M365: &str = "smtp.office365.com";
    const SES: &str = "email-smtp.eu-west-1.amazonaws.com";
    const ANY: &str = "mail.hoster.test";

    /// As seen in the wild, cut short; the host, where it was said, and what it means.
    #[rustfmt::skip]
    const REAL: &[(&str, Stage, &str, &str)] = &[
        (GMAIL, Stage::Dot, "550 5.4.5 Daily user sending limit exceeded. For more information on Gmail sending limits go to", "Quota"),
        ("smtp-relay.gmail.com", Stage::Rcpt, "550 5.4.5 Daily SMTP relay limit exceeded for customer.", "Quota"),
        (ANY, Stage::Dot, "550 5.4.5 something else", "failed"),
        (ANY, Stage::Mail, "550 5.4.5 Daily user sending limit exceeded", "Quota"),
        (GMAIL, Stage::Auth, "454 4.7.0 Too many login attempts, please try again later. x-20020a - gsmtp", "LoginLater"),
        (GMAIL, Stage::Auth, "535 5.7.8 Username and Password not accepted. For more information, go to", "Login"),
        (GMAIL, Stage::Auth, "534 5.7.9 Application-specific password required.", "Login"),
        (GMAIL, Stage::Mail, "530 5.7.0 Authentication Required. For more information, go to", "Login"),
        ("smtp-relay.gmail.com", Stage::Mail, "550 5.7.1 Invalid credentials for relay [192.0.2.1].", "Policy"),
        (GMAIL, Stage::Dot, "552 5.7.0 This message was blocked because its content presents a potential security issue.", "failed"),
        (GMAIL, Stage::Rcpt, "452 4.5.3 Your message has too many recipients.", "deferred"),
        (GMAIL, Stage::Rcpt, "452 4.2.2 The email account that you tried to reach is over quota.", "deferred"),
        (GMAIL, Stage::Rcpt, "550 5.1.1 The email account that you tried to reach does not exist.", "failed"),
        (GMAIL, Stage::Dot, "421 4.7.0 Try again later, closing connection.", "deferred"),
        (M365, Stage::Auth, "535 5.7.139 Authentication unsuccessful, SmtpClientAuthentication is disabled for the Tenant.", "Login"),
        (M365, Stage::Auth, "535 5.7.3 Authentication unsuccessful [AM0PR01CA0098.eurprd01.prod.exchangelabs.com]", "Login"),
        (M365, Stage::Auth, "550 5.7.30 Basic authentication is not supported for Client Submission.", "Login"),
        (M365, Stage::Mail, "530 5.7.57 Client not authenticated to send mail. [AM0PR01CA0098]", "Login"),
        (M365, Stage::Mail, "432 4.3.2 Concurrent connections limit exceeded. Visit https://aka.ms/concurrent_sending", "Busy"),
        (M365, Stage::Dot, "554 5.2.0 STOREDRV.Submission.Exception:SubmissionQuotaExceededException; Failed to process", "Quota"),
        (M365, Stage::Dot, "554 5.2.0 STOREDRV.Submission.Exception:SendAsDeniedException.MapiExceptionSendAsDenied;", "failed"),
        (M365, Stage::Dot, "550 5.7.60 SMTP; Client does not have permissions to send as this sender", "failed"),
        (M365, Stage::Dot, "550 5.1.8 Access denied, bad outbound sender AS(42004)", "Policy"),
        (M365, Stage::Rcpt, "550 5.1.10 RESOLVER.ADR.RecipientNotFound; Recipient not found by SMTP address lookup", "failed"),
        (SES, Stage::Dot, "454 Throttling failure: Daily message quota exceeded.", "Quota"),
        (SES, Stage::Dot, "454 Throttling failure: Maximum sending rate exceeded.", "Busy"),
        (SES, Stage::Dot, "554 Message rejected: Email address is not verified. The following identities failed", "failed"),
        (SES, Stage::Auth, "535 Authentication Credentials Invalid", "Login"),
        ("smtp.sendgrid.net", Stage::Auth, "451 Authentication failed: Maximum credits exceeded", "Quota"),
        ("smtp.sendgrid.net", Stage::Mail, "550 Unauthenticated senders not allowed", "Login"),
        ("smtp.ionos.de", Stage::Rcpt, "450 Requested mail action not taken: mailbox unavailable Mail send limit exceeded.", "Quota"),
        (ANY, Stage::Dot, "550 Domain shop.test has exceeded the max emails per hour (150/150 (100%)) allowed.", "Quota"),
        (ANY, Stage::Rcpt, "553 5.7.1 <a@shop.test>: Sender address rejected: not owned by user shop", "failed"),
        (ANY, Stage::Rcpt, "450 4.2.0 <b@x.test>: Recipient address rejected: Greylisted, see http://postgrey", "deferred"),
        (ANY, Stage::Rcpt, "554 5.7.1 <b@x.test>: Relay access denied", "Login"),
        (ANY, Stage::Rcpt, "552 Too many recipients", "deferred"),
        (ANY, Stage::Data, "554 5.5.1 Error: no valid recipients", "failed"),
        (ANY, Stage::Dot, "554 5.7.0 Your message could not be sent, please try again later", "deferred"),
        (ANY, Stage::Dot, "550 spam detected", "failed"),
    ];

    #[test]
    fn real_replies_mean_what_their_authors_mean() {
        for (host, stage, line, expected) in REAL {
            assert_eq!(
                word(&judge(*stage, Event::Reply(&reply(line)), &upstream(host))),
                *expected,
                "{line}"
            );
        }
    }

    #[test]
    fn a_host_is_matched_by_whole_labels() {
        let quota = reply("550 5.4.5 x");
        for (host, known) in [
            ("smtp.gmail.com", true),
            ("SMTP.Gmail.com.", true),
            ("smtp.googlemail.com", true),
            ("gmail.com", true),
            ("notgmail.com", false),
            ("gmail.com.evil.test", false),
        ] {
            assert_eq!(meaning(host, &quota).is_some(), known, "{host}");
        }
    }

    #[test]
    fn texts_are_in_lower_case_or_they_would_never_match() {
        for known in KNOWN {
            assert_eq!(known.text, known.text.to_ascii_lowercase());
            assert!(known.code != 0 || !known.text.is_empty(), "{} would match everything", known.host);
        }
    }
}
