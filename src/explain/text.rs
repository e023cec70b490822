//! An explanation for people: one line for each decision, with its reason.

use super::inbox::Forwarded;
use super::way::{Live, Way};
use super::{Explanation, Refusal};
use crate::admin::{LaneStatus, LimitStatus, Outlook};
use crate::queue::entry::{class_word, in_milliseconds};
use jiff::Timestamp;
use std::fmt::Write;

/// The explanation as text; `now` is the time it was asked at.
#[must_use]
pub fn text(explanation: &Explanation, now: Timestamp) -> String {
    let mut text = String::new();
    // Writing to a String never fails.
    let _ = head(&mut text, explanation);
    for way in &explanation.ways {
        let _ = one_way(&mut text, way, &explanation.sender, now);
    }
    for forwarded in &explanation.inboxes {
        let _ = one_inbox(&mut text, forwarded);
    }
    text
}

/// A time to the second, like those of `status`.
fn second(time: Timestamp) -> Timestamp {
    time.round(jiff::Unit::Second).unwrap_or(time)
}

fn path(address: &str) -> &str {
    if address.is_empty() { "<>" } else { address }
}

fn head(text: &mut String, explanation: &Explanation) -> std::fmt::Result {
    let Explanation { sender, recipients, size_bytes, subject, tag, meta, .. } = explanation;
    writeln!(text, "from {} to {}, {size_bytes} octets", path(sender), recipients.join(", "))?;
    if let Some(subject) = subject {
        writeln!(text, "subject: {subject}")?;
    }
    if let Some(tag) = tag {
        writeln!(text, "tag: {tag}")?;
    }
    for (name, value) in meta {
        writeln!(text, "meta {name}: {value}")?;
    }
    if let Some(admitted) = &explanation.admitted {
        writeln!(text, "may come in: {admitted}")?;
    }
    if let Some(Refusal { reply, why }) = &explanation.refused {
        // A field of the message is its own reason: the reply holds all there is to say.
        let why = if reply.ends_with(why) { String::new() } else { format!(": {why}") };
        writeln!(text, "would be refused {reply}{why}")?;
    }
    for rewrite in &explanation.rewrites {
        writeln!(text, "{rewrite} matches")?;
    }
    for change in &explanation.rewritten {
        writeln!(text, "  {change}")?;
    }
    for name in &explanation.unknown {
        writeln!(text, "{name}: no such field; it is removed and asks for nothing")?;
    }
    Ok(())
}

fn one_way(text: &mut String, way: &Way, sender: &str, now: Timestamp) -> std::fmt::Result {
    writeln!(text, "\n{}: {}", way.smarthost, way.recipients.join(", "))?;
    writeln!(text, "  why: {}", way.reasons.join("; "))?;
    match way.action {
        "discard" => {
            return writeln!(text, "  action: discard; it is taken, dropped and told of in the journal");
        }
        "hold" => writeln!(text, "  action: hold; it waits until it is released")?,
        _ => {}
    }
    writeln!(text, "  class: {} ({})", class_word(way.class), way.class_by)?;
    if way.due > now {
        writeln!(text, "  leaves: not before {}", second(way.due))?;
    }
    if let (Some(at), Some(after)) = (way.expires_at, &way.expires_after) {
        writeln!(
            text,
            "  expires: {at}, {after} after it may leave; then it is reported instead of delivered"
        )?;
    }
    if !way.enabled {
        writeln!(text, "  {} is switched off (enabled = false): its mail waits", way.smarthost)?;
    }
    if let Some(most) = way.too_big_for {
        writeln!(
            text,
            "  fails: {} octets, and smarthost.{}.max_size is {most}",
            way.size_bytes, way.smarthost
        )?;
    }
    let becomes = if way.sender == sender { String::new() } else { format!(", not {}", path(sender)) };
    writeln!(text, "  envelope sender: {}{becomes}", path(&way.sender))?;
    for change in &way.changes {
        writeln!(text, "  changed: {change}")?;
    }
    if let Some(words) = &way.without_8bitmime {
        writeln!(text, "  where {} doesn't offer 8BITMIME: {words}", way.smarthost)?;
    }
    live(text, way, now)?;
    if !way.diff.is_empty() {
        writeln!(text, "  header lines, as they come (-) and as they go (+):")?;
        for line in way.diff.lines() {
            writeln!(text, "    {line}")?;
        }
    }
    Ok(())
}

