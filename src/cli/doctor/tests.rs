//! Findings in, words and lines out.

use super::choice::{Choice, choose};
use super::diagnosis::{Subject, Weight, diagnose};
use super::envelope::{Envelope, Fate};
use super::finding::{
    Alien, Answered, Findings, Lookup, LookupTrouble, ModeFinding, Offers, Outcome, PortFinding, Reached,
    Records, Tongue,
};
use super::login::{Login, LoginTrouble, login_trouble};
use crate::config::schema::TlsMode::{self, Implicit, None as Plain, StartTls};
use crate::deliver::trial::{Asked, Unanswered};
use crate::deliver::verdict::{Cause, Fault, Stage};
use crate::net::certificate::Facts;
use crate::net::observe::{Flaw, Seen};
use crate::smtp::capabilities::Capabilities;
use crate::smtp::reply::{Enhanced, Reply};

fn reached(port: u16, how: Reached) -> PortFinding {
    PortFinding { port, addresses: vec![(([192, 0, 2, 1], port).into(), how)], modes: Vec::new() }
}

fn open(port: u16, modes: Vec<ModeFinding>) -> PortFinding {
    PortFinding { modes, ..reached(port, Reached::Open) }
}

fn works(mode: TlsMode, lines: &[&str]) -> ModeFinding {
    let all = std::iter::once("mx.test").chain(lines.iter().copied());
    let reply = Reply { code: 250, enhanced: None, lines: all.map(|line| line.to_owned().into()).collect() };
    let offers = Offers {
        capabilities: Capabilities::from_reply(&reply),
        lines: lines.iter().map(ToString::to_string).collect(),
        ehlo_refused: None,
    };
    let certificate = (mode != Plain).then(|| seen(&[]));
    let tls = (mode != Plain).then(|| "TLS1.3:X".to_owned());
    ModeFinding { offers: Some(offers), certificate, tls, ..ModeFinding::new(mode, Outcome::Works) }
}

/// The same behind a certificate that needs a setting.
fn flawed(mode: TlsMode, lines: &[&str]) -> ModeFinding {
    ModeFinding { certificate: Some(seen(&[Flaw::SelfSigned])), ..works(mode, lines) }
}

fn fails(outcome: &Outcome) -> Vec<ModeFinding> {
    [Implicit, StartTls, Plain].map(|mode| ModeFinding::new(mode, outcome.clone())).into()
}

fn seen(flaws: &[Flaw]) -> Seen {
    let facts = Facts {
        names: vec!["mail.y.test".into(), "*.z.test".into()],
        subject: "mail.y.test".into(),
        issuer: "Our Own CA".into(),
        self_issued: false,
        not_before: "2020-01-01T00:00:00Z".parse().unwrap(),
        not_after: "2021-02-03T04:05:06Z".parse().unwrap(),
    };
    Seen { facts: Some(facts), sha256: "ab".repeat(32), stands_alone: true, flaws: flaws.to_vec() }
}

fn alien(octets: &[u8]) -> Outcome {
    Outcome::Alien(Alien::of(octets))
}

fn findings(ports: Vec<PortFinding>) -> Findings {
    let lookup = Lookup { ipv4: vec![[192, 0, 2, 1].into()], ..Lookup::default() };
    Findings { lookup, ports }
}

fn host() -> Subject {
    Subject { host: "smtp.x.test".into(), has_login: true, ..Subject::default() }
}

fn shop(port: u16, tls: TlsMode) -> Subject {
    Subject { configured: Some(("shop".into(), port, tls)), ..host() }
}

fn not_tried() -> Login {
    Login::NotTried("so".into())
}

/// Port, mode and what is said, in one text; the marks of bad news first.
fn told(findings: &Findings, subject: &Subject, login: &Login) -> (Option<(u16, TlsMode)>, String) {
    let choice = choose(findings, subject);
    let sentences = diagnose(findings, subject, choice.as_ref(), login, &Envelope::NotAsked("so"));
    let text: Vec<String> = sentences
        .iter()
        .map(|sentence| match sentence.weight {
            Weight::Good => format!("+ {}", sentence.text),
            Weight::Note => format!("· {}", sentence.text),
            Weight::Bad => format!("! {}", sentence.text),
        })
        .collect();
    (choice.map(|choice| (choice.port, choice.tls)), text.join("\n"))
}

#[test]
fn a_name_without_address_is_told_by_what_the_resolver_said() {
    for (trouble, part) in [
        (LookupTrouble::NoSuchName, "does not exist"),
        (LookupTrouble::NoAddress, "has no address"),
        (LookupTrouble::ServerFailure, "name server does not answer or fails"),
        (LookupTrouble::TimedOut, "no name server answers"),
        (LookupTrouble::Other("odd".into()), "odd"),
    ] {
        let findings = Findings {
            lookup: Lookup { trouble: Some(trouble), ..Lookup::default() },
            ..Findings::default()
        };
        let (choice, text) = told(&findings, &host(), &not_tried());
        assert!(choice.is_none() && text.contains(part) && text.lines().count() == 1, "{text}");
    }
}

