//! A Postfix of our own: its configuration, queue and log in the test's folder, no system instance touched.

use super::foreign::{peer, run};
use super::ports::free_port;
use super::until;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A running instance; stopped when dropped.
pub struct Postfix {
    program: PathBuf,
    config: PathBuf,
    log: PathBuf,
    /// Where it takes mail.
    pub port: u16,
    /// Where it takes mail by implicit TLS, when it has a certificate.
    pub tls_port: u16,
}

impl Postfix {
    /// Starts an instance with these lines added to its `main.cf`. None when Postfix can't be had (only root may run it).
    pub fn start(folder: &Path, main_cf: &str) -> Option<Self> {
        let program = peer("postfix")?;
        let folder = folder.join("postfix");
        for name in ["etc", "spool", "data"] {
            std::fs::create_dir_all(folder.join(name)).unwrap();
        }
        run(Command::new("chown").arg("postfix").arg(folder.join("data")), b"").expect_success();
        let (config, log) = (folder.join("etc"), folder.join("log"));
        let (port, tls_port) = (free_port(), free_port());
        let root = folder.display();
        let common = format!(
            "compatibility_level = 3.6\nqueue_directory = {root}/spool\ndata_directory = {root}/data\n\
             command_directory = /usr/sbin\ndaemon_directory = /usr/lib/postfix/sbin\nmail_owner = postfix\n\
             setgid_group = postdrop\nmyhostname = postfix.test\nmydestination =\nmynetworks = 127.0.0.0/8\n\
             inet_interfaces = 127.0.0.1\ninet_protocols = ipv4\nsmtp_host_lookup = native\n\
             smtpd_recipient_restrictions = permit_sasl_authenticated, permit_mynetworks, reject\nalias_maps =\n\
             alias_database =\nin_flow_delay = 0\nsmtpd_peername_lookup = no\ndisable_dns_lookups = yes\n\
             maillog_file = {root}/log\nmaillog_file_prefixes = {root}\n"
        );
        // Postfix warns about settings that are made twice.
        let name = |line: &str| line.split_once(" =").map(|(name, _)| name.to_owned());
        let made: Vec<String> = main_cf.lines().filter_map(name).collect();
        let common = common.lines().filter(|line| name(line).is_none_or(|name| !made.contains(&name)));
        let lines: Vec<&str> = common.chain(main_cf.lines()).collect();
        std::fs::write(config.join("main.cf"), lines.join("\n") + "\n").unwrap();
        std::fs::write(config.join("master.cf"), master_cf(port, tls_port)).unwrap();
        std::fs::write(config.join("dynamicmaps.cf"), "").unwrap();
        let postfix = Self { program, config, log, port, tls_port };
        let mut start = Command::new(&postfix.program);
        run(start.arg("-c").arg(&postfix.config).arg("start"), b"").expect_success();
        until("Postfix listens", || std::net::TcpStream::connect(("127.0.0.1", port)).ok());
        Some(postfix)
    }

    /// Everything that it logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Postfix {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("---- log of Postfix ----\n{}\n----", self.log());
        }
        let _ = Command::new(&self.program).arg("-c").arg(&self.config).arg("stop").output();
    }
}

/// The services that relaying needs, without chroot.
fn master_cf(port: u16, tls_port: u16) -> String {
    let mut text = format!(
        "127.0.0.1:{port} inet n - n - - smtpd\n\
         127.0.0.1:{tls_port} inet n - n - - smtpd -o smtpd_tls_wrappermode=yes\n"
    );
    for (name, kind, wakeup, limit, program) in [
        ("pickup", "unix", "60", "1", "pickup"),
        ("cleanup", "unix", "-", "0", "cleanup"),
        ("qmgr", "unix", "300", "1", "qmgr"),
        ("tlsmgr", "unix", "1000?", "1", "tlsmgr"),
        ("rewrite", "unix", "-", "-", "trivial-rewrite"),
        ("bounce", "unix", "-", "0", "bounce"),
        ("defer", "unix", "-", "0", "bounce"),
        ("trace", "unix", "-", "0", "bounce"),
        ("verify", "unix", "-", "1", "verify"),
        ("proxymap", "unix", "-", "-", "proxymap"),
        ("smtp", "unix", "-", "-", "smtp"),
        ("relay", "unix", "-", "-", "smtp"),
        ("showq", "unix", "-", "-", "showq"),
        ("error", "unix", "-", "-", "error"),
        ("retry", "unix", "-", "-", "error"),
        ("discard", "unix", "-", "-", "discard"),
        ("anvil", "unix", "-", "1", "anvil"),
        ("scache", "unix", "-", "1", "scache"),
    ] {
        let private = if ["pickup", "cleanup", "qmgr", "showq"].contains(&name) { "n" } else { "-" };
        text.push_str(&format!("{name} {kind} {private} - n {wakeup} {limit} {program}\n"));
    }
    text.push_str("postlog unix-dgram n - n - 1 postlogd\n");
    text
}
