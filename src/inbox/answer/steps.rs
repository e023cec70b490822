//! How much was looked at, for the test that holds this room to its promise of linear work.
//!
//! What reads octets or lines says so here. Outside of tests nothing is counted.

#[cfg(test)]
thread_local! {
    static TAKEN: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

/// So many octets or lines were looked at.
#[cfg(test)]
pub fn took(steps: usize) {
    TAKEN.set(TAKEN.get() + steps);
}

/// So many octets or lines were looked at.
#[cfg(not(test))]
pub fn took(_: usize) {}

/// What it takes to do something.
#[cfg(test)]
fn count(work: impl FnOnce()) -> usize {
    TAKEN.set(0);
    work();
    TAKEN.get()
}

#[cfg(test)]
#[path = "../../../tests/answers/hostile.rs"]
mod hostile;

#[cfg(test)]
mod tests {
    use super::count;
    use super::hostile::{As, ROWS, Row};
    use crate::inbox::answer::extract;

    const SIZE: usize = 8 << 10;
    const SENT: &str = "one two three four five six seven eight nine ten eleven twelve thirteen fourteen";

    fn steps(row: &Row, size: usize) -> usize {
        let body = (row.body)(size);
        count(|| {
            let _ = match row.given_as {
                As::Text => extract(Some(&body), None, &[SENT]),
                As::Html => extract(None, Some(&body), &[SENT]),
            };
        })
    }

    #[test]
    fn twice_as_much_hostile_mail_takes_twice_the_steps() {
        let (mut dear, mut all) = (Vec::new(), 0);
        for row in ROWS {
            let (half, whole) = (steps(row, SIZE), steps(row, 2 * SIZE));
            all += whole;
            // A third more than twice: where the half doesn't reach a bound on looking back.
            if whole * 3 > half * 8 || whole > 200 * 2 * SIZE {
                dear.push(format!("{}: {half}, then {whole}", row.name));
            }
        }
        assert!(all > ROWS.len() * 2 * SIZE, "only {all} steps were counted");
        assert!(dear.is_empty(), "{dear:#?}");
    }
}
