//! `doctor` and `test` against stand-ins that each fail in one way: the right diagnosis, and lines that then work.

use crate::support::client::{letter, submit};
use crate::support::foreign::{Finished, peer, run, run_for};
use crate::support::ports::{closed_port, free_port};
use crate::support::relay::Relay;
use crate::support::smarthost::{Settings, Smarthost, Tls, certificate};
use crate::support::{LIMIT, folder, make_certificates, until, write_secret};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use tempfile::TempDir;

const TOP: &str = "hostname = \"relay.test\"\n[[listener]]\naddress = \"127.0.0.1:0\"\n";
const LOGIN: &str = "username = \"shop@shop.test\"\npassword_file = \"shop.password\"\n";
/// Gmail's own words.
const APP_PASSWORD: &str = "534-5.7.9 Application-specific password required. Learn more at\r\n534 5.7.9  \
                            https://support.google.com/mail/?p=InvalidSecondFactor x1-20020a - gsmtp";
/// Microsoft's own words.
const DISABLED: &str = "535 5.7.139 Authentication unsuccessful, SmtpClientAuthentication is disabled for the Tenant. Visit \
                        https://aka.ms/smtp_auth_disabled for more information.";

/// A folder with a configuration of one smarthost, `shop`, on localhost.
struct Practice {
    folder: TempDir,
}

impl Practice {
    fn new(port: u16, rest: &str) -> Self {
        let practice = Self { folder: folder() };
        write_secret(&practice.path("shop.password"), "secret\n");
        practice.configure(&format!("[smarthost.shop]\nhost = \"localhost\"\nport = {port}\n{rest}"));
        practice
    }

    fn configure(&self, smarthost: &str) {
        write_secret(&self.path("waystation.toml"), &format!("{TOP}{smarthost}"));
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    fn run(&self, words: &[&str], input: &str) -> Finished {
        let mut command = Command::new(env!("CARGO_BIN_EXE_waystation"));
        command.arg("--config").arg(self.path("waystation.toml")).args(words).env_remove("WAYSTATION_CONFIG");
        // Some of what is asked for here has time limits of its own, one behind the other.
        run_for(5 * LIMIT, &mut command, input.as_bytes())
    }

    /// `doctor` with a port of its own, so that nothing else on this machine is touched.
    fn doctor(&self, subject: &str, ports: &[u16], rest: &[&str]) -> Told {
        let ports: Vec<String> = ports.iter().map(|port| format!("--port={port}")).collect();
        let mut words = vec!["doctor", subject];
        words.extend(ports.iter().map(String::as_str));
        words.extend(rest);
        if !rest.iter().any(|word| word.starts_with("--timeout")) {
            // Nothing here is waited for that doesn't come, and the machine may be slow.
            words.push("--timeout=60");
        }
        Told(self.run(&words, ""))
    }

    /// The lines are a configuration whose smarthost takes our login, and a message.
    fn prove(&self, lines: &str, server: &Smarthost) {
        self.configure(lines);
        let checked = self.run(&["check", "--live"], "");
        assert!(checked.status.success(), "{lines}\n{}", checked.text());
        let before = server.count();
        let relay = Relay::start(self.folder.path(), &format!("{TOP}{lines}"));
        submit(relay.plain(), "shop@shop.test", &["ana@guest.test"], &letter("proof"));
        assert_eq!(server.mails(before + 1)[before].recipients, ["<ana@guest.test>"]);
    }
}

struct Told(Finished);

impl Told {
    #[track_caller]
    fn ends(&self, code: i32, parts: &[&str]) -> &Self {
        let text = self.0.text();
        assert_eq!(self.0.status.code(), Some(code), "{text}");
        // Sentences are wrapped.
        let flat = text.split_whitespace().collect::<Vec<_>>().join(" ");
        for part in parts {
            assert!(flat.contains(part), "{part} is missing in\n{text}");
        }
        assert!(!text.contains("secret"), "the password is in\n{text}");
        self
    }

    #[track_caller]
    fn lines(&self) -> String {
        let text = String::from_utf8(self.0.stdout.clone()).unwrap();
        text.split_once("What to write\n\n")
            .unwrap_or_else(|| panic!("no lines in\n{}", self.0.text()))
            .1
            .to_owned()
    }