#[test]
fn a_name_without_address_is_told_by_what_the_name_server_says_of_each_kind() {
    let found = || Answered::Addresses(vec![[192, 0, 2, 1].into()]);
    for (a, aaaa, parts) in [
        (Answered::NoSuchName, Answered::NoSuchName, ["does not exist", "Check how it is written"]),
        (Answered::NoRecord, Answered::NoRecord, ["neither A nor AAAA", "Perhaps smtp."]),
        (Answered::Silence, Answered::Silence, ["no name server answers", "port 53"]),
        (Answered::Failure, Answered::Failure, ["looked up: the name server could not", "DNSSEC"]),
        (Answered::Refused, Answered::Refused, ["(REFUSED)", "doesn't serve this machine"]),
        (
            Answered::Failure,
            Answered::NoRecord,
            ["(A): the name server could not", "(AAAA): the name exists"],
        ),
        (Answered::NoRecord, Answered::Silence, ["(A): the name exists", "(AAAA): no name server answered"]),
        (found(), Answered::NoRecord, ["the name server knows it (192.0.2.1)", "nsswitch.conf"]),
        (Answered::Other("odd".into()), Answered::Refused, ["(A): odd.", "(AAAA): the name server refuses"]),
    ] {
        let records = Some(Records { a, aaaa });
        let lookup = Lookup { trouble: Some(LookupTrouble::ServerFailure), records, ..Lookup::default() };
        let (choice, text) = told(&Findings { lookup, ..Findings::default() }, &host(), &not_tried());
        assert!(choice.is_none() && text.lines().count() == 1, "{text}");
        assert!(parts.iter().all(|part| text.contains(part)), "{text}");
    }
}

#[test]
fn refused_is_told_from_filtered() {
    let all = |how: &Reached| findings([465, 587].map(|port| reached(port, how.clone())).into());
    for (how, part) in [
        (Reached::Refused, "Nothing listens on ports 465, 587"),
        (Reached::Filtered, "No answer on ports 465, 587: a firewall drops"),
        (Reached::Unreachable, "no way to this address"),
        (Reached::Forbidden, "own firewall forbids"),
    ] {
        let (choice, text) = told(&all(&how), &host(), &not_tried());
        assert!(choice.is_none() && text.contains(part), "{text}");
    }
    let mixed = findings(vec![reached(465, Reached::Refused), reached(25, Reached::Filtered)]);
    let (_, text) = told(&mixed, &host(), &not_tried());
    assert!(text.contains("port 465 refused") && text.contains("port 25 filtered"), "{text}");
    let partly =
        findings(vec![open(465, vec![works(Implicit, &["AUTH PLAIN"])]), reached(25, Reached::Filtered)]);
    let (choice, text) = told(&partly, &host(), &Login::Good);
    assert_eq!(choice, Some((465, Implicit)));
    assert!(
        text.contains("+ Port 465") && text.contains("· port 25 is filtered") && !text.contains('!'),
        "{text}"
    );
}

#[test]
fn an_address_that_is_dead_beside_a_living_one_is_named_once() {
    let half = |port| {
        let mut finding = open(port, vec![works(Implicit, &["AUTH PLAIN"])]);
        let dead = std::net::SocketAddr::new("2001:db8::1".parse().unwrap(), port);
        finding.addresses.push((dead, Reached::Unreachable));
        finding
    };
    let (choice, text) = told(&findings(vec![half(465), half(587)]), &host(), &Login::Good);
    assert_eq!(choice, Some((465, Implicit)));
    assert!(text.contains("· 2001:db8::1 can't be reached") && !text.contains('!'), "{text}");
    assert_eq!(text.matches("2001:db8::1").count(), 1, "{text}");
}

#[test]
fn a_way_that_takes_logins_goes_before_one_that_does_not() {
    let ports = || {
        findings(vec![
            open(465, vec![works(Implicit, &[])]),
            open(587, vec![works(StartTls, &["AUTH PLAIN"])]),
        ])
    };
    assert_eq!(told(&ports(), &host(), &Login::Good).0, Some((587, StartTls)));
    let without = Subject { has_login: false, ..host() };
    assert_eq!(told(&ports(), &without, &not_tried()).0, Some((465, Implicit)));
}

