//! What the dialogues in `tests/dialogues/` can't say: inputs out of step, promises about any input.

use super::*;
use proptest::prelude::*;

fn server() -> Server {
    Server::new(Arc::new(ServerSettings { max_message_size: 1000, ..ServerSettings::default() }), false)
}

fn line(server: &mut Server, text: &str) -> Step {
    server.line(text.as_bytes(), LineEnd::CrLf)
}

fn code(step: &Step) -> u16 {
    match step {
        Step::Say(reply) | Step::StartTls(reply) | Step::Close(reply, _) | Step::ReadContent(Some(reply)) => {
            reply.code
        }
        _ => 0,
    }
}

#[test]
fn an_answer_that_nobody_asked_for_closes() {
    let wrong: [fn(&mut Server) -> Step; 6] = [
        |server| server.kept(replies::queued("a", "b", "c")),
        |server| server.verified(Checked::Good),
        |server| server.refuse(replies::RELAYING_DENIED.reply()),
        |server| server.receive(b"x", &mut Vec::new()).step.unwrap_or(Step::Proceed),
        |server| {
            let Step::Sender(mail) = line(server, "MAIL FROM:<>") else { return Step::Proceed };
            let _ = server.allow_sender(mail.clone());
            server.allow_sender(mail)
        },
        |server| {
            let _ = line(server, "QUIT");
            line(server, "NOOP")
        },
    ];
    for wrong in wrong {
        let mut server = server();
        let _ = line(&mut server, "EHLO client.test");
        let step = wrong(&mut server);
        assert!(matches!(&step, Step::Close(reply, Closing::OutOfStep) if reply.code == 421), "{step:?}");
    }
}

#[test]
fn a_reply_of_421_from_the_shell_closes() {
    let mut server = server();
    let _ = line(&mut server, "EHLO client.test");
    let Step::Sender(_) = line(&mut server, "MAIL FROM:<>") else { panic!("no question") };
    let step = server.refuse(replies::SHUTTING_DOWN.reply());
    assert!(matches!(step, Step::Close(_, Closing::Asked)));
}

#[test]
fn a_recipient_refused_for_now_is_no_error_of_the_client() {
    let mut server = server();
    let _ = line(&mut server, "EHLO client.test");
    let Step::Sender(mail) = line(&mut server, "MAIL FROM:<>") else { panic!("no question") };
    let _ = server.allow_sender(mail);
    for _ in 0..1000 {
        let Step::Recipient(_) = line(&mut server, "RCPT TO:<a@b.test>") else { panic!("no question") };
        assert_eq!(code(&server.refuse(replies::DISK_FULL.reply())), 452);
    }
}

#[test]
fn what_the_received_field_tells_is_known() {
    let mut server = Server::new(Arc::new(ServerSettings::default()), true);
    let _ = line(&mut server, "HELO client.test");
    assert_eq!((server.helo(), server.is_extended()), (Some("client.test"), false));
    let _ = line(&mut server, "EHLO other.test");
    assert_eq!((server.helo(), server.is_extended(), server.is_secured()), (Some("other.test"), true, true));
}

#[test]
fn leniences_are_counted() {
    let tolerate =
        crate::smtp::command::Tolerate { bare_lf: true, space_after_colon: true, missing_brackets: true };
    let mut server = Server::new(Arc::new(ServerSettings { tolerate, ..ServerSettings::default() }), false);
    let _ = server.line(b"EHLO client.test", LineEnd::BareLf);
    let _ = line(&mut server, "MAIL FROM: a@b.test");
    let wanted = Leniences { bare_lf: 1, space_after_colon: 1, missing_brackets: 1 };
    assert_eq!(server.leniences(), wanted);
}

#[test]
fn tls_bytes_are_data_once_tls_is_up() {
    assert!(matches!(server().peek(b"\x16\x03\x01"), Some(Step::Close(_, Closing::TlsOnPlain))));
    assert!(server().peek(b"EHLO").is_none());
    assert!(Server::new(Arc::new(ServerSettings::default()), true).peek(b"\x16\x03\x01").is_none());
}

/// Lines that lead somewhere, mixed.
fn session() -> impl Strategy<Value = Vec<String>> {
    let lines = [
        "EHLO a",
        "HELO a",
        "MAIL FROM:<a@b.test>",
        "MAIL FROM:<a@b.test> SMTPUTF8",
        "RCPT TO:<c@d.test>",
        "RCPT TO:<x@d.test>",
        "DATA",
        "BDAT 5",
        "BDAT 0 LAST",
        "BDAT 9999",
        "RSET",
        "NOOP",
        "AUTH PLAIN",
        "AUTH LOGIN YQ==",
        "AHNob3AAcGFzcw==",
        "*",
        "STARTTLS",
        "QUIT",
        ".",
        "text",
        "",
        "\r",
        "GET /",
    ];
    proptest::collection::vec(proptest::sample::select(lines.to_vec()).prop_map(str::to_owned), 0..40)
}

proptest! {
    /// No input order brings the machine out of step or makes it keep a message without a recipient.
    #[test]
    fn any_session_gets_one_step_per_input(lines in session(), required: bool) {
        let auth = if required { AuthPolicy::Required } else { AuthPolicy::Offered };
        let settings = ServerSettings { auth, auth_needs_tls: false, starttls: true, max_message_size: 100, ..ServerSettings::default() };
        let mut server = Server::new(Arc::new(settings), false);
        let mut wire: Vec<u8> = lines.join("\r\n").into_bytes();
        wire.extend(b"\r\n");
        let mut rest = &wire[..];
        let mut reading_content = false;
        while !rest.is_empty() {
            let mut step = if reading_content {
                let progress = server.receive(rest, &mut Vec::new());
                rest = &rest[progress.consumed..];
                match progress.step { Some(step) => step, None => continue }
            } else {
                let Some(at) = rest.windows(2).position(|pair| pair == b"\r\n") else { break };
                let line = &rest[..at];
                rest = &rest[at + 2..];
                server.line(line, LineEnd::CrLf)
            };
            reading_content = false;
            loop {
                step = match step {
                    Step::Say(_) | Step::Proceed => break,
                    Step::Sender(mail) => {
                        prop_assert!(!required || server.is_logged_in());
                        server.allow_sender(mail)
                    }
                    Step::Recipient(rcpt) if rcpt.address.local() == "x" => server.refuse(replies::RELAYING_DENIED.reply()),
                    Step::Recipient(rcpt) => server.allow_recipient(rcpt),
                    Step::ReadContent(_) => { reading_content = true; break }
                    Step::Keep(transaction) => {
                        prop_assert!(!transaction.recipients.is_empty());
                        server.kept(replies::queued("a", "b", "c"))
                    }
                    Step::StartTls(_) => { server.tls_established(); break }
                    Step::Verify(found) => server.verified(if found.username == "shop" && found.password.is_some() { Checked::Good } else { Checked::Bad }),
                    Step::Close(_, why) => {
                        prop_assert_ne!(why, Closing::OutOfStep);
                        return Ok(());
                    }
                };
            }
        }
    }
}
