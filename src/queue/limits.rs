//! What a smarthost's account may send: the limits, as rules over windows of time. Pure.
//!
//! A rolling window moves along with time: in *any* span of its length no more is sent than its limit. A calendar
//! window is a day or a month of a time zone. `priority_reserve` is a part of the day's limit that only class
//! priority may use; the windows of an hour and a month keep back the same share, so that a burst of other mail
//! doesn't use up the hour of a password reset. Shorter windows keep nothing back: they pass by themselves.

use crate::message::envelope::Class;
use jiff::tz::TimeZone;
use std::time::Duration;

/// One minute, in milliseconds.
const MINUTE: i64 = 60_000;
/// The longest month: a rolling window of so many days never sends more in any calendar month, either.
const MONTH_DAYS: i64 = 31;

/// A smarthost's limits, as configured; none is no such limit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Limits {
    /// Most in any 60 seconds.
    pub per_minute: Option<u64>,
    /// Most in any 60 minutes.
    pub per_hour: Option<u64>,
    /// Most in a day.
    pub per_day: Option<u64>,
    /// Most in a month.
    pub per_month: Option<u64>,
    /// What those four count.
    pub count: Count,
    /// What a day is, and with it a month: any 24 hours and any 31 days, or those of a time zone's calendar.
    pub day: Day,
    /// Of `per_day`, kept for class priority.
    pub priority_reserve: u64,
    /// Most messages in any span of this length.
    pub batch: Option<(Duration, u64)>,
    /// Those of the limits above that nobody wrote: what is known of the provider.
    pub known: Vec<Known>,
}

/// A limit that is a default.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// The setting's name.
    pub name: &'static str,
    /// What the provider counts.
    pub count: Count,
    /// The provider.
    pub of: String,
}

/// What a limit counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Count {
    /// Every recipient of every message.
    #[default]
    Recipients,
    /// Messages, however many recipients they have.
    Messages,
}

/// What a day is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Day {
    /// Any 24 hours.
    #[default]
    Rolling,
    /// A calendar day of this zone.
    Calendar(TimeZone),
}

/// An amount of mail of several classes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Mixed {
    /// All classes together.
    pub all: Units,
    /// Class priority alone.
    pub priority: Units,
}

impl Mixed {
    /// So much of one class.
    #[must_use]
    pub fn of(class: Class, units: Units) -> Self {
        let priority = if class == Class::Priority { units } else { Units::default() };
        Self { all: units, priority }
    }

    /// Both together.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self { all: self.all.plus(other.all), priority: self.priority.plus(other.priority) }
    }

    /// What is left without the other.
    #[must_use]
    pub fn minus(self, other: Self) -> Self {
        Self { all: self.all.minus(other.all), priority: self.priority.minus(other.priority) }
    }

    /// What goes first to somebody of this class, and what goes as that class does: mail of class priority goes first,
    /// but not to its like.
    #[must_use]
    pub fn parted(self, class: Class) -> (Units, Units) {
        match class {
            Class::Priority => (Units::default(), self.all),
            Class::Normal | Class::Bulk => (self.priority, self.all.minus(self.priority)),
        }
    }
}

/// An amount of mail.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Units {
    /// Messages.
    pub messages: u64,
    /// Recipients.
    pub recipients: u64,
}

impl Units {
    /// One message to so many recipients.
    #[must_use]
    pub fn message(recipients: u64) -> Self {
        Self { messages: 1, recipients }
    }

    /// As many as a limit counts.
    #[must_use]
    pub fn counted(self, count: Count) -> u64 {
        match count {
            Count::Recipients => self.recipients,
            Count::Messages => self.messages,
        }
    }

