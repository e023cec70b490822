//! `journal`: what happened, also to what is gone; and `demo`, which shows it all at once.

use crate::home::{Home, PROGRAM, clean, finish, recipients, states_of, text};
use crate::smarthost::Smarthost;
use crate::smtp::{LETTER, Smtp};
use std::process::Command;

#[test]
fn a_filter_by_a_name_that_nobody_has_says_so() {
    let smarthost = Smarthost::start();
    let home =
        Home::new(&format!("{}default = true\n{}", smarthost.section("shop"), smarthost.section("old")));
    let daemon = home.start();
    Smtp::hello(daemon.address()).post("shop@shop.test", &["ana@guest.test"], LETTER);
    let route = "[[route]]\nrecipient = \"@guest.test\"\nsmarthost = \"old\"\n";
    home.extend(route);
    home.cli(["reload"]).good();
    Smtp::hello(daemon.address()).post("shop@shop.test", &["bob@guest.test"], LETTER);
    home.journal_when(&["delivered", "delivered"]);
    home.configure(&smarthost.section("shop"));
    home.cli(["reload"]).good();
    let told = |filter: [&str; 2]| {
        let asked = home.cli(["journal", "--json"].into_iter().chain(filter));
        assert_eq!((asked.code, &*asked.out == "[]\n"), (0, filter[1] != "old"), "{asked:?}");
        asked.err
    };
    let unknown = "of this name is configured or in the journal; there";
    assert_eq!(told(["--lane", "shpo"]), format!("waystation: --lane shpo: no lane {unknown} are: shop\n"));
    let application = told(["--application", "crm"]);
    assert_eq!(application, format!("waystation: --application crm: no application {unknown} is none\n"));
    assert_eq!(told(["--lane", "old"]), "", "what was removed is in the journal");
    assert_eq!(home.cli(["journal", "--lane", "old", "--state", "failed"]).err, "");
}

