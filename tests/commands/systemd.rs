//! What systemd does: sockets passed, readiness told, units that make sense.

use crate::home::{Daemon, Home, NOWHERE, PROGRAM, clean};
use crate::smtp::{LETTER, Smtp};
use rustix::process::Signal;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Command, Stdio};

/// The daemon with these two sockets passed as `submission` and `local`.
fn start_with(home: &Home, sockets: [TcpListener; 2], listeners: usize) -> Daemon {
    // A shell moves the sockets to descriptors 3 and 4 and becomes the daemon, so that LISTEN_PID is right.
    let mut command = Command::new("sh");
    clean(&mut command);
    command.args([
        "-c",
        "exec 3<&0 4>&1 </dev/null >/dev/null; LISTEN_PID=$$ exec \"$@\"",
        "sh",
        PROGRAM,
        "run",
        "--config",
    ]);
    command
        .arg(home.path("waystation.toml"))
        .env("LISTEN_FDS", "2")
        .env("LISTEN_FDNAMES", "submission:local");
    let [first, second] = sockets.map(OwnedFd::from);
    command.stdin(Stdio::from(first)).stdout(Stdio::from(second));
    Daemon::of(command, listeners)
}

#[test]
fn sockets_that_systemd_passes_are_taken_by_their_names() {
    let home = Home::new(&format!(
        "[[listener]]\naddress = \"fd:submission\"\ntrust = [\"127.0.0.0/8\"]\n[[listener]]\naddress = \"fd:local\"\n\
         trust = [\"127.0.0.0/8\"]\n{NOWHERE}"
    ));
    let sockets = [TcpListener::bind("127.0.0.1:0").unwrap(), TcpListener::bind("127.0.0.1:0").unwrap()];
    let addresses = sockets.each_ref().map(|socket| socket.local_addr().unwrap());
    let mut daemon = start_with(&home, sockets, 2);
    assert_eq!([daemon.listener(0), daemon.listener(1)], addresses);
    for address in addresses {
        Smtp::hello(address).post("shop@shop.test", &["ana@guest.test"], LETTER);
    }
    let status = home.cli(["status"]).good();
    assert!(status.contains(&format!("fd:submission ({})", addresses[0])), "{status}");
    assert_eq!(daemon.stop(), 0);
}

#[test]
fn a_passed_socket_outlives_a_refused_reload_and_its_listeners_absence() {
    let listener =
        |address: &str| format!("[[listener]]\naddress = \"{address}\"\ntrust = [\"127.0.0.0/8\"]\n");
    let only = format!("{}{NOWHERE}", listener("fd:submission"));
    let both = format!("{}{only}", listener("fd:local"));
    let home = Home::new(&only);
    let sockets = [TcpListener::bind("127.0.0.1:0").unwrap(), TcpListener::bind("127.0.0.1:0").unwrap()];
    let local = sockets[1].local_addr().unwrap();
    let mut daemon = start_with(&home, sockets, 1);
    let warning = daemon.logged("nobody answers at a socket that systemd passed");
    assert!(warning.contains("WARN") && warning.contains("socket=\"local\""), "{warning}");
    let status = home.cli(["status"]).good();
    assert!(
        status.contains("NOBODY ANSWERS at the socket local") && status.contains("\"fd:local\""),
        "{status}"
    );
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let wrong = listener(&taken.local_addr().unwrap().to_string());
    home.configure(&both.replace(NOWHERE, &format!("{wrong}{NOWHERE}")));
    assert!(home.cli(["reload"]).failed(78).contains("another program listens there"));
    for _ in 0..2 {
        home.configure(&both);
        home.cli(["reload"]).good();
        assert_eq!(daemon.opened(), local);
        assert!(!home.cli(["status"]).good().contains("NOBODY ANSWERS"));
        Smtp::hello(local).post("shop@shop.test", &["ana@guest.test"], LETTER);
        home.configure(&only);
        home.cli(["reload"]).good();
    }
}

#[test]
fn a_socket_that_was_not_passed_is_told_of() {
    let home = Home::new(&format!("[[listener]]\naddress = \"fd:submission\"\n{NOWHERE}"));
    let told = home.cli(["run"]).failed(69);
    assert!(told.contains("listener fd:submission: ") && told.contains("FileDescriptorName="), "{told}");
}

#[test]
fn readiness_reloading_and_stopping_are_told() {
    let home = Home::new(NOWHERE);
    let socket = UnixDatagram::bind(home.path("notify")).unwrap();
    socket.set_read_timeout(Some(crate::home::LIMIT)).unwrap();
    let next = |wanted: &str| {
        let mut room = [0; 4096];
        loop {
            let count = socket.recv(&mut room).unwrap();
            let told = String::from_utf8_lossy(&room[..count]).into_owned();
            if told.contains(wanted) {
                return told;
            }
        }
    };
    let mut command = home.command(["run"]);
    command.env("NOTIFY_SOCKET", home.path("notify")).env("WATCHDOG_USEC", "20000000");
    let mut daemon = Daemon::of(command, 1);
    next("READY=1");
    next("WATCHDOG=1");
    daemon.signal(Signal::HUP);
    assert!(next("RELOADING=1").contains("MONOTONIC_USEC="));
    next("READY=1");
    daemon.signal(Signal::TERM);
    next("STOPPING=1");
    assert_eq!(daemon.wait(), 0);
}

#[test]
fn the_units_are_what_systemd_understands() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    if !Command::new("systemd-analyze").arg("--version").output().is_ok_and(|output| output.status.success())
    {
        eprintln!("skipped: systemd-analyze is missing (package systemd)");
        return;
    }
    // The units name the installed program; here it stands elsewhere.
    let folder = tempfile::TempDir::new().unwrap();
    for unit in ["waystation.service", "waystation.socket"] {
        let text = std::fs::read_to_string(root.join("systemd").join(unit)).unwrap();
        std::fs::write(folder.path().join(unit), text.replace("/usr/bin/waystation", PROGRAM)).unwrap();
    }
    let mut command = Command::new("systemd-analyze");
    command
        .args(["verify", "--man=no", "waystation.service", "waystation.socket"])
        .current_dir(folder.path());
    let output = command.output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    let ours: Vec<&str> = told.lines().filter(|line| line.contains("waystation")).collect();
    assert!(output.status.success() && ours.is_empty(), "{told}");
}
