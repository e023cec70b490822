//! The words behind `sendmail`: what cron, PHP, mutt, git and their like say, read as the usual sendmails read them.
//!
//! Letters without a value may stand together (`-ti`), a value may stick to its letter (`-fann@x.test`) or follow it.
//! What asks for something that happens here anyway, or for nothing that a relay knows, is taken and means nothing;
//! what asks for something else is refused, since silence would look like obedience.

use crate::smtp::command::{Notify, Ret};
use std::path::PathBuf;

/// What was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[expect(clippy::struct_excessive_bools, reason = "switches of a command line")]
pub(super) struct Options {
    /// `-bs`: SMTP on standard input and output.
    pub(super) speaks_smtp: bool,
    /// `-t`: recipients stand in the header.
    pub(super) from_header: bool,
    /// Not `-i`: a line with a dot alone ends the message.
    pub(super) ignores_dots: bool,
    /// `-f`, `-r`: the envelope's sender; empty or `<>` is the null sender.
    pub(super) sender: Option<String>,
    /// `-F`: the sender's full name.
    pub(super) name: Option<String>,
    /// `-N`.
    pub(super) notify: Option<Notify>,
    /// `-R`.
    pub(super) ret: Option<Ret>,
    /// `-V`.
    pub(super) envid: Option<String>,
    /// `-v`: say what became of it.
    pub(super) verbose: bool,
    /// `-C`, `--config`: the configuration.
    pub(super) config: Option<PathBuf>,
    /// `--help`.
    pub(super) help: bool,
    /// Recipients, as they stand there.
    pub(super) recipients: Vec<String>,
}

impl Options {
    /// Reads the words.
    ///
    /// # Errors
    /// The first word that makes no sense, in a sentence.
    pub(super) fn parse(words: impl IntoIterator<Item = String>) -> Result<Self, String> {
        let mut options = Self::default();
        let mut words = words.into_iter();
        while let Some(word) = words.next() {
            if word == "--" {
                options.recipients.extend(words.by_ref());
            } else if let Some(long) = word.strip_prefix("--") {
                options.long(long, &mut words)?;
            } else if let Some(letters) = word.strip_prefix('-').filter(|letters| !letters.is_empty()) {
                options.letters(letters, &mut words)?;
            } else {
                options.recipients.push(word);
            }
        }
        Ok(options)
    }

    fn long(&mut self, long: &str, words: &mut impl Iterator<Item = String>) -> Result<(), String> {
        let (name, value) = long.split_once('=').map_or((long, None), |(name, value)| (name, Some(value)));
        match name {
            "help" => self.help = true,
            "config" => {
                let value = value.map(str::to_owned).or_else(|| words.next());
                self.config = Some(value.ok_or("--config needs a file")?.into());
            }
            _ => return Err(format!("--{name}: no such option")),
        }
        Ok(())
    }

    fn letters(&mut self, letters: &str, words: &mut impl Iterator<Item = String>) -> Result<(), String> {
        let mut rest = letters.chars();
        while let Some(letter) = rest.next() {
            match letter {
                'i' => self.ignores_dots = true,
                't' => self.from_header = true,
                'v' => self.verbose = true,
                // -m: me too; -n: no aliases; -s: keep "From "; -G, -U: gateway, first submission.
                'm' | 'n' | 's' | 'G' | 'U' => {}
                // Error mode and delivery mode: errors are told by the exit code, and everything is queued first.
                'e' => return Ok(()),
                'A' | 'B' | 'C' | 'F' | 'L' | 'N' | 'O' | 'R' | 'V' | 'b' | 'f' | 'h' | 'o' | 'p' | 'r' => {
                    let stuck = rest.as_str();
                    let value = if stuck.is_empty() { words.next() } else { Some(stuck.to_owned()) };
                    return self.valued(letter, value.ok_or(format!("-{letter} needs a value"))?);
                }
                'q' => {
                    let advice =
                        "the daemon sends what is queued by itself; to try at once: waystation queue retry";
                    return Err(format!("-q: {advice}"));
                }
                _ => return Err(format!("-{letter}: no such option")),
            }
        }
        Ok(())
    }

    fn valued(&mut self, letter: char, value: String) -> Result<(), String> {
        match letter {
            'f' | 'r' => self.sender = Some(value),
            'F' => self.name = Some(value),
            'C' => self.config = Some(value.into()),
            'N' => self.notify = Some(notify(&value)?),
            'R' => self.ret = Some(ret(&value)?),
            'V' => self.envid = Some(value),
            'b' => return self.mode(&value),
            'o' => return self.old(&value),
            'O' => return self.named(&value),
            // -A: which of two configurations; -B: the body's type, which is looked at; -L: the log's tag;
            // -h: hops, which Received fields count; -p: the protocol it came by.
            _ => {}
        }
        Ok(())
    }

    fn mode(&mut self, mode: &str) -> Result<(), String> {
        match mode {
            "m" => {}
            "s" => self.speaks_smtp = true,
            "p" => return Err("-bp: say waystation queue list".to_owned()),
            "d" | "D" => return Err("-bd: say waystation run".to_owned()),
            "i" => return Err("-bi: there are no aliases here".to_owned()),
            _ => return Err(format!("-b{mode}: no such mode")),
        }
        Ok(())
    }

