//! Replies as they were seen in the wild, cut short: what each means, and what the admin is told.
//!
//! From the providers' help pages and from public threads where people pasted them; names and addresses are replaced.

use super::{Meaning, ProviderReply, meaning};
use crate::deliver::verdict::tests::{reply, upstream, word};
use crate::deliver::verdict::{Event, Stage, Upstream, Verdict, judge};

const GMAIL: &str = "smtp.gmail.com";
const RELAY: &str = "smtp-relay.gmail.com";
const M365: &str = "smtp.office365.com";
const OUTLOOK: &str = "smtp-mail.outlook.com";
const SES: &str = "email-smtp.eu-west-1.amazonaws.com";
const SENDGRID: &str = "smtp.sendgrid.net";
const MAILGUN: &str = "smtp.eu.mailgun.org";
const BREVO: &str = "smtp-relay.brevo.com";
const SPARKPOST: &str = "smtp.eu.sparkpostmail.com";
const YANDEX: &str = "smtp.yandex.com";
const MAILRU: &str = "smtp.mail.ru";
const ZOHO: &str = "smtp.zoho.eu";
const IONOS: &str = "smtp.ionos.de";
const GMX: &str = "mail.gmx.net";
const YAHOO: &str = "smtp.mail.yahoo.com";
const ICLOUD: &str = "smtp.mail.me.com";
const ANY: &str = "mail.hoster.test";

/// Where from, at which stage, the line, what it comes to, and part of the advice (empty: none).
type Row = (&'static str, Stage, &'static str, &'static str, &'static str);

