//! The labels of header blocks that mail programs put above a quotation, in the languages they are translated to.
//!
//! Promises: everything is folded as [`super::line::fold`] does, without the colon. A label stands once; where a
//! language uses one word for two kinds, the kind that tells more is taken.

use std::collections::HashMap;
use std::sync::LazyLock;

/// What a header line says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Label {
    /// Who wrote it.
    From,
    /// To whom.
    To,
    /// To whom else.
    Cc,
    /// When.
    Date,
    /// About what.
    Subject,
    /// Any other field that programs show (Reply-To, Importance, Attachments).
    Other,
}

/// The kind of a folded label, if any program writes it.
pub fn label(folded: &str) -> Option<Label> {
    LABELS.get(folded).copied()
}

/// Does the folded label say that something was sent, as no form does that isn't a mail's?
pub fn says_sent(folded: &str) -> bool {
    SENT.contains(&folded)
}

/// Every label; what stands in two tables is what the first of them says.
static LABELS: LazyLock<HashMap<&str, Label>> = LazyLock::new(|| {
    let tables = [
        (Label::From, FROM),
        (Label::To, TO),
        (Label::Cc, CC),
        (Label::Date, SENT),
        (Label::Date, DATE),
        (Label::Subject, SUBJECT),
        (Label::Other, OTHER),
    ];
    let mut labels = HashMap::new();
    for (label, word) in tables.iter().flat_map(|(label, table)| table.iter().map(move |word| (label, word)))
    {
        labels.entry(*word).or_insert(*label);
    }
    labels
});

#[rustfmt::skip]
const FROM: &[&str] = &[
    "from", "sender", "von", "absender", "de", "expéditeur", "expediteur", "da", "mittente", "remitente",
    "remetente", "van", "afzender", "fra", "afsender", "avsender", "från", "avsändare", "lähettäjä", "frá",
    "sendandi", "od", "nadawca", "odesílatel", "odosielateľ", "pošiljatelj", "šalje", "feladó", "de la",
    "expeditor", "от", "отправитель", "від", "відправник", "від кого", "от кого", "подател", "изпращач", "од",
    "пошиљалац", "από", "αποστολέας", "kimden", "gönderen", "kimdən", "من", "المرسل", "از", "فرستنده", "מאת",
    "שולח", "से", "प्रेषक", "থেকে", "จาก", "ผู้ส่ง", "từ", "người gửi", "dari", "pengirim", "daripada", "发件人",
    "寄件人", "寄件者", "發件人", "差出人", "送信者", "送信元", "보낸 사람", "보낸사람", "발신", "발신인", "보내는 사람", "kellelt", "saatja",
    "no", "sūtītājs", "nuo", "siuntėjas", "nga", "desde", "mula kay", "mula sa", "o", "oddiwrth", "ó",
    "enviado por", "envoyé par", "inviato da", "gesendet von", "sent by", "expedidor", "remitent", "nork",
    "kutoka", "гэж", "кімнен", "ад", "kimdan", "გამომგზავნი", "ում կողմից", "ከ", "ላኪ",
];

#[rustfmt::skip]
const TO: &[&str] = &[
    "to", "an", "à", "a", "pour", "destinataire", "destinataires", "para", "per", "destinatario",
    "destinatarios", "destinatário", "destinatários", "aan", "naar", "geadresseerde", "til", "till",
    "vastaanottaja", "kenelle", "do", "dla", "adresat", "odbiorca", "komu", "pro", "adresát", "prima", "za",
    "primatelj", "címzett", "către", "catre", "destinatar", "кому", "получатель", "одержувач", "до",
    "получател", "прима", "за", "προς", "παραλήπτης", "kime", "alıcı", "kimə", "إلى", "الى", "المستلم", "به",
    "گیرنده", "אל", "נמען", "को", "प्रति", "প্রতি", "ถึง", "ผู้รับ", "đến", "tới", "người nhận", "kepada",
    "untuk", "ke", "penerima", "收件人", "收件者", "宛先", "受信者", "送信先", "받는 사람", "받는사람", "수신", "수신인", "받는이",
    "kellele", "saaja", "kam", "adresāts", "saņēmējs", "gavėjas", "kur", "për", "para kay", "sa", "at", "i",
    "chuig", "adreçat a", "nori", "adressaat", "per a", "ለ", "ወደ", "ተቀባይ",
];

#[rustfmt::skip]
const CC: &[&str] = &[
    "cc", "kopie", "kopi", "kopia", "copie", "copia", "cópia", "copie à", "con copia", "kopie an", "kopio",
    "kópia", "másolatot kap", "másolat", "копия", "копія", "копие", "копија", "kopija", "κοιν", "κοινοποίηση",
    "bilgi", "نسخة", "نسخة إلى", "رونوشت", "עותק", "העתק", "प्रतिलिपि", "สำเนา", "สำเนาถึง", "đồng kính gửi",
    "tembusan", "salinan", "抄送", "副本", "副本抄送", "参照", "참조", "koopia", "bcc", "cci", "kk", "ccn", "cco", "dw",
    "udw", "do wiadomości", "blinde kopie", "kopie (cc)", "υπόψη", "ไปยัง", "c.c",
];

