//! The lines to paste: `[smarthost.NAME]` with what works, and everything else that its section holds.

use super::choice::Choice;
use crate::config::schema::{Mechanism, PasswordSource, Smarthost, TlsMode};
use crate::deliver::providers;
use std::fmt::Write as _;

/// What the lines are for.
pub(super) struct Rest<'a> {
    /// The smarthost's name, or one made from the host.
    pub(super) name: String,
    /// As it is configured, or all defaults.
    pub(super) smarthost: &'a Smarthost,
    /// Its section as the file has it; none for a host that isn't configured.
    pub(super) written: Option<&'a [(String, String)]>,
    /// The user name, where none is configured.
    pub(super) username: Option<&'a str>,
    /// Whether AUTH is offered on any way: only where none does, a login is left out.
    pub(super) takes_logins: bool,
    /// Whether the server asked for a login that isn't configured.
    pub(super) wants_login: bool,
}

/// Keys of a login.
const LOGIN: [&str; 5] = ["auth", "username", "password_file", "password_env", "password_command"];

/// TOML that `check` takes. Secrets are never in it: a password that stands in the configuration itself is left to be copied.
pub(super) fn lines(choice: &Choice, rest: &Rest<'_>) -> String {
    let own = rest.smarthost;
    let mut section = Section { rows: rest.written.unwrap_or_default().to_vec() };
    section.set("host", quoted(&own.host), 0);
    section.set("port", choice.port.to_string(), 1);
    section.set("tls", quoted(choice.tls.as_str()), 2);
    certificate(&mut section, choice, rest);
    let is_literal = own.login.as_ref().is_some_and(|own| matches!(own.password, PasswordSource::Literal(_)));
    let mut behind = String::new();
    if !rest.takes_logins {
        section.rows.retain(|(key, _)| !LOGIN.contains(&key.as_str()));
    } else if let Some(username) = rest.username.filter(|_| rest.written.is_none()) {
        section.rows.push(("username".into(), quoted(username)));
        let file = quoted(&format!("{}.password", rest.name));
        section.rows.push(("password_file".into(), format!("{file}   # the password alone, chmod 600")));
        auth(&mut section, choice, Mechanism::Auto);
    } else if let Some(login) = &own.login {
        auth(&mut section, choice, login.mechanism);
        if is_literal {
            behind += "# password = … as it stands\n";
        }
    } else if rest.wants_login {
        let file = quoted(&format!("{}.password", rest.name));
        let _ = write!(
            behind,
            "# username = \"…\"   # the server wants a login\n# password_file = {file}   # the password alone, chmod 600\n"
        );
    }
    let mut text = format!("[smarthost.{}]\n", key(&rest.name));
    for (key, value) in &section.rows {
        let _ = writeln!(text, "{key} = {value}");
    }
    text += &behind;
    limits(&mut text, rest);
    text
}

/// Keys and values as TOML has them.
struct Section {
    rows: Vec<(String, String)>,
}

impl Section {
    /// Gives a key this value, and says what it was; one that isn't there comes to this place.
    fn set(&mut self, key: &str, value: String, place: usize) {
        match self.rows.iter_mut().find(|(own, _)| own == key) {
            Some((_, own)) if unquoted(own) == unquoted(&value) => {}
            Some((_, own)) if own.contains('\n') => *own = value,
            Some((_, own)) => *own = format!("{value}   # was {own}"),
            None => self.rows.insert(place.min(self.rows.len()), (key.to_owned(), value)),
        }
    }

    fn remove(&mut self, key: &str) {
        self.rows.retain(|(own, _)| own != key);
    }
}

/// Settings that make the certificate trusted; those without effect go.
fn certificate(section: &mut Section, choice: &Choice, rest: &Rest<'_>) {
    if choice.tls == TlsMode::None {
        for key in ["ca_file", "pin_sha256", "server_name"] {
            section.remove(key);
        }
    }
    if let Some(pin) = &choice.pin {
        section.set("pin_sha256", quoted(pin), 3);
        section.remove("ca_file");
    } else if let Some(name) = &choice.server_name {
        if name.eq_ignore_ascii_case(&rest.smarthost.host) {
            section.remove("server_name");
        } else {
            section.set("server_name", quoted(name), 3);
        }
    }
}

/// `auth`, where what is configured isn't offered.
fn auth(section: &mut Section, choice: &Choice, configured: Mechanism) {
    let Some(auth) = choice.auth else { return };
    let place = section.rows.iter().position(|(key, _)| key == "username").unwrap_or(section.rows.len());
    section.set("auth", quoted(auth.word()), place);
    let now = match (configured.takes_token(), auth.takes_token()) {
        (false, true) => "the password must be an access token",
        (true, false) => "the password must be the account's own, or an app password",
        _ => return,
    };
    if let Some((_, value)) = section.rows.iter_mut().find(|(key, _)| key == "auth") {
        *value = format!("{}   # {now}", quoted(auth.word()));
    }
}

