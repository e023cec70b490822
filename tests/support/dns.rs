//! A stand-in name server at 127.0.0.1:53 of the test's own network: what it is told of exists, nothing else.

use std::collections::HashMap;
use std::net::{Ipv4Addr, Ipv6Addr, UdpSocket};
use std::sync::{Arc, Mutex};

pub const A: u16 = 1;
pub const MX: u16 = 15;
pub const TXT: u16 = 16;
pub const AAAA: u16 = 28;

/// A record.
#[derive(Debug, Clone)]
pub enum Record {
    A(Ipv4Addr),
    Aaaa(Ipv6Addr),
    Txt(String),
    Mx(u16, String),
}

/// What it says to a question.
#[derive(Debug, Clone)]
pub enum Say {
    /// These records, as far as they are of the type that is asked for; none is "the name has no such record".
    Records(Vec<Record>),
    /// NXDOMAIN.
    NoName,
    /// SERVFAIL.
    Failure,
    /// Nothing at all.
    Silence,
}

/// Asked with the type and how often that type of the name was asked for before.
type Script = dyn Fn(u16, usize) -> Say + Send + Sync;

#[derive(Default)]
struct Zone {
    names: HashMap<String, Box<Script>>,
    asked: HashMap<(String, u16), usize>,
    /// What every question is answered with instead.
    trouble: Option<Say>,
}

/// A running stand-in; it ends with the test's process.
pub struct Dns(Arc<Mutex<Zone>>);

impl Dns {
    pub fn start() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:53").unwrap();
        let zone = Arc::<Mutex<Zone>>::default();
        let serving = zone.clone();
        std::thread::spawn(move || {
            let mut packet = [0; 4096];
            while let Ok((length, client)) = socket.recv_from(&mut packet) {
                if let Some(answer) = answer(&packet[..length], &serving) {
                    let _ = socket.send_to(&answer, client);
                }
            }
        });
        Self(zone)
    }

    /// This name has these records.
    pub fn set(&self, name: &str, records: &[Record]) {
        let records = records.to_vec();
        self.script(name, move |_, _| Say::Records(records.clone()));
    }

    pub fn txt(&self, name: &str, text: &str) {
        self.set(name, &[Record::Txt(text.to_owned())]);
    }

    /// Asks `script` what to say about this name.
    pub fn script(&self, name: &str, script: impl Fn(u16, usize) -> Say + Send + Sync + 'static) {
        self.0.lock().unwrap().names.insert(name.to_lowercase(), Box::new(script));
    }

    /// Every question is answered so, until this is told `None`.
    pub fn trouble(&self, trouble: Option<Say>) {
        self.0.lock().unwrap().trouble = trouble;
    }

    /// How often this was asked for.
    pub fn asked(&self, name: &str, kind: u16) -> usize {
        self.0.lock().unwrap().asked.get(&(name.to_lowercase(), kind)).copied().unwrap_or(0)
    }
}

fn answer(query: &[u8], zone: &Mutex<Zone>) -> Option<Vec<u8>> {
    let (name, end) = name(query)?;
    let kind = u16::from_be_bytes([*query.get(end)?, *query.get(end + 1)?]);
    let question = query.get(12..end + 4)?;
    let say = {
        let mut zone = zone.lock().unwrap();
        let count = zone.asked.entry((name.clone(), kind)).or_default();
        let before = *count;
        *count += 1;
        let say = zone.names.get(&name).map_or(Say::NoName, |script| script(kind, before));
        zone.trouble.clone().unwrap_or(say)
    };
    let (code, records) = match say {
        Say::Records(records) => (0, records),
        Say::NoName => (3, Vec::new()),
        Say::Failure => (2, Vec::new()),
        Say::Silence => return None,
    };
    let data: Vec<Vec<u8>> = records.iter().filter_map(|record| record.data(kind)).collect();
    // An authoritative answer to a question that wanted recursion (RFC 1035 §4.1.1).
    let mut answer = query.get(..2)?.to_vec();
    answer.extend([0x85, 0x80 | code, 0, 1]);
    answer.extend(u16::try_from(data.len()).unwrap().to_be_bytes());
    answer.extend([0, 0, 0, 0]);
    answer.extend(question);
    for data in data {
        // The name of the question, this type, class IN, to be kept for no time.
        answer.extend([0xc0, 12]);
        answer.extend(kind.to_be_bytes());
        answer.extend([0, 1, 0, 0, 0, 0]);
        answer.extend(u16::try_from(data.len()).unwrap().to_be_bytes());
        answer.extend(data);
    }
    Some(answer)
}

/// The name that is asked for, in lower case without its last dot, and where it ends.
fn name(query: &[u8]) -> Option<(String, usize)> {
    let (mut labels, mut at) = (Vec::new(), 12);
    loop {
        let length = usize::from(*query.get(at)?);
        at += 1;
        if length == 0 {
            return Some((labels.join("."), at));
        }
        labels.push(String::from_utf8_lossy(query.get(at..at + length)?).to_lowercase());
        at += length;
    }
}

impl Record {
    /// What stands in an answer to a question for this type.
    fn data(&self, kind: u16) -> Option<Vec<u8>> {
        match self {
            Self::A(address) if kind == A => Some(address.octets().to_vec()),
            Self::Aaaa(address) if kind == AAAA => Some(address.octets().to_vec()),
            Self::Txt(text) if kind == TXT => {
                let piece = |piece: &[u8]| [&[u8::try_from(piece.len()).unwrap()], piece].concat();
                Some(text.as_bytes().chunks(255).flat_map(piece).collect())
            }
            Self::Mx(preference, host) if kind == MX => {
                let mut data = preference.to_be_bytes().to_vec();
                for label in host.split('.') {
                    data.push(u8::try_from(label.len()).unwrap());
                    data.extend(label.as_bytes());
                }
                data.push(0);
                Some(data)
            }
            _ => None,
        }
    }
}
