//! Overrides from the environment: `WAYSTATION__SMARTHOST__SHOP__PASSWORD` is `password` of `[smarthost.shop]`.
//!
//! They are put into the tree before anything is judged, so that they pass through the same checks as the file. Case
//! doesn't count, and every sign that can't stand in a variable's name counts as `_`. Named tables must stand in the
//! file; the single ones and the first listener come into being.

use super::keys::{self, Key, SECTIONS, Section, Shape};
use super::node::{Member, Node, Place, Raw};
use super::suggest;
use super::walk::Ledger;

const PREFIX: &str = "WAYSTATION__";
/// Ways to give one password: an override takes the place of whichever stands in the file.
const PASSWORDS: [&str; 4] = ["password", "password_file", "password_env", "password_command"];

/// Our variables among those of the process; other than [`std::env::vars`] it survives what is not UTF-8.
pub fn environment() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os()
        .map(|(name, value)| (name.to_string_lossy().into_owned(), value.to_string_lossy().into_owned()))
}

/// Puts every override into the tree, or complains about it.
pub(super) fn overlay(members: &mut Vec<Member>, variables: &[(String, String)], ledger: &mut Ledger<'_>) {
    let mut ours: Vec<_> = variables
        .iter()
        .filter_map(|(name, value)| {
            let (head, rest) = name.split_at_checked(PREFIX.len())?;
            head.eq_ignore_ascii_case(PREFIX).then_some((name, rest, value))
        })
        .collect();
    ours.sort();
    for (name, rest, value) in ours {
        let place = Place::Environment(name.clone());
        if let Err(message) = put(members, rest, value, &place) {
            ledger.error(&place, "", message);
        }
    }
}

fn put(members: &mut Vec<Member>, rest: &str, value: &str, place: &Place) -> Result<(), String> {
    let segments: Vec<&str> = rest.split("__").collect();
    let (section, inner) = match segments.as_slice() {
        [] | [""] => return Err("names no key".to_owned()),
        [alone] => {
            let top = keys::section("").ok_or("names no key")?;
            let key = find_key(top, alone)?;
            return set(members, key, value, place);
        }
        [first, inner @ ..] => (find_section(first)?, inner),
    };
    let Some((last, middle)) = inner.split_last() else { return Err("names no key".to_owned()) };
    let key = find_key(section, last)?;
    let table = match (section.shape, middle) {
        (Shape::Once | Shape::Top, []) => single(members, section.name, place)?,
        (Shape::Each, [number]) => numbered(members, section, number, place)?,
        (Shape::Named, [_, ..]) => by_name(members, section, &middle.join("__"))?,
        (Shape::Each, _) => {
            return Err(format!("write {PREFIX}{0}__1__{1}", shout(section.name), shout(key.name)));
        }
        (Shape::Named, _) => {
            return Err(format!("write {PREFIX}{0}__NAME__{1}", shout(section.name), shout(key.name)));
        }
        (_, _) => return Err(format!("write {PREFIX}{}__{}", shout(section.name), shout(key.name))),
    };
    if PASSWORDS.contains(&key.name) {
        let other = |member: &Member| {
            PASSWORDS.contains(&member.key.as_str()) && matches!(member.key_place, Place::Span(_))
        };
        table.retain(|member| !other(member));
    }
    set(table, key, value, place)
}

fn set(table: &mut Vec<Member>, key: &'static Key, value: &str, place: &Place) -> Result<(), String> {
    if let Some(Member { key_place: Place::Environment(other), .. }) =
        table.iter().find(|member| member.key == key.name)
    {
        return Err(format!("says the same as {other}; keep one of them"));
    }
    table.retain(|member| member.key != key.name);
    table.push(Member {
        key: key.name.to_owned(),
        key_place: place.clone(),
        node: Node { raw: Raw::Loose(value.to_owned()), place: place.clone() },
    });
    Ok(())
}

fn find_section(word: &str) -> Result<&'static Section, String> {
    let wanted = fold(word);
    let named = || SECTIONS.iter().filter(|section| !section.name.is_empty());
    named().find(|section| fold(section.name) == wanted).ok_or_else(|| {
        let hint = hint(&wanted, named().map(|section| section.name));
        format!("there is no section [{wanted}]{hint}")
    })
}

