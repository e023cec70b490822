//! The file as a tree that remembers where everything stood.
//!
//! A thin copy of what the `toml` crate parsed, so that values from the environment can be put into the same tree.
//! Nothing is judged here but TOML's own syntax.

use super::complaint::{Complaint, Position, Source, is_secret_key};
use std::ops::Range;
use toml::de::{DeTable, DeValue};

/// Our deepest key is `route.1.header.NAME`; whatever is deeper is wrong anyway.
const DEEPEST: usize = 8;

/// Where something came from.
#[derive(Clone)]
pub(super) enum Place {
    /// Bytes of the file.
    Span(Range<usize>),
    /// An environment variable.
    Environment(String),
    /// The file as a whole.
    File,
}

/// A value and its place.
pub(super) struct Node {
    pub(super) raw: Raw,
    pub(super) place: Place,
}

/// A value as TOML knows it.
pub(super) enum Raw {
    Text(String),
    /// As written, and its value when it fits.
    Integer(String, Option<i64>),
    Float(String),
    Flag(bool),
    Date,
    List(Vec<Node>),
    Table(Vec<Member>),
    /// From the environment: text that may stand for any scalar.
    Loose(String),
}

/// One `key = value` of a table.
pub(super) struct Member {
    pub(super) key: String,
    pub(super) key_place: Place,
    pub(super) node: Node,
}

impl Node {
    /// What it is, for "… is a list, expected …".
    pub(super) fn describe(&self) -> String {
        match &self.raw {
            Raw::Text(text) | Raw::Loose(text) => format!("\"{text}\""),
            Raw::Integer(written, _) | Raw::Float(written) => written.clone(),
            Raw::Flag(flag) => flag.to_string(),
            Raw::Date => "a date".to_owned(),
            Raw::List(_) => "a list".to_owned(),
            Raw::Table(_) => "a table".to_owned(),
        }
    }
}

/// Parses TOML; secrets are made known to `source`, so that no complaint shows them.
pub(super) fn parse(text: &str, source: &mut Source<'_>) -> Result<Vec<Member>, Vec<Complaint>> {
    let (table, errors) = DeTable::parse_recoverable(text);
    let members = members(table.get_ref(), 0);
    hide_secrets(&members, source);
    if errors.is_empty() {
        return Ok(members);
    }
    let mut complaints: Vec<Complaint> = errors.iter().map(|error| complain(error, source)).collect();
    complaints.sort_by_key(line);
    // One slip often upsets the parser several times on the same line.
    complaints.dedup_by_key(|complaint| line(complaint));
    Err(complaints)
}

/// What can be made out of a text that may not be TOML throughout.
pub(super) fn parse_leniently(text: &str) -> Vec<Member> {
    members(DeTable::parse_recoverable(text).0.get_ref(), 0)
}

fn complain(error: &toml::de::Error, source: &Source<'_>) -> Complaint {
    let position = match error.span() {
        Some(span) => Position::Line(source.excerpt(&span)),
        None => Position::File(source.file().to_owned()),
    };
    // The parser's own words name a form of TOML that nobody meant.
    let told = match error.message() {
        text if text.starts_with("string values must be quoted") => "text must stand in quotes",
        text => text,
    };
    Complaint { position, key: String::new(), message: format!("not TOML: {told}"), warning: false }
}

fn line(complaint: &Complaint) -> usize {
    match &complaint.position {
        Position::Line(at) => at.line,
        Position::File(_) | Position::Environment(_) => 0,
    }
}

fn members(table: &DeTable<'_>, depth: usize) -> Vec<Member> {
    if depth >= DEEPEST {
        return Vec::new();
    }
    let mut members: Vec<Member> = table
        .iter()
        .map(|(key, value)| Member {
            key: key.get_ref().to_string(),
            key_place: Place::Span(key.span()),
            node: Node { raw: raw(value.get_ref(), depth + 1), place: Place::Span(value.span()) },
        })
        .collect();
    members.sort_by_key(|member| match &member.key_place {
        Place::Span(span) => span.start,
        Place::Environment(_) | Place::File => usize::MAX,
    });
    members
}

fn raw(value: &DeValue<'_>, depth: usize) -> Raw {
    match value {
        DeValue::String(text) => Raw::Text(text.to_string()),
        DeValue::Integer(number) => {
            Raw::Integer(number.to_string(), i64::from_str_radix(number.as_str(), number.radix()).ok())
        }
        DeValue::Float(number) => Raw::Float(number.as_str().to_owned()),
        DeValue::Boolean(flag) => Raw::Flag(*flag),
        DeValue::Datetime(_) => Raw::Date,
        DeValue::Array(list) if depth < DEEPEST => Raw::List(
            list.iter()
                .map(|item| Node { raw: raw(item.get_ref(), depth + 1), place: Place::Span(item.span()) })
                .collect(),
        ),
        DeValue::Array(_) => Raw::List(Vec::new()),
        DeValue::Table(table) => Raw::Table(members(table, depth)),
    }
}

fn hide_secrets(members: &[Member], source: &mut Source<'_>) {
    for member in members {
        let own = is_secret_key(&member.key) && !matches!(member.node.raw, Raw::Table(_));
        match (&member.node.place, own) {
            (Place::Span(span), true) => source.hide(span.clone()),
            _ => hide_within(&member.node, source),
        }
    }
}

fn hide_within(node: &Node, source: &mut Source<'_>) {
    match &node.raw {
        Raw::Table(members) => hide_secrets(members, source),
        Raw::List(items) => items.iter().for_each(|item| hide_within(item, source)),
        _ => {}
    }
}

/// One value alone, as the table of keys writes defaults.
pub(super) fn literal(text: &str) -> Option<Node> {
    let value = DeValue::parse(text).ok()?;
    Some(Node { raw: raw(value.get_ref(), 0), place: Place::File })
}
