//! Any line, with every leniency: what a command gives can be written again and read as the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use waystation::smtp::command::{Command, Context, Leniences, Tolerate};

fuzz_target!(|line: &[u8]| writes_again(line));

fn writes_again(line: &[u8]) {
    let tolerate = Tolerate { bare_lf: true, space_after_colon: true, missing_brackets: true };
    let context = Context { tolerate, esmtp: true, smtputf8: true };
    let Ok(command) = Command::parse(line, context, &mut Leniences::default()) else { return };
    let again = match &command {
        Command::Mail(mail) => match &mail.sender {
            Some(sender) => format!("MAIL FROM:<{sender}> SMTPUTF8"),
            None => return,
        },
        Command::Rcpt(rcpt) => format!("RCPT TO:<{}>", rcpt.address),
        _ => return,
    };
    let strict = Context { tolerate: Tolerate::default(), ..context };
    match (command, Command::parse(again.as_bytes(), strict, &mut Leniences::default())) {
        (Command::Mail(first), Ok(Command::Mail(second))) => assert_eq!(first.sender, second.sender),
        (Command::Rcpt(first), Ok(Command::Rcpt(second))) => assert_eq!(first.address, second.address),
        (first, second) => panic!("{first:?} became {second:?}"),
    }
}
