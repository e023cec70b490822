//! Conversations, channels, duplicates and machines: table-driven.

use crate::sample::{Sample, Station, folder, json};
use jiff::Timestamp;
use waystation::config::schema::{Channel, ChannelKey};
use waystation::inbox::about::SentMail;
use waystation::inbox::automatic::{Kind, Reported};
use waystation::inbox::channel::{Outgoing, of_address, refusals};
use waystation::inbox::conversation::{ConversationId, MatchedBy, base_subject};
use waystation::inbox::token::{self, TokenKey};
use waystation::inbox::{DuplicateKey, Interpretation, Known, SentText};
use waystation::smtp::address::Address;

const KNOWN: ConversationId = ConversationId::from_bits(42);
const FRESH: ConversationId = ConversationId::from_bits(0x0102_0304_0506_0708);

fn mail(fields: &str, body: &str) -> Sample {
    let mut sample = Sample::of(&format!("{fields}Message-ID: <m1@guest.example>\n\n{body}\n"));
    "inbox+sol@users.example.com".clone_into(&mut sample.recipient);
    sample
}

fn interpret(sample: &Sample, known: &Known<'_>) -> Interpretation {
    Station::new("native", "text").interpret(sample, known)
}

#[test]
fn references_count_within_the_mailbox_from_the_newest() {
    let fields = "From: ana@guest.example\nIn-Reply-To: <none@x>\nReferences: <old@x> <out1@casasol.example> <none@y>\n";
    let by_id =
        |mailbox: &str, id: &str| (mailbox == "sol" && id == "<out1@casasol.example>").then_some(KNOWN);
    let known = Known { by_message_id: &by_id, ..Known::NOTHING };
    let found = interpret(&mail(fields, "Hello"), &known).conversation.unwrap();
    assert_eq!((found.id, found.is_new, found.matched_by), (KNOWN, false, MatchedBy::References));
    let mut other = mail(fields, "Hello");
    other.recipient = "inbox+luna@users.example.com".to_owned();
    let found = interpret(&other, &known).conversation.unwrap();
    assert_eq!(
        (found.id, found.is_new, found.matched_by),
        (FRESH, true, MatchedBy::New),
        "another mailbox's"
    );
}

/// What the mailbox `sol` sent through us as `<m1@guest.example>`.
fn sent(mailbox: &str, id: &str) -> Vec<SentMail> {
    let sent =
        SentMail { id: "1m82s6cw70000".parse().unwrap(), message_id: id.to_owned(), recipients: Vec::new() };
    let is_it = mailbox == "sol" && id == "<m1@guest.example>";
    Vec::from_iter(is_it.then_some(sent))
}

#[test]
fn a_form_in_the_mailboxs_name_is_a_guests_word_and_a_copy_of_its_own_mail_is_nobodys() {
    let by_id = |_: &str, id: &str| (id == "<m1@guest.example>").then_some(KNOWN);
    let known = Known { sent: &sent, by_message_id: &by_id, ..Known::NOTHING };
    for (fields, is_told) in [
        ("To: hola@casasol.example\nReply-To: Eva <eva@guest.example>\n", true),
        ("To: hola@casasol.example\nCc: eva@guest.example\nReply-To: eva@guest.example\n", true),
        ("To: info@casasol.example\nReply-To: eva@guest.example\n", true),
        // A copy of what it wrote to a guest, wherever answers are to go; a note to itself.
        ("To: eva@guest.example\nCc: hola@casasol.example\n", false),
        ("To: eva@guest.example\nCc: hola@casasol.example\nReply-To: private@sol.example\n", false),
        ("To: eva@guest.example, hola@casasol.example\nReply-To: inbox+r-x@users.example.com\n", false),
        ("To: hola@casasol.example\nReply-To: HOLA@casasol.example\n", false),
        ("To: hola@casasol.example\nReply-To: luna@gmail.com\n", false),
        ("To: hola@casasol.example\n", false),
    ] {
        let found = interpret(&mail(&format!("From: hola@casasol.example\n{fields}"), "Hello"), &known);
        assert_eq!((found.event.is_some(), found.ends_here.is_none()), (is_told, is_told), "{fields}");
        if is_told {
            assert_eq!(json(&found)["data"]["reply_address"], "eva@guest.example");
            let begun = found.conversation.unwrap();
            assert_eq!(
                (begun.id, begun.is_new),
                (KNOWN, true),
                "answers name the id under which it was sent"
            );
        }
    }
}

