//! What a human newly wrote, out of mails that we composed or wrote: every language, program and trap of ours.
//!
//! The table per slice is printed (`cargo test --test answers -- --nocapture`). The collection of mails that stands
//! outside the repository is scored by `cargo bench --bench answers`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "a test"
)]

mod compose;
mod score;

use score::{Table, normal, score};
use waystation::inbox::answer::extract;

const LANGUAGES: &str = include_str!("languages.json");

#[test]
fn composed_mails_of_every_language_give_their_answer() {
    let mut table = Table::default();
    let mut wrong = Vec::new();
    for mail in compose::mails(LANGUAGES) {
        let answer = extract(mail.text.as_deref(), mail.html.as_deref(), &[]);
        let score = score(&answer.text, &mail.accept[0], &mail.accept, &[]);
        let format = if mail.html.is_some() { "html" } else { "text" };
        let slices = [
            "all".to_owned(),
            format!("format {format}"),
            format!("kind {}", mail.kind),
            format!("language {}", mail.language),
            format!("client {format} {}", mail.client),
        ];
        table.add(&slices, score);
        if !score.strict {
            wrong.push(format!("{} {format} {} {}: {}", mail.language, mail.client, mail.kind, answer.text));
        }
    }
    println!("{table}");
    let (all, right) = table.strict("all");
    assert!(all > 2_000, "only {all} mails were composed");
    assert_eq!(
        table.strict("kind no-quote").0,
        table.strict("kind no-quote").1,
        "plain mail was damaged: {wrong:#?}"
    );
    assert!(right * 100 >= all * 99, "{right} of {all}: {wrong:#?}");
}

/// Cases stand as `=== name | rule`, the mail, `--- answer`, the answer; the rule is what `cut_by` says.
fn cases(source: &str) -> Vec<(&str, Option<&str>, &str, &str)> {
    source
        .split("=== ")
        .skip(1)
        .map(|part| {
            let (head, rest) = part.split_once('\n').unwrap();
            let (name, rule) = head.split_once(" | ").unwrap();
            let (mail, answer) = rest.split_once("--- answer").unwrap();
            (name, Some(rule).filter(|rule| *rule != "none"), mail, answer)
        })
        .collect()
}