#[test]
fn a_certificate_that_needs_a_setting_goes_before_a_way_without_logins() {
    let far = findings(vec![
        open(25, vec![works(StartTls, &[]), works(Plain, &["STARTTLS"])]),
        open(587, vec![flawed(StartTls, &["AUTH PLAIN"]), works(Plain, &["STARTTLS"])]),
        open(465, vec![flawed(Implicit, &["AUTH PLAIN"])]),
    ]);
    for (subject, choice) in [
        (shop(587, StartTls), (587, StartTls)),
        (shop(25, StartTls), (465, Implicit)),
        (Subject { loopback: true, ..shop(25, Plain) }, (465, Implicit)),
        (host(), (465, Implicit)),
        // Who logs in nowhere needs no setting for it.
        (Subject { has_login: false, ..shop(587, StartTls) }, (25, StartTls)),
    ] {
        assert_eq!(told(&far, &subject, &not_tried()).0, Some(choice), "{subject:?}");
    }
    // A trusted certificate stays best among ways that take logins.
    let both = findings(vec![
        open(465, vec![flawed(Implicit, &["AUTH PLAIN"])]),
        open(587, vec![works(StartTls, &["AUTH PLAIN"])]),
    ]);
    assert_eq!(told(&both, &shop(465, Implicit), &not_tried()).0, Some((587, StartTls)));
}

#[test]
fn tls_from_the_start_is_best_and_a_sound_configuration_stays() {
    let both = findings(vec![
        open(465, vec![works(Implicit, &["AUTH PLAIN"])]),
        open(587, vec![works(StartTls, &["AUTH PLAIN"]), works(Plain, &["STARTTLS"])]),
    ]);
    assert_eq!(told(&both, &host(), &Login::Good).0, Some((465, Implicit)));
    let (choice, text) = told(&both, &shop(587, StartTls), &Login::Good);
    assert_eq!(choice, Some((587, StartTls)));
    assert!(!text.contains('!'), "{text}");
}

#[test]
fn a_wrong_mode_is_told_from_a_wrong_port() {
    let plain_first = Outcome::NotTls(Alien { tongue: Tongue::Smtp, text: "220 mx.test".into() });
    let submission = || {
        vec![
            ModeFinding::new(Implicit, plain_first.clone()),
            works(StartTls, &["AUTH PLAIN"]),
            works(Plain, &["STARTTLS"]),
        ]
    };
    let tls_only = || {
        vec![
            works(Implicit, &["AUTH PLAIN"]),
            ModeFinding::new(StartTls, Outcome::TlsFirst),
            ModeFinding::new(Plain, Outcome::TlsFirst),
        ]
    };
    for (ports, subject, choice, part) in [
        (
            vec![open(587, submission())],
            shop(587, Implicit),
            (587, StartTls),
            "the right port, the wrong mode. Port 587 wants tls = \"starttls\"",
        ),
        (
            vec![open(465, tls_only())],
            shop(465, StartTls),
            (465, Implicit),
            "the right port, the wrong mode. Port 465 wants tls = \"implicit\"",
        ),
        (
            vec![open(587, submission()), reached(2525, Reached::Refused)],
            shop(2525, StartTls),
            (587, StartTls),
            "says port 2525 with tls = \"starttls\", but nothing listens there",
        ),
        (
            vec![open(587, submission()), reached(25, Reached::Filtered)],
            shop(25, StartTls),
            (587, StartTls),
            "but a firewall drops the packets",
        ),
        (
            vec![open(587, submission()), open(80, fails(&alien(b"HTTP/1.1 400 Bad Request\r\n")))],
            shop(80, StartTls),
            (587, StartTls),
            "the wrong port. Port 80 is a web server",
        ),
    ] {
        let (chosen, text) = told(&findings(ports), &subject, &Login::Good);
        assert_eq!(chosen, Some(choice), "{text}");
        assert!(text.contains(part), "{text}");
    }
}

#[test]
fn a_password_in_plain_text_is_for_loopback_only() {
    let plain = || {
        findings(vec![open(
            2525,
            vec![ModeFinding::new(StartTls, Outcome::NotOffered), works(Plain, &["AUTH PLAIN"])],
        )])
    };
    let (choice, text) = told(&plain(), &host(), &not_tried());
    assert!(choice.is_none(), "{text}");
    assert!(text.contains("plain text only") && text.contains("waystation doesn't use it"), "{text}");
    let (choice, text) = told(&plain(), &shop(2525, Plain), &not_tried());
    assert!(
        choice.is_none() && text.contains("password would travel in plain text, which waystation refuses"),
        "{text}"
    );
    let near = Subject { loopback: true, ..host() };
    assert_eq!(told(&plain(), &near, &Login::Good).0, Some((2525, Plain)));
    let without = Subject { has_login: false, ..host() };
    let (choice, text) = told(&plain(), &without, &not_tried());
    assert_eq!(choice, Some((2525, Plain)));
    assert!(text.contains("STARTTLS is not offered"), "{text}");
}

#[test]
fn a_firewall_that_masks_starttls_is_recognised() {
    let masked = findings(vec![open(
        587,
        vec![
            ModeFinding::new(StartTls, Outcome::NotOffered),
            works(Plain, &["SIZE 100", "XXXXXXXX", "AUTH PLAIN"]),
        ],
    )]);
    let (choice, text) = told(&masked, &shop(587, StartTls), &not_tried());
    assert!(choice.is_none() && text.contains("SMTP inspection"), "{text}");
}