#[test]
fn references_count_without_brackets_where_they_are_the_only_word() {
    let by_id = |_: &str, id: &str| (id == "<out1@casasol.example>").then_some(KNOWN);
    let known = Known { by_message_id: &by_id, ..Known::NOTHING };
    for (fields, is_found) in [
        ("In-Reply-To: out1@casasol.example\n", true),
        ("References:\n  out1@casasol.example \n", true),
        ("In-Reply-To: Your mail of Monday\nReferences: out1@casasol.example\n", true),
        ("In-Reply-To: your mail to out1@casasol.example\n", false),
        ("In-Reply-To: \"out1@casasol.example\"\n", false),
        ("In-Reply-To: out1@casasol.example (Sol)\n", false),
        ("In-Reply-To: out1@casasol.example>\n", false),
        ("References: out1\n", false),
    ] {
        let told = interpret(&mail(&format!("From: ana@guest.example\n{fields}"), "Hello"), &known);
        let by = if is_found { MatchedBy::References } else { MatchedBy::New };
        assert_eq!(told.conversation.unwrap().matched_by, by, "{fields}");
    }
    let mut bare = Sample::of("From: ana@guest.example\nMessage-ID: m1@guest.example\n\nHello\n");
    "inbox+sol@users.example.com".clone_into(&mut bare.recipient);
    let told = interpret(&bare, &Known::NOTHING);
    assert_eq!(told.index.message_id.as_deref(), Some("<m1@guest.example>"));
}

#[test]
fn an_inboxs_address_in_quotes_has_its_token() {
    let station = Station::new("postmark", "text");
    let mut sample = mail("From: ana@guest.example\n", "Hello");
    "\"inbox+sol\"@users.example.com".clone_into(&mut sample.recipient);
    let told = station.interpret(&sample, &Known::NOTHING);
    assert_eq!(
        (told.mailbox.as_deref(), told.identification.identified_by),
        (Some("sol"), Some("inbox_token"))
    );
    assert_eq!(json(&told)["MailboxHash"], "sol");
}

#[test]
fn a_signed_token_says_mailbox_and_conversation_and_a_forged_one_nothing() {
    let station = Station::new("native", "text");
    let mut sample = mail("From: ana@guest.example\n", "Hello");
    sample.recipient =
        token::address("inbox@users.example.com", "mar@casamar.example", KNOWN, &station.keys[0]).unwrap();
    let found = station.interpret(&sample, &Known::NOTHING);
    assert_eq!(
        (found.mailbox.as_deref(), found.identification.identified_by),
        (Some("mar"), Some("reply_token"))
    );
    assert_eq!(found.conversation.unwrap().matched_by, MatchedBy::Token);
    assert_eq!(found.conversation.unwrap().id, KNOWN);
    let last = sample.recipient.find('@').unwrap() - 3;
    let changed = if sample.recipient.as_bytes()[last] == b'a' { "b" } else { "a" };
    sample.recipient.replace_range(last..=last, changed);
    assert_eq!(station.interpret(&sample, &Known::NOTHING).mailbox, None);
}

#[test]
fn a_signed_token_follows_the_mailboxs_address_and_not_its_name() {
    let mut station = Station::new("native", "text");
    let mut sample = mail("From: ana@guest.example\n", "Hello");
    sample.recipient =
        token::address("inbox@users.example.com", "hola@casasol.example", KNOWN, &station.keys[0]).unwrap();
    let whose = |station: &Station, sample: &Sample| {
        let found = station.interpret(sample, &Known::NOTHING);
        (found.mailbox, found.identification.identified_by)
    };
    assert_eq!(whose(&station, &sample), (Some("sol".to_owned()), Some("reply_token")));
    let mut renamed = station.config.mailboxes.remove("sol").unwrap();
    "playa".clone_into(&mut renamed.name);
    let mut other = station.config.mailboxes["mar"].clone();
    "sol".clone_into(&mut other.name);
    other.address = Address::parse("new@casasol.example", false).unwrap();
    station.config.mailboxes.insert("playa".to_owned(), renamed);
    station.config.mailboxes.insert("sol".to_owned(), other);
    assert_eq!(whose(&station, &sample), (Some("playa".to_owned()), Some("reply_token")));
    // Whoever has the name now gets nothing that the other one asked for.
    station.config.mailboxes.remove("playa");
    assert_eq!(whose(&station, &sample), (None, None));
}