#[test]
fn every_fate_is_told_in_every_form() {
    let smarthost = Smarthost::start();
    let home = Home::new(&smarthost.section("shop"));
    let daemon = home.start();
    let mut smtp = Smtp::hello(daemon.address());
    let tagged = format!("X-Waystation-Tag: reset, \"quoted\"\r\n{LETTER}");
    let good = smtp.post("shop@shop.test", &["ana@guest.test", "no@guest.test", "later@guest.test"], &tagged);
    let taken = smarthost.next();
    assert_eq!(taken.recipients, ["ana@guest.test"]);
    // The bounce for no@guest.test leaves by the same smarthost.
    let bounce = smarthost.next();
    assert_eq!((&*bounce.sender, bounce.recipients.len()), ("", 1));
    let journal = home.journal_when(&["delivered", "failed", "deferred"]);
    assert_eq!(journal.len(), 2, "the message and its bounce: {journal:#?}");
    assert_eq!(states_of(&journal[..1]), ["delivered", "failed", "deferred"]);
    let told = recipients(&journal[..1]);
    assert_eq!(text(told[0], "reply"), "250 2.0.0 taken");
    assert_eq!(text(told[1], "reply"), "550 5.1.1 no such mailbox");
    assert_eq!(text(told[2], "reply"), "451 4.2.0 come again");
    assert!(told[2]["next_attempt"].is_string() && told[0]["next_attempt"].is_null());
    assert_eq!(told[2]["attempts"], 1);

    let ids = |filters: &[&str]| -> Vec<String> {
        let arguments = ["journal", "--format", "json"].iter().chain(filters);
        home.json(arguments).iter().map(|message| text(message, "id")).collect()
    };
    let none: [String; 0] = [];
    assert_eq!(ids(&["--tag", "reset, \"quoted\""]), [&*good]);
    assert_eq!(ids(&["--tag", "other"]), none);
    assert_eq!(ids(&["--state", "failed"]), [&*good]);
    let bounce = text(&journal[1], "id");
    assert_eq!(ids(&["--match", "NO@guest"]), [&*good, &*bounce], "the bounce names it in its subject");
    assert_eq!(ids(&["--match", "no such mailbox"]), [&*good]);
    assert_eq!(ids(&["--since", "1h"]).len(), 2);
    assert_eq!(ids(&["--since", "2126-01-01"]), none);
    assert_eq!(ids(&["--until", "1h"]), none);
    assert_eq!(ids(&["--until", "2126-01-01 14:00", "--state", "expired,failed"]), [&*good]);
    assert_eq!(home.json(["queue", "list", "--json"]).len(), 1, "what is done isn't queued");

    let csv = home.cli(["journal", "--format", "csv", "--tag", "reset, \"quoted\""]).good();
    let lines: Vec<&str> = csv.split("\r\n").collect();
    let header = concat!(
        "id,received_at,lane,class,sender,size_bytes,subject,tag,",
        "recipient,state,attempts,next_attempt,reply,meta"
    );
    assert_eq!(lines[0], header);
    assert!(lines[1].starts_with(&format!("{good},")), "{csv}");
    assert!(
        lines[1].contains(",\"reset, \"\"quoted\"\"\",ana@guest.test,delivered,1,,250 2.0.0 taken"),
        "{csv}"
    );
    assert_eq!(lines.len(), 5, "a header, three recipients, and the last line's end");
    let table = home.cli(["journal"]).good();
    assert!(table.starts_with("id ") && table.contains("451 4.2.0 come again"), "{table}");
    let output = home.path("journal.json");
    let printed = home.cli(["journal", "--json", "--output", output.to_str().unwrap()]).good();
    assert_eq!(printed, "");
    let written = std::fs::read_to_string(output).unwrap();
    assert_eq!(serde_json::from_str::<Vec<serde_json::Value>>(&written).unwrap().len(), 2);
    let printed = home.cli(["journal", "--output", "-"]).good();
    assert_eq!(printed, home.cli(["journal"]).good());
    let told = home.cli(["journal", "--output", "/no/such/folder/file"]).failed(69);
    assert!(told.contains("--output /no/such/folder/file: "), "{told}");
}

#[test]
fn the_demo_shows_each_station_and_ends_well() {
    let mut command = Command::new(PROGRAM);
    clean(&mut command);
    command.args(["demo", "--once"]);
    let shown = finish(command, "").good();
    let mut rest = &*shown;
    for station in [
        "relay      127.0.0.1:",
        "smarthost  127.0.0.1:",
        "webhook    http://127.0.0.1:",
        "1  an application submits a message",
        "relay      said   250 2.0.0 ",
        "queued for shop, due ",
        "smarthost  got    MAIL FROM:<shop@shop.demo> RCPT TO:<ana@guest.demo>",
        "| Received: from ",
        "2  a mailbox forwards a guest's answer",
        "queued for inbox:guests, due ",
        "webhook    got    evt_",
        "(the signature is good)",
        "type     message.received",
        "mailbox  sol",
        "answer   Llegamos a las 18:00.\n",
        "cut by   text:",
        "3  the journal has both",
        "ana@guest.demo via shop: delivered",
        "inbox+sol@users.demo via inbox:guests: delivered",
    ] {
        let at =
            rest.find(station).unwrap_or_else(|| panic!("{station} is missing or out of order in\n{shown}"));
        rest = &rest[at + station.len()..];
    }
}

