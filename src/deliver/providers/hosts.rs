//! Who is behind a host, where it takes mail, what it allows, and what login it wants: dated facts, each with its page.
//!
//! A limit that stands on a page of the provider's is the default of a smarthost there. What people tell one another is advice: `check`
//! warns where the configuration exceeds or lacks it, `status` and `doctor` show it, and nothing waits for it unless the admin writes it
//! down, because what an account may send depends on its plan, its age and its past.

use super::{is_within, plain_host};
use crate::config::schema::{KNOWN_LIMITS, TlsMode};
use crate::queue::limits::Count;

/// A provider's facts.
#[derive(Debug, PartialEq, Eq)]
pub struct Provider {
    /// As people call it.
    pub name: &'static str,
    /// Domains its servers are in.
    pub domains: &'static [&'static str],
    /// Where submissions go, the best one first.
    pub servers: &'static [Server],
    /// What it is known to allow.
    pub limits: &'static [Limit],
    /// What user name and password it wants.
    pub login: &'static str,
    /// Where that was read.
    pub source: &'static str,
}

/// One way in.
#[derive(Debug, PartialEq, Eq)]
pub struct Server {
    /// Host name.
    pub host: &'static str,
    /// TCP port.
    pub port: u16,
    /// How TLS starts there.
    pub tls: TlsMode,
}

/// `smtp.example.com:465 (tls = "implicit")`.
impl std::fmt::Display for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&in_words(&format!("{}:{}", self.host, self.port), self.tls))
    }
}

/// A server with how TLS starts there, as the configuration says it.
pub(super) fn in_words(server: &str, tls: TlsMode) -> String {
    format!("{server} (tls = \"{}\")", tls.as_str())
}

/// One limit, in the words of the configuration.
#[derive(Debug, PartialEq, Eq)]
pub struct Limit {
    /// The key of `[smarthost.NAME]` that keeps to it.
    pub key: &'static str,
    /// The most that any ordinary account of this provider may have.
    pub most: u64,
    /// What the provider counts.
    pub count: Count,
    /// The same in words, and for which account.
    pub words: &'static str,
    /// The provider's page on which that was read at [`READ`](super::READ); none: it is hearsay, and told as such.
    pub page: Option<&'static str>,
}

impl Limit {
    /// In words, with a warning where nobody has seen it in writing.
    #[must_use]
    pub fn in_words(&self) -> String {
        if self.page.is_some() { self.words.into() } else { format!("about {} (unverified)", self.words) }
    }
}

/// Names within providers' domains of which nothing holds that is known of their mail servers: customers' own machines,
/// servers for incoming mail, and services with an account and limits of their own.
const BESIDE: &[&str] = &[
    // High Volume Email; a domain's MX, which takes mail by a connector.
    "smtp-hve.office365.com",
    "protection.outlook.com",
    "mail.eo.outlook.com",
    "compute.amazonaws.com",
    "compute-1.amazonaws.com",
    "compute.amazonaws.com.cn",
    "postbox.cloud.yandex.net",
    "clients.your-server.de",
];

/// The provider behind a host; none if it isn't in the table.
#[must_use]
pub fn known(host: &str) -> Option<&'static Provider> {
    let host = plain_host(host);
    if BESIDE.iter().any(|beside| is_within(&host, beside)) {
        return None;
    }
    PROVIDERS.iter().find(|provider| provider.domains.iter().any(|domain| is_within(&host, domain)))
}

impl Provider {
    /// Those of its limits that may be a setting's default: they stand on its page, and make mail late at worst.
    pub fn defaults(&self) -> impl Iterator<Item = &'static Limit> {
        self.limits.iter().filter(|limit| limit.page.is_some() && KNOWN_LIMITS.contains(&limit.key))
    }

    /// Its limits in one line: `10,000 recipients in 24 hours; about 20 MB … (unverified)`. Empty if none are known.
    #[must_use]
    pub fn limits_in_words(&self) -> String {
        self.limits.iter().map(Limit::in_words).collect::<Vec<_>>().join("; ")
    }
}

const fn implicit(host: &'static str) -> Server {
    Server { host, port: 465, tls: TlsMode::Implicit }
}

const fn starttls(host: &'static str) -> Server {
    Server { host, port: 587, tls: TlsMode::StartTls }
}