#[test]
fn an_answer_to_a_token_of_a_key_that_is_gone_is_found_by_other_means() {
    let station = Station { keys: Vec::new(), ..Station::new("native", "text") };
    let known = Known { sent: &sent, ..Known::NOTHING };
    let gone =
        token::address("inbox@users.example.com", "hola@casasol.example", KNOWN, &TokenKey::new(&[9; 32]))
            .unwrap();
    for (fields, mailbox, by) in [
        ("To: hola@casasol.example\n", Some("sol"), Some("recipient_header")),
        ("In-Reply-To: <m1@guest.example>\n", Some("sol"), Some("in_reply_to")),
        ("References: <m1@guest.example> <other@guest.example>\n", Some("sol"), Some("in_reply_to")),
        (
            "In-Reply-To: <m1@guest.example>\nX-Original-To: luna@gmail.com\nX-Envelope-To: hola@casasol.example\n",
            None,
            None,
        ),
        ("In-Reply-To: <other@guest.example>\n", None, None),
    ] {
        let mut sample = mail(&format!("From: ana@guest.example\n{fields}"), "Hello");
        sample.recipient.clone_from(&gone);
        let found = station.interpret(&sample, &known);
        assert_eq!((found.mailbox.as_deref(), found.identification.identified_by), (mailbox, by), "{fields}");
        // At a mailbox's own address that no mailbox has, nothing is guessed.
        "inbox+gone@users.example.com".clone_into(&mut sample.recipient);
        assert_eq!(station.interpret(&sample, &known).mailbox, None, "{fields}");
    }
}

#[test]
fn our_own_words_in_the_quotation_find_the_conversation() {
    let sent = "Dear Ana, thank you for your booking with us.\nThe house is open from four in the afternoon.\n\
                Parking is behind the church, to the left.\nBest wishes";
    let texts = |_: &str, who: &str| {
        assert_eq!(who, "ana@guest.example");
        vec![SentText { conversation: KNOWN, text: sent.to_owned() }]
    };
    let known = Known { sent_texts: &texts, ..Known::NOTHING };
    // Wrapped anew and marked by the mailer on the way.
    let quoted = "Gracias!\n\n> Dear Ana, thank you for your booking\n> with us. The house is open from four in\n\
                  > the afternoon. Parking is behind the\n> church, to the left. Best wishes\n";
    let found = interpret(&mail("From: Ana <ana@guest.example>\n", quoted), &known).conversation.unwrap();
    assert_eq!((found.id, found.matched_by), (KNOWN, MatchedBy::QuotedText));
    let one = "Gracias!\n> Dear Ana, thank you for your booking with us.\n";
    let found = interpret(&mail("From: Ana <ana@guest.example>\n", one), &known).conversation.unwrap();
    assert_eq!(found.matched_by, MatchedBy::New, "one line is too little");
}

#[test]
fn a_subject_counts_for_thirty_days_for_people_and_when_it_says_something() {
    let at = |text: &str| text.parse::<Timestamp>().unwrap();
    let recent = |_: &str, who: &str, subject: &str| {
        (who == "ana@guest.example" && subject == "late arrival")
            .then_some((KNOWN, at("2026-11-01T00:00:00Z")))
    };
    let known = Known { by_subject: &recent, ..Known::NOTHING };
    let matched = |fields: &str, known: &Known<'_>| {
        interpret(&mail(fields, "Hello"), known).conversation.unwrap().matched_by
    };
    let ana = "From: Ana@Guest.example\n";
    assert_eq!(matched(&format!("{ana}Subject: AW: Re[2]: Late  arrival\n"), &known), MatchedBy::Subject);
    assert_eq!(matched("From: bob@guest.example\nSubject: Late arrival\n", &known), MatchedBy::New);
    assert_eq!(
        matched(&format!("{ana}Subject: Late arrival\nAuto-Submitted: auto-replied\n"), &known),
        MatchedBy::New
    );
    let old = |_: &str, _: &str, _: &str| Some((KNOWN, at("2026-10-01T00:00:00Z")));
    assert_eq!(
        matched(&format!("{ana}Subject: Late arrival\n"), &Known { by_subject: &old, ..Known::NOTHING }),
        MatchedBy::New
    );
    let any = |_: &str, _: &str, _: &str| Some((KNOWN, at("2026-11-20T00:00:00Z")));
    for (subject, found) in
        [("Re: Hi", MatchedBy::New), ("", MatchedBy::New), ("Late arrival", MatchedBy::Subject)]
    {
        let known = Known { by_subject: &any, ..Known::NOTHING };
        assert_eq!(matched(&format!("{ana}Subject: {subject}\n"), &known), found, "{subject}");
    }
}

#[test]
fn subjects_lose_their_prefixes_in_many_languages() {
    for (subject, base) in [
        ("Re: Fwd: AW: Llegada el 5", Some("llegada el 5")),
        ("RE[3]: llegada el 5", Some("llegada el 5")),
        ("回复：到达时间", Some("到达时间")),
        ("Отв: Приезд", Some("приезд")),
        ("Ynt: Varış saati", Some("varış saati")),
        ("Booking: 4123456789", Some("booking: 4123456789")),
        ("Re: Re:", None),
        ("Hello", None),
        ("abc", None),
    ] {
        assert_eq!(base_subject(subject).as_deref(), base, "{subject}");
    }
}

