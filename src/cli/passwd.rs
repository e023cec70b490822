//! `waystation passwd`: a password in, its hash out.

use super::{BAD_DATA, Done, Failure, OUR_BUG, UNAVAILABLE, print};
use crate::intake::credentials;
use rustix::termios::{LocalModes, OptionalActions, isatty, tcgetattr, tcsetattr};
use std::io::{BufRead, Write, stdin};

/// Asks twice on a terminal, without echo; else takes the first line of standard input.
pub(super) fn run() -> Done {
    let password = if isatty(stdin()) { ask()? } else { line()? };
    if password.is_empty() {
        return Err(Failure::new(
            BAD_DATA,
            "waystation passwd: the password is empty; type one, or pipe it in",
        ));
    }
    let hash = credentials::hash_password(&password)
        .map_err(|cause| Failure::new(OUR_BUG, format!("waystation passwd: {cause}")))?;
    print(&format!("{hash}\n"));
    Ok(())
}

fn ask() -> Result<String, Failure> {
    let unusable = |cause| Failure::new(UNAVAILABLE, format!("waystation passwd: terminal: {cause}"));
    let before = tcgetattr(stdin()).map_err(unusable)?;
    let mut silent = before.clone();
    silent.local_modes.remove(LocalModes::ECHO);
    tcsetattr(stdin(), OptionalActions::Flush, &silent).map_err(unusable)?;
    let answers = prompted("Password: ").and_then(|first| Ok((first, prompted("Again: ")?)));
    tcsetattr(stdin(), OptionalActions::Flush, &before).map_err(unusable)?;
    let (first, second) = answers?;
    if first == second {
        Ok(first)
    } else {
        Err(Failure::new(BAD_DATA, "waystation passwd: the two don't match; nothing was made"))
    }
}

fn prompted(prompt: &str) -> Result<String, Failure> {
    // Standard error, so that the hash can be redirected. A lost prompt harms nobody.
    let mut terminal = std::io::stderr();
    let _ = terminal.write_all(prompt.as_bytes()).and_then(|()| terminal.flush());
    let answer = line();
    let _ = terminal.write_all(b"\n");
    answer
}

fn line() -> Result<String, Failure> {
    let mut text = String::new();
    stdin()
        .lock()
        .read_line(&mut text)
        .map_err(|cause| Failure::new(BAD_DATA, format!("waystation passwd: standard input: {cause}")))?;
    let line = text.strip_suffix('\n').unwrap_or(&text);
    Ok(line.strip_suffix('\r').unwrap_or(line).to_owned())
}
