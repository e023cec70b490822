//! The journal as a workbook (Office Open XML): one row for each recipient, with dates that are dates and numbers
//! that are numbers, so that a spreadsheet sorts, filters and sums them.
//!
//! Promises: text is text; nothing that a peer said becomes a formula or a link. Rows go to a temporary file as they
//! come, so that a long journal costs disk and not memory; behind a sheet's last row another sheet begins. Times are
//! UTC, as everywhere, because a cell has no time zone. What can fail: the temporary file, and the workbook's own.

use super::selection::{Message, Recipient};
use super::table::printable;
use jiff::Timestamp;
use rust_xlsxwriter::{Color, Format, FormatBorder, Worksheet, XlsxError};
use std::collections::BTreeMap;
use std::io::Write;

/// Rows of a sheet, its header included.
const MAX_ROWS: u32 = 1_048_576;
/// Characters of a cell, as UTF-16 counts them.
const MAX_CELL: usize = 32_767;
/// Days from the first of a spreadsheet's days to 1970.
const DAYS_TO_1970: f64 = 25_569.0;
const DAY_MS: f64 = 86_400_000.0;

/// Titles and widths (in characters) of the columns.
const COLUMNS: [(&str, f64); 14] = [
    ("id", 15.0),
    ("received_at (UTC)", 19.5),
    ("lane", 12.0),
    ("class", 9.0),
    ("sender", 30.0),
    ("recipient", 30.0),
    ("state", 11.0),
    ("attempts", 10.0),
    ("next_attempt (UTC)", 19.5),
    ("reply", 60.0),
    ("size_bytes", 12.0),
    ("subject", 40.0),
    ("tag", 16.0),
    ("meta", 30.0),
];

/// A workbook that grows row by row.
pub(super) struct Workbook {
    file: rust_xlsxwriter::Workbook,
    formats: Formats,
    /// Sheets of rows begun.
    sheets: usize,
    /// The next row of the last sheet.
    row: u32,
    rows_in_a_sheet: u32,
    /// Recipients by lane and state.
    summary: BTreeMap<(String, String), u32>,
}

struct Formats {
    title: Format,
    time: Format,
    whole: Format,
}

impl Workbook {
    pub(super) fn new() -> Result<Self, XlsxError> {
        Self::with_rows(MAX_ROWS)
    }

    fn with_rows(rows_in_a_sheet: u32) -> Result<Self, XlsxError> {
        let grey = Color::RGB(0x00E7_E6E6);
        let formats = Formats {
            title: Format::new().set_bold().set_background_color(grey).set_border_bottom(FormatBorder::Thin),
            time: Format::new().set_num_format("yyyy-mm-dd hh:mm:ss"),
            whole: Format::new().set_num_format("#,##0"),
        };
        let file = rust_xlsxwriter::Workbook::new();
        let mut workbook =
            Self { file, formats, sheets: 0, row: 0, rows_in_a_sheet, summary: BTreeMap::new() };
        workbook.begin_sheet()?;
        Ok(workbook)
    }

    fn begin_sheet(&mut self) -> Result<(), XlsxError> {
        self.sheets += 1;
        let name = match self.sheets {
            1 => "Journal".to_owned(),
            number => format!("Journal {number}"),
        };
        let sheet = self.file.add_worksheet_with_constant_memory()?;
        sheet.set_name(name)?.set_freeze_panes(1, 0)?;
        for ((title, width), column) in COLUMNS.into_iter().zip(0..) {
            sheet.set_column_width(column, width)?;
            sheet.write_string_with_format(0, column, title, &self.formats.title)?;
        }
        self.row = 1;
        Ok(())
    }

    /// One row for each recipient.
    pub(super) fn add(&mut self, message: &Message) -> Result<(), XlsxError> {
        let meta = message.meta_text();
        for recipient in &message.recipients {
            if self.row == self.rows_in_a_sheet {
                self.end_sheet()?;
                self.begin_sheet()?;
            }
            let sheet = self.file.worksheet_from_index(self.sheets - 1)?;
            write_row(sheet, self.row, message, recipient, &meta, &self.formats)?;
            self.row += 1;
            let key = (message.lane.clone(), recipient.state.clone());
            *self.summary.entry(key).or_default() += 1;
        }
        Ok(())
    }

    /// The filter row of the last sheet.
    fn end_sheet(&mut self) -> Result<(), XlsxError> {
        let last = self.row.saturating_sub(1).max(1);
        let columns = u16::try_from(COLUMNS.len()).unwrap_or(u16::MAX);
        self.file.worksheet_from_index(self.sheets - 1)?.autofilter(0, 0, last, columns - 1)?;
        Ok(())
    }

    /// Recipients by lane and state, on a sheet of its own.
    fn summarize(&mut self) -> Result<(), XlsxError> {
        let sheet = self.file.add_worksheet_with_constant_memory()?;
        sheet.set_name("Summary")?.set_freeze_panes(1, 0)?;
        for (title, column) in ["lane", "state", "recipients"].into_iter().zip(0..) {
            sheet.set_column_width(column, 14)?;
            sheet.write_string_with_format(0, column, title, &self.formats.title)?;
        }
        for (((lane, state), count), row) in self.summary.iter().zip(1..) {
            sheet.write_string(row, 0, cell(lane))?.write_string(row, 1, cell(state))?;
            sheet.write_number_with_format(row, 2, *count, &self.formats.whole)?;
        }
        let last = u32::try_from(self.summary.len()).unwrap_or(u32::MAX).max(1);
        sheet.autofilter(0, 0, last, 2)?;
        Ok(())
    }

