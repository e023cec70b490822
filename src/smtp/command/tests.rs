//! The grammar's corners; whole lines with their replies stand in `tests/dialogues/`.

use super::parameters::is_utf8_address;
use super::*;
use proptest::prelude::*;

fn parse(line: &str) -> Result<Command<'_>, CommandError> {
    let context = Context { esmtp: true, ..Context::default() };
    Command::parse(line.as_bytes(), context, &mut Leniences::default())
}

fn address(text: &str) -> Address {
    Address::parse(text, true).expect("an address")
}

#[test]
fn mail_carries_all_that_was_said() {
    let wanted = Mail {
        sender: Some(address("a@b.test")),
        size: Some(12),
        body: Body::EightBitMime,
        smtputf8: true,
        ret: Some(Ret::Full),
        envid: Some("x+2By".into()),
        release: Some(Release::After(60)),
        priority: Some(-4),
    };
    let line = "MAIL FROM:<a@b.test> SIZE=12 BODY=8BITMIME SMTPUTF8 RET=FULL ENVID=x+2By AUTH=<> HOLDFOR=60 MT-PRIORITY=-4";
    assert_eq!(parse(line), Ok(Command::Mail(wanted)));
}

#[test]
fn rcpt_carries_all_that_was_said() {
    let wanted = Rcpt {
        address: address("a@b.test"),
        notify: Some(Notify { success: true, failure: false, delay: true }),
        orcpt: Some("rfc822;a+2B@b.test".into()),
    };
    let line = "RCPT TO:<a@b.test> NOTIFY=delay,SUCCESS ORCPT=rfc822;a+2B@b.test";
    assert_eq!(parse(line), Ok(Command::Rcpt(wanted)));
    let Ok(Command::Rcpt(rcpt)) = parse("RCPT TO:<a@b.test> NOTIFY=NEVER") else { panic!("not taken") };
    assert_eq!(rcpt.notify, Some(Notify { success: false, failure: false, delay: false }));
}

#[test]
fn a_release_is_told_in_one_of_two_strict_ways() {
    let at = |text: &str| Some(Release::At(text.parse().unwrap()));
    for (said, release) in [
        ("HOLDFOR=1", Some(Release::After(1))),
        ("holdfor=999999999", Some(Release::After(999_999_999))),
        ("HOLDFOR=0", None),
        ("HOLDFOR=060", None),
        ("HOLDFOR=1000000000", None),
        ("HOLDFOR=-5", None),
        ("HOLDFOR=1h", None),
        ("HOLDFOR=", None),
        ("HOLDFOR", None),
        ("HOLDUNTIL=2026-12-24T18:00:00Z", at("2026-12-24T18:00:00Z")),
        ("HOLDUNTIL=2026-12-24t18:00:00.5z", at("2026-12-24T18:00:00.5Z")),
        ("HOLDUNTIL=2026-12-24T18:00:00+00:00", None),
        ("HOLDUNTIL=2026-12-24T18:00:00", None),
        ("HOLDUNTIL=2026-12-24 18:00:00Z", None),
        ("HOLDUNTIL=2026-12-24T18:00:00.Z", None),
        ("HOLDUNTIL=2026-12-24T18:00Z", None),
        ("HOLDUNTIL=2026-02-30T18:00:00Z", None),
        ("HOLDUNTIL=1795000000", None),
    ] {
        let parsed = match parse(&format!("MAIL FROM:<a@b.test> {said}")) {
            Ok(Command::Mail(mail)) => mail.release,
            Err(CommandError::Value(_) | CommandError::BehindPath) => None,
            other => panic!("{said}: {other:?}"),
        };
        assert_eq!(parsed, release, "{said}");
    }
    let both = parse("MAIL FROM:<a@b.test> HOLDFOR=60 HOLDUNTIL=2026-12-24T18:00:00Z");
    assert_eq!(both, Err(CommandError::TwoReleases));
    assert_eq!(parse("MAIL FROM:<a@b.test> HOLDFOR=60 HOLDFOR=60"), Err(CommandError::Twice));
}

