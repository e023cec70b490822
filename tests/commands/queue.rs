//! `status` and `queue`: what waits, and changing it.

use crate::home::{Home, LIMIT, NOWHERE, PROGRAM, clean, finish, recipients, states_of, text};
use crate::smarthost::Smarthost;
use crate::smtp::{LETTER, Smtp};
use serde_json::Value;
use std::process::Command;
use std::time::Instant;

const MESSAGE: [&str; 10] =
    ["class", "id", "lane", "meta", "received_at", "recipients", "sender", "size_bytes", "subject", "tag"];
const RECIPIENT: [&str; 5] = ["address", "attempts", "next_attempt", "reply", "state"];

pub fn keys(value: &Value) -> Vec<&str> {
    let mut keys: Vec<&str> = value.as_object().unwrap().keys().map(String::as_str).collect();
    keys.sort_unstable();
    keys
}

#[test]
fn what_waits_is_listed_filtered_and_changed() {
    let home = Home::new(NOWHERE);
    let daemon = home.start();
    let mut smtp = Smtp::hello(daemon.address());
    let first = smtp.post("shop@shop.test", &["ana@guest.test", "bob@guest.test"], LETTER);
    let second = smtp.post("", &["ana@guest.test"], LETTER);
    let third = smtp.post("desk@hotel.test", &["eve@other.test"], LETTER);

    let all = home.json(["queue", "list", "--json"]);
    assert_eq!(all.iter().map(|message| text(message, "id")).collect::<Vec<_>>(), [&*first, &second, &third]);
    for message in &all {
        assert_eq!(keys(message), MESSAGE);
    }
    for recipient in recipients(&all) {
        assert_eq!(keys(recipient), RECIPIENT);
    }
    assert_eq!(text(&all[0], "lane"), "shop");
    assert_eq!(text(&all[0], "class"), "normal");
    assert_eq!(text(&all[0], "subject"), "Hello");
    assert_eq!(states_of(&all), ["queued"; 4]);
    assert_eq!(home.json(["queue", "list", "--json", "--state", "queued"]), all);

    let found = |filters: &[&str]| -> Vec<String> {
        let arguments = ["queue", "list", "--json"].iter().chain(filters);
        home.json(arguments).iter().map(|message| text(message, "id")).collect()
    };
    let none: [String; 0] = [];
    assert_eq!(found(&["--sender", "shop@shop.test"]), [&*first]);
    assert_eq!(found(&["--sender", "@hotel.test"]), [&*third]);
    assert_eq!(found(&["--sender", "<>"]), [&*second]);
    assert_eq!(found(&["--recipient", "ana@guest.test"]), [&*first, &second]);
    assert_eq!(found(&["--recipient", "*other*"]), [&*third]);
    assert_eq!(found(&["--lane", "shop"]), [&*first, &second, &third]);
    assert_eq!(found(&["--lane", "other"]), none);
    assert_eq!(found(&["--older-than", "1h"]), none);
    assert_eq!(found(&["--state", "held,deferred"]), none);
    assert_eq!(found(&["--state", "queued", "--sender", "desk@hotel.test"]), [&*third]);

    assert_eq!(home.json(["queue", "--json", "list"]), all, "options may stand before the verb");
    assert_eq!(home.json(["queue", "--json", "--lane", "other", "list"]), [] as [Value; 0]);
    assert_eq!(home.json(["queue", "--json", "show", &first]).len(), 1);
    assert_eq!(home.json(["queue", "--sender", "<>", "--json", "retry"]), [Value::from(&*second)]);
    assert_eq!(found(&["--sender", ""]), [&*second]);
    let strange = home.cli(["queue", "list", "--json", "--lane", "shpo"]);
    assert_eq!((strange.code, &*strange.out), (0, "[]\n"));
    assert_eq!(
        strange.err,
        "waystation: --lane shpo: no lane of this name is configured or in the journal; there are: shop\n"
    );
    let known = home.cli(["queue", "list", "--lane", "shop", "--state", "held"]);
    assert_eq!((&*known.out, &*known.err), ("no messages\n", ""));

    let table = home.cli(["queue"]).good();
    let header: Vec<&str> = table.lines().next().unwrap().split_whitespace().collect();
    assert_eq!(header[..7], ["ID", "RECEIVED", "LANE", "CLASS", "SIZE", "SENDER", "RECIPIENT"]);
    assert_eq!(table.lines().count(), 5, "one line for each recipient:\n{table}");
    assert!(table.contains("<>"), "{table}");

    assert_eq!(home.cli(["queue", "hold", &first]).good(), "1 message held\n");
    let told = home.cli(["queue", "hold", &first]).good();
    assert_eq!(told, "0 messages held\n1 message not changed: it is held already\n");
    let told = home.cli(["queue", "retry", &first]).good();
    assert!(told.ends_with("not changed: it is held; `waystation queue release` lets it go\n"), "{told}");
    let preview = home.cli(["queue", "retry", "--dry-run", &first]).good();
    assert!(
        preview.ends_with("not changed: it is held; `waystation queue release` lets it go\n"),
        "{preview}"
    );
    assert_eq!(found(&["--state", "held"]), [&*first]);
    assert_eq!(home.json(["queue", "hold", "--sender", "@hotel.test", "--json"]), [Value::from(&*third)]);
    let shown = home.cli(["queue", "show", &first]).good();
    for part in [
        "state held",
        "ana@guest.test",
        "bob@guest.test",
        "client: 127.0.0.1",
        "kind held",
        "helo: client.test",
    ] {
        assert!(shown.contains(part), "{part} is missing in\n{shown}");
    }
    let life = home.json(["queue", "show", "--json", &first]);
    assert_eq!(life.len(), 1);
    assert_eq!(text(&life[0]["happenings"][0], "kind"), "held");
    let off = "for shop, which is switched off; set enabled = true to let its mail go\n";
    let released = home.cli(["queue", "release", "--all"]).good();
    assert_eq!(released, format!("2 messages are held no more, but wait {off}"));
    assert_eq!(found(&["--state", "held"]), none);
    assert_eq!(home.cli(["queue", "retry", &second]).good(), format!("1 message waits {off}"));
    assert_eq!(home.cli(["queue", "delete", &first, &second]).good(), "2 messages deleted\n");
    assert_eq!(found(&[]), [&*third]);
    assert_eq!(home.cli(["queue", "delete", "--all", "--yes"]).good(), "1 message deleted\n");
    assert_eq!(home.cli(["queue"]).good(), "no messages\n");
}