    /// Both together.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            messages: self.messages.saturating_add(other.messages),
            recipients: self.recipients.saturating_add(other.recipients),
        }
    }

    /// The part of it that is `some` of `all` things counted, rounded up.
    #[must_use]
    pub fn share(self, some: u64, all: u64) -> Self {
        let part = |amount: u64| {
            let part = (u128::from(amount) * u128::from(some)).div_ceil(u128::from(all.max(1)));
            u64::try_from(part).unwrap_or(u64::MAX).min(amount)
        };
        Self { messages: part(self.messages), recipients: part(self.recipients) }
    }

    /// What is left of it without `other`.
    #[must_use]
    pub fn minus(self, other: Self) -> Self {
        Self {
            messages: self.messages.saturating_sub(other.messages),
            recipients: self.recipients.saturating_sub(other.recipients),
        }
    }
}

/// One limit, as a rule over a window.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// The setting's name.
    pub name: &'static str,
    /// The window.
    pub span: Span,
    /// Most in it.
    pub most: u64,
    /// Of that, kept for class priority.
    pub reserve: u64,
    /// What is counted.
    pub count: Count,
    /// The provider that is known for it, if nobody wrote it.
    pub known_of: Option<String>,
}

/// A window of time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Span {
    /// The last so many milliseconds.
    Rolling(i64),
    /// The calendar day.
    Day(TimeZone),
    /// The calendar month.
    Month(TimeZone),
}

impl Limits {
    /// The rules, shortest window first.
    #[must_use]
    pub fn rules(&self) -> Vec<Rule> {
        let (day, month) = match &self.day {
            Day::Rolling => (Span::Rolling(24 * 60 * MINUTE), Span::Rolling(MONTH_DAYS * 24 * 60 * MINUTE)),
            Day::Calendar(zone) => (Span::Day(zone.clone()), Span::Month(zone.clone())),
        };
        let batch = self.batch.map(|(interval, most)| {
            let span = i64::try_from(interval.as_millis()).unwrap_or(i64::MAX);
            Rule {
                name: "batch",
                span: Span::Rolling(span),
                most,
                reserve: 0,
                count: Count::Messages,
                known_of: None,
            }
        });
        let counted = [
            ("per_minute", Span::Rolling(MINUTE), self.per_minute, 0),
            ("per_hour", Span::Rolling(60 * MINUTE), self.per_hour, self.reserved(self.per_hour)),
            ("per_day", day, self.per_day, self.reserved(self.per_day)),
            ("per_month", month, self.per_month, self.reserved(self.per_month)),
        ];
        let counted = counted.into_iter().filter_map(|(name, span, most, reserve)| {
            let known = self.known.iter().find(|known| known.name == name);
            let count = known.map_or(self.count, |known| known.count);
            Some(Rule {
                name,
                span,
                most: most?,
                reserve,
                count,
                known_of: known.map(|known| known.of.clone()),
            })
        });
        batch.into_iter().chain(counted).collect()
    }

    /// The share of a window that is kept for class priority: as much of it as `priority_reserve` is of the day,
    /// rounded up, but never all of it.
    fn reserved(&self, most: Option<u64>) -> u64 {
        let (Some(most), Some(day @ 1..)) = (most, self.per_day) else { return 0 };
        let share = u128::from(most) * u128::from(self.priority_reserve);
        let share = u64::try_from(share.div_ceil(u128::from(day))).unwrap_or(u64::MAX);
        share.min(most.saturating_sub(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn longer_windows_keep_back_the_same_share_and_shorter_ones_nothing() {
        let limits = Limits {
            per_minute: Some(5),
            per_hour: Some(100),
            per_day: Some(500),
            per_month: Some(10_001),
            priority_reserve: 50,
            batch: Some((Duration::from_mins(1), 3)),
            ..Limits::default()
        };
        let rules: Vec<_> =
            limits.rules().into_iter().map(|rule| (rule.name, rule.most, rule.reserve)).collect();
        assert_eq!(
            rules,
            [
                ("batch", 3, 0),
                ("per_minute", 5, 0),
                ("per_hour", 100, 10),
                ("per_day", 500, 50),
                ("per_month", 10_001, 1_001)
            ]
        );
        assert_eq!(Limits::default().rules(), []);
    }
}
