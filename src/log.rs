//! Log lines on their way to standard error: one thread writes for everybody, as many lines at once as wait.
//!
//! A session that tells of its message doesn't wait for the terminal or the file. Memory is bounded: when standard
//! error takes nothing for a while, whoever logs waits, too. Lines of the last hundredth of a second before a kill
//! may be missing.

use parking_lot::{Condvar, Mutex};
use std::io::{self, Write};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

/// Octets that may wait to be written.
const MOST: usize = 1 << 20;
/// How long lines gather: under load, a thread that was woken for each line would cost more than the lines.
const GATHERING: Duration = Duration::from_millis(10);

#[derive(Default)]
struct Waiting {
    lines: Vec<u8>,
    closed: bool,
}

#[derive(Default)]
struct Shared {
    waiting: Mutex<Waiting>,
    /// Lines came, or the end.
    arrived: Condvar,
    /// Lines were taken.
    taken: Condvar,
}

/// Where lines are handed in; cheap to clone.
#[derive(Clone)]
pub struct Lines(Arc<Shared>);

/// Writes what is left when it is dropped.
pub struct Writer {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    /// Starts the thread that writes to `out`.
    ///
    /// # Errors
    /// When no thread can be had.
    pub fn start(out: impl Write + Send + 'static) -> io::Result<(Lines, Self)> {
        let shared = Arc::new(Shared::default());
        let ours = shared.clone();
        let thread = std::thread::Builder::new().name("log".into()).spawn(move || write_on(&ours, out))?;
        Ok((Lines(shared.clone()), Self { shared, thread: Some(thread) }))
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.shared.waiting.lock().closed = true;
        self.shared.arrived.notify_one();
        if let Some(thread) = self.thread.take() {
            // A thread that panicked has nothing left to write.
            let _ = thread.join();
        }
    }
}

fn write_on(shared: &Shared, mut out: impl Write) {
    let mut batch = Vec::new();
    loop {
        let closed = {
            let mut waiting = shared.waiting.lock();
            while waiting.lines.is_empty() && !waiting.closed {
                shared.arrived.wait(&mut waiting);
            }
            std::mem::swap(&mut batch, &mut waiting.lines);
            waiting.closed
        };
        shared.taken.notify_all();
        // Nobody is left to be told that the log can't be written (H13: the relay goes on).
        let _ = out.write_all(&batch).and_then(|()| out.flush());
        batch.clear();
        if closed {
            return;
        }
        // Nobody wakes a thread that sleeps.
        std::thread::sleep(GATHERING);
    }
}

impl Write for Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut waiting = self.0.waiting.lock();
        while waiting.lines.len() > MOST && !waiting.closed {
            self.0.taken.wait(&mut waiting);
        }
        let wakes = waiting.lines.is_empty();
        waiting.lines.extend_from_slice(line);
        drop(waiting);
        if wakes {
            self.0.arrived.notify_one();
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl Write for Kept {
        fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
            self.0.lock().extend_from_slice(octets);
            Ok(octets.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn every_line_is_written_whole_and_in_order_by_the_end() {
        let kept = Kept::default();
        let (lines, writer) = Writer::start(kept.clone()).unwrap();
        let threads: Vec<_> = (0..4)
            .map(|thread| {
                let mut lines = lines.clone();
                std::thread::spawn(move || {
                    for number in 0..5000 {
                        lines
                            .write_all(format!("{thread} {number:05} {}\n", "x".repeat(80)).as_bytes())
                            .unwrap();
                    }
                })
            })
            .collect();
        for thread in threads {
            thread.join().unwrap();
        }
        drop(writer);
        let text = String::from_utf8(kept.0.lock().clone()).unwrap();
        for thread in 0..4 {
            let own: Vec<&str> =
                text.lines().filter(|line| line.starts_with(&format!("{thread} "))).collect();
            assert_eq!(own.len(), 5000);
            assert!(own.is_sorted());
        }
    }
}
