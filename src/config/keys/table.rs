//! The rows: every key of every section.

use super::Default::{Is, Required, Told};
use super::Kind::{
    Address, Count, Day, Domain, Duration, DurationOrNever, Flag, Hash, Host, HostPort, Listen, Network,
    OneOf, OneOrMany, Pairs, Path, Pattern, Pin, Port, Rate, Secret, SenderPattern, Size, Text, Url, Words,
};
use super::{Key, Kind, Section, Shape, key};

const TLS: Kind = OneOf(&["none", "starttls", "implicit"]);
const CLASS: Kind = OneOf(&["priority", "normal", "bulk"]);
const NETWORKS: Kind = Kind::List(&Network);
const MANY: u64 = u32::MAX as u64;

/// Every section of the file.
pub const SECTIONS: &[Section] = &[
    Section { name: "", shape: Shape::Top, keys: TOP, doc: "Before the first `[section]`." },
    Section {
        name: "listener",
        shape: Shape::Each,
        keys: LISTENER,
        doc: "Where applications hand in mail. Default: one on 127.0.0.1:2525.",
    },
    Section {
        name: "tls",
        shape: Shape::Once,
        keys: TLS_FILES,
        doc: "Our certificate; needed by a listener with `tls`. Re-read on reload.",
    },
    Section { name: "intake", shape: Shape::Once, keys: INTAKE, doc: "Limits on what comes in." },
    Section {
        name: "application",
        shape: Shape::Named,
        keys: APPLICATION,
        doc: "A login for submission; its name is the user name.",
    },
    Section {
        name: "smarthost",
        shape: Shape::Named,
        keys: SMARTHOST,
        doc: "An account at a provider, through which mail leaves. At least one.",
    },
    Section {
        name: "route",
        shape: Shape::Each,
        keys: ROUTE,
        doc: "Which mail goes where. The first match wins; every key given must match.",
    },
    Section {
        name: "provider",
        shape: Shape::Each,
        keys: PROVIDER,
        doc: "What a provider allows and wants, in place of all that the built-in table knows of it. Its limits are the defaults \
              of smarthosts there. The first match wins.",
    },
    Section {
        name: "provider_reply",
        shape: Shape::Each,
        keys: PROVIDER_REPLY,
        doc: "What a smarthost means by a reply, where the built-in table is wrong or doesn't know it. The first match wins, \
              before that table.",
    },
    Section {
        name: "rewrite",
        shape: Shape::Each,
        keys: REWRITE,
        doc: "Edits of the header, by the same match keys as a route, on the message as it comes in; all that match, in order. \
              Routes judge the header as it came.",
    },
    Section { name: "retry", shape: Shape::Once, keys: RETRY, doc: "When to try again." },
    Section { name: "spool", shape: Shape::Once, keys: SPOOL, doc: "Room on disk." },
    Section { name: "journal", shape: Shape::Once, keys: JOURNAL, doc: "What happened to every message." },
    Section {
        name: "inbox",
        shape: Shape::Named,
        keys: INBOX,
        doc: "An address that takes forwarded mail and calls a webhook.",
    },
    Section {
        name: "mailbox",
        shape: Shape::Named,
        keys: MAILBOX,
        doc: "An outside mailbox that forwards to an inbox.",
    },
    Section {
        name: "channel",
        shape: Shape::Named,
        keys: CHANNEL,
        doc: "A booking channel's mail relay, beside the ones that are known: booking, airbnb, vrbo, expedia, agoda and trip. A name of those replaces it.",
    },
    Section {
        name: "events",
        shape: Shape::Once,
        keys: EVENTS,
        doc: "A webhook that is told what becomes of outgoing mail.",
    },
    Section {
        name: "alert",
        shape: Shape::Once,
        keys: ALERT,
        doc: "Who is told, by another way than mail, when an admin must act.",
    },
    Section { name: "log", shape: Shape::Once, keys: LOG, doc: "What is written to the log." },
];

const TOP: &[Key] = &[
    key("hostname", Domain, Told("the system's name"), "our name in EHLO and in Received fields"),
    key("state_dir", Path, Is("\"state\""), "folder of the queue, the journal and the control socket"),
];

const LISTENER: &[Key] = &[
    key(
        "address",
        Listen,
        Is("\"127.0.0.1:2525\""),
        "where to listen; `fd:NAME` is a socket that systemd passes",
    ),
    key("tls", TLS, Is("\"none\""), "how TLS starts"),
    key("auth", OneOf(&["none", "optional", "required"]), Is("\"none\""), "whether clients log in"),
    key(
        "trust",
        NETWORKS,
        Told("loopback for a loopback listener, else none"),
        "networks that relay without a login",
    ),
    key("proxy_protocol", NETWORKS, Is("[]"), "networks whose PROXY v1 or v2 header is believed"),
    key(
        "tolerate",
        Kind::List(&OneOf(&["bare-lf", "space-after-colon", "missing-brackets"])),
        Is("[]"),
        "named leniences for old clients",
    ),
    key("auth_without_tls", Flag, Is("false"), "offer AUTH in plain text outside loopback, too"),
    key("allow_public_trust", Flag, Is("false"), "let `trust` name networks of the public internet"),
];