    fn has_no_lines(&self) {
        assert!(!self.0.text().contains("What to write"), "{}", self.0.text());
    }
}

/// A server that does this with each connection.
fn raw(serve: impl Fn(TcpStream) + Send + Sync + 'static) -> SocketAddr {
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let serve = Arc::new(serve);
    std::thread::spawn(move || {
        for connection in socket.incoming().map_while(Result::ok) {
            let serve = serve.clone();
            std::thread::spawn(move || serve(connection));
        }
    });
    address
}

/// Holds a connection until the client has gone.
fn hold(mut stream: TcpStream) {
    let _ = stream.set_read_timeout(Some(LIMIT));
    while stream.read(&mut [0; 1024]).is_ok_and(|count| count > 0) {}
}

fn shop(tls: Tls) -> Settings {
    Settings { tls, login: Some(("shop@shop.test".into(), "secret".into())), ..Settings::default() }
}

/// A certificate for these names and years, signed by an authority: that one's PEM, and what a server needs.
fn signed(names: &[&str], years: (i32, i32)) -> (String, Arc<ServerConfig>) {
    signed_in(names, years, (1975, 4096), false)
}

/// The same by an authority that holds for these years, and whose certificate the server may send along.
fn signed_in(
    names: &[&str],
    years: (i32, i32),
    authoritys: (i32, i32),
    sends_it: bool,
) -> (String, Arc<ServerConfig>) {
    let mut authority = CertificateParams::new(Vec::<String>::new()).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    authority.distinguished_name.push(rcgen::DnType::CommonName, "Our Own Authority");
    authority.not_before = rcgen::date_time_ymd(authoritys.0, 1, 1);
    authority.not_after = rcgen::date_time_ymd(authoritys.1, 1, 1);
    let authority_key = KeyPair::generate().unwrap();
    let own = authority.self_signed(&authority_key).unwrap();
    let pem = own.pem();
    let issuer = Issuer::new(authority, authority_key);
    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
    let mut leaf = CertificateParams::new(names).unwrap();
    leaf.not_before = rcgen::date_time_ymd(years.0, 1, 1);
    leaf.not_after = rcgen::date_time_ymd(years.1, 1, 1);
    let key = KeyPair::generate().unwrap();
    let leaf = leaf.signed_by(&key, &issuer).unwrap();
    let mut chain = vec![leaf.der().clone()];
    chain.extend(sends_it.then(|| own.der().clone()));
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    (pem, Arc::new(config))
}

fn write(path: &Path, text: &str) {
    std::fs::write(path, text).unwrap();
}

// ---- name and connection ----

#[test]
fn a_name_that_does_not_resolve_is_told() {
    let practice = Practice::new(9, "");
    let told = practice.doctor("smtp.nothing.invalid", &[9], &[]);
    // Without any name server even a name that can't exist is not known not to.
    let flat = told.0.text().split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(flat.contains("does not exist") || flat.contains("could not be looked up"), "{flat}");
    told.ends(69, &["smtp.nothing.invalid"]).has_no_lines();
}

#[test]
fn refused_ports_are_told_and_a_host_without_configuration_is_fine() {
    let ports = [closed_port(), closed_port()];
    let mut command = Command::new(env!("CARGO_BIN_EXE_waystation"));
    command.args(["--config", "/no/such/file", "doctor", "127.0.0.1", &format!("--port={}", ports[0])]);
    let told = Told(run(&mut command, b""));
    told.ends(69, &["Nothing listens on port", "the machine answers and refuses"]).has_no_lines();
    let practice = Practice::new(ports[0], "tls = \"none\"\n");
    practice.doctor("shop", &ports, &[]).ends(69, &["Nothing listens on ports"]).has_no_lines();
}

#[test]
fn a_filtered_port_is_told_from_a_refused_one() {
    // Linux drops what would exceed the backlog, as a firewall does.
    let full = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    full.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    full.listen(0).unwrap();
    let address = full.local_addr().unwrap();
    let waiting: Vec<_> = (0..4)
        .map(|_| {
            let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
            socket.set_nonblocking(true).unwrap();
            let _ = socket.connect(&address);
            socket
        })
        .collect();
    let port = address.as_socket().unwrap().port();
    let practice = Practice::new(port, "tls = \"none\"\n");
    practice
        .doctor("shop", &[port], &["--timeout=2"])
        .ends(69, &["No answer on port", "firewall"])
        .has_no_lines();
    let server = Smarthost::plain();
    let told = practice.doctor("127.0.0.1", &[port, server.address.port()], &["--timeout=20"]);
    told.ends(0, &["filtered: no answer", "is filtered", "that is no trouble while another port works"]);
    drop(waiting);
}

#[test]
fn a_server_that_says_nothing_or_hangs_up_is_told() {
    let silent = raw(hold).port();
    let practice = Practice::new(silent, "tls = \"none\"\n");
    let told = practice.doctor("shop", &[silent], &["--timeout=10"]);
    told.ends(69, &["says nothing, neither in plain text nor in TLS", "--timeout 60"]).has_no_lines();
    let rude = raw(drop).port();
    let told = Practice::new(rude, "tls = \"none\"\n").doctor("shop", &[rude], &[]);
    told.ends(69, &["closes it at once"]).has_no_lines();
}

#[test]
fn a_server_that_breaks_off_behind_its_greeting_is_no_wrong_port() {
    let saying = |greeting: &'static str, stays: bool| {
        raw(move |mut stream| {
            let _ = stream.write_all(greeting.as_bytes());
            if stays {
                hold(stream);
            } else {
                let _ = stream.read(&mut [0; 1024]);
            }
        })
    };
    for (server, code, part) in [
        (saying("220 mx.test\r\n", true), 69, "greets us and says nothing to our EHLO"),
        (saying("220 mx.test\r\n", false), 69, "greets us and hangs up at our EHLO"),
        (saying("421 4.7.0 too many connections\r\n", true), 75, "takes nothing at the moment: 421 4.7.0"),
        (saying("554 5.7.1 your address is listed\r\n", true), 69, "turns us away before we say anything"),
    ] {
        let practice = Practice::new(server.port(), "tls = \"none\"\n");
        let told = practice.doctor("shop", &[server.port()], &["--timeout=10"]);
        told.ends(code, &[part]).has_no_lines();
        assert!(!told.0.text().contains("wrong port"), "{}", told.0.text());
    }
}