#[test]
fn a_priority_is_one_digit() {
    for (said, priority) in [
        ("0", Some(0)),
        ("9", Some(9)),
        ("-9", Some(-9)),
        ("-0", None),
        ("+1", None),
        ("10", None),
        ("01", None),
        ("", None),
    ] {
        let parsed = match parse(&format!("MAIL FROM:<a@b.test> MT-PRIORITY={said}")) {
            Ok(Command::Mail(mail)) => mail.priority,
            Err(CommandError::Value(_)) => None,
            other => panic!("{said}: {other:?}"),
        };
        assert_eq!(parsed, priority, "{said}");
    }
}

#[test]
fn a_quoted_local_part_brings_no_parameter_in() {
    let Ok(Command::Mail(mail)) = parse(r#"MAIL FROM:<"a> NOTIFY=NEVER x"@b.test> SIZE=1"#) else {
        panic!("not taken")
    };
    assert_eq!(mail.sender, Some(address(r#""a> NOTIFY=NEVER x"@b.test"#)));
}

#[test]
fn xtext_stands_for_printable_ascii_only() {
    for (text, good) in [
        ("abc", true),
        ("", true),
        ("+2B+3D+20+7E", true),
        ("a=b", false),
        ("a+", false),
        ("a+2", false),
        ("+2b", false),
        ("+0A", false),
        ("+0D", false),
        ("+00", false),
        ("+7F", false),
        ("+80", false),
        ("+FF", false),
        ("a b", false),
        ("\u{e4}", false),
    ] {
        assert_eq!(is_xtext(text.as_bytes()), good, "{text}");
    }
}

#[test]
fn a_utf8_original_recipient_may_be_escaped_or_plain() {
    for (text, smtputf8, good) in [
        (r"\x{F6}@b.test", false, true),
        (r"\x{1F600}@b.test", false, true),
        (r"\x{5C}@b.test", false, true),
        (r"\x{A}@b.test", false, false),
        (r"\x{0A}@b.test", false, false),
        (r"\x{85}@b.test", false, false),
        (r"\x{D800}@b.test", false, false),
        (r"\x{f6}@b.test", false, false),
        (r"\x{F6", false, false),
        (r"\y", false, false),
        ("a+b", true, false),
        ("\u{f6}@b.test", false, false),
        ("\u{f6}@b.test", true, true),
        ("\u{85}@b.test", true, false),
    ] {
        assert_eq!(is_utf8_address(text.as_bytes(), smtputf8), good, "{text}");
    }
}

#[test]
fn verbs_are_whole_words() {
    for line in [
        "DATAX",
        "DAT",
        "MAILFROM:<a@b.test>",
        "RCPTTO:<a@b.test>",
        "STARTTLSX",
        "STARTTLSNOW",
        " DATA",
        "\u{e4}",
    ] {
        assert_eq!(parse(line), Err(CommandError::Unknown), "{line}");
    }
    assert_eq!(parse("DATA \t "), Ok(Command::Data));
    assert_eq!(parse(" \t"), Err(CommandError::Empty));
}

proptest! {
    #[test]
    fn no_line_holds_a_surprise(line in proptest::collection::vec(any::<u8>(), 0..120)) {
        let tolerate = Tolerate { bare_lf: true, space_after_colon: true, missing_brackets: true };
        let context = Context { tolerate, esmtp: true, smtputf8: true };
        let _ = Command::parse(&line, context, &mut Leniences::default());
    }

    #[test]
    fn what_a_mail_command_gives_can_be_written_again(rest in r#"[<>a"\\@. =:,+;]{0,24}"#) {
        let line = format!("MAIL FROM:{rest}");
        if let Ok(Command::Mail(Mail { sender: Some(sender), .. })) = parse(&line) {
            let again = format!("MAIL FROM:<{sender}>");
            let Ok(Command::Mail(mail)) = parse(&again) else { panic!("{again} is refused") };
            prop_assert_eq!(mail.sender, Some(sender));
        }
    }
}