const TLS_FILES: &[Key] = &[
    key("certificate", Path, Required, "PEM file: our certificate, then its issuers"),
    key("key", Path, Required, "PEM file: its private key, readable by us alone"),
];

const INTAKE: &[Key] = &[
    key("max_message_size", Size, Is("\"25 MiB\""), "the largest message taken"),
    key("max_recipients", Count(1, 1_000_000), Is("1000"), "recipients of one message"),
    key("max_connections", Count(1, 1_000_000), Is("10000"), "connections at once, over all listeners"),
    key(
        "max_connections_per_client",
        Count(1, 1_000_000),
        Is("50"),
        "connections at once from one address; trusted networks are exempt",
    ),
    key("max_errors", Count(1, 1_000_000), Is("10"), "errors before 421 and close"),
    key(
        "min_rate",
        Rate,
        Is("\"500 B/s\""),
        "slowest DATA or BDAT that is put up with, behind a start of 300 s",
    ),
    key("memory", Size, Is("\"64 MiB\""), "memory for content in flight; beyond it intake slows down"),
];

const APPLICATION: &[Key] = &[
    key("password_hash", OneOrMany(&Hash), Required, "its password; two during a change"),
    key("from", Kind::List(&Pattern), Told("any"), "senders it may use; case doesn't count"),
    key(
        "smarthost",
        Text,
        Told("routes decide"),
        "the smarthost its mail takes, unless a route names another",
    ),
    key("class", CLASS, Told("normal"), "how urgent its mail is, unless a route or the mail itself says it"),
];

const SMARTHOST: &[Key] = &[
    key(
        "default",
        Flag,
        Told("true for the only one"),
        "takes what no route claims; exactly one when there are several",
    ),
    key("enabled", Flag, Is("true"), "false holds its mail, never drops it"),
    key("host", Host, Required, "the provider's submission server"),
    key("port", Port, Told("465 for implicit, else 587"), "its port"),
    key("tls", TLS, Is("\"starttls\""), "how TLS starts; never silently less"),
    key("ca_file", Path, Told("none"), "PEM file: an extra trust anchor"),
    key("pin_sha256", Pin, Told("none"), "SHA-256 of the server's certificate; given, it alone decides"),
    key("server_name", Domain, Told("the host"), "name in its certificate"),
    key("post_quantum", Flag, Is("true"), "offer X25519MLKEM768"),
    key(
        "auth",
        OneOf(&["auto", "plain", "login", "cram-md5", "xoauth2", "oauthbearer", "none"]),
        Is("\"auto\""),
        "how to log in; auto is the strongest both sides know for a password. With xoauth2 and oauthbearer the password is an access token",
    ),
    key("username", Text, Told("no login"), "the account's user name"),
    key(
        "password",
        Secret,
        Told("none"),
        "its password or access token, or where it is, fetched anew for each connection:",
    ),
    key("password_file", Path, Told("none"), "the one line of this file"),
    key("password_env", Text, Told("none"), "this environment variable"),
    key("password_command", Words, Told("none"), "the first line this program prints, within 30 s"),
    key("connections", Count(1, 1000), Is("5"), "connections at once"),
    key("messages_per_connection", Count(1, MANY), Is("100"), "then a new one"),
    key("per_minute", Count(0, MANY), Is("0"), "most in any minute; 0: no such limit"),
    key("per_hour", Count(0, MANY), Is("0"), "most in any hour; 0: no such limit"),
    key("per_day", Count(0, MANY), Is("0"), "most in a day; 0: no such limit"),
    key("per_month", Count(0, MANY), Is("0"), "most in a month; 0: no such limit"),
    key("count", OneOf(&["recipients", "messages"]), Is("\"recipients\""), "what these limits count"),
    key(
        "day",
        Day,
        Is("\"rolling\""),
        "any 24 hours (and 31 days a month), or the calendar days and months of a time zone",
    ),
    key(
        "priority_reserve",
        Count(0, MANY),
        Is("0"),
        "of `per_day`, kept for class priority; the hour and the month keep the same share",
    ),
    key("interval", Duration, Told("none"), "one batch each interval"),
    key("batch", Count(0, MANY), Told("1 with an interval"), "most messages in any interval"),
    key("max_size", Size, Told("what the smarthost says"), "the largest message it takes"),
    key("address", Address, Told("none"), "the mailbox's own address"),
    key(
        "display_name",
        Text,
        Is("\"\""),
        "set on From where that is rewritten, or is this mailbox already; empty keeps the original's",
    ),
    key(
        "from",
        OneOf(&["keep", "if_not_allowed", "force"]),
        Is("\"if_not_allowed\""),
        "when From and the envelope's sender are rewritten to `address`; the original From goes to Reply-To, unless there is one",
    ),
    key(
        "allowed_from",
        Kind::List(&Pattern),
        Told("any"),
        "what this smarthost accepts as From and as the envelope's sender",
    ),
    key(
        "fallback",
        Kind::List(&Text),
        Is("[]"),
        "smarthosts to use, in this order, when this one is down, frozen or out of quota for more than a minute, and that accept the From and aren't known to refuse the message otherwise",
    ),
];

