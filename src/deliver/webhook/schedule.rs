//! What an attempt to post comes to, and when the next one is. Pure; time and chance are arguments.
//!
//! `2xx` is done, `410` is "no more, ever", and all else is tried again by the schedule: a `401` is often a mistake of
//! a deployment, and a lost event is worse than ten posts. `Retry-After` puts the next attempt off, never forward, so
//! that no receiver can make us burn attempts.

use crate::net::http::{Answer, PostError};
use crate::queue::outbox::PostFate;
use jiff::fmt::strtime;
use jiff::{SignedDuration, Timestamp, civil};
use std::time::Duration;

/// Nobody may put us off for longer.
const LONGEST_WAIT: SignedDuration = SignedDuration::from_hours(24);
/// The most that chance moves a wait, in thousandths.
const JITTER: i64 = 100;

/// What an attempt says about the endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    /// It does its work.
    Answers,
    /// It asks to be spared (`429`, `502`, `503`, `504`), perhaps until then.
    Strained(Option<Timestamp>),
    /// Nothing can be posted to it.
    Unreachable,
}

/// What becomes of an event and what is known of its endpoint, behind attempt number `attempt` (from 1). `chance` is
/// anything; it moves the wait by up to a tenth.
#[must_use]
pub fn judge(
    outcome: &Result<Answer, PostError>,
    attempt: u32,
    schedule: &[Duration],
    now: Timestamp,
    chance: u16,
) -> (PostFate, Health) {
    let (status, retry_after) = match outcome {
        Ok(answer) => (answer.status, answer.retry_after.as_deref()),
        Err(cause) => {
            let health = if cause.is_unreachable() { Health::Unreachable } else { Health::Answers };
            return (later(attempt, schedule, now, chance, None), health);
        }
    };
    let put_off = retry_after.and_then(|text| wait_until(text, now));
    match status {
        200..=299 => (PostFate::Done, Health::Answers),
        410 => (PostFate::Gone, Health::Answers),
        429 | 503 => (later(attempt, schedule, now, chance, put_off), Health::Strained(put_off)),
        502 | 504 => (later(attempt, schedule, now, chance, put_off), Health::Strained(None)),
        _ => (later(attempt, schedule, now, chance, put_off), Health::Answers),
    }
}

fn later(
    attempt: u32,
    schedule: &[Duration],
    now: Timestamp,
    chance: u16,
    put_off: Option<Timestamp>,
) -> PostFate {
    let index = usize::try_from(attempt).unwrap_or(usize::MAX).saturating_sub(1);
    let Some(wait) = schedule.get(index) else { return PostFate::Failed };
    let ms = i64::try_from(wait.as_millis()).unwrap_or(i64::MAX);
    let thousandths = i64::from(chance) % (2 * JITTER + 1) - JITTER;
    let wait = SignedDuration::from_millis(ms.saturating_add(ms / 1000 * thousandths));
    let next = now.checked_add(wait).unwrap_or(Timestamp::MAX);
    PostFate::Later(put_off.map_or(next, |put_off| put_off.max(next)))
}

/// `Retry-After` (RFC 9110 §10.2.3): seconds or a date, not in the past and not too far off.
fn wait_until(text: &str, now: Timestamp) -> Option<Timestamp> {
    let text = text.trim();
    let latest = now.checked_add(LONGEST_WAIT).unwrap_or(Timestamp::MAX);
    let until = if !text.is_empty() && text.bytes().all(|octet| octet.is_ascii_digit()) {
        let seconds = text.parse().unwrap_or(i64::MAX).min(LONGEST_WAIT.as_secs());
        now.checked_add(SignedDuration::from_secs(seconds)).ok()?
    } else {
        http_date(text)?
    };
    Some(until.clamp(now, latest))
}

