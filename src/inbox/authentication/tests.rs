//! Checked without DNS: the records are known beforehand, and what isn't among them doesn't exist.

use super::*;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hickory_resolver::config::NameServerConfig;
use mail_auth::AuthenticationResults;
use mail_auth::arc::ArcSealer;
use mail_auth::common::crypto::Ed25519Key;
use mail_auth::common::headers::HeaderWriter as _;
use mail_auth::common::parse::TxtRecordParser;
use mail_auth::common::verify::DomainKey;
use mail_auth::dkim::DkimSigner;
use mail_auth::dmarc::Dmarc as DmarcRecord;
use mail_auth::spf::Spf as SpfRecord;

fn key() -> (Ed25519Key, String) {
    let der = Ed25519Key::generate_pkcs8().unwrap();
    let key = Ed25519Key::from_pkcs8_der(&der).unwrap();
    let record = format!("v=DKIM1; k=ed25519; p={}", STANDARD.encode(key.public_key()));
    (key, record)
}

fn parsed<T: TxtRecordParser + Into<Txt>>(record: &str) -> Txt {
    T::parse(record.as_bytes()).unwrap().into()
}

/// With these TXT records and no others.
fn knowing(records: &[(&str, &str)]) -> Authenticator {
    let read = |record: &str| match record.split([' ', ';']).next().unwrap() {
        "v=spf1" => parsed::<SpfRecord>(record),
        "v=DMARC1" => parsed::<DmarcRecord>(record),
        _ => parsed::<DomainKey>(record),
    };
    let known =
        records.iter().map(|(name, record)| (format!("{name}.").into_boxed_str(), read(record))).collect();
    let records = std::sync::Arc::new(Records { known, complete: true });
    Authenticator { records, ..Authenticator::offline().unwrap() }
}

fn hop(sender: Option<&str>) -> Hop<'_> {
    Hop { client: "192.0.2.1".parse().ok(), helo: "mx.guest.example", sender, hostname: "relay.example.com" }
}

const MESSAGE: &str = "From: Ana <ana@guest.example>\r\nSubject: Hi\r\n\r\nHello\r\n";

/// Signs as RFC 6376 §3.4.4 has it: what a relaxed signer is fed ends before lines of white space.
fn signed(message: &str, canonicalization: Canonicalization, key: Ed25519Key) -> String {
    let relaxed = canonicalization == Canonicalization::Relaxed;
    let body = message.find("\r\n\r\n").unwrap() + 4;
    let end = if relaxed { without_blank_end(message.as_bytes(), body) } else { message.len() };
    let signature = DkimSigner::from_key(key)
        .domain("guest.example")
        .selector("s1")
        .headers(["From", "Subject"])
        .body_canonicalization(canonicalization)
        .sign(&message.as_bytes()[..end])
        .unwrap();
    format!("{}{message}", signature.to_header())
}

async fn checked(
    checker: &Authenticator,
    message: &[u8],
    hop: &Hop<'_>,
    patience: Patience,
) -> Authentication {
    let place = checker.place().await.unwrap();
    checker.check(place, message, hop, patience).await
}

#[tokio::test]
async fn a_message_that_came_straight_from_its_author_passes_everything() {
    let (key, record) = key();
    let checker = knowing(&[
        ("guest.example", "v=spf1 ip4:192.0.2.0/24 -all"),
        ("s1._domainkey.guest.example", &record),
        ("_dmarc.guest.example", "v=DMARC1; p=reject"),
    ]);
    let message = signed(MESSAGE, Canonicalization::Relaxed, key);
    let found =
        checked(&checker, message.as_bytes(), &hop(Some("ana@guest.example")), Patience::Short(LIMIT)).await;
    let passed = |domain: &str| Some(domain.to_owned());
    assert_eq!(
        found,
        Authentication {
            google: Verdict::None,
            spf: Spf { result: Verdict::Pass, domain: passed("guest.example") },
            dkim: vec![Dkim {
                result: Verdict::Pass,
                domain: passed("guest.example"),
                selector: Some("s1".to_owned())
            }],
            dmarc: Dmarc { result: Verdict::Pass, policy: Some("reject".to_owned()) },
            arc: Arc { result: Verdict::None, sealer: None },
        }
    );
    assert!(found.is_signed_by("GUEST.example") && !found.is_signed_by("example"));
    let changed = message.replace("Hello", "Hullo");
    let found =
        checked(&checker, changed.as_bytes(), &hop(Some("ana@evil.example")), Patience::Short(LIMIT)).await;
    assert_eq!(
        (found.dkim[0].result, found.spf.result, found.dmarc.result),
        (Verdict::Fail, Verdict::None, Verdict::Fail)
    );
    assert!(!found.is_signed_by("guest.example"));
}

