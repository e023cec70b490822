//! `sendmail` as programs call it, with a daemon and without one, by its own name and by the usual one.

use crate::home::{Daemon, Ended, Home, PROGRAM, clean, finish, states_of, text};
use crate::smarthost::Smarthost;
use rustix::process::geteuid;
use std::fs;
use std::os::unix::fs::{MetadataExt, chown, symlink};
use std::os::unix::process::CommandExt;
use std::process::Command;

const NOBODY: u32 = 65_534;

fn sendmail(home: &Home, words: &[&str], input: &str) -> Ended {
    finish(home.command(["sendmail"].iter().chain(words)), input)
}

#[test]
fn what_programs_hand_in_goes_the_way_of_any_submission() {
    let smarthost = Smarthost::start();
    let home = Home::new(&smarthost.section("shop"));
    let _daemon = home.start();
    // PHP: recipients in the header, lines end in LF, nothing is said but by the exit code.
    let letter = "To: Ana <ana@guest.test>\nBcc: secret@guest.test\nSubject: PHP\n\none\n.\n..two\n";
    assert_eq!(sendmail(&home, &["-t", "-i", "-fshop@shop.test"], letter).good(), "");
    let taken = smarthost.next();
    assert_eq!(
        (&*taken.sender, &taken.recipients[..]),
        ("shop@shop.test", &["ana@guest.test".into(), "secret@guest.test".into()][..])
    );
    assert!(taken.content.ends_with("\n\none\n.\n..two\n"), "{}", taken.content);
    for (part, is_there) in [
        ("secret@guest.test", false),
        ("From: shop@shop.test\n", true),
        ("To: Ana <ana@guest.test>\n", true),
        ("Date: ", true),
        ("Message-ID: <", true),
        ("([127.0.0.1])", true),
    ] {
        assert_eq!(taken.content.contains(part), is_there, "{part}\n{}", taken.content);
    }
    // cron: a local name, a full name, a dot that ends the message.
    let cron = ["-FCronDaemon", "-B8BITMIME", "-oem", "root"];
    sendmail(&home, &cron, "From: root (Cron Daemon)\nTo: root\nSubject: Cron\n\ndone\n.\nnot this\n").good();
    let taken = smarthost.next();
    assert_eq!(taken.recipients, ["root@relay.test"]);
    assert!(taken.sender.ends_with("@relay.test"), "{}", taken.sender);
    assert!(taken.content.ends_with("\n\ndone\n"), "{}", taken.content);
    let addressed = "\nFrom: root@relay.test (Cron Daemon)\nTo: root@relay.test\nSubject: Cron\n";
    assert!(taken.content.contains(addressed), "{}", taken.content);
    // mutt and git: options, then whom. Whoever is named with -t gets none.
    let mutt = ["-oem", "-oi", "-f", "ann@shop.test", "--", "ana@guest.test", "bob@guest.test"];
    sendmail(&home, &mutt, "From: ann@shop.test\nSubject: mutt\n\nhi\n").good();
    assert_eq!(smarthost.next().recipients, ["ana@guest.test", "bob@guest.test"]);
    let but = ["-t", "-i", "-v", "-f", "<>", "bob@guest.test"];
    let told = sendmail(&home, &but, "To: ana@guest.test, bob@guest.test\n\nhi\n").good();
    let taken = smarthost.next();
    assert_eq!((&*taken.sender, &taken.recipients[..]), ("", &["ana@guest.test".into()][..]));
    assert!(taken.content.contains("\nFrom: MAILER-DAEMON@relay.test\n"), "{}", taken.content);
    let id = told.split(' ').nth(2).unwrap();
    assert!(told.starts_with("250 2.0.0 ") && told.contains(" queued for shop, due "), "{told}");
    let life = home.json(["journal", "show", id, "--json"]);
    assert_eq!((text(&life[0], "client"), life[0]["application"].is_null()), ("127.0.0.1".into(), true));
    // SMTP on standard input.
    let dialogue = "EHLO x\r\nMAIL FROM:<a@shop.test>\r\nRCPT TO:<kim@guest.test>\r\nDATA\r\nA: 1\r\n\r\nhi\r\n.\r\nQUIT\r\n";
    let said = sendmail(&home, &["-bs"], dialogue).good();
    assert!(
        said.starts_with("220 relay.test ESMTP\r\n") && said.ends_with("221 2.0.0 goodbye\r\n"),
        "{said}"
    );
    assert_eq!(smarthost.next().recipients, ["kim@guest.test"]);
}

