//! What known smarthosts mean by their replies: data, looked through from the top, first match wins.
//!
//! Only what the code alone would get wrong stands here: quota and login told as `5yz`, account trouble told at RCPT, and words of
//! advice. Texts are compared in lower case, so that a provider's rewording costs a match and never a message. The lines themselves are
//! in the test beside this file.

use super::{Meaning, hosts, is_within};
use crate::smtp::reply::{Enhanced, Reply};

/// One line of the table.
struct Known {
    /// The smarthost's host is in this domain, or in another one of the same provider; empty: any.
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

/// The first line that fits; `host` and `text` in lower case.
pub(super) fn find(host: &str, text: &str, reply: &Reply) -> Option<(Meaning, Option<&'static str>)> {
    let provider = hosts::known(host);
    let known = KNOWN.iter().find(|known| {
        (known.code == 0 || known.code == reply.code)
            && (known.enhanced.is_none() || known.enhanced == reply.enhanced)
            && text.contains(known.text)
            && (is_within(host, known.host) || provider.is_some_and(|of| of.domains.contains(&known.host)))
    });
    known.map(|known| (known.meaning, known.advice))
}

/// What helps against a reply of this meaning, whoever sent it.
pub(super) fn general_advice(meaning: Meaning) -> Option<&'static str> {
    match meaning {
        Meaning::Quota => QUOTA,
        Meaning::Login => Some("check username and password"),
        Meaning::AppPassword => APP_PASSWORD,
        Meaning::LoginDisabled => LOGIN_DISABLED,
        Meaning::NeedsLogin => LOGIN,
        Meaning::Encryption => ENCRYPTION,
        Meaning::LoginLater => Some(
            "the smarthost takes no logins for a while; check that nothing else logs in with a wrong password",
        ),
        Meaning::Busy => Some("set connections lower, or per_minute"),
        Meaning::Policy => Some("the smarthost refuses this account or this machine: ask its support"),
        Meaning::Pending => PENDING,
        Meaning::Sender => SENDER,
        Meaning::Content | Meaning::Later | Meaning::RecipientLimit => None,
    }
}

const QUOTA: Option<&str> = Some("set per_hour or per_day below the account's limit");
const APP_PASSWORD: Option<&str> =
    Some("make an app password for this account (needs 2-step verification) and set it as password");
const GMAIL_APP_PASSWORD: Option<&str> = Some(
    "Gmail wants an app password: https://myaccount.google.com/apppasswords (needs 2-step verification); set it as password",
);
const GMAIL_QUOTA: Option<&str> =
    Some("Gmail counts over 24 hours: about 500 recipients (2,000 with Workspace); set per_day below that");
const GMAIL_RELAY: Option<&str> =
    Some("list this machine's address under SMTP relay service in the Google admin console");
const LOGIN_DISABLED: Option<&str> = Some(
    "logging in by password is switched off for this account: allow it at the provider, or log in by OAuth (auth = \"xoauth2\", with an access token)",
);
const M365_BASIC: Option<&str> = Some(
    "Microsoft 365 has password login switched off for this mailbox or tenant: allow \"Authenticated SMTP\" for it, or log in by OAuth (auth = \"xoauth2\", with an access token)",
);
const M365_QUOTA: Option<&str> = Some(
    "Microsoft 365 allows 10,000 recipients in 24 hours and 30 messages a minute; set per_day and per_minute",
);
const M365_TENANT: Option<&str> = Some(
    "all of this Microsoft 365 tenant together has sent what it may to the outside in 24 hours: set per_day below its share",
);
const M365_CONNECTIONS: Option<&str> = Some("set connections = 3: Microsoft 365 allows no more at once");
const SENDER: Option<&str> = Some(
    "this account may not send as that address: use one of its own, or let the account send as it at the provider",
);
const LOGIN: Option<&str> =
    Some("the smarthost wants a login: set username and password, and check that auth is not \"none\"");
const ENCRYPTION: Option<&str> = Some(
    "the smarthost takes mail inside TLS alone: set tls = \"starttls\", or \"implicit\" with the port for that",
);
const PENDING: Option<&str> =
    Some("the provider hasn't activated or approved this account for sending yet: finish that there");