#[test]
fn what_is_no_submission_server_is_named() {
    let answering = |text: &'static str| {
        raw(move |mut stream| {
            let _ = stream.write_all(text.as_bytes());
            hold(stream);
        })
    };
    // A web server speaks when it was spoken to.
    let web = raw(|mut stream| {
        if stream.read(&mut [0; 1024]).is_ok_and(|count| count > 0) {
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
        }
        hold(stream);
    });
    for (server, part) in [
        (
            answering("554 5.7.1 mx.test: your address 192.0.2.1 is on a blocklist\r\n"),
            "turns us away before we say anything",
        ),
        (answering("SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n"), "is an SSH server, no mail server"),
        (answering("* OK [CAPABILITY IMAP4rev1] ready\r\n"), "is an IMAP server"),
        (web, "is a web server (HTTP), no mail server"),
    ] {
        let practice = Practice::new(server.port(), "tls = \"none\"\n");
        practice.doctor("shop", &[server.port()], &[]).ends(69, &[part]).has_no_lines();
    }
}

/// `s_server` serves one connection at a time: whoever connects and says nothing would keep it from the others. It gets a
/// connection when the first octet comes.
fn at_the_first_octet(server: u16) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            std::thread::spawn(move || {
                if !matches!(client.peek(&mut [0]), Ok(1)) {
                    return;
                }
                let Ok(server) = TcpStream::connect(("127.0.0.1", server)) else { return };
                let (mut from_client, mut to_server) =
                    (client.try_clone().unwrap(), server.try_clone().unwrap());
                std::thread::spawn(move || {
                    let _ = std::io::copy(&mut from_client, &mut to_server);
                    let _ = to_server.shutdown(std::net::Shutdown::Write);
                });
                let (mut from_server, mut to_client) = (server, client);
                let _ = std::io::copy(&mut from_server, &mut to_client);
                let _ = to_client.shutdown(std::net::Shutdown::Both);
            });
        }
    });
    port
}

#[test]
fn a_server_that_knows_old_tls_only_is_told() {
    let Some(openssl) = peer("openssl") else { return };
    let practice = Practice::new(9, "tls = \"implicit\"\n");
    let certs = make_certificates(practice.folder.path());
    let port = free_port();
    let mut command = Command::new(openssl);
    command.args([
        "s_server",
        "-quiet",
        "-tls1_1",
        "-cipher",
        "ALL:@SECLEVEL=0",
        "-accept",
        &format!("127.0.0.1:{port}"),
    ]);
    command.arg("-cert").arg(certs.join("relay.pem")).arg("-key").arg(certs.join("relay.key"));
    let mut server =
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    until("openssl listens", || TcpStream::connect(("127.0.0.1", port)).ok());
    let told = practice.doctor("127.0.0.1", &[at_the_first_octet(port)], &["--timeout=15"]);
    let _ = server.kill();
    let _ = server.wait();
    told.ends(69, &["TLS 1.2 or 1.3 is needed"]).has_no_lines();
}

// ---- the wrong mode ----