#[tokio::test]
async fn spf_says_what_the_envelopes_domain_says() {
    let checker = knowing(&[
        ("soft.example", "v=spf1 ~all"),
        ("hard.example", "v=spf1 -all"),
        ("neutral.example", "v=spf1 ?all"),
        ("mx.guest.example", "v=spf1 ip4:192.0.2.1 -all"),
    ]);
    for (sender, result) in [
        (Some("a@soft.example"), Verdict::Softfail),
        (Some("a@hard.example"), Verdict::Fail),
        (Some("a@neutral.example"), Verdict::Neutral),
        (Some("a@none.example"), Verdict::None),
        (None, Verdict::Pass),
    ] {
        let found = checked(&checker, MESSAGE.as_bytes(), &hop(sender), Patience::Short(LIMIT)).await;
        assert_eq!(found.spf.result, result, "{sender:?}");
    }
}

#[test]
fn a_policy_is_told_from_other_records_by_its_whole_version() {
    for (record, is_it) in [
        ("v=spf1 -all", true),
        ("V=SPF1", true),
        ("v=spf1", true),
        ("v=spf10 -all", false),
        ("v=spf2.0/pra -all", false),
        (" v=spf1 -all", false),
        ("v=spf", false),
        ("", false),
    ] {
        assert_eq!(is_policy(record.as_bytes()), is_it, "{record}");
    }
}

#[tokio::test]
async fn relaxed_signatures_hold_on_bodies_that_end_in_white_space() {
    for end in ["-- \r\n  \r\n\t\r\n", " \r\n", "x\r\n \r\n\r\n \t \r\n", "x\r\n", "x\r\n\r\n\r\n", ""] {
        for canonicalization in [Canonicalization::Relaxed, Canonicalization::Simple] {
            let (key, record) = key();
            let checker = knowing(&[("s1._domainkey.guest.example", &record)]);
            let message =
                signed(&format!("From: a@guest.example\r\nSubject: x\r\n\r\n{end}"), canonicalization, key);
            let found = checked(&checker, message.as_bytes(), &hop(None), Patience::Short(LIMIT)).await;
            assert_eq!(found.dkim[0].result, Verdict::Pass, "{canonicalization:?} {end:?}");
        }
    }
}