const SPAM_LOCK: Option<&str> = Some(
    "the provider has blocked this account's sending for spam: change its password, find out who sent, unblock it there",
);
const SUSPENDED: Option<&str> =
    Some("the provider has suspended this account: find out why there, and have it opened again");
const ADDRESS: Option<&str> =
    Some("the provider takes mail only from addresses on its list: add this machine's address there");
const APP_AUTH: Option<&str> =
    Some("the provider wants its API key as password: see what user name it names for SMTP");

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

const fn any(text: &'static str, meaning: Meaning, advice: Option<&'static str>) -> Known {
    known("", 0, None, text, meaning, advice)
}

/// Any code with this text from this host.
const fn text(
    host: &'static str,
    text: &'static str,
    meaning: Meaning,
    advice: Option<&'static str>,
) -> Known {
    known(host, 0, None, text, meaning, advice)
}

#[rustfmt::skip]
const KNOWN: &[Known] = &[
    // Gmail and Google Workspace: support.google.com/a/answer/3726730
    known("gmail.com", 550, Some(Enhanced(5, 4, 5)), "", Meaning::Quota, GMAIL_QUOTA),
    text("gmail.com", "sending limit exceeded", Meaning::Quota, GMAIL_QUOTA),
    text("gmail.com", "relay limit exceeded", Meaning::Quota, GMAIL_QUOTA),
    known("gmail.com", 454, Some(Enhanced(4, 7, 0)), "too many login attempts", Meaning::LoginLater, Some("keep connections low; Gmail lets logins in again after a while")),
    known("gmail.com", 534, Some(Enhanced(5, 7, 9)), "", Meaning::AppPassword, GMAIL_APP_PASSWORD),
    known("gmail.com", 534, Some(Enhanced(5, 7, 14)), "", Meaning::Login, Some("log in to this account in a web browser once, then make an app password: https://myaccount.google.com/apppasswords")),
    known("gmail.com", 535, Some(Enhanced(5, 7, 8)), "", Meaning::AppPassword, GMAIL_APP_PASSWORD),
    text("gmail.com", "invalid credentials for relay", Meaning::Policy, GMAIL_RELAY),
    known("gmail.com", 550, Some(Enhanced(5, 7, 0)), "mail relay denied", Meaning::Policy, GMAIL_RELAY),
    known("gmail.com", 550, Some(Enhanced(5, 7, 1)), "mail relay denied", Meaning::Policy, GMAIL_RELAY),
    known("gmail.com", 552, Some(Enhanced(5, 7, 0)), "", Meaning::Content, Some("Gmail refuses some attachments (programs, archives with programs)")),
    any("application-specific password required", Meaning::AppPassword, APP_PASSWORD),
    // Microsoft 365 and Outlook: learn.microsoft.com/exchange/mail-flow-best-practices/non-delivery-reports-in-exchange-online,
    // learn.microsoft.com/exchange/clients-and-mobile-in-exchange-online/authenticated-client-smtp-submission
    known("office365.com", 432, Some(Enhanced(4, 3, 2)), "", Meaning::Busy, M365_CONNECTIONS),
    any("user credentials were incorrect", Meaning::Login, Some("check username and password; an account with multi-factor login can't use its password here")),
    any("smtpclientauthentication is disabled", Meaning::LoginDisabled, M365_BASIC),
    any("basic authentication is disabled", Meaning::LoginDisabled, M365_BASIC),
    any("basic authentication is not supported", Meaning::LoginDisabled, M365_BASIC),
    any("security defaults policy", Meaning::LoginDisabled, Some("security defaults of this Microsoft 365 tenant forbid password logins: an admin must exempt this account, or log in by OAuth (auth = \"xoauth2\")")),
    any("did not meet the criteria to be authenticated", Meaning::LoginDisabled, Some("a conditional access policy of this Microsoft 365 tenant forbids this login: an admin must exempt this account, or log in by OAuth (auth = \"xoauth2\")")),
    any("authentication unsuccessful, user is locked", Meaning::LoginLater, Some("too many wrong logins have locked this account: wait, and check that nothing else uses an old password")),
    known("office365.com", 535, Some(Enhanced(5, 7, 139)), "", Meaning::LoginDisabled, M365_BASIC),
    known("office365.com", 550, Some(Enhanced(5, 7, 30)), "", Meaning::LoginDisabled, M365_BASIC),
    known("office365.com", 535, Some(Enhanced(5, 7, 3)), "", Meaning::Login, Some("check username and password; Microsoft 365 says the same where \"Authenticated SMTP\" is off for the mailbox")),
    text("office365.com", "submissionquotaexceeded", Meaning::Quota, M365_QUOTA),
    text("office365.com", "submission quota was exceeded", Meaning::Quota, M365_QUOTA),
    known("office365.com", 550, Some(Enhanced(5, 1, 90)), "", Meaning::Quota, M365_QUOTA),
    known("office365.com", 550, Some(Enhanced(5, 7, 232)), "", Meaning::Quota, M365_TENANT),
    known("office365.com", 550, Some(Enhanced(5, 7, 233)), "", Meaning::Quota, M365_TENANT),
    // learn.microsoft.com/exchange/mail-flow-best-practices/continuous-error-throttling-smtp-auth-submissions
    text("office365.com", "sender throttled due to continuous", Meaning::Policy, Some("Microsoft 365 holds this mailbox back for a while after many failures of one kind: mend what the reply names")),
    text("office365.com", "outboundspamexception", Meaning::Policy, SPAM_LOCK),
    text("office365.com", "sendasdenied", Meaning::Sender, SENDER),
    known("office365.com", 550, Some(Enhanced(5, 7, 60)), "", Meaning::Sender, SENDER),
    known("office365.com", 550, Some(Enhanced(5, 1, 8)), "", Meaning::Policy, Some("Microsoft 365 has blocked this mailbox for outgoing spam: unblock it under Restricted entities")),
    known("office365.com", 550, Some(Enhanced(5, 7, 501)), "", Meaning::Policy, SPAM_LOCK),
    known("office365.com", 550, Some(Enhanced(5, 7, 705)), "", Meaning::Policy, Some("Microsoft 365 has blocked this tenant: it sent too much unwanted mail")),
    known("office365.com", 550, Some(Enhanced(5, 7, 708)), "", Meaning::Policy, Some("Microsoft 365 takes no mail from this machine's address: ask its support, or wait if the tenant is new")),
    known("office365.com", 550, Some(Enhanced(5, 7, 750)), "", Meaning::Policy, Some("register every sender's domain in this Microsoft 365 tenant")),
    known("office365.com", 550, Some(Enhanced(5, 7, 64)), "", Meaning::Policy, Some("Microsoft 365 knows no connector for this machine: make one with its address or certificate")),
    text("office365.com", "recipients limit", Meaning::RecipientLimit, None),
    known("office365.com", 451, Some(Enhanced(4, 7, 500)), "", Meaning::Busy, None),
    // Amazon SES: docs.aws.amazon.com/ses/latest/dg/troubleshoot-smtp.html
    known("amazonaws.com", 454, None, "daily message quota exceeded", Meaning::Quota, Some("ask Amazon for a higher daily quota, or set per_day to the present one")),
    known("amazonaws.com", 454, None, "maximum sending rate exceeded", Meaning::Busy, Some("set per_minute to what Amazon allows")),
    known("amazonaws.com", 554, None, "not verified", Meaning::Sender, Some("verify this address or domain at Amazon SES, in this region; in the sandbox recipients, too")),
    known("amazonaws.com", 554, None, "not authorized to perform", Meaning::Policy, Some("the IAM user needs ses:SendRawEmail")),
    text("amazonaws.com", "sending paused", Meaning::Policy, Some("Amazon has paused this account's sending")),
    text("amazonaws.com", "sending suspended", Meaning::Policy, Some("Amazon has suspended this account's sending: see the mail it sent to the account's owner")),
    known("amazonaws.com", 535, None, "", Meaning::Login, Some("make SMTP credentials for this region in the SES console; an IAM access key isn't one")),
    // SendGrid: support.sendgrid.com "SMTP errors and troubleshooting", sendgrid/docs#6473
    text("sendgrid.net", "maximum credits exceeded", Meaning::Quota, Some("this SendGrid plan is used up")),
    text("sendgrid.net", "exceeded your messaging limits", Meaning::Quota, Some("this SendGrid plan is used up")),
    known("sendgrid.net", 550, None, "unauthenticated senders not allowed", Meaning::Login, LOGIN),
    known("sendgrid.net", 550, None, "verified sender identity", Meaning::Sender, SENDER),
    known("sendgrid.net", 535, None, "", Meaning::Login, Some("SendGrid wants the word apikey as user name and an API key as password")),
    // Mailgun: mailgun/documentation#132, mailgun/wordpress-plugin#68, Monstarrrr/rebutify#162, domino14/Webolith#219
    text("mailgun.org", "please activate your mailgun account", Meaning::Pending, PENDING),
    text("mailgun.org", "for test purposes only", Meaning::Pending, Some("a Mailgun sandbox sends to authorised recipients only: add your own domain, or the recipient to the list")),
    text("mailgun.org", "unverified and requires dns configuration", Meaning::Pending, Some("set the DNS records that Mailgun names for this domain, then verify it there")),
    text("mailgun.org", "recipient limit exceeded", Meaning::Quota, QUOTA),
    text("mailgun.org", "not loving your login or password", Meaning::Login, Some("use the SMTP credentials of the sending domain; domains in the EU have smtp.eu.mailgun.org")),
    // Brevo: WPManageNinja/fluent-smtp#157, supabase/agent-skills#133, frappe/frappe#38558, help.brevo.com
    text("brevo.com", "smtp account is not yet activated", Meaning::Pending, Some("ask the provider's support to activate SMTP sending for this account")),
    text("brevo.com", "please authenticate", Meaning::NeedsLogin, LOGIN),
    text("brevo.com", "unauthorized ip address", Meaning::Policy, ADDRESS),
    // Postmark: postmarkapp.com/developer/api/overview (error 412)
    text("postmarkapp.com", "pending approval", Meaning::Pending, PENDING),
    // SparkPost: support.sparkpost.com/docs/faq/error-messages-smtp
    text("sparkpostmail.com", "no authentication type succeeded", Meaning::Login, APP_AUTH),
    text("sparkpostmail.com", "unconfigured sending domain", Meaning::Sender, Some("make the sender's domain a sending domain at the provider and verify it")),
    text("sparkpostmail.com", "exceed sending limit", Meaning::Quota, QUOTA),
    // Yandex: yandex.ru/support, splitbrain/dokuwiki-plugin-smtp#38, chatmail/provider-db#205
    any("does not have access rights to this service", Meaning::LoginDisabled, Some("allow mail programs in the mailbox's settings and make an app password: https://id.yandex.ru/security/app-passwords")),
    any("not owned by auth user", Meaning::Sender, SENDER),
    text("yandex.ru", "message rejected under suspicion of spam", Meaning::Content, Some("Yandex also says this when a mailbox sends too much: keep per_day low")),
    known("yandex.ru", 535, None, "invalid user or password", Meaning::AppPassword, Some("Yandex wants an app password: https://id.yandex.ru/security/app-passwords")),
    // mail.ru: lmanukyan/print-designer#5, mailout.ru on its common errors, help.mail.ru
    any("application password is required", Meaning::AppPassword, Some("make a password for external applications: https://account.mail.ru/user/2-step-auth/passwords/")),
    text("mail.ru", "message sending for this account is disabled", Meaning::Policy, SPAM_LOCK),
    text("mail.ru", "ratelimit exceeded", Meaning::Quota, QUOTA),
    text("mail.ru", "not local sender over smtp", Meaning::Sender, SENDER),
    // Zoho: mybb/mybb#2644, cachethq/cachet#3052, zoho.com/mail/help/usage-policy.html
    text("zoho.com", "unusual sending activity", Meaning::Policy, Some("Zoho has blocked this account's sending: unblock it in the web mail")),
    text("zoho.com", "email outgoing blocked", Meaning::Policy, SPAM_LOCK),
    text("zoho.com", "sender is not allowed to relay", Meaning::Sender, SENDER),
    known("", 553, None, "relaying disallowed", Meaning::Sender, SENDER),
    // OVH: aschroder/Magento-SMTP-Pro-Email-Extension#94, ovh/docs#6139
    text("ovh.net", "too many emails", Meaning::Quota, QUOTA),
    // IONOS, GMX, web.de (one system): jstedfast/MailKit#968
    known("", 450, None, "mail send limit exceeded", Meaning::Quota, Some("the mailbox's own sending limit; set per_hour and per_day below it")),
    any("sender address is not allowed", Meaning::Sender, SENDER),
    text("gmx.net", "failure sending mail. try again later", Meaning::Later, None),
    // iCloud
    text("me.com", "from address is not one of your addresses", Meaning::Sender, SENDER),
    // Yahoo: nodemailer/nodemailer#1112, PHPMailer/PHPMailer#2034
    any("(#auth005)", Meaning::AppPassword, Some("Yahoo wants an app password: https://login.yahoo.com/account/security")),
    known("yahoo.com", 535, None, "", Meaning::AppPassword, Some("Yahoo wants an app password: https://login.yahoo.com/account/security")),
    text("yahoo.com", "from address not verified", Meaning::Sender, SENDER),
    // Fastmail, iCloud: ordinary 535 with an ordinary password
    known("fastmail.com", 535, None, "", Meaning::AppPassword, Some("Fastmail wants an app password: https://app.fastmail.com/settings/security/apps")),
    known("me.com", 535, None, "", Meaning::AppPassword, Some("iCloud wants an app-specific password: https://account.apple.com")),
    // Forpsi: support.konto.pl/kb/a2813
    known("forpsi.com", 550, Some(Enhanced(5, 1, 0)), "", Meaning::Quota, Some("Forpsi has stopped this mailbox for an hour; set per_hour lower")),
    // SMTP2GO: gophish/gophish#1701
    text("smtp2go.com", "ip address is not allowed to send", Meaning::Policy, ADDRESS),
    // Postal: postalserver/postal#728
    known("", 530, None, "from/sender name is not valid", Meaning::Sender, SENDER),
    // MailerSend: geeksforsocialchange/PlaceCal#2297
    text("mailersend.net", "reached its email quota limit", Meaning::Quota, QUOTA),
    // Hostinger
    text("hostinger.com", "out_ratelimit\" exceeded", Meaning::Quota, QUOTA),
    // Hosters with cPanel (Exim) and Plesk (Postfix)
    any("exceeded the max emails per hour", Meaning::Quota, Some("the hoster counts per domain and hour; set per_hour below its limit")),
    any("exceeded the max defers and failures per hour", Meaning::Quota, Some("the hoster stops domains with many failures; it clears within the hour")),
    // roundcube/roundcubemail#8737
    any("outgoing mail from \"", Meaning::Policy, SUSPENDED),
    // Anybody: Postfix, Exim, Exchange, Sendmail wordings
    any("not owned by user", Meaning::Sender, SENDER),
    any("not authorised to send from this", Meaning::Sender, SENDER),
    any("does not have permissions to send as", Meaning::Sender, SENDER),
    any("must be same as authorization user", Meaning::Sender, SENDER),
    any("too many recipients", Meaning::RecipientLimit, None),
    any("too many login", Meaning::LoginLater, None),
    any("too many bad auth", Meaning::LoginLater, None),
    // RFC 7372: a signature or SPF of the message failed, which some call missing authentication.
    known("", 550, Some(Enhanced(5, 7, 26)), "", Meaning::Content, None),
    any("dmarc", Meaning::Content, None),
    // RFC 3207 §4: the code of a missing login.
    known("", 530, None, "starttls", Meaning::Encryption, ENCRYPTION),
    known("", 530, None, "tls first", Meaning::Encryption, ENCRYPTION),
    known("", 530, None, "encryption required", Meaning::Encryption, ENCRYPTION),
    any("starttls is required to send mail", Meaning::Encryption, ENCRYPTION),
    known("", 530, None, "", Meaning::Login, LOGIN),
    any("authentication required", Meaning::NeedsLogin, LOGIN),
    any("not authenticated", Meaning::NeedsLogin, LOGIN),
    any("relay access denied", Meaning::NeedsLogin, LOGIN),
    any("relaying denied", Meaning::NeedsLogin, LOGIN),
    any("relay not permitted", Meaning::NeedsLogin, LOGIN),
    any("daily sending limit", Meaning::Quota, Some("set per_day below the account's limit")),
    any("daily sending quota", Meaning::Quota, Some("set per_day below the account's limit")),
    any("sending limit exceeded", Meaning::Quota, Some("set per_day below the account's limit")),
    any("sending quota exceeded", Meaning::Quota, Some("set the limits of this smarthost below the account's")),
    any("outgoing email quota", Meaning::Quota, QUOTA),
    any("allowed outgoing messages was exceeded", Meaning::Quota, Some("the hoster's limit on outgoing mail; set per_hour below it")),
    any("your account is suspended", Meaning::Policy, SUSPENDED),
    any("your account has been suspended", Meaning::Policy, SUSPENDED),
    // GoDaddy: nodemailer/nodemailer#1137, WWBN/AVideo#7527; QQ: gophish/gophish#3231; root-io/vmail#67;
    // support.prolateral.com/Knowledgebase/Article/View/187; policyd's quotas; rspamd's of a sender: mailcow/mailcow-dockerized#539.
    any("24-hour sending limit", Meaning::Quota, Some("set per_day below the account's limit")),
    any("your relay quota of", Meaning::Quota, Some("set per_day below the account's limit")),
    any("exceeded hour limit", Meaning::Quota, Some("set per_hour below the account's limit")),
    any("messages per day", Meaning::Quota, Some("set per_day below the account's limit")),
    any("exceeded your outmail quota", Meaning::Quota, QUOTA),
    any("policy rejection; message count quota exceeded", Meaning::Quota, QUOTA),
    any("policy rejection; cumulative message size quota exceeded", Meaning::Quota, QUOTA),
    any("ratelimit \"user\" exceeded", Meaning::Quota, QUOTA),
    any("hourly limit", Meaning::Quota, Some("set per_hour below the account's limit")),
    any("too many connections", Meaning::Busy, Some("set connections lower")),
    any("too many concurrent", Meaning::Busy, Some("set connections lower")),
    any("greylist", Meaning::Later, None),
    any("graylist", Meaning::Later, None),
    known("", 554, Some(Enhanced(5, 7, 0)), "try again later", Meaning::Later, None),
    // Behind all words: some say of a quota, too, that these were too many recipients.
    known("", 452, Some(Enhanced(4, 5, 3)), "", Meaning::RecipientLimit, None),
    known("", 550, Some(Enhanced(5, 5, 3)), "", Meaning::RecipientLimit, None),
];

