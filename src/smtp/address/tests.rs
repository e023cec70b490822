//! Which addresses are taken, which are not, and why.

use super::*;
use proptest::prelude::*;

#[track_caller]
fn refused(source: &str, why: AddressError) {
    assert_eq!(Address::parse(source, false), Err(why), "{source}");
}

#[test]
fn ordinary_and_odd_addresses_keep_every_character() {
    for source in [
        "a@b",
        "first.last+tag@example.com",
        "!#$%&'*+-/=?^_`{|}~@example.com",
        "\"a b\"@example.com",
        "\"a> NOTIFY=NEVER x\"@b.example",
        "\"a@evil.example\"@b.example",
        r#""a\"b\\c"@example.com"#,
        "\"\"@example.com",
        "a@[127.0.0.1]",
        "a@[IPv6:2001:db8::1]",
        "a@[ipv6:::ffff:192.0.2.1]",
        "user%other.example@served.example",
        "a!b@served.example",
        "=?utf-8?q?a=40b?=@example.com",
        "-oQ/tmp@example.com",
        "|/bin/sh@example.com",
        "a@xn--bcher-kva.example",
        "a@sub_domain.example",
        "a@1.2.3.4",
        // What a Japanese mobile carrier gave out.
        "a..b.@example.ne.jp",
        ".a@example.ne.jp",
        // Forwarders' envelope senders.
        "reservations.casasol+caf_=inbox+casa-sol-mallorca=users.example.com@example.com",
    ] {
        let address = Address::parse(source, false).expect(source);
        assert_eq!(address.as_str(), source);
        assert_eq!(format!("{}@{}", address.local(), address.domain()), source);
    }
}

#[test]
fn broken_addresses_are_refused_with_their_reason() {
    for (source, why) in [
        ("", AddressError::Incomplete),
        ("a", AddressError::Incomplete),
        ("@b.example", AddressError::Incomplete),
        ("a@", AddressError::Incomplete),
        (".@b.example", AddressError::LocalPart),
        ("..@b.example", AddressError::LocalPart),
        ("a b@b.example", AddressError::LocalPart),
        ("a(c)@b.example", AddressError::LocalPart),
        ("a,c@b.example", AddressError::LocalPart),
        ("a\\@b@b.example", AddressError::LocalPart),
        ("\"a@b.example", AddressError::LocalPart),
        ("\"a\"b@b.example", AddressError::LocalPart),
        ("\"a\tb\"@b.example", AddressError::LocalPart),
        ("\"a\rb\"@b.example", AddressError::LocalPart),
        ("a\0@b.example", AddressError::LocalPart),
        ("a\x7f@b.example", AddressError::LocalPart),
        ("a@b@c.example", AddressError::Domain),
        ("a@b.example.", AddressError::Domain),
        ("a@.b.example", AddressError::Domain),
        ("a@b..example", AddressError::Domain),
        ("a@-b.example", AddressError::Domain),
        ("a@b-.example", AddressError::Domain),
        ("a@b c", AddressError::Domain),
        ("a@b(c)", AddressError::Domain),
        ("a@b>c", AddressError::Domain),
        ("a@b\r\nc", AddressError::Domain),
        ("a@[127.0.0.1", AddressError::Literal),
        ("a@[127.0.0]", AddressError::Literal),
        ("a@[127.0.0.256]", AddressError::Literal),
        ("a@[2001:db8::1]", AddressError::Literal),
        ("a@[IPv6:192.0.2.1]", AddressError::Literal),
        ("a@[x-tag:y]", AddressError::Literal),
        ("a@[]", AddressError::Literal),
        ("a@xn--example-.com", AddressError::Domain),
        ("a@xn--.com", AddressError::Domain),
        ("a@XN--a.com", AddressError::Punycode),
        ("a@xn--99999999.com", AddressError::Punycode),
        ("ä@b.example", AddressError::NeedsUtf8),
        ("a@ä.example", AddressError::NeedsUtf8),
    ] {
        refused(source, why);
    }
}

#[test]
fn a_punycode_label_that_is_plain_ascii_is_refused() {
    // RUSTSEC-2024-0421: `example.org` and `xn--example-.org` must not be two names for one thing.
    for label in ["xn--example-", "xn--a", "xn--0"] {
        assert!(check_label(label).is_err(), "{label}");
    }
    for label in
        ["xn--bcher-kva", "xn--wgv71a119e", "xn--fiqs8s", "XN--MNCHEN-3YA", "xn--e1afmkfd", "xn--p1ai"]
    {
        assert_eq!(check_label(label), Ok(()), "{label}");
    }
}

#[test]
fn a_domain_as_dns_has_it_leaves_the_local_part_alone() {
    for (source, expected) in [
        ("Shop@Example.COM", "Shop@Example.COM"),
        ("Shop@Żółw.test", "Shop@xn--w-uga1v8h.test"),
        ("żółw@żółw.test", "żółw@xn--w-uga1v8h.test"),
        ("żółw@x.test", "żółw@x.test"),
        ("a@[192.0.2.1]", "a@[192.0.2.1]"),
    ] {
        assert_eq!(Address::parse(source, true).unwrap().with_dns_domain().as_str(), expected);
    }
}

