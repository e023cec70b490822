//! Of which mail of ours a bounce or an answering machine speaks, and whether that is believed.
//!
//! Anybody can write a bounce. One that names recipients is believed only as far as they really were recipients of the
//! message it names: whoever forges it must know both, and then tells nothing of anybody else. One that names no message
//! we know, and comes to the signed address that mail of ours asked answers at, is about the newest of that conversation
//! that fits it. Pure: what was sent comes in as [`Known::sent`] and [`Known::sent_within`].

use super::Known;
use super::automatic::{Kind, Report, Reported};
use super::conversation::ConversationId;
use super::mailbox::account;
use crate::queue::QueueId;

/// A message that a mailbox sent through us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SentMail {
    /// Its id.
    pub id: QueueId,
    /// Its Message-ID, with brackets.
    pub message_id: String,
    /// Number in the message and address of each recipient.
    pub recipients: Vec<(u32, String)>,
}

/// The message of ours that is spoken of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct About {
    /// Its id; where one letter went out in several transactions that of the foremost recipient's.
    pub id: QueueId,
    /// By which of its Message-IDs it was found, with brackets.
    pub message_id: String,
    /// What is said of which recipient, the worst first; none when the report names nobody.
    pub affected: Vec<Affected>,
    /// Whether it may be believed: not when it names recipients and none of them is one.
    pub is_believed: bool,
}

/// A recipient of ours of whom something is said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Affected {
    /// The messages that were sent to it under this Message-ID, with its number in each; never empty, the newest first.
    pub places: Vec<(QueueId, u32)>,
    /// As we sent to it.
    pub address: String,
    /// `failed`, `delayed` …; none for an answering machine.
    pub action: Option<String>,
    /// `5.1.1`
    pub status: Option<String>,
    /// What the last server said.
    pub diagnostic: Option<String>,
}

/// Finds the message that a report to `mailbox` speaks of; `from` is the report's author, `within` the conversation of a
/// reply token that holds.
#[must_use]
pub fn find(
    report: &Report,
    kind: Option<Kind>,
    from: Option<&str>,
    mailbox: &str,
    within: Option<ConversationId>,
    known: &Known<'_>,
) -> Option<About> {
    let mut ids = report.message_ids.iter().map(|id| (known.sent)(mailbox, id));
    if let Some(all) = ids.find(|found| !found.is_empty()) {
        return about(&all, report, kind, from);
    }
    let sent = (known.sent_within)(mailbox, within?);
    let letters: Vec<&[SentMail]> = sent.chunk_by(|one, other| one.message_id == other.message_id).collect();
    let newest = *letters.first()?;
    if kind == Some(Kind::Bounce) && report.recipients.is_empty() {
        // Which letter it was, and so who failed, is more than the address says.
        return about(newest, report, kind, from).map(|about| About { affected: Vec::new(), ..about });
    }
    let mut each = letters.iter().filter_map(|letter| about(letter, report, kind, from));
    let fits = each.find(|about| !about.affected.is_empty());
    fits.or_else(|| about(newest, report, kind, from)).filter(|about| about.is_believed)
}

/// What the report says of a letter, in whatever transactions that was sent.
fn about(all: &[SentMail], report: &Report, kind: Option<Kind>, from: Option<&str>) -> Option<About> {
    let affected = match kind {
        Some(Kind::AutoReply) => answered(all, from),
        _ if !report.recipients.is_empty() => named(all, &report.recipients),
        _ => alone(all),
    };
    let is_named = kind != Some(Kind::AutoReply) && !report.recipients.is_empty();
    let is_believed = !affected.is_empty() || !is_named;
    let foremost = affected.first().and_then(|one| one.places.first()).map(|(id, _)| *id);
    let sent = all.iter().find(|sent| Some(sent.id) == foremost).or(all.first())?;
    Some(About { id: sent.id, message_id: sent.message_id.clone(), affected, is_believed })
}

/// The recipient whose machine answered.
fn answered(all: &[SentMail], from: Option<&str>) -> Vec<Affected> {
    let is_author = |address: &str| from.is_some_and(|from| is_same(from, address));
    affected(all, is_author, None).into_iter().collect()
}

/// A bounce without names is about the only recipient, if there is only one.
fn alone(all: &[SentMail]) -> Vec<Affected> {
    let [SentMail { recipients, .. }] = all else { return Vec::new() };
    let [_] = recipients.as_slice() else { return Vec::new() };
    let only = affected(all, |_| true, None);
    only.map(|only| Affected { action: Some("failed".to_owned()), ..only }).into_iter().collect()
}

