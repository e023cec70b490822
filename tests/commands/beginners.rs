//! The errors that everybody meets first: each says what happened, where, and what to do.

use crate::home::{Home, NOWHERE, finish};
use crate::smtp::{LETTER, Smtp};
use std::net::TcpListener;
use std::os::unix::process::CommandExt;

/// A user without rights.
const NOBODY: u32 = 65534;

#[track_caller]
fn tells(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part:?} is missing in: {text}");
    }
}

#[test]
fn a_port_in_use() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let home = Home::new(&format!("[[listener]]\naddress = \"{address}\"\n{NOWHERE}"));
    let told = home.cli(["run"]).failed(69);
    let place = format!("listener {address}: ");
    tells(&told, &[&place, "in use", "another program listens there", "stop it, or choose another address"]);
    assert_eq!(told.trim_end().lines().filter(|line| line.starts_with("waystation: ")).count(), 1, "{told}");
    drop(taken);
    let mut daemon = home.start();
    daemon.stop();
    assert!(
        !daemon.log().iter().any(|line| line.contains("killed")),
        "nothing was half open: {:#?}",
        daemon.log()
    );
}

#[test]
fn an_address_that_is_not_ours() {
    let home = Home::new(&format!("[[listener]]\naddress = \"192.0.2.1:2525\"\n{NOWHERE}"));
    tells(&home.cli(["run"]).failed(69), &["listener 192.0.2.1:2525: ", "this machine has no such address"]);
}

#[test]
fn a_low_port_and_a_folder_without_permission() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: only root can become somebody without rights");
        return;
    }
    let home = Home::new(&format!("[[listener]]\naddress = \"127.0.0.1:25\"\n{NOWHERE}"));
    home.mode("", 0o755);
    home.mode("waystation.toml", 0o644);
    let as_nobody = || {
        let mut command = home.command(["run"]);
        command.uid(NOBODY).gid(NOBODY);
        finish(command, "")
    };
    // The folder above belongs to root.
    let told = as_nobody().failed(77);
    tells(&told, &["/state: Permission denied", "let the user waystation runs as own state_dir"]);
    std::fs::create_dir(home.path("state")).unwrap();
    home.mode("state", 0o700);
    tells(
        &as_nobody().failed(77),
        &["/state belongs to user 0, waystation runs as user 65534; run: chown -R 65534 "],
    );
    std::os::unix::fs::chown(home.path("state"), Some(NOBODY), Some(NOBODY)).unwrap();
    home.mode("state", 0o777);
    tells(&as_nobody().failed(77), &["/state may be written by others (mode 0777)", "chmod 700"]);
    home.mode("state", 0o700);
    let first = std::fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start").unwrap();
    if first.trim().parse::<u16>().unwrap() > 25 {
        tells(
            &as_nobody().failed(77),
            &["listener 127.0.0.1:25: ", "ports below 1024 need root or CAP_NET_BIND_SERVICE"],
        );
    } else {
        eprintln!("partly skipped: this machine lets everybody listen on port 25");
    }
}

#[test]
fn a_secret_that_everybody_can_read() {
    let home = Home::new(
        "[smarthost.shop]\nhost = \"smtp.example.com\"\nusername = \"shop\"\npassword_file = \"shop.password\"\n",
    );
    tells(
        &home.cli(["check"]).failed(78),
        &["shop.password: no such file", "write the secret into it and chmod 600 it"],
    );
    home.write("shop.password", "hunter2\n");
    home.mode("shop.password", 0o644);
    let told = home.cli(["check"]).failed(78);
    tells(
        &told,
        &[
            "smarthost.shop.password_file",
            "can be read by every user of this machine (mode 0644); chmod 600 ",
        ],
    );
    assert!(!told.contains("hunter2"), "{told}");
    assert_eq!(home.cli(["run"]).failed(78), told);
    home.mode("shop.password", 0o600);
    home.cli(["check"]).good();
}

#[test]
fn a_wrong_password_freezes_the_lane_and_status_says_so() {
    let provider = Home::new(&format!(
        "[[listener]]\naddress = \"127.0.0.1:0\"\nauth = \"required\"\n[application.shop]\npassword_hash = \"{}\"\n{NOWHERE}",
        crate::login::hash()
    ));
    let upstream = provider.start();
    let port = upstream.address().port();
    let home = Home::new(&format!(
        "[smarthost.shop]\nhost = \"127.0.0.1\"\nport = {port}\ntls = \"none\"\nusername = \"shop\"\npassword_file = \"secret\"\n"
    ));
    home.write("secret", "hunter3\n");
    let mut daemon = home.start();
    Smtp::hello(daemon.address()).post("shop@shop.test", &["ana@guest.test"], LETTER);
    let logged = daemon.logged("lane frozen");
    tells(&logged, &["ERROR", "lane=shop", "535 5.7.8", "check username and password"]);
    tells(
        &home.cli(["status"]).good(),
        &["frozen", "shop: 535 5.7.8", "→ check username and password", "(next try "],
    );
    assert_eq!(
        crate::home::states_of(&home.json(["queue", "list", "--json"])),
        ["queued"],
        "no attempt was burnt"
    );
    home.write("secret", "hunter2\n");
    home.cli(["reload"]).good();
    daemon.logged("lane resumed");
    assert_eq!(crate::home::states_of(&home.journal_when(&["delivered"])), ["delivered"]);
    let log = format!("{}{:?}", daemon.stop(), daemon.log());
    assert!(!log.contains("hunter"), "{log}");
}

#[test]
fn a_wrong_host_name_or_port_is_told_by_status_while_mail_waits() {
    for (host, port, parts) in [
        (
            "smtp.exmaple.invalid",
            587,
            &["stopped", "no address found for smtp.exmaple.invalid", "check the host name"][..],
        ),
        ("127.0.0.1", 9, &["stopped", "127.0.0.1:9", "nothing listens there: check host and port"]),
    ] {
        let home = Home::new(&format!("[smarthost.shop]\nhost = \"{host}\"\nport = {port}\n"));
        let mut daemon = home.start();
        Smtp::hello(daemon.address()).post("shop@shop.test", &["ana@guest.test"], LETTER);
        daemon.logged("lane stopped");
        tells(&home.cli(["status"]).good(), parts);
    }
}
