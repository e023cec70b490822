//! Who runs the command, by the system's list of users (passwd(5)).

use rustix::process::getuid;

/// Whose message it is when the message doesn't say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct User {
    /// The login name.
    pub(super) login: String,
    /// The full name, if one is listed.
    pub(super) name: Option<String>,
}

impl User {
    pub(super) fn current() -> Self {
        let list = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
        let id = getuid().as_raw();
        Self::listed(&list, id).unwrap_or_else(|| {
            // Users of a directory service aren't listed; their session knows the name.
            let login = ["LOGNAME", "USER"].iter().find_map(|variable| std::env::var(variable).ok());
            Self { login: login.unwrap_or_else(|| format!("user{id}")), name: None }
        })
    }

    fn listed(list: &str, id: u32) -> Option<Self> {
        list.lines().find_map(|line| {
            let mut fields = line.split(':');
            let login = fields.next()?;
            if fields.nth(1)?.parse() != Ok(id) {
                return None;
            }
            // Behind the first comma stand rooms and telephones; & is the login with a capital.
            let name = fields.nth(1)?.split(',').next()?.replace('&', &capitalized(login));
            let name = name.trim();
            Some(Self { login: login.to_owned(), name: (!name.is_empty()).then(|| name.to_owned()) })
        })
    }
}

/// A user's number and that of its group.
pub(super) fn ids(login: &str) -> Option<(u32, u32)> {
    ids_in(&std::fs::read_to_string("/etc/passwd").ok()?, login)
}

fn ids_in(list: &str, login: &str) -> Option<(u32, u32)> {
    let line = list.lines().find_map(|line| line.strip_prefix(login)?.strip_prefix(':'))?;
    let mut fields = line.split(':').skip(1);
    Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
}

fn capitalized(login: &str) -> String {
    let mut letters = login.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_from_the_list() {
        let list =
            "root:x:0:0:root:/root:/bin/sh\nann:x:7:7:& Lee,Room 1,,:/home/ann:/bin/sh\nx\nbob:x:8:8::/:\n";
        let user = |login: &str, name: Option<&str>| {
            Some(User { login: login.into(), name: name.map(str::to_owned) })
        };
        assert_eq!(User::listed(list, 0), user("root", Some("root")));
        assert_eq!(User::listed(list, 7), user("ann", Some("Ann Lee")));
        assert_eq!(User::listed(list, 8), user("bob", None));
        assert_eq!(User::listed(list, 9), None);
        assert_eq!([ids_in(list, "ann"), ids_in(list, "an"), ids_in(list, "x")], [Some((7, 7)), None, None]);
    }
}