#[test]
fn somebody_new_in_a_conversation_is_noticed() {
    let by_id = |_: &str, _: &str| Some(KNOWN);
    let takes_part = |_: &str, _: ConversationId, who: &str| who == "ana@guest.example";
    let known = Known { by_message_id: &by_id, takes_part: &takes_part, ..Known::NOTHING };
    for (who, new) in [("ana@guest.example", false), ("bob@guest.example", true)] {
        let fields = format!("From: {who}\nIn-Reply-To: <out1@casasol.example>\n");
        assert_eq!(interpret(&mail(&fields, "Hello"), &known).conversation.unwrap().participant_new, new);
    }
}

#[test]
fn channels_are_known_by_their_relays_and_so_are_their_conversations() {
    for (from, rest, key, answer) in [
        ("4123456789-ab12.cd34@mchat.booking.com", "", Some("booking:4123456789"), None),
        ("ana.123456@guest.booking.com", "", Some("booking:ana.123456"), None),
        ("200158071-qu9v.4kqw.yjzp.xveh@guest.booking.com", "", Some("booking:200158071"), None),
        (
            "express@airbnb.com",
            "Reply-To: 4abc9opaque@reply.airbnb.com\n",
            Some("airbnb:1234567890"),
            Some("4abc9opaque@reply.airbnb.com"),
        ),
        (
            "sender@messages.homeaway.com",
            "Reply-To: 0f3c-11aa@messages.homeaway.com\n",
            Some("vrbo:0f3c-11aa"),
            Some("0f3c-11aa@messages.homeaway.com"),
        ),
        ("x9@m.expediapartnercentral.com", "", Some("expedia:x9"), None),
        ("b77@agoda-messaging.com", "", Some("agoda:b77"), None),
        ("t5@guest.trip.com", "", Some("trip:t5"), None),
        ("ana@guest.booking.com.evil.example", "", None, None),
    ] {
        let fields = format!(
            "From: Ana <{from}>\n{rest}Subject: Hello from Ana\nList-Unsubscribe: <https://x.example>\n"
        );
        let body = "Hi!\nhttps://www.airbnb.com/hosting/thread/1234567890?thread_type=home\n";
        let sample = mail(&fields, body);
        let told = interpret(&sample, &Known::NOTHING);
        assert_eq!(told.index.channel_key.as_deref(), key, "{from}");
        assert_eq!(json(&told)["data"]["reply_address"], answer.unwrap_or(from), "{from}");
        assert_eq!(told.automatic.is_none(), key.is_some(), "{from}: a guest's words are no newsletter");
    }
    let by_key =
        |mailbox: &str, key: &str| (mailbox == "sol" && key == "booking:4123456789").then_some(KNOWN);
    let known = Known { by_channel_key: &by_key, ..Known::NOTHING };
    let found =
        interpret(&mail("From: 4123456789-zz@mchat.booking.com\n", "Hi"), &known).conversation.unwrap();
    assert_eq!((found.id, found.matched_by), (KNOWN, MatchedBy::ChannelKey));
}

fn villas() -> Channel {
    Channel {
        name: "villas".to_owned(),
        domains: vec!["guest.villas.example".to_owned()],
        keys: vec![ChannelKey::SubjectCode, ChannelKey::SubjectNumber],
        markers: vec!["Reply above this line".to_owned()],
        reply_to_latest: true,
        from_must_be_mailbox: false,
        max_attachment_bytes: None,
        blocked_extensions: vec!["exe".to_owned()],
    }
}

#[test]
fn what_a_channel_would_drop_is_told_beforehand() {
    let booking = of_address("ana.123456@guest.booking.com", &[]).unwrap();
    let outgoing = Outgoing {
        from: "Hola@casasol.example",
        recipient: "ana.123456@guest.booking.com",
        mailboxes: &["hola@casasol.example"],
        latest: None,
        attachments: &[("plan.pdf".to_owned(), 15 << 20)],
    };
    assert_eq!(refusals(&outgoing, booking), []);
    let files = [("Plan.ZIP".to_owned(), 1), ("film.mp4".to_owned(), 15 << 20)];
    let bad = Outgoing { from: "team@casasol.example", attachments: &files, ..outgoing };
    let codes: Vec<_> =
        refusals(&bad, booking).iter().map(waystation::inbox::channel::Refusal::code).collect();
    assert_eq!(codes, ["channel_from", "channel_attachment_size", "channel_attachment_type"]);
    let own = villas();
    let villas = of_address("a@guest.villas.example", &[&own]).unwrap();
    let old = Outgoing {
        latest: Some("new@guest.villas.example"),
        recipient: "old@guest.villas.example",
        attachments: &[],
        ..outgoing
    };
    let told = refusals(&old, villas);
    assert_eq!(told[0].code(), "channel_old_address");
    assert!(told[0].to_string().contains("new@guest.villas.example"));
}

