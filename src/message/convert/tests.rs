//! What is converted decodes to the same, and what needn't be converted isn't touched. Oracle: mail-parser.

use super::*;
use mail_parser::{Message, MessageParser, PartType};
use proptest::prelude::*;
use std::fmt::Write as _;

fn crlf(text: &str) -> Vec<u8> {
    text.replace('\n', "\r\n").into_bytes()
}

/// All leaves of a message, decoded, nested messages included.
fn leaves(message: &Message<'_>) -> Vec<Vec<u8>> {
    message
        .parts
        .iter()
        .flat_map(|part| match &part.body {
            PartType::Multipart(_) => Vec::new(),
            PartType::Message(nested) => leaves(nested),
            _ => vec![part.contents().to_vec()],
        })
        .collect()
}

/// Nothing but ASCII, in lines that any smarthost takes (RFC 5321 §4.5.3.1.6).
fn is_seven_bit(content: &[u8]) -> bool {
    let (_, body) = split_entity(content);
    content.is_ascii() && !has_long_line(&content[body..])
}

fn assert_same_meaning(before: &[u8], after: &[u8]) {
    assert!(is_seven_bit(after), "{}", after.escape_ascii());
    let (before, after) =
        (MessageParser::default().parse(before).unwrap(), MessageParser::default().parse(after).unwrap());
    assert_eq!(leaves(&before), leaves(&after));
    assert_eq!(
        (before.subject(), before.from(), before.date()),
        (after.subject(), after.from(), after.date())
    );
}

#[test]
fn only_the_leaves_that_need_it_change() {
    let before = crlf(
        "\
From: a@x.test
Subject: =?utf-8?q?=C3=A4?=
MIME-Version: 1.0
Content-Transfer-Encoding: 8bit
Content-Type: multipart/mixed;
\tboundary=\"outer b\"

preamble
--outer b
Content-Type: multipart/alternative; boundary=inner

--inner
Content-Type: text/plain; charset=utf-8
content-transfer-encoding:   8BIT
X-Kept: yes

Grüße, 1 + 1 = 2, und trailing \n\
--innerlich ist keine Grenze
--inner
Content-Type: text/html

<p>plain</p>
--inner--
--outer b  \n\
Content-Type: application/x-thing
Content-Transfer-Encoding: binary

\u{e4}\u{0}\u{1}
--outer b
Content-Type: message/rfc822
Content-Transfer-Encoding: 8bit

Subject: nested
MIME-Version: 1.0
Content-Type: text/plain; charset=utf-8

ü
--outer b
Content-Type: text/plain

untouched = \u{9}
--outer b--
epilogue
",
    );
    let expected = crlf(
        "\
From: a@x.test
Subject: =?utf-8?q?=C3=A4?=
MIME-Version: 1.0
Content-Transfer-Encoding: 7bit
Content-Type: multipart/mixed;
\tboundary=\"outer b\"

preamble
--outer b
Content-Type: multipart/alternative; boundary=inner

--inner
Content-Type: text/plain; charset=utf-8
content-transfer-encoding: quoted-printable
X-Kept: yes

Gr=C3=BC=C3=9Fe, 1 + 1 =3D 2, und trailing=20
--innerlich ist keine Grenze
--inner
Content-Type: text/html

<p>plain</p>
--inner--
--outer b  \n\
Content-Type: application/x-thing
Content-Transfer-Encoding: base64

w6QAAQ==
--outer b
Content-Type: message/rfc822
Content-Transfer-Encoding: 7bit

Subject: nested
MIME-Version: 1.0
Content-Type: text/plain; charset=utf-8
Content-Transfer-Encoding: quoted-printable

=C3=BC
--outer b
Content-Type: text/plain

untouched = \u{9}
--outer b--
epilogue
",
    );
    let after = to_seven_bit(&before).unwrap();
    assert_eq!(after.escape_ascii().to_string(), expected.escape_ascii().to_string());
    assert_same_meaning(&before, &after);
}