#[test]
fn the_journal_tells_a_messages_whole_life() {
    let smarthost = Smarthost::start();
    let home = Home::new(&smarthost.section("shop"));
    let daemon = home.start();
    let mut smtp = Smtp::hello(daemon.address());
    let id = smtp.post("shop@shop.test", &["ana@guest.test", "no@guest.test", "later@guest.test"], LETTER);
    home.journal_when(&["delivered", "failed", "deferred"]);
    home.cli(["queue", "hold", &id]).good();
    let told = home.cli(["journal", "show", &id]).good();
    let mut last = 0;
    for part in [
        "from     shop@shop.test\n",
        "to       ana@guest.test, no@guest.test, later@guest.test\n",
        "subject  Hello\n",
        "  accepted from 127.0.0.1 (EHLO client.test)\n",
        "  later@guest.test: put off: 451 4.2.0 come again\n",
        "  held: by an operator\n",
        "now: ana@guest.test delivered\n",
        "now: no@guest.test failed\n",
        "now: later@guest.test held\n",
    ] {
        let at = told[last..].find(part).unwrap_or_else(|| panic!("no {part:?} behind {last} in\n{told}"));
        last += at;
    }
    for part in [
        "  ana@guest.test: delivered at the first attempt: 250 2.0.0 taken\n",
        "  no@guest.test: failed at the first attempt: 550 5.1.1 no such mailbox\n",
        "  sender told: notice to the sender\n",
    ] {
        assert!(told.contains(part), "no {part:?} in\n{told}");
    }
    let life = home.json(["journal", "show", &id, "--json"]);
    assert_eq!((life.len(), text(&life[0], "id")), (1, id));
    assert!(life[0]["happenings"].as_array().unwrap().len() >= 3);
    assert!(home.cli(["journal", "show", "0000000000001"]).failed(65).contains("no such message"));
    home.cli(["journal", "show"]).failed(64);
}

#[test]
fn spreadsheets_get_no_formulas_and_filters_find_applications_and_lanes() {
    let hash = crate::login::hash();
    let home = Home::new(&format!(
        "[[listener]]\naddress = \"127.0.0.1:0\"\nauth = \"optional\"\n{}[application.desk]\npassword_hash = \"{hash}\"\n",
        crate::home::NOWHERE
    ));
    let daemon = home.start();
    let formula = LETTER.replace("Hello\r\n\r\n", "=cmd|'/c calc'!A1\r\n\r\n");
    let first = Smtp::hello(daemon.address()).post("shop@shop.test", &["ana@guest.test"], &formula);
    let mut smtp = Smtp::hello(daemon.address());
    assert!(smtp.login("desk", "hunter2").starts_with("235 "));
    let second = smtp.post("+a@shop.test", &["ana@guest.test"], LETTER);
    let csv = home.cli(["journal", "--format", "csv", "--bom"]).good();
    assert!(csv.starts_with("\u{feff}id,received_at,"), "{csv}");
    assert!(csv.contains(",'=cmd|'/c calc'!A1,") && csv.contains(",'+a@shop.test,"), "{csv}");
    let ids = |filters: &[&str]| -> Vec<String> {
        let arguments = ["journal", "--json"].iter().chain(filters);
        home.json(arguments).iter().map(|message| text(message, "id")).collect()
    };
    assert_eq!(ids(&["--application", "desk"]), [&*second]);
    assert_eq!(ids(&["--lane", "shop"]), [&*first, &second]);
    assert_eq!(ids(&["--lane", "other"]), [""; 0]);
    assert!(home.cli(["journal", "--bom"]).failed(64).contains("--format csv"));
    assert!(home.cli(["journal", "--json", "--format", "csv"]).failed(64).contains("say one of the two"));
    assert_eq!(home.json(["journal", "--json", "--format", "json"]).len(), 2);
    let nowhere = home.path("none/journal.xlsx");
    let told = home.cli(["journal", "--format", "xlsx", "--output", nowhere.to_str().unwrap()]).failed(69);
    assert!(told.contains("none/journal.xlsx: No such file"), "{told}");
    // Into a pipe a workbook goes as it is.
    let mut command = home.command(["journal", "--format", "xlsx"]);
    let output = command.stdin(std::process::Stdio::null()).output().unwrap();
    assert!(output.status.success() && output.stdout.starts_with(b"PK"), "{output:?}");
}
