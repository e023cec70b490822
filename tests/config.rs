//! The configuration from outside: complaints word for word, the example and the documentation against the schema,
//! overrides, and files with their permissions.
//!
//! `tests/config/NAME.toml` must give `NAME.txt`, complaints and warnings together. After a change on purpose write the
//! texts anew with `UPDATE_COMPLAINTS=1 cargo test --test config` and read the difference.

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests may fail loudly, their helpers too")]

use proptest::prelude::*;
use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use waystation::config::keys::{SECTIONS, Shape, document};
use waystation::config::schema::{Config, ListenAddress, PasswordSource};
use waystation::config::{Complaints, Loaded, NotFound, find, load, parse};

const HASH: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHRzb21lc2FsdA$RdescudvJCsgt3ub+b4dWRWJTmaasrBIVhSUpXCQnZw";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn variables(pairs: &[(&str, &str)]) -> impl Iterator<Item = (String, String)> {
    pairs
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect::<Vec<_>>()
        .into_iter()
}

fn read(text: &str, env: &[(&str, &str)]) -> Result<Loaded, Complaints> {
    parse(Path::new("/etc/waystation/waystation.toml"), text, variables(env))
}

fn good(text: &str, env: &[(&str, &str)]) -> Config {
    read(text, env).unwrap_or_else(|complaints| panic!("{complaints}")).config
}

/// What an operator sees.
fn shown(outcome: Result<Loaded, Complaints>) -> String {
    match outcome {
        Ok(loaded) => loaded.warnings.iter().fold(String::new(), |mut text, warning| {
            let _ = writeln!(text, "{warning}");
            text
        }),
        Err(complaints) => format!("{complaints}\n"),
    }
}

#[test]
fn every_mistake_is_told_in_the_very_words_of_its_golden_file() {
    let update = std::env::var_os("UPDATE_COMPLAINTS").is_some();
    let mut wrong = String::new();
    let mut files: Vec<PathBuf> =
        fs::read_dir(root().join("tests/config")).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "toml"));
    files.sort();
    assert!(!files.is_empty());
    for path in files {
        let text = fs::read_to_string(&path).unwrap();
        let env: Vec<(&str, &str)> =
            text.lines().filter_map(|line| line.strip_prefix("# env: ")?.split_once('=')).collect();
        let name = path.file_name().unwrap();
        let told = shown(parse(Path::new(name), &text, variables(&env)));
        let golden = path.with_extension("txt");
        if update {
            fs::write(&golden, &told).unwrap();
        } else if fs::read_to_string(&golden).unwrap_or_default() != told {
            let _ = writeln!(wrong, "---- {} now gives ----\n{told}", path.display());
        }
        assert!(!told.contains("hunter2"), "a secret shows:\n{told}");
    }
    assert!(wrong.is_empty(), "{wrong}");
}

/// A folder that looks like an installation, with every file that the examples name.
fn installation(config: &str) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("waystation.toml");
    fs::create_dir(folder.path().join("certs")).unwrap();
    let (certificate, key) = certified();
    let files = [
        ("waystation.toml", config),
        ("shop.password", "hunter2\n"),
        ("guests.secret", "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\nwhsec_AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEB\n"),
        ("events.secret", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n"),
        ("certs/relay.pem", &certificate),
        ("certs/relay.key", &key),
    ];
    for (name, content) in files {
        fs::write(folder.path().join(name), content).unwrap();
        mode(&folder.path().join(name), 0o600);
    }
    (folder, path)
}

/// A certificate and its key.
fn certified() -> (String, String) {
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::new(["localhost".to_owned()]).unwrap();
    (certificate.self_signed(&key).unwrap().pem(), key.serialize_pem())
}

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn example() -> String {
    fs::read_to_string(root().join("config/waystation.toml")).unwrap()
}

/// The example with every `#key = …` and `#[section]` made real.
fn whole_example() -> String {
    let real = |line: &str| {
        line.strip_prefix('#')
            .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_lowercase() || c == '['))
    };
    let lines = example();
    let lines = lines.lines().map(|line| if real(line) { &line[1..] } else { line });
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn the_example_is_right_as_it_stands() {
    let loaded =
        load(&root().join("config/waystation.toml"), variables(&[])).unwrap_or_else(|c| panic!("{c}"));
    assert!(loaded.warnings.iter().all(|warning| warning.key == "hostname"), "{:?}", loaded.warnings);
}