#[test]
fn lengths_are_octets_and_end_exactly_where_the_standard_says() {
    let local = "a".repeat(64);
    let whole = "a".repeat(244);
    assert!(Address::parse(format!("{whole}@b.example"), false).is_ok());
    refused(&format!("{whole}a@b.example"), AddressError::TooLong);
    let label = "b".repeat(63);
    assert!(Address::parse(format!("a@{label}.example"), false).is_ok());
    refused(&format!("a@{label}b.example"), AddressError::Domain);
    let longest = format!("{local}@{label}.{label}.{}", "c".repeat(61));
    assert_eq!(longest.len(), 254);
    assert!(Address::parse(&longest, false).is_ok());
    refused(&format!("{longest}c"), AddressError::TooLong);
}

#[test]
fn eight_bits_need_smtputf8_and_must_be_utf8() {
    assert!(Address::parse("ä@ü.example", true).is_ok());
    assert!(Address::parse("\"ä ö\"@ü.example", true).is_ok());
    assert_eq!(Address::parse(b"\xff@b.example", true), Err(AddressError::NotUtf8));
    assert_eq!(Address::parse(b"\xff@b.example", false), Err(AddressError::NotUtf8));
    for sly in ["a@b\u{ff0e}example", "a@b\u{200b}.example", "a@b\u{202e}.example", "a@b\u{3002}example"] {
        assert_eq!(Address::parse(sly, true), Err(AddressError::Domain), "{sly:?}");
    }
    assert_eq!(Address::parse("\"\u{85}\"@b.example", true), Err(AddressError::LocalPart));
    assert_eq!(Address::parse("a\u{85}@b.example", true), Err(AddressError::LocalPart));
}

#[test]
fn no_character_is_an_at_sign_by_its_low_byte() {
    // "Splitting the email atom": U+0140 and friends stay what they are.
    let address = Address::parse("a\u{140}b@c.example", true).expect("opaque");
    assert_eq!((address.local(), address.domain()), ("a\u{140}b", "c.example"));
}

#[test]
fn a_source_route_is_checked_and_dropped() {
    let plain = Address::parse("c@d.example", false).map(Path::Mailbox);
    assert_eq!(Address::parse_path(b"@a.example,@b.example:c@d.example", false), plain);
    for broken in ["@a.example", "@a.example,b:c@d.example", "@:c@d.example", "@a b:c@d.example", "@a:"] {
        assert!(Address::parse_path(broken.as_bytes(), false).is_err(), "{broken}");
    }
}

#[test]
fn null_and_postmaster_are_paths_of_their_own() {
    assert_eq!(Address::parse_path(b"", false), Ok(Path::Null));
    assert_eq!(Address::parse_path(b"PostMaster", false), Ok(Path::Postmaster));
}

#[test]
fn a_path_ends_at_the_bracket_outside_quotes() {
    assert_eq!(path_end(b"a@b>"), Some(3));
    assert_eq!(path_end(br#""a>"@b> X"#), Some(6));
    assert_eq!(path_end(br#""a\">"@b>"#), Some(8));
    assert_eq!(path_end(br#""a>"#), None);
}

proptest! {
    #[test]
    fn whatever_is_accepted_can_be_written_between_brackets(source in proptest::collection::vec(any::<u8>(), 0..80)) {
        if let Ok(address) = Address::parse(&source, true) {
            prop_assert_eq!(address.as_str().as_bytes(), &source[..]);
            prop_assert!(!address.as_str().chars().any(char::is_control));
            let mut path = source.clone();
            path.push(b'>');
            prop_assert_eq!(path_end(&path), Some(source.len()));
        }
    }

    #[test]
    fn likely_addresses_are_judged_alike_with_and_without_brackets(source in r#"[a"\\<>@. \[\]:,x-]{0,20}"#) {
        if let (Ok(Path::Mailbox(inside)), Ok(plain)) =
            (Address::parse_path(source.as_bytes(), false), Address::parse(&source, false)) {
            prop_assert_eq!(inside, plain);
        }
    }
}

#[test]
fn quotes_that_say_nothing_make_no_other_local_part() {
    for (local, plain) in [
        ("ana", "ana"),
        ("\"ana\"", "ana"),
        ("\"inbox+sol\"", "inbox+sol"),
        ("\"a..b.\"", "a..b."),
        ("\"a b\"", "\"a b\""),
        ("\"a@b\"", "\"a@b\""),
        (r#""a\b""#, r#""a\b""#),
        ("\"\"", "\"\""),
        ("\"..\"", "\"..\""),
        ("\"", "\""),
    ] {
        assert_eq!(plain_local(local), plain, "{local}");
    }
}
