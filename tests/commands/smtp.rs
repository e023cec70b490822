//! A client that says what the test says, octet for octet.

use crate::home::{Home, LIMIT};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, HandshakeKind, RootCertStore, StreamOwned};
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

/// A message with nothing special about it.
pub const LETTER: &str = "From: shop@shop.test\r\nTo: ana@guest.test\r\nSubject: Hello\r\n\r\nHello!\r\n";

pub struct Smtp {
    wire: Wire,
    unread: Vec<u8>,
}

enum Wire {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Smtp {
    /// Connected, and nothing read yet.
    pub fn connect(address: SocketAddr) -> Self {
        let socket = TcpStream::connect(address).unwrap();
        socket.set_read_timeout(Some(LIMIT)).unwrap();
        socket.set_write_timeout(Some(LIMIT)).unwrap();
        socket.set_nodelay(true).unwrap();
        Self { wire: Wire::Plain(socket), unread: Vec::new() }
    }

    /// Connected, greeted, and EHLO said.
    pub fn hello(address: SocketAddr) -> Self {
        let mut smtp = Self::connect(address);
        assert!(smtp.reply().starts_with("220 "));
        assert!(smtp.say("EHLO client.test").starts_with("250-"));
        smtp
    }

    pub fn send(&mut self, octets: &[u8]) {
        match &mut self.wire {
            Wire::Plain(socket) => socket.write_all(octets),
            Wire::Tls(stream) => stream.write_all(octets).and_then(|()| stream.flush()),
        }
        .unwrap();
    }

    /// A command and its reply.
    pub fn say(&mut self, command: &str) -> String {
        self.send(format!("{command}\r\n").as_bytes());
        self.reply()
    }

    /// The next reply, all its lines; empty when the server has closed.
    pub fn reply(&mut self) -> String {
        let mut reply = String::new();
        loop {
            let Some(line) = self.line() else { return reply };
            reply.push_str(&line);
            if line.as_bytes().get(3) != Some(&b'-') {
                return reply;
            }
            reply.push('\n');
        }
    }

    fn line(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.unread.windows(2).position(|pair| pair == b"\r\n") {
                let line: Vec<u8> = self.unread.drain(..end + 2).collect();
                return Some(String::from_utf8(line[..end].to_vec()).unwrap());
            }
            if self.fill() == 0 {
                return None;
            }
        }
    }

    fn fill(&mut self) -> usize {
        let mut room = [0; 8192];
        let read = match &mut self.wire {
            Wire::Plain(socket) => socket.read(&mut room),
            Wire::Tls(stream) => stream.read(&mut room),
        };
        match read {
            Ok(count) => {
                self.unread.extend_from_slice(&room[..count]);
                count
            }
            Err(cause) if matches!(cause.kind(), ErrorKind::ConnectionReset | ErrorKind::UnexpectedEof) => 0,
            Err(cause) => panic!("{cause}"),
        }
    }

    /// What comes until the server closes.
    pub fn rest(&mut self) -> String {
        while self.fill() > 0 {}
        String::from_utf8_lossy(&std::mem::take(&mut self.unread)).into_owned()
    }

    /// Another handle to the same plain connection, for writing beside reading.
    pub fn socket(&self) -> TcpStream {
        match &self.wire {
            Wire::Plain(socket) => socket.try_clone().unwrap(),
            Wire::Tls(_) => panic!("inside TLS"),
        }
    }

    /// Sends one message; the reply to its last dot, or the first refusal.
    pub fn submit(&mut self, sender: &str, recipients: &[&str], content: &str) -> String {
        let mut commands = vec![format!("MAIL FROM:<{sender}>")];
        commands.extend(recipients.iter().map(|recipient| format!("RCPT TO:<{recipient}>")));
        for command in commands {
            let reply = self.say(&command);
            if !reply.starts_with("250 ") {
                return reply;
            }
        }
        let reply = self.say("DATA");
        if !reply.starts_with("354 ") {
            return reply;
        }
        self.say(&format!("{content}."))
    }

    /// Sends a letter; the id it got.
    #[track_caller]
    pub fn post(&mut self, sender: &str, recipients: &[&str], content: &str) -> String {
        let reply = self.submit(sender, recipients, content);
        assert!(reply.starts_with("250 2.0.0 "), "{reply}");
        reply.split(' ').nth(2).unwrap().to_owned()
    }

    /// AUTH PLAIN; its reply.
    pub fn login(&mut self, user: &str, password: &str) -> String {
        self.say(&format!("AUTH PLAIN {}", base64(format!("\0{user}\0{password}").as_bytes())))
    }

    /// Shakes hands as a TLS client that believes `ca.pem` of this home.
    pub fn into_tls(self, home: &Home) -> Self {
        self.shake(&trusting(home)).0
    }

    /// The same, unless the other side doesn't speak TLS.
    pub fn try_tls(self, home: &Home) -> std::io::Result<Self> {
        self.try_shake(&trusting(home), b"").map(|(smtp, _)| smtp)
    }

    /// The same with a client's memory of earlier sessions; what kind of handshake it became.
    pub fn shake(self, config: &Arc<ClientConfig>) -> (Self, HandshakeKind) {
        self.shake_behind(config, b"")
    }

    /// The same with octets in plain text in front, in one segment with the beginning of the handshake.
    pub fn shake_behind(self, config: &Arc<ClientConfig>, front: &[u8]) -> (Self, HandshakeKind) {
        self.try_shake(config, front).unwrap()
    }

    fn try_shake(self, config: &Arc<ClientConfig>, front: &[u8]) -> std::io::Result<(Self, HandshakeKind)> {
        let Wire::Plain(mut socket) = self.wire else { panic!("TLS inside TLS") };
        let name = ServerName::try_from("localhost").unwrap();
        let mut session = ClientConnection::new(config.clone(), name).unwrap();
        let mut first = front.to_vec();
        session.write_tls(&mut first).unwrap();
        socket.write_all(&first)?;
        while session.is_handshaking() {
            session.complete_io(&mut socket)?;
        }
        let kind = session.handshake_kind().unwrap();
        let wire = Wire::Tls(Box::new(StreamOwned::new(session, socket)));
        Ok((Self { wire, unread: Vec::new() }, kind))
    }

    /// The certificate that the server showed.
    pub fn certificate(&self) -> Vec<u8> {
        match &self.wire {
            Wire::Plain(_) => panic!("no TLS"),
            Wire::Tls(stream) => stream.conn.peer_certificates().unwrap()[0].to_vec(),
        }
    }
}

/// A TLS client's settings: `ca.pem` of this home and nothing else is believed.
pub fn trusting(home: &Home) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(home.path("ca.pem")).unwrap()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    Arc::new(config)
}

pub fn base64(octets: &[u8]) -> String {
    use ::base64::Engine;
    ::base64::engine::general_purpose::STANDARD.encode(octets)
}
