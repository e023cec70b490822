//! A secret from the terminal, without echo, or from standard input.

use super::{BAD_DATA, Failure, UNAVAILABLE};
use rustix::termios::{LocalModes, OptionalActions, isatty, tcgetattr, tcsetattr};
use std::io::{BufRead, Write, stdin};

/// Asks with each prompt in turn on a terminal; else takes the first line of standard input once.
///
/// # Errors
/// When the terminal can't be silenced, or nothing can be read.
pub(super) fn secret(command: &str, prompts: &[&str]) -> Result<Vec<String>, Failure> {
    if !isatty(stdin()) {
        return Ok(vec![line(command)?]);
    }
    let unusable = |cause| Failure::new(UNAVAILABLE, format!("waystation {command}: terminal: {cause}"));
    let before = tcgetattr(stdin()).map_err(unusable)?;
    let mut silent = before.clone();
    silent.local_modes.remove(LocalModes::ECHO);
    tcsetattr(stdin(), OptionalActions::Flush, &silent).map_err(unusable)?;
    let answers = prompts.iter().map(|prompt| prompted(command, prompt)).collect();
    tcsetattr(stdin(), OptionalActions::Flush, &before).map_err(unusable)?;
    answers
}

fn prompted(command: &str, prompt: &str) -> Result<String, Failure> {
    // Standard error, so that what a command prints can be redirected. A lost prompt harms nobody.
    let mut terminal = std::io::stderr();
    let _ = terminal.write_all(prompt.as_bytes()).and_then(|()| terminal.flush());
    let answer = line(command);
    let _ = terminal.write_all(b"\n");
    answer
}

fn line(command: &str) -> Result<String, Failure> {
    let mut text = String::new();
    stdin()
        .lock()
        .read_line(&mut text)
        .map_err(|cause| Failure::new(BAD_DATA, format!("waystation {command}: standard input: {cause}")))?;
    let line = text.strip_suffix('\n').unwrap_or(&text);
    Ok(line.strip_suffix('\r').unwrap_or(line).to_owned())
}