#[rustfmt::skip]
const REAL: &[Row] = &[
    (GMAIL, Stage::Dot, "550 5.4.5 Daily user sending limit exceeded. For more information on Gmail sending limits go to", "Quota", "set per_day"),
    (GMAIL, Stage::Dot, "550 5.4.5 Daily sending quota exceeded. Learn more at https://support.google.com/mail/?p=QuotaExceeded", "Quota", "set per_day"),
    (RELAY, Stage::Rcpt, "550 5.4.5 Daily SMTP relay limit exceeded for customer.", "Quota", "set per_day"),
    (GMAIL, Stage::Auth, "454 4.7.0 Too many login attempts, please try again later. x-20020a - gsmtp", "LoginLater", "keep connections low"),
    (GMAIL, Stage::Auth, "535 5.7.8 Username and Password not accepted. Learn more at / 535 5.7.8  https://support.google.com/mail/?p=BadCredentials", "Login", "https://myaccount.google.com/apppasswords"),
    (GMAIL, Stage::Auth, "534 5.7.9 Application-specific password required. Learn more at / https://support.google.com/mail/?p=InvalidSecondFactor", "Login", "https://myaccount.google.com/apppasswords"),
    (GMAIL, Stage::Auth, "534 5.7.14 <https://accounts.google.com/signin/continue?sarp=1> Please log in via your web browser and then try again.", "Login", "web browser"),
    (GMAIL, Stage::Mail, "530 5.7.0 Authentication Required. For more information, go to", "Login", "set username and password"),
    (GMAIL, Stage::Mail, "530 5.5.1 Authentication Required. Learn more at", "Login", "set username and password"),
    (RELAY, Stage::Mail, "550 5.7.1 Invalid credentials for relay [192.0.2.1]. The IP address you've registered", "Policy", "SMTP relay service"),
    (RELAY, Stage::Mail, "550 5.7.0 Mail relay denied [192.0.2.1]. Invalid credentials for relay", "Policy", "SMTP relay service"),
    (GMAIL, Stage::Dot, "552 5.7.0 This message was blocked because its content presents a potential security issue.", "failed", "attachments"),
    (GMAIL, Stage::Rcpt, "452 4.5.3 Your message has too many recipients.", "deferred", ""),
    (GMAIL, Stage::Rcpt, "452 4.2.2 The email account that you tried to reach is over quota.", "deferred", ""),
    (GMAIL, Stage::Rcpt, "550 5.1.1 The email account that you tried to reach does not exist.", "failed", ""),
    (GMAIL, Stage::Dot, "421 4.7.0 Try again later, closing connection.", "deferred", ""),
    (M365, Stage::Auth, "535 5.7.139 Authentication unsuccessful, SmtpClientAuthentication is disabled for the Tenant. Visit https://aka.ms/smtp_auth_disabled", "Login", "Authenticated SMTP"),
    (M365, Stage::Auth, "535 5.7.139 Authentication unsuccessful, SmtpClientAuthentication is disabled for the Mailbox. Visit https://aka.ms/smtp_auth_disabled", "Login", "Authenticated SMTP"),
    (M365, Stage::Auth, "535 5.7.139 Authentication unsuccessful, the user credentials were incorrect. [AM0PR01CA0098]", "Login", "multi-factor"),
    (M365, Stage::Auth, "535 5.7.139 Authentication unsuccessful, user is locked by your organization's security defaults policy. Contact your administrator.", "Login", "security defaults"),
    (M365, Stage::Auth, "535 5.7.139 Authentication unsuccessful, the request did not meet the criteria to be authenticated successfully. Contact your administrator.", "Login", "conditional access"),
    (OUTLOOK, Stage::Auth, "535 5.7.139 Authentication unsuccessful, basic authentication is disabled. [FR4P281CA0009]", "Login", "OAuth"),
    (M365, Stage::Auth, "535 5.7.3 Authentication unsuccessful [AM0PR01CA0098.eurprd01.prod.exchangelabs.com]", "Login", "Authenticated SMTP"),
    (M365, Stage::Auth, "550 5.7.30 Basic authentication is not supported for Client Submission.", "Login", "OAuth"),
    (M365, Stage::Mail, "530 5.7.57 Client not authenticated to send mail. [AM0PR01CA0098]", "Login", "set username"),
    (M365, Stage::Mail, "432 4.3.2 Concurrent connections limit exceeded. Visit https://aka.ms/concurrent_sending", "Busy", "connections = 3"),
    (M365, Stage::Dot, "432 4.3.2 STOREDRV.ClientSubmit; sender thread limit exceeded", "Busy", "connections = 3"),
    (M365, Stage::Dot, "554 5.2.0 STOREDRV.Submission.Exception:SubmissionQuotaExceededException; Failed to process", "Quota", "per_minute"),
    (M365, Stage::Dot, "554 5.2.0 STOREDRV.Submission.Exception:InvalidRecipientsException; Failed to process message due to a permanent exception with message", "failed", ""),
    (M365, Stage::Dot, "554 5.2.0 STOREDRV.Submission.Exception:CorruptDataException; Failed to process message due to a permanent exception with message", "failed", ""),
    (M365, Stage::Dot, "550 5.7.232 Your message can't be sent because your trial tenant has exceeded its daily limit for sending email to external recipients", "Quota", "tenant"),
    (M365, Stage::Dot, "550 5.7.233 Your message can't be sent because your tenant exceeded its daily limit for sending email to external recipients (tenant external recipient rate limit)", "Quota", "tenant"),
    (M365, Stage::Dot, "550 5.1.90 Your message can't be sent because you've reached your daily limit for message recipients", "Quota", "10,000"),
    (M365, Stage::Dot, "550 5.2.251 Sender throttled due to continuous mailbox full errors.", "Policy", "mend"),
    (M365, Stage::Mail, "451 5.7.3 STARTTLS is required to send mail [AM0PR01CA0098]", "Tls", "starttls"),
    (M365, Stage::Dot, "554 5.2.0 STOREDRV.Submission.Exception:SendAsDeniedException.MapiExceptionSendAsDenied;", "failed", "one of its own"),
    (M365, Stage::Dot, "554 5.2.252 SendAsDenied; a@x.test not allowed to send as b@x.test; STOREDRV.Submission.Exception", "failed", "one of its own"),
    (OUTLOOK, Stage::Dot, "554 5.2.0 STOREDRV.Submission.Exception:OutboundSpamException; Failed to process message due to a permanent exception with message [BeginDiagnosticData]WASCL UserAction verdict is not None", "Policy", "for spam"),
    (M365, Stage::Dot, "550 5.7.60 SMTP; Client does not have permissions to send as this sender", "failed", "one of its own"),
    (M365, Stage::Dot, "550 5.1.8 Access denied, bad outbound sender AS(42004)", "Policy", "Restricted entities"),
    (M365, Stage::Dot, "550 5.7.705 Access denied, tenant has exceeded threshold. Please visit", "Policy", "tenant"),
    (M365, Stage::Dot, "550 5.7.708 Access denied, traffic not accepted from this IP. AS(7230)", "Policy", "address"),
    (M365, Stage::Mail, "550 5.7.64 TenantAttribution; Relay Access Denied [ValidationStatus of '' is EmptyCertificate]", "Policy", "connector"),
    (M365, Stage::Rcpt, "550 5.1.10 RESOLVER.ADR.RecipientNotFound; Recipient not found by SMTP address lookup", "failed", ""),
    (M365, Stage::Mail, "451 4.7.500 Server busy. Please try again later from [192.0.2.1]. (S77714)", "Busy", ""),
    (SES, Stage::Dot, "454 Throttling failure: Daily message quota exceeded.", "Quota", "per_day"),
    (SES, Stage::Dot, "454 Throttling failure: Maximum sending rate exceeded.", "Busy", "per_minute"),
    (SES, Stage::Dot, "554 Message rejected: Email address is not verified. The following identities failed", "failed", "verify"),
    (SES, Stage::Dot, "554 Access denied: User `arn:aws:iam::1:user/x' is not authorized to perform `ses:SendRawEmail'", "Policy", "ses:SendRawEmail"),
    (SES, Stage::Dot, "554 Message rejected: Sending suspended for this account. For more information, please check the inbox", "Policy", "suspended"),
    (SES, Stage::Auth, "535 Authentication Credentials Invalid", "Login", "SES console"),
    (SES, Stage::Mail, "530 Authentication required", "Login", "set username"),
    (SENDGRID, Stage::Auth, "451 Authentication failed: Maximum credits exceeded", "Quota", "used up"),
    (SENDGRID, Stage::Dot, "550 Maximum credits exceeded", "Quota", "used up"),
    (SENDGRID, Stage::Auth, "535 Authentication failed: Bad username / password", "Login", "apikey"),
    (SENDGRID, Stage::Auth, "535 Authentication failed: The provided authorization grant is invalid, expired, or revoked", "Login", "apikey"),
    (SENDGRID, Stage::Mail, "550 Unauthenticated senders not allowed", "Login", "set username"),
    (SENDGRID, Stage::Dot, "550 The from address does not match a verified Sender Identity. Mail cannot be sent until this error is resolved.", "failed", "one of its own"),
    (SENDGRID, Stage::Dot, "451 You have exceeded your messaging limits", "Quota", "used up"),
    (MAILGUN, Stage::Auth, "535 5.7.0 Mailgun is not loving your login or password", "Login", "sending domain"),
    (MAILGUN, Stage::Dot, "421 Domain sandbox1.mailgun.org is not allowed to send: Please activate your Mailgun account. Check your inbox", "Policy", "activated"),
    (MAILGUN, Stage::Dot, "554 Sandbox subdomains are for test purposes only. Please add your own domain or add the address to authorized recipients", "Policy", "sandbox"),
    (MAILGUN, Stage::Dot, "450 Domain mg.x.test is not allowed to send: The domain is unverified and requires DNS configuration.", "Policy", "DNS"),
    (MAILGUN, Stage::Rcpt, "550 5.7.1 Relaying denied", "Login", "set username"),
    (BREVO, Stage::Auth, "535 5.7.8 Authentication failed", "Login", "check username and password"),
    (BREVO, Stage::Mail, "502 5.7.0 Your SMTP account is not yet activated. Contact us at contact@brevo.com to request activation", "Policy", "activate"),
    (BREVO, Stage::Mail, "502 5.7.0 Please authenticate first", "Login", "set username"),
    (BREVO, Stage::Auth, "525 5.7.1 Unauthorized IP address", "Login", "add this machine's address"),
    ("smtp.postmarkapp.com", Stage::Dot, "550 5.7.0 While your account is pending approval, all recipient addresses must share the same domain as the 'From' address.", "Policy", "approved"),
    (SPARKPOST, Stage::Auth, "535 5.7.8 Sorry. *** No authentication type succeeded", "Login", "API key"),
    (SPARKPOST, Stage::Dot, "550 5.7.1 Unconfigured Sending Domain <demo.example.com>", "failed", "sending domain"),
    (YANDEX, Stage::Auth, "535 5.7.8 Error: authentication failed: Invalid user or password!", "Login", "https://id.yandex.ru/security/app-passwords"),
    (YANDEX, Stage::Auth, "535 5.7.8 Error: authentication failed: This user does not have access rights to this service", "Login", "allow mail programs"),
    (YANDEX, Stage::Mail, "553 5.7.1 Sender address rejected: not owned by auth user.", "failed", "one of its own"),
    (YANDEX, Stage::Dot, "554 5.7.1 [2] Message rejected under suspicion of SPAM; https://ya.cc/1IrBc 1631900360-h4Ajl35YEe", "failed", "per_day"),
    (MAILRU, Stage::Auth, "535 5.7.0 NEOBHODIM parol prilozheniya https://help.mail.ru/mail/security/protection/external / Application password is REQUIRED", "Login", "account.mail.ru"),
    (MAILRU, Stage::Dot, "550 message sending for this account is disabled", "Policy", "for spam"),
    (MAILRU, Stage::Mail, "550 not local sender over smtp", "failed", "one of its own"),
    (ZOHO, Stage::Auth, "535 Authentication Failed", "Login", "check username and password"),
    (ZOHO, Stage::Dot, "553 Relaying disallowed as a@x.test", "failed", "one of its own"),
    (ZOHO, Stage::Dot, "550 5.4.6 Unusual sending activity detected. <a href=https://www.zoho.com/mail/help/usage-policy.html>Learn more.</a>", "Policy", "unblock"),
    (ZOHO, Stage::Rcpt, "553 Sender is not allowed to relay emails", "failed", "one of its own"),
    (ZOHO, Stage::Mail, "530 5.5.1 Authentication Required.", "Login", "set username"),
    (IONOS, Stage::Auth, "535 Authentication credentials invalid", "Login", "check username and password"),
    (IONOS, Stage::Rcpt, "450 Requested mail action not taken: mailbox unavailable Mail send limit exceeded.", "Quota", "per_hour"),
    (IONOS, Stage::Mail, "550 Requested action not taken: mailbox unavailable / Sender address is not allowed.", "failed", "one of its own"),
    (GMX, Stage::Rcpt, "550 Requested action not taken: mailbox unavailable / Failure sending mail. Try again later", "deferred", ""),
    (ICLOUD, Stage::Mail, "550 5.7.0 From address is not one of your addresses.", "failed", "one of its own"),
    (ICLOUD, Stage::Auth, "535 5.7.8 Error: authentication failed: authentication failure", "Login", "app-specific"),
    (YAHOO, Stage::Auth, "535 5.7.0 (#AUTH005) Too many bad auth attempts.", "Login", "app password"),
    (YAHOO, Stage::Mail, "553 From address not verified - see http://help.yahoo.com/l/us/yahoo/mail/original/manage/sendfrom-07.html", "failed", "one of its own"),
    ("smtp.fastmail.com", Stage::Auth, "535 5.7.0 Incorrect username or password", "Login", "app password"),
    ("ssl0.ovh.net", Stage::Dot, "550 sorry, too many emails (#5.7.1)", "Quota", "per_hour"),
    ("smtp.forpsi.com", Stage::Dot, "550 5.1.0 Naruszenie zasad cNkj1y0022zrrQM01NkjaD, zobacz https://support.forpsi.com/kb/a4071", "Quota", "hour"),
    ("mail.smtp2go.com", Stage::Mail, "550 that IP address is not allowed to send", "Policy", "address"),
    (ANY, Stage::Dot, "530 From/Sender name is not valid", "failed", "one of its own"),
    (ANY, Stage::Mail, "501 mail from address must be same as authorization user", "failed", "one of its own"),
    (ANY, Stage::Mail, "501 5.7.0 Authentication required. Please authenticate with CRAM MD5 or AUTH Login.", "Login", "set username"),
    (ANY, Stage::Auth, "535 Incorrect authentication data", "Login", "check username and password"),
    (ANY, Stage::Auth, "535 5.7.8 Error: authentication failed: UGFzc3dvcmQ6", "Login", "check username and password"),
    (ANY, Stage::Dot, "550 Domain shop.test has exceeded the max emails per hour (150/150 (100%)) allowed.", "Quota", "per_hour"),
    (ANY, Stage::Rcpt, "550 Outgoing mail from \"a@x.test\" has been suspended.", "Policy", "opened again"),
    (ANY, Stage::Dot, "550 User has exceeded outgoing email quota", "Quota", "per_hour"),
    (ANY, Stage::Dot, "554 5.7.0 Your message could not be sent. The limit on the number of allowed outgoing messages was exceeded. Try again later.", "Quota", "per_hour"),
    ("smtpout.secureserver.net", Stage::Rcpt, "552 5.2.0 User a@x.test has exceeded its 24-hour sending limit. Messages to 250 recipients out of 250 allowed have been sent. Relay quota will reset in 3.57 hours.", "Quota", "per_day"),
    (ANY, Stage::Rcpt, "554 5.7.1 <b@x.test>: Recipient address rejected: Policy rejection; Message count quota exceeded", "Quota", "per_hour"),
    ("smtpout.secureserver.net", Stage::Dot, "552 5.2.0 C13ypH3DXQO9C Message would take you over your relay quota of 500 Current quota used: 487", "Quota", "per_day"),
    ("smtp.qq.com", Stage::Dot, "550 mail rejected: exceeded hour limit", "Quota", "per_hour"),
    (ANY, Stage::Data, "554 5.7.1 <DATA>: Data command rejected: only 10 messages per day for a@x.test.", "Quota", "per_day"),
    (ANY, Stage::Rcpt, "554 5.7.1 <b@x.test>: Recipient address rejected: You have exceeded your Outmail quota.", "Quota", "per_day"),
    ("smtp.mailersend.net", Stage::Dot, "450 Your account reached its email quota limit. Contact support to increase it. #MS42204", "Quota", "per_day"),
    ("smtp.hostinger.com", Stage::Rcpt, "451 4.7.1 <a@x.test>: Sender address rejected: Ratelimit \"hostinger_out_ratelimit\" exceeded", "Quota", "per_hour"),
    (ANY, Stage::Dot, "451 4.7.1 Ratelimit \"user\" exceeded", "Quota", "per_hour"),
    (ANY, Stage::Dot, "451 4.7.1 Ratelimit \"to\" exceeded", "deferred", ""),
    (ANY, Stage::Rcpt, "554 5.7.1 <b@x.test>: Recipient address rejected: Policy rejection; Cumulative message size quota exceeded", "Quota", "per_hour"),
    (ANY, Stage::Rcpt, "552 5.2.2 Mailbox message count quota exceeded", "failed", ""),
    (ANY, Stage::Dot, "550 5.7.26 This mail is not authenticated: SPF and DKIM did not pass", "failed", ""),
    (ANY, Stage::Dot, "550 Message rejected: authentication required by DMARC policy of the sender's domain", "failed", ""),
    (ANY, Stage::Mail, "530 5.7.0 Must issue a STARTTLS command first", "Tls", "starttls"),
    (SES, Stage::Mail, "530 Must issue a STARTTLS command first", "Tls", "starttls"),
    (ANY, Stage::Auth, "530 5.7.0 Must issue a STARTTLS command first", "Login", "starttls"),
    (ANY, Stage::Mail, "554 5.7.1 Your account is suspended", "Policy", "opened again"),
    (ANY, Stage::Rcpt, "550 5.2.1 The account of this user is suspended", "failed", ""),
    (ANY, Stage::Dot, "451 4.7.1 Hourly limit exceeded", "Quota", "per_hour"),
    (ANY, Stage::Rcpt, "553 5.7.1 <a@shop.test>: Sender address rejected: not owned by user shop", "failed", "one of its own"),
    (ANY, Stage::Rcpt, "450 4.2.0 <b@x.test>: Recipient address rejected: Greylisted, see http://postgrey", "deferred", ""),
    (ANY, Stage::Rcpt, "554 5.7.1 <b@x.test>: Relay access denied", "Login", "set username"),
    (ANY, Stage::Rcpt, "552 Too many recipients", "deferred", ""),
    (ANY, Stage::Rcpt, "550 5.5.3 Too many recipients", "deferred", ""),
    (ANY, Stage::Data, "554 5.5.1 Error: no valid recipients", "failed", ""),
    (ANY, Stage::Dot, "554 5.7.0 Your message could not be sent, please try again later", "deferred", ""),
    (ANY, Stage::Dot, "550 spam detected", "failed", ""),
    (ANY, Stage::Mail, "550 5.4.5 Daily user sending limit exceeded", "Quota", "per_day"),
    // What is one provider's way of speaking means nothing from another.
    (ANY, Stage::Dot, "550 5.4.5 something else", "failed", ""),
    (ANY, Stage::Dot, "550 message sending for this account is disabled", "failed", ""),
    (ANY, Stage::Dot, "550 5.1.8 Access denied, bad outbound sender AS(42004)", "failed", ""),
];

