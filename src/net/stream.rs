//! A connection as both sides of SMTP need it: buffered input that is bounded, output that is gathered and
//! written at once, and a TLS upgrade that forgets every octet read in plain (RFC 3207 §4.2).
//!
//! Nothing here waits for ever by itself, and nothing here knows a time limit: callers wrap each wait in theirs.

use rustls::pki_types::ServerName;
use std::future::poll_fn;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};

/// Octets of input read at once while commands or replies are exchanged. Small, because ten thousand idle
/// sessions each hold one.
const SMALL_READ: usize = 2 * 1024;
/// Octets of input read at once while message data flows.
const LARGE_READ: usize = 64 * 1024;

/// The transport below the buffers.
#[derive(Debug)]
enum Wire {
    Plain(TcpStream),
    /// A program on this machine, through a socket of ours.
    Local(UnixStream),
    Tls(Box<TlsStream<TcpStream>>),
    /// A handshake took the socket and failed.
    Gone,
}

/// A buffered connection.
#[derive(Debug)]
pub struct Stream {
    wire: Wire,
    input: Vec<u8>,
    /// Octets of `input` already taken.
    taken: usize,
    /// Octets waiting for [`Stream::flush`].
    output: Vec<u8>,
    peer: SocketAddr,
    local: SocketAddr,
}

/// A line, or why there is none.
#[derive(Debug, PartialEq, Eq)]
pub enum Line {
    /// The line without its end, and whether it ended in CRLF (true) or in a bare LF.
    Whole {
        /// Octets before the line end.
        octets: Vec<u8>,
        /// Whether the line end was CRLF.
        crlf: bool,
    },
    /// More octets than the limit came before a line end; all of them are still there to be read.
    TooLong,
    /// The peer closed.
    Closed,
}

/// What [`Stream::exchange`] did.
#[derive(Debug, PartialEq, Eq)]
pub enum Exchange {
    /// So many octets were written.
    Wrote(usize),
    /// So many octets came in; 0 is the end.
    Read(usize),
}

impl Stream {
    /// Wraps a connected socket; small writes leave at once (`TCP_NODELAY`), since flights are gathered here.
    ///
    /// # Errors
    /// When the socket is already gone.
    pub fn new(socket: TcpStream) -> io::Result<Self> {
        socket.set_nodelay(true)?;
        let (peer, local) = (socket.peer_addr()?, socket.local_addr()?);
        Ok(Self { wire: Wire::Plain(socket), input: Vec::new(), taken: 0, output: Vec::new(), peer, local })
    }

    /// Wraps a connection from this machine that has no address; it is shown as loopback's.
    #[must_use]
    pub fn local_to(socket: UnixStream) -> Self {
        let nobody = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let (input, output) = (Vec::new(), Vec::new());
        Self { wire: Wire::Local(socket), input, taken: 0, output, peer: nobody, local: nobody }
    }

    /// The other end's address.
    #[must_use]
    pub fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// Our end's address.
    #[must_use]
    pub fn local(&self) -> SocketAddr {
        self.local
    }

    /// Octets that have come in and were not taken yet.
    #[must_use]
    pub fn buffered(&self) -> &[u8] {
        self.input.get(self.taken..).unwrap_or_default()
    }

    /// Takes the first `count` buffered octets away.
    pub fn consume(&mut self, count: usize) {
        self.taken = (self.taken + count).min(self.input.len());
        if self.taken == self.input.len() {
            self.taken = 0;
            self.input.clear();
            if self.input.capacity() > LARGE_READ {
                self.input = Vec::new();
            }
        }
    }

    /// Waits for more input; the number of octets that came, 0 when the peer has closed.
    ///
    /// # Errors
    /// The transport's.
    pub async fn fill(&mut self, large: bool) -> io::Result<usize> {
        self.fill_within(if large { LARGE_READ } else { SMALL_READ }).await
    }

    /// The same, with at most so many octets at once.
    ///
    /// # Errors
    /// The transport's.
    pub async fn fill_within(&mut self, room: usize) -> io::Result<usize> {
        if self.taken > 0 {
            self.input.drain(..self.taken);
            self.taken = 0;
        }
        if self.input.is_empty() && room < LARGE_READ {
            self.input.shrink_to(room);
        }
        self.input.reserve(room);
        self.wire.read_buf(&mut self.input).await
    }

