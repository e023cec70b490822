//! One sample for each provider's way of forwarding, and for each way of lying about it.

use crate::sample::{MAILBOXES, Sample, Station, folder, golden};
use proptest::prelude::*;
use std::fmt::Write as _;
use std::fs;
use waystation::inbox::Known;
use waystation::inbox::authentication::{Arc, Spf};

#[test]
fn every_provider_is_identified_by_what_it_adds_and_no_lie_is_believed() {
    let station = Station::new("native", "text");
    let mut wrong = String::new();
    let mut names: Vec<_> =
        fs::read_dir(folder("providers")).unwrap().map(|file| file.unwrap().path()).collect();
    names.retain(|path| path.extension().is_some_and(|extension| extension == "eml"));
    names.sort();
    assert!(names.len() >= 30, "{}", names.len());
    for path in names {
        let sample = Sample::read(&path);
        let found = station.interpret(&sample, &Known::NOTHING).identification;
        let mut told = format!(
            "{} by {} {}{}\n",
            found.mailbox.as_deref().unwrap_or("held"),
            found.identified_by.unwrap_or("nothing"),
            found.confidence,
            if found.is_contradicted { ", contradicted" } else { "" }
        );
        for evidence in &found.evidence {
            let _ = writeln!(told, "{:24} {}", evidence.rung, evidence.value);
        }
        golden(&path.with_extension("txt"), told.as_bytes(), &mut wrong);
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn what_is_held_says_so_and_what_is_known_says_why() {
    let station = Station::new("native", "text");
    let held = Sample::read(&folder("providers/spoofed-everything.eml"));
    let held = crate::sample::json(&station.interpret(&held, &Known::NOTHING));
    assert_eq!(held["type"], "message.held");
    assert!(held["data"]["mailbox"].is_null() && held["data"]["conversation"].is_null());
    let known = Sample::read(&folder("providers/gmail.eml"));
    let known = crate::sample::json(&station.interpret(&known, &Known::NOTHING));
    assert_eq!(known["type"], "message.received");
    assert_eq!(known["data"]["mailbox"]["name"], "sol");
}

#[test]
fn mail_leans_on_dns_where_what_it_kept_back_would_decide() {
    let station = Station::new("native", "text");
    let trace = "Delivered-To: hola@casasol.example\nFrom: ana@guest.example\n\nHello\n";
    let (srs, caf) = (
        "SRS0=AbC=XY=guest.example=ana@casasol.example",
        "hola+caf_=inbox=users.example.com@casasol.example",
    );
    for (why, sender, google, message, mailbox, leans) in [
        ("its own domain may vouch for it", srs, "none", trace, None, true),
        ("a stranger's domain can't", "ana@guest.example", "none", trace, None, false),
        ("the account's domain may vouch", caf, "softfail", trace, None, true),
        (
            "as long as it shows what Google writes, and may not be Google's",
            caf,
            "temperror",
            trace,
            Some("sol"),
            true,
        ),
        (
            "To says it",
            srs,
            "none",
            "To: hola@casasol.example\nFrom: ana@guest.example\n\n",
            Some("sol"),
            false,
        ),
        ("nothing names a mailbox", srs, "none", "From: ana@guest.example\n\n", None, true),
        ("nor would", "ana@guest.example", "none", "From: ana@guest.example\n\n", None, false),
    ] {
        let mut sample = Sample::of(message);
        sample.sender = Some(sender.to_owned());
        let domain = sender.rsplit_once('@').map(|(_, domain)| domain.to_owned());
        sample.authentication.spf = Spf { result: crate::sample::verdict("temperror"), domain };
        sample.authentication.google = crate::sample::verdict(google);
        let read = station.interpret(&sample, &Known::NOTHING);
        assert_eq!((read.mailbox.as_deref(), read.leans_on_dns), (mailbox, leans), "{why}");
        sample.recipient = "inbox+luna@users.example.com".to_owned();
        let read = station.interpret(&sample, &Known::NOTHING);
        assert_eq!(
            (read.mailbox.as_deref(), read.leans_on_dns),
            (Some("luna"), false),
            "{why}, at an own address"
        );
    }
}

/// A field that names `address`, as some provider writes it.
fn field(kind: usize, address: &str) -> String {
    match kind % 11 {
        0 => format!("X-MS-Exchange-ForwardingLoop: {address};tenant\n"),
        1 => format!("X-Forwarded-For: {address} inbox@users.example.com\n"),
        2 => format!("Delivered-To: {address}\n"),
        3 => format!("X-MS-Exchange-Inbox-Rules-Loop: {address}\n"),
        4 => format!("Resent-From: <{address}>\n"),
        5 => format!("X-Sieve-Redirected-From: {address}\n"),
        6 => format!("X-Yahoo-Forwarded: from {address} to inbox@users.example.com\n"),
        7 => format!("X-Delivered-To: {address}\n"),
        8 => format!("X-Original-To: {address}\n"),
        9 => format!("Envelope-To: {address}\n"),
        _ => format!("X-Envelope-To: {address}\n"),
    }
}

const ADDRESSES: [&str; 7] = [
    "hola@casasol.example",
    "luna@gmail.com",
    "faro@faro.example",
    "estrella@outlook.es",
    "stranger@casasol.example",
    "evil@evil.example",
    "evil@gmail.com",
];

/// Envelopes of hops: forwarders where anybody has an account, a mailbox's own domain, a stranger's.
const SENDERS: [&str; 7] = [
    "evil@outlook.com",
    "bounces+SRS=AbC=XY@evil.onmicrosoft.com",
    "evil@hotmail.com",
    "evil@yahoo.com",
    "SRS0=AbC=XY=guest.example=ana@casasol.example",
    "hola+caf_=inbox=users.example.com@casasol.example",
    "evil@evil.example",
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..ProptestConfig::default() })]

    /// Where the evidence speaks for two mailboxes, only what a stranger can't have written decides: an envelope that its
    /// own domain vouches for, or the mailbox's own domain; of a mail to both, the forwarder's word is enough.
    #[test]
    fn what_anybody_may_send_beats_no_other_mailbox(
        fields in prop::collection::vec((0_usize..11, 0_usize..ADDRESSES.len()), 1..5),
        to in prop::collection::vec(0_usize..ADDRESSES.len(), 0..3),
        sender in 0_usize..SENDERS.len(),
        spf in 0_usize..3,
        sealer in prop::option::of(0_usize..3),
    ) {
        let station = Station::new("native", "text");
        let mut message: String = fields.iter().map(|(kind, who)| field(*kind, ADDRESSES[*who])).collect();
        let recipients: Vec<&str> = to.iter().map(|who| ADDRESSES[*who]).collect();
        if !recipients.is_empty() {
            message += &format!("To: {}\n", recipients.join(", "));
        }
        let mut sample = Sample::of(&(message + "From: evil@evil.example\n\nHello\n"));
        sample.sender = Some(SENDERS[sender].to_owned());
        let domain = SENDERS[sender].rsplit_once('@').unwrap().1;
        let result = crate::sample::verdict(["pass", "fail", "none"][spf]);
        sample.authentication.spf = Spf { result, domain: Some(domain.to_owned()) };
        if spf == 3 {
            sample.authentication.google = crate::sample::verdict("softfail");
        }
        if let Some(sealer) = sealer {
            let sealer = ["google.com", "microsoft.com", "evil.example"][sealer].to_owned();
            sample.authentication.arc = Arc { result: crate::sample::verdict("pass"), sealer: Some(sealer) };
        }
        let found = station.interpret(&sample, &Known::NOTHING).identification;
        let Some(name) = &found.mailbox else { return Ok(()) };
        let address = MAILBOXES.iter().find(|(own, _)| own == name).unwrap().1;
        let registered = |value: &str| MAILBOXES.iter().any(|(_, own)| *own == value);
        let is_rival = |rung: &str, value: &str| {
            value != address && registered(value) && !(rung == "recipient_header" && recipients.contains(&address))
        };
        let rivals = found.evidence.iter().any(|each| is_rival(each.rung, &each.value));
        let own_domain = address.rsplit_once('@').unwrap().1;
        let is_proven = spf == 0 && domain == own_domain
            && (found.identified_by == Some("gmail_envelope") || own_domain.ends_with("casasol.example") || own_domain.ends_with("faro.example"));
        prop_assert!(!rivals || is_proven, "{found:?}");
    }

    /// Whatever fields stand there: a mailbox is identified only where a rung names it, never on fields alone, and never
    /// against the account in an envelope that its own domain vouches for.
    #[test]
    fn fields_alone_identify_nothing(
        fields in prop::collection::vec((0_usize..11, 0_usize..ADDRESSES.len()), 0..6),
        to in prop::collection::vec(0_usize..ADDRESSES.len(), 0..3),
        account in prop::option::of(0_usize..ADDRESSES.len()),
        spf in 0_usize..5,
        sealer in prop::option::of(0_usize..3),
    ) {
        let station = Station::new("native", "text");
        let mut message: String = fields.iter().map(|(kind, who)| field(*kind, ADDRESSES[*who])).collect();
        message += "From: evil@evil.example\n";
        let recipients: Vec<&str> = to.iter().map(|who| ADDRESSES[*who]).collect();
        if !recipients.is_empty() {
            message += &format!("To: {}\n", recipients.join(", "));
        }
        let mut sample = Sample::of(&(message + "\nHello\n"));
        let mut proven = None;
        if let Some(who) = account {
            let (local, domain) = ADDRESSES[who].split_once('@').unwrap();
            sample.sender = Some(format!("{local}+caf_=inbox=users.example.com@{domain}"));
            proven = (spf == 0).then_some(ADDRESSES[who]);
        }
        let domain = sample.sender.as_deref().unwrap().rsplit_once('@').unwrap().1.to_owned();
        let results = ["pass", "fail", "softfail", "none", "temperror"];
        sample.authentication.spf = Spf { result: crate::sample::verdict(results[spf]), domain: Some(domain.clone()) };
        if spf == 3 {
            sample.authentication.google = crate::sample::verdict("softfail");
        }
        if let Some(sealer) = sealer {
            let sealer = ["google.com", "microsoft.com", "evil.example"][sealer];
            sample.authentication.arc = Arc { result: crate::sample::verdict("pass"), sealer: Some(sealer.to_owned()) };
        }
        let found = station.interpret(&sample, &Known::NOTHING).identification;
        let address_of = |name: &str| MAILBOXES.iter().find(|(own, _)| *own == name).unwrap().1;
        if let Some(name) = &found.mailbox {
            let address = address_of(name);
            prop_assert!(found.evidence.iter().any(|evidence| evidence.value == address), "{found:?}");
            if let Some(proven) = proven {
                let registered = MAILBOXES.iter().any(|(_, own)| *own == proven);
                prop_assert!(!registered || proven == address, "against a proven envelope: {found:?}");
            }
            // Something besides the fields speaks for it: the envelope, its domain, a seal, or the recipients.
            // Where DNS doesn't answer, the whole trace must do.
            let is_vouched = matches!(spf, 0 | 4) || sealer == Some(0) && !matches!(spf, 1 | 2);
            let in_envelope = is_vouched && account.is_some_and(|who| ADDRESSES[who] == address);
            let by_domain = spf == 0 && address.ends_with(&format!("@{domain}"));
            let by_microsoft = spf == 0 && domain.ends_with("outlook.es");
            let named: Vec<_> = recipients.iter().filter(|to| MAILBOXES.iter().any(|(_, own)| own == *to)).collect();
            let by_recipients = !named.is_empty() && named.iter().all(|to| **to == address);
            let sealed = sealer == Some(1);
            prop_assert!(in_envelope || by_domain || by_microsoft || by_recipients || sealed, "{found:?}");
            prop_assert!(found.confidence > 0.0 && found.confidence <= 1.0);
        } else {
            prop_assert!(found.identified_by.is_none());
        }
    }

    /// A token settles it, whatever else stands there.
    #[test]
    fn a_token_settles_it(fields in prop::collection::vec((0_usize..11, 0_usize..ADDRESSES.len()), 0..6), who in 0..MAILBOXES.len()) {
        let station = Station::new("native", "text");
        let message: String = fields.iter().map(|(kind, who)| field(*kind, ADDRESSES[*who])).collect();
        let mut sample = Sample::of(&(message + "From: a@b.example\n\nHello\n"));
        sample.recipient = format!("inbox+{}@users.example.com", MAILBOXES[who].0);
        let found = station.interpret(&sample, &Known::NOTHING).identification;
        prop_assert_eq!(found.mailbox.as_deref(), Some(MAILBOXES[who].0));
        prop_assert_eq!(found.identified_by, Some("inbox_token"));
    }
}