    /// `-oi` and its like.
    fn old(&mut self, option: &str) -> Result<(), String> {
        match option.chars().next() {
            Some('i') => self.ignores_dots = true,
            Some('v') => self.verbose = true,
            // Error mode, delivery mode, me too, old-style lists, "From " lines, time-outs, macros, 8-bit.
            Some('e' | 'd' | 'm' | 'o' | 's' | 'T' | 'M' | '7' | '8' | 'E') => {}
            _ => return Err(format!("-o{option}: no such option")),
        }
        Ok(())
    }

    /// `-O IgnoreDots` and its like.
    fn named(&mut self, option: &str) -> Result<(), String> {
        let (name, value) = option.split_once('=').unwrap_or((option, "true"));
        match name.to_ascii_lowercase().as_str() {
            "ignoredots" => self.ignores_dots = !matches!(value, "false" | "False" | "f" | "no"),
            "errormode" | "deliverymode" | "metoo" | "oldstyleheaders" | "eightbitmode" => {}
            _ => return Err(format!("-O {option}: no such option")),
        }
        Ok(())
    }
}

/// RFC 3461 §4.1.
fn notify(value: &str) -> Result<Notify, String> {
    let mut notify = Notify { success: false, failure: false, delay: false };
    if value.eq_ignore_ascii_case("never") {
        return Ok(notify);
    }
    for word in value.split(',') {
        match word.trim().to_ascii_lowercase().as_str() {
            "success" => notify.success = true,
            "failure" => notify.failure = true,
            "delay" => notify.delay = true,
            _ => return Err(format!("-N {value}: say never, or some of success,failure,delay")),
        }
    }
    Ok(notify)
}

/// RFC 3461 §4.3.
fn ret(value: &str) -> Result<Ret, String> {
    match value.to_ascii_lowercase().as_str() {
        "full" => Ok(Ret::Full),
        "hdrs" => Ok(Ret::Headers),
        _ => Err(format!("-R {value}: say full or hdrs")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Options, String> {
        Options::parse(line.split_whitespace().map(str::to_owned))
    }

    fn to(recipients: &[&str]) -> Options {
        let recipients = recipients.iter().map(|each| (*each).to_owned()).collect();
        Options { recipients, ignores_dots: true, ..Options::default() }
    }

    #[test]
    fn what_programs_say_is_understood() {
        let ann = |options: Options| Options { sender: Some("ann@x.test".into()), ..options };
        for (line, expected, who) in [
            ("-t -i", Options { from_header: true, ..to(&[]) }, "PHP"),
            ("-ti", Options { from_header: true, ..to(&[]) }, "PHP, as many write it"),
            ("-t -i -fann@x.test", Options { from_header: true, ..ann(to(&[])) }, "PHP's fifth argument"),
            (
                "-i -FCronDaemon -B8BITMIME -oem root",
                Options { name: Some("CronDaemon".into()), ..to(&["root"]) },
                "Debian's cron",
            ),
            (
                "-FCronDaemon -i -odi -oem -oi -t -f ann@x.test",
                Options { name: Some("CronDaemon".into()), from_header: true, ..ann(to(&[])) },
                "cronie",
            ),
            (
                "-oem -oi -f ann@x.test -- bob@x.test eve@x.test",
                ann(to(&["bob@x.test", "eve@x.test"])),
                "mutt",
            ),
            ("-i bob@x.test eve@x.test", to(&["bob@x.test", "eve@x.test"]), "git send-email"),
            ("-f ann@x.test -i bob@x.test", ann(to(&["bob@x.test"])), "git with an envelope sender"),
            ("-i -r ann@x.test bob@x.test", ann(to(&["bob@x.test"])), "mailx"),
            (
                "-oi -em -N delay,FAILURE -R hdrs -V id7 bob@x.test",
                Options {
                    notify: Some(Notify { success: false, failure: true, delay: true }),
                    ret: Some(Ret::Headers),
                    envid: Some("id7".into()),
                    ..to(&["bob@x.test"])
                },
                "notifications",
            ),
            (
                "-bs -v",
                Options { speaks_smtp: true, verbose: true, ignores_dots: false, ..to(&[]) },
                "Alpine",
            ),
            ("-O DeliveryMode=b -O ErrorMode=m -O IgnoreDots -bm -- -x", to(&["-x"]), "long options"),
        ] {
            assert_eq!(parse(line), Ok(expected), "{who}");
        }
        assert!(!parse("bob@x.test").unwrap().ignores_dots);
    }

    #[test]
    fn what_cannot_be_done_is_refused_by_name() {
        for (line, part) in [
            ("-z", "-z: no such option"),
            ("-bd", "waystation run"),
            ("-bp", "waystation queue list"),
            ("-bt", "-bt: no such mode"),
            ("-q", "waystation queue retry"),
            ("-oQ/tmp", "-oQ/tmp"),
            ("-O QueueDirectory=/tmp", "QueueDirectory"),
            ("-N sometimes", "success,failure,delay"),
            ("-R some", "full or hdrs"),
            ("-f", "-f needs a value"),
            ("--config", "needs a file"),
            ("--verbose", "--verbose: no such option"),
        ] {
            let told = parse(line).unwrap_err();
            assert!(told.contains(part), "{line}: {told}");
        }
    }
}
