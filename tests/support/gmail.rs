//! Gmail's question whether it may forward, in fourteen forms.

pub const LINK: &str = "https://mail-settings.google.com/mail/vf-%5BANGjdJ9x%5D-k3J_example";
pub const CANCEL: &str = "https://mail-settings.google.com/mail/uf-%5BANGjdJ9x%5D-k3J_example";

/// Language, subject, and what stands before and behind the account in the body. Written for this test.
pub const LANGUAGES: [(&str, &str, &str); 14] = [
    (
        "en",
        "(#99427480) Gmail Forwarding Confirmation - Receive Mail from hola@casasol.example",
        "hola@casasol.example has requested to automatically forward mail to inbox@users.example.com.",
    ),
    (
        "en 2025",
        "Gmail Forwarding Confirmation - Receive Mail from hola@casasol.example",
        "hola@casasol.example would like to send its mail here.",
    ),
    (
        "es",
        "(#99427480) Confirmación de reenvío de Gmail",
        "hola@casasol.example ha solicitado reenviar sus mensajes a inbox@users.example.com.",
    ),
    (
        "fr",
        "(n° 99427480) Confirmation de transfert Gmail - Recevoir des messages de hola@casasol.example",
        "L'utilisateur hola@casasol.example souhaite transférer ses messages.\nCode de confirmation : 99427480",
    ),
    (
        "pt",
        "Confirmação de encaminhamento do Gmail: receber e-mail de hola@casasol.example",
        "hola@casasol.example pediu para encaminhar mensagens.",
    ),
    (
        "de",
        "Gmail-Weiterleitungsbestätigung – E-Mails von hola@casasol.example erhalten",
        "hola@casasol.example möchte Nachrichten weiterleiten.",
    ),
    (
        "nl",
        "Gmail-doorschakelingsbevestiging",
        "hola@casasol.example wil berichten doorsturen naar inbox@users.example.com.",
    ),
    (
        "ja",
        "(#99427480) Gmail の転送の確認 - hola@casasol.example からのメールを受け取る",
        "hola@casasol.exampleさんが転送を希望しています。",
    ),
    (
        "zh",
        "(#99427480) Gmail 转发确认 - 从hola@casasol.example接收邮件",
        "用户hola@casasol.example希望转发邮件到inbox@users.example.com。",
    ),
    ("pl", "Potwierdzenie przekazywania Gmaila", "Użytkownik hola@casasol.example chce przekazywać pocztę."),
    ("ru", "Подтверждение пересылки Gmail", "Пользователь hola@casasol.example хочет пересылать почту."),
    ("it", "Conferma di inoltro Gmail", "L'utente hola@casasol.example vuole inoltrare i messaggi."),
    ("tr", "Gmail Yönlendirme Onayı", "hola@casasol.example postalarını yönlendirmek istiyor."),
    ("ko", "Gmail 전달 확인", "hola@casasol.example님이 메일을 전달하려고 합니다."),
];
