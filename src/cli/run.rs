//! `waystation run`: the daemon in the foreground, and its signals.

use super::{Done, Failure, OUR_BUG, load};
use crate::clock::Clock;
use crate::daemon::Daemon;
use crate::events::start_logging;
use sd_notify::NotifyState;
use std::path::Path;
use std::time::Duration;
use tokio::runtime::Builder;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// The signal for a file that grew beyond its limit: a write error says the same and is dealt with.
const SIGXFSZ: i32 = 25;

pub(super) fn run(config: Option<&Path>) -> Done {
    let loaded = load(config, false)?;
    let bug = |cause: std::io::Error| Failure::new(OUR_BUG, format!("waystation: {cause}"));
    let _log = start_logging(loaded.config.log.format, loaded.config.log.level).map_err(bug)?;
    let runtime = Builder::new_multi_thread().enable_all().build().map_err(bug)?;
    let done = runtime.block_on(async {
        let mut signals = Signals::new().map_err(bug)?;
        let daemon = Daemon::start(loaded, Clock::system())
            .await
            .map_err(|cause| Failure::new(cause.exit_code(), cause.to_string()))?;
        notify(&[NotifyState::Ready]);
        let reason = until_told(&daemon, &mut signals).await;
        notify(&[NotifyState::Stopping]);
        tokio::select! {
            () = daemon.stop(reason) => {}
            // Whoever asks twice means it. What was acknowledged is on disk.
            _ = signals.terminate.recv() => {}
            _ = signals.interrupt.recv() => {}
        }
        Ok(())
    });
    // A password command or a resolver that hangs must not keep the process: nothing of theirs is wanted any more.
    runtime.shutdown_background();
    done
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
    /// Without a handler these would end the process.
    _ignored: [Signal; 3],
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
            _ignored: [
                signal(SignalKind::user_defined1())?,
                signal(SignalKind::user_defined2())?,
                signal(SignalKind::from_raw(SIGXFSZ))?,
            ],
        })
    }
}

/// Reloads and feeds the watchdog until the end is asked for; by whom.
async fn until_told(daemon: &Daemon, signals: &mut Signals) -> &'static str {
    let mut watchdog = tokio::time::interval(watchdog_interval());
    loop {
        tokio::select! {
            _ = signals.terminate.recv() => return "SIGTERM",
            _ = signals.interrupt.recv() => return "SIGINT",
            () = daemon.asked_to_stop() => return "waystation stop",
            _ = signals.hangup.recv() => {
                reloading();
                // Logged and shown in status; a signal has nobody to answer.
                let _ = daemon.reload().await;
                notify(&[NotifyState::Ready]);
            }
            _ = watchdog.tick() => notify(&[NotifyState::Watchdog]),
        }
    }
}

/// Half of what systemd allows, as `sd_watchdog_enabled(3)` advises.
fn watchdog_interval() -> Duration {
    sd_notify::watchdog_enabled().map_or(Duration::from_hours(1), |limit| limit / 2)
}

/// systemd wants the time with the word (`sd_notify(3)`).
fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => notify(&[NotifyState::Reloading, now]),
        Err(_) => notify(&[NotifyState::Reloading]),
    }
}

fn notify(states: &[NotifyState<'_>]) {
    // Outside systemd there is nobody to tell.
    let _ = sd_notify::notify(states);
}
