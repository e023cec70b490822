//! A golden body for each format, and what must hold of all of them.

use crate::sample::{Sample, Station, folder, golden, json};
use std::fs;
use waystation::config::schema::EventFormat;
use waystation::inbox::Known;
use waystation::inbox::authentication::{Dmarc, Verdict};
use waystation::inbox::event::{
    DeliveryData, EndpointData, EventType, Notice, SilenceData, SilenceState, SmarthostData, notice,
};

/// A guest's answer with everything in it: HTML, an image within the text, an attachment, a quotation.
fn rich() -> Sample {
    let mut sample = Sample::read(&folder("formats/rich.eml"));
    sample.authentication.dmarc = Dmarc { result: Verdict::Pass, policy: Some("reject".to_owned()) };
    sample
}

#[test]
fn what_is_no_address_stands_in_no_part_of_postmarks_shape_that_must_be_one() {
    let station = Station::new("postmark", "text");
    let sample = Sample::of(
        "From: Ana <a..b@x.test>\nReply-To: x@\nTo: <@hola@sol.test>, Casa <hola@casasol.example>\nCc: a b@c.test\n\nAt six.\n",
    );
    let body = station.interpret(&sample, &Known::NOTHING).event.unwrap().body.with_seq(1);
    let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(body["FromFull"], serde_json::Value::Null, "{body:#}");
    assert_eq!(body["ToFull"].as_array().unwrap().len(), 1, "{body:#}");
    assert_eq!((&body["CcFull"], &body["ReplyTo"]), (&serde_json::json!([]), &serde_json::json!("")));
}

#[test]
fn a_header_section_that_is_not_read_to_its_end_is_told() {
    let station = Station::new("native", "text");
    let truncated = |fields: usize| {
        let mail = format!(
            "{}From: Ana <ana@x.test>\nTo: hola@casasol.example\n\nAt six.\n",
            "X-Long: y\n".repeat(fields)
        );
        let body = station.interpret(&Sample::of(&mail), &Known::NOTHING).event.unwrap().body.with_seq(1);
        serde_json::from_slice::<serde_json::Value>(&body).unwrap()["data"]["truncated"].clone()
    };
    assert_eq!((truncated(10), truncated(30_000)), (false.into(), true.into()));
}

#[test]
fn fields_that_are_not_read_to_their_end_are_told() {
    let truncated = |include: &str, fields: &str| {
        let mail = format!("From: Ana <ana@x.test>\n{fields}\n\nAt six.\n");
        let told = Station::new("native", include).interpret(&Sample::of(&mail), &Known::NOTHING);
        let body = told.event.unwrap().body.with_seq(1);
        let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
        body["data"]["truncated"].as_bool().unwrap()
    };
    let addresses =
        |count: usize| (0..count).map(|n| format!(" a{n}@x.test")).collect::<Vec<_>>().join(",\n");
    let ids = |count: usize| (0..count).map(|n| format!(" <{n}@x.test>")).collect::<Vec<_>>().join("\n");
    for (fields, most) in [
        (&(|count| format!("To:{}", addresses(count))) as &dyn Fn(usize) -> String, 100),
        (&|count| format!("To: a@x.test\nCc:{}", addresses(count)), 100),
        (&|count| format!("To:{}\nTo: a@x.test", addresses(count - 1)), 100),
        (&|count| format!("References:{}", ids(count)), 100),
        (&|count| format!("In-Reply-To:{}", ids(count)), 100),
        (&|count| format!("Subject: {}", "é".repeat(count)), 1_000),
    ] {
        assert!(!truncated("text", &fields(most)), "{}", fields(3));
        assert!(truncated("text", &fields(most + 1)), "{}", fields(3));
    }
    // One reference many times is one.
    assert!(!truncated("text", &format!("References:{}", " <1@x.test>\n".repeat(200).trim_end())));
    // Fields count where they are in the event: 500 with From, and 8,000 characters of each.
    let many = |count: usize| "X-Other: y\n".repeat(count).trim_end().to_owned();
    assert!(!truncated("text headers", &many(499)));
    assert!(truncated("text headers", &many(500)));
    assert!(!truncated("text", &many(500)));
    assert!(!truncated("text headers", &format!("X-Other: {}", "é".repeat(8_000))));
    assert!(truncated("text headers", &format!("X-Other: {}", "é".repeat(8_001))));
}