#[test]
fn only_tls_from_the_start_works() {
    let (ca, config) = signed(&["localhost"], (2020, 2060));
    let server = Smarthost::start(shop(Tls::Implicit(config)));
    let port = server.address.port();
    let practice = Practice::new(port, &format!("tls = \"starttls\"\nca_file = \"ca.pem\"\n{LOGIN}"));
    write(&practice.path("ca.pem"), &ca);
    let told = practice.doctor("shop", &[port], &[]);
    told.ends(
        78,
        &[
            "the right port, the wrong mode",
            "wants tls = \"implicit\"",
            "says nothing in plain text",
            "The login is good.",
        ],
    );
    practice.prove(&told.lines(), &server);
}

#[test]
fn only_starttls_works_and_nothing_is_sent() {
    let (ca, config) = signed(&["localhost"], (2020, 2060));
    let server = Smarthost::start(shop(Tls::ByCommand(config)));
    let port = server.address.port();
    let practice = Practice::new(port, &format!("tls = \"implicit\"\nca_file = \"ca.pem\"\n{LOGIN}"));
    write(&practice.path("ca.pem"), &ca);
    let told = practice.doctor("shop", &[port], &[]);
    told.ends(
        78,
        &[
            "the right port, the wrong mode",
            "wants tls = \"starttls\"",
            "no TLS: it speaks in plain text (\"220 smarthost.test ESMTP\")",
            "MAIL and RCPT with the account's own address were accepted",
        ],
    );
    let transcript = server.transcript();
    let said = |word: &str| transcript.iter().any(|line| line.starts_with(word));
    assert!(said("RSET") && said("QUIT") && said("RCPT") && !said("DATA") && !said("BDAT"), "{transcript:?}");
    assert_eq!(server.count(), 0);
    practice.prove(&told.lines(), &server);
    // What is written now is right, and says so.
    practice.doctor("shop", &[port], &[]).ends(0, &["works (TLS1.3", "The login is good."]);
}

#[test]
fn plain_text_only_works_on_this_machine() {
    let server = Smarthost::start(shop(Tls::Never));
    let port = server.address.port();
    let practice = Practice::new(port, &format!("tls = \"starttls\"\n{LOGIN}"));
    let told = practice.doctor("shop", &[port], &[]);
    told.ends(78, &["wrong mode", "wants tls = \"none\"", "STARTTLS is not offered", "The login is good."]);
    practice.prove(&told.lines(), &server);
}

#[test]
fn a_firewall_that_takes_starttls_out_is_recognised() {
    let masked = &["PIPELINING", "SIZE 1000000", "XXXXXXXA", "XXXXXXXX"];
    let server = Smarthost::start(Settings { extensions: masked, ..shop(Tls::Never) });
    let port = server.address.port();
    let practice = Practice::new(port, &format!("tls = \"starttls\"\n{LOGIN}"));
    practice.doctor("shop", &[port], &[]).ends(78, &["a firewall on the way takes encryption out"]);
}

/// A server that offers STARTTLS and says this when it is asked for.
fn failing_starttls(answer: &'static str) -> u16 {
    raw(move |mut stream| {
        let mut lines = BufReader::new(stream.try_clone().unwrap());
        let _ = stream.set_read_timeout(Some(LIMIT));
        let _ = stream.write_all(b"220 mx.test\r\n");
        let mut line = String::new();
        while lines.read_line(&mut line).is_ok_and(|count| count > 0) {
            let answer = match line.trim_end() {
                "STARTTLS" => answer,
                _ if line.starts_with("EHLO") => "250-mx.test\r\n250 STARTTLS\r\n",
                _ => "250 ok\r\n",
            };
            let _ = stream.write_all(answer.as_bytes());
            line.clear();
        }
    })
    .port()
}

#[test]
fn starttls_that_is_offered_and_fails_leads_to_no_plain_text() {
    for (answer, code, part) in [
        (
            "454 4.7.0 no TLS now\r\n",
            75,
            "offers STARTTLS, which isn't to be had at the moment: 454 4.7.0 no TLS now",
        ),
        ("554 5.7.0 no\r\n", 69, "offers STARTTLS, which is refused when it is asked for: 554 5.7.0 no"),
        ("220 go\r\n250 injected\r\n", 69, "STARTTLS injection"),
    ] {
        let port = failing_starttls(answer);
        let practice = Practice::new(port, LOGIN);
        for subject in ["shop", "localhost"] {
            let told = practice.doctor(subject, &[port], &[]);
            told.ends(code, &[part, "Plain text is no way around it"]).has_no_lines();
            let text = told.0.text();
            assert!(!text.contains("not offered") && !text.contains("wrong mode"), "{text}");
        }
    }
}

