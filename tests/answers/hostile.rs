//! Mails that somebody wrote to keep us busy: each a row, of whatever size is asked for.

/// One way of keeping a reader busy.
pub struct Row {
    /// What it is made of.
    pub name: &'static str,
    /// A body of about so many octets.
    pub body: fn(usize) -> String,
    /// Where it is given.
    pub given_as: As,
}

/// Where a row's body is given.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum As {
    /// As plain text.
    Text,
    /// As HTML.
    Html,
}

/// A pattern again and again, up to about `size` octets.
fn again(pattern: &str, size: usize) -> String {
    pattern.repeat(size / pattern.len().max(1))
}

/// Lines of `line(number)` up to about `size` octets.
fn lines(size: usize, line: impl Fn(usize) -> String) -> String {
    let mut text = String::with_capacity(size + 100);
    for number in 0.. {
        if text.len() >= size {
            break;
        }
        text.push_str(&line(number));
        text.push('\n');
    }
    text
}

const fn text(name: &'static str, body: fn(usize) -> String) -> Row {
    Row { name, body, given_as: As::Text }
}

const fn html(name: &'static str, body: fn(usize) -> String) -> Row {
    Row { name, body, given_as: As::Html }
}

/// Every row.
pub const ROWS: &[Row] = &[
    text("one line", |size| again("x", size)),
    text("one line of words", |size| again("on the 5th we wrote: ", size)),
    text("one line of @", |size| again("@", size)),
    text("postscripts below signatures", |size| again("-- \na\nPS: b\n", size)),
    text("one line of CR", |size| again("\r", size)),
    text("empty lines", |size| again("\n", size)),
    text("lines of a letter", |size| again("a\n", size)),
    text("quoted empty lines", |size| again(">\n", size)),
    text("quoted, own, in turn", |size| again("> a\nb\n", size)),
    text("quoted, own, empty, in turn", |size| again("> a\n\nb\n\n", size)),
    text("many depths", |size| lines(size, |number| format!("{} a", ">".repeat(number % 80)))),
    text("many depths of attributions", |size| {
        lines(size, |number| format!("{} on 5.5.2026 10:30 a@b.c wrote:", ">".repeat(number % 80)))
    }),
    text("wrapped quotation", |size| again(&format!("> {}\nb\n", "a".repeat(60)), size)),
    text("lines of @", |size| again(&format!("{}:\n", "@".repeat(590)), size)),
    text("quoted lines of @", |size| again(&format!("> {}:\n", "@".repeat(590)), size)),
    text("lines of dotted @", |size| again(&format!("{}:\n", "a@.".repeat(150)), size)),
    text("almost attributions, short", |size| again("1.2.26 wrote\n", size)),
    text("almost attributions, prose", |size| again("1.2.2026 10:30 what? no! we wrote:\n", size)),
    text("almost attributions with colon", |size| again("1.2.26 a:\n", size)),
    text("almost attributions with address", |size| again("a@b.c a? :\n", size)),
    text("almost attributions, long", |size| {
        again("on monday the 5th of may 2026 at 10:30 in the morning ana? and others wrote:\n", size)
    }),
    text("almost attributions above quotations", |size| {
        again("1.2.26 a\n1.2.26 b\n1.2.26 c\n1.2.26 d\n1.2.26 e\n1.2.26 what? f\n> x\n", size)
    }),
    text("attributions broken over lines", |size| {
        again("on mon, jun 3,\n2024 at 12:53 am\nana lopez\n<ana@example.com\nwrote:\nx\n", size)
    }),
    text("attributions", |size| again("On 12 May 2026 at 10:30 Ana <a@b.example> wrote:\n", size)),
    text("attributions above empty lines", |size| again("On 12 May 2026 at 10:30 Ana wrote:\n\n\n\n", size)),
    text("attributions of many verbs", |size| {
        again(&format!("On 12 May 2026 at 10:30 {}a:\n\n", "Ana wrote ".repeat(40)), size)
    }),
    text("attributions of many verbs with address", |size| {
        again(&format!("On 12 May 2026 at 10:30 {}a@b.c wrote:\n\n", "Ana wrote ".repeat(40)), size)
    }),
    text("plans", |size| again("Mon 4 May 2026, 09:00, Tom <a@b.c>:\n\nx\n\n", size)),
    text("transfers", |size| again("From: a\nTo: b\nDate: 1.1.2026 10:10\nSubject: c\n\n", size)),
    text("nearly blank addresses", |size| again("<a@b.c>\n\n<mailto:a@b.c> wrote:\n\n", size)),
    text("lone figures", |size| again("1:", size)),
    text("lines of figures", |size| again(&format!("{}:\n", "1.1.2026 ".repeat(60)), size)),
    text("almost header blocks, to", |size| again("to: x\n", size)),
    text("almost header blocks, cc", |size| again("cc: a@b.c 1.1.2026 10:30,\n", size)),
    text("almost header blocks, unknown labels", |size| again("qq: x\n", size)),
    text("almost header blocks, shaped", |size| again("qq: <a@b.c>\nzz: 1.1.2026\n", size)),
    text("almost header blocks, running on", |size| again("to: x,\na@b.c,\n", size)),
    text("almost header blocks, empty lines between", |size| again("to: x\n\n", size)),
    text("header blocks in one line", |size| {
        again("a b c: d e f: g h i: j k l: from: to: date: q r s: \n", size)
    }),
    text("header blocks", |size| again("From: a@b.c\nDate: 1.1.2026 10:10\n", size)),
    text("header blocks, quoted", |size| again("> From: a@b.c\n> Date: 1.1.2026 10:10\n", size)),
    text("separators", |size| again("-----Original Message-----\n", size)),
    text("almost separators", |size| again("---- aaa ----\n", size)),
    text("almost separators above almost blocks", |size| again("---- aaa ----\nto: x\n", size)),
    text("almost separators, many words", |size| again(&format!("---- {} ----\n", "aa ".repeat(40)), size)),
    text("strokes above almost fields", |size| again("____________________\nto: x\n", size)),
    text("reply above this line?", |size| again("reply above this line?\n\n", size)),
    text("device lines", |size| again("Sent from my iPhone\n\n", size)),
    text("device lines without space", |size| again("Sent from my iPhone\n", size)),
    text("device lines, quoted between", |size| again("Sent from my iPhone\n\n> a\n\n", size)),
    text("almost device lines", |size| {
        again("sent from the mobile, which is what we do and did so\n\n", size)
    }),
    text("almost device lines, long", |size| again(&format!("sent from {}\n", "x ".repeat(11)), size)),
    text("signature delimiters", |size| again("-- \n", size)),
    text("signature delimiters and words", |size| again("a\n--\nb\n", size)),
    text("signature delimiters and questions", |size| again("-- \nwhy?\n", size)),
    text("signature delimiters and talk", |size| {
        again("--\nThis is a long sentence of words.\nAnd this is a long one too.\n", size)
    }),
    text("signatures below one another", |size| again("\n--\nAna\n", size)),
    text("rulers", |size| again("----\n", size)),
    text("rulers apart", |size| again("____\n\n", size)),
    text("rulers of stars", |size| again("***\n\n", size)),
    text("a long ruler", |size| again("-", size)),
    text("a long ruler of stars", |size| again("*", size)),
    text("disclaimers", |size| again("virus-free\n\n", size)),
    text("a disclaimer in one paragraph", |size| again("this email is confidential\n", size)),
    text("headings of disclaimers", |size| again("notice\n\n", size)),
    text("banner", |size| again("[external] a b c\n", size)),
    text("banner, then rulers", |size| format!("[EXTERNAL] a\n\n{}", again("---\n\n", size))),
    text("mailto on lines", |size| again("<\nmailto:a@b.c\n>\n", size)),
    text("glued attributions", |size| again("reply On 1.1.2026 10:30 On 1.1.2026 10:30 On a:\n", size)),
    text("glued attributions, long", |size| {
        again(&format!("{}:\n", "abc On 1.1.2026 10:30 ".repeat(17)), size)
    }),
    text("almost attributions between arrows", |size| again(">>> a@b.c\nb\nc\n", size)),
    text("attributions between arrows", |size| again("a\n>>> a@b.c >>>\n> b\n", size)),
    text("initials", |size| again("AB> x\n", size)),
    text("initials of many", |size| lines(size, |number| format!("{}> x", "A".repeat(number % 3 + 1)))),
    text("initials below almost attributions", |size| again("AB> x\n1.2.2026 10:30 a:\n", size)),
    text("initials below broken almost attributions", |size| {
        again("AB> x\n1.2.26 a\n1.2.26 b\n1.2.26 you wrote\n1.2.26 d\n1.2.26 e:\n", size)
    }),
    text("initials below attributions", |size| again("AB> x\n1.2.2026 10:30 you wrote:\n", size)),
    text("spaces before lines", |size| again(&format!("{}a\n", " ".repeat(500)), size)),
    text("one line of spaces", |size| again(" ", size)),
    text("one line of >", |size| again("> ", size)),
    text("invisible", |size| again("\u{200b}", size)),
    text("accents", |size| again("\u{e9}\u{130}\n", size)),
    text("Chinese", |size| again("\u{5199}\u{9053}:\n", size)),
    text("own words again", |size| again("one two three four five six seven eight nine ten\n", size)),
    text("own words in turn", |size| {
        again("one two three four five six seven eight nine ten eleven twelve thirteen\nx\n", size)
    }),
    text("a history that is pointed to", |size| {
        format!("See below.\n\n-----Original Message-----\n{}", again("a? b?\n--> c: d\n1.2.26 e:\n", size))
    }),
    html("text", |size| again("x", size)),
    html("letters with breaks", |size| again("a<br>", size)),
    html("breaks", |size| again("<br>", size)),
    html("empty paragraphs", |size| again("<p>", size)),
    html("paragraphs", |size| again("<p>a", size)),
    html("paragraphs in spans", |size| format!("{}{}", again("<span>", 2000), again("<p>a", size))),
    html("open elements", |size| again("<div>", size)),
    html("open elements with text", |size| again("<div>a", size)),
    html("open elements of odd names", |size| again("<a:b>c", size)),
    html("closed elements", |size| again("<div>a</div>", size)),
    html("end tags that nothing opened", |size| format!("{}{}", again("<i>", 900), again("</q>", size))),
    html("items that nothing ends", |size| format!("{}{}", again("<b>", 800), again("<li>", size))),
    html("lists in lists that count backwards", |size| again("<ol reversed><li>a", size)),
    html("a list that counts backwards for each item", |size| again("<ol reversed><li>a</ol>", size)),
    html("cells that nothing ends", |size| format!("{}{}", again("<i>", 800), again("<td>", size))),
    html("quotations", |size| again("<blockquote>", size)),
    html("quotations with text", |size| again("<blockquote>a", size)),
    html("quotations in turn with text", |size| again("<blockquote type=cite>a</blockquote>b", size)),
    html("own words and what they cite", |size| {
        format!("a{}", again("<blockquote type=cite>b</blockquote>c:", size))
    }),
    html("a history of many colours that is pointed to", |size| {
        let colours = "<i style='color:red'>a</i><i style='color:#123'>b?</i><p>c";
        format!("In red.<div id=appendonsend></div>{}", again(colours, size))
    }),
    html("wrappers", |size| again("<div class=gmail_quote>", size)),
    html("wrappers closed", |size| again("<div class=gmail_quote>a</div>", size)),
    html("wrappers without a quotation", |size| again("<div class=gmail_quote></div>a", size)),
    html("signatures", |size| again("<div class=gmail_signature>a</div>", size)),
    html("signatures in turn", |size| again("<div class=gmail_signature>a</div>b", size)),
    html("history marks", |size| again("<div id=appendonsend></div>", size)),
    html("header marks", |size| again("<div style='border:none;border-top:solid'>a</div>", size)),
    html("tables", |size| again("<table><tr><td>", size)),
    html("tables with text", |size| again("<table><tr><td>a", size)),
    html("cells", |size| format!("<table><tr>{}", again("<td>a", size))),
    html("rows", |size| format!("<table>{}", again("<tr><td>a</div>", size))),
    html("<", |size| again("<", size)),
    html("< and letters", |size| again("<a", size)),
    html("</", |size| again("</", size)),
    html("</ and letters", |size| again("</a", size)),
    html("<!", |size| again("<!", size)),
    html("<!--", |size| again("<!--", size)),
    html("<!-->", |size| again("<!-->", size)),
    html("<!-- >", |size| again("<!-- >", size)),
    html("<!--[if mso]>", |size| again("<!--[if mso]>a<![endif]", size)),
    html("<![", |size| again("<![a", size)),
    html("<?", |size| again("<?a", size)),
    html("<style>", |size| again("<style>", size)),
    html("<style></", |size| again("<style></", size)),
    html("raw elements in turn", |size| again("<style><script><title><select><svg>", size)),
    html("raw elements that end", |size| again("<style></style>", size)),
    html("raw elements that almost end", |size| again("<style></stylo>", size)),
    html("references", |size| again("&amp;", size)),
    html("numeric references", |size| again("&#x41;", size)),
    html("references that nothing ends", |size| again("&ampampamp", size)),
    html("&", |size| again("&", size)),
    html("zeros", |size| again("\0", size)),
    html("attributes", |size| format!("<a {}>", again("b=c ", size))),
    html("attributes of many names", |size| format!("<a {}>", lines(size, |number| format!("b{number}=c")))),
    html("attributes that nothing ends", |size| again("<a b='", size)),
    html("quotes in turn", |size| again("<a b='c d=\"", size)),
    html("quotes that nothing ends", |size| again("<a b=\">", size)),
    html("a long attribute", |size| format!("<a b='{}'>c</a>", again("x", size))),
    html("long class", |size| format!("<a class='{}'>c</a>", again("x_gmail ", size))),
    html("many long classes", |size| again(&format!("<a class='{}'>c</a>", "x_".repeat(2000)), size)),
    html("many classes", |size| again(&format!("<a class='{}'>c</a>", "x_ ".repeat(2000)), size)),
    html("styles", |size| again("<a style='border-left:solid red'>c</a>", size)),
    html("links", |size| again("<a href='https://a.b'>c</a>", size)),
    html("a long link", |size| format!("<a href='https://{}'>c</a>", again("a", size))),
    html("addresses nobody escaped", |size| again("<a@b.c>", size)),
    html("addresses nobody ended", |size| again("<a@b.c", size)),
    html("long names", |size| again(&format!("<{}>", "a".repeat(400)), size)),
    html("preformatted", |size| format!("<pre>{}", again("a\n", size))),
    html("preformatted, empty lines", |size| format!("<pre>{}", again("\n", size))),
    html("nested marks", |size| again("<div class=yahoo_quoted>a", size)),
    html("hidden", |size| again("<div style='display:none'>a", size)),
    html("device lines", |size| again("<div>Sent from my iPhone</div><br>", size)),
    html("almost attributions", |size| again("1.2.26 a:<br>", size)),
    html("almost header blocks", |size| again("to: x<br>", size)),
    html("rulers", |size| again("---<br>", size)),
    html("paragraphs after an open quotation", |size| {
        format!("{}{}", again("<blockquote><div>", 3000), again("a<p>b</p>", size))
    }),
    html("text of many nodes on one line", |size| again("a<b>b</b>", size)),
    html("one word of many nodes with quotes", |size| again("<b>&gt;</b> ", size)),
];