#[test]
fn each_flaw_of_a_certificate_has_its_words_and_its_setting() {
    let named = || Flaw::WrongName { instead: Some("mail.y.test".into()) };
    for (flaws, parts, server_name) in [
        (vec![Flaw::Expired], &["expired at 2021-02-03"][..], false),
        (vec![Flaw::NotYetValid], &["not valid before 2020-01-01", "clock"], false),
        (
            vec![named()],
            &["not for smtp.x.test, but for mail.y.test, *.z.test", "server_name = \"mail.y.test\""],
            true,
        ),
        (
            vec![Flaw::WrongName { instead: None }, Flaw::SelfSigned],
            &["not for smtp.x.test", "self-signed", "pin_sha256"],
            false,
        ),
        (
            vec![Flaw::UnknownIssuer],
            &["Its issuer (Our Own CA) is not trusted", "ca_file", "intermediate"],
            false,
        ),
        (vec![Flaw::NotPinned], &["not the one in pin_sha256", "abab"], false),
        (vec![Flaw::Other("revoked".into())], &["revoked"], false),
        (vec![Flaw::Expired, named()], &["expired", "server_name"], false),
    ] {
        let flawed = ModeFinding { certificate: Some(seen(&flaws)), ..works(Implicit, &["AUTH PLAIN"]) };
        let findings = findings(vec![open(465, vec![flawed])]);
        let choice = choose(&findings, &host()).unwrap();
        let expected = if server_name {
            Choice {
                port: 465,
                tls: Implicit,
                server_name: Some("mail.y.test".into()),
                pin: None,
                auth: None,
            }
        } else {
            Choice { port: 465, tls: Implicit, server_name: None, pin: Some("ab".repeat(32)), auth: None }
        };
        assert_eq!(choice, expected, "{flaws:?}");
        let (_, text) = told(&findings, &host(), &not_tried());
        for part in parts {
            assert!(text.contains(part), "{flaws:?}: {part} is missing in\n{text}");
        }
    }
}

#[test]
fn a_sound_certificate_elsewhere_goes_before_a_pin() {
    let flawed =
        ModeFinding { certificate: Some(seen(&[Flaw::SelfSigned])), ..works(Implicit, &["AUTH PLAIN"]) };
    let both = findings(vec![open(465, vec![flawed]), open(587, vec![works(StartTls, &["AUTH PLAIN"])])]);
    assert_eq!(told(&both, &shop(465, Implicit), &Login::Good).0, Some((587, StartTls)));
}

#[test]
fn what_is_no_submission_server_is_named() {
    let greeting = Reply::new(554, Some(Enhanced(5, 7, 1)), "go away");
    for (outcome, parts) in [
        (alien(b"HTTP/1.1 400 Bad Request\r\n"), &["web server (HTTP)"][..]),
        (alien(b"SSH-2.0-OpenSSH_9.2p1\r\n"), &["SSH server", "SSH-2.0-OpenSSH_9.2p1"]),
        (alien(b"* OK IMAP4rev1 ready\r\n"), &["IMAP server", "another port"]),
        (alien(b"+OK ready\r\n"), &["POP3 server"]),
        (alien(b"hello\r\n"), &["isn't SMTP: \"hello\""]),
        (Outcome::Silent, &["says nothing, neither in plain text nor in TLS"]),
        (Outcome::Closed, &["closes it at once", "firewall"]),
        (Outcome::Refused(greeting.clone()), &["turns us away", "554 5.7.1 go away", "blocklist"]),
        (Outcome::Refused(Reply::new(421, None, "too many")), &["nothing at the moment: 421", "later"]),
        (Outcome::EhloRefused(greeting.clone()), &["refuses our EHLO", "hostname"]),
        (Outcome::Broken("reset".into()), &["fails: reset"]),
    ] {
        let (choice, text) = told(&findings(vec![open(587, fails(&outcome))]), &host(), &not_tried());
        assert!(choice.is_none() && text.starts_with("! Port 587 "), "{text}");
        for part in parts {
            assert!(text.contains(part), "{outcome:?}: {part} is missing in\n{text}");
        }
    }
}

#[test]
fn a_mail_server_that_breaks_off_behind_its_greeting_is_the_right_port() {
    let greeting = || Some(Reply::new(220, None, "mx.test"));
    let refusal = |code| Outcome::Refused(Reply::new(code, None, "no"));
    for (outcome, greeting, part) in [
        (Outcome::Silent, greeting(), "Port 587 greets us and says nothing to our EHLO"),
        (Outcome::Closed, greeting(), "Port 587 greets us and hangs up at our EHLO"),
        (refusal(421), Some(Reply::new(421, None, "no")), "takes nothing at the moment: 421 no"),
        (refusal(554), Some(Reply::new(554, None, "no")), "turns us away before we say anything: 554 no"),
        (Outcome::Silent, None, "says nothing, neither in plain text nor in TLS"),
        (Outcome::Closed, None, "closes it at once"),
    ] {
        let plain = ModeFinding { greeting, ..ModeFinding::new(Plain, outcome.clone()) };
        let modes = vec![
            ModeFinding::new(Implicit, Outcome::NotTls(Alien::of(b"220 mx.test"))),
            ModeFinding { mode: StartTls, ..plain.clone() },
            plain,
        ];
        let (choice, text) = told(&findings(vec![open(587, modes)]), &shop(587, StartTls), &not_tried());
        assert!(choice.is_none() && text.lines().count() == 1, "{text}");
        assert!(text.contains(part) && !text.contains("wrong port"), "{outcome:?}: {text}");
    }
}