#[tokio::test]
async fn the_last_seal_of_a_chain_is_named() {
    let (key, record) = key();
    let checker = knowing(&[("s1._domainkey.google.com", &record)]);
    let message = format!("{MESSAGE} \r\n");
    let before = checker
        .checker
        .verify_arc(
            Parameters::new(&AuthenticatedMessage::parse(message.as_bytes()).unwrap())
                .with_txt_cache(&*checker.records),
        )
        .await
        .result()
        .clone();
    assert_eq!(before, DkimResult::None);
    let parsed = AuthenticatedMessage::parse(MESSAGE.as_bytes()).unwrap();
    let results = AuthenticationResults::new("mx.google.com");
    let none = checker.checker.verify_arc(Parameters::new(&parsed).with_txt_cache(&*checker.records)).await;
    let set = ArcSealer::from_key(key)
        .domain("google.com")
        .selector("s1")
        .headers(["From", "Subject"])
        .seal(&parsed, &results, &none)
        .unwrap();
    let sealed = format!("{}{MESSAGE} \r\n", set.to_header());
    let found = checked(&checker, sealed.as_bytes(), &hop(None), Patience::Short(LIMIT)).await;
    assert_eq!(found.arc, Arc { result: Verdict::Pass, sealer: Some("google.com".to_owned()) });
    let changed = sealed.replace("Hello", "Hullo");
    assert_eq!(
        checked(&checker, changed.as_bytes(), &hop(None), Patience::Short(LIMIT)).await.arc.result,
        Verdict::Fail
    );
    let json = serde_json::to_string(&found.arc).unwrap();
    assert_eq!(json, r#"{"result":"pass"}"#, "the contract's members");
}

#[tokio::test]
async fn signatures_without_end_cost_ten_look_ups() {
    let (key, record) = key();
    let checker = knowing(&[("s1._domainkey.guest.example", &record)]);
    let one = signed(MESSAGE, Canonicalization::Relaxed, key);
    let field = one.strip_suffix(MESSAGE).unwrap();
    let many = format!("{}{MESSAGE}", field.repeat(1000));
    let found = checked(&checker, many.as_bytes(), &hop(None), Patience::Short(LIMIT)).await;
    assert_eq!(found.dkim.len(), MAX_SIGNATURES);
    let broken = format!("{}{MESSAGE}", "DKIM-Signature: v=9\r\n".repeat(1000));
    let found = checked(&checker, broken.as_bytes(), &hop(None), Patience::Short(LIMIT)).await;
    assert_eq!(found.dkim.len(), MAX_SIGNATURES);
    assert!(found.dkim.iter().all(|dkim| dkim.result == Verdict::Permerror && dkim.domain.is_none()));
}

#[tokio::test]
async fn without_dns_nothing_is_known_and_nothing_fails() {
    let checker = Authenticator::offline().unwrap();
    let (key, _) = key();
    let message = signed(MESSAGE, Canonicalization::Relaxed, key);
    let found =
        checked(&checker, message.as_bytes(), &hop(Some("ana@guest.example")), Patience::Short(LIMIT)).await;
    assert_eq!(found.spf.result, Verdict::Temperror);
    assert_eq!(found.dkim[0].result, Verdict::Temperror);
    for odd in [&b""[..], b"\r\n", b"no header", b"From\r\n\r\n", b"\0\xff: \xff\r\n\r\n"] {
        let found = checked(&checker, odd, &hop(None), Patience::Short(LIMIT)).await;
        assert_eq!(found.dkim, []);
    }
}

#[tokio::test]
async fn a_host_of_googles_is_known_where_the_forwarding_accounts_domain_says_nothing_of_it() {
    let checker = knowing(&[
        ("gmail.com", "v=spf1 redirect=_spf.google.com"),
        ("_spf.google.com", "v=spf1 ip4:192.0.2.0/24 ~all"),
        ("other.example", "v=spf1 ip4:198.51.100.1 -all"),
    ]);
    let forwarded = |domain: &str| format!("hola+caf_=inbox=users.example.com@{domain}");
    for (sender, client, spf, google) in [
        (forwarded("casasol.example"), "192.0.2.1", Verdict::None, Verdict::Pass),
        (forwarded("other.example"), "192.0.2.1", Verdict::Fail, Verdict::None),
        (forwarded("casasol.example"), "198.51.100.1", Verdict::None, Verdict::Softfail),
        (forwarded("gmail.com"), "192.0.2.1", Verdict::Pass, Verdict::None),
        // Of other mail it isn't asked.
        ("hola@casasol.example".to_owned(), "192.0.2.1", Verdict::None, Verdict::None),
    ] {
        let hop = Hop { client: client.parse().ok(), ..hop(Some(&sender)) };
        let found = checked(&checker, MESSAGE.as_bytes(), &hop, Patience::Short(LIMIT)).await;
        assert_eq!((found.spf.result, found.google), (spf, google), "{sender} from {client}");
    }
}

#[tokio::test]
async fn a_signature_that_costs_much_to_check_is_none() {
    const EMPTY: &str = "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=";
    let (_, record) = key();
    let checker = knowing(&[("s1._domainkey.guest.example", &record)]);
    // Names that it covers, fields that there are, whether it is looked at.
    for (names, fields, is_checked) in [
        (1, 1, true),
        (40, 4_000, true),
        (MAX_NAMES, 100, true),
        (MAX_NAMES + 1, 1, false),
        (MAX_NAMES, 4_000, false),
        (2, 60_000, true),
        (20, 60_000, false),
        (2, 70_000, false),
    ] {
        let covered = (1..names).fold("from".to_owned(), |all, number| format!("{all}:x{number}"));
        let signature = format!(
            "DKIM-Signature: v=1; a=ed25519-sha256; c=relaxed/relaxed; d=guest.example; s=s1; h={covered}; \
             bh={EMPTY}; b=AAAA\r\n"
        );
        let others = "y:\r\n".repeat(fields);
        let message = format!("{signature}{others}From: ana@guest.example\r\n\r\n");
        let found = checked(&checker, message.as_bytes(), &hop(None), Patience::Short(LIMIT)).await;
        let results: Vec<Verdict> = found.dkim.iter().map(|dkim| dkim.result).collect();
        let expected: &[Verdict] = if is_checked { &[Verdict::Fail] } else { &[] };
        assert_eq!(results, expected, "{names} names, {fields} fields");
    }
}

#[tokio::test]
async fn a_step_that_takes_a_thread_stops_nobody_else() {
    let (end, ended) = std::sync::mpsc::channel::<()>();
    let (told, ends) = tokio::sync::oneshot::channel();
    // On the only worker it would wait for itself.
    let busy = async move {
        let result = ended.recv().is_err();
        let _ = told.send(result);
    };
    assert!(timeout(Duration::from_millis(1), beside(Box::pin(busy))).await.is_err());
    drop(end);
    assert_eq!(ends.await, Ok(true), "it goes on until it ends");
    let here = std::thread::current().id();
    assert_eq!(aside(SMALL, async { std::thread::current().id() }).await, Some(here));
    let there = aside(SMALL + 1, async { std::thread::current().id() }).await;
    assert!(there.is_some_and(|there| there != here));
}

#[tokio::test]
async fn whoever_waits_for_dns_takes_no_place_of_a_large_message() {
    let answers = std::sync::Arc::new(Semaphore::new(0));
    let waiting: Vec<_> = (0..2 * LARGE_ONES)
        .map(|number| {
            let answers = std::sync::Arc::clone(&answers);
            let work = async move {
                let _ = answers.acquire().await;
                number
            };
            tokio::spawn(aside(SMALL + 1, work))
        })
        .collect();
    assert_eq!(aside(SMALL + 1, std::future::ready("done")).await, Some("done"));
    answers.add_permits(1);
    for (number, waiting) in waiting.into_iter().enumerate() {
        assert_eq!(waiting.await.unwrap(), Some(number));
    }
}

#[tokio::test]
async fn dns_is_there_where_it_says_anything_of_a_name_but_that_it_failed() {
    // Each response code (RFC 1035 §4.1.1) with the question sent back.
    for (code, is_answered) in [(0, true), (3, true), (2, false), (5, false)] {
        let socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let mut server = NameServerConfig::udp([127, 0, 0, 1].into());
        server.connections[0].port = socket.local_addr().unwrap().port();
        tokio::spawn(async move {
            let mut query = [0; 1024];
            while let Ok((length, peer)) = socket.recv_from(&mut query).await {
                let end = 12 + query[12..length].iter().position(|octet| *octet == 0).unwrap() + 5;
                let head = [&query[..2], &[0x81, 0x80 | code, 0, 1, 0, 0, 0, 0, 0, 0]].concat();
                let _ = socket.send_to(&[&head, &query[12..end]].concat(), peer).await;
            }
        });
        let config = ResolverConfig::from_name_servers(vec![server]);
        let resolver = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
        let checker = Authenticator::with(MessageAuthenticator(resolver.build().unwrap()));
        assert_eq!(checker.is_answered("x.users.example.com").await, is_answered, "{code}");
        if !is_answered {
            let found = checked(
                &checker,
                MESSAGE.as_bytes(),
                &hop(Some("ana@guest.example")),
                Patience::Short(LIMIT),
            )
            .await;
            assert_eq!(found.dmarc, Dmarc { result: Verdict::Temperror, policy: None }, "{code}");
        }
    }
    assert!(!Authenticator::offline().unwrap().is_answered("x.users.example.com").await);
}

/// With these TXT records; a name server takes what is asked for beyond them and says nothing.
async fn knowing_no_more(records: &[(&str, &str)]) -> (Authenticator, tokio::net::UdpSocket) {
    let socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let mut server = NameServerConfig::udp([127, 0, 0, 1].into());
    server.connections[0].port = socket.local_addr().unwrap().port();
    let config = ResolverConfig::from_name_servers(vec![server]);
    let resolver = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
    let known = knowing(records).records.known.clone();
    let records = std::sync::Arc::new(Records { known, complete: false });
    (
        Authenticator { records, ..Authenticator::with(MessageAuthenticator(resolver.build().unwrap())) },
        socket,
    )
}

#[tokio::test(start_paused = true)]
async fn the_next_mail_of_a_domain_without_an_answer_is_hardly_waited_for() {
    let (checker, _socket) = knowing_no_more(&[]).await;
    let limit = Duration::from_secs(2);
    let took = async |domain: &str, patience| {
        let (sender, begun) = (format!("ana@{domain}"), Instant::now());
        let message = MESSAGE.replace("ana@guest.example", &sender);
        let found = checked(&checker, message.as_bytes(), &hop(Some(&sender)), patience).await;
        assert_eq!((found.spf.result, found.dmarc.result), (Verdict::Temperror, Verdict::Temperror));
        begun.elapsed().as_millis() / 100
    };
    assert_eq!(took("x1.dead.example", Patience::Short(limit)).await, 25);
    assert_eq!(took("x1.dead.example", Patience::Short(limit)).await, 6);
    assert_eq!(took("x1.dead.example", Patience::Full(limit)).await, 25);
    // Names made up in it count together soon.
    for number in 2..5 {
        let _ = took(&format!("x{number}.dead.example"), Patience::Short(limit)).await;
    }
    assert_eq!(took("x5.dead.example", Patience::Short(limit)).await, 6);
    assert_eq!(took("x1.other.example", Patience::Short(limit)).await, 25);
}

#[tokio::test(start_paused = true)]
async fn a_domain_without_an_answer_hides_nothing_of_the_authors() {
    let (key, record) = key();
    let message = signed(MESSAGE, Canonicalization::Relaxed, key);
    let records = [
        ("s1._domainkey.guest.example", record.as_str()),
        // Which asks for no record of its parent's.
        ("_dmarc.guest.example", "v=DMARC1; p=reject; psd=n"),
    ];
    let (checker, _socket) = knowing_no_more(&records).await;
    let dead = |message: &str| message.replace("d=guest.example", "d=dead.example");
    let reject = Some("reject".to_owned());
    let cases = [
        // The envelope's domain: no alignment could come of it.
        (message.clone(), Some("ana@dead.example"), Verdict::Temperror, Verdict::Pass),
        (MESSAGE.to_owned(), Some("ana@dead.example"), Verdict::Temperror, Verdict::Fail),
        // A signer's.
        (dead(&message), None, Verdict::None, Verdict::Fail),
        // Both together.
        (dead(&message), Some("ana@dead.example"), Verdict::Temperror, Verdict::Fail),
    ];
    for (message, sender, spf, dmarc) in cases {
        let limit = Patience::Short(Duration::from_secs(2));
        // Without an envelope, SPF asks for nothing.
        let hop = Hop { client: hop(None).client.filter(|_| sender.is_some()), ..hop(sender) };
        let found = checked(&checker, message.as_bytes(), &hop, limit).await;
        assert_eq!(
            (found.spf.result, found.dmarc.result, &found.dmarc.policy),
            (spf, dmarc, &reject),
            "{message}"
        );
    }
    // Where it could come, nobody knows.
    let unknown = MESSAGE.replace("guest.example", "bank.example");
    let records = [("_dmarc.bank.example", "v=DMARC1; p=reject; psd=n")];
    let (checker, _socket) = knowing_no_more(&records).await;
    let limit = Patience::Short(Duration::from_secs(2));
    let found = checked(&checker, unknown.as_bytes(), &hop(Some("ana@bank.example")), limit).await;
    assert_eq!((found.dmarc.result, &found.dmarc.policy), (Verdict::Temperror, &reject));
}
