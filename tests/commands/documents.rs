//! What the documents say is so: commands exist, configurations load, links lead somewhere.

use crate::home::{Home, PROGRAM, clean, finish};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(name: &str) -> String {
    fs::read_to_string(root().join(name)).unwrap_or_else(|cause| panic!("{name}: {cause}"))
}

/// Every document that shows commands, configurations or links.
const DOCUMENTS: [&str; 6] = [
    "README.md",
    "docs/operations.md",
    "docs/rewriting.md",
    "docs/webhooks.md",
    "docs/limits.md",
    "docs/inbox.md",
];

/// The fenced blocks of one language; in a list they are indented.
fn blocks(text: &str, language: &str) -> Vec<String> {
    let mut blocks = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if let Some(tag) = line.trim_start().strip_prefix("```") {
            let ends = |line: &&str| line.trim_start().starts_with("```");
            let block: Vec<&str> =
                lines.by_ref().take_while(|line| !ends(line)).map(str::trim_start).collect();
            if tag == language {
                blocks.push(block.join("\n"));
            }
        }
    }
    blocks
}

fn help(words: &[&str]) -> crate::home::Ended {
    let mut command = Command::new(PROGRAM);
    clean(&mut command);
    command.args(words).arg("--help");
    finish(command, "")
}

/// The commands that a help text lists.
fn commands(words: &[&str]) -> Vec<String> {
    let text = help(words).good();
    let list = text.split("Commands:\n").nth(1).unwrap_or_default();
    let lines = list.lines().take_while(|line| line.starts_with("  "));
    // What is indented further goes on with the text above.
    let names =
        lines.filter(|line| !line.starts_with("   ")).filter_map(|line| line.split_whitespace().next());
    names.map(str::to_owned).filter(|name| name != "help").collect()
}

#[test]
fn exactly_two_commands_set_it_up() {
    let readme = read("README.md");
    for command in ["cargo run --release -- demo", "cargo test"] {
        let count = blocks(&readme, "sh")
            .iter()
            .flat_map(|block| block.lines().map(str::to_owned).collect::<Vec<_>>())
            .filter(|line| line.split('#').next().unwrap_or_default().trim() == command)
            .count();
        assert_eq!(count, 1, "`{command}` must stand in README.md once");
    }
    help(&["demo"]).good();
}

#[test]
fn every_command_in_the_documents_exists() {
    for name in DOCUMENTS {
        let text = read(name);
        for block in blocks(&text, "sh") {
            for line in block.lines().map(|line| line.split('#').next().unwrap_or_default()) {
                // Pipes and conditions part one command from the next.
                for part in line.split(['|', ';']).map(str::trim) {
                    let Some(rest) = part.split_once("waystation ") else {
                        continue;
                    };
                    if !matches!(rest.0.trim(), "" | "sudo" | "printf 'secret'") {
                        continue;
                    }
                    let words: Vec<&str> = rest.1.split_whitespace().collect();
                    let path: Vec<&str> = words
                        .iter()
                        .take_while(|word| word.chars().all(|c| c.is_ascii_lowercase()))
                        .copied()
                        .collect();
                    let depth =
                        if matches!(path.first(), Some(&"queue" | &"events" | &"inbox")) { 2 } else { 1 };
                    let told = help(&path[..path.len().min(depth)]);
                    assert_eq!(told.code, 0, "{name}: {line}: {told:?}");
                    for option in words.iter().filter_map(|word| word.strip_prefix("--")) {
                        let option = option.split('=').next().unwrap_or_default();
                        assert!(told.out.contains(&format!("--{option}")), "{name}: {line}: no --{option}");
                    }
                }
            }
        }
    }
}

#[test]
fn every_command_and_option_is_in_the_documents() {
    let documents = format!("{}{}", read("README.md"), read("docs/operations.md"));
    let mut missing = Vec::new();
    for name in commands(&[]) {
        if !documents.contains(&format!("waystation {name}")) {
            missing.push(name);
        }
    }
    for name in commands(&["queue"]) {
        if !documents.contains(&format!("waystation queue {name}")) {
            missing.push(format!("queue {name}"));
        }
    }
    for name in commands(&["events"]) {
        if !documents.contains(&format!("waystation events {name}")) {
            missing.push(format!("events {name}"));
        }
    }
    assert!(missing.is_empty(), "not in README.md or docs/operations.md: {missing:?}");
}

#[test]
fn every_configuration_in_the_documents_is_right() {
    for name in DOCUMENTS {
        for block in blocks(&read(name), "toml") {
            let home = Home::new("");
            let whole = if block.contains("[smarthost.") {
                block.clone()
            } else {
                format!("{block}\n[smarthost.shop]\nhost = \"smtp.example.com\"\n")
            };
            for file in ["events.secret", "guests.secret"] {
                home.write(file, &format!("{}\n", crate::receiver::SECRET));
            }
            home.write("shop.password", "secret\n");
            home.certify();
            fs::create_dir(home.path("certs")).unwrap();
            for file in ["relay.pem", "relay.key"] {
                fs::copy(home.path(file), home.path("certs").join(file)).unwrap();
            }
            let hash = crate::login::hash();
            home.write(
                "waystation.toml",
                &whole.replace("$argon2id$...", hash).replace("/run/credentials/waystation.service/", ""),
            );
            let loaded = waystation::config::load(&home.path("waystation.toml"), std::iter::empty());
            assert!(
                loaded.is_ok(),
                "{name}:\n{block}\n{}",
                loaded.err().map(|all| all.to_string()).unwrap_or_default()
            );
        }
    }
}

#[test]
fn every_link_leads_to_a_file() {
    for name in DOCUMENTS {
        let text = read(name);
        let folder = root().join(name).parent().map(PathBuf::from).unwrap();
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if !target.contains("://") && !target.starts_with('#') {
                assert!(
                    folder.join(target.split('#').next().unwrap_or_default()).exists(),
                    "{name}: {target}"
                );
            }
        }
    }
}

#[test]
fn every_exit_code_and_state_is_explained() {
    let operations = read("docs/operations.md");
    for code in ["64", "65", "69", "70", "75", "77", "78"] {
        assert!(operations.contains(&format!("| {code} |")), "exit code {code}");
    }
    for word in [
        "queued",
        "deferred",
        "held",
        "delivered",
        "failed",
        "expired",
        "discarded",
        "deleted",
        "flowing",
        "stopped",
        "frozen",
        "disabled",
        "removed",
    ] {
        assert!(operations.contains(&format!("| `{word}` |")), "state {word}");
    }
}
