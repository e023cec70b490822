//! A smarthost's limits beside one another: those that can't be meant, and those that can't be reached.

use crate::config::units::show_duration;
use crate::config::walk::{Ledger, Table};
use crate::queue::limits::Limits;
use std::time::Duration;

const KEYS: [&str; 9] = [
    "per_minute",
    "per_hour",
    "per_day",
    "per_month",
    "count",
    "day",
    "priority_reserve",
    "interval",
    "batch",
];

/// `limits` are as written, `effective` with what is known of the provider.
pub(super) fn check(table: &Table, limits: &Limits, effective: &Limits, ledger: &mut Ledger<'_>) {
    if KEYS.iter().any(|key| table.broken(key)) {
        return;
    }
    reserve(table, effective, ledger);
    batch(table, limits, ledger);
    reach(table, limits, ledger);
}

fn reserve(table: &Table, limits: &Limits, ledger: &mut Ledger<'_>) {
    let key = "priority_reserve";
    let message = match limits.per_day {
        _ if limits.priority_reserve == 0 => return,
        None => "is a part of per_day, which has no limit; write per_day, or leave this out".to_owned(),
        Some(day) if limits.priority_reserve >= day => {
            format!("leaves nothing of per_day = {day} for the other classes; write less than {day}")
        }
        Some(_) => return,
    };
    ledger.error(&table.at(key), table.path(key), message);
}

fn batch(table: &Table, limits: &Limits, ledger: &mut Ledger<'_>) {
    let given = table.given("batch").is_some();
    if limits.batch.is_none() && given && !is_zero(table, "batch") {
        let message = "has no effect without an interval; write interval = \"1m\"";
        ledger.error(&table.at("batch"), table.path("batch"), message);
    }
    if limits.batch.is_some() && given && is_zero(table, "batch") {
        let message = "would let nothing go; write how many messages may go each interval";
        ledger.error(&table.at("batch"), table.path("batch"), message);
    }
    if limits.batch.is_some_and(|(interval, _)| interval > Duration::from_hours(24 * 31)) {
        let message = "is longer than a month; the longest is \"31d\"";
        ledger.error(&table.at("interval"), table.path("interval"), message);
    }
}

fn is_zero(table: &Table, key: &str) -> bool {
    matches!(table.value(key), Some(crate::config::value::Value::Number(0)))
}

/// A limit that another one keeps from ever being reached is a slip, or a surprise.
fn reach(table: &Table, limits: &Limits, ledger: &mut Ledger<'_>) {
    const MINUTE: Duration = Duration::from_mins(1);
    const HOUR: Duration = Duration::from_hours(1);
    const DAY: Duration = Duration::from_hours(24);
    let windows = [
        ("per_minute", MINUTE, limits.per_minute),
        ("per_hour", HOUR, limits.per_hour),
        ("per_day", DAY, limits.per_day),
        ("per_month", 31 * DAY, limits.per_month),
    ];
    for (key, span, most) in windows {
        let Some(most) = most else { continue };
        if let Some((interval, batch)) = limits.batch.filter(|(interval, _)| *interval <= span) {
            let reached = (span.as_millis() / interval.as_millis().max(1)).saturating_mul(u128::from(batch));
            if reached < u128::from(most) {
                let message = format!(
                    "{most} can't be reached: {batch} messages each {} make {reached}",
                    show_duration(interval)
                );
                ledger.warn(&table.at(key), table.path(key), message);
                continue;
            }
        }
        let shorter = windows.iter().find_map(|(name, length, less)| {
            let less = less.filter(|_| *length < span)?;
            let reached = (span.as_millis() / length.as_millis()).saturating_mul(u128::from(less));
            (reached < u128::from(most))
                .then(|| format!("{most} can't be reached: {name} = {less} makes {reached}"))
        });
        let longer = || {
            let (name, ..) = windows
                .iter()
                .find(|(_, length, other)| *length > span && other.is_some_and(|o| most > o))?;
            Some(format!("{most} is more than {name} allows; only that one counts"))
        };
        if let Some(message) = shorter.or_else(longer) {
            ledger.warn(&table.at(key), table.path(key), message);
        }
    }
}
