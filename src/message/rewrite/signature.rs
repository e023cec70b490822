//! Which DKIM signatures a change breaks (RFC 6376 §3.5): those whose `h=` names the field.

use crate::message::decode;
use crate::message::fields::HeaderSection;

/// More than these nobody adds, and nobody verifies.
const MAX_SIGNATURES: usize = 50;

/// The words for the journal when a signature covers one of the changed fields; none when none does.
pub(super) fn broken(header: &HeaderSection<'_>, changed: &[&str]) -> Option<String> {
    let mut domains: Vec<String> = Vec::new();
    let mut covered: Vec<&str> = Vec::new();
    for field in header.named("DKIM-Signature").take(MAX_SIGNATURES) {
        let value = field.value();
        let Some(names) = tag(&value, b"h") else { continue };
        let hit = |name: &&str| {
            names
                .split(|octet| *octet == b':')
                .any(|one| one.trim_ascii().eq_ignore_ascii_case(name.as_bytes()))
        };
        let hits: Vec<&str> = changed.iter().copied().filter(hit).collect();
        if hits.is_empty() {
            continue;
        }
        let domain = decode::clean(&String::from_utf8_lossy(tag(&value, b"d").unwrap_or(b"unknown")), 100);
        if !domains.contains(&domain) {
            domains.push(domain);
        }
        covered.extend(hits.iter().filter(|name| !covered.contains(name)).copied().collect::<Vec<_>>());
    }
    if domains.is_empty() {
        return None;
    }
    let count = if domains.len() == 1 { "signature of" } else { "signatures of" };
    Some(format!(
        "the DKIM {count} {} no longer hold{}, covering {}",
        super::listed(domains.iter()),
        if domains.len() == 1 { "s" } else { "" },
        covered.join(", ")
    ))
}

/// The value of a tag in a tag list (RFC 6376 §3.2).
fn tag<'v>(value: &'v [u8], name: &[u8]) -> Option<&'v [u8]> {
    value.split(|octet| *octet == b';').find_map(|pair| {
        let equals = memchr::memchr(b'=', pair)?;
        let (key, rest) = pair.split_at(equals);
        (key.trim_ascii() == name).then(|| rest.get(1..).unwrap_or_default().trim_ascii())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_breaks_when_it_covers_what_changed() {
        let content =
            b"DKIM-Signature: v=1; a=rsa-sha256; d=a.test;\r\n\th=Subject : fROM:\r\n\treply-to; b=x=\r\n\
                        DKIM-Signature: v=1; d=b.test; h=from; b=y\r\n\
                        DKIM-Signature: v=1; d=c.test; h=to:date; b=h=from\r\n\r\n";
        let header = HeaderSection::of(content);
        for (changed, expected) in [
            (&["From"][..], Some("the DKIM signatures of a.test, b.test no longer hold, covering From")),
            (&["Reply-To"], Some("the DKIM signature of a.test no longer holds, covering Reply-To")),
            (
                &["From", "Reply-To"],
                Some("the DKIM signatures of a.test, b.test no longer hold, covering From, Reply-To"),
            ),
            (&["Sender"], None),
            (&[], None),
        ] {
            assert_eq!(broken(&header, changed).as_deref(), expected, "{changed:?}");
        }
    }
}