#[test]
fn without_a_daemon_it_queues_and_the_daemon_sends_it_when_it_starts() {
    let smarthost = Smarthost::start();
    let home = Home::new(&smarthost.section("shop"));
    // No daemon ever ran: nothing is there yet.
    assert!(!home.path("state").exists());
    let link = home.path("sendmail");
    symlink(PROGRAM, &link).unwrap();
    let mut command = Command::new(&link);
    clean(&mut command);
    command.args(["-i", "-f", "cron@shop.test", "ana@guest.test"]);
    command.env("WAYSTATION_CONFIG", home.path("waystation.toml"));
    finish(command, "Subject: while down\n\nhi\n").good();
    // Several at once wait for one another.
    std::thread::scope(|scope| {
        for number in 0..4 {
            let home = &home;
            scope.spawn(move || {
                let to = format!("guest{number}@guest.test");
                sendmail(home, &["-i", &to], "Subject: crowd\n\nhi\n").good()
            });
        }
    });
    assert_eq!(smarthost.rest(), []);
    let _daemon = home.start();
    let mut taken: Vec<String> = (0..5).map(|_| smarthost.next().recipients.concat()).collect();
    taken.sort_unstable();
    let crowd = (0..4).map(|number| format!("guest{number}@guest.test"));
    assert_eq!(taken, std::iter::once("ana@guest.test".to_owned()).chain(crowd).collect::<Vec<_>>());
    let journal = home.journal_when(&["delivered"]);
    assert_eq!(states_of(&journal).len(), 5);
}

#[test]
fn what_is_wrong_is_told_and_nothing_is_sent() {
    let smarthost = Smarthost::start();
    let home = Home::new(&format!("{}[intake]\nmax_message_size = \"1 KiB\"\n", smarthost.section("shop")));
    let _daemon = home.start();
    let big = format!("To: a@x.test\n\n{}\n", "x".repeat(2000));
    for (words, input, code, part) in [
        (&["-t"][..], "Subject: x\n\n", 65, "no recipients in To, Cc or Bcc"),
        (&[], "Subject: x\n\n", 64, "no recipients: name some, or say -t"),
        (&["-Q"], "", 64, "-Q: no such option"),
        (&["-bd"], "", 64, "waystation run"),
        (&["ana@@x.test"], "Subject: x\n\n", 65, "\"ana@@x.test\" is not an address"),
        (&["-t"], "To: ana@@x.test\n\n", 65, "not an address"),
        (&["-f", "a b@x.test", "ana@x.test"], "A: 1\n\n", 65, "not an address"),
        (&["-t"], &big, 65, "552 5.3.4"),
        (&["ana@x.test"], "X-Waystation-Class: odd\n\nhi\n", 65, "554 5.6.0 X-Waystation-Class"),
    ] {
        let told = sendmail(&home, words, input).failed(code);
        assert!(told.starts_with("sendmail: ") && told.contains(part), "{words:?}: {told}");
    }
    assert_eq!(home.json(["journal", "--json"]).len(), 0);
    assert!(sendmail(&home, &["--help"], "").good().starts_with("Usage: waystation sendmail"));
}

/// A home that other users may enter, and whether the tests' user is one who can become another.
fn open_home(config: &str) -> Option<Home> {
    if !geteuid().is_root() {
        println!("skipped: only root can try other users");
        return None;
    }
    let home = Home::new(config);
    home.mode("", 0o755);
    home.mode("waystation.toml", 0o644);
    Some(home)
}