#[test]
fn what_is_meant_must_be_said() {
    let home = Home::new(NOWHERE);
    let _daemon = home.start();
    for (arguments, code, part) in [
        (&["queue", "delete"][..], 64, "which messages? Give ids, a filter, or --all"),
        (&["queue", "hold", "x"], 64, "x: not a message id"),
        (&["queue", "list", "--state", "lost"], 64, "no such state; one of queued, deferred, held"),
        (&["queue", "list", "--older-than", "yesterday"], 64, "not a duration; write 90s, 5m, 2h or 5d"),
        (&["queue", "show", "0000000000001"], 65, "no such message in the queue or the journal"),
        (
            &["queue", "delete", "0000000000001"],
            65,
            "0000000000001: no such message in the queue or the journal",
        ),
        (&["queue", "hold", "--json", "0000000000001"], 65, "no such message in the queue or the journal"),
        (&["queue", "--lane", "shop", "show", "0000000000001"], 64, "show and salvage take no filter"),
        (&["queue", "--json", "salvage"], 64, "salvage knows no --json"),
        (&["queue", "list", "--colour"], 64, "unexpected argument '--colour'"),
        (&["journal", "--since", "whenever"], 64, "not a time; write 2026-11-22"),
    ] {
        let told = home.cli(arguments).failed(code);
        assert!(told.contains(part), "{arguments:?}: {told}");
    }
    assert_eq!(home.cli(["queue", "list", "--json"]).good(), "[]\n");
    assert_eq!(home.cli(["queue", "retry", "--all", "--json"]).good(), "[]\n");
}

#[test]
fn status_tells_the_daemon_its_configuration_and_its_lanes() {
    let home = Home::new(&format!("{NOWHERE}default = true\n[smarthost.bulk]\nhost = \"127.0.0.1\"\n"));
    let daemon = home.start();
    Smtp::hello(daemon.address()).post("shop@shop.test", &["ana@guest.test"], LETTER);
    let told = home.cli(["status"]).good();
    let address = daemon.address();
    for part in [
        &*format!("process {}", daemon.pid().as_raw_nonzero()),
        "waystation.toml generation 1 (",
        &*format!("listens on {address}; "),
        "LANE  STATE",
        "set enabled = true",
    ] {
        assert!(told.contains(part), "{part} is missing in\n{told}");
    }
    let lanes = home.json(["status", "--json"]);
    assert_eq!(lanes.iter().map(|lane| text(lane, "lane")).collect::<Vec<_>>(), ["bulk", "shop"]);
    assert_eq!(lanes.iter().map(|lane| text(lane, "state")).collect::<Vec<_>>(), ["flowing", "disabled"]);
    assert_eq!(lanes[1]["queued"], 1);
    for key in [
        "advice",
        "connections",
        "deferred",
        "held",
        "lane",
        "next_due",
        "next_probe",
        "queued",
        "reason",
        "state",
    ] {
        assert!(keys(&lanes[1]).contains(&key), "{lanes:?}");
    }
}