fn find_key(section: &'static Section, word: &str) -> Result<&'static Key, String> {
    let wanted = fold(word);
    section.keys.iter().find(|key| fold(key.name) == wanted).ok_or_else(|| {
        let hint = hint(&wanted, section.keys.iter().map(|key| key.name));
        let home =
            if section.name.is_empty() { "at the top".to_owned() } else { format!("in {}", section.head()) };
        format!("no such key {home}{hint}")
    })
}

fn hint<'k>(word: &str, known: impl Iterator<Item = &'k str>) -> String {
    suggest::nearest(word, known).map(|near| format!("; did you mean {}?", shout(near))).unwrap_or_default()
}

/// The one table of that name, made if need be.
fn single<'m>(
    members: &'m mut Vec<Member>,
    name: &str,
    place: &Place,
) -> Result<&'m mut Vec<Member>, String> {
    let at = position_or_push(members, name, place, || Raw::Table(Vec::new()));
    match members.get_mut(at).map(|member| &mut member.node.raw) {
        Some(Raw::Table(inner)) => Ok(inner),
        _ => Err(format!("[{name}] is no table in the file")),
    }
}

/// Table number so-and-so, counted from 1. A first listener is made if there is none.
fn numbered<'m>(
    members: &'m mut Vec<Member>,
    section: &Section,
    number: &str,
    place: &Place,
) -> Result<&'m mut Vec<Member>, String> {
    let wanted = number.parse::<usize>().ok().filter(|number| *number > 0);
    let wanted =
        wanted.ok_or_else(|| format!("\"{number}\" is not a number; the first {} is 1", section.head()))?;
    let at = position_or_push(members, section.name, place, || Raw::List(Vec::new()));
    let Some(Raw::List(items)) = members.get_mut(at).map(|member| &mut member.node.raw) else {
        return Err(format!("{} is no list of tables in the file", section.head()));
    };
    if section.name == "listener" && wanted == 1 && items.is_empty() {
        items.push(Node { raw: Raw::Table(Vec::new()), place: place.clone() });
    }
    let count = items.len();
    match items.get_mut(wanted - 1).map(|item| &mut item.raw) {
        Some(Raw::Table(inner)) => Ok(inner),
        _ => Err(format!("there is no {} number {wanted} in the file; it has {count}", section.head())),
    }
}

fn by_name<'m>(
    members: &'m mut [Member],
    section: &Section,
    name: &str,
) -> Result<&'m mut Vec<Member>, String> {
    let wanted = fold(name);
    let tables =
        members.iter_mut().find(|member| member.key == section.name).map(|member| &mut member.node.raw);
    let Some(Raw::Table(tables)) = tables else {
        return Err(format!("there is no {} in the file; put it there first", section.head()));
    };
    let fits = |member: &Member| fold(&member.key) == wanted;
    if tables.iter().filter(|member| fits(member)).count() > 1 {
        return Err(format!("could mean more than one {} of the file; rename one", section.head()));
    }
    let hint = hint(&wanted, tables.iter().map(|member| member.key.as_str()));
    match tables.iter_mut().find(|member| fits(member)).map(|member| &mut member.node.raw) {
        Some(Raw::Table(inner)) => Ok(inner),
        _ => Err(format!("there is no [{}.{wanted}] in the file{hint}", section.name)),
    }
}

fn position_or_push(
    members: &mut Vec<Member>,
    name: &str,
    place: &Place,
    make: impl FnOnce() -> Raw,
) -> usize {
    members.iter().position(|member| member.key == name).unwrap_or_else(|| {
        members.push(Member {
            key: name.to_owned(),
            key_place: place.clone(),
            node: Node { raw: make(), place: place.clone() },
        });
        members.len() - 1
    })
}

fn fold(word: &str) -> String {
    word.chars().map(|c| if c.is_alphanumeric() { c.to_ascii_lowercase() } else { '_' }).collect()
}

fn shout(word: &str) -> String {
    fold(word).to_ascii_uppercase()
}