#[test]
fn auth_that_is_not_offered_as_configured_is_told_with_what_is() {
    use crate::config::schema::Mechanism::{Auto, CramMd5, OAuthBearer, Plain, XOAuth2};
    let good = || Login::Good;
    let failed = || Login::Failed { trouble: LoginTrouble::NoMechanism, said: String::new(), advice: None };
    for (configured, offered, login, expected, part) in [
        (
            Plain,
            "AUTH LOGIN",
            good(),
            Some(Auto),
            "auth = \"plain\" isn't offered there, but AUTH LOGIN: write auth = \"auto\"",
        ),
        (CramMd5, "AUTH PLAIN", good(), Some(Auto), "write auth = \"auto\""),
        (XOAuth2, "AUTH OAUTHBEARER PLAIN", good(), Some(OAuthBearer), "write auth = \"oauthbearer\""),
        (XOAuth2, "AUTH PLAIN", failed(), Some(Auto), "It takes passwords, not access tokens"),
        (Auto, "AUTH XOAUTH2", failed(), Some(XOAuth2), "It takes access tokens"),
        (Auto, "AUTH CRAM-MD5", good(), None, "The login is good"),
        (Plain, "AUTH GSSAPI", failed(), None, "it offers GSSAPI"),
    ] {
        let subject = Subject { mechanism: Some(configured), ..shop(587, StartTls) };
        let findings = findings(vec![open(587, vec![works(StartTls, &[offered])])]);
        assert_eq!(choose(&findings, &subject).unwrap().auth, expected, "{configured:?} {offered}");
        let (_, text) = told(&findings, &subject, &login);
        assert!(text.contains(part), "{configured:?} {offered}: {text}");
    }
}

#[test]
fn a_wrong_server_name_is_named() {
    let flaw = Flaw::WrongName { instead: Some("mail.y.test".into()) };
    let flawed = ModeFinding { certificate: Some(seen(&[flaw])), ..works(StartTls, &["AUTH PLAIN"]) };
    let findings = findings(vec![open(587, vec![flawed])]);
    for (host, part) in
        [("mail.y.test", "leave server_name out"), ("smtp.x.test", "set server_name = \"mail.y.test\"")]
    {
        let subject =
            Subject { host: host.into(), server_name: Some("old.test".into()), ..shop(587, StartTls) };
        let (_, text) = told(&findings, &subject, &not_tried());
        assert!(
            text.contains("not for old.test (server_name), but for mail.y.test") && text.contains(part),
            "{text}"
        );
    }
}

#[test]
fn a_login_that_is_wanted_and_not_configured_and_a_switched_off_smarthost_are_told() {
    let findings = findings(vec![open(587, vec![works(StartTls, &["AUTH PLAIN"])])]);
    let subject = Subject { has_login: false, disabled: true, ..shop(587, StartTls) };
    let choice = choose(&findings, &subject);
    let said = |envelope: &[Reply]| {
        let envelope = asked(envelope, None);
        let sentences = diagnose(&findings, &subject, choice.as_ref(), &not_tried(), &envelope);
        sentences.into_iter().map(|sentence| sentence.text + "\n").collect::<String>()
    };
    let refused = said(&[Reply::new(530, Some(Enhanced(5, 7, 0)), "Authentication required")]);
    assert!(refused.contains("wants a login, and none is configured: 530 5.7.0"), "{refused}");
    assert!(refused.contains("smarthost.shop is switched off: enabled = false"), "{refused}");
    let denied = said(&[Reply::new(250, None, "ok"), Reply::new(554, None, "relay access denied")]);
    assert!(denied.contains("RCPT with the account's own address was refused: 554"), "{denied}");
    assert!(denied.contains("No login is configured, and the server offers one (AUTH PLAIN)"), "{denied}");
    let untried = told(&findings, &subject, &not_tried()).1;
    assert!(untried.contains("The server offers a login (AUTH PLAIN), and none is configured"), "{untried}");
    assert!(untried.contains("MAIL and RCPT were not tried: so."), "{untried}");
}

fn asked(replies: &[Reply], unanswered: Option<Unanswered>) -> Envelope {
    Envelope::Asked(Asked { replies: replies.to_vec(), unanswered })
}