#[test]
fn the_example_says_the_defaults() {
    let told = good(&example(), &[]);
    let silent = good("[smarthost.shop]\nhost = \"smtp.example.com\"\n", &[]);
    assert_eq!(waystation::config::changes(&silent, &told), Vec::<String>::new());
}

#[test]
fn the_whole_example_is_right() {
    let (_folder, path) = installation(&whole_example());
    if let Err(complaints) = load(&path, variables(&[])) {
        panic!("{complaints}");
    }
}

#[test]
fn the_example_names_every_key_of_the_schema() {
    let mut here = "";
    let mut found = Vec::new();
    let text = whole_example();
    for line in text.lines() {
        if let Some(head) = line.strip_prefix('[') {
            here = head.trim_start_matches('[').split([']', '.']).next().unwrap();
        } else if let Some((key, _)) = line.split_once(" = ").filter(|(key, _)| !key.starts_with('#')) {
            found.push((here, key));
        }
    }
    let known: Vec<_> =
        SECTIONS.iter().flat_map(|section| section.keys.iter().map(|key| (section.name, key.name))).collect();
    let missing: Vec<_> = known.iter().filter(|pair| !found.contains(pair)).collect();
    let strange: Vec<_> = found.iter().filter(|pair| !known.contains(pair)).collect();
    assert!(missing.is_empty() && strange.is_empty(), "missing {missing:?}, strange {strange:?}");
}

#[test]
fn the_shortest_file_runs() {
    let (_folder, path) = installation(&fs::read_to_string(root().join("config/minimal.toml")).unwrap());
    let loaded = load(&path, variables(&[])).unwrap_or_else(|complaints| panic!("{complaints}"));
    let config = loaded.config;
    assert_eq!(config.default_smarthost, "shop");
    assert_eq!(config.listeners.len(), 1);
    assert_eq!(config.listeners[0].address, ListenAddress::Socket("127.0.0.1:2525".parse().unwrap()));
    assert_eq!(config.listeners[0].trust.len(), 2);
    assert_eq!(config.state_dir, path.with_file_name("state"));
    assert_eq!(config.smarthosts["shop"].port, 587);
    assert!(matches!(
        &config.smarthosts["shop"].login.as_ref().unwrap().password,
        PasswordSource::File(file) if *file == path.with_file_name("shop.password")
    ));
}

#[test]
fn the_table_of_keys_in_the_documentation_is_the_one_in_the_code() {
    let path = root().join("docs/configuration.md");
    if std::env::var_os("UPDATE_COMPLAINTS").is_some() {
        fs::write(&path, document()).unwrap();
    }
    let told = fs::read_to_string(path).unwrap_or_default();
    assert!(told == document(), "write it anew with UPDATE_COMPLAINTS=1 cargo test --test config");
}

/// What a section can't do without, and the sections it names.
fn required(section: &str) -> String {
    let address = "address = \"a@example.com\"\n";
    match section {
        "inbox" => format!("{address}webhook = \"https://a.example.com/\"\nsecret_file = \"a.secret\"\n"),
        "channel" => "domains = [\"a.example.com\"]\n".to_owned(),
        "mailbox" => format!(
            "{address}inbox = \"in\"\n[inbox.in]\naddress = \"in@example.com\"\nwebhook = \"https://a.example.com/\"\n\
             secret_file = \"a.secret\"\n[mailbox.y]\naddress = \"b@example.com\"\ninbox = \"in\"\n"
        ),
        _ => format!("password_hash = \"{HASH}\"\n"),
    }
}

