//! The walk over the tree: unknown keys, wrong types, missing keys and keys that don't work yet.
//!
//! What comes out are [`Tables`]: every key that was given and is good, with its place, and the default of every other.

use super::complaint::{Complaint, Complaints, Position, Source};
use super::keys::{self, Default, Key, Kind, SECTIONS, Section, Shape};
use super::node::{self, Member, Node, Place, Raw};
use super::suggest;
use super::value::{self, Item, Value};
use std::collections::{BTreeMap, BTreeSet};

/// Collects complaints, so that all come at once.
pub(super) struct Ledger<'s> {
    source: &'s Source<'s>,
    complaints: Complaints,
}

impl<'s> Ledger<'s> {
    pub(super) fn new(source: &'s Source<'s>) -> Self {
        Self { source, complaints: Complaints::default() }
    }

    pub(super) fn error(&mut self, place: &Place, key: impl Into<String>, message: impl Into<String>) {
        let complaint = self.complaint(place, key.into(), message.into(), false);
        self.complaints.errors.push(complaint);
    }

    pub(super) fn warn(&mut self, place: &Place, key: impl Into<String>, message: impl Into<String>) {
        let complaint = self.complaint(place, key.into(), message.into(), true);
        self.complaints.warnings.push(complaint);
    }

    /// What was complained about, in the order of the file.
    pub(super) fn close(mut self) -> Complaints {
        let order = |complaint: &Complaint| match &complaint.position {
            Position::File(_) => (0, 0, 0),
            Position::Line(at) => (1, at.line, at.column),
            Position::Environment(_) => (2, 0, 0),
        };
        self.complaints.errors.sort_by_key(order);
        self.complaints.warnings.sort_by_key(order);
        self.complaints
    }

    fn complaint(&self, place: &Place, key: String, message: String, warning: bool) -> Complaint {
        let position = match place {
            Place::Span(span) => Position::Line(self.source.excerpt(span)),
            Place::Environment(name) => Position::Environment(name.clone()),
            Place::File => Position::File(self.source.file().to_owned()),
        };
        Complaint { position, key, message, warning }
    }
}

/// One table of the file with what was good in it.
pub(super) struct Table {
    section: &'static Section,
    /// `smarthost.shop`, `route.1`, `log`; empty for the top.
    pub(super) label: String,
    /// `shop`; empty unless it has a name.
    pub(super) name: String,
    /// Its head.
    pub(super) place: Place,
    items: BTreeMap<&'static str, Item>,
    broken: BTreeSet<&'static str>,
    /// The good elements of lists that aren't good as a whole, with their index.
    sound: BTreeMap<&'static str, Vec<(usize, Item)>>,
}

/// All tables of the file, and the sections that stand there but could not be read.
pub(super) struct Tables {
    all: Vec<Table>,
    spoilt: BTreeSet<&'static str>,
}

impl Tables {
    /// All tables of a section, in the order of the file.
    pub(super) fn all<'t>(&'t self, section: &'t str) -> impl Iterator<Item = &'t Table> {
        self.all.iter().filter(move |table| table.section.name == section)
    }

    /// The table of a section that may stand once.
    pub(super) fn one(&self, section: &str) -> Option<&Table> {
        self.all.iter().find(|table| table.section.name == section)
    }

    /// Whether a section stands there that could not be read, so that nothing should be missed in it.
    pub(super) fn spoilt(&self, section: &str) -> bool {
        self.spoilt.contains(section)
    }

    /// Names given in a section, good or not.
    pub(super) fn names<'t>(&'t self, section: &'t str) -> impl Iterator<Item = &'t str> {
        self.all(section).map(|table| table.name.as_str())
    }
}

impl Table {
    /// A table that wasn't given: all its defaults.
    pub(super) fn absent(section: &'static Section) -> Self {
        Self {
            section,
            label: section.name.to_owned(),
            name: String::new(),
            place: Place::File,
            items: BTreeMap::new(),
            broken: BTreeSet::new(),
            sound: BTreeMap::new(),
        }
    }

    /// `smarthost.shop.port`
    pub(super) fn path(&self, key: &str) -> String {
        if self.label.is_empty() { key.to_owned() } else { format!("{}.{key}", self.label) }
    }