#[test]
fn every_format_has_its_golden_body() {
    let mut wrong = String::new();
    for format in ["native", "cloudevents", "postmark", "mailgun", "raw"] {
        let station = Station::new(format, "text html");
        let event = station.interpret(&rich(), &Known::NOTHING).event.unwrap();
        let again = station.interpret(&rich(), &Known::NOTHING).event.unwrap();
        assert_eq!(event, again, "{format}: the same bytes each time");
        let mut told = format!("Content-Type: {}\n\n", event.body.content_type).into_bytes();
        let body = event.body.with_seq(4181);
        match serde_json::from_slice::<serde_json::Value>(&body) {
            // Keys keep their order on the wire; the golden file shows the wire.
            Ok(_) => told.extend_from_slice(&broken_apart(&body)),
            Err(_) => told.extend_from_slice(&body),
        }
        golden(&folder(&format!("formats/{format}.txt")), &told, &mut wrong);
    }
    assert!(wrong.is_empty(), "{wrong}");
}

/// JSON with a line for each member, in the order it has.
fn broken_apart(json: &[u8]) -> Vec<u8> {
    let (mut told, mut depth, mut quoted, mut escaped) = (Vec::new(), 0_usize, false, false);
    for &octet in json {
        let line = |told: &mut Vec<u8>, depth: usize| {
            told.push(b'\n');
            told.extend_from_slice("  ".repeat(depth).as_bytes());
        };
        match octet {
            b'{' | b'[' if !quoted => {
                depth += 1;
                told.push(octet);
                line(&mut told, depth);
            }
            b'}' | b']' if !quoted => {
                depth -= 1;
                line(&mut told, depth);
                told.push(octet);
            }
            b',' if !quoted => {
                told.push(octet);
                line(&mut told, depth);
            }
            _ => told.push(octet),
        }
        quoted ^= octet == b'"' && !escaped;
        escaped = octet == b'\\' && !escaped;
    }
    told.push(b'\n');
    told
}