#[test]
fn what_a_channel_writes_below_its_marker_is_no_answer() {
    let text = "See you at six.\n\n## Please type your reply above this line ##\nBooking details follow\n";
    let told = interpret(&mail("From: ana.123456@guest.booking.com\n", text), &Known::NOTHING);
    let event = json(&told);
    assert_eq!(event["data"]["reply"]["text"], "See you at six.");
    assert_eq!(event["data"]["reply"]["cut_by"], "channel:booking");
    assert!(event["data"]["text"].as_str().unwrap().contains("Booking details"), "the whole stays whole");
}

#[test]
fn machines_are_told_from_people() {
    for (fields, kind) in [
        ("From: ana@guest.example\n", None),
        ("From: ana@guest.example\nAuto-Submitted: no\n", None),
        ("From: ana@guest.example\nAuto-Submitted: auto-replied (vacation)\n", Some(Kind::AutoReply)),
        ("From: ana@guest.example\nPrecedence: auto_reply\n", Some(Kind::AutoReply)),
        ("From: ana@guest.example\nAuto-Submitted: No (typed)\nX-Autoreply:\nX-Autorespond: None\n", None),
        ("From: ana@guest.example\nX-Autoreply: no\nX-Auto-Reply: false\n", None),
        ("From: ana@guest.example\nX-Autoreply: yes\n", Some(Kind::AutoReply)),
        ("From: ana@guest.example\nX-Autorespond: No more rooms\n", Some(Kind::AutoReply)),
        ("From: news@shop.example\nList-Unsubscribe: <https://x>\n", Some(Kind::Bulk)),
        ("From: list@shop.example\nPrecedence: list\n", Some(Kind::Bulk)),
        ("From: ana@guest.example\nContent-Type: text/calendar; method=REQUEST\n", Some(Kind::Calendar)),
        ("From: no-reply@bank.example\n", Some(Kind::Notification)),
        (
            "From: ana@corp.example\nAuto-Submitted: auto-generated\nX-Auto-Response-Suppress: All\nIn-Reply-To: <1@x>\n",
            Some(Kind::AutoReply),
        ),
        (
            "From: ana@corp.example\nAuto-Submitted: auto-generated\n\
             X-MS-Exchange-Generated-Message-Source: Mailbox Rules Agent\n",
            Some(Kind::AutoReply),
        ),
        ("From: noreply@trip.com\nAuto-Submitted: auto-generated\n", Some(Kind::Notification)),
        ("From: noreply@trip.com\nPrecedence: bulk\n", Some(Kind::Bulk)),
        ("From: ana.123456@guest.booking.com\nAuto-Submitted: auto-generated\n", None),
        ("From: cron@host.example\nAuto-Submitted: auto-generated\n", Some(Kind::Notification)),
        ("From: MAILER-DAEMON@mx.example\nX-Failed-Recipients: a@b.example\n", Some(Kind::Bounce)),
        (
            "From: fbl@mx.example\nMIME-Version: 1.0\nContent-Type: multipart/report; report-type=feedback-report; boundary=b\n",
            Some(Kind::Notification),
        ),
    ] {
        assert_eq!(interpret(&mail(fields, "Hello"), &Known::NOTHING).automatic, kind, "{fields}");
    }
}

#[test]
fn an_out_of_office_of_exchange_is_told_by_marks_that_agree() {
    const AGENT: &str = "X-MS-Exchange-Generated-Message-Source: Mailbox Rules Agent\n";
    const SUPPRESS: &str = "X-Auto-Response-Suppress: All\n";
    let subject = |text: &str| format!("Subject: {text}\n");
    let (away, plain) = (subject("Automatic reply: Late arrival"), subject("Re: Late arrival"));
    let answers = "In-Reply-To: <out1@casasol.example>\n";
    for (fields, is_null, is_machine) in [
        (format!("{away}{SUPPRESS}"), false, true),
        (format!("{away}{AGENT}"), false, true),
        (away.clone(), true, true),
        (format!("{}{SUPPRESS}", subject("[EXTERN] Automatische Antwort: Ankunft")), false, true),
        (format!("{}{SUPPRESS}", subject("=?utf-8?q?R=C3=A9ponse_automatique=C2=A0?=: Arrivee")), true, true),
        (format!("{}{SUPPRESS}", subject("=?utf-8?b?6Ieq5Yqo562U5aSNOiDliLDovr4=?=")), true, true),
        (format!("{plain}{AGENT}{SUPPRESS}{answers}"), true, true),
        // What people write.
        (away.clone(), false, false),
        (format!("{plain}{SUPPRESS}{answers}"), false, false),
        (format!("{plain}{SUPPRESS}{answers}"), true, false),
        (format!("{}{SUPPRESS}", subject("RE: Automatic reply: Late arrival")), false, false),
        (format!("{}{SUPPRESS}", subject("Automatic reply wanted")), false, false),
        (format!("{away}X-Auto-Response-Suppress: None\n"), false, false),
        (format!("{away}{SUPPRESS}Auto-Submitted: no\n"), false, false),
        (format!("{plain}{AGENT}{SUPPRESS}{answers}"), false, false),
        // What a rule of theirs sends on.
        (
            format!(
                "{plain}{AGENT}{SUPPRESS}{answers}X-MS-Exchange-Inbox-Rules-Loop: hola@casasol.example\n"
            ),
            true,
            false,
        ),
    ] {
        let mut sample = mail(&format!("From: ana@corp.example\n{fields}"), "I am away until Monday.");
        if is_null {
            sample.sender = None;
        }
        let kind = is_machine.then_some(Kind::AutoReply);
        assert_eq!(interpret(&sample, &Known::NOTHING).automatic, kind, "{is_null} {fields}");
    }
}