/// Words for a line that is too long (RFC 5321 §4.5.3.1.6). Exim as Debian has it: getsentry/sentry#7454; `OpenSMTPD`:
/// OpenSMTPD/OpenSMTPD#1134; web.de and GMX: Kitura/Swift-SMTP#106; go-smtp: Mnexa-AI/e2a#773; an Exim of hosters:
/// dx-tooling/platform-problem-monitoring-core#1.
const LONG_LINE: [&str; 5] =
    ["line length", "line too long", "lines too long", "line is too long", "too long a line"];

/// Whether a message is refused for the length of its lines.
#[must_use]
pub fn is_about_long_lines(reply: &Reply) -> bool {
    let text = reply.lines.join(" ").to_ascii_lowercase();
    reply.is_permanent() && LONG_LINE.iter().any(|words| text.contains(words))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deliver::verdict::tests::reply;

    #[test]
    fn long_lines_are_told_in_many_words() {
        let is_told = |line: &str| is_about_long_lines(&reply(line));
        for line in [
            "550 maximum allowed line length is 998 octets, got 1802",
            "500 5.0.0 Line too long",
            "501 Syntax error - line too long",
            "554 5.0.0 Error: transaction failed: smtp: too long a line in input stream",
            "550 Line length in message or single header exceeds 8192",
        ] {
            assert!(is_told(line), "{line}");
        }
        for line in ["450 4.2.0 line too long", "552 5.3.4 message too long", "550 5.7.1 online, but refused"]
        {
            assert!(!is_told(line), "{line}");
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