#[test]
fn only_a_positive_reply_to_rcpt_is_an_acceptance() {
    let ok = || Reply::new(250, None, "ok");
    let no = |code, text: &'static str| Reply::new(code, None, text);
    let findings = findings(vec![open(587, vec![works(StartTls, &["AUTH PLAIN"])])]);
    let subject = shop(587, StartTls);
    let choice = choose(&findings, &subject);
    for (replies, unanswered, fate, part) in [
        (vec![ok(), ok()], None, "Accepted", "were accepted (and taken back"),
        (vec![ok()], Some(Unanswered::Silence), "Unanswered(Silence)", "To RCPT with the account's own"),
        (vec![ok()], Some(Unanswered::Closed), "Unanswered(Closed)", "At RCPT with the account's own"),
        (vec![ok()], Some(Unanswered::Garbled), "Unanswered(Garbled)", "To RCPT something came"),
        (vec![], Some(Unanswered::Silence), "Unanswered(Silence)", "To MAIL with the account's own"),
        (vec![], Some(Unanswered::Closed), "Unanswered(Closed)", "ended without an answer"),
        (vec![no(354, "what")], None, "OutOfPlace", "To MAIL the server said what is no answer to it: 354"),
        (vec![no(530, "Must issue STARTTLS")], None, "TlsWanted", "although this connection has it: 530"),
        (vec![no(530, "login first")], None, "Command", "although it took ours: 530"),
        (vec![no(503, "bad sequence")], None, "Command", "doesn't take the command MAIL"),
        (vec![no(452, "too many today")], None, "Later", "isn't taken at the moment: 452"),
        (vec![ok(), no(450, "greylisted")], None, "Later", "RCPT with the account's own address isn't taken"),
        (
            vec![no(550, "Daily user sending limit exceeded")],
            None,
            "Quota",
            "has sent all it may for now: 550",
        ),
        (vec![no(553, "not owned")], None, "Refused", "MAIL with the account's own address was refused: 553"),
        (vec![ok(), no(554, "no")], None, "Refused", "RCPT with the account's own address was refused: 554"),
    ] {
        let mut subject = subject.clone();
        // The words for it are known of this host.
        subject.host = "smtp.gmail.com".into();
        let envelope = asked(&replies, unanswered);
        let found: Fate<'_> = envelope.fate(&subject);
        assert!(format!("{found:?}").starts_with(fate), "{replies:?} {unanswered:?}: {found:?}");
        let sentences = diagnose(&findings, &subject, choice.as_ref(), &Login::Good, &envelope);
        let bad: Vec<_> = sentences.iter().filter(|sentence| sentence.weight == Weight::Bad).collect();
        assert_eq!(bad.len(), usize::from(fate != "Accepted"), "{sentences:?}");
        assert!(sentences.iter().any(|sentence| sentence.text.contains(part)), "{part}: {sentences:?}");
        assert!(fate == "Accepted" || sentences.iter().all(|sentence| !sentence.text.contains("accepted")));
    }
}

#[test]
fn starttls_that_is_offered_and_fails_is_told_as_that_and_never_answered_with_plain_text() {
    let refused = |code| Outcome::StartTlsRefused(Reply::new(code, None, "no TLS"));
    let inside =
        |outcome| ModeFinding { tls: Some("TLS1.3:X".into()), ..ModeFinding::new(StartTls, outcome) };
    let outside = |outcome| ModeFinding::new(StartTls, outcome);
    for (starttls, part, later) in [
        (outside(refused(454)), "isn't to be had at the moment: 454", true),
        (outside(refused(554)), "is refused when it is asked for: 554", false),
        (
            outside(Outcome::Injected(Alien::of(b"hello\r\n"))),
            "(\"hello\"). That is how somebody on the way",
            false,
        ),
        (
            outside(Outcome::NotTls(Alien::of(b"hello\r\n"))),
            "in place of a handshake comes plain text",
            false,
        ),
        (outside(Outcome::TlsFailed("protocol version".into())), "fails in the handshake", false),
        (
            outside(Outcome::BadCertificate("a short key".into())),
            "fails in the handshake: a short key. No setting helps",
            false,
        ),
        (inside(Outcome::WantsCertificate), "but the server wants a certificate of ours", false),
        (outside(Outcome::Closed), "the connection ends before there is a handshake", false),
        (outside(Outcome::Silent), "no handshake answers in time", false),
        (
            inside(Outcome::EhloRefused(Reply::new(550, None, "bad"))),
            "inside TLS our EHLO is refused: 550",
            false,
        ),
        (
            inside(Outcome::EhloRefused(Reply::new(421, None, "bad"))),
            "takes nothing at the moment: 421",
            true,
        ),
        (inside(Outcome::Closed), "inside TLS the connection ends", false),
        (inside(Outcome::Silent), "inside TLS our EHLO gets no answer", false),
    ] {
        assert_eq!(starttls.is_later(), later, "{starttls:?}");
        // A port of the same host without STARTTLS is no way around it, either.
        let other = open(25, vec![outside(Outcome::NotOffered), works(Plain, &[])]);
        let findings = findings(vec![open(587, vec![starttls, works(Plain, &["STARTTLS"])]), other]);
        for subject in [
            host(),
            shop(587, StartTls),
            Subject { loopback: true, ..shop(587, StartTls) },
            Subject { loopback: true, ..shop(587, Plain) },
            Subject { has_login: false, ..host() },
            Subject { has_login: false, loopback: true, ..shop(587, Implicit) },
        ] {
            let (choice, text) = told(&findings, &subject, &not_tried());
            assert!(choice.is_none() && text.contains(part), "{subject:?}: {choice:?} {text}");
            for wrong in ["the wrong mode", "wants tls = \"none\"", "587 speaks SMTP in plain text only"] {
                assert!(!text.contains(wrong), "{subject:?}: {text}");
            }
        }
        // What the admin wrote stays where it leads to a delivery.
        let meant = Subject { has_login: false, ..shop(587, Plain) };
        let (choice, text) = told(&findings, &meant, &not_tried());
        assert_eq!(choice, Some((587, Plain)), "{text}");
        assert!(text.contains("leaves it unused") && !text.contains("not offered"), "{text}");
    }
}