#[test]
fn single_messages_are_converted() {
    let long = "x".repeat(3000);
    let rows = [
        ("Subject: a\n\nplain\n", "Subject: a\n\nplain\n".to_owned(), "nothing to do"),
        (
            "Subject: a\n\nü\n",
            "Subject: a\nMIME-Version: 1.0\nContent-Type: text/plain; charset=unknown-8bit\n\
             Content-Transfer-Encoding: quoted-printable\n\n=C3=BC\n"
                .to_owned(),
            "no MIME at all (RFC 1428)",
        ),
        (
            "\nü\n",
            "MIME-Version: 1.0\nContent-Type: text/plain; charset=unknown-8bit\n\
             Content-Transfer-Encoding: quoted-printable\n\n=C3=BC\n"
                .to_owned(),
            "no header at all",
        ),
        (
            "MIME-Version: 1.0\nContent-Transfer-Encoding: quoted-printable\n\n=C3=BC ü =\n x\n",
            "MIME-Version: 1.0\nContent-Transfer-Encoding: quoted-printable\n\n=C3=BC =C3=BC =\n x\n".to_owned(),
            "quoted-printable that wasn't",
        ),
        (
            "MIME-Version: 1.0\nContent-Type: image/png\nContent-Transfer-Encoding: base64\n\nAAAAü\nBBBB\n",
            "MIME-Version: 1.0\nContent-Type: image/png\nContent-Transfer-Encoding: base64\n\nAAAABBBB\n".to_owned(),
            "base64 that wasn't",
        ),
        (
            "MIME-Version: 1.0\nContent-Type: multipart/digest; boundary=b\n\nPräambel\n--b\n\nSubject: in\n\nü\n--b--\nü\n",
            "MIME-Version: 1.0\nContent-Type: multipart/digest; boundary=b\n\nPr??ambel\n--b\n\nSubject: in\n\
             MIME-Version: 1.0\nContent-Type: text/plain; charset=unknown-8bit\n\
             Content-Transfer-Encoding: quoted-printable\n\n=C3=BC\n--b--\n??\n"
                .to_owned(),
            "a digest's parts are messages; preamble and epilogue lose their umlauts",
        ),
        (
            &format!("MIME-Version: 1.0\n\n{long}\n"),
            format!(
                "MIME-Version: 1.0\nContent-Transfer-Encoding: quoted-printable\n\n{}{}\n",
                format!("{}=\n", "x".repeat(75)).repeat(39),
                "x".repeat(75)
            ),
            "a long line",
        ),
    ];
    for (before, expected, reason) in rows {
        let after = to_seven_bit(&crlf(before)).unwrap();
        assert_eq!(after.escape_ascii().to_string(), crlf(&expected).escape_ascii().to_string(), "{reason}");
    }
}

#[test]
fn what_can_not_be_converted_says_why() {
    let mut deep = String::new();
    for level in 0..60 {
        write!(deep, "Content-Type: multipart/mixed; boundary=b{level}\n\n--b{level}\n").unwrap();
    }
    deep += "\nü\n";
    let rows = [
        ("Message-ID: <ü@x.test>\n\nx\n", ConvertError::HeaderField, "raw header"),
        (
            "Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-ID: <ü@x.test>\n\nx\n--b--\n",
            ConvertError::HeaderField,
            "raw header of a part",
        ),
        ("Content-Type: multipart/mixed\n\nü\n", ConvertError::BrokenMultipart, "no boundary"),
        ("Content-Type: multipart/mixed; boundary=b\n\nü\n", ConvertError::BrokenMultipart, "no part"),
        (&deep, ConvertError::TooDeep, "60 levels"),
    ];
    for (before, expected, reason) in rows {
        assert_eq!(to_seven_bit(&crlf(before)), Err(expected), "{reason}");
    }
}

#[test]
fn a_line_of_998_octets_stays_and_a_longer_one_is_encoded() {
    let line = |length: usize| [b"a: b\r\n\r\n".as_slice(), &vec![b'x'; length], b"\r\n"].concat();
    let rows = [
        (line(998), true, "998 is allowed"),
        (line(999), false, "999 isn't"),
        ([line(998), line(998), line(1)].concat(), true, "several"),
        ([line(1), line(999)].concat(), false, "the second"),
        (
            [b"a:".as_slice(), &[b'x'; 999], b"\r\n\r\nx\r\n"].concat(),
            true,
            "a header line without white space",
        ),
        (Vec::new(), true, "empty"),
    ];
    for (content, stays, reason) in rows {
        let converted = to_seven_bit(&content).unwrap();
        assert_eq!(converted == content, stays, "{reason}");
        assert!(is_seven_bit(&converted), "{reason}");
    }
}

