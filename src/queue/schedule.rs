//! When a deferred recipient is tried again. Pure.

use jiff::Timestamp;
use std::time::Duration;

/// When to try again after `attempts` failed ones, the one just made included; none when the message's time ran out.
///
/// The last wait of the schedule repeats. The last try comes exactly at the end of the message's time, so that
/// `give_up_after` is used to the full. An empty schedule waits a minute each time.
#[must_use]
pub fn next_attempt(
    schedule: &[Duration],
    attempts: u32,
    now: Timestamp,
    received_at: Timestamp,
    give_up_after: Duration,
) -> Option<Timestamp> {
    let step = usize::try_from(attempts.saturating_sub(1)).unwrap_or(usize::MAX);
    let wait = schedule.get(step).or(schedule.last()).copied().unwrap_or(Duration::from_mins(1));
    let end = received_at.checked_add(give_up_after).unwrap_or(Timestamp::MAX);
    let next = now.checked_add(wait).unwrap_or(Timestamp::MAX);
    if now >= end { None } else { Some(next.min(end)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: u64 = 60;
    const HOUR: u64 = 60 * MINUTE;

    fn waits(schedule: &[u64], give_up_after: u64) -> Vec<u64> {
        let schedule: Vec<Duration> = schedule.iter().copied().map(Duration::from_secs).collect();
        let received_at = Timestamp::UNIX_EPOCH;
        let (mut now, mut waits) = (received_at, Vec::new());
        for attempts in 1.. {
            let give_up_after = Duration::from_secs(give_up_after);
            let Some(next) = next_attempt(&schedule, attempts, now, received_at, give_up_after) else {
                break;
            };
            waits.push(u64::try_from(next.as_second() - now.as_second()).unwrap());
            now = next;
        }
        waits
    }

    #[test]
    fn the_default_schedule_for_one_day() {
        let schedule = [MINUTE, 5 * MINUTE, 15 * MINUTE, 30 * MINUTE, HOUR, 2 * HOUR, 4 * HOUR];
        assert_eq!(
            waits(&schedule, 24 * HOUR),
            [60, 300, 900, 1800, 3600, 7200, 14400, 14400, 14400, 14400, 14400, 540]
        );
    }

    #[test]
    fn a_message_whose_time_ran_out_is_not_tried_again() {
        assert_eq!(waits(&[MINUTE], 0), [0_u64; 0]);
    }

    #[test]
    fn an_empty_schedule_tries_each_minute() {
        assert_eq!(waits(&[], 150), [60, 60, 30]);
    }
}