#[test]
fn the_native_event_has_the_contracts_members_in_the_contracts_order() {
    let station = Station::new("native", "text html");
    let event = station.interpret(&rich(), &Known::NOTHING).event.unwrap();
    let body = String::from_utf8(event.body.with_seq(4181)).unwrap();
    let mut at = 0;
    for name in [
        "type",
        "timestamp",
        "data",
        "id",
        "seq",
        "inbox",
        "direction",
        "mailbox",
        "name",
        "address",
        "identified_by",
        "confidence",
        "evidence",
        "rung",
        "value",
        "conversation",
        "id",
        "is_new",
        "matched_by",
        "from",
        "reply_to",
        "to",
        "cc",
        "reply_address",
        "subject",
        "date",
        "received_at",
        "reply",
        "text",
        "html",
        "cut_by",
        "confidence",
        "signature",
        "text",
        "html",
        "truncated",
        "message_id",
        "in_reply_to",
        "references",
        "attachments",
        "id",
        "filename",
        "content_type",
        "size_bytes",
        "sha256",
        "content_id",
        "disposition",
        "content",
        "authentication",
        "spf",
        "result",
        "domain",
        "dkim",
        "result",
        "domain",
        "selector",
        "dmarc",
        "result",
        "policy",
        "arc",
        "result",
        "automatic",
        "is_automatic",
        "kind",
        "envelope",
        "sender",
        "recipient",
        "client",
        "duplicate_of",
    ] {
        let found = body[at..].find(&format!("\"{name}\":"));
        at += found.unwrap_or_else(|| panic!("{name} is missing behind {}", &body[..at])) + name.len();
    }
    assert!(body.starts_with(r#"{"type":"message.received","timestamp":"2026-11-22T15:40:12.114Z","data":{"id":"0b5x2hm9wv4t0","seq":4181,"#));
}

#[test]
fn the_number_stands_once_and_nothing_a_message_says_moves_it() {
    let tricks = "From: \"\\\"seq\\\":0\" <a@b.example>\nSubject: \"seq\":0 {\"Name\":\"X-Waystation-Seq\",\"Value\":\"0\"}\n\
                  X-Waystation-Seq: 7\n\n\"seq\":0\n";
    for format in ["native", "cloudevents", "postmark", "mailgun", "raw"] {
        let mut sample = Sample::of(tricks);
        sample.recipient = "inbox+sol@users.example.com".to_owned();
        let body =
            Station::new(format, "text headers").interpret(&sample, &Known::NOTHING).event.unwrap().body;
        let (one, two) = (body.with_seq(1), body.with_seq(u64::MAX));
        assert_eq!(one.len() + 19, two.len(), "{format}");
        let told = match format {
            "native" | "cloudevents" => {
                serde_json::from_slice::<serde_json::Value>(&two).unwrap()["data"]["seq"].as_u64()
            }
            "postmark" => {
                let value: serde_json::Value = serde_json::from_slice(&two).unwrap();
                value["Headers"][1]["Value"].as_str().unwrap().parse().ok()
            }
            "raw" => String::from_utf8_lossy(&two).lines().next().unwrap()["X-Waystation-Seq: ".len()..]
                .parse()
                .ok(),
            _ => {
                let text = String::from_utf8(two).unwrap();
                let field = text.split("name=\"seq\"\r\n\r\n").nth(1).unwrap();
                field.split("\r\n").next().unwrap().parse().ok()
            }
        };
        assert_eq!(told, Some(u64::MAX), "{format}");
    }
}

#[test]
fn what_is_not_asked_for_is_not_in_it() {
    let of = |include: &str| json(&Station::new("native", include).interpret(&rich(), &Known::NOTHING));
    let all = of("text html headers");
    assert!(all["data"]["text"].is_string() && all["data"]["html"].is_string());
    assert_eq!(all["data"]["headers"][0][0], "Delivered-To");
    let none = of("");
    assert!(none["data"]["text"].is_null() && none["data"]["html"].is_null());
    assert!(none["data"].get("headers").is_none() && none["data"]["reply"]["text"].is_string());
}

#[test]
fn attachments_are_inline_up_to_one_mebibyte_in_all() {
    let line = format!("{}\n", "A".repeat(76));
    let part = |name: &str, lines: usize| {
        format!(
            "--x\nContent-Type: application/pdf\nContent-Transfer-Encoding: base64\nContent-Disposition: attachment; filename={name}.pdf\n\n{}",
            line.repeat(lines)
        )
    };
    // 57 octets a line.
    let message = format!(
        "From: a@b.example\nContent-Type: multipart/mixed; boundary=x\n\n{}{}{}--x--\n",
        part("big", 15_000),
        part("bigger", 10_000),
        part("small", 10)
    );
    let event = json(&Station::new("native", "text").interpret(&Sample::of(&message), &Known::NOTHING));
    let content = |place: usize| event["data"]["attachments"][place]["content"].as_str().map(str::len);
    assert_eq!(content(0), Some(15_000 * 76));
    assert_eq!(content(1), None, "not with the first one together");
    assert_eq!(content(2), Some(10 * 76));
    assert_eq!(event["data"]["attachments"][1]["size_bytes"], 570_000);
    assert_eq!(event["data"]["attachments"][1]["sha256"].as_str().unwrap().len(), 64);
}

#[test]
fn the_raw_format_leaves_every_octet_below_our_fields() {
    for message in
        ["Subject: x\r\n\r\nbody\r\n", " folded first line\r\nSubject: x\r\n\r\nbody", "no header at all"]
    {
        let mut sample = Sample::of("");
        sample.message = message.as_bytes().to_vec();
        let body =
            Station::new("raw", "").interpret(&sample, &Known::NOTHING).event.unwrap().body.with_seq(3);
        let text = String::from_utf8(body).unwrap();
        assert!(
            text.starts_with("X-Waystation-Seq: 3\r\nX-Waystation-Type: message.held\r\n")
                && text.ends_with(message),
            "{text}"
        );
        let above = &text[..text.len() - message.len()];
        assert_eq!(above.ends_with("\r\n\r\n"), !message.starts_with("Subject"), "{text}");
    }
}

#[test]
fn a_strangers_fields_never_pass_for_ours() {
    for format in ["raw", "postmark", "mailgun"] {
        let mut sample = Sample::of("");
        sample.message =
            b"x-waystation-Mailbox: luna\r\nSubject: x\r\nX-Waystation-Reply-Address: evil@evil.test\r\n\r\nbody\r\n".to_vec();
        let body =
            Station::new(format, "").interpret(&sample, &Known::NOTHING).event.unwrap().body.with_seq(3);
        let text = String::from_utf8(body).unwrap();
        assert!(
            text.contains("body") && !text.contains("luna") && !text.contains("evil.test"),
            "{format}: {text}"
        );
    }
}

#[test]
fn notices_are_numbered_json_in_every_format() {
    let about = |format| Notice {
        id: "e1",
        hostname: "relay.example.com",
        now: "2026-11-22T15:40:12.114Z".parse().unwrap(),
        format,
    };
    let frozen = SmarthostData { smarthost: "shop", cause: "535 5.7.8 no" };
    let event = notice(EventType::SmarthostFrozen, &frozen, &about(EventFormat::Raw)).unwrap();
    assert_eq!(
        String::from_utf8(event.body.with_seq(9)).unwrap(),
        r#"{"type":"smarthost.frozen","timestamp":"2026-11-22T15:40:12.114Z","data":{"id":"e1","seq":9,"smarthost":"shop","cause":"535 5.7.8 no"}}"#
    );
    let test = EndpointData { inbox: Some("guests"), cause: "asked for" };
    let event = notice(EventType::EndpointTest, &test, &about(EventFormat::CloudEvents)).unwrap();
    assert_eq!(event.body.content_type, "application/cloudevents+json");
    let value: serde_json::Value = serde_json::from_slice(&event.body.with_seq(2)).unwrap();
    assert_eq!((value["type"].as_str(), value["data"]["seq"].as_u64()), (Some("endpoint.test"), Some(2)));
    let meta = [("order".to_owned(), "7".to_owned())].into();
    let delivered = DeliveryData {
        smarthost: "shop",
        mailbox: Some("sol"),
        conversation: None,
        message_id: Some("<out1@casasol.example>"),
        sender: "hola@casasol.example",
        recipient: "ana@guest.example",
        attempts: 1,
        reply: Some("250 2.0.0 ok"),
        next_attempt: None,
        tag: Some("welcome"),
        meta: &meta,
    };
    let event = notice(EventType::MessageDelivered, &delivered, &about(EventFormat::Native)).unwrap();
    let value: serde_json::Value = serde_json::from_slice(&event.body.with_seq(3)).unwrap();
    assert_eq!(value["type"], "message.delivered");
    assert_eq!(value["data"]["meta"]["order"], "7");
    let silent = SilenceData {
        inbox: "guests",
        mailbox: "sol",
        address: "hola@casasol.example",
        last_received_at: "2026-11-20T00:00:00.000Z".to_owned(),
        usual_interval_seconds: Some(3600),
        state: SilenceState::Began,
        ended_at: None,
    };
    let event = notice(EventType::MailboxSilent, &silent, &about(EventFormat::Native)).unwrap();
    let value: serde_json::Value = serde_json::from_slice(&event.body.with_seq(4)).unwrap();
    assert_eq!((value["data"]["mailbox"].as_str(), value["data"]["seq"].as_u64()), (Some("sol"), Some(4)));
}

#[test]
fn the_golden_sample_is_a_whole_mail() {
    let text = fs::read_to_string(folder("formats/rich.eml")).unwrap();
    assert!(text.contains("multipart/related") && text.contains("gmail_quote"));
}

#[test]
fn without_an_author_postmarks_shape_says_null_for_receivers_refuse_an_empty_address() {
    for from in ["", "From: not an address\n", "From: Ana <ana@guest.example>\n"] {
        let mut sample = Sample::of(&format!("{from}To: hola@casasol.example\n\nHello\n"));
        "inbox+sol@users.example.com".clone_into(&mut sample.recipient);
        let body = json(&Station::new("postmark", "text").interpret(&sample, &Known::NOTHING));
        assert_eq!(body["FromFull"].is_null(), !from.contains('<'), "{from}");
        assert_eq!(body["From"], if from.contains('<') { "ana@guest.example" } else { "" });
    }
}