#[test]
fn a_server_that_knows_helo_alone_is_a_way_without_a_login() {
    let mut plain = works(Plain, &[]);
    let reply = Reply::new(502, None, "what");
    plain.offers = Some(Offers { ehlo_refused: Some(reply.clone()), ..Offers::default() });
    let modes = vec![ModeFinding::new(StartTls, Outcome::NotOffered), plain];
    let findings = findings(vec![open(25, modes)]);
    let (choice, text) = told(&findings, &Subject { has_login: false, ..shop(25, Plain) }, &not_tried());
    assert_eq!(choice, Some((25, Plain)), "{text}");
    assert!(text.contains("knows HELO alone, not EHLO (502 what)") && !text.contains('!'), "{text}");
    let neither = fails(&Outcome::EhloRefused(reply));
    let (_, text) = told(&super::tests::findings(vec![open(25, neither)]), &host(), &not_tried());
    assert!(text.contains("knows neither EHLO nor HELO: 502"), "{text}");
}

#[test]
fn old_tls_and_tls_without_smtp_are_told_apart() {
    let modes = |inside: Outcome, plain: Outcome| {
        vec![
            ModeFinding::new(Implicit, inside),
            ModeFinding::new(StartTls, plain.clone()),
            ModeFinding::new(Plain, plain),
        ]
    };
    for (inside, plain, part) in [
        (
            Outcome::TlsFailed("protocol version".into()),
            Outcome::Silent,
            "no handshake comes about: protocol version",
        ),
        (Outcome::Silent, Outcome::TlsFirst, "inside it there is no SMTP server"),
        (Outcome::WantsCertificate, Outcome::TlsFirst, "but the server wants a certificate of ours"),
        (
            Outcome::BadCertificate("a short key".into()),
            Outcome::Silent,
            "no handshake comes about: a short key. No setting helps",
        ),
        (alien(b"* OK IMAP4rev1\r\n"), Outcome::TlsFirst, "inside it is an IMAP server"),
    ] {
        let (_, text) = told(&findings(vec![open(465, modes(inside, plain))]), &host(), &not_tried());
        assert!(text.contains(part), "{part} is missing in\n{text}");
    }
}

fn at_auth(line: Reply, from_peer: bool, advice: Option<&'static str>) -> Cause {
    let (stage, fault) = (Stage::Auth, Fault::Relay);
    Cause { reply: line, from_peer, stage, fault, advice, would_stop: false }
}

