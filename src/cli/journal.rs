//! `waystation journal`: what happened to every message, also after it is gone.

use super::queue::doubt_names;
use super::selection::{self, Message, Recipient, each_message};
use super::story::Show;
use super::workbook::Workbook;
use super::{Done, Failure, UNAVAILABLE, USAGE, control, table};
use crate::admin::Client;
use crate::queue::Filter;
use clap::{Args, Subcommand, ValueEnum};
use rust_xlsxwriter::XlsxError;
use std::fmt::Display;
use std::fs::File;
use std::io::{BufWriter, ErrorKind, IsTerminal, Write};
use std::path::{Path, PathBuf};

/// The table ends before the last, which has no bounds.
const HEADER: [&str; 14] = [
    "id",
    "received_at",
    "lane",
    "class",
    "sender",
    "size_bytes",
    "subject",
    "tag",
    "recipient",
    "state",
    "attempts",
    "next_attempt",
    "reply",
    "meta",
];

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct Journal {
    #[command(subcommand)]
    verb: Option<Verb>,
    /// Accepted then or later: 2026-11-22, "2026-11-22 14:00", RFC 3339, or how long ago (2h)
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Accepted before then
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// Sender, recipient or subject contains this
    #[arg(long = "match", value_name = "TEXT")]
    matching: Option<String>,
    /// X-Waystation-Tag was this
    #[arg(long)]
    tag: Option<String>,
    /// Only messages with a recipient in these states (delivered, failed …), and only those recipients' rows
    #[arg(long, value_name = "STATE,…")]
    state: Vec<String>,
    /// Only what this application handed in
    #[arg(long, value_name = "NAME")]
    application: Option<String>,
    /// Only what left, or is to leave, through this smarthost
    #[arg(long)]
    lane: Option<String>,
    /// How it is printed [default: table]
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// The same as --format json
    #[arg(long)]
    json: bool,
    /// Into a file instead of standard output; - is standard output
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Begin CSV with a byte order mark, which some spreadsheets need to see that it is UTF-8
    #[arg(long)]
    bom: bool,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Tell one message's whole life
    Show(Show),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Table,
    Json,
    Csv,
    Xlsx,
}

impl Journal {
    pub(super) fn run(self, config: Option<&Path>) -> Done {
        if let Some(Verb::Show(show)) = self.verb {
            return show.run(config);
        }
        let filter = self.filter()?;
        let format = match self.format {
            Some(format) if self.json && format != Format::Json => {
                let text = "waystation: --json is --format json; say one of the two";
                return Err(Failure::new(USAGE, text));
            }
            Some(format) => format,
            None if self.json => Format::Json,
            None => Format::Table,
        };
        if self.bom && format != Format::Csv {
            return Err(Failure::new(USAGE, "waystation: --bom belongs to --format csv"));
        }
        if format == Format::Xlsx && self.output().is_none() && std::io::stdout().is_terminal() {
            let text = "waystation: a workbook is nothing for a terminal; say --output FILE.xlsx";
            return Err(Failure::new(USAGE, text));
        }
        let mut client = control::client(config)?;
        let mut out = Out::open(self.output())?;
        match format {
            Format::Json => selection::array(&mut client, &filter, |text| out.write(text.as_bytes()))?,
            Format::Csv => {
                out.write(if self.bom { "\u{feff}" } else { "" }.as_bytes())?;
                out.write(table::csv_line(&HEADER).as_bytes())?;
                each_row(&mut client, &filter, |cells| {
                    let cells = cells.map(|cell| table::harmless(&cell));
                    out.write(table::csv_line(&cells.each_ref().map(String::as_str)).as_bytes())
                })?;
            }
            Format::Table => {
                let ([header @ .., _], mut rows) = (HEADER, Vec::new());
                each_row(&mut client, &filter, |cells| {
                    rows.push(cells.iter().take(header.len()).map(|cell| table::printable(cell)).collect());
                    Ok(())
                })?;
                out.write(table::aligned(&header, &rows).as_bytes())?;
            }
            Format::Xlsx => {
                let failed = |cause: XlsxError| unwritten(self.output(), &cause);
                let mut workbook = Workbook::new().map_err(failed)?;
                each_message(&mut client, &filter, |message| {
                    workbook.add(&selection::told(message)?.only(&filter)).map_err(failed)
                })?;
                let mut noting = Noting { to: &mut out.to, cause: None };
                workbook.save(&mut noting).map_err(failed)?;
                let written = noting.cause.map_or(Ok(()), Err);
                out.judge(written)?;
            }
        }
        out.close()?;
        if !selection::is_any(&mut client, filter.clone())? {
            doubt_names(&mut client, &filter)?;
        }
        Ok(())
    }

