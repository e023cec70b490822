//! One value of the file, judged by what its key takes.

use super::keys::{Kind, quoted};
use super::node::{Node, Place, Raw};
use super::schema::{AddressPattern, ListenAddress, Network};
use super::{names, suggest, units};
use crate::smtp::address::Address;
use secrecy::SecretString;
use std::time::Duration;

/// A value that its key takes.
#[derive(Clone)]
pub(super) enum Value {
    Flag(bool),
    /// Counts, ports, sizes and rates.
    Number(u64),
    Duration(Duration),
    Never,
    Text(String),
    Secret(SecretString),
    /// One of the words of a [`Kind::OneOf`].
    Word(&'static str),
    Network(Network),
    Listen(ListenAddress),
    Address(Address),
    Pattern(AddressPattern),
    Pin([u8; 32]),
    Pairs(Vec<(String, String)>),
    List(Vec<Item>),
}

/// A value and where it stood.
#[derive(Clone)]
pub(super) struct Item {
    pub(super) value: Value,
    pub(super) place: Place,
}

/// What is wrong with a value, or with an element of it.
pub(super) struct Wrong {
    pub(super) place: Place,
    /// `.2` for the second element of a list, `.NAME` for a pair.
    pub(super) suffix: String,
    pub(super) message: String,
}

/// Judges a value.
pub(super) fn read(kind: Kind, node: &Node) -> Result<Item, Vec<Wrong>> {
    let value = match (kind, &node.raw) {
        (Kind::OneOrMany(_), Raw::List(items)) if items.is_empty() => {
            let message = "is an empty list; give one or more".to_owned();
            return Err(vec![Wrong { place: node.place.clone(), suffix: String::new(), message }]);
        }
        (Kind::List(of) | Kind::OneOrMany(of), Raw::List(items)) => Value::List(list(*of, items)?),
        (Kind::OneOrMany(of), _) => Value::List(vec![read(*of, node)?]),
        (Kind::Words, Raw::List(items)) => Value::List(list(Kind::Text, items)?),
        (Kind::Pairs, Raw::Table(members)) => {
            let mut pairs = Vec::new();
            let mut wrongs = Vec::new();
            for member in members {
                match pair(&member.key, &member.node) {
                    Ok(pair) => pairs.push(pair),
                    Err(message) => wrongs.push(Wrong {
                        place: member.node.place.clone(),
                        suffix: format!(".{}", member.key),
                        message,
                    }),
                }
            }
            if !wrongs.is_empty() {
                return Err(wrongs);
            }
            Value::Pairs(pairs)
        }
        _ => scalar(kind, node)
            .map_err(|message| vec![Wrong { place: node.place.clone(), suffix: String::new(), message }])?,
    };
    Ok(Item { value, place: node.place.clone() })
}

fn list(of: Kind, items: &[Node]) -> Result<Vec<Item>, Vec<Wrong>> {
    let mut good = Vec::new();
    let mut wrongs = Vec::new();
    for (index, item) in items.iter().enumerate() {
        match read(of, item) {
            Ok(item) => good.push(item),
            Err(mut wrong) => {
                for one in &mut wrong {
                    one.suffix = format!(".{}{}", index + 1, one.suffix);
                }
                wrongs.append(&mut wrong);
            }
        }
    }
    if wrongs.is_empty() { Ok(good) } else { Err(wrongs) }
}

fn pair(name: &str, node: &Node) -> Result<(String, String), String> {
    if name.is_empty() || !name.bytes().all(|b| b.is_ascii_graphic() && b != b':') {
        return Err(format!("\"{name}\" is not the name of a header field"));
    }
    match &node.raw {
        Raw::Text(text) if text.chars().any(char::is_control) => Err("must be one line of text".to_owned()),
        Raw::Text(text) => Ok((name.to_owned(), text.clone())),
        _ => Err(format!("{} is not text; write it in quotes", node.describe())),
    }
}

fn scalar(kind: Kind, node: &Node) -> Result<Value, String> {
    match (kind, &node.raw) {
        (Kind::Flag, Raw::Flag(flag)) => Ok(Value::Flag(*flag)),
        (Kind::Flag, Raw::Loose(text)) => match text.to_ascii_lowercase().as_str() {
            "true" | "yes" | "1" => Ok(Value::Flag(true)),
            "false" | "no" | "0" => Ok(Value::Flag(false)),
            _ => Err(format!("\"{text}\" is neither true nor false")),
        },
        (Kind::Flag, Raw::Text(text)) if text == "true" || text == "false" => {
            Err(format!("\"{text}\" is text; write it without quotes: {text}"))
        }
        (Kind::Flag, _) => Err(format!("{} is neither true nor false", node.describe())),
        (Kind::Port | Kind::Count(..), _) => number(kind, node).map(Value::Number),
        (Kind::List(_) | Kind::Pairs, Raw::Loose(_)) => {
            Err("takes more than one value, which the environment can't hold; write it in the file"
                .to_owned())
        }
        (Kind::List(of), _) => Err(format!("{} is not a list; write [{}]", node.describe(), example(*of))),
        (Kind::Pairs, _) => {
            Err(format!("{} is not a table; write {{ X-Name = \"value\" }}", node.describe()))
        }
        (Kind::Secret | Kind::Hash, Raw::Text(text) | Raw::Loose(text)) => secret(kind, text),
        (Kind::Secret | Kind::Hash, _) => Err("must be text in quotes".to_owned()),
        (_, Raw::Text(text) | Raw::Loose(text)) => from_text(kind, text),
        (Kind::OneOf(words), _) => {
            Err(format!("{} is not one of {}", node.describe(), quoted(words, " and ")))
        }
        _ => Err(format!("{} is not text; write it in quotes, like {}", node.describe(), example(kind))),
    }
}

fn number(kind: Kind, node: &Node) -> Result<u64, String> {
    let (least, most, what) = match kind {
        Kind::Port => (1, 65_535, "a port number"),
        Kind::Count(least, most) => (least, most, "a whole number"),
        _ => (0, u64::MAX, "a number"),
    };
    let value = match &node.raw {
        Raw::Integer(_, value) => value.and_then(|value| u64::try_from(value).ok()),
        Raw::Loose(text) => match text.trim().parse::<u64>() {
            Ok(value) => Some(value),
            Err(_) => return Err(format!("{text} is not {what}")),
        },
        Raw::Text(text) if text.parse::<u64>().is_ok() => {
            return Err(format!("\"{text}\" is text; write it without quotes: {text}"));
        }
        Raw::Text(text) => return Err(format!("{text} is not {what}")),
        _ => return Err(format!("{} is not {what}", node.describe())),
    };
    value.filter(|value| (least..=most).contains(value)).ok_or_else(|| {
        let shown = match &node.raw {
            Raw::Loose(text) => text.clone(),
            _ => node.describe(),
        };
        match kind {
            Kind::Port => format!("{shown} is not a port number; they go from 1 to 65535"),
            _ if most >= u64::from(u32::MAX) => format!("{shown} is out of range; the least is {least}"),
            _ => format!("{shown} is out of range; it goes from {least} to {most}"),
        }
    })
}

fn secret(kind: Kind, text: &str) -> Result<Value, String> {
    if text.contains('\0') {
        return Err("holds a zero byte, which no login can carry".to_owned());
    }
    if matches!(kind, Kind::Hash) {
        names::password_hash(text)?;
    }
    Ok(Value::Secret(text.to_owned().into()))
}

fn from_text(kind: Kind, text: &str) -> Result<Value, String> {
    if text.chars().any(char::is_control) {
        return Err("holds a line break or another control character".to_owned());
    }
    match kind {
        Kind::Size => units::size(text).map(Value::Number),
        Kind::Rate => units::rate(text).map(Value::Number),
        Kind::DurationOrNever if text == "never" => Ok(Value::Never),
        Kind::Duration => units::duration(text).map(Value::Duration),
        Kind::DurationOrNever => {
            units::duration(text).map(Value::Duration).map_err(|message| format!("{message}, or \"never\""))
        }
        Kind::OneOf(words) => match words.iter().find(|word| **word == text) {
            Some(word) => Ok(Value::Word(word)),
            None => Err(format!(
                "\"{text}\" is not one of {}{}",
                quoted(words, " and "),
                suggest::hint(text, words.iter().copied())
            )),
        },
        Kind::Domain => names::domain(text).map(Value::Text),
        Kind::Host => names::host(text).map(Value::Text),
        Kind::HostPort => names::host_and_port(text).map(Value::Text),
        Kind::Address => names::address(text).map(Value::Address),
        Kind::Pattern => AddressPattern::parse(text).map(Value::Pattern),
        Kind::SenderPattern => AddressPattern::parse_sender(text).map(Value::Pattern),
        Kind::Network => Network::parse(text).map(Value::Network),
        Kind::Listen => names::listen(text).map(Value::Listen),
        Kind::Url => names::url(text).map(Value::Text),
        Kind::Day => names::day(text).map(Value::Text),
        Kind::Pin => names::pin(text).map(Value::Pin),
        Kind::Words => Ok(Value::List(
            text.split_whitespace()
                .map(|word| Item { value: Value::Text(word.to_owned()), place: Place::File })
                .collect(),
        )),
        _ => Ok(Value::Text(text.to_owned())),
    }
}

/// A value of that kind, for "write it like …".
fn example(kind: Kind) -> &'static str {
    match kind {
        Kind::Size => "\"25 MiB\"",
        Kind::Rate => "\"500 B/s\"",
        Kind::Duration | Kind::DurationOrNever => "\"5m\"",
        Kind::OneOf(words) => match words.first().copied() {
            Some("bare-lf") => "\"bare-lf\"",
            _ => "\"text\"",
        },
        Kind::Domain | Kind::Host => "\"smtp.example.com\"",
        Kind::HostPort => "\"smtp.example.com:587\"",
        Kind::Address => "\"shop@example.com\"",
        Kind::Pattern | Kind::SenderPattern => "\"@example.com\"",
        Kind::Network => "\"10.0.0.0/8\"",
        Kind::Listen => "\"127.0.0.1:2525\"",
        Kind::Url => "\"https://example.com/\"",
        Kind::Day => "\"rolling\"",
        Kind::Path => "\"state\"",
        _ => "\"shop\"",
    }
}