#[test]
fn a_server_that_knows_helo_alone_works_as_delivery_does() {
    let script = |line: &str| line.starts_with("EHLO").then(|| "502 5.5.1 not implemented".to_owned());
    let server = Smarthost::start(Settings { reply: Box::new(script), ..Settings::default() });
    let port = server.address.port();
    let practice = Practice::new(port, "tls = \"none\"\naddress = \"shop@shop.test\"\n");
    let told = practice.doctor("shop", &[port], &[]);
    told.ends(
        0,
        &["works, by HELO alone", "knows HELO alone, not EHLO (502 5.5.1", "MAIL and RCPT", "accepted"],
    );
    practice.prove(&told.lines(), &server);
}

// ---- certificates ----

#[test]
fn a_self_signed_certificate_is_offered_as_a_pin() {
    let (_, pin, config) = certificate(&["localhost"]);
    let server = Smarthost::start(shop(Tls::ByCommand(config)));
    let port = server.address.port();
    let practice = Practice::new(port, LOGIN);
    let told = practice.doctor("shop", &[port], &[]);
    told.ends(78, &["not trusted", "self-signed", "Compare it with the provider's first", &pin]);
    practice.prove(&told.lines(), &server);
}

#[test]
fn an_expired_certificate_is_told_with_its_date() {
    let (ca, config) = signed(&["localhost"], (2020, 2021));
    let server = Smarthost::start(shop(Tls::Implicit(config)));
    let port = server.address.port();
    let practice = Practice::new(port, &format!("tls = \"implicit\"\nca_file = \"ca.pem\"\n{LOGIN}"));
    write(&practice.path("ca.pem"), &ca);
    let told = practice.doctor("shop", &[port], &[]);
    told.ends(78, &["It expired at 2021-01-01", "clock", "pin_sha256"]);
    practice.prove(&told.lines(), &server);
}

#[test]
fn dates_that_suit_no_chain_are_told_in_words_once() {
    for (years, authoritys, told, untold) in [
        ((2020, 2021), (2023, 2060), "It expired at 2021-01-01", "It is refused"),
        ((2050, 2060), (2023, 2040), "It is not valid before 2050-01-01", "It is refused"),
        ((2020, 2060), (2020, 2021), "of its authority, is out of date", "UNIX"),
    ] {
        let (_, config) = signed_in(&["localhost"], years, authoritys, true);
        let server = Smarthost::start(shop(Tls::Implicit(config)));
        let port = server.address.port();
        let practice = Practice::new(port, &format!("tls = \"implicit\"\n{LOGIN}"));
        let report = practice.doctor("shop", &[port], &[]);
        report.ends(78, &[told]);
        let flat = report.0.text().split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(!flat.contains(untold), "{flat}");
    }
}

#[test]
fn a_certificate_for_another_name_tells_which_names_it_has() {
    let (ca, config) = signed(&["mail.hoster.test", "*.hoster.test"], (2020, 2060));
    let server = Smarthost::start(shop(Tls::ByCommand(config)));
    let port = server.address.port();
    let practice = Practice::new(port, &format!("ca_file = \"ca.pem\"\n{LOGIN}"));
    write(&practice.path("ca.pem"), &ca);
    let told = practice.doctor("shop", &[port], &[]);
    told.ends(
        78,
        &["not for localhost, but for mail.hoster.test, *.hoster.test", "server_name = \"mail.hoster.test\""],
    );
    assert!(!told.lines().contains("pin_sha256"), "{}", told.lines());
    practice.prove(&told.lines(), &server);
}

#[test]
fn an_unknown_issuer_is_named_and_can_be_trusted() {
    let (ca, config) = signed(&["localhost"], (2020, 2060));
    let server = Smarthost::start(shop(Tls::ByCommand(config)));
    let port = server.address.port();
    let practice = Practice::new(port, LOGIN);
    let told = practice.doctor("shop", &[port], &[]);
    told.ends(78, &["Its issuer (Our Own Authority) is not trusted here", "ca_file"]);
    practice.prove(&told.lines(), &server);
    write(&practice.path("ca.pem"), &ca);
    practice.configure(&format!(
        "[smarthost.shop]\nhost = \"localhost\"\nport = {port}\nca_file = \"ca.pem\"\n{LOGIN}"
    ));
    practice.doctor("shop", &[port], &[]).ends(0, &["trusted", "The login is good."]);
}

// ---- the login ----

