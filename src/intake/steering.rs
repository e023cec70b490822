//! When a message may leave and how urgent it is, by what its client asks for (RFC 4865, RFC 6710, and
//! `X-Waystation-Send-At`). Pure.
//!
//! Several wishes at once: the latest time holds, so that nothing leaves earlier than any of them says.

use crate::message::envelope::Class;
use crate::message::send_at::LONGEST;
use crate::smtp::command::Mail;
use crate::smtp::server::Steering;
use jiff::Timestamp;

/// What a session that begins `now` offers.
#[must_use]
pub fn steering(without_login: bool, now: Timestamp) -> Steering {
    let latest = now.checked_add(LONGEST).unwrap_or(Timestamp::MAX);
    Steering { without_login, longest: u32::try_from(LONGEST.as_secs()).unwrap_or(u32::MAX), latest }
}

/// When a message taken `now` may leave; a time that has passed is now.
#[must_use]
pub fn release(mail: &Mail, send_at: Option<Timestamp>, now: Timestamp) -> Timestamp {
    let asked = mail.release.map(|release| release.time(now));
    asked.into_iter().chain(send_at).fold(now, Timestamp::max)
}

/// The class that a message asks for: its own field, else MT-PRIORITY. RFC 6710 leaves it to us how many levels
/// there are; 0 is the normal one.
#[must_use]
pub fn class(mail: &Mail, field: Option<Class>) -> Option<Class> {
    field.or(mail.priority.map(|priority| match priority {
        1.. => Class::Priority,
        0 => Class::Normal,
        _ => Class::Bulk,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::smtp::command::Release;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn the_latest_wish_holds_and_the_past_is_now() {
        for (said, field, expected) in [
            (None, None, 1_000),
            (Some(Release::After(60)), None, 1_060),
            (Some(Release::At(at(2_000))), None, 2_000),
            (Some(Release::At(at(500))), None, 1_000),
            (None, Some(at(3_000)), 3_000),
            (None, Some(at(1)), 1_000),
            (Some(Release::After(60)), Some(at(1_030)), 1_060),
            (Some(Release::After(60)), Some(at(1_090)), 1_090),
        ] {
            let mail = Mail { release: said, ..Mail::from_null() };
            assert_eq!(release(&mail, field, at(1_000)), at(expected), "{said:?} {field:?}");
        }
    }

    #[test]
    fn a_field_goes_before_a_parameter() {
        for (priority, field, expected) in [
            (None, None, None),
            (Some(9), None, Some(Class::Priority)),
            (Some(1), None, Some(Class::Priority)),
            (Some(0), None, Some(Class::Normal)),
            (Some(-1), None, Some(Class::Bulk)),
            (Some(9), Some(Class::Bulk), Some(Class::Bulk)),
        ] {
            let mail = Mail { priority, ..Mail::from_null() };
            assert_eq!(class(&mail, field), expected, "{priority:?} {field:?}");
        }
    }
}