    /// The key as given, if it was given and good.
    pub(super) fn given(&self, key: &str) -> Option<&Item> {
        self.items.get(key)
    }

    /// The good elements of a list and where in it they stand, so that all that is wrong with it is said at once.
    pub(super) fn elements<'t>(&'t self, key: &str) -> Vec<(usize, &'t Item)> {
        match self.items.get(key) {
            Some(Item { value: Value::List(items), .. }) => items.iter().enumerate().collect(),
            _ => self.sound.get(key).into_iter().flatten().map(|(index, item)| (*index, item)).collect(),
        }
    }

    /// Whether the key was given but no good, so that nothing more should be said about it.
    pub(super) fn broken(&self, key: &str) -> bool {
        self.broken.contains(key)
    }

    /// Whether the key was given at all.
    pub(super) fn mentions(&self, key: &str) -> bool {
        self.items.contains_key(key) || self.broken.contains(key)
    }

    /// Where the key stands, else the table's head.
    pub(super) fn at(&self, key: &str) -> Place {
        self.items.get(key).map_or_else(|| self.place.clone(), |item| item.place.clone())
    }

    /// The value that holds: as given, else the default, else none.
    pub(super) fn value(&self, key: &str) -> Option<Value> {
        if let Some(item) = self.items.get(key) {
            return Some(item.value.clone());
        }
        let key = self.section.key(key)?;
        match key.default {
            Default::Is(literal) => literal_value(key.kind, literal),
            Default::Told(_) | Default::Required => None,
        }
    }
}

/// What a default or a harmless value in the table of keys means.
fn literal_value(kind: Kind, literal: &str) -> Option<Value> {
    let node = node::literal(literal)?;
    value::read(kind, &node).ok().map(|item| item.value)
}

/// Walks the whole tree.
pub(super) fn walk(members: &[Member], ledger: &mut Ledger<'_>) -> Tables {
    let mut tables = Tables { all: Vec::new(), spoilt: BTreeSet::new() };
    let sections = || SECTIONS.iter().filter(|section| section.shape != Shape::Top);
    let Some(top) = keys::section("") else { return tables };
    let mut first = Table::absent(top);
    for member in members {
        if let Some(key) = top.key(&member.key) {
            first.take(key, member, ledger);
        } else if let Some(section) = sections().find(|section| section.name == member.key) {
            tables.enter(section, member, ledger);
        } else {
            let known = top.keys.iter().map(|key| key.name).chain(sections().map(|section| section.name));
            let meant = unknown(&member.key, known, &member.key, &member.key_place, ledger);
            tables.spoilt.extend(meant);
            first.broken.extend(meant);
        }
    }
    tables.all.push(first);
    // What wasn't given holds by its defaults, if it has them; and there is always a listener.
    for section in sections() {
        let whole = section.shape == Shape::Once
            && !section.keys.iter().any(|key| matches!(key.default, Default::Required));
        if tables.one(section.name).is_none() && (whole || section.name == "listener") {
            tables.all.push(Table::absent(section));
        }
    }
    tables
}

impl Tables {
    fn enter(&mut self, section: &'static Section, member: &Member, ledger: &mut Ledger<'_>) {
        let mut spoilt = |message: String| {
            ledger.error(&member.key_place, section.name, message);
            self.spoilt.insert(section.name);
        };
        match (section.shape, &member.node.raw) {
            (Shape::Once | Shape::Top, Raw::Table(inner)) => {
                self.all.push(table(section, member.key.clone(), "", &member.key_place, inner, ledger));
            }
            (Shape::Each, Raw::List(items)) => {
                for (index, item) in items.iter().enumerate() {
                    let label = format!("{}.{}", section.name, index + 1);
                    if let Raw::Table(inner) = &item.raw {
                        self.all.push(table(section, label, "", &item.place, inner, ledger));
                    } else {
                        let message = format!("is no table; write {}", section.head());
                        ledger.error(&item.place, label, message);
                    }
                }
            }
            (Shape::Named, Raw::Table(inner)) => self.named(section, inner, ledger),
            (Shape::Each, Raw::Table(_)) => {
                spoilt(format!("there may be several; write {} with double brackets", section.head()));
            }
            (Shape::Once, Raw::List(_)) => spoilt(format!("may stand only once; write {}", section.head())),
            (_, _) => spoilt(format!("is a section; write {}", section.head())),
        }
    }