#[test]
fn other_users_hand_in_by_a_listener_and_are_told_when_none_answers() {
    let smarthost = Smarthost::start();
    let Some(home) = open_home(&smarthost.section("shop")) else { return };
    let mut daemon = home.start();
    let address = daemon.address().to_string();
    // The daemon's own port, as the file of a real installation says it.
    let config = fs::read_to_string(home.path("waystation.toml")).unwrap().replace("127.0.0.1:0", &address);
    home.write("waystation.toml", &config);
    home.mode("waystation.toml", 0o644);
    let as_nobody = |words: &[&str]| {
        let mut command = home.command(["sendmail"].iter().chain(words));
        command.uid(NOBODY).gid(NOBODY);
        finish(command, "Subject: x\n\nhi\n")
    };
    as_nobody(&["ana@guest.test"]).good();
    assert_eq!(smarthost.next().recipients, ["ana@guest.test"]);
    daemon.stop();
    let told = as_nobody(&["ana@guest.test"]).failed(75);
    assert!(told.contains(&format!("no daemon answers at {address}")), "{told}");
    let closed = config.replace("\n[smarthost", "\ntrust = []\n[smarthost");
    home.write("waystation.toml", &closed);
    home.mode("waystation.toml", 0o644);
    let told = as_nobody(&["ana@guest.test"]).failed(77);
    assert!(told.contains("run this as the daemon's user or root"), "{told}");
}

#[test]
fn root_leaves_no_files_of_its_own_in_another_users_queue() {
    let smarthost = Smarthost::start();
    let Some(home) = open_home(&smarthost.section("shop")) else { return };
    // No daemon ever ran, and its folder will be made in a folder of its user.
    chown(home.path(""), Some(NOBODY), Some(NOBODY)).unwrap();
    sendmail(&home, &["-i", "ana@guest.test"], "Subject: root's\n\nhi\n").good();
    let mut folders = vec![home.path("state")];
    while let Some(folder) = folders.pop() {
        for file in fs::read_dir(folder).unwrap() {
            let file = file.unwrap();
            let found = file.metadata().unwrap();
            assert_eq!(found.uid(), NOBODY, "{}", file.path().display());
            if found.is_dir() {
                folders.push(file.path());
            }
        }
    }
    assert_eq!(fs::metadata(home.path("state")).unwrap().mode() & 0o7777, 0o700);
    let mut command = home.command(["run"]);
    command.uid(NOBODY).gid(NOBODY);
    let _daemon = Daemon::of(command, 1);
    let taken = smarthost.next();
    assert_eq!((&*taken.sender, &taken.recipients[..]), ("root@relay.test", &["ana@guest.test".into()][..]));
    assert!(
        taken.content.contains("\nFrom: root <root@relay.test>\nSubject: root's\n\nhi\n"),
        "{}",
        taken.content
    );
}

#[test]
fn root_gives_a_folder_that_it_makes_to_whoever_owns_the_configuration() {
    let Some(home) = open_home("[smarthost.shop]\nhost = \"a.test\"\n") else { return };
    chown(home.path("waystation.toml"), Some(NOBODY), Some(NOBODY)).unwrap();
    // Where others may write, nothing is made and given away.
    home.mode("", 0o777);
    let told = sendmail(&home, &["ana@guest.test"], "Subject: x\n\nhi\n").failed(75);
    assert!(told.contains(&format!("install -d -m 700 -o {NOBODY} -g {NOBODY} ")), "{told}");
    home.mode("", 0o755);
    sendmail(&home, &["ana@guest.test"], "Subject: x\n\nhi\n").good();
    for name in ["state", "state/queue.db", "state/content"] {
        assert_eq!(fs::metadata(home.path(name)).unwrap().uid(), NOBODY, "{name}");
    }
}

