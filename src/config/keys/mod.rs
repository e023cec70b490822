//! The table of all keys: the one place that says which there are, what they take and what they mean.
//!
//! Parsing, defaults, "did you mean", overrides from the environment, `docs/configuration.md` and the tests of the
//! example all read this table.

mod table;

pub use table::SECTIONS;

/// One table of the file, or the top of it.
#[derive(Debug)]
pub struct Section {
    /// `smarthost`; empty for the top of the file.
    pub name: &'static str,
    /// How often it may stand there, and how it is written.
    pub shape: Shape,
    /// One line on what it is for.
    pub doc: &'static str,
    /// Its keys in the order of the documentation.
    pub keys: &'static [Key],
}

/// How a section is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// Keys at the top of the file.
    Top,
    /// `[log]`
    Once,
    /// `[[listener]]`
    Each,
    /// `[smarthost.NAME]`
    Named,
}

/// One key.
#[derive(Debug)]
pub struct Key {
    /// As written in the file.
    pub name: &'static str,
    /// What it takes.
    pub kind: Kind,
    /// What holds when it isn't given.
    pub default: Default,
    /// One line on what it means.
    pub doc: &'static str,
}

/// What a key takes.
#[derive(Debug, Clone, Copy)]
pub enum Kind {
    /// Any text on one line.
    Text,
    /// Text that is never shown.
    Secret,
    /// An argon2id hash; never shown.
    Hash,
    /// `true` or `false`.
    Flag,
    /// A whole number from … to ….
    Count(u64, u64),
    /// 1 to 65535.
    Port,
    /// `"25 MiB"`.
    Size,
    /// `"500 B/s"`.
    Rate,
    /// `"5m"`.
    Duration,
    /// `"5m"` or `"never"`.
    DurationOrNever,
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// A full domain name.
    Domain,
    /// A domain name, a short name or an IP address.
    Host,
    /// The same with a port: `"smtp.example.com:587"`.
    HostPort,
    /// `"shop@example.com"`.
    Address,
    /// `"shop@example.com"` or `"@example.com"`.
    Pattern,
    /// The same, or `"<>"`.
    SenderPattern,
    /// `"10.0.0.0/8"`.
    Network,
    /// `"127.0.0.1:2525"` or `"fd:NAME"`.
    Listen,
    /// A file or folder, relative to the configuration file.
    Path,
    /// `https://…`
    Url,
    /// `"rolling"` or a time zone.
    Day,
    /// A SHA-256 in hex or base64.
    Pin,
    /// `{ Name = "value" }`
    Pairs,
    /// A program and its arguments: a list, or one text parted at spaces.
    Words,
    /// `[…, …]`
    List(&'static Kind),
    /// One alone, or a list of them.
    OneOrMany(&'static Kind),
}

/// What holds when a key isn't given.
#[derive(Debug, Clone, Copy)]
pub enum Default {
    /// This value, as TOML.
    Is(&'static str),
    /// Something worked out, told in words.
    Told(&'static str),
    /// It must be given.
    Required,
}

/// The section of that name.
#[must_use]
pub fn section(name: &str) -> Option<&'static Section> {
    SECTIONS.iter().find(|section| section.name == name)
}

impl Section {
    /// The key of that name.
    #[must_use]
    pub fn key(&self, name: &str) -> Option<&'static Key> {
        self.keys.iter().find(|key| key.name == name)
    }

    /// How its head is written in the file.
    #[must_use]
    pub fn head(&self) -> String {
        match self.shape {
            Shape::Top => String::new(),
            Shape::Once => format!("[{}]", self.name),
            Shape::Each => format!("[[{}]]", self.name),
            Shape::Named => format!("[{}.NAME]", self.name),
        }
    }
}

const fn key(name: &'static str, kind: Kind, default: Default, doc: &'static str) -> Key {
    Key { name, kind, default, doc }
}

/// The table of all keys as Markdown: `docs/configuration.md` is this and nothing else.
#[must_use]
pub fn document() -> String {
    use std::fmt::Write as _;
    let mut text = String::from(
        "# Every key of waystation.toml\n\nWritten from the table in `src/config/keys/table.rs`; a test keeps the two the same. \
         `config/waystation.toml` shows them all in place.\n\n\
         Any single value can be overridden by the environment: `WAYSTATION__SMARTHOST__SHOP__PASSWORD` is `password` of\n\
         `[smarthost.shop]`, `WAYSTATION__LISTENER__1__ADDRESS` is `address` of the first `[[listener]]`. Case doesn't count, and any\n\
         sign that can't stand in a variable's name is written `_`.\n",
    );
    for section in SECTIONS {
        let title = if section.shape == Shape::Top {
            "At the top".to_owned()
        } else {
            format!("`{}`", section.head())
        };
        let _ = write!(text, "\n## {title}\n\n{}", section.doc);
        text.push_str("\n\n| key | takes | default | meaning |\n|---|---|---|---|\n");
        for key in section.keys {
            let default = match key.default {
                Default::Is(value) => format!("`{value}`"),
                Default::Told(words) => words.to_owned(),
                Default::Required => "must be given".to_owned(),
            };
            let _ = writeln!(text, "| `{}` | {} | {default} | {} |", key.name, key.kind.takes(), key.doc);
        }
    }
    text
}

impl Kind {
    /// What it takes, in words.
    #[must_use]
    pub fn takes(&self) -> String {
        match self {
            Self::Text => "text".to_owned(),
            Self::Secret => "text, never shown".to_owned(),
            Self::Hash => "an argon2id hash from `waystation passwd`".to_owned(),
            Self::Flag => "`true` or `false`".to_owned(),
            Self::Count(least, most) if *most >= u64::from(u32::MAX) => {
                format!("a whole number from {least}")
            }
            Self::Count(least, most) => format!("a whole number, {least} to {most}"),
            Self::Port => "a port number".to_owned(),
            Self::Size => "a size, `\"25 MiB\"`".to_owned(),
            Self::Rate => "a rate, `\"500 B/s\"`".to_owned(),
            Self::Duration => "a duration, `\"90s\"`, `\"5m\"`, `\"2h\"`, `\"5d\"`".to_owned(),
            Self::DurationOrNever => "a duration, or `\"never\"`".to_owned(),
            Self::OneOf(words) => words.iter().map(|w| format!("`\"{w}\"`")).collect::<Vec<_>>().join(", "),
            Self::Domain => "a domain name".to_owned(),
            Self::Host => "a host name or IP address".to_owned(),
            Self::HostPort => "a host name or IP address with a port, `\"smtp.example.com:587\"`".to_owned(),
            Self::Address => "a mail address".to_owned(),
            Self::Pattern => "`\"a@example.com\"` or `\"@example.com\"`".to_owned(),
            Self::SenderPattern => "`\"a@example.com\"`, `\"@example.com\"` or `\"<>\"`".to_owned(),
            Self::Network => "a network, `\"10.0.0.0/8\"`".to_owned(),
            Self::Listen => "`\"IP:PORT\"` or `\"fd:NAME\"`".to_owned(),
            Self::Path => "a path, relative to this file".to_owned(),
            Self::Url => "a URL".to_owned(),
            Self::Day => "`\"rolling\"` or a time zone".to_owned(),
            Self::Pin => "a SHA-256 in hex or base64".to_owned(),
            Self::Pairs => "`{ Name = \"value\" }`".to_owned(),
            Self::Words => "a program and its arguments: a list, or one text parted at spaces".to_owned(),
            Self::List(of) => format!("a list: {}", of.takes()),
            Self::OneOrMany(of) => format!("{}, or a list of them", of.takes()),
        }
    }
}

/// `"a", "b"` and the last one behind `last`.
pub(super) fn quoted(words: &[&str], last: &str) -> String {
    let mut text = String::new();
    for (index, word) in words.iter().enumerate() {
        if index > 0 {
            text.push_str(if index + 1 == words.len() { last } else { ", " });
        }
        text.push('"');
        text.push_str(word);
        text.push('"');
    }
    text
}