    fn named(&mut self, section: &'static Section, inner: &[Member], ledger: &mut Ledger<'_>) {
        for member in inner {
            let label = format!("{}.{}", section.name, member.key);
            let Raw::Table(keys) = &member.node.raw else {
                // Told once: whoever forgot the name forgot it for all keys below.
                if self.spoilt.insert(section.name) {
                    let head = section.head();
                    let message = format!("needs a name above it; write {head}, with a name of your choice");
                    ledger.error(&member.key_place, label, message);
                }
                continue;
            };
            let odd = |c: char| c.is_whitespace() || c.is_control();
            if member.key.is_empty() || member.key.len() > 128 || member.key.chars().any(odd) {
                let message = "is no name; it takes 1 to 128 signs without spaces";
                ledger.error(&member.key_place, label.clone(), message);
            }
            self.all.push(table(section, label, &member.key, &member.key_place, keys, ledger));
        }
    }
}

fn table(
    section: &'static Section,
    label: String,
    name: &str,
    place: &Place,
    members: &[Member],
    ledger: &mut Ledger<'_>,
) -> Table {
    let mut table = Table { label, name: name.to_owned(), place: place.clone(), ..Table::absent(section) };
    for member in members {
        if let Some(key) = section.key(&member.key) {
            table.take(key, member, ledger);
        } else {
            let known = section.keys.iter().map(|key| key.name);
            let meant = unknown(&member.key, known, &table.path(&member.key), &member.key_place, ledger);
            table.broken.extend(meant);
        }
    }
    for key in section.keys {
        if matches!(key.default, Default::Required) && !table.mentions(key.name) {
            ledger.error(place, table.path(key.name), format!("is missing: {}", key.doc));
        }
    }
    table
}

impl Table {
    fn take(&mut self, key: &'static Key, member: &Member, ledger: &mut Ledger<'_>) {
        if self.means_nothing(key, &member.node) {
            return;
        }
        match value::read(key.kind, &member.node) {
            Ok(item) => {
                self.items.insert(key.name, item);
            }
            Err(wrongs) => {
                self.broken.insert(key.name);
                if let (Kind::List(of), Raw::List(items)) = (key.kind, &member.node.raw) {
                    let read = |(index, item)| Some((index, value::read(*of, item).ok()?));
                    self.sound.insert(key.name, items.iter().enumerate().filter_map(read).collect());
                }
                for wrong in wrongs {
                    ledger.error(
                        &wrong.place,
                        format!("{}{}", self.path(key.name), wrong.suffix),
                        wrong.message,
                    );
                }
            }
        }
    }

    /// `ca_file = ""` and the like: as if it weren't there. In a route that would match everything, so there it isn't.
    fn means_nothing(&self, key: &Key, node: &Node) -> bool {
        let empty = match &node.raw {
            Raw::Text(text) | Raw::Loose(text) => text.is_empty(),
            _ => false,
        };
        let may = match key.kind {
            Kind::Path | Kind::Secret | Kind::Pin | Kind::Domain | Kind::Address | Kind::Words => true,
            Kind::Text => self.section.shape != Shape::Each,
            _ => false,
        };
        empty && may && !matches!(key.default, Default::Required)
    }
}

/// Complains, and tells which key was probably meant, so that it isn't missed as well.
fn unknown(
    word: &str,
    known: impl Iterator<Item = &'static str>,
    path: &str,
    place: &Place,
    ledger: &mut Ledger<'_>,
) -> Option<&'static str> {
    let meant = suggest::nearest(word, known);
    let hint = match meant {
        Some(near) => format!("; did you mean \"{near}\"?"),
        None => elsewhere(word).unwrap_or_default(),
    };
    ledger.error(place, path, format!("no such key{hint}"));
    meant
}

/// Where else a key of that name would be right: the usual slip is a key below the wrong head.
fn elsewhere(word: &str) -> Option<String> {
    let homes: Vec<String> = SECTIONS
        .iter()
        .filter(|section| section.key(word).is_some())
        .map(|section| match section.shape {
            Shape::Top => "at the top of the file, above the first [section]".to_owned(),
            _ => format!("in {}", section.head()),
        })
        .collect();
    (!homes.is_empty()).then(|| format!(" here; it stands {}", homes.join(" or ")))
}
