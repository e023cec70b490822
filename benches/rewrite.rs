//! What rewriting costs a message, by what there is to do.
//!
//! `cargo bench --bench rewrite`. `WAYSTATION_BENCH_SECONDS` is the length of each measurement (default 1). The header
//! section is a usual one: sixteen fields, 1.6 KiB, signed.

#![allow(clippy::unwrap_used, clippy::cast_precision_loss, missing_docs, reason = "a benchmark")]

use std::hint::black_box;
use std::time::{Duration, Instant};
use waystation::message::fields::HeaderSection;
use waystation::message::rewrite::from::{Account, FromMode, Message, rewrite};
use waystation::message::rewrite::rules::{Rule, apply};
use waystation::smtp::address::Address;

fn content(from: &str) -> Vec<u8> {
    let mut content = String::from(
        "Received: from app.shop.example (app.shop.example [192.0.2.17])\r\n\tby relay.shop.example (waystation) with ESMTPSA id 1m82daf7z0000\r\n\
         \t(TLSv1.3 TLS13_AES_256_GCM_SHA384)\r\n\tfor <customer.name@mail.example.net>;\r\n\tSun, 22 Nov 2026 15:40:12 +0000\r\n\
         DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed; d=shop.example; s=2026;\r\n\th=from:to:subject:date:message-id:mime-version:content-type;\r\n",
    );
    content += &format!("\tbh={};\r\n\tb={}\r\n", "a".repeat(44), "b".repeat(340));
    content += &format!("From: {from}\r\n");
    content += "To: \"Customer, Name\" <customer.name@mail.example.net>\r\nSubject: =?utf-8?q?Twoje_zam=C3=B3wienie_4711_jest_w_drodze?=\r\n\
                Date: Sun, 22 Nov 2026 16:40:11 +0100\r\nMessage-ID: <20261122154011.4711@app.shop.example>\r\nMIME-Version: 1.0\r\n\
                Content-Type: multipart/alternative; boundary=\"=_4711\"\r\nList-Unsubscribe: <https://shop.example/u/4711>\r\n\
                List-Unsubscribe-Post: List-Unsubscribe=One-Click\r\nX-Mailer: shop 7.1\r\nX-Priority: 3\r\nPrecedence: bulk\r\n\
                Feedback-ID: 4711:order:shop\r\nX-Order: 4711\r\nAuto-Submitted: auto-generated\r\n\r\n";
    content += &"A line of the body as long as such lines are, give or take.\r\n".repeat(68);
    content.into_bytes()
}

/// Nanoseconds per call.
fn time(mut work: impl FnMut()) -> f64 {
    let seconds =
        std::env::var("WAYSTATION_BENCH_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(1.0);
    let limit = Duration::from_secs_f64(seconds);
    let (start, mut count) = (Instant::now(), 0_u64);
    while start.elapsed() < limit {
        for _ in 0..100 {
            work();
        }
        count += 100;
    }
    start.elapsed().as_nanos() as f64 / count as f64
}

fn main() {
    let address = Address::parse("shop@shop.example", true).unwrap();
    let sender = Address::parse("bounce+4711@app.shop.example", true).unwrap();
    let allowed = |address: &Address| address.domain().eq_ignore_ascii_case("shop.example");
    let message = Message { sender: Some(&sender), smtputf8: false };
    let account = |mode, limited| Account {
        smarthost: "shop",
        mode,
        address: Some(&address),
        display_name: None,
        allowed: if limited { Some(&allowed as &dyn Fn(&Address) -> bool) } else { None },
    };
    let own = content("Sklep <shop@shop.example>");
    let other = content("=?utf-8?q?Zo=C3=AB?= Lopez <zoe@guest.example>");
    println!(
        "{:>8} ns  the header section alone is read",
        time(|| {
            black_box(HeaderSection::of(black_box(&own)));
        })
        .round()
    );
    for (what, content, account) in [
        (
            "from = \"keep\", or no address: the header section isn't read",
            &own,
            account(FromMode::Keep, false),
        ),
        ("no allowed_from: only a missing From matters", &own, account(FromMode::IfNotAllowed, false)),
        ("From is allowed", &own, account(FromMode::IfNotAllowed, true)),
        ("From is rewritten, the original goes to Reply-To", &other, account(FromMode::IfNotAllowed, true)),
    ] {
        let taken = time(|| {
            let content = black_box(content.as_slice());
            let header =
                if account.reads_header() { HeaderSection::of(content) } else { HeaderSection::of(&[]) };
            let rewriting = rewrite(&header, message, &account);
            if !rewriting.edits.is_empty() {
                black_box(rewriting.edits.head(content));
            }
        });
        println!("{:>8} ns  {what}", taken.round());
    }
    let rule = Rule {
        remove: vec!["X-Order".into()],
        replace: vec![("X-Mailer".into(), "shop".into())],
        add: vec![("X-Relay".into(), "waystation".into())],
    };
    let taken = time(|| {
        black_box(apply(black_box(&own), [&rule]));
    });
    println!("{:>8} ns  a [[rewrite]] that removes, replaces and adds a field", taken.round());
}