#[test]
fn each_way_to_refuse_a_login_is_told_apart_and_tried_once() {
    let refusing = |reply: Option<&'static str>| -> Settings {
        let script = move |line: &str| reply.filter(|_| line.starts_with("AUTH ")).map(str::to_owned);
        Settings {
            login: Some(("shop@shop.test".into(), "another one".into())),
            reply: Box::new(script),
            ..Settings::default()
        }
    };
    for (settings, code, result, parts) in [
        (refusing(None), 77, "wrong_password", &["refuses user name or password: 535 5.7.8"][..]),
        (
            refusing(Some(APP_PASSWORD)),
            77,
            "app_password_wanted",
            &["wants an app password", "InvalidSecondFactor"],
        ),
        (
            refusing(Some(DISABLED)),
            77,
            "disabled",
            &["switched off for this account", "aka.ms/smtp_auth_disabled"],
        ),
        (
            refusing(Some("454 4.7.0 Temporary authentication failure")),
            75,
            "later",
            &["takes no logins at the moment"],
        ),
        (
            refusing(Some("538 5.7.11 Encryption required")),
            78,
            "encryption_needed",
            &["takes this login inside TLS alone: 538 5.7.11"],
        ),
        (
            refusing(Some("525 5.7.13 User Account Disabled")),
            77,
            "account_disabled",
            &["The account is switched off at the server, whatever the password: 525"],
        ),
        (
            refusing(Some("550 5.7.1 account suspended")),
            77,
            "refused",
            &["doesn't say that user name or password are wrong: 550 5.7.1 account suspended"],
        ),
        (
            // Of two mechanisms the other one would be tried, too: nothing was said of the password.
            Settings { mechanisms: "PLAIN", ..refusing(Some("503 5.5.1 not now")) },
            78,
            "not_taken",
            &["offers a login and doesn't take the command for it: 503"],
        ),
        (
            Settings { mechanisms: "XOAUTH2 OAUTHBEARER", ..refusing(None) },
            78,
            "no_mechanism",
            &["offers no login that the settings allow; it offers XOAUTH2 OAUTHBEARER"],
        ),
        (Settings { login: None, ..refusing(None) }, 78, "not_offered", &["offers no login (AUTH)"]),
    ] {
        let server = Smarthost::start(settings);
        let port = server.address.port();
        let practice = Practice::new(port, &format!("tls = \"none\"\n{LOGIN}"));
        practice.doctor("shop", &[port], &[]).ends(code, parts);
        let tries = server.transcript().iter().filter(|line| line.starts_with("AUTH ")).count();
        assert!(tries <= 1, "{tries} tries could lock the account");
        let json = practice.doctor("shop", &[port], &["--json"]);
        let report: Value = serde_json::from_slice(&json.0.stdout).unwrap();
        assert_eq!(report["login"]["result"], result, "{report:#}");
    }
}

#[test]
fn auth_that_is_not_offered_as_configured_is_mended_and_nothing_else_of_the_section_is_lost() {
    let server = Smarthost::start(Settings { mechanisms: "LOGIN", ..shop(Tls::Never) });
    let port = server.address.port();
    let kept = "per_day = 500\npriority_reserve = 50\naddress = \"shop@shop.test\"\nallowed_from = [\"@shop.test\"]\n";
    let practice = Practice::new(port, &format!("tls = \"none\"\nauth = \"plain\"\n{LOGIN}{kept}"));
    let told = practice.doctor("shop", &[port], &[]);
    let parts = ["auth = \"plain\" isn't offered there, but AUTH LOGIN", "The login is good."];
    told.ends(78, &parts);
    let lines = told.lines();
    assert!(lines.contains(kept) && lines.contains("auth = \"auto\"   # was \"plain\""), "{lines}");
    practice.prove(&lines, &server);
    practice.doctor("shop", &[port], &[]).ends(0, &["The login is good."]);
}

#[test]
fn a_login_that_is_wanted_and_not_configured_is_told() {
    let script =
        |line: &str| line.starts_with("MAIL").then(|| "530 5.7.0 Authentication required".to_owned());
    let server = Smarthost::start(Settings { reply: Box::new(script), ..shop(Tls::Never) });
    let port = server.address.port();
    let practice = Practice::new(port, "tls = \"none\"\naddress = \"shop@shop.test\"\nenabled = false\n");
    let told = practice.doctor("shop", &[port], &[]);
    let parts = [
        "The server wants a login, and none is configured: 530 5.7.0",
        "smarthost.shop is switched off: enabled = false",
        "# password_file = \"shop.password\"",
    ];
    told.ends(78, &parts);
    // Where no login is offered, none is printed.
    let server = Smarthost::plain();
    let port = server.address.port();
    let practice = Practice::new(port, &format!("tls = \"none\"\naddress = \"shop@shop.test\"\n{LOGIN}"));
    let told = practice.doctor("shop", &[port], &[]);
    told.ends(78, &["offers no login (AUTH) here"]);
    assert!(!told.lines().contains("username"), "{}", told.lines());
    practice.prove(&told.lines(), &server);
}