#[test]
fn a_change_by_filter_is_shown_first_and_needs_a_yes_where_it_cannot_be_taken_back() {
    let smarthost = Smarthost::start();
    let home = Home::new(&format!("{NOWHERE}default = true\n{}", smarthost.section("spare")));
    let daemon = home.start();
    let mut smtp = Smtp::hello(daemon.address());
    let tagged = format!("X-Waystation-Tag: spring\r\n{LETTER}");
    let first = smtp.post("shop@shop.test", &["ana@guest.test", "bob@guest.test"], &tagged);
    let second = smtp.post("", &["eve@other.test"], LETTER);

    let shown = home.cli(["queue", "delete", "--lane", "shop", "--dry-run"]).good();
    let told = format!(
        "2 messages would be deleted\n  shop: 2 queued\n    {first}  shop@shop.test → ana@guest.test and 1 more: Hello\n    \
         {second}  <> → eve@other.test: Hello\n"
    );
    assert_eq!(shown, told);
    assert_eq!(home.json(["queue", "delete", "--lane", "shop", "--dry-run", "--json"]), [&*first, &second]);
    let refused = home.cli(["queue", "delete", "--lane", "shop"]).failed(64);
    assert!(refused.starts_with(&told) && refused.contains("needs --yes"), "{refused}");
    let refused = home.cli(["queue", "reroute", "--to", "spare", "--all"]).failed(64);
    assert!(refused.starts_with("2 messages would be moved to spare\n"), "{refused}");
    assert_eq!(home.json(["queue", "list", "--json"]).len(), 2, "nothing was touched");

    assert_eq!(home.cli(["queue", "hold", "--tag", "spring"]).good(), "1 message held\n");
    assert_eq!(
        home.cli(["queue", "retry", "--all", "--dry-run"]).good().lines().next(),
        Some("1 message would be due now")
    );
    let waits = "1 message waits for shop, which is switched off; set enabled = true to let its mail go\n";
    let held = "1 message not changed: it is held; `waystation queue release` lets it go\n";
    assert_eq!(home.cli(["queue", "retry", "--all", "--yes"]).good(), format!("{waits}{held}"));
    assert_eq!(home.cli(["queue", "retry", "--tag", "spring"]).good(), format!("0 messages due now\n{held}"));
    assert_eq!(
        home.cli(["queue", "retry", "--tag", "spring", "--state", "queued"]).good(),
        "0 messages due now\n"
    );
    assert_eq!(home.cli(["queue", "release", "--application", "desk"]).good(), "0 messages released\n");

    let refused = home.cli(["queue", "reroute", "--to", "nowhere", "--all", "--dry-run"]);
    assert_eq!(refused.failed(64), "waystation: --to nowhere: no such smarthost; there are: shop, spare\n");
    // Held mail moves and stays held; what waits leaves by the other smarthost at once.
    assert!(
        home.cli(["queue", "reroute", "--to", "nowhere", &first])
            .failed(64)
            .contains("there are: shop, spare")
    );
    assert_eq!(
        home.cli(["queue", "reroute", "--to", "spare", "--all", "--yes"]).good(),
        "2 messages moved to spare\n"
    );
    assert_eq!(smarthost.next().recipients, ["eve@other.test"]);
    assert_eq!(
        states_of(&home.json(["queue", "list", "--json", "--lane", "spare", "--state", "held"])),
        ["held", "held"]
    );
    home.cli(["queue", "release", &first]).good();
    assert_eq!(smarthost.next().recipients, ["ana@guest.test", "bob@guest.test"]);
    let life = home.json(["journal", "show", &first, "--json"]);
    let kinds: Vec<String> =
        life[0]["happenings"].as_array().unwrap().iter().map(|happening| text(happening, "kind")).collect();
    assert_eq!(kinds, ["held", "rerouted", "released"]);
    assert_eq!(text(&life[0]["happenings"][1], "detail"), "from shop to spare");
}

#[test]
fn what_is_too_big_for_a_smarthost_is_not_moved_to_it_and_told_of() {
    let smarthost = Smarthost::start();
    let small = smarthost.section("small") + "max_size = \"2 KiB\"\n";
    let home = Home::new(&format!("{NOWHERE}default = true\n{small}"));
    let daemon = home.start();
    let mut smtp = Smtp::hello(daemon.address());
    let big = format!("{LETTER}{}", "many words\r\n".repeat(400));
    let big = smtp.post("shop@shop.test", &["ana@guest.test"], &big);
    let other = smtp.post("shop@shop.test", &["bob@guest.test"], LETTER);

    let left =
        "1 message not changed: it is larger than smarthost.small.max_size, 2 KiB, and would bounce there\n";
    let by_id = ["queue", "reroute", "--to", "small", &big];
    assert_eq!(home.cli(by_id).good(), format!("0 messages moved to small\n{left}"));
    let all = ["queue", "reroute", "--to", "small", "--all"];
    let told = format!(
        "1 message would be moved to small\n  shop: 1 queued\n    {other}  shop@shop.test → bob@guest.test: Hello\n{left}"
    );
    assert_eq!(home.cli(all.iter().chain(&["--dry-run"])).good(), told);
    assert!(home.cli(all).failed(64).starts_with(&told));
    assert_eq!(home.cli(all.iter().chain(&["--yes"])).good(), format!("1 message moved to small\n{left}"));
    assert_eq!(smarthost.next().recipients, ["bob@guest.test"]);
    let waiting = home.json(["queue", "list", "--json"]);
    assert_eq!((text(&waiting[0], "id"), text(&waiting[0], "lane")), (big, "shop".to_owned()));
    assert_eq!(states_of(&waiting), ["queued"]);
}