#[test]
fn defaults_in_the_table_of_keys_are_good_values() {
    for section in SECTIONS {
        for key in section.keys {
            let waystation::config::keys::Default::Is(value) = key.default else { continue };
            let line = format!("{} = {value}\n", key.name);
            let rest = "[smarthost.other]\nhost = \"a.example.com\"\ndefault = true\n";
            let text = match section.shape {
                Shape::Top => format!("{line}{rest}"),
                Shape::Named if section.name == "smarthost" => {
                    format!("{rest}[smarthost.x]\nhost = \"b.example.com\"\n{line}")
                }
                Shape::Named => format!("{rest}[{}.x]\n{}{line}", section.name, required(section.name)),
                Shape::Each if section.name == "provider" => {
                    format!("{rest}[[provider]]\nhost = \"a.example.com\"\n{line}")
                }
                Shape::Once | Shape::Each => format!("{}\n{line}{rest}", section.head()),
            };
            good(&text, &[]);
        }
    }
}

#[test]
fn the_environment_overrides_any_scalar() {
    let text = format!(
        "[[listener]]\naddress = \"127.0.0.1:1\"\n[smarthost.my-shop]\nhost = \"a.example.com\"\nusername = \"u\"\n\
         password_file = \"none\"\n[application.\"a.b\"]\npassword_hash = \"{HASH}\"\n"
    );
    let config = good(
        &text,
        &[
            ("WAYSTATION_CONFIG", "/not/an/override"),
            ("WAYSTATION__HOSTNAME", "relay.example.com"),
            ("WAYSTATION__LISTENER__1__ADDRESS", "127.0.0.1:2"),
            ("WAYSTATION__SMARTHOST__MY_SHOP__PASSWORD", "hunter2"),
            ("waystation__smarthost__my_shop__port", "2587"),
            ("WAYSTATION__SMARTHOST__MY_SHOP__POST_QUANTUM", "false"),
            ("WAYSTATION__APPLICATION__A_B__CLASS", "bulk"),
            ("WAYSTATION__LOG__LEVEL", "debug"),
            ("WAYSTATION__RETRY__WARN_AFTER", "never"),
            ("WAYSTATION__INTAKE__MAX_RECIPIENTS", "7"),
        ],
    );
    let shop = &config.smarthosts["my-shop"];
    assert_eq!(config.hostname, "relay.example.com");
    assert_eq!(config.listeners[0].address, ListenAddress::Socket("127.0.0.1:2".parse().unwrap()));
    assert_eq!((shop.port, shop.post_quantum), (2587, false));
    assert!(matches!(shop.login.as_ref().unwrap().password, PasswordSource::Literal(_)));
    assert!(config.applications["a.b"].class.is_some());
    assert_eq!(config.log.level, tracing::Level::DEBUG);
    assert_eq!(config.retry.warn_after, None);
    assert_eq!(config.intake.max_recipients, 7);
    let minimal = "[smarthost.shop]\nhost = \"a.example.com\"";
    let hasty = good(&format!("[retry]\ngive_up_after = \"1h\"\n{minimal}"), &[]);
    assert_eq!(
        hasty.retry.give_up_after,
        std::time::Duration::from_hours(1),
        "the default of warn_after gives way"
    );
    let made = good(minimal, &[("WAYSTATION__LISTENER__1__ADDRESS", "127.0.0.1:3")]);
    assert_eq!(made.listeners.len(), 1, "a first listener may come from the environment alone");
}

