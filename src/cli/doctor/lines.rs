//! The lines to paste: `[smarthost.NAME]` with what works.

use super::choice::Choice;
use crate::config::schema::{Login, Mechanism, PasswordSource, Smarthost, TlsMode};
use crate::deliver::providers;
use std::fmt::Write as _;

/// What stays as it is besides host, port and TLS.
pub(super) struct Rest<'a> {
    /// The smarthost's name, or one made from the host.
    pub(super) name: String,
    pub(super) host: &'a str,
    /// The configured smarthost.
    pub(super) configured: Option<&'a Smarthost>,
    /// The user name, where none is configured.
    pub(super) username: Option<&'a str>,
}

/// TOML that `check` takes. Secrets are never in it: a password that stands in the configuration itself is left to be copied.
pub(super) fn lines(choice: &Choice, rest: &Rest<'_>) -> String {
    let mut text = format!("[smarthost.{}]\n", key(&rest.name));
    let mut line = |key: &str, value: &str| {
        let _ = writeln!(text, "{key} = {}", quoted(value));
    };
    line("host", rest.host);
    let _ = writeln!(text, "port = {}\ntls = \"{}\"", choice.port, choice.tls.as_str());
    let mut line = |key: &str, value: &str| {
        let _ = writeln!(text, "{key} = {}", quoted(value));
    };
    let configured = rest.configured;
    if let Some(pin) = &choice.pin {
        line("pin_sha256", pin);
    } else if let Some(name) = &choice.server_name {
        line("server_name", name);
    }
    if let Some(own) = configured.filter(|_| choice.tls != TlsMode::None && choice.pin.is_none()) {
        if let Some(file) = &own.ca_file {
            line("ca_file", &file.to_string_lossy());
        }
        if let (Some(name), None) = (&own.server_name, &choice.server_name) {
            line("server_name", name);
        }
        if let Some(pin) = own.pin_sha256 {
            let hex = pin.iter().fold(String::new(), |hex, octet| hex + &format!("{octet:02x}"));
            line("pin_sha256", &hex);
        }
    }
    match (configured.and_then(|own| own.login.as_ref()), rest.username) {
        (Some(login), _) => credentials(&mut text, login),
        (None, Some(username)) => {
            line("username", username);
            let _ = writeln!(
                text,
                "password_file = {}   # the password alone, chmod 600",
                quoted(&format!("{}.password", rest.name))
            );
        }
        (None, None) => {}
    }
    limits(&mut text, rest);
    text
}

fn credentials(text: &mut String, login: &Login) {
    if login.mechanism != Mechanism::Auto {
        let _ = writeln!(text, "auth = \"{}\"", login.mechanism.word());
    }
    let _ = writeln!(text, "username = {}", quoted(&login.username));
    let _ = match &login.password {
        PasswordSource::Literal(_) => writeln!(text, "# password = … as it stands"),
        PasswordSource::File(path) => writeln!(text, "password_file = {}", quoted(&path.to_string_lossy())),
        PasswordSource::Env(name) => writeln!(text, "password_env = {}", quoted(name)),
        PasswordSource::Command(words) => {
            let words: Vec<String> = words.iter().map(|word| quoted(word)).collect();
            writeln!(text, "password_command = [{}]", words.join(", "))
        }
    };
}

/// Known limits as comments: what is known of a provider needn't hold for this account. What the configuration says of
/// the provider itself stands there already.
fn limits(text: &mut String, rest: &Rest<'_>) {
    if rest.configured.is_some_and(|own| own.provider.is_some()) {
        return;
    }
    let Some(provider) = providers::known(rest.host) else { return };
    for limit in provider.limits {
        let value = if limit.key == "max_size" {
            quoted(&crate::config::units::show_size(limit.most))
        } else {
            limit.most.to_string()
        };
        let _ = writeln!(text, "# {} = {value}   # {}: {}", limit.key, provider.name, limit.in_words());
    }
}

/// A name from a host: `smtp.example.co.uk` → `example`.
pub(super) fn name_of(host: &str) -> String {
    let common = ["smtp", "mail", "mx", "relay", "out", "outgoing", "send", "email", "www", "ssl0", "in-v3"];
    let is_address = host.parse::<std::net::IpAddr>().is_ok() || host.starts_with('[');
    let word = host.split('.').find(|label| {
        !is_address && !common.contains(&label.to_ascii_lowercase().as_str()) && !label.starts_with("smtp-")
    });
    let word = word.unwrap_or("upstream").to_ascii_lowercase();
    let fine: String = word.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-').collect();
    if fine.is_empty() { "upstream".into() } else { fine }
}

/// A bare key where that is possible.
fn key(name: &str) -> String {
    let bare = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c));
    if bare { name.to_owned() } else { quoted(name) }
}

/// A TOML basic string.
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c.is_control() => {
                let _ = write!(quoted, "\\u{:04X}", u32::from(c));
            }
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;
    use std::path::Path;

    #[test]
    fn names_come_from_the_part_that_tells_hosts_apart() {
        for (host, name) in [
            ("smtp.example.com", "example"),
            ("mail.casasol.example", "casasol"),
            ("email-smtp.eu-west-1.amazonaws.com", "email-smtp"),
            ("192.0.2.1", "upstream"),
            ("2001:db8::1", "upstream"),
            ("localhost", "localhost"),
        ] {
            assert_eq!(name_of(host), name, "{host}");
        }
    }

    #[test]
    fn what_is_printed_is_a_configuration_whatever_the_names_are() {
        let choice =
            Choice { port: 4650, tls: TlsMode::Implicit, server_name: Some("mx.y.test".into()), pin: None };
        for (name, username) in [("shop", "shop@x.test"), ("a.b", "a\"b\\c"), ("żółw", "żółw")] {
            let rest = Rest {
                name: name.into(),
                host: "smtp.gmail.com",
                configured: None,
                username: Some(username),
            };
            let text = lines(&choice, &rest);
            let loaded = config::parse(Path::new("x.toml"), &text, std::iter::empty());
            let loaded = loaded.unwrap_or_else(|complaints| panic!("{complaints}\n{text}"));
            let own = &loaded.config.smarthosts[name];
            assert_eq!(
                (own.port, own.tls, own.server_name.as_deref()),
                (4650, TlsMode::Implicit, Some("mx.y.test"))
            );
            assert_eq!(own.login.as_ref().unwrap().username, username);
            assert!(text.contains("# per_day = 2000"), "{text}");
        }
    }

    #[test]
    fn a_configured_smarthost_keeps_what_is_its_own() {
        let before = "[smarthost.shop]\nhost = \"x.test\"\nauth = \"login\"\nusername = \"u\"\npassword_env = \"P\"\n\
                      server_name = \"y.test\"\nca_file = \"/ca.pem\"\n";
        let env = std::iter::once(("P".to_owned(), "secret".to_owned()));
        let own = config::parse(Path::new("/x.toml"), before, env).unwrap().config.smarthosts["shop"].clone();
        let choice = Choice { port: 465, tls: TlsMode::Implicit, server_name: None, pin: None };
        let rest = Rest { name: "shop".into(), host: "x.test", configured: Some(&own), username: None };
        assert_eq!(
            lines(&choice, &rest),
            "[smarthost.shop]\nhost = \"x.test\"\nport = 465\ntls = \"implicit\"\nca_file = \"/ca.pem\"\n\
             server_name = \"y.test\"\nauth = \"login\"\nusername = \"u\"\npassword_env = \"P\"\n"
        );
    }
}
