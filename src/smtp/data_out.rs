//! Sending message data: dots stuffed, line ends made whole (RFC 5321 §4.5.2).