fn advice(verdict: &Verdict) -> Option<&'static str> {
    match verdict {
        Verdict::Delivered(_) => None,
        Verdict::Deferred(cause)
        | Verdict::LaneStopped(_, cause)
        | Verdict::Failed(cause)
        | Verdict::Uncertain(cause) => cause.advice,
    }
}

#[test]
fn real_replies_mean_what_their_authors_mean() {
    for (host, stage, line, expected, hint) in REAL {
        let verdict = judge(*stage, Event::Reply(&reply(line)), &upstream(host));
        assert_eq!(word(&verdict), *expected, "{host}: {line}");
        let told = advice(&verdict);
        if hint.is_empty() {
            assert_eq!(told, None, "{host}: {line}");
        } else {
            assert!(told.is_some_and(|told| told.contains(hint)), "{host}: {line}: {told:?}");
        }
    }
}

#[test]
fn the_table_is_as_long_and_as_wide_as_it_should_be() {
    let mut hosts: Vec<&str> = REAL.iter().map(|(host, ..)| *host).collect();
    hosts.sort_unstable();
    hosts.dedup();
    assert!(REAL.len() >= 60 && hosts.len() >= 15, "{} lines of {} hosts", REAL.len(), hosts.len());
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
        assert_eq!(meaning(host, &quota, &[]).is_some(), known, "{host}");
    }
}

#[test]
fn the_configuration_goes_before_the_table() {
    let own = [
        ProviderReply { host: None, code: Some(550), text: "Daily USER".into(), means: Meaning::Later },
        ProviderReply { host: None, code: None, text: "zu viele".into(), means: Meaning::Quota },
    ];
    for (line, expected, hint) in [
        ("550 5.4.5 Daily user sending limit exceeded", "deferred", None),
        ("552 5.4.5 Daily user sending limit exceeded", "Quota", Some("per_day")),
        ("554 5.7.1 Zu viele Nachrichten", "Quota", Some("per_hour")),
    ] {
        let known = Upstream { replies: &own, ..upstream(GMAIL) };
        let verdict = judge(Stage::Dot, Event::Reply(&reply(line)), &known);
        assert_eq!(word(&verdict), expected, "{line}");
        assert_eq!(advice(&verdict).is_some(), hint.is_some(), "{line}");
        assert!(advice(&verdict).unwrap_or_default().contains(hint.unwrap_or_default()), "{line}");
    }
}
