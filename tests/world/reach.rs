//! Webhooks whose host names lead inside: no connection comes about, whatever the name server says and whenever.

use crate::support::client::submit;
use crate::support::dns::{A, AAAA, Record, Say};
use crate::support::receiver::SECRET;
use crate::support::relay::Relay;
use crate::support::until;
use crate::support::world::World;
use std::collections::BTreeMap;
use std::net::{IpAddr, TcpListener};
use std::sync::{Arc, Mutex};

/// Looks public in this world.
const PUBLIC: &str = "11.22.33.44";

/// A host's name, the address it leads to, and what is said of that address.
const HOSTS: [(&str, &str, &str); 12] = [
    ("loopback", "127.0.0.1", "private"),
    ("loopback-2", "127.9.9.9", "private"),
    ("loopback6", "::1", "private"),
    ("metadata", "169.254.169.254", "private"),
    ("ten", "10.1.2.3", "private"),
    ("office", "192.168.7.7", "private"),
    ("office-2", "172.16.5.5", "private"),
    ("carrier", "100.64.0.9", "private"),
    ("local6", "fd00::9", "private"),
    ("mapped", "::ffff:127.0.0.1", "private"),
    ("zero", "0.0.0.0", "no machine's"),
    ("zero6", "::", "no machine's"),
];

fn record(address: &str) -> Record {
    match address.parse().unwrap() {
        IpAddr::V4(address) => Record::A(address),
        IpAddr::V6(address) => Record::Aaaa(address),
    }
}

/// Counts connections by the address they came to; hangs up on each.
#[derive(Clone, Default)]
struct Counter(Arc<Mutex<BTreeMap<IpAddr, usize>>>);

impl Counter {
    /// At every address of this machine.
    fn start() -> (Self, u16) {
        let counter = Self::default();
        let socket = TcpListener::bind("[::]:0").unwrap();
        let port = socket.local_addr().unwrap().port();
        let counting = counter.clone();
        std::thread::spawn(move || {
            for connection in socket.incoming().map_while(Result::ok) {
                let here = connection.local_addr().unwrap().ip().to_canonical();
                *counting.0.lock().unwrap().entry(here).or_default() += 1;
            }
        });
        (counter, port)
    }

    fn at(&self, address: &str) -> usize {
        let address = address.parse::<IpAddr>().unwrap().to_canonical();
        self.0.lock().unwrap().get(&address).copied().unwrap_or(0)
    }

    /// Whoever was connected to.
    fn reached(&self) -> Vec<IpAddr> {
        self.0.lock().unwrap().keys().copied().collect()
    }
}

fn configuration(hosts: &[&str], port: u16, allow_private: bool) -> String {
    let mut config =
        "hostname = \"relay.example.com\"\nstate_dir = \"state\"\n[[listener]]\naddress = \"127.0.0.1:0\"\n\
        [smarthost.out]\nhost = \"127.0.0.1\"\nport = 9\ntls = \"none\"\nenabled = false\n\
        [events]\nschedule = [\"1s\"]\n"
            .to_owned();
    for host in hosts {
        config += &format!(
            "[inbox.{host}]\naddress = \"{host}@users.example.com\"\nwebhook = \"https://{host}.test:{port}/hook\"\n\
             secret_file = \"guests.secret\"\nallow_private = {allow_private}\n\
             [mailbox.{host}]\naddress = \"{host}@casasol.example\"\ninbox = \"{host}\"\ntoken = \"t\"\n"
        );
    }
    config
}

fn write_to(relay: &Relay, host: &str) {
    let letter = "From: ana@guest.example\r\nTo: hola@casasol.example\r\nSubject: Hi\r\n\r\nHi\r\n";
    submit(relay.plain(), "ana@guest.example", &[&format!("{host}+t@users.example.com")], letter.as_bytes());
}

#[test]
fn a_webhook_at_a_name_that_leads_inside_is_never_connected_to() {
    // The others are there without being put there.
    let put = |address: &&str| !["127.", "0.", "::"].iter().any(|start| address.starts_with(start));
    let inside: Vec<&str> = HOSTS.iter().map(|(_, address, _)| *address).filter(put).collect();
    let name = "reach::a_webhook_at_a_name_that_leads_inside_is_never_connected_to";
    let Some(world) = World::enter(name, &inside) else { return };
    let (counter, port) = Counter::start();
    world.write("guests.secret", SECRET);
    for (host, address, _) in HOSTS {
        world.dns.set(&format!("{host}.test"), &[record(address)]);
    }
    let hosts: Vec<&str> = HOSTS.iter().map(|(host, ..)| *host).collect();
    let relay = Relay::start(&world.folder, &configuration(&hosts, port, false));
    for (host, address, why) in HOSTS {
        write_to(&relay, host);
        let address = address.parse::<IpAddr>().unwrap();
        let line = relay.logged(&[&format!("{host}.test is at ")]);
        let is_said =
            [address, address.to_canonical()].iter().any(|one| line.contains(&format!("is at {one}, ")));
        assert!(is_said && line.contains(why), "{host}: {line}");
    }
    assert_eq!(counter.reached(), [] as [IpAddr; 0]);
    // The counter counts: the same names, once that is meant.
    drop(relay);
    let relay = Relay::start(&world.folder, &configuration(&hosts, port, true));
    for (host, address, why) in HOSTS {
        write_to(&relay, host);
        if why == "private" {
            until(host, || (counter.at(address) > 0).then_some(()));
        } else {
            relay.logged(&[&format!("{host}.test is at "), "no machine's"]);
        }
    }
}

#[test]
fn a_name_that_changes_between_look_up_and_connection_changes_nothing() {
    let name = "reach::a_name_that_changes_between_look_up_and_connection_changes_nothing";
    let Some(world) = World::enter(name, &[PUBLIC, "10.1.2.3"]) else { return };
    let (counter, port) = Counter::start();
    world.write("guests.secret", SECRET);
    // Public at the first look-up, inside at every other one.
    world.dns.script("rebind.test", |kind, before| match (kind, before) {
        (A, 0) => Say::Records(vec![record(PUBLIC)]),
        (A, _) => Say::Records(vec![record("10.1.2.3")]),
        (AAAA, _) => Say::Records(Vec::new()),
        _ => Say::NoName,
    });
    // Both at once: the one that may be connected to is, the other isn't a way out when it fails.
    world.dns.set("both.test", &[record("10.1.2.3"), record(PUBLIC), record("127.0.0.1")]);
    let relay = Relay::start(&world.folder, &configuration(&["rebind", "both"], port, false));
    write_to(&relay, "rebind");
    relay.logged(&["rebind.test is at 10.1.2.3, a private"]);
    assert_eq!((counter.at(PUBLIC), counter.at("10.1.2.3")), (1, 0), "{:?}", counter.reached());
    assert!(world.dns.asked("rebind.test", A) >= 2);
    write_to(&relay, "both");
    until("two attempts", || (counter.at(PUBLIC) >= 3).then_some(()));
    assert_eq!(counter.reached(), [PUBLIC.parse::<IpAddr>().unwrap()]);
}