#[test]
fn mail_or_rcpt_without_an_answer_is_no_acceptance() {
    for (command, answer, code, result, part) in [
        ("RCPT", "close", 69, "closed", "At RCPT with the account's own address the connection ended"),
        ("MAIL", "close", 69, "closed", "At MAIL with the account's own address the connection ended"),
        ("RCPT", "silence", 69, "silence", "To RCPT with the account's own address no answer came in time"),
        ("MAIL", "silence", 69, "silence", "To MAIL with the account's own address no answer came in time"),
        ("MAIL", "354 what", 69, "out_of_place", "is no answer to it: 354 what"),
        ("MAIL", "530 5.7.0 Must issue STARTTLS first", 78, "tls_wanted", "takes mail inside TLS alone: 530"),
        ("MAIL", "452 4.5.3 too many today", 75, "later", "isn't taken at the moment: 452 4.5.3"),
        (
            "RCPT",
            "553 5.7.1 not yours",
            77,
            "refused",
            "RCPT with the account's own address was refused: 553",
        ),
        ("RCPT", "250 ok", 0, "accepted", "were accepted"),
    ] {
        let script = move |line: &str| line.starts_with(command).then(|| answer.to_owned());
        let server = Smarthost::start(Settings { reply: Box::new(script), ..shop(Tls::Never) });
        let port = server.address.port();
        let practice = Practice::new(port, &format!("tls = \"none\"\n{LOGIN}"));
        // The silent ones are waited for.
        let limit = if answer == "silence" { "--timeout=10" } else { "--timeout=60" };
        let told = practice.doctor("shop", &[port], &["--json", limit]);
        told.ends(code, &["The login is good.", part]);
        let report: Value = serde_json::from_slice(&told.0.stdout).unwrap();
        assert_eq!(report["envelope_result"], result, "{report:#}");
    }
}

#[test]
fn auth_that_is_offered_inside_tls_only_is_written_with_what_its_certificate_needs() {
    let expired = || signed(&["localhost"], (2020, 2021)).1;
    // Beside plain text that works without.
    let without = Smarthost::plain();
    let server = Smarthost::start(shop(Tls::Implicit(expired())));
    let ports = [without.address.port(), server.address.port()];
    let practice = Practice::new(ports[0], &format!("tls = \"none\"\n{LOGIN}"));
    let told = practice.doctor("shop", &ports, &[]);
    told.ends(78, &["no login (AUTH) is offered there", "It expired at", "pin_sha256", "The login is good."]);
    assert!(told.lines().contains(LOGIN), "{}", told.lines());
    practice.prove(&told.lines(), &server);
    // Beside a way that is trusted and takes no logins.
    let (ca, config) = signed(&["localhost"], (2020, 2060));
    let without = Smarthost::start(Settings { tls: Tls::ByCommand(config), ..Settings::default() });
    let server = Smarthost::start(shop(Tls::Implicit(expired())));
    let ports = [without.address.port(), server.address.port()];
    let practice = Practice::new(ports[0], &format!("ca_file = \"ca.pem\"\n{LOGIN}"));
    write(&practice.path("ca.pem"), &ca);
    let told = practice.doctor("shop", &ports, &[]);
    told.ends(78, &["no login (AUTH) is offered there", "It expired at", "The login is good."]);
    assert!(told.lines().contains(LOGIN), "{}", told.lines());
    practice.prove(&told.lines(), &server);
}

#[test]
fn a_host_gets_a_login_only_when_asked_and_its_lines_work() {
    let server = Smarthost::start(shop(Tls::Never));
    let port = server.address.port();
    let practice = Practice::new(port, "tls = \"none\"\n");
    let told = practice.doctor("127.0.0.1", &[port], &[]);
    told.ends(0, &["no user name was given (--username)"]);
    assert!(!server.transcript().iter().any(|line| line.starts_with("AUTH") || line.starts_with("MAIL")));
    let words = ["doctor", "127.0.0.1", &format!("--port={port}"), "--username=shop@shop.test"];
    let told = Told(practice.run(&words, "secret\n"));
    told.ends(0, &["The login is good."]);
    write_secret(&practice.path("upstream.password"), "secret\n");
    practice.prove(&told.lines(), &server);
}

#[test]
fn what_is_neither_smarthost_nor_host_is_a_slip() {
    let practice = Practice::new(9, "tls = \"none\"\n");
    practice.doctor("shpo", &[9], &[]).ends(64, &["there is no [smarthost.shpo] (but shop)"]);
    practice.doctor("a b.test", &[9], &[]).ends(64, &["is no host name or address"]);
    practice.doctor("shop", &[9], &["--username=x"]).ends(64, &["has its own login"]);
}

// ---- test ----

