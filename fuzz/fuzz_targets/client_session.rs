//! Any server: no panic, no endless loop, exactly one report per job, no mail or login without the TLS asked for.
//!
//! The first octet chooses settings; after that octet 0xFF lets the client speak, and all else is what the server says.
#![no_main]

use libfuzzer_sys::fuzz_target;
use secrecy::SecretString;
use std::collections::HashSet;
use waystation::smtp::address::Address;
use waystation::smtp::client::{Action, Client, ClientSettings, Job, JobRecipient, Loss, TlsUse, Window};
use waystation::smtp::sasl_client::{LoginPlan, MechanismChoice};

struct Shell {
    client: Client,
    next_token: u64,
    open: HashSet<u64>,
    tls: bool,
    private: bool,
}

impl Shell {
    fn pump(&mut self) -> bool {
        for _ in 0..10_000 {
            match self.client.next() {
                Action::Write => {
                    let output = self.client.output();
                    if self.tls && !self.private {
                        for line in output.split(|octet| *octet == b'\n') {
                            assert!(!line.starts_with(b"MAIL") && !line.starts_with(b"AUTH"));
                        }
                    }
                    let count = output.len();
                    self.client.wrote(count);
                }
                Action::StartTls => {
                    self.private = true;
                    self.client.tls_started();
                }
                Action::Content { length, .. } => {
                    let block: Vec<u8> = b"a\r\n.\r\n".iter().copied().cycle().take(length).collect();
                    self.client.content(&block);
                }
                Action::NeedJob if self.next_token == 8 => self.client.no_job(),
                Action::NeedJob => {
                    let token = self.next_token;
                    self.next_token += 1;
                    if self.client.submit(job(token)).is_ok() {
                        self.open.insert(token);
                    }
                }
                Action::Report(report) => {
                    assert!(self.open.remove(&report.token));
                    assert_eq!(report.outcomes.len(), usize::try_from(report.token % 3 + 1).unwrap_or(0));
                }
                Action::Wait(_) | Action::Idle => return true,
                Action::Closed(_) => return false,
            }
        }
        panic!("the client never rests");
    }
}

fn job(token: u64) -> Job {
    let address = Address::parse("b@y.test", false).expect("an address");
    let recipient = JobRecipient { address, notify: None, orcpt: None };
    let recipients = vec![recipient; usize::try_from(token % 3 + 1).unwrap_or(1)];
    Job {
        token,
        sender: None,
        recipients,
        size: token * 600,
        eight_bit: false,
        smtputf8: false,
        ret: None,
        envid: None,
    }
}

fuzz_target!(|octets: &[u8]| {
    let Some((flags, octets)) = octets.split_first() else { return };
    let choice = if flags & 128 != 0 { MechanismChoice::XOAuth2 } else { MechanismChoice::Auto };
    let server = ("mx.test".into(), 587);
    let login = LoginPlan { username: "u".into(), secret: SecretString::from("p"), choice, server };
    let tls = flags & 1 != 0;
    let mut shell = Shell {
        client: Client::new(ClientSettings {
            hostname: "relay.test".into(),
            tls: if tls { TlsUse::StartTls } else { TlsUse::None },
            login: (flags & 2 != 0).then_some(login),
            plain_password_ok: flags & 4 != 0,
            pipelining: flags & 8 != 0,
            chunking: flags & 16 != 0,
            window: Window { messages: 4, octets: 2000 },
            recipients_per_message: 2,
        }),
        next_token: 0,
        open: HashSet::new(),
        tls,
        private: false,
    };
    for piece in octets.split(|octet| *octet == 0xFF) {
        shell.client.read(piece);
        if !shell.pump() {
            break;
        }
    }
    shell.client.lost(Loss::Closed);
    assert!(!shell.pump());
    assert!(shell.open.is_empty(), "a job without a report");
});