#[test]
fn a_bounce_tells_of_which_mail_and_of_whom_it_speaks() {
    let mut sample = mail(
        "From: Mail Delivery System <MAILER-DAEMON@mx.example>\nMIME-Version: 1.0\n\
         Content-Type: multipart/report; report-type=delivery-status; boundary=b\n",
        "--b\nContent-Type: text/plain\n\nNot delivered.\n\
         --b\nContent-Type: message/delivery-status\n\nReporting-MTA: dns; mx.example\n\n\
         Final-Recipient: rfc822; ana@guest.example\nAction: failed\nStatus: 5.1.1\nDiagnostic-Code: smtp; 550 5.1.1 no such user\n\n\
         Final-Recipient: rfc822; bob@guest.example\nAction: Delayed\nStatus: 4.2.2\n\
         --b\nContent-Type: text/rfc822-headers\n\nMessage-ID: <out1@casasol.example>\nSubject: Hi\n--b--",
    );
    sample.sender = None;
    let told = interpret(&sample, &Known::NOTHING);
    assert_eq!(told.automatic, Some(Kind::Bounce));
    let report = told.report.unwrap();
    assert_eq!(report.message_ids, ["<out1@casasol.example>"]);
    let one = |address: &str, action: &str, status: &str, diagnostic: Option<&str>| Reported {
        address: address.to_owned(),
        original: None,
        action: action.to_owned(),
        status: Some(status.to_owned()),
        diagnostic: diagnostic.map(str::to_owned),
    };
    assert_eq!(
        report.recipients,
        [
            one("ana@guest.example", "failed", "5.1.1", Some("550 5.1.1 no such user")),
            one("bob@guest.example", "delayed", "4.2.2", None)
        ]
    );
}

/// The kind and the ids of a delivery report: what it says of the message, of a recipient, and its third part.
fn reported(message: &str, action: &str, third: &str) -> (Option<Kind>, Vec<String>) {
    let mut sample = mail(
        "From: MAILER-DAEMON@mx.example\nMIME-Version: 1.0\n\
         Content-Type: multipart/report; report-type=delivery-status; boundary=b\n",
        &format!(
            "--b\nContent-Type: text/plain\n\nOf your mail.\n\
             --b\nContent-Type: message/global-delivery-status\n\nReporting-MTA: dns; mx.example\n{message}\n\
             Final-Recipient: utf-8; ana@guest.example\nAction: {action}\nStatus: 5.1.1\n{third}\n--b--"
        ),
    );
    sample.sender = None;
    let told = interpret(&sample, &Known::NOTHING);
    (told.automatic, told.report.unwrap().message_ids)
}

#[test]
fn a_report_names_the_mail_in_every_form_there_is() {
    let third = "--b\nContent-Type: message/global-headers\n\nMessage-ID: <out1@casasol.example>\n";
    let id = "1m82s6cw70000";
    let envelope = format!("Original-Envelope-Id: {id}\n");
    for (message, action, third, kind, ids) in [
        ("", "failed", third, Kind::Bounce, vec!["<out1@casasol.example>"]),
        (envelope.as_str(), "failed", "", Kind::Bounce, vec![id]),
        (envelope.as_str(), "failed", third, Kind::Bounce, vec![id, "<out1@casasol.example>"]),
        ("Original-Envelope-Id: of somebody else\n", "failed", "", Kind::Bounce, vec![]),
        ("", "delivered", third, Kind::Notification, vec!["<out1@casasol.example>"]),
        ("", "delayed", third, Kind::Notification, vec!["<out1@casasol.example>"]),
        ("", "delayed (still trying)", third, Kind::Notification, vec!["<out1@casasol.example>"]),
        (
            "X-Original-Message-ID: <o@casasol.example>\n",
            "failed",
            "",
            Kind::Bounce,
            vec!["<o@casasol.example>"],
        ),
        (
            "X-Original-Message-ID: o@casasol.example\n",
            "failed",
            "",
            Kind::Bounce,
            vec!["<o@casasol.example>"],
        ),
        ("X-Original-Message-ID: o of casasol\n", "failed", "", Kind::Bounce, vec![]),
    ] {
        let expected = (Some(kind), ids.into_iter().map(str::to_owned).collect());
        assert_eq!(reported(message, action, third), expected, "{message} {action}");
    }
}