    /// Writes some of `octets`, or reads while that can't go on: whoever pipelines must do both, or two full
    /// windows wait for each other (RFC 2920 §3.1). Where the peer takes nothing any more, its last words are read before that is
    /// told.
    ///
    /// # Errors
    /// The transport's.
    pub async fn exchange(&mut self, octets: &[u8]) -> io::Result<Exchange> {
        if self.taken == self.input.len() {
            self.input.clear();
            self.taken = 0;
        }
        poll_fn(|cx| {
            let failed = match Pin::new(&mut self.wire).poll_write(cx, octets) {
                Poll::Ready(Ok(count)) => return Poll::Ready(Ok(Exchange::Wrote(count))),
                Poll::Ready(Err(cause)) => Some(cause),
                Poll::Pending => None,
            };
            let mut room = [0; SMALL_READ];
            let mut buffer = ReadBuf::new(&mut room);
            let read = Pin::new(&mut self.wire).poll_read(cx, &mut buffer);
            let heard = buffer.filled().len();
            match (read, failed) {
                (Poll::Ready(Ok(())), failed) if heard > 0 || failed.is_none() => {
                    self.input.extend_from_slice(buffer.filled());
                    Poll::Ready(Ok(Exchange::Read(heard)))
                }
                (Poll::Ready(Err(cause)), _) | (_, Some(cause)) => Poll::Ready(Err(cause)),
                (_, None) => Poll::Pending,
            }
        })
        .await
    }

    /// Whether a whole line is waiting already, so that a reply can wait for its neighbours (RFC 2920 §3.2).
    #[must_use]
    pub fn has_line(&self) -> bool {
        memchr::memchr(b'\n', self.buffered()).is_some()
    }

    /// The next line of at most `limit` octets.
    ///
    /// # Errors
    /// The transport's.
    pub async fn line(&mut self, limit: usize) -> io::Result<Line> {
        let mut searched = 0;
        loop {
            let buffered = self.buffered();
            if let Some(end) = buffered.get(searched..).and_then(|rest| memchr::memchr(b'\n', rest)) {
                let whole = buffered.get(..searched + end).unwrap_or_default();
                let count = whole.len() + 1;
                let (octets, crlf) =
                    whole.strip_suffix(b"\r").map_or((whole, false), |octets| (octets, true));
                if octets.len() > limit {
                    return Ok(Line::TooLong);
                }
                let octets = octets.to_vec();
                self.consume(count);
                return Ok(Line::Whole { octets, crlf });
            }
            searched = buffered.len();
            if searched > limit + 2 {
                return Ok(Line::TooLong);
            }
            if self.fill(false).await? == 0 {
                return Ok(Line::Closed);
            }
        }
    }

    /// The buffer that the next flush writes.
    pub fn output(&mut self) -> &mut Vec<u8> {
        &mut self.output
    }

    /// Writes what was gathered.
    ///
    /// # Errors
    /// The transport's.
    pub async fn flush(&mut self) -> io::Result<()> {
        if !self.output.is_empty() {
            self.wire.write_all(&self.output).await?;
            self.output.clear();
            if self.output.capacity() > LARGE_READ {
                self.output = Vec::new();
            }
        }
        self.wire.flush().await
    }

    /// Writes octets behind what was gathered, without copying them.
    ///
    /// # Errors
    /// The transport's.
    pub async fn write(&mut self, octets: &[u8]) -> io::Result<()> {
        self.flush().await?;
        self.wire.write_all(octets).await
    }

    /// Says goodbye to the transport: close-notify under TLS, FIN below. What the peer still sends can be read.
    pub async fn close(&mut self) {
        // The peer may be gone already; there is nobody left to tell.
        let _ = self.wire.shutdown().await;
    }

    /// Whether the connection is encrypted.
    #[must_use]
    pub fn is_tls(&self) -> bool {
        matches!(self.wire, Wire::Tls(_))
    }

    /// Protocol version and cipher suite, for the Received field and the log.
    #[must_use]
    pub fn tls_summary(&self) -> Option<String> {
        let Wire::Tls(tls) = &self.wire else { return None };
        let (_, session) = tls.get_ref();
        let version = match session.protocol_version()? {
            rustls::ProtocolVersion::TLSv1_3 => "TLS1.3",
            rustls::ProtocolVersion::TLSv1_2 => "TLS1.2",
            _ => "TLS",
        };
        let suite = session.negotiated_cipher_suite()?.suite();
        Some(format!("{version}:{}", suite.as_str().unwrap_or("unknown")))
    }