#[test]
fn a_header_line_that_is_too_long_is_folded_where_it_may_be() {
    let (word, blob) = ("w".repeat(600), "x".repeat(1_500));
    for (before, after, reason) in [
        (format!("A: b {word}"), format!("A: b {word}"), "short enough"),
        (format!("A: {word} {word}"), format!("A: {word}\r\n {word}"), "at the white space"),
        (format!("A: {word} \t{word}"), format!("A: {word} \r\n\t{word}"), "at the last of it that does"),
        (format!("A: {blob} c"), format!("A:\r\n {blob}\r\n c"), "as well as it can be"),
        (format!("A:  {word} {word}"), format!("A:  {word}\r\n {word}"), "no line of white space"),
        (format!("{blob}: a"), format!("{blob}:\r\n a"), "a name of that length"),
        (
            format!("A:{blob}{}", " ".repeat(2_000)),
            format!("A:{blob}{}", " ".repeat(2_000)),
            "white space at the end",
        ),
    ] {
        let content = |header: &str| format!("{header}\r\nB: c\r\n\r\nx\r\n").into_bytes();
        let folded = to_seven_bit(&content(&before)).unwrap();
        assert_eq!(folded.escape_ascii().to_string(), content(&after).escape_ascii().to_string(), "{reason}");
    }
    // Of a part as well, and of a field whose words were encoded.
    let nested = format!(
        "MIME-Version: 1.0\r\nSubject: {}\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nX: {word} {word}\r\n\r\nx\r\n--b--\r\n",
        "\u{fc}".repeat(900)
    );
    let folded = to_seven_bit(nested.as_bytes()).unwrap();
    assert!(is_seven_bit(&folded) && !has_long_line(&folded), "{}", folded.escape_ascii());
}

#[test]
fn a_list_of_addresses_without_white_space_is_folded_behind_them() {
    let (one, two) = (format!("{}@x.test", "a".repeat(600)), format!("{}@x.test", "b".repeat(600)));
    let (quoted, comment) = ("q,".repeat(500), "c@c,".repeat(200));
    let literal = format!("a@[{}]", "l,".repeat(500));
    for (before, after, reason) in [
        (format!("To:{one},{two},c@x.test"), format!("To:{one},\r\n {two},c@x.test"), "behind a comma"),
        (format!("resent-cc : {one},{two}"), format!("resent-cc : {one},\r\n {two}"), "whatever its case"),
        (format!("Bcc: a@x.test, {one},{two}"), format!("Bcc: a@x.test, {one},\r\n {two}"), "the last place"),
        (format!("To: {one}\r\n ,{two},{one}"), format!("To: {one}\r\n ,{two},\r\n {one}"), "folded before"),
        (
            format!("To:\"{quoted}\"<a@x>,{one}"),
            format!("To:\"{quoted}\"<a@x>,\r\n {one}"),
            "a quoted string",
        ),
        (format!("To:a@x({comment}),{one}"), format!("To:a@x({comment}),\r\n {one}"), "a comment"),
        (format!("To:{literal},{one}"), format!("To:{literal},\r\n {one}"), "a domain literal"),
        (format!("To:{quoted}<a@x>,{one}"), format!("To:{quoted}<a@x>,\r\n {one}"), "a name without quotes"),
        (format!("To:\"{one},{two}"), format!("To:\"{one},{two}"), "a quote without end"),
        (format!("References:<{one}>,<{two}>"), format!("References:<{one}>,<{two}>"), "no addresses"),
        (format!("X-To:{one},{two}"), format!("X-To:{one},{two}"), "who knows what that is"),
    ] {
        let content = |header: &str| format!("{header}\r\nB: c\r\n\r\nx\r\n").into_bytes();
        let folded = to_seven_bit(&content(&before)).unwrap();
        assert_eq!(folded.escape_ascii().to_string(), content(&after).escape_ascii().to_string(), "{reason}");
    }
    let many = format!("To:{}z@x.test\r\n\r\nx\r\n", "a@x.test,".repeat(2_000));
    let folded = to_seven_bit(many.as_bytes()).unwrap();
    assert!(!has_long_line(&folded));
    assert_eq!(
        folded.escape_ascii().to_string().replace("\\r\\n ", ""),
        many.as_bytes().escape_ascii().to_string()
    );
}