#[test]
fn a_secret_file_that_others_read_or_that_is_no_file_is_refused() {
    let shop = |line: &str| format!("[smarthost.shop]\nhost = \"a.example.com\"\nusername = \"u\"\n{line}\n");
    let (folder, path) = installation(&shop("password_file = \"shop.password\""));
    let secret = folder.path().join("shop.password");
    let told = || shown(load(&path, variables(&[])));
    assert_eq!(told(), "");
    mode(&secret, 0o640);
    assert_eq!(told(), "", "a group may be trusted to read");
    mode(&secret, 0o644);
    assert!(told().contains("mode 0644); chmod 600"), "{}", told());
    mode(&secret, 0o660);
    assert!(told().contains("changed by its group"), "{}", told());
    mode(&secret, 0o600);
    for (content, words) in
        [("", "is empty"), ("a\nb\n", "more than one line"), ("a\n\n", "more than one line")]
    {
        fs::write(&secret, content).unwrap();
        assert!(told().contains(words), "{}", told());
    }
    fs::remove_file(&secret).unwrap();
    assert!(told().contains("no such file"), "{}", told());
    fs::create_dir(&secret).unwrap();
    assert!(told().contains("is a folder"), "{}", told());
    fs::remove_dir(&secret).unwrap();
    let status = std::process::Command::new("mkfifo").arg(&secret).status().unwrap();
    assert!(status.success());
    assert!(told().contains("pipe, socket or device"), "{}", told());
    fs::remove_file(&secret).unwrap();
    fs::write(folder.path().join("real"), "hunter2").unwrap();
    mode(&folder.path().join("real"), 0o644);
    std::os::unix::fs::symlink("real", &secret).unwrap();
    assert!(told().contains("mode 0644"), "a link counts as what it leads to: {}", told());
    let credentials = [("CREDENTIALS_DIRECTORY", folder.path().to_str().unwrap())];
    let outcome = load(&path, variables(&credentials));
    if rustix::process::geteuid().is_root() {
        assert_eq!(outcome.unwrap().warnings.len(), 1, "root's own in a credentials folder is a warning");
    }
}

#[test]
fn what_stands_in_certificates_and_keys_is_told_with_everything_else() {
    let tls = "[tls]\ncertificate = \"certs/relay.pem\"\nkey = \"certs/relay.key\"\n";
    let shop = "[smarthost.shop]\nhost = \"a.example.com\"\nca_file = \"ca.pem\"\nprot = 25\n";
    let (folder, path) = installation(&format!("{tls}{shop}"));
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
    let told = || shown(load(&path, variables(&[]))).replace(&format!("{}/", folder.path().display()), "");
    write("ca.pem", "");
    write("certs/relay.pem", "certificate\n");
    write("certs/relay.key", "key\n");
    assert_eq!(
        told(),
        "waystation.toml:2:15: tls.certificate: certs/relay.pem is not PEM: no line begins with -----BEGIN; see that it is the right file\n    \
             2 | certificate = \"certs/relay.pem\"\n      |               ^^^^^^^^^^^^^^^^^\n\
         waystation.toml:3:7: tls.key: certs/relay.key is not PEM: no line begins with -----BEGIN; see that it is the right file\n    \
             3 | key = \"certs/relay.key\"\n      |       ^^^^^^^^^^^^^^^^^\n\
         waystation.toml:6:11: smarthost.shop.ca_file: ca.pem is empty; a certificate must stand in it, as PEM\n    \
             6 | ca_file = \"ca.pem\"\n      |           ^^^^^^^^\n\
         waystation.toml:7:1: smarthost.shop.prot: no such key; did you mean \"port\"?\n    \
             7 | prot = 25\n      | ^^^^\n\
         waystation: 4 complaints, not started\n"
    );
    let ((certificate, _), (other, key)) = (certified(), certified());
    write("ca.pem", &key);
    write("certs/relay.pem", &certificate);
    write("certs/relay.key", &key);
    let strangers = told();
    for part in [
        "waystation.toml:3:7: tls.key: certs/relay.pem and certs/relay.key can't be used together: they were not made for each other",
        ":6:11: smarthost.shop.ca_file: ca.pem is PEM, but holds \"PRIVATE KEY\" and not a certificate; name the right file",
    ] {
        assert!(strangers.contains(part), "{part} is missing in\n{strangers}");
    }
    write("certs/relay.pem", &other);
    mode(&folder.path().join("certs/relay.key"), 0o644);
    assert!(told().contains(":3:7: tls.key: certs/relay.key can be read by every user"), "{}", told());
    mode(&folder.path().join("certs/relay.key"), 0o600);
    write("ca.pem", &certificate);
    assert_eq!(told().lines().count(), 4, "the slip alone: {}", told());
}

#[test]
fn a_configuration_with_a_password_that_others_read_is_a_warning() {
    let (_folder, path) = installation(
        "[smarthost.shop]\nhost = \"a.example.com\"\nusername = \"u\"\npassword = \"hunter2\"\n",
    );
    assert_eq!(shown(load(&path, variables(&[]))), "");
    mode(&path, 0o644);
    let told = shown(load(&path, variables(&[])));
    assert!(told.contains("warning: smarthost.shop.password") && !told.contains("hunter2"), "{told}");
}

