//! What is alarming: when each thing began, and what changed. Pure; time is an argument.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Kinds of things that an admin must know of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A smarthost refuses the login; the subject is its name.
    SmarthostFrozen,
    /// A smarthost's quota is used up while mail of class priority waits; the subject is its name.
    QuotaExhausted,
    /// A message waits for longer than `oldest_message`; the subject is its lane.
    OldestMessage,
    /// There is less free space than `min_free`; the subject is the folder.
    DiskLow,
    /// A webhook wants no more; the subject is its name.
    EndpointDisabled,
}

impl Kind {
    /// As it is written in alerts.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::SmarthostFrozen => "smarthost_frozen",
            Self::QuotaExhausted => "quota_exhausted",
            Self::OldestMessage => "oldest_message",
            Self::DiskLow => "disk_low",
            Self::EndpointDisabled => "endpoint_disabled",
        }
    }
}

/// One thing that is alarming.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    /// What.
    pub kind: Kind,
    /// Of whom.
    pub subject: String,
    /// In words, with what to do.
    pub detail: String,
}

/// A condition that began or ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Which, with the words of its beginning.
    pub condition: Condition,
    /// When it began.
    pub began_at: Timestamp,
    /// When it ended; none: it began just now.
    pub ended_at: Option<Timestamp>,
}

/// What, and of whom.
pub(super) type Key = (Kind, String);
/// The words of its beginning, and when that was.
pub(super) type Since = (String, Timestamp);

/// Everything that is alarming now.
#[derive(Debug, Default)]
pub struct Conditions(BTreeMap<Key, Since>);

impl Conditions {
    /// As they were told before.
    pub(super) fn of(told: BTreeMap<Key, Since>) -> Self {
        Self(told)
    }

    /// Whether what began with this change is still so.
    pub(super) fn holds(&self, change: &Change) -> bool {
        let key = (change.condition.kind, change.condition.subject.clone());
        self.0.get(&key).is_some_and(|(_, began_at)| *began_at == change.began_at)
    }

    /// `present` is everything of these kinds that is so at `now`; what began and what ended with it.
    pub fn observe(&mut self, kinds: &[Kind], present: Vec<Condition>, now: Timestamp) -> Vec<Change> {
        let is_present =
            |(kind, subject): &Key| present.iter().any(|one| one.kind == *kind && one.subject == *subject);
        let over: Vec<Key> =
            self.0.keys().filter(|key| kinds.contains(&key.0) && !is_present(key)).cloned().collect();
        let mut changes: Vec<Change> =
            over.into_iter().filter_map(|(kind, subject)| self.report(kind, &subject, None, now)).collect();
        for Condition { kind, subject, detail } in present {
            changes.extend(self.report(kind, &subject, Some(detail), now));
        }
        changes
    }

    /// One thing is so, or isn't (`detail` is none then); none when that is no news.
    pub fn report(
        &mut self,
        kind: Kind,
        subject: &str,
        detail: Option<String>,
        now: Timestamp,
    ) -> Option<Change> {
        let key = (kind, subject.to_owned());
        match (detail, self.0.contains_key(&key)) {
            (Some(detail), false) => {
                self.0.insert(key, (detail.clone(), now));
                let condition = Condition { kind, subject: subject.to_owned(), detail };
                Some(Change { condition, began_at: now, ended_at: None })
            }
            (None, true) => {
                let (detail, began_at) = self.0.remove(&key)?;
                let condition = Condition { kind, subject: subject.to_owned(), detail };
                Some(Change { condition, began_at, ended_at: Some(now) })
            }
            (Some(_), true) | (None, false) => None,
        }
    }

    /// All of them.
    #[must_use]
    pub fn present(&self) -> Vec<Condition> {
        let condition = |((kind, subject), (detail, _)): (&Key, &Since)| Condition {
            kind: *kind,
            subject: subject.clone(),
            detail: detail.clone(),
        };
        self.0.iter().map(condition).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_795_000_000 + seconds).unwrap()
    }

    fn frozen(subject: &str, detail: &str) -> Condition {
        Condition { kind: Kind::SmarthostFrozen, subject: subject.into(), detail: detail.into() }
    }

    #[test]
    fn each_condition_is_told_once_and_so_is_its_end() {
        let mut conditions = Conditions::default();
        let kinds = [Kind::SmarthostFrozen];
        let began =
            |subject: &str, at| Change { condition: frozen(subject, "535"), began_at: at, ended_at: None };
        assert_eq!(conditions.observe(&kinds, vec![frozen("a", "535")], at(0)), [began("a", at(0))]);
        assert_eq!(conditions.observe(&kinds, vec![frozen("a", "535 again")], at(10)), []);
        let both = vec![frozen("a", "535"), frozen("b", "535")];
        assert_eq!(conditions.observe(&kinds, both, at(20)), [began("b", at(20))]);
        let ended = Change { ended_at: Some(at(30)), ..began("a", at(0)) };
        assert_eq!(conditions.observe(&kinds, vec![frozen("b", "535")], at(30)), [ended]);
        assert_eq!(
            conditions.observe(&kinds, vec![frozen("a", "535"), frozen("b", "")], at(40)),
            [began("a", at(40))]
        );
        assert_eq!(conditions.present().len(), 2);
    }

    #[test]
    fn what_is_reported_is_not_ended_by_looking_for_other_things() {
        let mut conditions = Conditions::default();
        let told = conditions.report(Kind::QuotaExhausted, "shop", Some("0 left".into()), at(0)).unwrap();
        assert_eq!((told.began_at, told.ended_at), (at(0), None));
        assert_eq!(conditions.report(Kind::QuotaExhausted, "shop", Some("0 left".into()), at(1)), None);
        assert_eq!(conditions.observe(&[Kind::SmarthostFrozen, Kind::DiskLow], Vec::new(), at(2)), []);
        assert_eq!(conditions.report(Kind::QuotaExhausted, "other", None, at(3)), None);
        let told = conditions.report(Kind::QuotaExhausted, "shop", None, at(4)).unwrap();
        assert_eq!((told.began_at, told.ended_at), (at(0), Some(at(4))));
        assert_eq!(conditions.report(Kind::QuotaExhausted, "shop", None, at(5)), None);
    }
}