/// The hour by a word that speaks of a mail.
#[rustfmt::skip]
const SENT: &[&str] = &[
    "saatmisaeg",    "sent", "date sent", "sent at", "sent on", "gesendet", "gesendet am", "envoyé", "envoyé le", "envoye",
    "envoye le", "date d'envoi", "inviato", "data invio", "inviato il", "enviado", "enviado el",
    "fecha de envío", "enviado em", "enviada em", "enviada", "data de envio", "verzonden", "verzonden op",
    "verstuurd", "sendt", "sendt den", "skickat", "skickades", "lähetetty", "wysłano", "wysłane",
    "data wysłania", "odesláno", "odeslané", "odoslané", "poslano", "poslato", "datum slanja", "elküldve",
    "küldve", "küldés ideje", "trimis", "trimisă", "trimis la", "отправлено", "дата отправки", "надіслано",
    "дата надсилання", "изпратено", "послато", "испратено", "στάλθηκε", "εστάλη", "απεστάλη", "gönderildi",
    "gönderilme tarihi", "gönderim tarihi", "göndərilib", "تم الإرسال", "تاريخ الإرسال", "أرسلت",
    "ارسال شده", "ارسال", "נשלח", "भेजा गया", "ส่ง", "ส่งเมื่อ", "đã gửi", "gửi", "dikirim", "terkirim",
    "dihantar", "发送时间", "发送日期", "寄件日期", "傳送時間", "傳送日期", "寄送日期", "发件时间", "送信日時", "送信日", "보낸 날짜", "보낸날짜",
    "보낸 시간", "발신일", "saadetud", "nosūtīts", "išsiųsta", "dërguar", "ipinadala", "anfonwyd", "enviat",
    "enviat el", "bidalia", "poslané", "послано", "ተልኳል", "የተላከው",
];

/// And by a word that stands in any form.
#[rustfmt::skip]
const DATE: &[&str] = &[
    "date", "time", "datum", "datum/uhrzeit", "data", "fecha", "dato", "päiväys", "päivämäärä", "pvm",
    "dagsetning", "dátum", "дата", "дата и время", "датум", "ημερομηνία", "tarih", "التاريخ", "تاريخ",
    "تاریخ", "תאריך", "दिनांक", "तारीख", "তারিখ", "วันที่", "เวลา", "ngày", "thời gian", "vào lúc", "tanggal",
    "tarikh", "日期", "时间", "日時", "日付", "날짜", "일시", "작성일", "kuupäev", "datums", "data ir laikas", "petsa",
    "dyddiad", "dáta", "ቀን",
];

#[rustfmt::skip]
const SUBJECT: &[&str] = &[
    "subject", "betreff", "objet", "sujet", "oggetto", "asunto", "assunto", "onderwerp", "emne", "ämne",
    "aihe", "otsikko", "efni", "temat", "předmět", "predmet", "věc", "naslov", "zadeva", "tárgy", "subiect", "тема",
    "предмет", "наслов", "относно", "θέμα", "konu", "mövzu", "الموضوع", "موضوع", "נושא", "हिन्दी विषय",
    "विषय", "বিষয়", "เรื่อง", "หัวข้อ", "chủ đề", "tiêu đề", "perihal", "subjek", "judul", "hal", "主题", "主題",
    "主旨", "标题", "件名", "題名", "제목", "teema", "pealkiri", "tēma", "temats", "tema", "subjekto", "subjecte",
    "assumpte", "gaia", "paksa", "pwnc", "ábhar", "titull", "subjekti", "tárgya", "ርዕስ", "ርዕሰ ጉዳይ", "re",
];

#[rustfmt::skip]
const OTHER: &[&str] = &[
    "reply-to", "reply to", "antwort an", "répondre à", "rispondi a", "responder a", "antwoord aan",
    "odpowiedz do", "ответить", "svar til", "risposta", "importance", "priority", "wichtigkeit", "priorität",
    "importanza", "importancia", "belang", "attachments", "anlagen", "anhänge", "pièces jointes", "allegati",
    "adjuntos", "datos adjuntos", "anexos", "bijlagen", "załączniki", "вложения", "bilagor",
    "vedhæftede filer", "organization", "list-id", "mailing list", "x-mailer", "message-id", "返信先", "答复",
    "回复", "添付ファイル", "附件", "첨부", "resent-from", "resent-date", "resent-to", "on behalf of", "im auftrag von",
    "signed by", "mailed-by", "signed-by", "user-agent", "in-reply-to", "references", "category",
    "sensitivity",
];

#[cfg(test)]
mod tests {
    use super::{CC, DATE, FROM, Label, OTHER, SENT, SUBJECT, TO, label};
    use crate::inbox::answer::line::fold;

    #[test]
    fn labels_are_folded_as_lines_are() {
        for word in [FROM, TO, CC, SENT, DATE, SUBJECT, OTHER].concat() {
            assert_eq!(fold(word), word);
        }
    }

    #[test]
    fn labels_of_far_languages_are_known() {
        assert_eq!(label("发件人"), Some(Label::From));
        assert_eq!(label("kime"), Some(Label::To));
        assert_eq!(label("tárgy"), Some(Label::Subject));
        assert_eq!(label("name"), None);
    }
}