#[test]
fn a_deletion_by_recipient_or_state_leaves_the_others_of_the_same_message() {
    let smarthost = Smarthost::start();
    let home = Home::new(&format!("{}[retry]\nschedule = [\"1h\"]\n", smarthost.section("shop")));
    let daemon = home.start();
    let mut smtp = Smtp::hello(daemon.address());
    let to = ["later@one.test", "later@two.test", "eve@one.test"];
    let id = smtp.post("shop@shop.test", &to, LETTER);
    assert_eq!(smarthost.next().recipients, ["eve@one.test"]);
    let fates = || states_of(&home.journal_when(&["deferred", "delivered", "deleted", "held"]));
    assert_eq!(fates(), ["deferred", "deferred", "delivered"]);

    let nothing = home.cli(["queue", "delete", "--state", "delivered", "--dry-run"]).good();
    assert_eq!(nothing, "0 messages would be deleted\n");
    assert_eq!(home.cli(["queue", "delete", "--state", "delivered", "--yes"]).good(), "0 messages deleted\n");
    assert_eq!(home.cli(["queue", "hold", "--recipient", "eve@one.test"]).good(), "0 messages held\n");
    assert_eq!(fates(), ["deferred", "deferred", "delivered"]);

    let other = "1 other recipient of the same mail";
    let held = home.cli(["queue", "hold", "--recipient", "LATER@ONE*"]).good();
    assert_eq!(held, format!("1 message held\n{other}: taken along, as a message is held as a whole\n"));
    assert_eq!(fates(), ["held", "held", "delivered"]);
    home.cli(["queue", "release", &id]).good();
    // Both are tried again, and only then is nothing on the wire.
    let tried = |recipient: &&Value| recipient["attempts"].as_u64() == Some(2);
    let deadline = Instant::now() + LIMIT;
    while recipients(&home.journal_when(&["deferred", "delivered"])).iter().filter(|one| tried(one)).count()
        < 2
    {
        assert!(Instant::now() < deadline);
    }
    assert_eq!(smarthost.rest(), []);

    let shown = home.cli(["queue", "delete", "--recipient", "@one.test", "--dry-run"]).good();
    let line = format!("{id}  shop@shop.test → later@one.test: Hello");
    assert_eq!(
        shown,
        format!("1 message would be deleted\n  shop: 1 deferred\n    {line}\n{other}: left as they are\n")
    );
    let told = home.cli(["queue", "delete", "--recipient", "@one.test", "--yes"]).good();
    assert_eq!(told, format!("1 message deleted\n{other}: left as they are\n"));
    assert_eq!(fates(), ["deleted", "deferred", "delivered"]);
    let table = home.cli(["queue", "list", "--recipient", "@two.test"]).good();
    assert!(table.contains("later@two.test") && !table.contains("eve@one.test"), "{table}");
}

#[test]
fn on_a_terminal_a_change_by_filter_is_asked_for() {
    let home = Home::new(NOWHERE);
    let daemon = home.start();
    Smtp::hello(daemon.address()).post("shop@shop.test", &["ana@guest.test"], LETTER);
    for (answer, left, told) in
        [("n", 1, "nothing changed"), ("", 1, "nothing changed"), ("y", 0, "1 message deleted")]
    {
        // script(1) gives the command a terminal and passes what is typed.
        let config = home.path("waystation.toml");
        let line = format!("{PROGRAM} --config {} queue delete --all", config.display());
        let mut command = Command::new("script");
        command.args(["-qec", &line, "/dev/null"]);
        clean(&mut command);
        let ended = finish(command, &format!("{answer}\n"));
        assert!(
            ended.out.contains("1 message would be deleted") && ended.out.contains("Go on? [y/N]"),
            "{ended:?}"
        );
        assert!(ended.out.contains(told), "{answer:?}: {ended:?}");
        assert_eq!(home.json(["queue", "list", "--json"]).len(), left, "{answer:?}");
    }
}