#[test]
fn a_bounce_of_words_names_the_mail_it_has_a_copy_of() {
    for (fields, words) in [
        (
            "",
            "Hi. This is the qmail-send program.\n\n<q@guest.example>:\nno such user\n\n--- Below this line is a copy of the message.",
        ),
        (
            "X-Failed-Recipients: q@guest.example\n",
            "------ This is a copy of the message, including all the headers. ------",
        ),
    ] {
        let body = format!(
            "{words}\n\nFrom: hola@casasol.example\nMessage-Id: <out1@casasol.example>\nSubject: Hi\n\nHello"
        );
        // As it came from the server that bounced it, and as a mailbox forwards it.
        for sender in [None, Some("srs0=ab=cd=mx.example=x@casasol.example")] {
            let mut sample = mail(&format!("From: MAILER-DAEMON@mx.example\n{fields}"), &body);
            sample.sender = sender.map(str::to_owned);
            let told = interpret(&sample, &Known::NOTHING);
            assert_eq!(told.automatic, Some(Kind::Bounce), "{sender:?}");
            assert_eq!(told.report.unwrap().message_ids, ["<out1@casasol.example>"]);
        }
    }
}

#[test]
fn comments_and_brackets_in_a_report_are_no_part_of_what_it_says() {
    let mut sample = mail(
        "From: MAILER-DAEMON@mx.example\nMIME-Version: 1.0\n\
         Content-Type: multipart/report; report-type=delivery-status; boundary=b\n",
        "--b\nContent-Type: message/delivery-status\n\nReporting-MTA: dns; mx.example\n\n\
         Final-Recipient: rfc822; <ana@guest.example>\nAction: failed (no such user)\nStatus: 5.0.0 (permanent failure)\n\n\
         Final-Recipient: rfc822; eva@guest.example (Eva)\nAction: Failed\nStatus: 5.1.1\n\n--b--",
    );
    sample.sender = None;
    let recipients = interpret(&sample, &Known::NOTHING).report.unwrap().recipients;
    let said: Vec<_> = recipients
        .iter()
        .map(|one| (one.address.as_str(), one.action.as_str(), one.status.as_deref().unwrap()))
        .collect();
    assert_eq!(said, [("ana@guest.example", "failed", "5.0.0"), ("eva@guest.example", "failed", "5.1.1")]);
}

#[test]
fn old_and_wrong_forms_are_read_as_they_were_meant() {
    let read = |fields: &str, body: &[u8]| {
        let message = [fields.replace('\n', "\r\n").as_bytes(), b"\r\n", body].concat();
        let mail = waystation::inbox::mail::Mail::read(&message);
        (mail.from.map(|from| from.address), mail.date, mail.text.unwrap_or_default().trim_end().to_owned())
    };
    let (from, date, _) = read(
        "From: Ana <@a.example,@b.example:ana@c.example>\nDate: Tue, 05 May 26 18:00:00 +0200\n",
        b"Hi\r\n",
    );
    assert_eq!(from.as_deref(), Some("ana@c.example"));
    assert_eq!(date.as_deref(), Some("2026-05-05T18:00:00+02:00"));
    let (_, date, _) = read("From: a@b.example\nDate: 05 May 99 18:00:00 +0200\n", b"Hi\r\n");
    assert_eq!(date.as_deref(), Some("1999-05-05T18:00:00+02:00"));
    let utf8 = "From: a@b.example\nMIME-Version: 1.0\nContent-Type: text/plain; charset=utf-8\n";
    assert_eq!(read(utf8, b"\xbfA qu\xe9 hora?\r\n").2, "\u{bf}A qu\u{e9} hora?");
    assert_eq!(
        read(&format!("{utf8}Content-Transfer-Encoding: quoted-printable\n"), b"qu=E9\r\n").2,
        "qu\u{e9}"
    );
    assert_eq!(read(utf8, "qué\r\n".as_bytes()).2, "qué");
    assert_eq!(read(utf8, b"qu\xc3\xa9 \xff\r\n").2, "qu\u{e9} \u{fffd}", "one broken octet");
    let flowed = "From: a@b.example\nMIME-Version: 1.0\nContent-Type: text/plain; format=flowed; delsp=yes\n";
    assert_eq!(
        read(flowed, b"https://a.example/of/the/ \r\nroom please\r\n").2,
        "https://a.example/of/the/room please"
    );
}