/// What the daemon knows, or that nobody could be asked.
fn live(text: &mut String, way: &Way, now: Timestamp) -> std::fmt::Result {
    for other in &way.fallbacks {
        let accepts = other.refuses.as_deref().unwrap_or("accepts this From");
        let room = match other.has_room {
            Some(true) => ", works and lets one more go within a minute",
            Some(false) => ", lets no more go within a minute",
            None => "",
        };
        writeln!(text, "  fallback: {}, {accepts}{room}", other.smarthost)?;
        for change in other.changes.iter().filter(|_| other.refuses.is_none()) {
            writeln!(text, "    there changed: {change}")?;
        }
    }
    let Some(Live { lane, outlook }) = &way.live else {
        return writeln!(text, "  quota and expected time: not known, no daemon was asked");
    };
    let reason = lane.reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
    writeln!(text, "  lane: {}{reason}; {} queued, {} deferred", lane.state, lane.queued, lane.deferred)?;
    for limit in &lane.limits {
        let left = match way.class {
            crate::message::envelope::Class::Priority => limit.left_for_priority,
            _ => limit.left,
        };
        let known =
            limit.default_of.as_ref().map(|of| format!(" (by default, known of {of})")).unwrap_or_default();
        let LimitStatus { limit, used, most, .. } = limit;
        writeln!(text, "  quota {limit}: {used} of {most} used, {left} left{known}")?;
    }
    if lane.limits.is_empty() {
        writeln!(text, "  quota: no limits")?;
    }
    if let Some(why) = &outlook.stuck {
        match &outlook.leaves_by {
            Some(other) => writeln!(text, "  would go by {other} instead: {why}")?,
            None => writeln!(text, "  no fallback takes it: {why}")?,
        }
    }
    writeln!(text, "  expected: {}", expected(way, lane, outlook, now))
}

/// When it leaves, and what that depends on.
fn expected(way: &Way, lane: &LaneStatus, outlook: &Outlook, now: Timestamp) -> String {
    let at = outlook.expected.as_deref().unwrap_or("at once");
    if way.action == "hold" {
        return "when it is released".to_owned();
    }
    if !way.enabled {
        return format!("when {} flows again", way.smarthost);
    }
    if way.too_big_for.is_some() && outlook.leaves_by.is_none() {
        return "never: it fails by its size".to_owned();
    }
    if way.due > now {
        let at = outlook.expected.clone().unwrap_or_else(|| in_milliseconds(way.due).to_string());
        return outlook.leaves_by.as_ref().map_or(at.clone(), |by| format!("{at}, by {by} as things stand"));
    }
    match &outlook.leaves_by {
        Some(_) => format!("{at}, by the fallback"),
        None if lane.state == "flowing" => at.to_owned(),
        None => format!("when {} flows again; it is tried next {at}", way.smarthost),
    }
}

fn one_inbox(text: &mut String, found: &Forwarded) -> std::fmt::Result {
    writeln!(text, "\ninbox {}: {}", found.inbox, found.recipient)?;
    match (&found.mailbox, found.identified_by) {
        (Some(mailbox), Some(rung)) => {
            writeln!(text, "  mailbox: {mailbox}, by {rung} (confidence {})", found.confidence)?;
        }
        (Some(mailbox), None) => writeln!(text, "  mailbox: {mailbox}")?,
        (None, _) => writeln!(text, "  mailbox: none that can be believed; it is held")?,
    }
    for evidence in &found.evidence {
        writeln!(text, "  evidence: {} {}", evidence.rung, evidence.value)?;
    }
    if found.is_contradicted {
        writeln!(text, "  the evidence names different mailboxes")?;
    }
    if let Some(address) = &found.token_address {
        writeln!(text, "  beyond doubt by: {address}")?;
    }
    if let Some(kind) = &found.automatic {
        let kind = serde_json::to_value(kind).unwrap_or_default();
        writeln!(text, "  automatic: {}", kind.as_str().unwrap_or_default())?;
    }
    if let Some(words) = &found.verification {
        writeln!(text, "  {words}")?;
    }
    writeln!(
        text,
        "  not asked: DNS (SPF, DKIM, DMARC, ARC) and what the daemon remembers of conversations"
    )?;
    match (&found.cut_by, found.cut_confidence) {
        (Some(by), confidence) => {
            let confidence = confidence.map(|sure| format!(" (confidence {sure})")).unwrap_or_default();
            writeln!(text, "  cut: by {by}{confidence}")?;
        }
        (None, _) => writeln!(text, "  cut: nothing")?,
    }
    for line in found.cut.lines() {
        writeln!(text, "    {line}")?;
    }
    let Some(event) = found.event else { return writeln!(text, "  event: none") };
    writeln!(text, "  event: {event}, posted to {}", found.webhook)?;
    let body = match &found.body {
        serde_json::Value::String(body) => body.clone(),
        body => serde_json::to_string_pretty(body).unwrap_or_default(),
    };
    for line in body.lines() {
        writeln!(text, "    {line}")?;
    }
    Ok(())
}
