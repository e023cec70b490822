//! The only place that asks the time. Everything else takes `now` as an argument.

use jiff::Timestamp;
use rustix::time::{ClockId, clock_gettime};
use std::sync::Arc;

/// A source of wall-clock time, and of time that nobody can set: the system's, or what tests say.
#[derive(Clone)]
pub struct Clock {
    now: Arc<dyn Fn() -> Timestamp + Send + Sync>,
    since_boot: Arc<dyn Fn() -> i64 + Send + Sync>,
    boot: Arc<str>,
}

impl Clock {
    /// The system's clocks.
    #[must_use]
    pub fn system() -> Self {
        let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        Self { now: Arc::new(Timestamp::now), since_boot: Arc::new(since_boot), boot: boot.trim().into() }
    }

    /// A clock that shows what `read` returns, and that nobody sets.
    #[must_use]
    pub fn from_fn(read: impl Fn() -> Timestamp + Clone + Send + Sync + 'static) -> Self {
        let now = read.clone();
        Self::from_fns(now, move || read().as_millisecond(), "")
    }

    /// A clock whose wall time and time since boot, in milliseconds, are two different things.
    #[must_use]
    pub fn from_fns(
        now: impl Fn() -> Timestamp + Send + Sync + 'static,
        since_boot: impl Fn() -> i64 + Send + Sync + 'static,
        boot: &str,
    ) -> Self {
        Self { now: Arc::new(now), since_boot: Arc::new(since_boot), boot: boot.into() }
    }

    /// The time, now. Somebody may set it, back or forward.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        (self.now)()
    }

    /// Milliseconds since the machine was started, sleep included; nobody sets it (`CLOCK_BOOTTIME`).
    #[must_use]
    pub fn since_boot(&self) -> i64 {
        (self.since_boot)()
    }

    /// By how many milliseconds the time is ahead of the time since boot: what changes when somebody sets it.
    #[must_use]
    pub fn ahead(&self) -> i64 {
        self.now().as_millisecond().saturating_sub(self.since_boot())
    }

    /// Names the machine's start that [`since_boot`](Self::since_boot) counts from; empty when it isn't known.
    #[must_use]
    pub fn boot(&self) -> &str {
        &self.boot
    }
}

fn since_boot() -> i64 {
    let time = clock_gettime(ClockId::Boottime);
    time.tv_sec.saturating_mul(1_000).saturating_add(time.tv_nsec / 1_000_000)
}

impl std::fmt::Debug for Clock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Clock")
    }
}