    /// Writes the file.
    pub(super) fn save(mut self, to: impl Write + Send) -> Result<(), XlsxError> {
        self.end_sheet()?;
        self.summarize()?;
        self.file.save_to_writer(to)
    }
}

fn write_row(
    sheet: &mut Worksheet,
    row: u32,
    message: &Message,
    recipient: &Recipient,
    meta: &str,
    formats: &Formats,
) -> Result<(), XlsxError> {
    #[expect(clippy::cast_precision_loss, reason = "a size beyond 2^53 octets is no message's")]
    let size = message.size_bytes as f64;
    let sender = if message.sender.is_empty() { "<>" } else { &message.sender };
    let next = recipient.next_attempt.as_deref().unwrap_or_default();
    sheet.write_string(row, 0, cell(&message.id))?;
    write_time(sheet, row, 1, &message.received_at, formats)?;
    sheet.write_string(row, 2, cell(&message.lane))?;
    sheet.write_string(row, 3, cell(&message.class))?;
    sheet.write_string(row, 4, cell(sender))?;
    sheet.write_string(row, 5, cell(&recipient.address))?;
    sheet.write_string(row, 6, cell(&recipient.state))?;
    sheet.write_number(row, 7, recipient.attempts)?;
    write_time(sheet, row, 8, next, formats)?;
    write_text(sheet, row, 9, recipient.reply.as_deref())?;
    sheet.write_number_with_format(row, 10, size, &formats.whole)?;
    write_text(sheet, row, 11, message.subject.as_deref())?;
    write_text(sheet, row, 12, message.tag.as_deref())?;
    write_text(sheet, row, 13, Some(meta))
}

/// No text leaves the cell empty.
fn write_text(sheet: &mut Worksheet, row: u32, column: u16, text: Option<&str>) -> Result<(), XlsxError> {
    match text {
        None | Some("") => Ok(()),
        Some(text) => sheet.write_string(row, column, cell(text)).map(drop),
    }
}

/// A number of days with a date's format, which is what a date is to a spreadsheet.
fn write_time(
    sheet: &mut Worksheet,
    row: u32,
    column: u16,
    time: &str,
    formats: &Formats,
) -> Result<(), XlsxError> {
    match time.parse::<Timestamp>() {
        Ok(time) => sheet.write_number_with_format(row, column, days(time), &formats.time).map(drop),
        Err(_) => write_text(sheet, row, column, Some(time)),
    }
}

#[expect(clippy::cast_precision_loss, reason = "milliseconds of our times fit many times")]
fn days(time: Timestamp) -> f64 {
    time.as_millisecond() as f64 / DAY_MS + DAYS_TO_1970
}

/// Text that a cell can hold.
fn cell(text: &str) -> String {
    let mut room = MAX_CELL;
    let fits = |c: &char| {
        room = room.saturating_sub(c.len_utf16());
        room > 0
    };
    printable(text).chars().take_while(fits).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(recipients: usize) -> Message {
        let recipient = |number| {
            serde_json::json!({"address": format!("a{number}@b.test"), "state": "delivered", "attempts": 1,
                "next_attempt": null, "reply": "250 ok"})
        };
        serde_json::from_value(serde_json::json!({
            "id": "1m82daf7z0000", "received_at": "2026-11-22T15:40:12.5Z", "lane": "shop", "class": "normal",
            "sender": "", "size_bytes": 4096, "subject": "=1+1", "tag": null, "meta": {"order": "7"},
            "recipients": (0..recipients).map(recipient).collect::<Vec<_>>(),
        }))
        .unwrap()
    }

    #[test]
    fn a_time_is_days_since_the_end_of_1899() {
        // 2026-11-22 is day 46348; 15:40:12.5 are 0.65292… of a day.
        let days = days("2026-11-22T15:40:12.5Z".parse().unwrap());
        assert!((days - 46_348.652_922_453_7).abs() < 1e-9, "{days}");
    }

    #[test]
    fn a_cell_holds_what_fits_and_nothing_that_steers() {
        assert_eq!(cell("a\u{1b}b\nc"), "a\u{fffd}b / c");
        assert_eq!(cell(&"x".repeat(40_000)).len(), MAX_CELL - 1);
        assert_eq!(cell(&"\u{1f600}".repeat(40_000)).encode_utf16().count(), MAX_CELL - 1);
    }

    #[test]
    fn a_full_sheet_is_followed_by_another() {
        let mut workbook = Workbook::with_rows(3).unwrap();
        workbook.add(&message(5)).unwrap();
        assert_eq!((workbook.sheets, workbook.row), (3, 2));
        let mut octets = Vec::new();
        workbook.save(&mut octets).unwrap();
        assert!(octets.starts_with(b"PK"));
    }
}