/// RFC 2045 §6.7, the receiver's side.
fn decoded(text: &[u8]) -> Vec<u8> {
    let (mut out, mut rest) = (Vec::new(), text);
    while let Some((octet, behind)) = rest.split_first() {
        rest = behind;
        if *octet != b'=' {
            out.push(*octet);
        } else if let Some(behind) = rest.strip_prefix(b"\r\n") {
            rest = behind;
        } else {
            out.push(u8::from_str_radix(std::str::from_utf8(&rest[..2]).unwrap(), 16).unwrap());
            rest = &rest[2..];
        }
    }
    out
}

proptest! {
    #[test]
    fn quoted_printable_decodes_to_the_same(text in proptest::collection::vec(
        prop_oneof![4 => b' '..=b'~', 1 => Just(b'-'), 1 => Just(b' '), 1 => Just(b'\r'), 1 => Just(b'\n'), 2 => any::<u8>()], 0..400)) {
        let mut out = Vec::new();
        encode_quoted_printable(&text, false, &mut out);
        prop_assert_eq!(decoded(&out), text);
        prop_assert!(out.is_ascii());
        let text = String::from_utf8(out).unwrap();
        for line in text.split("\r\n") {
            prop_assert!(line.len() <= 76 && !line.ends_with([' ', '\t']) && !line.contains(['\r', '\n']), "{:?}", line);
        }
    }

    #[test]
    fn any_octets_convert_or_say_why(text in proptest::collection::vec(any::<u8>(), 0..300)) {
        if let Ok(after) = to_seven_bit(&text) {
            prop_assert!(after.is_ascii());
        }
    }

    #[test]
    fn broken_encodings_come_out_in_seven_bits(
        base64 in any::<bool>(), text in proptest::collection::vec(prop_oneof![Just(b'='), Just(b'\r'), Just(b'\n'), any::<u8>()], 0..400),
    ) {
        let label = if base64 { "base64" } else { "quoted-printable" };
        let mut before = format!("MIME-Version: 1.0\r\nContent-Transfer-Encoding: {label}\r\n\r\n").into_bytes();
        before.extend_from_slice(&text);
        let after = to_seven_bit(&before).unwrap();
        prop_assert!(is_seven_bit(&after));
    }

    #[test]
    fn structures_keep_their_meaning(
        texts in proptest::collection::vec("[a-zäöü=\\-. ]{0,200}", 1..6),
        binary in proptest::collection::vec(any::<u8>(), 1..200),
        depth in 1usize..5,
    ) {
        let mut body = String::new();
        let mut header = "Subject: s\r\nMIME-Version: 1.0\r\n".to_owned();
        for level in 0..depth {
            write!(body, "{header}Content-Type: multipart/mixed; boundary=\"b{level}\"\r\n\r\n--b{level}\r\n").unwrap();
            for text in &texts {
                write!(body, "Content-Type: text/plain; charset=utf-8\r\n\r\n{text}x\r\n--b{level}\r\n").unwrap();
            }
            header.clear();
        }
        body += "Content-Type: text/plain; charset=utf-8\r\n\r\n\u{fc}";
        for level in (0..depth).rev() {
            write!(body, "\r\n--b{level}--").unwrap();
        }
        let mut before = body.into_bytes();
        before.extend_from_slice(b"\r\n");
        let after = to_seven_bit(&before).unwrap();
        assert_same_meaning(&before, &after);

        let mut before = b"MIME-Version: 1.0\r\nContent-Type: application/octet-stream\r\n\r\n".to_vec();
        before.extend_from_slice(&binary);
        let after = to_seven_bit(&before).unwrap();
        let body = MessageParser::default().parse(&after).unwrap().parts[0].contents().to_vec();
        prop_assert_eq!(body, binary);
    }
}