    /// The file it goes into; none is standard output.
    fn output(&self) -> Option<&Path> {
        selection::output(self.output.as_deref())
    }

    fn filter(&self) -> Result<Filter, Failure> {
        Ok(Filter {
            since: self.since.as_deref().map(|time| selection::moment(time, "--since")).transpose()?,
            before: self.until.as_deref().map(|time| selection::moment(time, "--until")).transpose()?,
            text: self.matching.clone(),
            tag: self.tag.clone(),
            states: selection::states(&self.state)?,
            application: self.application.clone(),
            lane: selection::lane(self.lane.as_ref()),
            ..Filter::default()
        })
    }
}

/// Where it goes: as it comes, so that a long journal needs no memory.
struct Out<'a> {
    to: Box<dyn Write + Send>,
    path: Option<&'a Path>,
}

impl<'a> Out<'a> {
    fn open(path: Option<&'a Path>) -> Result<Self, Failure> {
        let to: Box<dyn Write + Send> = match path {
            Some(path) => Box::new(File::create(path).map_err(|cause| unwritten(Some(path), &cause))?),
            None => Box::new(std::io::stdout()),
        };
        Ok(Self { to: Box::new(BufWriter::new(to)), path })
    }

    fn write(&mut self, octets: &[u8]) -> Done {
        let written = self.to.write_all(octets);
        self.judge(written)
    }

    fn close(mut self) -> Done {
        let flushed = self.to.flush();
        self.judge(flushed)
    }

    /// A closed pipe (`| head`) ends the program quietly.
    fn judge(&self, written: std::io::Result<()>) -> Done {
        match written {
            Err(cause) if self.path.is_none() && cause.kind() == ErrorKind::BrokenPipe => {
                std::process::exit(0)
            }
            written => written.map_err(|cause| unwritten(self.path, &cause)),
        }
    }
}

/// Writes through until that fails, keeps the system's error and takes the rest as written: the workbook's library complains on
/// standard error otherwise.
struct Noting<'o, W> {
    to: &'o mut W,
    cause: Option<std::io::Error>,
}

impl<W: Write> Write for Noting<'_, W> {
    fn write(&mut self, octets: &[u8]) -> std::io::Result<usize> {
        if self.cause.is_none() {
            self.cause = self.to.write_all(octets).err();
        }
        Ok(octets.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        if self.cause.is_none() {
            self.cause = self.to.flush().err();
        }
        Ok(())
    }
}

fn unwritten(path: Option<&Path>, cause: &dyn Display) -> Failure {
    let place =
        path.map_or_else(|| "standard output".to_owned(), |path| format!("--output {}", path.display()));
    Failure::new(UNAVAILABLE, format!("waystation: {place}: {cause}"))
}

/// One row for each recipient, in the order of [`HEADER`].
fn each_row(
    client: &mut Client,
    filter: &Filter,
    mut each: impl FnMut([String; HEADER.len()]) -> Done,
) -> Done {
    each_message(client, filter, |message| {
        let message = selection::told(message)?.only(filter);
        for recipient in &message.recipients {
            each(cells(&message, recipient))?;
        }
        Ok(())
    })
}

fn cells(message: &Message, recipient: &Recipient) -> [String; HEADER.len()] {
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    [
        message.id.clone(),
        message.received_at.clone(),
        message.lane.clone(),
        message.class.clone(),
        message.sender.clone(),
        message.size_bytes.to_string(),
        text(&message.subject),
        text(&message.tag),
        recipient.address.clone(),
        recipient.state.clone(),
        recipient.attempts.to_string(),
        text(&recipient.next_attempt),
        text(&recipient.reply),
        message.meta_text(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_closed_pipe_is_told_by_the_system_and_not_by_the_workbook() {
        struct Closed;
        impl Write for Closed {
            fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
                Err(ErrorKind::BrokenPipe.into())
            }

            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
        let mut noting = Noting { to: &mut Closed, cause: None };
        Workbook::new().unwrap().save(&mut noting).unwrap();
        assert_eq!(noting.cause.unwrap().kind(), ErrorKind::BrokenPipe);
    }
}