fn named(all: &[SentMail], reported: &[Reported]) -> Vec<Affected> {
    let of = |one: &Reported| {
        let is_meant = |address: &str| {
            is_same(&one.address, address)
                || one.original.as_deref().is_some_and(|original| is_same(original, address))
        };
        affected(all, is_meant, Some(one))
    };
    let mut found: Vec<Affected> = Vec::new();
    for one in reported.iter().filter_map(of) {
        if !found.iter().any(|known| known.places == one.places && known.action == one.action) {
            found.push(one);
        }
    }
    found.sort_by_key(|one| match one.action.as_deref() {
        Some("failed") => 0,
        Some("delayed") => 1,
        _ => 2,
    });
    found
}

/// The recipient that is meant, wherever the letter was sent to it; none if it is nobody's.
fn affected(all: &[SentMail], is_meant: impl Fn(&str) -> bool, said: Option<&Reported>) -> Option<Affected> {
    let found = all.iter().filter_map(|sent| {
        let (number, address) = sent.recipients.iter().find(|(_, address)| is_meant(address))?;
        Some(((sent.id, *number), address))
    });
    let (places, addresses): (Vec<_>, Vec<_>) = found.unzip();
    Some(Affected {
        places,
        address: (*addresses.first()?).clone(),
        action: said.map(|said| said.action.clone()),
        status: said.and_then(|said| said.status.clone()),
        diagnostic: said.and_then(|said| said.diagnostic.clone()),
    })
}

