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
use waystation::inbox::answer::{Told, extract, extract_told};

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
    for text in [
        "Yes.",
        "  indented\n  lines",
        "a\n\n\n\nb",
        "tab\there",
        "one: two\nthree: four",
        "The price is\n> 100 EUR\nright?",
        "The price is\n\n\n> 100 EUR\n\n> for two\nright?\n\n\nAna",
        "We asked for it - On 12 May 2026 at 09:41 the neighbour wrote:\nnot yet.",
    ] {
        let answer = extract(Some(text), None, &[]);
        assert_eq!((answer.text.as_str(), answer.cut_by, answer.signature), (text, None, None));
        assert!(answer.confidence > 0.9);
        let answer = extract(Some(&text.replace('\n', "\r\n")), None, &[]);
        assert_eq!(answer.text, text);
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
fn pictures_stay_with_the_words_around_them_and_no_quoted_one_does() {
    for (html, expected) in [
        ("<div>See <img src=\"cid:1\"> here</div>", "<div>See <img src=\"cid:1\"> here</div>"),
        (
            "<p>Hello</p><p><img src=\"cid:1\"></p><p>Bye</p>",
            "<p>Hello</p><p><img src=\"cid:1\"></p><p>Bye</p>",
        ),
        (
            "<div>Yes.</div><div class=\"gmail_quote\">On Tue, May 12, 2026 Casa wrote:<blockquote><img src=\"cid:2\">When?</blockquote></div>",
            "<div>Yes.</div>",
        ),
    ] {
        assert_eq!(extract(None, Some(html), &[]).html.as_deref(), Some(expected));
    }
}

#[test]
fn a_signature_that_a_program_marked_is_told() {
    for html in [
        "<div>At six.</div><div class=\"gmail_signature\">Ana Perez<br>+34 600</div>",
        "<div>At six.</div><div id=\"sig58390265\"><div>Ana Perez<br></div><div>+34 600<br></div></div>",
        "<div>At six.</div><div id=\"sig58390265\"><div class=\"signature\">Ana Perez<br>+34 600</div></div><div>On Tue, 12 May 2026, at 09:41, Casa Sol wrote:<br></div><blockquote type=\"cite\" id=\"qt\">When?</blockquote>",
    ] {
        let answer = extract(None, Some(html), &[]);
        let told = (answer.text.as_str(), answer.signature.as_deref());
        assert_eq!(told, ("At six.", Some("Ana Perez\n+34 600")), "{html}");
    }
    let html = "<div>At six.</div><div id=\"sigma\">See you</div><div id=\"sig\">Ana</div>";
    assert_eq!(extract(None, Some(html), &[]).signature, None);
}

#[test]
fn fields_of_a_mail_are_a_form_where_nothing_is_answered() {
    let form = "New message from your website\n\nFrom: Tom Guest <tom@guest.example>\nDate: 23 Nov 2026 10:15\nSubject: May\n\nIs the house free in May?";
    for is_answer in [true, false] {
        let told = Told { is_answer, has_attachments: false };
        let expected = if is_answer { "New message from your website" } else { form };
        assert_eq!(extract_told(Some(form), None, &[], told).text, expected);
        let html = extract_told(None, Some(&compose::rows(form)), &[], told);
        assert_eq!(normal(&html.text), normal(expected));
    }
    let outlook = "Yes.\n\n-----Original Message-----\nFrom: Sol <a@b.example>\nSent: Tuesday, May 5, 2026 9:14 AM\nTo: Kim\nSubject: Q\n\nWhen?";
    let told = Told { is_answer: false, has_attachments: false };
    assert_eq!(extract_told(Some(outlook), None, &[], told).text, "Yes.");
    let heading = "Hi,\n\n----- Last message -----\nIt was not clear.";
    assert_eq!(extract_told(Some(heading), None, &[], told).text, heading);
    assert_eq!(extract(Some(heading), None, &[]).text, "Hi,");
}

#[test]
fn nothing_but_a_quotation_is_kept_unless_something_is_attached() {
    let mail = "On Tue, May 5, 2026 at 9:14 AM Sol <a@b.example> wrote:\n\n> When do you come?";
    for (has_attachments, expected) in [(true, ""), (false, mail)] {
        let answer = extract_told(Some(mail), None, &[], Told { is_answer: true, has_attachments });
        assert_eq!(answer.text, expected);
        assert!(has_attachments || answer.confidence < 0.5);
        let block = "From: Sol <a@b.example>\nSent: Tuesday, May 5, 2026 9:14 AM\nTo: Kim\nSubject: Q";
        let outlook = format!("-----Original Message-----\n{block}\n\nWhen do you come?");
        let answer = extract_told(Some(&outlook), None, &[], Told { is_answer: true, has_attachments });
        assert_eq!(answer.text, outlook, "what we wrote isn't the answer");
        assert!(answer.confidence < 0.5);
    }
}

#[test]
fn plain_text_that_goes_on_behind_the_answer_makes_it_unsure() {
    let html = "<div>At six.</div><div class=yahoo_quoted>And a dog.<br>When?</div>";
    let quoted = "On Tue, May 5, 2026 at 9:14 AM Sol <a@b.example> wrote:\n\n> When?";
    let confidence = |text: &str| extract(Some(text), Some(html), &[]).confidence;
    assert!(confidence(&format!("At six.\nAnd a dog.\n\n{quoted}")) <= 0.5);
    assert!(confidence(&format!("At six.\n\n{quoted}")) > 0.9);
}

#[test]
fn two_bodies_that_agree_are_surer_than_one() {
    let html = "<p>Yes.</p><p>Sent from my iPhone</p>";
    let alone = extract(None, Some(html), &[]);
    let both = extract(Some("Yes.\n\nSent from my iPhone"), Some(html), &[]);
    assert_eq!((alone.text.as_str(), both.text.as_str()), ("Yes.", "Yes."));
    assert!(both.confidence > alone.confidence);
    assert_eq!(both.signature.as_deref(), Some("Sent from my iPhone"));
    let text = "On Tue, May 5, 2026 at 9:14 AM Sol <a@b.example> wrote:\n\n> When?\n";
    let html = compose::rows(text);
    let told = Told { is_answer: true, has_attachments: false };
    let unsure = extract_told(Some(text), Some(&html), &[], told);
    assert!(unsure.confidence < 0.5, "two that keep all for want of a better idea: {unsure:?}");
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
    for (above, expected) in [
        ("Thanks!\n\nCasa Sol:", "Thanks!"),
        ("Thanks!\n\nMaria of Casa Sol:", "Thanks!\n\nMaria of Casa Sol:"),
        ("Thanks!\n\nWhat does this mean:", "Thanks!\n\nWhat does this mean:"),
        ("Casa Sol:", "Casa Sol:"),
    ] {
        let answer = extract(Some(&format!("{above}\n{sent}")), None, &[sent]);
        assert_eq!((answer.text.as_str(), answer.cut_by), (expected, Some("known:own_text")));
    }
}

#[test]
fn what_is_cited_stays_unless_we_sent_it() {
    let sent = "Dear Anna, the key is in the box beside the door, and its code is four times seven. See you on Friday!";
    for element in ["type=\"cite\"", "class=\"gmail_quote\""] {
        let html = format!("<p>Hello,</p><blockquote {element}>{sent}</blockquote><p>Thank you.</p>");
        let texts = |known: &[&str]| normal(&extract(None, Some(&html), known).text);
        assert_eq!(texts(&[sent]), "Hello, Thank you.");
        assert_eq!(texts(&[]), format!("Hello, {sent} Thank you."));
    }
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
fn a_line_of_ours_that_was_pasted_stays() {
    let offer = [
        "1. The flat in the Calle Mayor, with balcony, 120 EUR a night",
        "2. The flat in the Calle Nueva, with garden, 140 EUR a night",
        "3. The house on the hill above the village, 220 EUR a night",
    ];
    let sent = format!("Dear Kim,\n\n{}\n\nWhich one of them do you want?", offer.join("\n"));
    for mail in [
        offer[1].to_owned(),
        format!("We take:\n\n{}\n\nKim", offer[1]),
        format!("We take:\n\n{}", offer[1]),
        format!("One of these:\n\n{}\n{}", offer[0], offer[1]),
        format!("One of these:\n\n{}\n{}\n\nAre they free in July?", offer[0], offer[1]),
        sent.clone(),
    ] {
        let answer = extract(Some(&mail), None, &[&sent]);
        assert_eq!((answer.text.as_str(), answer.cut_by), (mail.as_str(), None));
        let rows = compose::rows(&mail);
        assert_eq!(normal(&extract(None, Some(&rows), &[&sent]).text), normal(&mail), "{rows}");
    }
    let above = "We take:\n\n2. The flat in the Calle Nueva, with garden, 140 EUR a night";
    let quoted = sent.lines().map(|line| format!("> {line}\n")).collect::<String>();
    let by_mark = format!("{above}\n\nOn Tue, May 5, 2026 at 9:14 AM Sol <a@b.example> wrote:\n{quoted}");
    assert_eq!(extract(Some(&by_mark), None, &[&sent]).text, above);
    let by_shape = format!("Yes.\n\nImechapishwa na Sol:\n\n{sent}");
    assert_eq!(extract(Some(&by_shape), None, &[&sent]).cut_by, Some("known:own_text"));
    let cut_off = format!("Yes.\n\n{}", offer.join("\n"));
    assert_eq!(extract(Some(&cut_off), None, &[&format!("{sent}{}", " and more".repeat(90))]).text, "Yes.");
    let thanks = "Thank you for your message.";
    let mail = format!("{thanks}\n\nFriday.\n\n{thanks}\n{sent}");
    let answer = extract(Some(&mail), None, &[&format!("{thanks}\n{sent}")]);
    assert_eq!(
        answer.text,
        format!("{thanks}\n\nFriday."),
        "of what was sent once the first is the answer's"
    );
}

#[test]
fn what_is_filled_in_within_a_marked_quotation_of_ours_stays() {
    let asked = [
        "Your full name as in the passport:",
        "Date and hour of arrival at the house:",
        "Do you need a cot or a high chair for the little ones?",
    ];
    let answers = ["Kim Lee", "7 May, 18:00", "a cot"];
    let sent = format!(
        "Please fill in these lines and send them back:\n{}\nKind regards from all of us, Sol",
        asked.join("\n")
    );
    let filled = |between: &str| {
        let mut text = sent.clone();
        for (asked, answer) in asked.iter().zip(answers) {
            text = text.replace(asked, &format!("{asked}{between}{answer}"));
        }
        text
    };
    let wrote = "On Tue, May 5, 2026 at 9:14 AM Sol &lt;a@b.example&gt; wrote:";
    for above in ["", "I have filled it in."] {
        for (between, own) in [
            (" ", filled(" ").lines().skip(1).take(3).collect::<Vec<_>>().join(" ")),
            ("\n", answers.join(" ")),
        ] {
            let rows = compose::rows(&filled(between));
            for html in [
                format!(
                    "<div>{above}</div><div class=gmail_quote><div class=gmail_attr>{wrote}</div><blockquote class=gmail_quote>{rows}</blockquote></div>"
                ),
                format!("<div>{above}</div><blockquote type=cite><div>{wrote}</div>{rows}</blockquote>"),
            ] {
                let answer = extract(None, Some(&html), &[&sent]);
                assert_eq!(normal(&answer.text), format!("{above} {own}").trim(), "{html}");
                assert!(answer.confidence < 0.8);
                assert_eq!(extract(None, Some(&html), &[]).text, above, "nothing tells what is new");
            }
            let quoted = filled(between).lines().map(|line| format!("> {line}\n")).collect::<String>();
            let mail =
                format!("{above}\n\nOn Tue, May 5, 2026 at 9:14 AM Sol <a@b.example> wrote:\n\n{quoted}");
            let found = extract(Some(&mail), None, &[&sent]).text.replace("> ", "");
            assert_eq!(normal(&found), format!("{above} {own}").trim(), "{mail}");
            let announced = format!("Hello Sol.\n\n-----Original Message-----\n\n{quoted}");
            let found = extract(Some(&announced), None, &[&sent]).text.replace("> ", "");
            assert_eq!(normal(&found), format!("Hello Sol. {own}"), "{announced}");
            for inside in ["", "> On Tue, May 5, 2026 at 9:14 AM Sol <a@b.example> wrote:\n>\n"] {
                let mail = format!("Hello Sol,\nwe come by car.\n\n{inside}{quoted}");
                let found = extract(Some(&mail), None, &[&sent]).text.replace("> ", "");
                assert_eq!(normal(&found), format!("Hello Sol, we come by car. {own}"), "{mail}");
            }
        }
    }
    let quoted = sent.lines().map(|line| format!("> {line}\n")).collect::<String>();
    let mail = format!("Yes.\n\nOn Tue, May 5, 2026 at 9:14 AM Sol <a@b.example> wrote:\n\n{quoted}");
    assert_eq!(extract(Some(&mail), None, &[&sent]).text, "Yes.");
}

#[test]
fn what_a_program_writes_into_a_quotation_of_ours_is_not_filled_in() {
    let sent = "Here is the door, it is the blue one on the left:\n\n* The key is in the box beside it\n* https://maps.example/place/Calle/@36,-4/data=abc\n\nPlease tell us when you arrive.";
    let head =
        "From: Sol <a@b.example>\nSent: Tuesday, May 5, 2026 9:14 AM\nTo: Kim <k@d.example>\nSubject: Q\n\n";
    for (of, by) in [
        ("left:\n", "left:\n\n<door.jpg>\n"),
        ("left:\n", "left:\n\n[image: Door]\n"),
        ("left:\n", "left: [cid:image001.jpg@01DC.7A]\n"),
        ("left:\n", "left:\n[door.jpg]\n"),
        ("* The", "1. The"),
        ("-4/data", "-4/\ndata"),
    ] {
        let text = sent.replace(of, by);
        let rows = compose::rows(&text);
        let quoted = text.lines().map(|line| format!("> {line}\n")).collect::<String>();
        let wrote = "On Tue, May 5, 2026 at 9:14 AM Sol <a@b.example> wrote:\n\n";
        for mail in
            [format!("Six.\n\n{wrote}{quoted}"), format!("Six.\n\n{quoted}"), format!("Six.\n\n{head}{text}")]
        {
            assert_eq!(extract(Some(&mail), None, &[sent]).text, "Six.", "{mail}");
        }
        let html = format!("<p>Six.</p><blockquote type=cite>{rows}</blockquote>");
        assert_eq!(extract(None, Some(&html), &[sent]).text, "Six.", "{html}");
    }
}

#[test]
fn answers_between_lines_of_ours_stay_where_no_program_marks_the_quotation() {
    let asked = [
        "When do you arrive on Friday, please tell us the hour?",
        "How many people are in your party, and do you bring a dog?",
        "Will you need one of the parking places behind the house?",
    ];
    let answers = ["At six o'clock.", "Four, and a dog.", "Yes, one."];
    let sent = asked.join("\n");
    let inline =
        asked.iter().zip(answers).map(|(asked, answer)| format!("{asked}\n{answer}\n")).collect::<String>();
    let head =
        "From: Sol <a@b.example>\nSent: Tuesday, May 5, 2026 9:14 AM\nTo: Kim <k@d.example>\nSubject: Q\n\n";
    let own = answers.join(" ");
    for (above, announced) in [
        ("", format!("-----Original Message-----\n{head}")),
        ("See below.", format!("-----Original Message-----\n{head}")),
        ("See below.", format!("________________________________\n{head}")),
        ("See below.", head.to_owned()),
        ("See below.", "On Tue, May 5, 2026 at 9:14 AM Sol <a@b.example> wrote:\n\n".to_owned()),
    ] {
        let mail = format!("{above}\n\n{announced}{inline}");
        let answer = extract(Some(&mail), None, &[&sent]);
        assert_eq!(normal(&answer.text), normal(&format!("{above} {own}")), "{mail}");
        let plain = format!("Yes.\n\n{announced}{sent}\n\nSol\n+34 600");
        assert_eq!(extract(Some(&plain), None, &[&sent]).text, "Yes.", "{plain}");
    }
    let head = "<p><b>From:</b> Sol &lt;a@b.example&gt;<br><b>Sent:</b> Tuesday, May 5, 2026 9:14 AM<br><b>To:</b> Kim<br><b>Subject:</b> Q</p>";
    for border in [
        format!("<div style='border:none;border-top:solid #E1E1E1 1.0pt'>{head}</div>"),
        format!(
            "<div id=appendonsend></div><hr style='display:inline-block;width:98%' tabindex=-1><div id=divRplyFwdMsg>{head}</div>"
        ),
    ] {
        for above in ["", "See below."] {
            let html = format!("<p>{above}</p>{border}{}", compose::rows(&inline));
            let answer = extract(None, Some(&html), &[&sent]);
            assert_eq!(normal(&answer.text), normal(&format!("{above} {own}")), "{html}");
        }
        let plain = format!("<p>Yes.</p>{border}{}<p>Sol</p>", compose::rows(&sent));
        assert_eq!(extract(None, Some(&plain), &[&sent]).text, "Yes.", "{plain}");
        let coloured = format!(
            "{border}<p>{} <i>At six</i></p><p>{} <i>Four</i></p><p>{}</p>",
            asked[0], asked[1], asked[2]
        );
        let answer = extract(None, Some(&coloured), &[&sent]);
        assert!(answer.text.contains("At six") && answer.text.contains("Four"), "{answer:?}");
    }
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

#[test]
fn mail_that_holds_only_an_unmarked_history_is_kept_whole_and_unsure() {
    let head = "<b>From:</b> Sol &lt;a@b.example&gt;<br><b>Sent:</b> Tuesday, May 5, 2026 9:14 AM<br><b>To:</b> Kim<br><b>Subject:</b> Q";
    for html in [
        format!(
            "<div style='border:none;border-top:solid #E1E1E1 1.0pt'><p>{head}</p></div><p>When? At six!</p>"
        ),
        format!("<div><br></div><div id=divRplyFwdMsg>{head}</div><div>When? At six!</div>"),
    ] {
        let answer = extract(None, Some(&html), &[]);
        assert!(answer.text.ends_with("When? At six!"), "{answer:?}");
        assert!(answer.confidence < 0.5 && answer.cut_by.is_none());
    }
}
