//! How many answers are right, by slice, and what one costs: over a collection of mails that stands outside the
//! repository. And what hostile mail costs, of as much as is read and of a quarter of it.
//!
//! `cargo bench --bench answers`. The collection is a JSON Lines file, or a folder of them, named by
//! `WAYSTATION_ANSWERS`, else `shared/data/replies` beside the checkout. `WAYSTATION_ANSWERS_SHOW=1` prints what is
//! wrong. Each line has `format` (`text`, `html`, `eml`), `raw_text_or_eml`, `expected_reply`, `accept`,
//! `accept_with_signature`, and the slices `client`, `lang`, `kind`.

#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "a benchmark")]

#[path = "../tests/answers/score.rs"]
mod score;

#[path = "../tests/answers/hostile.rs"]
mod hostile;

use hostile::{As, ROWS, Row};
use mail_parser::{Message, MessageParser, PartType};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use waystation::inbox::answer::{MOST, extract};

fn main() {
    resist();
    let Some(place) = place() else {
        println!("answers: skipped, no collection: name one with WAYSTATION_ANSWERS");
        return;
    };
    let (mut table, mut spent, mut count) = (score::Table::default(), Duration::ZERO, 0u32);
    let mut slowest = Duration::ZERO;
    for file in files(&place) {
        for line in std::fs::read_to_string(&file).unwrap().lines() {
            let case: Value = serde_json::from_str(line).unwrap();
            let took = judge(&case, &mut table);
            spent += took;
            slowest = slowest.max(took);
            count += 1;
        }
    }
    println!("{table}");
    println!("{count} mails, {:?} each, the slowest {slowest:?}", spent / count.max(1));
}

/// What hostile mail costs: the dearest rows, and all of them with `WAYSTATION_ANSWERS_SHOW`.
fn resist() {
    let mut rows: Vec<_> = ROWS.iter().map(|row| (cost(row, MOST), cost(row, MOST / 4), row)).collect();
    rows.sort_by_key(|(whole, ..)| std::cmp::Reverse(*whole));
    let shown = if std::env::var_os("WAYSTATION_ANSWERS_SHOW").is_some() { rows.len() } else { 8 };
    println!(
        "the dearest of {} kinds of hostile mail, {} KiB each and a quarter of it:",
        rows.len(),
        MOST >> 10
    );
    for (whole, quarter, row) in rows.iter().take(shown) {
        let format = if row.given_as == As::Text { "text" } else { "html" };
        println!("{whole:>12.1?} {quarter:>12.1?}  {format} {}", row.name);
    }
    println!();
}

/// The least of three, for the machine may be busy.
fn cost(row: &Row, size: usize) -> Duration {
    let body = (row.body)(size);
    let once = || {
        let start = Instant::now();
        std::hint::black_box(match row.given_as {
            As::Text => extract(Some(&body), None, &[]),
            As::Html => extract(None, Some(&body), &[]),
        });
        start.elapsed()
    };
    (0..3).map(|_| once()).min().unwrap_or_default()
}

fn place() -> Option<PathBuf> {
    if let Some(named) = std::env::var_os("WAYSTATION_ANSWERS") {
        return Some(PathBuf::from(named));
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    ["../shared/data/replies", "../../shared/data/replies"]
        .iter()
        .map(|beside| root.join(beside))
        .find(|place| place.is_dir())
}

fn files(place: &Path) -> Vec<PathBuf> {
    if place.is_file() {
        return vec![place.to_owned()];
    }
    let mut files: Vec<PathBuf> = std::fs::read_dir(place)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "jsonl"))
        .collect();
    files.sort();
    files
}

/// Scores a mail; gives the time its answer took.
fn judge(case: &Value, table: &mut score::Table) -> Duration {
    let say = |key: &str| case[key].as_str().unwrap_or_default();
    let list = |key: &str| -> Vec<String> {
        let texts = case[key].as_array().map(Vec::as_slice).unwrap_or_default();
        texts.iter().filter_map(|text| text.as_str().map(str::to_owned)).collect()
    };
    let raw = say("raw_text_or_eml").to_owned();
    let (text, html) = match say("format") {
        "text" => (Some(raw), None),
        "html" => (None, Some(raw)),
        _ => bodies(&raw),
    };
    let start = Instant::now();
    let answer = extract(text.as_deref(), html.as_deref(), &[]);
    let took = start.elapsed();
    let score =
        score::score(&answer.text, say("expected_reply"), &list("accept"), &list("accept_with_signature"));
    let format = if say("format") == "text" { "text" } else { "html+eml" };
    let mut slices = vec![
        format!("format {format}"),
        format!("language {}", say("lang")),
        format!("kind {}", say("kind")),
    ];
    slices.push("all".to_owned());
    if !say("client").is_empty() {
        slices.push(format!("client {}", say("client")));
    }
    table.add(&slices, score);
    if !score.strict && std::env::var_os("WAYSTATION_ANSWERS_SHOW").is_some() {
        println!(
            "=== {} {} [{:?}]\n{}\n--- expected\n{}",
            say("source"),
            say("name"),
            answer.cut_by,
            answer.text,
            say("expected_reply")
        );
    }
    took
}

/// The first plain and the first HTML body of a message.
fn bodies(raw: &str) -> (Option<String>, Option<String>) {
    let message = MessageParser::new().parse(raw.as_bytes()).unwrap();
    let part = |message: &Message<'_>, parts: &[u32], html: bool| {
        parts.iter().find_map(|part| match &message.parts.get(*part as usize)?.body {
            PartType::Text(text) if !html => Some(text.to_string()),
            PartType::Html(text) if html => Some(text.to_string()),
            _ => None,
        })
    };
    (part(&message, &message.text_body, false), part(&message, &message.html_body, true))
}