#[test]
fn mail_reaches_the_daemon_of_the_file_in_whatever_folder_it_runs() {
    let smarthost = Smarthost::start();
    let home = Home::new(&smarthost.section("shop"));
    let file = fs::read_to_string(home.path("waystation.toml")).unwrap();
    let send = |subject: &str| {
        let letter = format!("Subject: {subject}\n\nhi\n");
        sendmail(&home, &["ana@guest.test"], &letter).good();
        assert!(smarthost.next().content.contains(&format!("\nSubject: {subject}\n")));
    };
    {
        let _daemon = home.start();
        home.write("waystation.toml", &file.replace("state_dir = \"state\"", "state_dir = \"other\""));
        send("changed in the file");
    }
    home.write("waystation.toml", &file);
    let mut unit = home.command(["run"]);
    unit.env("WAYSTATION__STATE_DIR", home.path("unit"));
    let _daemon = Daemon::of(unit, 1);
    fs::remove_dir_all(home.path("state")).unwrap();
    send("changed in the unit");
    assert!(!home.path("other").exists() && !home.path("state").exists());
}

#[test]
fn without_a_daemon_secrets_that_are_the_daemons_alone_are_not_missed() {
    let home = Home::new(
        "[tls]\ncertificate = \"/run/credentials/no.service/a.pem\"\nkey = \"/run/credentials/no.service/a.key\"\n\
         [smarthost.shop]\ndefault = true\nhost = \"a.test\"\nusername = \"a\"\npassword_file = \"/run/credentials/no.service/a\"\n\
         [smarthost.sol]\nhost = \"b.test\"\nusername = \"b\"\npassword_env = \"NO_SUCH_PASSWORD\"\n\
         [smarthost.sea]\nhost = \"c.test\"\nusername = \"c\"\n",
    );
    let told = home.cli(["check"]).failed(78);
    assert!(told.contains("5 complaints"), "{told}");
    sendmail(&home, &["ana@guest.test"], "Subject: x\n\nhi\n").good();
    assert!(home.path("state/queue.db").exists());
    // What else is wrong is told.
    home.extend("[[route]]\nsmarthost = \"nix\"\n");
    let told = sendmail(&home, &["ana@guest.test"], "Subject: x\n\nhi\n").failed(78);
    assert!(told.contains("nix") && told.contains("1 complaint"), "{told}");
}

#[test]
fn a_damaged_queue_lets_the_program_keep_its_mail() {
    let home = Home::new("[smarthost.shop]\nhost = \"a.test\"\n");
    sendmail(&home, &["ana@guest.test"], "Subject: x\n\nhi\n").good();
    fs::write(home.path("state/queue.db"), "garbage".repeat(1000)).unwrap();
    let told = sendmail(&home, &["ana@guest.test"], "Subject: x\n\nhi\n").failed(75);
    assert!(told.contains("queue.db is damaged"), "{told}");
}

#[test]
fn what_keeps_a_user_from_the_queue_is_told_as_what_it_is() {
    let Some(home) = open_home("[smarthost.shop]\nhost = \"a.test\"\n") else { return };
    fs::create_dir(home.path("state")).unwrap();
    chown(home.path("state"), Some(NOBODY), Some(NOBODY)).unwrap();
    home.mode("state", 0o500);
    // Its owner, and root, who becomes its owner.
    let as_user = |user: u32| {
        let mut command = home.command(["sendmail", "ana@guest.test"]);
        command.uid(user).gid(user);
        finish(command, "Subject: x\n\nhi\n").failed(75)
    };
    for user in [NOBODY, 0] {
        let told = as_user(user);
        assert!(told.contains("/state/") && told.contains("Permission denied"), "{user}: {told}");
        assert!(!told.contains("may not queue"), "{user}: {told}");
    }
    home.mode("waystation.toml", 0o600);
    let told = as_user(NOBODY);
    assert!(told.contains("this user may not read ") && told.contains("waystation.toml"), "{told}");
}
