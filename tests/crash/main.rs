//! No acknowledged message is lost: the real binary, killed, unplugged, starved and lied to by its disk.
//!
//! Every test runs `waystation run` on a folder of its own, with SMTP clients and a stand-in smarthost inside the
//! test's process, and keeps a [`ledger`]: what was acknowledged to a client must have been taken by the smarthost.
//!
//! | room | what it holds |
//! |---|---|
//! | [`station`] | a configuration and the daemon on it: start, kill, terminate, ask |
//! | [`client`] | a client that says what it is told, and a load of them |
//! | [`stand_in`] | the smarthost |
//! | [`ledger`] | who acknowledged what in which life of the daemon |
//! | [`tools`] | file systems to unplug, and `strace` |
//! | `kills` `power` `points` `disk` `scarce` `damage` `start` `stop` `limits` | the tests |
//!
//! What needs root, loop devices, `xfs_io`, `strace` or `libeatmydata` is left out where they are missing, with a
//! printed reason; with `WAYSTATION_REQUIRE_PEERS=1` that is a failure. Longer forms: `tests/crash/long.sh`.
//!
//! The state folders are under `target/tmp`, on a real disk: only the power cuts and the negative control tell
//! whether syncs matter (a kill leaves the page cache alone).

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests may fail loudly, their helpers too"
)]

mod station;
mod client;
mod stand_in;
mod ledger;
mod tools;
mod kills;
mod power;
mod points;
mod disk;
mod damage;
mod start;
mod stop;
mod limits;
mod scarce;

/// A number from the environment, else the short form's.
fn setting(name: &str, short: u32) -> u32 {
    std::env::var(name).map_or(short, |text| text.parse().expect(name))
}