#[test]
fn a_test_letter_arrives_and_every_step_is_shown() {
    let (ca, config) = signed(&["localhost"], (2020, 2060));
    let server = Smarthost::start(shop(Tls::ByCommand(config)));
    let practice = Practice::new(server.address.port(), &format!("ca_file = \"ca.pem\"\n{LOGIN}"));
    write(&practice.path("ca.pem"), &ca);
    let told = Told(practice.run(&["test", "shop", "ana@guest.test"], ""));
    told.ends(
        0,
        &[
            "no daemon counts it against the limits",
            "< 220 smarthost.test ESMTP",
            "> STARTTLS",
            "encrypted: TLS1.3",
            "> AUTH PLAIN ***",
            "< 235 2.7.0 welcome",
            "> RCPT TO:<ana@guest.test>",
            "< 250 2.1.5 ok",
            "taken: 250 2.0.0 taken",
        ],
    );
    let mail = server.mails(1).remove(0);
    assert!(mail.sender.starts_with("<shop@shop.test>"), "{}", mail.sender);
    let content = String::from_utf8(mail.content).unwrap();
    for part in [
        "From: <shop@shop.test>\r\n",
        "To: <ana@guest.test>\r\n",
        "Auto-Submitted: auto-generated\r\n",
        "Message-ID: <",
    ] {
        assert!(content.contains(part), "{part} is missing in\n{content}");
    }
    let json = practice.run(&["test", "shop", "ana@guest.test", "--json"], "");
    let report: Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(report["result"], "taken");
    let steps = report["steps"].as_array().unwrap();
    assert!(steps.iter().any(|step| step["step"] == "heard" && step["code"] == 354), "{report:#}");
}

#[test]
fn a_test_letter_that_fails_says_why_and_what_to_do() {
    let says = |beginning: &'static str, reply: &'static str| -> Settings {
        let script = move |line: &str| line.starts_with(beginning).then(|| reply.to_owned());
        Settings { reply: Box::new(script), ..shop(Tls::Never) }
    };
    for (settings, code, parts) in [
        (
            says("AUTH", DISABLED),
            77,
            &["the login is refused", "5.7.139", "→ Microsoft 365 has password login switched off"][..],
        ),
        (says("RCPT", "550 5.1.1 no such user"), 65, &["refused: 550 5.1.1 no such user"]),
        (says("RCPT", "450 4.2.0 greylisted, come again"), 75, &["not now: 450 4.2.0"]),
        (
            says(".", "550 User has exceeded outgoing email quota"),
            75,
            &["its quota is used up", "→ set per_hour"],
        ),
        (says(".", "close"), 75, &["may have arrived"]),
        (says("MAIL", "550 5.7.1 your account is blocked"), 77, &["refused: 550 5.7.1"]),
    ] {
        let server = Smarthost::start(settings);
        let practice = Practice::new(server.address.port(), &format!("tls = \"none\"\n{LOGIN}"));
        Told(practice.run(&["test", "shop", "ana@guest.test"], "")).ends(code, parts);
    }
    let practice = Practice::new(closed_port(), "tls = \"none\"\naddress = \"shop@shop.test\"\n");
    let told = Told(practice.run(&["test", "shop", "ana@guest.test"], ""));
    told.ends(69, &["can't be reached", "nothing listens there"]);
    Told(practice.run(&["test", "shpo", "ana@guest.test"], ""))
        .ends(64, &["there is no [smarthost.shpo], but shop"]);
    Told(practice.run(&["test", "shop", "ana"], "")).ends(64, &["ana"]);
    let nameless = Practice::new(closed_port(), "tls = \"none\"\n");
    Told(nameless.run(&["test", "shop", "ana@guest.test"], "")).ends(78, &["no address to send from"]);
}

#[test]
fn a_reply_that_the_configuration_explains_stops_the_lane_in_place_of_bouncing() {
    let script = |line: &str| (line == ".").then(|| "554 5.7.1 Kontingent aufgebraucht".to_owned());
    let server = Smarthost::start(Settings { reply: Box::new(script), ..Settings::default() });
    let folder = folder();
    let config = format!(
        "{TOP}[smarthost.shop]\nhost = \"localhost\"\nport = {}\ntls = \"none\"\n\
         [[provider_reply]]\nhost = \"localhost\"\ncode = 554\ntext = \"kontingent\"\nmeans = \"quota\"\n",
        server.address.port()
    );
    let relay = Relay::start(folder.path(), &config);
    submit(relay.plain(), "shop@shop.test", &["ana@guest.test"], &letter("proof"));
    relay.logged(&["lane stopped", "Kontingent"]);
    let lane = relay.lane("shop");
    assert_eq!(lane["state"], "stopped", "{lane}");
    assert!(lane["advice"].as_str().unwrap().contains("per_day"), "{lane}");
}