#[test]
fn a_refused_login_is_told_by_what_was_said() {
    let said = |code, enhanced, text: &'static str| at_auth(Reply::new(code, enhanced, text), true, None);
    let lacking = || at_auth(Reply::new(451, Some(Enhanced(4, 7, 4)), "x offers no way"), false, Some("…"));
    let plain: Box<str> = "PLAIN".into();
    let auth = || vec![plain.clone()];
    for (host, cause, offered, expected) in [
        (
            "x.test",
            said(535, Some(Enhanced(5, 7, 8)), "Error: authentication failed"),
            auth(),
            LoginTrouble::WrongPassword,
        ),
        ("x.test", said(535, None, "Incorrect authentication data"), auth(), LoginTrouble::WrongPassword),
        (
            "x.test",
            said(534, Some(Enhanced(5, 7, 9)), "Application-specific password required."),
            auth(),
            LoginTrouble::AppPassword,
        ),
        (
            "smtp.gmail.com",
            said(535, Some(Enhanced(5, 7, 8)), "Username and Password not accepted."),
            auth(),
            LoginTrouble::AppPassword,
        ),
        (
            "x.test",
            said(
                535,
                Some(Enhanced(5, 7, 139)),
                "Authentication unsuccessful, SmtpClientAuthentication is disabled for the Tenant.",
            ),
            auth(),
            LoginTrouble::Disabled,
        ),
        (
            "smtp.office365.com",
            said(
                535,
                Some(Enhanced(5, 7, 139)),
                "Authentication unsuccessful, the user credentials were incorrect.",
            ),
            auth(),
            LoginTrouble::WrongPassword,
        ),
        (
            "x.test",
            said(454, Some(Enhanced(4, 7, 0)), "Temporary authentication failure"),
            auth(),
            LoginTrouble::Later,
        ),
        (
            "x.test",
            said(504, Some(Enhanced(5, 5, 4)), "Unrecognized authentication type"),
            auth(),
            LoginTrouble::NoMechanism,
        ),
        ("x.test", said(538, None, "Encryption required"), auth(), LoginTrouble::EncryptionNeeded),
        ("x.test", said(530, None, "Must issue STARTTLS first"), auth(), LoginTrouble::EncryptionNeeded),
        ("x.test", said(525, None, "User Account Disabled"), auth(), LoginTrouble::AccountDisabled),
        ("x.test", said(535, Some(Enhanced(5, 7, 13)), "no"), auth(), LoginTrouble::AccountDisabled),
        ("x.test", said(503, None, "AUTH not allowed twice"), auth(), LoginTrouble::NotTaken),
        ("x.test", said(500, None, "what"), auth(), LoginTrouble::NotTaken),
        ("x.test", said(550, Some(Enhanced(5, 7, 1)), "account suspended"), auth(), LoginTrouble::Refused),
        (
            "x.test",
            Cause { stage: Stage::Greeting, ..said(421, None, "too many connections") },
            auth(),
            LoginTrouble::Later,
        ),
        ("x.test", lacking(), Vec::new(), LoginTrouble::NotOffered),
        ("x.test", lacking(), vec!["XOAUTH2".into()], LoginTrouble::NoMechanism),
        ("x.test", Cause { stage: Stage::Greeting, ..lacking() }, auth(), LoginTrouble::Interrupted),
    ] {
        let Login::Failed { trouble, .. } = login_trouble(host, &[], &cause, &offered, false) else {
            panic!("{cause:?}")
        };
        assert_eq!(trouble, expected, "{cause:?}");
    }
}

#[test]
fn a_refused_token_is_no_wrong_password() {
    let offered: Vec<Box<str>> = vec!["XOAUTH2".into()];
    for (code, enhanced, expected) in [
        (535, Enhanced(5, 7, 8), LoginTrouble::TokenRefused),
        (535, Enhanced(5, 7, 139), LoginTrouble::TokenRefused),
        (504, Enhanced(5, 5, 4), LoginTrouble::NoMechanism),
        (454, Enhanced(4, 7, 0), LoginTrouble::Later),
    ] {
        let cause = at_auth(Reply::new(code, Some(enhanced), "no"), true, Some("do this"));
        let failed = login_trouble("smtp.gmail.com", &[], &cause, &offered, true);
        let Login::Failed { trouble, advice, .. } = failed else { panic!("{failed:?}") };
        assert_eq!(trouble, expected, "{code}");
        if expected == LoginTrouble::TokenRefused {
            assert_eq!(advice.as_deref(), Some("do this"));
        }
    }
}

#[test]
fn where_auth_is_offered_only_inside_tls_that_is_said() {
    let split =
        findings(vec![open(587, vec![works(StartTls, &["AUTH PLAIN"]), works(Plain, &["STARTTLS"])])]);
    let near = Subject { loopback: true, ..shop(587, Plain) };
    let login = Login::Failed { trouble: LoginTrouble::NotOffered, said: String::new(), advice: None };
    let (choice, text) = told(&split, &near, &login);
    assert_eq!(choice, Some((587, StartTls)));
    assert!(
        text.contains("says port 587 with tls = \"none\": that works, but no login (AUTH) is offered"),
        "{text}"
    );
    // Where that way's certificate isn't trusted, its setting is part of the lines.
    let split =
        findings(vec![open(587, vec![flawed(StartTls, &["AUTH PLAIN"]), works(Plain, &["STARTTLS"])])]);
    let (choice, text) = told(&split, &near, &not_tried());
    assert_eq!(choice, Some((587, StartTls)));
    assert!(text.contains("no login (AUTH) is offered there") && text.contains("self-signed"), "{text}");
}

#[test]
fn a_known_provider_tells_what_login_it_wants() {
    let wanted_login =
        crate::deliver::providers::known("smtp.sendgrid.net").map(|known| known.login.to_owned());
    let subject = Subject { host: "smtp.sendgrid.net".into(), wanted_login, ..host() };
    let fine = findings(vec![open(465, vec![works(Implicit, &["AUTH PLAIN"])])]);
    let login = Login::Failed { trouble: LoginTrouble::WrongPassword, said: "535 no".into(), advice: None };
    let (_, text) = told(&fine, &subject, &login);
    assert!(text.contains("535 no") && text.contains("apikey"), "{text}");
}
