//! Any octets as a session: never out of step, never a message without a recipient, and whole packets give the same
//! replies as single octets.
#![no_main]

use libfuzzer_sys::fuzz_target;
use std::sync::Arc;
use waystation::smtp::replies;
use waystation::smtp::server::{AuthPolicy, Checked, Closing, LineEnd, Server, ServerSettings, Step};

fuzz_target!(|wire: &[u8]| assert_eq!(session(wire, usize::MAX), session(wire, 1)));

fn session(wire: &[u8], piece: usize) -> Vec<u8> {
    let settings = ServerSettings {
        max_message_size: 1000,
        max_recipients: 3,
        auth: AuthPolicy::Offered,
        auth_needs_tls: false,
        ..ServerSettings::default()
    };
    let mut server = Server::new(Arc::new(settings), false);
    let (mut said, mut content, mut unread, mut reading_content) = (Vec::new(), Vec::new(), Vec::new(), false);
    for piece in wire.chunks(piece) {
        unread.extend_from_slice(piece);
        while !unread.is_empty() {
            let step = if reading_content {
                let progress = server.receive(&unread, &mut content);
                unread.drain(..progress.consumed);
                progress.step
            } else if let Some(at) = unread.iter().position(|&byte| byte == b'\n') {
                let line: Vec<u8> = unread.drain(..=at).collect();
                let line = line.get(..at).unwrap_or_default();
                Some(match line.strip_suffix(b"\r") {
                    Some(line) => server.line(line, LineEnd::CrLf),
                    None => server.line(line, LineEnd::BareLf),
                })
            } else {
                break;
            };
            let Some(step) = step else { continue };
            match obey(&mut server, step, &mut said) {
                Some(next) => reading_content = next,
                None => return said,
            }
        }
    }
    said
}

/// Answers as a shell does: whether content follows, or none at the end.
fn obey(server: &mut Server, mut step: Step, said: &mut Vec<u8>) -> Option<bool> {
    loop {
        step = match step {
            Step::Say(reply) => {
                reply.write_to(said);
                return Some(false);
            }
            Step::Proceed => return Some(false),
            Step::ReadContent(reply) => {
                reply.iter().for_each(|reply| reply.write_to(said));
                return Some(true);
            }
            Step::Sender(mail) => server.allow_sender(mail),
            Step::Recipient(rcpt) if rcpt.address.local().len() > 3 => server.refuse(replies::RELAYING_DENIED.reply()),
            Step::Recipient(rcpt) => server.allow_recipient(rcpt),
            Step::Keep(transaction) => {
                assert!(!transaction.recipients.is_empty());
                server.kept(replies::queued("ID", "shop", "14:32"))
            }
            Step::Verify(found) if found.username == "shop" && found.password.is_some() => server.verified(Checked::Good),
            Step::Verify(_) => server.verified(Checked::Bad),
            Step::StartTls(_) => return None,
            Step::Close(reply, why) => {
                assert_ne!(why, Closing::OutOfStep);
                reply.write_to(said);
                return None;
            }
        };
    }
}
