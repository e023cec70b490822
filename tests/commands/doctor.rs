//! `doctor` where the name server says what the test wants. That needs a name server on port 53 and another
//! `/etc/resolv.conf`: without the right to either, nothing is tested here (the words and the wire are, beside the
//! code).

use crate::home::{Home, NOWHERE, PROGRAM, clean, finish};
use crate::smarthost::Smarthost;
use std::net::{Ipv4Addr, UdpSocket};
use std::process::Command;

/// A stand-in name server on an address of its own, which answers A and AAAA with these codes; none without the right.
fn name_server(a: u8, aaaa: u8) -> Option<Ipv4Addr> {
    let [.., high, low] = std::process::id().to_be_bytes();
    let address = Ipv4Addr::new(127, 53, high, low.max(2));
    let socket = UdpSocket::bind((address, 53)).ok()?;
    std::thread::spawn(move || {
        let mut query = [0; 1024];
        while let Ok((length, peer)) = socket.recv_from(&mut query) {
            let end = 12 + query[12..length].iter().position(|octet| *octet == 0).unwrap() + 5;
            let code = if query[end - 3] == 1 { a } else { aaaa };
            let header = [query[0], query[1], 0x81, 0x80 | code, 0, 1, 0, 0, 0, 0, 0, 0];
            let _ = socket.send_to(&[&header, &query[12..end]].concat(), peer);
        }
    });
    Some(address)
}

#[test]
fn the_configurations_own_words_about_a_provider_go_before_what_is_known() {
    let smarthost = Smarthost::start();
    let own = "[[provider]]\nhost = \"127.0.0.1\"\nname = \"House Relay\"\nservers = [\"relay.house.test:465\", \"10.0.0.9:2525\"]\nper_day = 500\nper_minute = 5\n";
    let home = Home::new(&(smarthost.section("shop") + own));
    let told = home.cli(["doctor", "shop"]).good();
    assert!(
        told.contains("House Relay, known to allow: per_minute = 5, per_day = 500 ([[provider]])"),
        "{told}"
    );
    let json: serde_json::Value =
        serde_json::from_str(&home.cli(["doctor", "shop", "--json"]).good()).unwrap();
    assert_eq!(json["provider"], "House Relay");
    let servers = ["relay.house.test:465 (tls = \"implicit\")", "10.0.0.9:2525 (tls = \"starttls\")"];
    assert_eq!(json["servers"], serde_json::json!(servers));
    assert!(told.contains(&format!("its servers: {}", servers.join(", "))), "{told}");
    let not_asked = "MAIL and RCPT were not tried: the account's own address isn't known; write address =";
    assert!(told.split_whitespace().collect::<Vec<_>>().join(" ").contains(not_asked), "{told}");
    // The same host by its name alone, and in a domain that a row names.
    let port = smarthost.address.port().to_string();
    let told = home.cli(["doctor", "127.0.0.1", "--port", &port]).good();
    assert!(
        told.contains("House Relay, known to allow: per_minute = 5, per_day = 500 ([[provider]])"),
        "{told}"
    );
    assert!(told.contains("MAIL and RCPT were not tried: the login comes before them."), "{told}");
    // Where the host that is configured doesn't work, that is what to do.
    let nobody = crate::ports::closed_port();
    let shop = format!("[smarthost.shop]\nhost = \"127.0.0.1\"\nport = {nobody}\n");
    let home = Home::new(&(shop + own));
    let finished = home.cli(["doctor", "shop", "--port", &nobody.to_string()]);
    let told = &finished.out.split_whitespace().collect::<Vec<_>>().join(" ");
    assert_eq!(finished.code, 69, "{told}");
    assert!(told.contains("House Relay takes mail at relay.house.test:465"), "{told}");
    assert!(told.contains("try `waystation doctor` with the name of that host"), "{told}");
}

#[test]
fn why_each_kind_of_address_is_missing_is_told_as_the_name_server_says_it() {
    let may_mount =
        Command::new("unshare").args(["--mount", "true"]).status().is_ok_and(|ended| ended.success());
    let Some(server) = name_server(2, 0).filter(|_| may_mount) else {
        return println!("skipped: no right to port 53 or to a mount namespace");
    };
    let home = Home::new(NOWHERE);
    home.write("resolv.conf", &format!("nameserver {server}\noptions timeout:30 attempts:1\n"));
    home.mode("resolv.conf", 0o644);
    let mut command = Command::new("unshare");
    clean(&mut command);
    command.args([
        "--mount",
        "sh",
        "-c",
        "mount --bind \"$1\" /etc/resolv.conf && shift && exec \"$@\"",
        "sh",
    ]);
    command.arg(home.path("resolv.conf")).arg(PROGRAM).arg("--config").arg(home.path("waystation.toml"));
    command.args(["doctor", "smtp.shop.test", "--port", "9", "--timeout", "60s"]);
    let told = finish(command, "");
    assert_eq!(told.code, 69, "{told:?}");
    let words = told.out.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(words.contains("IPv4 (A): the name server could not find out (SERVFAIL)."), "{told:?}");
    assert!(words.contains("IPv6 (AAAA): the name exists, without such an address."), "{told:?}");
}

#[test]
fn a_step_limit_is_a_duration_and_a_number_is_seconds() {
    let home = Home::new(NOWHERE);
    for (limit, part) in [("0s", "write 1s to 10m"), ("11m", "write 1s to 10m"), ("2x", "not a unit of time")]
    {
        let told = home.cli(["doctor", "127.0.0.1", "--timeout", limit]).failed(64);
        assert!(told.contains(part), "{limit}: {told}");
    }
    for limit in ["2s", "2"] {
        let told = home.cli(["doctor", "127.0.0.1", "--port", "9", "--timeout", limit]);
        assert_eq!(told.code, 69, "{told:?}");
    }
}

#[test]
fn a_test_letter_that_only_smtputf8_could_carry_is_refused_for_good() {
    let smarthost = Smarthost::start();
    let home = Home::new(&format!("{}address = \"shop@shop.test\"\n", smarthost.section("shop")));
    let told = home.cli(["test", "shop", "zo\u{eb}@guest.test"]).failed(65);
    assert!(told.contains("refused: 550 5.6.7") && !told.contains("not now"), "{told}");
}
