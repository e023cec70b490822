//! The program in a network of the test's own, with a name server that says what a test wants, hosts that look public, and
//! signatures that dkimpy made: what asks DNS and the web, as a whole. See `support/world.rs`.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails loudly")]

#[path = "../support/mod.rs"]
mod support;

mod signer;
mod google;
mod reach;
mod authentication;

use support::receiver::{Receiver, SECRET};
use support::relay::Relay;
use support::world::World;

/// The relay with one inbox at `inbox@users.example.com` and one mailbox, `hola@casasol.example` with the token `sol`.
fn relay(world: &World, receiver: &Receiver) -> Relay {
    world.write("guests.secret", SECRET);
    let url = receiver.url();
    let config = format!(
        "hostname = \"relay.example.com\"\nstate_dir = \"state\"\n[[listener]]\naddress = \"127.0.0.1:0\"\n\
         [smarthost.out]\nhost = \"127.0.0.1\"\nport = 9\ntls = \"none\"\nenabled = false\n\
         [inbox.guests]\naddress = \"inbox@users.example.com\"\nwebhook = \"{url}\"\nsecret_file = \"guests.secret\"\n\
         allow_private = true\n\
         [mailbox.sol]\naddress = \"hola@casasol.example\"\ninbox = \"guests\"\ntoken = \"sol\"\n"
    );
    Relay::start(&world.folder, &config)
}