    /// Shakes hands as the server. Octets read in plain before are forgotten, so that none of them is taken
    /// for something said under TLS (RFC 3207 §4.2, CVE-2011-0411).
    ///
    /// # Errors
    /// The handshake's; the connection is of no more use then.
    pub async fn accept_tls(&mut self, acceptor: &TlsAcceptor) -> io::Result<()> {
        self.shake_hands(acceptor, &[]).await
    }

    /// The same before anything was said: what came right behind a PROXY header is the beginning of the handshake.
    ///
    /// # Errors
    /// As [`Stream::accept_tls`].
    pub async fn accept_tls_at_once(&mut self, acceptor: &TlsAcceptor) -> io::Result<()> {
        let early = self.buffered().to_vec();
        self.shake_hands(acceptor, &early).await
    }

    async fn shake_hands(&mut self, acceptor: &TlsAcceptor, mut early: &[u8]) -> io::Result<()> {
        self.input = Vec::new();
        self.taken = 0;
        let socket = self.plain()?;
        let begin = |session: &mut rustls::ServerConnection| {
            // Nothing to read would be the connection's end. What is wrong with these octets the handshake finds out again.
            while !early.is_empty()
                && session.read_tls(&mut early).is_ok()
                && session.process_new_packets().is_ok()
            {}
        };
        self.wire = Wire::Tls(Box::new(acceptor.accept_with(socket, begin).await?.into()));
        Ok(())
    }

    /// Shakes hands as the client. Octets that came in plain must have been judged before: any are an error.
    ///
    /// # Errors
    /// The handshake's, or octets in plain behind the reply to STARTTLS; the connection is of no more use then.
    pub async fn connect_tls(
        &mut self,
        config: Arc<rustls::ClientConfig>,
        name: ServerName<'static>,
    ) -> io::Result<()> {
        if !self.buffered().is_empty() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "the server sent plain text behind its STARTTLS reply",
            ));
        }
        let socket = self.plain()?;
        self.wire = Wire::Tls(Box::new(TlsConnector::from(config).connect(name, socket).await?.into()));
        Ok(())
    }

    /// Takes the socket out for a handshake.
    fn plain(&mut self) -> io::Result<TcpStream> {
        match std::mem::replace(&mut self.wire, Wire::Gone) {
            Wire::Plain(socket) => Ok(socket),
            other => {
                self.wire = other;
                Err(io::Error::other("no TLS can begin here"))
            }
        }
    }

    /// The first octet that came on a plain connection, without taking it; none when the peer has closed.
    ///
    /// # Errors
    /// The transport's.
    pub async fn first_octet(&self) -> io::Result<Option<u8>> {
        let Wire::Plain(socket) = &self.wire else { return Err(io::Error::other("TLS is already active")) };
        if let Some(octet) = self.buffered().first() {
            return Ok(Some(*octet));
        }
        let mut octet = [0];
        let count = socket.peek(&mut octet).await?;
        Ok((count > 0).then_some(octet[0]))
    }

    /// Whether octets have come already, without waiting for any.
    #[must_use]
    pub fn spoke_first(&self) -> bool {
        let Wire::Plain(socket) = &self.wire else { return false };
        let mut octet = [std::mem::MaybeUninit::uninit()];
        // Non-blocking: an error here is "nothing yet".
        socket2::SockRef::from(socket).peek(&mut octet).is_ok_and(|count| count > 0)
    }
}

impl AsyncRead for Wire {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_read(cx, buf),
            Self::Local(socket) => Pin::new(socket).poll_read(cx, buf),
            Self::Tls(tls) => Pin::new(tls).poll_read(cx, buf),
            Self::Gone => Poll::Ready(Err(gone())),
        }
    }
}

impl AsyncWrite for Wire {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_write(cx, buf),
            Self::Local(socket) => Pin::new(socket).poll_write(cx, buf),
            Self::Tls(tls) => Pin::new(tls).poll_write(cx, buf),
            Self::Gone => Poll::Ready(Err(gone())),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_flush(cx),
            Self::Local(socket) => Pin::new(socket).poll_flush(cx),
            Self::Tls(tls) => Pin::new(tls).poll_flush(cx),
            Self::Gone => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_shutdown(cx),
            Self::Local(socket) => Pin::new(socket).poll_shutdown(cx),
            Self::Tls(tls) => Pin::new(tls).poll_shutdown(cx),
            Self::Gone => Poll::Ready(Ok(())),
        }
    }
}

fn gone() -> io::Error {
    io::Error::new(io::ErrorKind::NotConnected, "the TLS handshake failed")
}