/// The three forms of a date (RFC 9110 §5.6.7), all of them in GMT.
fn http_date(text: &str) -> Option<Timestamp> {
    let forms = ["%a, %d %b %Y %H:%M:%S GMT", "%A, %d-%b-%y %H:%M:%S GMT", "%a %b %e %H:%M:%S %Y"];
    let date: civil::DateTime =
        forms.iter().find_map(|form| strtime::parse(form, text).ok()?.to_datetime().ok())?;
    date.to_zoned(jiff::tz::TimeZone::UTC).ok().map(|date| date.timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIDDLE: u16 = 100;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_795_000_000 + seconds).unwrap()
    }

    fn contract() -> Vec<Duration> {
        [5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400].map(Duration::from_secs).into()
    }

    fn answer(status: u16, retry_after: Option<&str>) -> Answer {
        Answer { status, retry_after: retry_after.map(str::to_owned), excerpt: String::new() }
    }

    fn judged(status: u16, retry_after: Option<&str>) -> (PostFate, Health) {
        judge(&Ok(answer(status, retry_after)), 1, &contract(), at(0), MIDDLE)
    }

    #[test]
    fn the_whole_schedule() {
        let mut now = at(0);
        let mut times = Vec::new();
        for attempt in 1.. {
            match judge(&Ok(answer(500, None)), attempt, &contract(), now, MIDDLE).0 {
                PostFate::Later(next) => now = next,
                fate => {
                    assert_eq!(fate, PostFate::Failed);
                    break;
                }
            }
            times.push(now.as_second() - at(0).as_second());
        }
        // 5 s, 5 m, 30 m, 2, 5, 10, 14, 20 and 24 h, one behind the other.
        assert_eq!(times, [5, 305, 2_105, 9_305, 27_305, 63_305, 113_705, 185_705, 272_105]);
    }

    #[test]
    fn chance_moves_a_wait_by_a_tenth_at_most() {
        let wait = |chance| match judge(&Ok(answer(500, None)), 2, &contract(), at(0), chance).0 {
            PostFate::Later(next) => next.as_second() - at(0).as_second(),
            fate => panic!("{fate:?}"),
        };
        let waits: Vec<i64> = (0..=u16::MAX).step_by(7).map(wait).collect();
        assert_eq!((waits.iter().min(), waits.iter().max()), (Some(&270), Some(&330)));
    }

    #[test]
    fn each_answer_means_what_the_contract_says() {
        let usual = PostFate::Later(at(5));
        for status in [200, 201, 202, 204, 299] {
            assert_eq!(judged(status, None), (PostFate::Done, Health::Answers), "{status}");
        }
        assert_eq!(judged(410, None), (PostFate::Gone, Health::Answers));
        for status in [100, 301, 302, 307, 308, 304, 400, 401, 403, 404, 406, 409, 422, 500, 501, 505, 599] {
            assert_eq!(judged(status, None), (usual, Health::Answers), "{status}");
        }
        for status in [429, 502, 503, 504] {
            assert_eq!(judged(status, None), (usual, Health::Strained(None)), "{status}");
        }
        let failed = |cause| judge(&Err(cause), 1, &contract(), at(0), MIDDLE);
        assert_eq!(failed(PostError::TimedOut), (usual, Health::Answers));
        assert_eq!(failed(PostError::Broken("reset".into())), (usual, Health::Answers));
        let refused = PostError::Connect { host: "h".into(), port: 1, cause: "refused".into() };
        assert_eq!(failed(refused), (usual, Health::Unreachable));
    }

    #[test]
    fn retry_after_puts_off_and_never_forward() {
        let until = |seconds| (PostFate::Later(at(seconds)), Health::Strained(Some(at(seconds))));
        assert_eq!(judged(429, Some("120")), until(120));
        assert_eq!(judged(503, Some(" 120 ")), until(120));
        assert_eq!(judged(503, Some("99999999999999999999")), until(86_400));
        assert_eq!(judged(429, Some("0")), (PostFate::Later(at(5)), Health::Strained(Some(at(0)))));
        assert_eq!(judged(400, Some("60")), (PostFate::Later(at(60)), Health::Answers));
        let date_at = |form: &str, seconds| {
            strtime::format(form, &at(seconds).to_zoned(jiff::tz::TimeZone::UTC)).unwrap()
        };
        let date = |form: &str| date_at(form, 600);
        for form in ["%a, %d %b %Y %H:%M:%S GMT", "%A, %d-%b-%y %H:%M:%S GMT", "%a %b %e %H:%M:%S %Y"] {
            assert_eq!(judged(503, Some(&date(form))), until(600), "{}", date(form));
        }
        assert_eq!(judged(503, Some("Sun, 06 Nov 1994 08:49:37 GMT")).0, PostFate::Later(at(5)));
        assert_eq!(judged(503, Some(&date_at("%a, %d %b %Y %H:%M:%S GMT", 1 << 33))), until(86_400));
        for odd in ["", "soon", "-5", "1.5", "120s", "Sun, 06 Nov"] {
            assert_eq!(judged(503, Some(odd)), (PostFate::Later(at(5)), Health::Strained(None)), "{odd}");
        }
    }
}
