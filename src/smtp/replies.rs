//! Every reply we ever say, on one page. The texts tell a human what to do; the codes are RFC 5321 §4.2.3's and RFC 3463's,
//! as RFC 5248 registers them.

use super::address::AddressError;
use super::command::CommandError;
use super::reply::{Enhanced, Reply};
use super::sasl::SaslError;

/// A reply that is always the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fixed {
    code: u16,
    enhanced: Enhanced,
    text: &'static str,
}

impl Fixed {
    /// The reply itself.
    #[must_use]
    pub fn reply(self) -> Reply {
        Reply::new(self.code, Some(self.enhanced), self.text)
    }
}

impl From<Fixed> for Reply {
    fn from(fixed: Fixed) -> Self {
        fixed.reply()
    }
}

macro_rules! replies {
    ($($(#[$meta:meta])* $name:ident = $code:literal $class:literal . $subject:literal . $detail:literal $text:literal;)*) => {
        $($(#[$meta])* pub const $name: Fixed =
            Fixed { code: $code, enhanced: Enhanced($class, $subject, $detail), text: $text };)*
        /// All of them, for tests.
        #[cfg(test)]
        const ALL: &[Fixed] = &[$($name),*];
    };
}

// Spaces around the dots keep the tokenizer from reading a floating-point number.
replies! {
    // Yes.
    /// To QUIT.
    GOODBYE = 221 2 . 0 . 0 "goodbye";
    /// To RSET and NOOP.
    DONE = 250 2 . 0 . 0 "done";
    /// To HELP (RFC 5321 §4.1.1.8).
    HELP = 214 2 . 0 . 0 "EHLO HELO STARTTLS AUTH MAIL RCPT DATA BDAT RSET NOOP QUIT; the manual tells the rest";
    /// To MAIL.
    SENDER_TAKEN = 250 2 . 1 . 0 "sender ok";
    /// To RCPT.
    RECIPIENT_TAKEN = 250 2 . 1 . 5 "recipient ok";
    /// To a good login.
    LOGGED_IN = 235 2 . 7 . 0 "logged in";
    /// To STARTTLS.
    START_TLS = 220 2 . 0 . 0 "ready for TLS";
    /// To VRFY: neither yes nor no (RFC 5321 §3.5.3).
    NOT_VERIFIED = 252 2 . 5 . 0 "send some mail, it will be tried";

    // The session.
    /// After too many refused commands.
    TOO_MANY_ERRORS = 421 4 . 7 . 0 "too many refused commands, closing; see the earlier replies";
    /// After too many commands that do nothing.
    TOO_MUCH_JUNK = 421 4 . 7 . 0 "too many commands without a message, closing";
    /// After the third failed login.
    TOO_MANY_LOGINS = 421 4 . 7 . 0 "three failed logins, closing; check user name and password";
    /// More connections than allowed, in all or for one client.
    TOO_MANY_CONNECTIONS = 421 4 . 7 . 0 "too many connections, try again later";
    /// The daemon stops.
    SHUTTING_DOWN = 421 4 . 3 . 2 "shutting down, try again in a moment";
    /// Nothing came for too long.
    TIMED_OUT = 421 4 . 4 . 2 "that took too long, closing";
    /// Content came slower than the minimum rate.
    TOO_SLOW = 421 4 . 4 . 2 "content comes too slowly, closing";
    /// Our own fault inside a session.
    OUT_OF_STEP = 421 4 . 3 . 0 "internal error, closing; try again";
    /// The client spoke before the greeting.
    SPOKE_EARLY = 554 5 . 5 . 0 "wait for the greeting before speaking";
    /// A web request or an SSH client.
    OTHER_PROTOCOL = 554 5 . 5 . 0 "this is an SMTP server, closing";
    /// A TLS handshake on a plain listener, or plain text on an implicit one.
    WRONG_TLS_MODE = 554 5 . 7 . 0 "this port doesn't start with TLS; use STARTTLS here, or the port for implicit TLS";
    /// The same where there is no TLS at all.
    TLS_WHERE_NONE_IS = 554 5 . 7 . 0 "there is no TLS on this port; switch it off in the client, or use another port";
    /// Plain SMTP on a listener that starts with TLS.
    TLS_EXPECTED = 554 5 . 7 . 0 "this port starts with TLS; set the client to implicit TLS (SMTPS)";
    /// Content went on beyond twice the limit.
    ENDLESS_CONTENT = 552 5 . 3 . 4 "message is far larger than this server's limit, closing";
    /// After the octets of a hopeless chunk.
    HOPELESS_CHUNK = 421 4 . 7 . 0 "the chunk is far larger than this server's limit, closing";

    // The line.
    /// NUL, CR or another control octet in a command.
    CONTROL_OCTET = 500 5 . 5 . 2 "a command holds no control characters";
    /// A command ended in a bare LF (RFC 5321 §2.3.8).
    BARE_LINE_FEED = 500 5 . 5 . 2 "lines end in CRLF, not in LF alone, closing";
    /// Longer than a command may be.
    LONG_LINE = 500 5 . 5 . 2 "command line too long";
    /// A line without end.
    ENDLESS_LINE = 500 5 . 5 . 2 "line too long, closing";
    /// A login's line is longer than 12288 octets (RFC 4954 §4).
    LONG_AUTH_LINE = 500 5 . 5 . 6 "login line too long";
    /// Nothing in the line.
    EMPTY_LINE = 500 5 . 5 . 2 "empty line, a command was expected";
    /// Unknown verb.
    UNKNOWN_COMMAND = 500 5 . 5 . 1 "no such command";
    /// A verb that nobody needs any more, EXPN among them.
    NOT_IMPLEMENTED = 502 5 . 5 . 1 "command not implemented";

    // Arguments.
    /// An argument is missing.
    ARGUMENT_MISSING = 501 5 . 5 . 4 "this command needs an argument";
    /// An argument too many.
    ARGUMENT_NOT_ALLOWED = 501 5 . 5 . 4 "this command takes no such argument";
    /// EHLO's argument is too long or not UTF-8.
    BAD_HELLO_NAME = 501 5 . 5 . 4 "not a host name; say EHLO and your host's name";
    /// MAIL or RCPT lacks its keyword.
    KEYWORD_MISSING = 501 5 . 5 . 2 "say MAIL FROM:<address> or RCPT TO:<address>";
    /// A space where none may be.
    SPACE_AFTER_COLON = 501 5 . 5 . 2 "no space may follow the colon (or set tolerate = [\"space-after-colon\"] here)";
    /// An address without brackets.
    BRACKETS_MISSING = 501 5 . 5 . 2 "the address needs <angle brackets> (or set tolerate = [\"missing-brackets\"] here)";
    /// A path that never closes.
    PATH_UNCLOSED = 501 5 . 5 . 2 "the closing > of the address is missing";
    /// Something after the path that is no parameter.
    JUNK_BEHIND_PATH = 501 5 . 5 . 4 "what follows the address is not a parameter";
    /// The sender is no address.
    BAD_SENDER = 501 5 . 1 . 7 "sender is not a valid address";
    /// The recipient is no address.
    BAD_RECIPIENT = 501 5 . 1 . 3 "recipient is not a valid address";
    /// The address is 8-bit, and MAIL didn't say SMTPUTF8.
    NEEDS_SMTPUTF8 = 553 5 . 6 . 7 "non-ASCII address; say SMTPUTF8 at MAIL";
    /// `<Postmaster>` alone.
    NO_POSTMASTER = 550 5 . 1 . 1 "no mailboxes here; name the postmaster's domain";
    /// A parameter that wasn't offered (RFC 5321 §4.1.1.11).
    UNKNOWN_PARAMETER = 555 5 . 5 . 4 "parameter unknown, or said without EHLO";
    /// A parameter twice.
    PARAMETER_TWICE = 501 5 . 5 . 4 "parameter given twice";
    /// HOLDFOR and HOLDUNTIL in one MAIL.
    TWO_RELEASES = 501 5 . 5 . 4 "say HOLDFOR or HOLDUNTIL, not both";
    /// Later than FUTURERELEASE says.
    RELEASE_TOO_LATE = 501 5 . 5 . 4 "that is later than mail is held here; the reply to EHLO tells how long";
    /// BDAT's argument.
    BAD_CHUNK = 501 5 . 5 . 4 "say BDAT, the number of octets, and LAST if it is the last chunk";

    // The sequence.
    /// Before EHLO.
    SAY_EHLO = 503 5 . 5 . 1 "say EHLO first";
    /// RCPT, DATA or BDAT without MAIL.
    SAY_MAIL = 503 5 . 5 . 1 "say MAIL first";
    /// DATA or BDAT without RCPT.
    SAY_RCPT = 503 5 . 5 . 1 "say RCPT first";
    /// DATA or BDAT after every RCPT was refused (RFC 5321 §3.3).
    NO_VALID_RECIPIENTS = 554 5 . 5 . 1 "no valid recipients";
    /// A second MAIL.
    MAIL_IS_OPEN = 503 5 . 5 . 1 "a message is already begun; finish it or say RSET";
    /// Anything but BDAT, RSET and the like after a chunk (RFC 3030 §2).
    CHUNKS_ARE_OPEN = 503 5 . 5 . 1 "the message comes in chunks; go on with BDAT or say RSET";
    /// STARTTLS under TLS.
    TLS_IS_UP = 503 5 . 5 . 1 "TLS is already up";
    /// STARTTLS after AUTH.
    TLS_AFTER_LOGIN = 503 5 . 5 . 1 "say STARTTLS before AUTH";
    /// STARTTLS where there is none.
    NO_TLS = 502 5 . 5 . 1 "STARTTLS is not offered here";

    // Logins.
    /// Wrong password, unknown user, impossible name: one text (RFC 4954 §6).
    BAD_LOGIN = 535 5 . 7 . 8 "user name or password is wrong";
    /// The credentials couldn't be judged.
    LOGIN_UNAVAILABLE = 454 4 . 7 . 0 "logins can't be checked now, try again later";
    /// MAIL without login.
    LOGIN_NEEDED = 530 5 . 7 . 0 "log in first";
    /// MAIL without login, where login needs TLS.
    TLS_AND_LOGIN_NEEDED = 530 5 . 7 . 0 "say STARTTLS first, then log in";
    /// AUTH without TLS.
    LOGIN_NEEDS_TLS = 538 5 . 7 . 11 "say STARTTLS before AUTH";
    /// AUTH where there is none.
    NO_LOGIN = 502 5 . 5 . 1 "logins are not offered here; send without";
    /// AUTH after AUTH.
    LOGGED_IN_ALREADY = 503 5 . 5 . 1 "you are logged in";
    /// AUTH inside a transaction.
    LOGIN_TOO_LATE = 503 5 . 5 . 1 "log in before MAIL, or say RSET";
    /// Another mechanism.
    UNKNOWN_MECHANISM = 504 5 . 5 . 4 "use AUTH PLAIN or AUTH LOGIN";
    /// Not base64.
    BAD_BASE64 = 501 5 . 5 . 2 "not base64";
    /// Not a PLAIN message.
    BAD_PLAIN = 501 5 . 5 . 2 "not a PLAIN message: NUL, user name, NUL, password";
    /// `*`.
    LOGIN_CANCELLED = 501 5 . 7 . 0 "login cancelled";

    // Policy: the shell says these.
    /// A sender that this application may not use.
    SENDER_NOT_ALLOWED = 550 5 . 7 . 1 "this login may not send from this address";
    /// A stranger writes to anything but an inbox.
    RELAYING_DENIED = 550 5 . 7 . 1 "relaying denied; log in, or send from a trusted network";
    /// A rule of the admin refuses the message.
    REFUSED_BY_RULE = 550 5 . 7 . 1 "refused by a rule of this server";
    /// An inbox address that doesn't exist.
    NO_SUCH_INBOX = 550 5 . 1 . 1 "no such inbox";
    /// One recipient more than `max_recipients`.
    TOO_MANY_RECIPIENTS = 452 4 . 5 . 3 "too many recipients; send the others in another message";

    // The message.
    /// A header section that is too large to be judged as a whole.
    HEADER_TOO_BIG = 552 5 . 3 . 4 "header section is larger than 256 KiB; put what is in it into the body";
    /// Larger than the limit, declared or found.
    TOO_BIG = 552 5 . 3 . 4 "message is larger than this server's limit";
    /// Bare CR or LF in the content.
    BARE_LINE_ENDS = 550 5 . 6 . 11 "content holds a bare CR or LF; end lines in CRLF (or set tolerate = [\"bare-lf\"] here)";
    /// More than 50 Received fields.
    LOOP = 554 5 . 4 . 6 "too many hops, this message goes in a circle";
    /// Below `spool.min_free`, above `spool.max_size`, or ENOSPC.
    DISK_FULL = 452 4 . 3 . 1 "no room to keep the message, try again later";
    /// What waits or is held of inboxes takes its share of the spool.
    INBOX_FULL = 452 4 . 3 . 1 "no room to keep more mail that names no mailbox, try again later";
    /// More content in flight than `intake.memory`.
    BUSY = 452 4 . 3 . 1 "too busy to take the message, try again in a moment";
    /// It couldn't be written or synced.
    NOT_KEPT = 451 4 . 3 . 0 "the message couldn't be kept, try again later";
    /// No smarthost is there for it.
    NO_ROUTE = 451 4 . 3 . 5 "no smarthost is set up for this message; the admin's log tells more";
}

/// The greeting (RFC 5321 §4.2), which carries no enhanced code.
#[must_use]
pub fn greeting(hostname: &str) -> Reply {
    Reply::new(220, None, format!("{hostname} ESMTP"))
}

/// To HELO.
#[must_use]
pub fn hello(hostname: &str) -> Reply {
    Reply::new(250, None, hostname.to_owned())
}

/// To DATA.
#[must_use]
pub fn send_data() -> Reply {
    Reply::new(354, None, "send the message, end with a dot on a line of its own")
}

/// A SASL challenge, in base64 already.
#[must_use]
pub fn challenge(base64: &'static str) -> Reply {
    Reply::new(334, None, base64)
}

/// To a chunk that is not the last (RFC 3030 §2).
#[must_use]
pub fn chunk_taken(octets: u64) -> Reply {
    Reply::new(250, Some(Enhanced(2, 0, 0)), format!("{octets} octets received"))
}

/// The message was taken, and a route of ours drops it.
#[must_use]
pub fn discarded(id: &str) -> Reply {
    Reply::new(250, Some(Enhanced(2, 0, 0)), format!("{id} taken and discarded by a route"))
}

/// A route of ours refuses this recipient; whether it does can hang on the message, so it is said behind it.
#[must_use]
pub fn rejected_by_route(address: &str) -> Reply {
    Reply::new(
        550,
        Some(Enhanced(5, 7, 1)),
        format!("<{address}>: refused by a route of this relay; nothing was sent"),
    )
}

/// The message is ours now: only a receipt knows these three. `due` is `HH:MM`, with the date before it
/// when it isn't today.
#[must_use]
pub fn queued(id: &str, lane: &str, due: &str) -> Reply {
    Reply::new(250, Some(Enhanced(2, 0, 0)), format!("{id} queued for {lane}, due {due}"))
}

/// The message is ours now, and waits until an admin switches its smarthost on.
#[must_use]
pub fn switched_off(id: &str, lane: &str) -> Reply {
    Reply::new(250, Some(Enhanced(2, 0, 0)), format!("{id} queued for {lane}, which is switched off"))
}

/// The message is ours now, and waits for an admin: its smarthost left the configuration while it came in.
#[must_use]
pub fn stranded(id: &str, lane: &str) -> Reply {
    Reply::new(250, Some(Enhanced(2, 0, 0)), format!("{id} held for {lane}, which isn't configured any more"))
}

/// The message is ours now, and waits for somebody to release it.
#[must_use]
pub fn held(id: &str, lane: &str) -> Reply {
    Reply::new(250, Some(Enhanced(2, 0, 0)), format!("{id} held for {lane} until it is released"))
}

/// A parameter whose value breaks its grammar.
#[must_use]
fn bad_value(parameter: &'static str) -> Reply {
    Reply::new(501, Some(Enhanced(5, 5, 4)), format!("the value of {parameter} is not valid"))
}

impl From<CommandError> for Reply {
    fn from(error: CommandError) -> Self {
        let fixed = match error {
            CommandError::Empty => EMPTY_LINE,
            CommandError::Control => CONTROL_OCTET,
            CommandError::Unknown => UNKNOWN_COMMAND,
            CommandError::NotImplemented => NOT_IMPLEMENTED,
            CommandError::OtherProtocol => OTHER_PROTOCOL,
            CommandError::NoArgument => ARGUMENT_MISSING,
            CommandError::Argument => ARGUMENT_NOT_ALLOWED,
            CommandError::HelloName => BAD_HELLO_NAME,
            CommandError::Keyword => KEYWORD_MISSING,
            CommandError::SpaceAfterColon => SPACE_AFTER_COLON,
            CommandError::MissingBrackets => BRACKETS_MISSING,
            CommandError::UnclosedPath => PATH_UNCLOSED,
            CommandError::BehindPath => JUNK_BEHIND_PATH,
            CommandError::Sender(why) => return bad_address(BAD_SENDER, why),
            CommandError::Recipient(why) => return bad_address(BAD_RECIPIENT, why),
            CommandError::NoRecipient => BAD_RECIPIENT,
            CommandError::BarePostmaster => NO_POSTMASTER,
            CommandError::UnknownParameter => UNKNOWN_PARAMETER,
            CommandError::Twice => PARAMETER_TWICE,
            CommandError::TwoReleases => TWO_RELEASES,
            CommandError::Value(parameter) => return bad_value(parameter),
            CommandError::Chunk => BAD_CHUNK,
        };
        fixed.reply()
    }
}

fn bad_address(role: Fixed, why: AddressError) -> Reply {
    match why {
        AddressError::NeedsUtf8 => NEEDS_SMTPUTF8.reply(),
        _ => Reply::new(role.code, Some(role.enhanced), format!("{}: {why}", role.text)),
    }
}

impl From<SaslError> for Fixed {
    fn from(error: SaslError) -> Self {
        match error {
            SaslError::Mechanism => UNKNOWN_MECHANISM,
            SaslError::Base64 => BAD_BASE64,
            SaslError::Form => BAD_PLAIN,
            SaslError::Cancelled => LOGIN_CANCELLED,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_class_of_the_enhanced_code_is_the_first_digit_of_the_code() {
        // RFC 2034 §4.
        for fixed in ALL {
            assert_eq!(u16::from(fixed.enhanced.0), fixed.code / 100, "{fixed:?}");
        }
    }

    #[test]
    fn every_text_is_one_line_that_fits() {
        // RFC 5321 §4.5.3.1.5: 512 octets in all.
        for fixed in ALL {
            assert!(
                fixed.text.len() < 200 && fixed.text.bytes().all(|byte| (b' '..=b'~').contains(&byte)),
                "{fixed:?}"
            );
        }
    }

    #[test]
    fn a_queued_message_is_told_with_its_lane_and_time() {
        let mut out = Vec::new();
        queued("01J", "shop", "14:32").write_to(&mut out);
        assert_eq!(out, b"250 2.0.0 01J queued for shop, due 14:32\r\n");
    }
}