#[test]
fn the_second_copy_of_a_message_makes_no_event() {
    let station = Station::new("native", "text");
    let first = Sample::read(&folder("providers/gmail.eml"));
    let mut second = first.clone();
    // Another way here, and another encoding of the same words.
    let text = String::from_utf8(second.message).unwrap();
    second.message = text
        .replace("Delivered-To: hola", "Received: from elsewhere\r\nDelivered-To: hola")
        .replace("Transfer-Encoding: 8bit", "Transfer-Encoding: quoted-printable")
        .replace('¿', "=C2=BF")
        .replace('á', "=C3=A1")
        .into_bytes();
    let one = station.interpret(&first, &Known::NOTHING);
    let seen =
        |key: &DuplicateKey| (Some(key) == one.duplicate_key.as_ref()).then(|| "0b5x2hm9wv4t0".to_owned());
    let two = station.interpret(&second, &Known { duplicate: &seen, ..Known::NOTHING });
    assert_eq!(two.duplicate_of.as_deref(), Some("0b5x2hm9wv4t0"));
    assert!(one.event.is_some() && two.event.is_none());
    let mut other = first;
    other.message.extend_from_slice(b"P.S.\r\n");
    assert_eq!(station.interpret(&other, &Known { duplicate: &seen, ..Known::NOTHING }).duplicate_of, None);
}

#[test]
fn without_a_message_id_only_a_mail_alike_in_from_date_and_subject_is_a_copy() {
    let station = Station::new("native", "text");
    let key = |from: &str, date: &str, subject: &str| {
        let mail = format!("From: {from}\n{date}Subject: {subject}\nTo: hola@casasol.example\n\nGracias\n");
        let sample = Sample { recipient: "inbox+sol@users.example.com".into(), ..Sample::of(&mail) };
        station.interpret(&sample, &Known::NOTHING).duplicate_key
    };
    let date = "Date: Sun, 22 Nov 2026 16:40:01 +0100\n";
    let one = key("ana@guest.example", date, "Re: Llegada");
    assert!(one.is_some());
    assert_eq!(one, key("ana@guest.example", date, "Re: Llegada"));
    for other in [
        key("eva@guest.example", date, "Re: Llegada"),
        key("ana@guest.example", &date.replace("16:40:01", "16:40:02"), "Re: Llegada"),
        key("ana@guest.example", date, "Re: Salida"),
    ] {
        assert!(other.is_some() && other != one, "{other:?}");
    }
    assert_eq!(key("ana@guest.example", "", "Re: Llegada"), None, "nothing tells two such mails apart");
}

#[test]
fn each_cloud_event_has_a_name_of_its_own() {
    let station = Station::new("cloudevents", "text");
    let sample = Sample::read(&folder("providers/gmail.eml"));
    let body = station.interpret(&sample, &Known::NOTHING).event.unwrap().body;
    let at = body.name_at.unwrap();
    assert!(body.before[..at].ends_with(b"\"id\":\"") && body.before[at..].starts_with(b"\",\"source\""));
}

#[test]
fn what_a_channel_sends_to_everybody_is_no_conversation() {
    let key = |from: &str, subject: &str| {
        let mail = mail(&format!("From: {from}\nSubject: {subject}\n"), "Hello");
        interpret(&mail, &Known::NOTHING).index.channel_key
    };
    for from in ["noreply@trip.com", "no-reply@property.booking.com", "sender@messages.homeaway.com"] {
        assert_eq!(key(from, "New booking"), None, "{from}");
    }
    let number = key("sender@messages.homeaway.com", "Inquiry from Ana: Jun 1 - Jun 5 - Vrbo #1234567");
    assert_eq!(number.as_deref(), Some("vrbo:1234567"));
    assert_eq!(key("ana.9@trip.com", "x").as_deref(), Some("trip:ana.9"));
}

#[test]
fn a_calendar_file_that_a_person_attached_is_no_invitation() {
    let kind = |disposition: &str| {
        let fields =
            "From: ana@guest.example\nMIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=b\n";
        let body = format!(
            "--b\nContent-Type: text/plain\n\nOur flight.\n--b\nContent-Type: text/calendar; name=flight.ics\n\
             {disposition}\nBEGIN:VCALENDAR\nEND:VCALENDAR\n--b--\n"
        );
        interpret(&mail(fields, &body), &Known::NOTHING).automatic
    };
    assert_eq!(kind("Content-Disposition: attachment; filename=flight.ics\n"), None);
    assert_eq!(kind(""), Some(Kind::Calendar));
}