/// Known limits as comments: what is known of a provider needn't hold for this account. What the configuration says
/// itself, of the smarthost or its provider, stands there already.
fn limits(text: &mut String, rest: &Rest<'_>) {
    if rest.smarthost.provider.is_some() {
        return;
    }
    let Some(provider) = providers::known(&rest.smarthost.host) else { return };
    let is_written = |key: &str| rest.written.unwrap_or_default().iter().any(|(own, _)| own == key);
    for limit in provider.limits.iter().filter(|limit| !is_written(limit.key)) {
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

/// What a string on one line holds, as far as it needs no escapes.
fn unquoted(text: &str) -> &str {
    let inside = |quote| text.strip_prefix(quote).and_then(|rest| rest.strip_suffix(quote));
    inside('"').or_else(|| inside('\'')).unwrap_or(text)
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

    fn parsed(text: &str) -> config::Loaded {
        let env = std::iter::once(("P".to_owned(), "secret".to_owned()));
        let loaded = config::parse(Path::new("/x.toml"), text, env);
        loaded.unwrap_or_else(|complaints| panic!("{complaints}\n{text}"))
    }

    fn choice(port: u16, tls: TlsMode) -> Choice {
        Choice { port, tls, server_name: None, pin: None, auth: None }
    }

    #[test]
    fn what_is_printed_is_a_configuration_whatever_the_names_are() {
        let stranger = parsed("[smarthost.x]\nhost = \"smtp.gmail.com\"\n").config.smarthosts["x"].clone();
        let choice = Choice { server_name: Some("mx.y.test".into()), ..choice(4650, TlsMode::Implicit) };
        for (name, username) in [("shop", "shop@x.test"), ("a.b", "a\"b\\c"), ("żółw", "żółw")] {
            let rest = Rest {
                name: name.into(),
                smarthost: &stranger,
                written: None,
                username: Some(username),
                takes_logins: true,
                wants_login: false,
            };
            let text = lines(&choice, &rest);
            let loaded = parsed(&text);
            let own = &loaded.config.smarthosts[name];
            assert_eq!(
                (own.port, own.tls, own.server_name.as_deref()),
                (4650, TlsMode::Implicit, Some("mx.y.test"))
            );
            assert_eq!(own.login.as_ref().unwrap().username, username);
            assert!(text.contains("# per_day = 2000"), "{text}");
        }
    }

    /// The lines for `[smarthost.shop]` with these keys, written in this way.
    fn of(keys: &[(&str, &str)], choice: &Choice, takes_logins: bool, wants_login: bool) -> String {
        let section = keys
            .iter()
            .fold("[smarthost.shop]\n".to_owned(), |all, (key, value)| all + key + " = " + value + "\n");
        let own = parsed(&section).config.smarthosts["shop"].clone();
        let written: Vec<(String, String)> = keys
            .iter()
            .filter(|(key, _)| *key != "password")
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect();
        let rest = Rest {
            name: "shop".into(),
            smarthost: &own,
            written: Some(&written),
            username: None,
            takes_logins,
            wants_login,
        };
        lines(choice, &rest)
    }

    #[test]
    fn a_configured_smarthost_keeps_all_that_is_its_own() {
        let keys = [
            ("address", "\"a@x.test\""),
            ("host", "'x.test'"),
            ("port", "2525"),
            ("allowed_from", "[\n  \"@x.test\",\n  \"b@y.test\",\n]"),
            ("per_day", "500"),
            ("priority_reserve", "50"),
            ("auth", "\"login\""),
            ("username", "\"u\""),
            ("password_env", "\"P\""),
            ("server_name", "\"y.test\""),
            ("ca_file", "\"ca.pem\""),
        ];
        assert_eq!(
            of(&keys, &choice(465, TlsMode::Implicit), true, false),
            "[smarthost.shop]\naddress = \"a@x.test\"\nhost = 'x.test'\ntls = \"implicit\"\nport = 465   # was 2525\n\
             allowed_from = [\n  \"@x.test\",\n  \"b@y.test\",\n]\nper_day = 500\npriority_reserve = 50\nauth = \"login\"\n\
             username = \"u\"\npassword_env = \"P\"\nserver_name = \"y.test\"\nca_file = \"ca.pem\"\n"
        );
        // What trusts a certificate has no effect in plain text, and ca_file has none beside a pin.
        let plain = of(&keys, &choice(25, TlsMode::None), true, false);
        assert!(!plain.contains("server_name") && !plain.contains("ca_file"), "{plain}");
        let pin = Choice { pin: Some("ab".repeat(32)), ..choice(465, TlsMode::Implicit) };
        let pinned = of(&keys, &pin, true, false);
        assert!(pinned.contains("pin_sha256") && !pinned.contains("ca_file"), "{pinned}");
        let same = Choice { server_name: Some("x.test".into()), ..choice(465, TlsMode::Implicit) };
        assert!(!of(&keys, &same, true, false).contains("server_name"));
    }

    #[test]
    fn a_login_is_written_as_the_server_offers_it_and_left_out_where_it_offers_none() {
        let keys = [
            ("host", "\"x.test\""),
            ("auth", "\"plain\""),
            ("username", "\"u\""),
            ("password", "\"not to be shown\""),
        ];
        let with = |auth| Choice { auth, ..choice(587, TlsMode::StartTls) };
        let head = "[smarthost.shop]\nhost = \"x.test\"\nport = 587\ntls = \"starttls\"\n";
        for (auth, takes_logins, rest) in [
            (None, true, "auth = \"plain\"\nusername = \"u\"\n# password = … as it stands\n"),
            (
                Some(Mechanism::Auto),
                true,
                "auth = \"auto\"   # was \"plain\"\nusername = \"u\"\n# password = … as it stands\n",
            ),
            (
                Some(Mechanism::XOAuth2),
                true,
                "auth = \"xoauth2\"   # the password must be an access token\nusername = \"u\"\n\
                 # password = … as it stands\n",
            ),
            (None, false, ""),
        ] {
            assert_eq!(of(&keys, &with(auth), takes_logins, false), format!("{head}{rest}"));
        }
        let wanted = of(&[("host", "\"x.test\"")], &with(None), true, true);
        assert!(wanted.contains("# username = ") && wanted.contains("# password_file = \"shop.password\""));
    }
}