const fn starttls_on(host: &'static str, port: u16) -> Server {
    Server { host, port, tls: TlsMode::StartTls }
}

/// A limit that stands on a page of the provider's.
const fn limit(key: &'static str, most: u64, words: &'static str, page: &'static str) -> Limit {
    Limit { key, most, count: Count::Recipients, words, page: Some(page) }
}

/// The same, of messages, however many recipients they have.
const fn messages(key: &'static str, most: u64, words: &'static str, page: &'static str) -> Limit {
    Limit { key, most, count: Count::Messages, words, page: Some(page) }
}

/// A limit that people tell one another.
const fn hearsay(key: &'static str, most: u64, words: &'static str) -> Limit {
    Limit { key, most, count: Count::Recipients, words, page: None }
}

#[rustfmt::skip]
const PROVIDERS: &[Provider] = &[
    // The relay's domain lies within Gmail's, so it comes first.
    Provider {
        name: "Google Workspace SMTP relay",
        domains: &["smtp-relay.gmail.com"],
        servers: &[starttls("smtp-relay.gmail.com"), implicit("smtp-relay.gmail.com")],
        limits: &[
            hearsay("per_day", 10_000, "10,000 recipients in 24 hours for each user (less for small or new customers)"),
            hearsay("max_size", 25 << 20, "25 MiB a message"),
        ],
        login: "the relay knows its clients by address or by login: list this machine under Apps, Google Workspace, Gmail, Routing, SMTP relay service in the admin console; a login takes an app password",
        source: "support.google.com/a/answer/2956491",
    },
    Provider {
        name: "Gmail",
        domains: &["gmail.com", "googlemail.com"],
        servers: &[implicit("smtp.gmail.com"), starttls("smtp.gmail.com")],
        limits: &[
            messages("per_day", 2_000, "2,000 messages and 3,000 recipients outside the domain in 24 hours with Workspace (500 messages during a trial; a free account about 500)", "support.google.com/a/answer/166852"),
            hearsay("max_size", 25 << 20, "25 MiB a message"),
        ],
        login: "Gmail wants an app password (16 letters), not the account's own: https://myaccount.google.com/apppasswords (needs 2-step verification)",
        source: "support.google.com/a/answer/166852, support.google.com/accounts/answer/185833",
    },
    Provider {
        name: "Microsoft 365",
        domains: &["office365.com", "outlook.com", "hotmail.com", "live.com", "office365.us", "partner.outlook.cn"],
        servers: &[starttls("smtp.office365.com"), starttls("smtp-mail.outlook.com")],
        limits: &[
            limit("per_day", 10_000, "10,000 recipients in 24 hours (an Outlook.com account far fewer)", "learn.microsoft.com/defender-office-365/outbound-spam-sending-limits-troubleshoot"),
            messages("per_minute", 30, "30 messages a minute", "learn.microsoft.com/defender-office-365/outbound-spam-sending-limits-troubleshoot"),
            limit("connections", 3, "3 connections at once", "techcommunity.microsoft.com/t5/exchange-team-blog/changes-coming-to-the-smtp-authenticated-submission-client/ba-p/607825"),
        ],
        login: "Microsoft switches password logins off more and more (error 535 5.7.139): an admin can allow \"Authenticated SMTP\" for the mailbox, as long as security defaults don't forbid it: https://aka.ms/smtp_auth_disabled; Outlook.com takes OAuth only",
        source: "learn.microsoft.com/office365/servicedescriptions/exchange-online-service-description/exchange-online-limits",
    },
    Provider {
        name: "Amazon SES",
        domains: &["amazonaws.com", "amazonaws.com.cn"],
        servers: &[starttls("email-smtp.REGION.amazonaws.com"), implicit("email-smtp.REGION.amazonaws.com"), starttls_on("email-smtp.REGION.amazonaws.com", 2587)],
        limits: &[
            limit("max_size", 40 << 20, "40 MB a message", "docs.aws.amazon.com/ses/latest/dg/quotas.html"),
        ],
        login: "Amazon SES wants SMTP credentials made for this region in the SES console; the IAM user's own access key doesn't work. New accounts are in the sandbox: 200 messages a day, to verified addresses only",
        source: "docs.aws.amazon.com/ses/latest/dg/smtp-credentials.html, docs.aws.amazon.com/ses/latest/dg/quotas.html",
    },
    Provider {
        name: "SendGrid",
        domains: &["sendgrid.net"],
        servers: &[implicit("smtp.sendgrid.net"), starttls("smtp.sendgrid.net"), starttls_on("smtp.sendgrid.net", 2525)],
        limits: &[
            limit("max_size", 30 << 20, "30 MB a message", "docs.sendgrid.com/api-reference/mail-send/limitations"),
        ],
        login: "SendGrid wants the word apikey as user name and an API key with \"Mail Send\" as password: https://app.sendgrid.com/settings/api_keys",
        source: "twilio.com/docs/sendgrid/for-developers/sending-email/integrating-with-the-smtp-api",
    },
    Provider {
        name: "Mailgun",
        domains: &["mailgun.org"],
        servers: &[implicit("smtp.mailgun.org"), starttls("smtp.mailgun.org"), starttls_on("smtp.mailgun.org", 2525), implicit("smtp.eu.mailgun.org")],
        limits: &[limit("max_size", 25 << 20, "25 MB a message", "documentation.mailgun.com/docs/mailgun/user-manual/sending-messages")],
        login: "Mailgun wants the SMTP credentials of the sending domain (Domain settings, SMTP credentials), not the account's login; domains in the EU use smtp.eu.mailgun.org",
        source: "documentation.mailgun.com/docs/mailgun/user-manual/sending-messages/send-smtp",
    },
    Provider {
        name: "Mailjet",
        domains: &["mailjet.com"],
        servers: &[implicit("in-v3.mailjet.com"), starttls("in-v3.mailjet.com"), starttls_on("in-v3.mailjet.com", 2525)],
        limits: &[hearsay("max_size", 15 << 20, "15 MB a message")],
        login: "Mailjet wants the API key as user name and the secret key as password: https://app.mailjet.com/account/apikeys",
        source: "documentation.mailjet.com/hc/en-us/articles/360043229473",
    },
    Provider {
        name: "Brevo",
        domains: &["brevo.com", "sendinblue.com"],
        servers: &[implicit("smtp-relay.brevo.com"), starttls("smtp-relay.brevo.com"), starttls_on("smtp-relay.brevo.com", 2525)],
        limits: &[limit("max_size", 20 << 20, "20 MB a message", "help.brevo.com/hc/en-us/articles/4402811730962")],
        login: "Brevo wants the SMTP login and an SMTP key, not the account's password: https://app.brevo.com/settings/keys/smtp. This machine's address may have to be authorised there, and sending be activated by their support",
        source: "help.brevo.com/hc/en-us/articles/7924908994450",
    },
    Provider {
        name: "Postmark",
        domains: &["postmarkapp.com"],
        servers: &[starttls("smtp.postmarkapp.com"), starttls_on("smtp.postmarkapp.com", 2525)],
        limits: &[limit("max_size", 10 << 20, "10 MB a message", "postmarkapp.com/support/article/1056-what-are-the-attachment-and-email-size-limits")],
        login: "Postmark wants the server's API token as both user name and password (or an SMTP token of the message stream); new accounts send to their own domain until approved",
        source: "postmarkapp.com/developer/user-guide/send-email-with-smtp",
    },
    Provider {
        name: "SparkPost",
        domains: &["sparkpostmail.com", "sparkpost.com"],
        servers: &[starttls("smtp.sparkpostmail.com"), starttls_on("smtp.sparkpostmail.com", 2525), starttls("smtp.eu.sparkpostmail.com")],
        limits: &[hearsay("max_size", 20 << 20, "20 MB a message")],
        login: "SparkPost wants SMTP_Injection as user name and an API key with \"Send via SMTP\" as password",
        source: "support.sparkpost.com/docs/faq/error-messages-smtp",
    },
    Provider {
        name: "EmailLabs",
        domains: &["emaillabs.net.pl", "emaillabs.io"],
        servers: &[starttls("smtp.emaillabs.net.pl"), implicit("smtp.emaillabs.net.pl"), starttls_on("smtp.emaillabs.net.pl", 2525)],
        limits: &[
            hearsay("per_hour", 120_000, "60,000 messages an hour over shared addresses, 120,000 over dedicated ones"),
            hearsay("connections", 50, "50 connections at once"),
            limit("max_size", 15 << 20, "15 MB a message", "emaillabs.io/en/email-size-change-with-attachment-to-15mb"),
        ],
        login: "EmailLabs wants the SMTP account's own password, which is another than the panel's; a new one takes about 10 minutes to spread",
        source: "emaillabs.io, questions and answers about SMTP",
    },
    Provider {
        name: "Yandex Mail",
        domains: &["yandex.ru", "yandex.com", "yandex.net", "yandex.com.tr", "yandex.kz", "yandex.by"],
        servers: &[implicit("smtp.yandex.ru"), starttls("smtp.yandex.ru")],
        limits: &[
            limit("per_day", 3_000, "500 recipients in 24 hours for a free mailbox (a Yandex 360 one about 3,000)", "yandex.com/support/mail/web/letter/create/send-many-letters.html"),
            hearsay("max_size", 30 << 20, "30 MB a message"),
        ],
        login: "Yandex wants an app password for \"Mail\" (https://id.yandex.ru/security/app-passwords) and mail programs allowed under Settings, Mail clients",
        source: "yandex.ru/support/yandex-360/customers/mail/ru/mail-clients/others, yandex.ru/support/yandex-360/business/mail/ru/web/letter/create/limits",
    },
    Provider {
        name: "mail.ru",
        domains: &["mail.ru"],
        servers: &[implicit("smtp.mail.ru")],
        limits: &[hearsay("max_size", 25 << 20, "25 MB a message")],
        login: "mail.ru wants a password for external applications: https://account.mail.ru/user/2-step-auth/passwords/ (help.mail.ru/mail/security/protection/external)",
        source: "help.mail.ru/mail/security/protection/external",
    },
    Provider {
        name: "Zoho Mail",
        domains: &["zoho.com", "zoho.eu", "zoho.in", "zoho.com.au", "zoho.jp", "zohocloud.ca", "zohomail.com"],
        servers: &[implicit("smtp.zoho.com"), starttls("smtp.zoho.com"), implicit("smtppro.zoho.com")],
        limits: &[],
        login: "Zoho wants an app password when two-factor login is on (https://accounts.zoho.com/home#security/app_password), and the server of the account's region: smtp.zoho.eu, smtp.zoho.in; smtppro.… for own domains",
        source: "zoho.com/mail/help/zoho-smtp.html",
    },
    Provider {
        name: "OVHcloud",
        // Customers' own machines are right below ovh.net and ovh.ca.
        domains: &["ssl0.ovh.net", "ns0.ovh.net", "mail.ovh.net", "ssl0.ovh.ca", "mail.ovh.ca", "ovhcloud.com"],
        servers: &[implicit("ssl0.ovh.net"), starttls("ssl0.ovh.net"), implicit("smtp.mail.ovh.net")],
        limits: &[messages("per_hour", 200, "200 messages an hour for a mailbox, and 300 for an address that connects", "github.com/ovh/ovhcloud-docs/pull/715")],
        login: "OVH wants the whole address and the mailbox's password; 535 may also mean that the mailbox is locked for spam, which a new password ends",
        source: "help.ovhcloud.com/csm/en-mx-plan-locked-for-spam, docs.ovh.com (e-mail limits)",
    },
    Provider {
        name: "IONOS",
        domains: &["ionos.de", "ionos.com", "ionos.co.uk", "ionos.fr", "ionos.es", "ionos.it", "1und1.de", "1and1.com", "kundenserver.de", "perfora.net"],
        servers: &[implicit("smtp.ionos.de"), starttls("smtp.ionos.de")],
        limits: &[
            messages("per_hour", 500, "500 messages an hour for a mailbox whose contract is older than 30 days (50, 100, 400 before)", "ionos.com/help/email/general-topics/what-are-the-mass-mailing-limits"),
            hearsay("max_size", 70 << 20, "70 MB a message"),
        ],
        login: "IONOS wants the whole address and the mailbox's own password, not the customer account's; From must be an address of the account",
        source: "ionos.com/help/email/general-topics/settings-for-your-email-programs-imap-pop3",
    },
    Provider {
        name: "GMX and web.de",
        domains: &["gmx.net", "gmx.de", "gmx.com", "gmx.at", "gmx.ch", "web.de", "mail.com"],
        servers: &[implicit("mail.gmx.net"), starttls("mail.gmx.net"), starttls("smtp.web.de")],
        limits: &[],
        login: "GMX and web.de let mail programs in only after \"POP3 and IMAP\" is switched on in the web mail's settings; with two-factor login they want an application's password made there",
        source: "hilfe.gmx.net/pop-imap/einschalten.html, hilfe.web.de/pop-imap/einschalten.html",
    },
    Provider {
        name: "Strato",
        domains: &["strato.de", "strato.com", "strato.nl"],
        servers: &[implicit("smtp.strato.de"), starttls("smtp.strato.de")],
        limits: &[],
        login: "Strato wants the whole address and the mailbox's own password, not the customer account's",
        source: "strato.de/faq/mail",
    },
    Provider {
        name: "Hetzner",
        domains: &["your-server.de", "hetzner.com"],
        servers: &[starttls("mail.your-server.de"), implicit("mail.your-server.de")],
        limits: &[messages("per_hour", 500, "500 messages an hour", "hetzner.com/legal/webhosting")],
        login: "Hetzner wants the whole address and the mailbox's password from konsoleH",
        source: "docs.hetzner.com/konsoleh/account-management/email",
    },
    Provider {
        name: "Fastmail",
        domains: &["fastmail.com", "messagingengine.com"],
        servers: &[implicit("smtp.fastmail.com"), starttls("smtp.fastmail.com")],
        limits: &[
            hearsay("per_day", 8_000, "8,000 messages a day (4,000 on the basic plan)"),
            hearsay("max_size", 70 << 20, "70 MB a message"),
        ],
        login: "Fastmail wants an app password with access to SMTP: Settings, Privacy & Security, Manage app passwords: https://app.fastmail.com/settings/security/apps",
        source: "fastmail.help/hc/en-us/articles/360058752854, fastmail.help/hc/en-us/articles/1500000277382",
    },
    Provider {
        name: "iCloud Mail",
        domains: &["me.com", "icloud.com", "mac.com"],
        servers: &[starttls("smtp.mail.me.com")],
        limits: &[
            limit("per_day", 1_000, "1,000 messages and 1,000 recipients a day", "support.apple.com/102198"),
            limit("max_size", 20 << 20, "20 MB a message", "support.apple.com/102198"),
        ],
        login: "iCloud wants an app-specific password: https://account.apple.com, Sign-In and Security, App-Specific Passwords",
        source: "support.apple.com/102198, support.apple.com/102654",
    },
    Provider {
        name: "Yahoo Mail",
        domains: &["yahoo.com", "aol.com", "ymail.com"],
        servers: &[implicit("smtp.mail.yahoo.com"), starttls("smtp.mail.yahoo.com")],
        limits: &[hearsay("max_size", 25 << 20, "25 MB a message")],
        login: "Yahoo and AOL want an app password: Account security, Generate app password: https://login.yahoo.com/account/security",
        source: "help.yahoo.com/kb/SLN15241.html",
    },
    Provider {
        name: "Infomaniak",
        // Customers' own machines are right below infomaniak.ch.
        domains: &["infomaniak.com", "mail.infomaniak.ch"],
        servers: &[implicit("mail.infomaniak.com"), starttls("mail.infomaniak.com")],
        limits: &[limit("per_day", 1_440, "1,440 recipients in 24 hours for a mailbox (500 with the free and smallest plans)", "infomaniak.com/en/support/faq/2065/understanding-the-24-hour-outgoing-email-limit")],
        login: "Infomaniak wants the whole address and a device password made for it in the mail settings",
        source: "infomaniak.com/en/support/faq/2427",
    },
    Provider {
        name: "reg.ru",
        domains: &["hosting.reg.ru", "reg.ru"],
        servers: &[implicit("mail.hosting.reg.ru"), starttls("mail.hosting.reg.ru")],
        limits: &[],
        login: "reg.ru wants the whole address and the mailbox's password from the hosting panel, not the account's",
        source: "help.reg.ru, settings of mail programs",
    },
    Provider {
        name: "Beget",
        domains: &["beget.com", "beget.ru"],
        servers: &[implicit("smtp.beget.com"), starttls_on("smtp.beget.com", 2525)],
        limits: &[],
        login: "Beget wants the whole address and the mailbox's password from the panel, not the account's",
        source: "beget.com/ru/kb/how-to/mail",
    },
    Provider {
        name: "SMTP2GO",
        domains: &["smtp2go.com"],
        servers: &[implicit("mail.smtp2go.com"), starttls_on("mail.smtp2go.com", 2525), starttls("mail.smtp2go.com")],
        limits: &[limit("max_size", 50 << 20, "50 MB a message", "support.smtp2go.com/hc/en-gb/articles/223087547-Maximum-attachment-size")],
        login: "SMTP2GO wants an SMTP user made under Sending, SMTP Users, and a verified sender",
        source: "support.smtp2go.com",
    },
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::keys;

    #[test]
    fn a_host_is_known_by_whole_labels_and_the_closer_one_wins() {
        for (host, name) in [
            ("smtp.gmail.com", Some("Gmail")),
            ("SMTP.Gmail.com.", Some("Gmail")),
            ("smtp-relay.gmail.com", Some("Google Workspace SMTP relay")),
            ("email-smtp.eu-west-1.amazonaws.com", Some("Amazon SES")),
            ("smtp-mail.outlook.com", Some("Microsoft 365")),
            ("www123.your-server.de", Some("Hetzner")),
            ("mail.your-server.de", Some("Hetzner")),
            ("static.1.113.0.203.clients.your-server.de", None),
            ("smtp.office365.com", Some("Microsoft 365")),
            ("SMTP-HVE.office365.com", None),
            ("shop-test.mail.protection.outlook.com", None),
            ("shop-test.mail.eo.outlook.com", None),
            ("pro1.mail.ovh.net", Some("OVHcloud")),
            ("smtp.mail.ovh.ca", Some("OVHcloud")),
            ("vps-1a2b3c4d.vps.ovh.net", None),
            ("vps-1a2b3c4d.vps.ovh.ca", None),
            ("vps123456.ovh.net", None),
            ("ns3012345.ovh.net", None),
            ("ec2-203-0-113-25.eu-west-1.compute.amazonaws.com", None),
            ("ec2-203-0-113-25.compute-1.amazonaws.com", None),
            ("smtp.yandex.com", Some("Yandex Mail")),
            ("postbox.cloud.yandex.net", None),
            ("mail.infomaniak.com", Some("Infomaniak")),
            ("ov-1a2b3c.infomaniak.ch", None),
            ("notgmail.com", None),
            ("gmail.com.evil.test", None),
            ("mail.example.com", None),
        ] {
            assert_eq!(known(host).map(|provider| provider.name), name, "{host}");
        }
    }

    #[test]
    fn every_server_is_found_under_its_own_provider() {
        for provider in PROVIDERS {
            assert!(
                !provider.servers.is_empty() && !provider.login.is_empty() && !provider.source.is_empty()
            );
            for server in provider.servers {
                assert_eq!(known(server.host), Some(provider), "{}", server.host);
            }
        }
    }

    #[test]
    fn limits_are_named_as_the_configuration_names_them() {
        let smarthost = keys::section("smarthost").unwrap();
        for limit in PROVIDERS.iter().flat_map(|provider| provider.limits) {
            assert!(smarthost.key(limit.key).is_some(), "{}", limit.key);
            assert!(limit.most > 0 && limit.words.contains(|c: char| c.is_ascii_digit()));
        }
    }

    #[test]
    fn a_limit_names_its_page_or_is_told_as_hearsay() {
        for limit in PROVIDERS.iter().flat_map(|provider| provider.limits) {
            let told = limit.in_words();
            assert!(limit.page.is_none_or(|page| page.contains('.') && page.contains('/')), "{limit:?}");
            assert_eq!(told.contains("unverified"), limit.page.is_none(), "{told}");
            assert!(!told.contains("about about"), "{told}");
        }
    }

    #[test]
    fn a_good_number_of_providers_is_known() {
        assert!(PROVIDERS.len() >= 24, "{}", PROVIDERS.len());
    }
}
