//! A bare SMTP client that sends exactly the octets it is told to.

use super::LIMIT;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;

/// One connection, greeted.
pub struct Client(BufReader<TcpStream>);

impl Client {
    /// Connects and says EHLO.
    pub fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        stream.set_write_timeout(Some(LIMIT)).unwrap();
        let mut client = Self(BufReader::new(stream));
        assert!(client.reply().starts_with("220 "));
        client.expect("EHLO client.test", "250");
        client
    }

    /// The next reply, all lines of it; what came so far when the connection ended.
    pub fn reply(&mut self) -> String {
        let mut reply = String::new();
        loop {
            let start = reply.len();
            let count = self.0.read_line(&mut reply).unwrap();
            if count == 0 || reply.as_bytes().get(start + 3) != Some(&b'-') {
                return reply;
            }
        }
    }

    /// Sends octets as they are.
    pub fn send(&mut self, octets: &[u8]) {
        self.0.get_mut().write_all(octets).unwrap();
    }

    /// Sends a command; its reply.
    pub fn say(&mut self, command: &str) -> String {
        self.send(format!("{command}\r\n").as_bytes());
        self.reply()
    }

    /// Sends a command that must be answered by this code.
    pub fn expect(&mut self, command: &str, code: &str) -> String {
        let reply = self.say(command);
        assert!(reply.starts_with(code), "{command}: {reply}");
        reply
    }

    /// Shakes hands, trusting this authority alone. Nothing may be unread.
    pub fn encrypt(self, ca: &Path, name: &str) -> StreamOwned<ClientConnection, TcpStream> {
        assert!(self.0.buffer().is_empty());
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(ca).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::try_from(name.to_owned()).unwrap();
        StreamOwned::new(ClientConnection::new(Arc::new(config), name).unwrap(), self.0.into_inner())
    }

    /// Opens a transaction; `parameters` may be empty.
    pub fn begin(&mut self, sender: &str, parameters: &str, recipients: &[&str]) {
        self.expect(format!("MAIL FROM:<{sender}> {parameters}").trim_end(), "250");
        for recipient in recipients {
            // "a@x.test" or "a@x.test> NOTIFY=NEVER".
            let end = if recipient.contains('>') { "" } else { ">" };
            self.expect(&format!("RCPT TO:<{recipient}{end}"), "250");
        }
    }

    /// Sends content by DATA, dots stuffed; the reply to the final dot.
    pub fn data(&mut self, content: &[u8]) -> String {
        self.expect("DATA", "354");
        let mut wire = Vec::with_capacity(content.len() + 100);
        for line in content.split_inclusive(|&octet| octet == b'\n') {
            if line.starts_with(b".") {
                wire.push(b'.');
            }
            wire.extend_from_slice(line);
        }
        wire.extend_from_slice(b".\r\n");
        self.send(&wire);
        self.reply()
    }

    /// Sends content by BDAT, in chunks of this size; the reply to the last one.
    pub fn bdat(&mut self, content: &[u8], chunk: usize) -> String {
        let mut reply = String::new();
        let count = content.chunks(chunk).len().max(1);
        let chunks = content.chunks(chunk).chain(content.is_empty().then_some(&[][..]));
        for (index, octets) in chunks.enumerate() {
            let last = if index + 1 == count { " LAST" } else { "" };
            self.send(format!("BDAT {}{last}\r\n", octets.len()).as_bytes());
            self.send(octets);
            reply = self.reply();
            assert!(last == " LAST" || reply.starts_with("250"), "{reply}");
        }
        reply
    }
}

/// Sends one message over a connection of its own; it must be taken.
pub fn submit(relay: SocketAddr, sender: &str, recipients: &[&str], content: &[u8]) {
    let mut client = Client::connect(relay);
    client.begin(sender, "", recipients);
    let reply = client.data(content);
    assert!(reply.starts_with("250 2.0.0 "), "{reply}");
    client.expect("QUIT", "221");
}

/// A short message.
pub fn letter(subject: &str) -> Vec<u8> {
    format!(
        "From: shop@shop.test\r\nTo: ana@guest.test\r\nSubject: {subject}\r\n\
         Date: Sun, 22 Nov 2026 12:00:00 +0000\r\nMessage-ID: <{subject}@shop.test>\r\n\r\nHello.\r\n"
    )
    .into_bytes()
}