#[test]
fn files_that_cannot_be_read_are_told_by_name() {
    let (folder, path) = installation("");
    let told = |path: &Path| load(path, variables(&[])).unwrap_err().to_string();
    assert!(told(folder.path()).contains("is a folder"));
    assert!(told(&folder.path().join("none.toml")).contains("can't be read"));
    fs::write(&path, b"a = 1\nb = \"\xff\"\n").unwrap();
    assert!(told(&path).contains("waystation.toml:2:6: not UTF-8"), "{}", told(&path));
}

#[test]
fn the_file_is_looked_for_in_the_order_of_the_manual() {
    let folder = tempfile::tempdir().unwrap();
    let cwd = folder.path();
    let usual = cwd.join("config/waystation.toml");
    let other = cwd.join("other.toml");
    let nowhere = find(None, None, cwd);
    if let Err(error) = &nowhere {
        let text = error.to_string();
        assert!(
            text.contains(usual.to_str().unwrap()) && text.contains("/etc/waystation/waystation.toml"),
            "{text}"
        );
    }
    fs::create_dir(cwd.join("config")).unwrap();
    fs::write(&usual, "").unwrap();
    fs::write(&other, "").unwrap();
    assert_eq!(find(None, None, cwd).unwrap(), usual);
    assert_eq!(find(None, Some("other.toml".as_ref()), cwd).unwrap(), Path::new("other.toml"));
    assert_eq!(find(None, Some("".as_ref()), cwd).unwrap(), usual);
    assert_eq!(find(Some(&other), Some("none.toml".as_ref()), cwd).unwrap(), other);
    assert!(matches!(
        find(Some(Path::new("none.toml")), None, cwd),
        Err(NotFound::Named { by: "--config", .. })
    ));
    assert!(matches!(
        find(None, Some("none.toml".as_ref()), cwd),
        Err(NotFound::Named { by: "WAYSTATION_CONFIG", .. })
    ));
}

/// Pieces of real configurations, so that random texts get beyond the first syntax error.
fn pieces() -> impl Strategy<Value = String> {
    let keys: Vec<&str> =
        SECTIONS.iter().flat_map(|section| section.keys.iter().map(|key| key.name)).collect();
    let heads: Vec<String> = SECTIONS.iter().map(|section| format!("{}\n", section.head())).collect();
    let values = prop_oneof![
        Just("\"none\"".to_owned()),
        Just("{ a = { b = 1 } }".to_owned()),
        Just("[\"10.0.0.0/8\", 5, []]".to_owned()),
        Just("1979-05-27T07:32:00Z".to_owned()),
        Just("\"\"\"ü\n漢\"\"\"".to_owned()),
        "\"[^\"\\\\\\p{Cc}]{0,20}\"",
        "-?[0-9]{1,25}",
        "[0-9]{1,3}\\.[0-9]",
    ];
    let line = (prop::sample::select(keys), values).prop_map(|(key, value)| format!("\t{key} = {value}\n"));
    let part = prop_oneof![4 => line, 1 => prop::sample::select(heads), 1 => "\\PC{0,10}\n"];
    prop::collection::vec(part, 0..12).prop_map(|parts| parts.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_text_brings_the_parser_down(text in prop_oneof![any::<String>(), pieces()]) {
        let _ = shown(read(&text, &[]));
    }

    #[test]
    fn no_variable_brings_the_parser_down(name in "[A-Z_0-9é]{0,30}", value in any::<String>(), section in 0..SECTIONS.len()) {
        let keys = SECTIONS[section].keys;
        let direct = format!("WAYSTATION__{}__{}", SECTIONS[section].name, keys[name.len() % keys.len()].name);
        let env = [(format!("WAYSTATION__{name}"), value.clone()), (direct, value)];
        let outcome = parse(Path::new("w.toml"), "[smarthost.shop]\nhost = \"a.example.com\"\n", env.into_iter());
        let _ = shown(outcome);
    }
}
