//! The power goes: an ext4 on a loop device drops everything that wasn't synced (K6), so does an XFS (K7), and the same
//! without syncs, which must lose mail, or the test proves nothing (K11).

use super::client::Load;
use super::kills::Dice;
use super::ledger::{Books, Ledger, Verdict};
use super::setting;
use super::stand_in::StandIn;
use super::station::{PATIENCE, Station, folder};
use super::tools::{Mount, has};
use std::path::Path;
use std::sync::Arc;

const CLIENTS: u32 = 8;

/// Runs so many lives on the disk, each ended by a power cut; then one that delivers what is left. None when the
/// last life can't even start.
fn lives(
    disk: &Mount,
    home: &Path,
    cycles: u32,
    environment: &[(&str, &str)],
) -> (Option<Verdict>, Arc<Ledger>) {
    let (ledger, mut dice) = (Arc::new(Ledger::default()), Dice::new());
    let smarthost = StandIn::for_ledger(&ledger);
    let station = Station::with_state(home, &disk.path.join("state"), smarthost.address, "");
    let load = Load::start(&ledger, CLIENTS);
    for cycle in 0..cycles {
        // In every other life nothing leaves, so that what was acknowledged has to come from the disk.
        smarthost.serve(cycle % 2 == 1);
        let daemon = station.start_under(&[], environment);
        load.go_to(Some(daemon.address));
        let wanted = 1 + dice.below(200);
        let reached = ledger.wait_until(PATIENCE, |books| books.of_this_life.0 >= wanted);
        assert!(reached, "cycle {cycle}: mail stopped flowing:\n{}", daemon.log());
        ledger.cut();
        disk.cut_power();
        load.go_to(None);
        daemon.kill();
        ledger.end_life(&smarthost);
        disk.plug_in();
    }
    load.end();
    smarthost.open();
    let daemon = station.spawn(&[], &[]);
    if daemon.listening().is_none() {
        return (None, ledger);
    }
    let limit = if environment.is_empty() { PATIENCE } else { PATIENCE / 20 };
    ledger.wait_until(limit, Books::all_arrived);
    if ledger.with(Books::all_arrived) {
        station.wait_until_empty();
    }
    let verdict = ledger.verdict(&station);
    if environment.is_empty() && !verdict.lost.is_empty() {
        eprintln!("{}\n{:#?}", daemon.log(), station.queued(None));
    }
    daemon.stop();
    (Some(verdict), ledger)
}

#[test]
fn no_acknowledged_message_is_lost_when_the_power_goes() {
    let home = folder();
    cut_again_and_again(home.path(), Mount::ext4(home.path()), "WAYSTATION_CRASH_POWER_CYCLES", 5);
}

/// K7.
#[test]
fn nor_on_xfs() {
    let home = folder();
    cut_again_and_again(home.path(), Mount::xfs(home.path()), "WAYSTATION_CRASH_XFS_CYCLES", 3);
}

fn cut_again_and_again(home: &Path, disk: Result<Mount, String>, cycles: &str, short: u32) {
    if !has("power cuts", disk.as_ref().map(|_| ()).map_err(Clone::clone)) {
        return;
    }
    let cycles = setting(cycles, short);
    let (verdict, ledger) = lives(&disk.unwrap(), home, cycles, &[]);
    let Some(verdict) = verdict else {
        panic!(
            "it doesn't start any more, with {} messages in it",
            ledger.with(|books| books.missing().count())
        );
    };
    eprintln!("crash: power cuts: {verdict}");
    verdict.assert_kept();
    assert!(verdict.acknowledged > 5, "hardly anything was tried: {verdict}");
}

/// The negative control.
#[test]
fn without_syncs_the_same_test_sees_loss() {
    let home = folder();
    let no_syncs = format!("/usr/lib/{}-linux-gnu/libeatmydata.so", std::env::consts::ARCH);
    let preload =
        Path::new(&no_syncs).exists().then_some(()).ok_or(format!("no {no_syncs} (package eatmydata)"));
    let disk = preload.and_then(|()| Mount::ext4(home.path()));
    if !has("power cuts without syncs", disk.as_ref().map(|_| ()).map_err(Clone::clone)) {
        return;
    }
    // One life in which nothing leaves.
    let (verdict, ledger) = lives(&disk.unwrap(), home.path(), 1, &[("LD_PRELOAD", &no_syncs)]);
    let lost =
        verdict.map_or_else(|| ledger.with(|books| books.missing().count()), |verdict| verdict.lost.len());
    let acknowledged = ledger.with(|books| books.acknowledged.len());
    eprintln!("crash: power cut without syncs: acknowledged={acknowledged} lost={lost} (as it must)");
    assert!(lost > 0, "nothing was lost without syncs: the power-cut test can't see loss");
}