#[test]
fn written_cases_give_their_answer_by_their_rule() {
    let mut wrong = Vec::new();
    let mut count = 0;
    let sources = [
        (include_str!("text.txt"), false),
        (include_str!("clients.txt"), false),
        (include_str!("html.txt"), true),
    ];
    for (source, is_html) in sources {
        for (name, rule, mail, expected) in cases(source) {
            count += 1;
            let answer =
                if is_html { extract(None, Some(mail), &[]) } else { extract(Some(mail), None, &[]) };
            if normal(&answer.text) != normal(expected) || answer.cut_by != rule {
                wrong.push(format!("{name}: {:?} {:?}", answer.cut_by, answer.text));
            }
        }
    }
    assert!(count > 100, "only {count} cases were found");
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Letters that tell who wrote what and when, or hold forms, transfers, payments, plans: `=== language: name`, the mail.
#[test]
fn plain_mail_with_traps_stays_whole_as_text_and_as_html() {
    let mut damaged = Vec::new();
    let mut languages = std::collections::BTreeSet::new();
    let mut count = 0;
    for part in include_str!("plain.txt").split("=== ").skip(1) {
        let (name, mail) = part.split_once('\n').unwrap();
        languages.insert(name.split_once(": ").unwrap().0);
        count += 1;
        let rows = compose::rows(mail.trim());
        for answer in [extract(Some(mail), None, &[]), extract(None, Some(&rows), &[])] {
            if normal(&answer.text) != normal(mail) || answer.cut_by.is_some() || answer.signature.is_some() {
                let format = if answer.html.is_some() { "html" } else { "text" };
                damaged.push(format!("{name} ({format}): {:?} {:?}", answer.cut_by, answer.text));
            }
        }
    }
    assert!(count > 100 && languages.len() > 24, "{count} mails in {languages:?}");
    assert!(damaged.is_empty(), "{damaged:#?}");
}

#[test]
fn plain_mail_comes_back_to_the_letter() {
    for text in ["Yes.", "  indented\n  lines", "a\n\n\n\nb", "tab\there", "one: two\nthree: four"] {
        let answer = extract(Some(text), None, &[]);
        assert_eq!((answer.text.as_str(), answer.cut_by, answer.signature), (text, None, None));
        assert!(answer.confidence > 0.9);
    }
}

#[test]
fn html_comes_back_without_quotation_and_without_harm() {
    let html = "<div onclick=\"x()\">We come <b>at six</b>.<script>x()</script></div><div class=\"gmail_quote\">On Tue, May 12, 2026 Casa wrote:<blockquote>When?</blockquote></div>";
    let answer = extract(None, Some(html), &[]);
    assert_eq!(answer.text, "We come at six.");
    assert_eq!(answer.html.as_deref(), Some("<div>We come <b>at six</b>.</div>"));
    assert_eq!(answer.cut_by, Some("html:gmail_quote"));
}

#[test]
fn two_bodies_that_agree_are_surer_than_one() {
    let html = "<p>Yes.</p><p>Sent from my iPhone</p>";
    let alone = extract(None, Some(html), &[]);
    let both = extract(Some("Yes.\n\nSent from my iPhone"), Some(html), &[]);
    assert_eq!((alone.text.as_str(), both.text.as_str()), ("Yes.", "Yes."));
    assert!(both.confidence > alone.confidence);
    assert_eq!(both.signature.as_deref(), Some("Sent from my iPhone"));
}

#[test]
fn text_we_sent_is_cut_whatever_announces_it() {
    let sent = "Dear Anna, the key is in the box beside the door, and its code is four times seven. See you on Friday!";
    let mail = format!(
        "Thank you, we found it.\n\nIliandikwa na Casa Sol siku ya Jumanne\n\n{}\n",
        sent.replace(", ", ",\n")
    );
    let answer = extract(Some(&mail), None, &[sent]);
    assert_eq!(answer.cut_by, Some("known:own_text"));
    assert!(answer.text.starts_with("Thank you, we found it.") && !answer.text.contains("the key"));
    assert_eq!(extract(Some(&mail), None, &[]).cut_by, None);
}

#[test]
fn own_words_around_text_we_sent_stay() {
    let sent = [
        "The check-in is possible from three in the afternoon.",
        "The key is in the small box beside the blue door.",
        "Please tell us your time of arrival and the number of guests.",
        "Breakfast costs twelve euros per person and day.",
    ];
    let all = sent.join("\n");
    let rows = compose::rows(&all);
    for (text, html, expected) in [
        (
            Some(format!("Is this right?\n{all}\nWe need two beds.")),
            None,
            "Is this right?\n\nWe need two beds.",
        ),
        (
            Some(format!("{}\nCan it be earlier?\n{}\nTwo.", sent[..2].join("\n"), sent[2..].join("\n"))),
            None,
            "Can it be earlier?\n\nTwo.",
        ),
        (None, Some(format!("<p>Right?</p>{rows}<p>We need two beds.</p>")), "Right?\n\nWe need two beds."),
        (Some(format!("At six.\n\n{all}\n\nSent from my iPhone\n")), None, "At six."),
        (Some(format!("At six.\n\n{all}\n\n-- \nCasa Sol\n")), None, "At six."),
        (None, Some(format!("<p>At six.</p>{rows}")), "At six."),
    ] {
        let answer = extract(text.as_deref(), html.as_deref(), &[&all]);
        assert_eq!((answer.text.as_str(), answer.cut_by), (expected, Some("known:own_text")));
    }
    let filled = sent.map(|line| line.replace("three", "seven"));
    let mail = format!("{}\nIs that right?", filled.join("\n"));
    assert_eq!(
        extract(Some(&mail), None, &[&all]).text,
        format!("{}\n\nIs that right?", filled[0]),
        "a word was put into the first line"
    );
    let answered = sent.map(|line| format!("{line} -> ok")).join("\n");
    assert_eq!(extract(Some(&answered), None, &[&all]).text, answered, "an answer stands in each line");
}

#[test]
fn hostile_mail_is_read_to_its_end() {
    let patterns = [
        "<div>",
        "<blockquote>",
        "<blockquote type=cite>x",
        "<p>",
        "<table><tr><td>",
        "</div>",
        "<a b=c ",
        "&",
        "&amp",
        "<!--",
        "<",
        ">",
        "> ",
        "> a\nb\n",
        ">>>> ",
        "On 12 May 2026 at 10:30 ",
        "On 12 May 2026 at 10:30\n",
        "From: a\n",
        "From: a@b.c\nDate: 1.1.2026 10:10\n",
        ":",
        "@",
        "a@b.c ",
        "1:",
        "1.1.2026 ",
        "-- \n",
        "----\n",
        "____\n\n",
        "Sent from my iPhone\n\n",
        "wrote:\n",
        "wrote:\n\n",
        "<b\n",
        "\n",
        "\r",
        " ",
        "\u{a0}",
        "\u{200b}",
        "\u{202a}",
        "*",
        "virus-free ",
        "virus-free\n\n",
        "<style>",
        "<div class='gmail_quote'>",
        "<div class='gmail_quote'><blockquote>x</blockquote>y",
        "-----Original Message-----\n",
        "reply above this line\n\n",
        "é",
        "日本",
    ];
    for pattern in patterns {
        let mail = pattern.repeat(60_000 / pattern.len());
        for known in
            [&[][..], &["one two three four five six seven eight nine ten eleven twelve thirteen"][..]]
        {
            let text = extract(Some(&mail), None, known);
            let html = extract(Some(&mail), Some(&mail), known);
            assert!(
                (0.0..=1.0).contains(&text.confidence) && (0.0..=1.0).contains(&html.confidence),
                "{pattern:?}"
            );
        }
    }
}

#[test]
fn a_body_of_megabytes_is_read_as_far_as_a_human_writes() {
    let mail = format!(
        "Yes.\n\nOn Tue, May 12, 2026 at 9:41 AM Casa <a@b.example> wrote:\n\n{}",
        "> more\n".repeat(1 << 19)
    );
    assert_eq!(extract(Some(&mail), None, &[]).text, "Yes.");
}