const PROVIDER: &[Key] = &[
    key("host", Host, Required, "the smarthost's host, or a domain it is in"),
    key("name", Text, Told("the host"), "how `status`, `check` and `doctor` call it"),
    key(
        "servers",
        Kind::List(&HostPort),
        Is("[]"),
        "where its submissions go, `host:port`, the best first, for `doctor`; 465 means `tls = \"implicit\"`, any other `\"starttls\"`",
    ),
    key("connections", Count(1, 1000), Told("none known"), "connections at once"),
    key("per_minute", Count(0, MANY), Is("0"), "most in any minute; 0: no such limit"),
    key("per_hour", Count(0, MANY), Is("0"), "most in any hour; 0: no such limit"),
    key("per_day", Count(0, MANY), Is("0"), "most in a day; 0: no such limit"),
    key("per_month", Count(0, MANY), Is("0"), "most in a month; 0: no such limit"),
    key("count", OneOf(&["recipients", "messages"]), Is("\"recipients\""), "what these limits count"),
    key("login", Text, Told("none"), "what user name and password it wants, for `doctor`"),
];

const PROVIDER_REPLY: &[Key] = &[
    key("host", Host, Told("any"), "the smarthost's host, or a domain it is in"),
    key("code", Count(400, 599), Told("any"), "the reply code"),
    key("text", Text, Required, "part of the reply's text; case doesn't count"),
    key(
        "means",
        OneOf(&["quota", "login", "login-later", "busy", "policy", "sender", "content", "later"]),
        Required,
        "`quota`, `login`, `login-later`, `busy` and `policy` stop the lane and keep its mail; `later` defers the message; \
         `sender` and `content` leave it to the code",
    ),
];

const ROUTE: &[Key] = &[
    key("application", Text, Told("any"), "matches the login"),
    key(
        "sender",
        SenderPattern,
        Told("any"),
        "matches the envelope's sender; `\"<>\"` is the null sender, of bounces",
    ),
    key("from", Pattern, Told("any"), "matches the From field"),
    key("recipient", Pattern, Told("any"), "matches the envelope's recipient"),
    key("client", Network, Told("any"), "matches the client's address"),
    key(
        "header",
        Pairs,
        Told("any"),
        "matches header fields, encoded words as they read, too; case doesn't count, `*` stands for anything",
    ),
    key("smarthost", Text, Told("the default smarthost"), "where matching mail goes"),
    key(
        "class",
        CLASS,
        Told("what the mail asks for, the application's, else normal"),
        "how urgent matching mail is",
    ),
    key("expires_after", Duration, Told("never"), "report instead of delivering late"),
    key(
        "action",
        OneOf(&["send", "hold", "discard", "reject"]),
        Is("\"send\""),
        "what happens to matching mail; `reject` refuses a message as a whole when it meets one of its recipients",
    ),
];

const REWRITE: &[Key] = &[
    key("application", Text, Told("any"), "matches the login"),
    key(
        "sender",
        SenderPattern,
        Told("any"),
        "matches the envelope's sender; `\"<>\"` is the null sender, of bounces",
    ),
    key("from", Pattern, Told("any"), "matches the From field"),
    key(
        "recipient",
        Pattern,
        Told("any"),
        "matches any of the envelope's recipients; the edit is for all of them",
    ),
    key("client", Network, Told("any"), "matches the client's address"),
    key(
        "header",
        Pairs,
        Told("any"),
        "matches header fields, encoded words as they read, too; case doesn't count, `*` stands for anything",
    ),
    key(
        "add",
        Pairs,
        Told("nothing"),
        "fields to add at the end; one that may stand once, only where there is none",
    ),
    key("remove", Kind::List(&Text), Told("nothing"), "fields to remove, all of the name"),
    key(
        "replace",
        Pairs,
        Told("nothing"),
        "fields to set to another value where they are there; several become one",
    ),
];

