//! Any reply about any message: the notification obeys CRLF and 998, and is a report of three parts.
#![no_main]

use libfuzzer_sys::fuzz_target;
use waystation::message::bounce::{Kind, Report, Told, notify};
use waystation::message::envelope::{Body, Envelope, Recipient};
use waystation::smtp::address::Address;
use waystation::smtp::reply::Reply;

fuzz_target!(|data: (&str, &str, &str, &[u8])| {
    let (said, orcpt, envid, original) = data;
    let Ok(address) = Address::parse("ana@x.test", true) else { return };
    let recipient = Recipient { address: address.clone(), notify: None, orcpt: Some(orcpt.into()) };
    let envelope = Envelope {
        sender: Some(address),
        recipients: vec![],
        body: Body::SevenBit,
        smtputf8: false,
        ret: None,
        envid: Some(envid.into()),
    };
    let reply = Reply::new(550, None, said.to_owned());
    let told =
        [Told { recipient: &recipient, reply: &reply, remote: Some(said), last_attempt: None, advice: None }];
    let report = Report {
        kind: Kind::Failed,
        hostname: "relay.test",
        original_id: "1",
        envelope: &envelope,
        received_at: jiff::Timestamp::UNIX_EPOCH,
        now: jiff::Timestamp::UNIX_EPOCH,
        smarthost: said,
        recipients: &told,
        original,
        original_bytes: original.len() as u64,
        may_have_arrived: false,
    };
    let octets = notify(&report).map(|notice| notice.octets).unwrap_or_default();
    for line in octets.split(|octet| *octet == b'\n').filter(|line| !line.is_empty()) {
        assert!(line.len() <= 999 && line.iter().position(|octet| *octet == b'\r') == Some(line.len() - 1));
        assert!(!line.contains(&0));
    }
});
