//! The form on a web page: as much of HTML as it takes to see whether a page asks one plain question.

/// Forms and fields that are looked at.
const MAX_TAGS: usize = 5000;

/// A form.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Form {
    /// Where it is sent; empty is the page itself.
    pub action: String,
    /// Whether it is sent by POST.
    pub is_post: bool,
    /// Name and value of its hidden fields.
    pub hidden: Vec<(String, String)>,
    /// Whether somebody would have to fill something in.
    pub has_visible_field: bool,
}

impl Form {
    /// The body that a click on its only button sends (`application/x-www-form-urlencoded`).
    #[must_use]
    pub fn body(&self) -> String {
        let pairs = self.hidden.iter().map(|(name, value)| format!("{}={}", encoded(name), encoded(value)));
        pairs.collect::<Vec<_>>().join("&")
    }
}

/// The forms of a page.
#[must_use]
pub fn forms(page: &str) -> Vec<Form> {
    let mut found: Vec<Form> = Vec::new();
    let mut open = false;
    let mut rest = page;
    for _ in 0..MAX_TAGS {
        let Some(at) = rest.find('<') else { break };
        rest = rest.get(at + 1..).unwrap_or_default();
        if let Some(comment) = rest.strip_prefix("!--") {
            rest = comment.find("-->").and_then(|end| comment.get(end + 3..)).unwrap_or_default();
            continue;
        }
        let (name, attributes, behind) = tag(rest);
        rest = behind;
        let attribute = |key: &str| {
            attributes
                .iter()
                .find(|(name, _)| name == key)
                .map(|(_, value)| value.clone())
                .unwrap_or_default()
        };
        match name.as_str() {
            "form" => {
                let is_post = attribute("method").eq_ignore_ascii_case("post");
                found.push(Form { action: attribute("action"), is_post, ..Form::default() });
                open = true;
            }
            "/form" => open = false,
            "script" | "style" => {
                let close = format!("</{name}");
                let end = rest.to_ascii_lowercase().find(&close);
                rest = end.and_then(|end| rest.get(end..)).unwrap_or_default();
            }
            "input" | "textarea" | "select" if open => {
                let Some(form) = found.last_mut() else { continue };
                match attribute("type").to_ascii_lowercase().as_str() {
                    "hidden" if name == "input" => form.hidden.push((attribute("name"), attribute("value"))),
                    "submit" | "button" | "image" if name == "input" => {}
                    _ => form.has_visible_field = true,
                }
            }
            _ => {}
        }
    }
    found
}

/// A tag's name, its attributes, and what follows.
fn tag(text: &str) -> (String, Vec<(String, String)>, &str) {
    let ends = |c: char| c.is_whitespace() || c == '>';
    let name_end = text.find(ends).unwrap_or(text.len());
    let name = text.get(..name_end).unwrap_or_default().trim_end_matches('/').to_ascii_lowercase();
    let mut rest = text.get(name_end..).unwrap_or_default();
    let mut attributes = Vec::new();
    loop {
        rest = rest.trim_start_matches(|c: char| c.is_whitespace() || c == '/');
        let Some(first) = rest.chars().next() else { return (name, attributes, rest) };
        if first == '>' {
            return (name, attributes, rest.get(1..).unwrap_or_default());
        }
        let key_end =
            rest.find(|c: char| ends(c) || c == '=' || c == '/').unwrap_or(rest.len()).max(first.len_utf8());
        let key = rest.get(..key_end).unwrap_or_default().to_ascii_lowercase();
        rest = rest.get(key_end..).unwrap_or_default().trim_start();
        let mut value = "";
        if let Some(behind) = rest.strip_prefix('=') {
            let behind = behind.trim_start();
            let quote = behind.chars().next().filter(|c| matches!(c, '"' | '\''));
            let inner = if quote.is_some() { behind.get(1..).unwrap_or_default() } else { behind };
            let end = match quote {
                Some(quote) => inner.find(quote),
                None => inner.find(ends),
            };
            let end = end.unwrap_or(inner.len());
            value = inner.get(..end).unwrap_or_default();
            rest = inner.get(end + usize::from(quote.is_some())..).unwrap_or_default();
        }
        if attributes.len() < 50 {
            attributes.push((key, value.replace("&amp;", "&").replace("&#39;", "'").replace("&quot;", "\"")));
        }
    }
}

fn encoded(text: &str) -> String {
    text.bytes()
        .map(|octet| match octet {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'*' => {
                char::from(octet).to_string()
            }
            b' ' => "+".to_owned(),
            _ => format!("%{octet:02X}"),
        })
        .collect()
}