const RETRY: &[Key] = &[
    key(
        "schedule",
        Kind::List(&Duration),
        Is("[\"1m\", \"5m\", \"15m\", \"30m\", \"1h\", \"2h\", \"4h\"]"),
        "waits between attempts; the last one repeats",
    ),
    key("give_up_after", Duration, Is("\"5d\""), "then the sender gets a bounce"),
    key("warn_after", DurationOrNever, Is("\"4h\""), "when the sender is told of a delay, once"),
];

const SPOOL: &[Key] = &[
    key("max_size", Size, Is("\"20 GiB\""), "most that queued content may take"),
    key("min_free", Size, Is("\"500 MiB\""), "what stays free on the disk; below it new mail gets 452"),
];

const JOURNAL: &[Key] = &[key("keep", Duration, Is("\"30d\""), "how long it is kept")];

const INBOX: &[Key] = &[
    key("address", Address, Required, "the address; inbox+TOKEN@… works, too"),
    key("webhook", Url, Required, "where events are posted"),
    key("secret_file", Path, Required, "file with the key that signs events; two lines during a change"),
    key("allow_private", Flag, Is("false"), "may the webhook be at a private or loopback address"),
    key(
        "format",
        OneOf(&["native", "postmark", "mailgun", "cloudevents", "raw"]),
        Is("\"native\""),
        "the shape of an event",
    ),
    key(
        "include",
        Kind::List(&OneOf(&["text", "html", "headers"])),
        Is("[\"text\", \"html\"]"),
        "what an event holds",
    ),
];

const MAILBOX: &[Key] = &[
    key("address", Address, Required, "the mailbox's address"),
    key("inbox", Text, Required, "the inbox it forwards to"),
    key("token", Text, Told("none"), "inbox+TOKEN@… identifies it beyond doubt"),
    key("smarthost", Text, Told("none"), "the smarthost it sends through"),
    key(
        "reply_token",
        Flag,
        Is("false"),
        "ask for answers at a signed address of the inbox, by Reply-To; the inbox may have 35 octets before the @ then",
    ),
];

const CHANNEL: &[Key] = &[
    key("domains", Kind::List(&Domain), Required, "domains of its relay addresses; subdomains count"),
    key(
        "keys",
        Kind::List(&OneOf(&[
            "leading_digits",
            "local_part",
            "thread_link",
            "subject_code",
            "subject_number",
        ])),
        Is("[\"local_part\"]"),
        "where a conversation's key stands; the first one found counts",
    ),
    key("markers", Kind::List(&Text), Is("[]"), "words of the line above which an answer is typed"),
    key("reply_to_latest", Flag, Is("false"), "its address changes with every message"),
    key("from_must_be_mailbox", Flag, Is("false"), "it drops mail that isn't from the mailbox's own address"),
    key("max_attachments", Size, Told("no limit"), "the most attachments it takes, all together"),
    key("blocked_extensions", Kind::List(&Text), Is("[]"), "kinds of files it refuses, like \"zip\""),
];

const EVENTS: &[Key] = &[
    key("webhook", Url, Told("none: no events are kept"), "where events are posted"),
    key("secret_file", Path, Told("none"), "file with the key that signs events; two lines during a change"),
    key(
        "allow_private",
        Flag,
        Is("false"),
        "may the webhook be at a private or loopback address; `http` is for those alone",
    ),
    key(
        "schedule",
        Kind::List(&Duration),
        Is("[\"5s\", \"5m\", \"30m\", \"2h\", \"5h\", \"10h\", \"14h\", \"20h\", \"24h\"]"),
        "waits between attempts, ±10 %, for every webhook; behind the last one an event is kept as failed",
    ),
];

const ALERT: &[Key] = &[
    key("webhook", Url, Told("none"), "where alerts are posted"),
    key("secret_file", Path, Told("none: not signed"), "file with the key that signs them"),
    key("allow_private", Flag, Is("false"), "may the webhook be at a private or loopback address"),
    key("command", Words, Told("none"), "a program that gets each alert as JSON on its standard input"),
    key(
        "oldest_message",
        DurationOrNever,
        Is("\"4h\""),
        "a message that waits for longer, held ones aside, raises an alert",
    ),
    key("min_free", Size, Is("\"1 GiB\""), "less free space on the disk raises an alert"),
];

const LOG: &[Key] = &[
    key(
        "format",
        OneOf(&["text", "json", "journald"]),
        Is("\"text\""),
        "the form of a line; journald under systemd",
    ),
    key(
        "level",
        OneOf(&["error", "warn", "info", "debug", "trace"]),
        Is("\"info\""),
        "the least that is written",
    ),
    key("addresses", OneOf(&["full", "domain", "hash"]), Is("\"full\""), "how mail addresses are shown"),
];