fn is_same(one: &str, other: &str) -> bool {
    account(one) == account(other)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reported(address: &str, original: Option<&str>) -> Reported {
        Reported {
            address: address.into(),
            original: original.map(Into::into),
            action: "failed".into(),
            status: Some("5.1.1".into()),
            diagnostic: None,
        }
    }

    #[test]
    fn what_comes_to_a_signed_address_is_about_the_newest_of_its_conversation_that_fits() {
        let id = |number: u64| format!("{number:013}").parse::<QueueId>().unwrap();
        let within = |mailbox: &str, conversation: ConversationId| {
            let to = |number: u64, message_id: &str, whom: &str| SentMail {
                id: id(number),
                message_id: message_id.to_owned(),
                recipients: vec![(0, whom.to_owned())],
            };
            let all = vec![
                to(4, "<3@sol>", "bob@x.test"),
                to(3, "<2@sol>", "eva@x.test"),
                to(2, "<2@sol>", "ana@x.test"),
                to(1, "<1@sol>", "ana@x.test"),
            ];
            let is_it = mailbox == "sol" && conversation == ConversationId::from_bits(7);
            if is_it { all } else { Vec::new() }
        };
        let known = Known { sent_within: &within, ..Known::NOTHING };
        let found = |kind, from: &str, recipients: &[Reported], conversation: u64| {
            let report = Report { message_ids: vec!["<other@x>".into()], recipients: recipients.to_vec() };
            let conversation = (conversation > 0).then(|| ConversationId::from_bits(conversation));
            let found = find(&report, Some(kind), Some(from), "sol", conversation, &known)?;
            assert!(found.is_believed);
            let who = found.affected.first().map(|first| (first.places[0].0, first.address.clone()));
            Some((found.id, found.message_id, who))
        };
        let is = |number, message_id: &str, who: Option<&str>| {
            let who = who.map(|who| (id(number), who.to_owned()));
            Some((id(number), message_id.to_owned(), who))
        };
        let daemon = "mailer-daemon@x.test";
        assert_eq!(found(Kind::AutoReply, "bob@x.test", &[], 7), is(4, "<3@sol>", Some("bob@x.test")));
        assert_eq!(found(Kind::AutoReply, "ana@x.test", &[], 7), is(2, "<2@sol>", Some("ana@x.test")));
        assert_eq!(found(Kind::AutoReply, "alias@x.test", &[], 7), is(4, "<3@sol>", None));
        let ana = [reported("ana@x.test", None)];
        assert_eq!(found(Kind::Bounce, daemon, &ana, 7), is(2, "<2@sol>", Some("ana@x.test")));
        assert_eq!(found(Kind::Bounce, daemon, &[], 7), is(4, "<3@sol>", None), "nobody knows which");
        assert_eq!(found(Kind::Bounce, daemon, &[reported("joe@x.test", None)], 7), None);
        assert_eq!(found(Kind::AutoReply, "bob@x.test", &[], 8), None, "nothing was sent there");
        assert_eq!(found(Kind::AutoReply, "bob@x.test", &[], 0), None, "no token");
    }

    fn told(kind: Kind, from: &str, recipients: Vec<Reported>) -> Option<(bool, Vec<u32>)> {
        let sent = |mailbox: &str, id: &str| {
            let found = (mailbox == "sol" && id == "<1@sol>").then(|| SentMail {
                id: "0000000000009".parse().unwrap(),
                message_id: id.to_owned(),
                recipients: vec![(0, "Ana@x.test".into()), (2, "bob@x.test".into())],
            });
            found.into_iter().collect()
        };
        let known = Known { sent: &sent, ..Known::NOTHING };
        let report = Report { message_ids: vec!["<0@x>".into(), "<1@sol>".into()], recipients };
        let found = find(&report, Some(kind), Some(from), "sol", None, &known)?;
        assert_eq!((found.id.to_string().as_str(), found.message_id.as_str()), ("0000000000009", "<1@sol>"));
        assert_eq!(find(&report, Some(kind), Some(from), "mar", None, &known), None, "not that mailbox's");
        Some((found.is_believed, found.affected.iter().map(|each| each.places[0].1).collect()))
    }

    #[test]
    fn a_bounce_is_believed_of_those_it_was_sent_to() {
        let bounce = |recipients| told(Kind::Bounce, "mailer-daemon@x.test", recipients);
        assert_eq!(bounce(vec![reported("ana@x.test", None)]), Some((true, vec![0])));
        assert_eq!(bounce(vec![reported("bob@inner.test", Some("bob@x.test"))]), Some((true, vec![2])));
        assert_eq!(
            bounce(vec![reported("eve@x.test", None), reported("bob@x.test", None)]),
            Some((true, vec![2]))
        );
        assert_eq!(bounce(vec![reported("eve@x.test", None)]), Some((false, vec![])));
        assert_eq!(bounce(vec![]), Some((true, vec![])), "of two recipients nobody knows which");
    }

    #[test]
    fn of_several_transactions_of_one_letter_the_one_to_that_recipient_is_meant() {
        let id = |number: u64| format!("{number:013}").parse::<QueueId>().unwrap();
        let sent = |_: &str, message_id: &str| {
            let to = |number: u64, whom: &str| SentMail {
                id: id(number),
                message_id: message_id.to_owned(),
                recipients: vec![(0, whom.to_owned())],
            };
            vec![to(3, "eva@x.test"), to(2, "bob@x.test"), to(1, "ana@x.test")]
        };
        let known = Known { sent: &sent, ..Known::NOTHING };
        let about = |kind, from: &str, recipients| {
            let report = Report { message_ids: vec!["<1@sol>".into()], recipients };
            let found = find(&report, Some(kind), Some(from), "sol", None, &known).unwrap();
            (found.id, found.affected.len(), found.is_believed)
        };
        let daemon = "mailer-daemon@x.test";
        for (number, whom) in [(1, "ana@x.test"), (2, "bob@x.test"), (3, "eva@x.test")] {
            assert_eq!(about(Kind::Bounce, daemon, vec![reported(whom, None)]), (id(number), 1, true));
            assert_eq!(about(Kind::AutoReply, whom, vec![]), (id(number), 1, true));
        }
        let stranger = about(Kind::Bounce, daemon, vec![reported("joe@x.test", None)]);
        assert_eq!(stranger, (id(3), 0, false));
        assert_eq!(about(Kind::Bounce, daemon, vec![]), (id(3), 0, true), "nobody knows which");
        let delivered = Reported { action: "delivered".into(), ..reported("eva@x.test", None) };
        let mixed = about(Kind::Bounce, daemon, vec![delivered, reported("ana@x.test", None)]);
        assert_eq!(mixed, (id(1), 2, true), "who failed is foremost");
    }

    #[test]
    fn a_letter_sent_to_one_recipient_twice_has_two_places() {
        let id = |number: u64| format!("{number:013}").parse::<QueueId>().unwrap();
        let sent = |_: &str, message_id: &str| {
            let to = |number, recipients| SentMail {
                id: id(number),
                message_id: message_id.to_owned(),
                recipients,
            };
            let both = vec![(0, "bob@x.test".to_owned()), (1, "ana@x.test".to_owned())];
            vec![to(2, both), to(1, vec![(0, "ana@x.test".to_owned())])]
        };
        let known = Known { sent: &sent, ..Known::NOTHING };
        let report =
            Report { message_ids: vec!["<1@sol>".into()], recipients: vec![reported("ana@x.test", None)] };
        let found = find(&report, Some(Kind::Bounce), None, "sol", None, &known).unwrap();
        assert_eq!(found.affected[0].places, [(id(2), 1), (id(1), 0)]);
    }

    #[test]
    fn an_answering_machine_is_the_recipients_whose_address_it_has() {
        let answer = |from| told(Kind::AutoReply, from, vec![]);
        assert_eq!(answer("ana@x.test"), Some((true, vec![0])));
        assert_eq!(answer("alias@x.test"), Some((true, vec![])));
    }
}
