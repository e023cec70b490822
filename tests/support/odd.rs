//! Odd and hostile mail without end, the same each time: pieces of mail in any order, real-looking mail with damage, and shapes
//! that cost a careless reader dearly.

use std::path::Path;

/// Random numbers that are the same each time.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        // xorshift64*
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        usize::try_from(self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33).unwrap() % sides.max(1)
    }

    fn octet(&mut self) -> u8 {
        u8::try_from(self.roll(256)).unwrap()
    }
}

const PIECES: [&str; 40] = [
    "From: Ana <ana@guest.example>\r\n",
    "From: =?utf-8?q?=22Ana=22?= <ana@guest.example>, <@b>\r\n",
    "To: hola@casasol.example\r\n",
    "To: undisclosed-recipients:;\r\n",
    "\r\n",
    "\r\n",
    "\r\n\r\n",
    "--b\r\n",
    "--b--\r\n",
    "--b \t\r\n",
    "Content-Type: multipart/mixed; boundary=b\r\n",
    "Content-Type: multipart/alternative;\r\n\tboundary=\"b\"; boundary=c\r\n",
    "Content-Type: multipart/related; type=\"text/html\"; boundary*0=b\r\n",
    "Content-Type: multipart/report; report-type=delivery-status; boundary=\"b\"\r\n",
    "Content-Type: multipart/digest; boundary=b\r\n",
    "Content-Type: message/rfc822\r\n",
    "Content-Type: message/delivery-status\r\n",
    "Content-Type: message/partial; id=x; number=1; total=9999999\r\n",
    "Content-Type: text/html; charset=utf-8\r\n",
    "Content-Type: text/plain; charset=iso-2022-jp\r\n",
    "Content-Type: text/plain; charset=\"utf-7\"; format=flowed; delsp=yes\r\n",
    "Content-Type: text/calendar; method=REQUEST\r\n",
    "Content-Type: application/octet-stream; name*=utf-8''%f0%9f\r\n",
    "Content-Transfer-Encoding: base64\r\n",
    "Content-Transfer-Encoding: quoted-printable\r\n",
    "Content-Disposition: attachment; filename=\"../../x\"; size=-1\r\n",
    "X-Forwarded-For: hola@casasol.example inbox@users.example.com\r\n",
    "Subject: =?utf-8?b?w6nDqQ?= =?x?q?=?=\r\n",
    "Date: Sun, 31 Feb 2026 99:99:99 +9999\r\n",
    "References: <a <b> c> <<>>\r\n",
    "Auto-Submitted: auto-generated (\r\n",
    "<p>Hi <a href='https://x'>&nbsp;<div class=gmail_quote><blockquote>\r\n",
    "<table><td><table><td><!--\r\n",
    "aGVsbG8=\r\n",
    "=C3=A9=\r\n",
    "> quoted\r\n>>>> quoted\r\n",
    "El dom, 22 nov 2026 a las 12:00, Casa Sol (<hola@casasol.example>) escribi\u{f3}:\r\n",
    "\u{202e}\u{feff}\u{1f600}\u{e9}\r\n",
    "-- \r\n \t\r\n",
    " folded\r\n",
];

/// Where odd mail comes from.
pub struct Odd {
    samples: Vec<Vec<u8>>,
}

impl Odd {
    pub fn new() -> Self {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/inbox/providers");
        let mut files: Vec<_> =
            std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.retain(|file| file.extension().is_some_and(|extension| extension == "eml"));
        files.sort();
        let samples: Vec<_> = files.iter().map(|file| std::fs::read(file).unwrap()).collect();
        assert!(samples.len() > 10);
        Self { samples }
    }

    /// The mail of this number.
    pub fn mail(&self, number: usize) -> Vec<u8> {
        let mut dice = Dice((number as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        match number % 40 {
            0 => costly(&mut dice),
            1..20 => self.damaged(&mut dice),
            _ => pieces(&mut dice),
        }
    }

    fn damaged(&self, dice: &mut Dice) -> Vec<u8> {
        let mut mail = self.samples[dice.roll(self.samples.len())].clone();
        for _ in 0..=dice.roll(6) {
            let (at, length) = (dice.roll(mail.len()), dice.roll(200));
            let end = (at + length).min(mail.len());
            match dice.roll(7) {
                0 => (0..20).for_each(|_| {
                    let place = dice.roll(mail.len());
                    if let Some(octet) = mail.get_mut(place) {
                        *octet = dice.octet();
                    }
                }),
                1 => mail.truncate(at),
                2 => {
                    let piece = mail[at..end].repeat(dice.roll(100));
                    mail.splice(at..at, piece);
                }
                3 => drop(mail.drain(at..end)),
                4 => {
                    let other = &self.samples[dice.roll(self.samples.len())];
                    mail.splice(at..at, other[..dice.roll(other.len())].iter().copied());
                }
                5 => drop(mail.splice(at..at, PIECES[dice.roll(PIECES.len())].bytes())),
                _ => {
                    let octet = dice.octet();
                    mail.splice(at..at, vec![octet; dice.roll(3_000)]);
                }
            }
        }
        mail
    }
}

fn pieces(dice: &mut Dice) -> Vec<u8> {
    let mut mail = Vec::new();
    for _ in 0..dice.roll(30) {
        if dice.roll(5) == 0 {
            (0..dice.roll(60)).for_each(|_| mail.push(dice.octet()));
        } else {
            mail.extend_from_slice(PIECES[dice.roll(PIECES.len())].as_bytes());
        }
    }
    mail
}

/// Deep, wide, or long: up to some ten thousand of a thing.
fn costly(dice: &mut Dice) -> Vec<u8> {
    let count = 1 << (4 + dice.roll(8));
    let head = "From: Ana <ana@guest.example>\r\n";
    let body = match dice.roll(12) {
        0 => (0..count)
            .map(|depth| format!("Content-Type: multipart/mixed; boundary=b{depth}\r\n\r\n--b{depth}\r\n"))
            .collect(),
        1 => "Content-Type: message/rfc822\r\n\r\n".repeat(count),
        2 => format!(
            "Content-Type: multipart/mixed; boundary=x\r\n\r\n{}",
            "--x\r\nContent-Disposition: attachment; filename=a.pdf\r\n\r\nx\r\n".repeat(count)
        ),
        3 => format!("Content-Type: text/html\r\n\r\n{}", "<div><blockquote><table><tr><td>".repeat(count)),
        4 => format!("Content-Type: text/html\r\n\r\n{}", "</p><b><i>&amp;&#x41;&bogus<!".repeat(count)),
        5 => format!("Subject: {}\r\n\r\nHi\r\n", "=?utf-8?q?=41?=\r\n ".repeat(count)),
        6 => format!("References:{}\r\n\r\nHi\r\n", "\r\n <a@b> (".repeat(count)),
        7 => format!("To: {}a@b\r\n\r\nHi\r\n", "(".repeat(count)),
        8 => format!("\r\n{}", "> ".repeat(count)),
        9 => format!("\r\n{}", "On 1 Jan 2026, a@b wrote:\r\n> x\r\n".repeat(count)),
        10 => format!("\r\n{}", "From: a\r\nTo: b\r\nDate: c\r\nSubject: d\r\n\r\n".repeat(count)),
        _ => format!("{}\r\nHi\r\n", "X-Forwarded-For: hola@casasol.example x@y\r\n".repeat(count)),
    };
    format!("{head}{body}").into_bytes()
}
