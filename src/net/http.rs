//! Asking over HTTP/1.1 (RFC 9112) an address that was looked at first.
//!
//! What it promises: the name is looked up once for each connection and only an address that passed [`reach`] is
//! connected to, so that a name which changes in between changes nothing; no redirect is followed, nothing is
//! decompressed, no proxy is asked; an answer is read up to [`MOST_READ`] octets; everything together ends within
//! [`WHOLE_LIMIT`]. Certificates are judged by the system's trust store; plain `http` goes to private addresses only.

use super::reach::{Reach, reach};
use super::resolve;
use super::tls::TlsError;
use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{HOST, HeaderMap, HeaderValue, LOCATION, RETRY_AFTER};
use hyper::{Method, Request, Response, Uri};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::TlsConnector;

/// From the look-up to a connection that may be written to, TLS included.
pub const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// From the look-up to the answer.
pub const WHOLE_LIMIT: Duration = Duration::from_secs(15);
/// More of an answer isn't read.
pub const MOST_READ: usize = 64 * 1024;
/// So much of an answer is shown.
const EXCERPT: usize = 1024;

/// Where to post: `http://` or `https://`, a host, perhaps a port, a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Url {
    uri: Uri,
    host: String,
    port: u16,
    encrypted: bool,
}

impl Url {
    /// Reads a URL.
    ///
    /// # Errors
    /// What is wrong with it, to be shown behind it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let uri: Uri = text.parse().map_err(|cause| format!("is not a URL ({cause})"))?;
        let encrypted = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err("is not a URL that begins with https:// or http://".to_owned()),
        };
        if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
            return Err("holds a login; a webhook is authenticated by its signature".to_owned());
        }
        let host = uri.host().unwrap_or_default();
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host).to_owned();
        if host.is_empty() {
            return Err("names no host".to_owned());
        }
        if uri
            .authority()
            .is_some_and(|authority| authority.as_str().ends_with(':') || authority.port_u16() == Some(0))
        {
            return Err("has no good port".to_owned());
        }
        let port = uri.port_u16().unwrap_or(if encrypted { 443 } else { 80 });
        Ok(Self { uri, host, port, encrypted })
    }

    /// Whether it is `https`.
    #[must_use]
    pub fn is_encrypted(&self) -> bool {
        self.encrypted
    }

    /// The address, when the host is one.
    #[must_use]
    pub fn literal(&self) -> Option<IpAddr> {
        self.host.parse().ok()
    }

    /// What stands in the request line (RFC 9112 §3.2.1).
    fn target(&self) -> String {
        let target = self.uri.path_and_query().map_or("/", hyper::http::uri::PathAndQuery::as_str);
        if target.starts_with('/') { target.to_owned() } else { format!("/{target}") }
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.uri, f)
    }
}

/// Why nothing was answered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PostError {
    /// The name could not be looked up.
    #[error("{host}: name not found ({cause}); check the host and this machine's DNS")]
    Lookup {
        /// The name.
        host: String,
        /// What the resolver said.
        cause: String,
    },
    /// The address may not be posted to.
    #[error("{host} is at {address}, {why}")]
    Forbidden {
        /// The name.
        host: String,
        /// What it resolved to.
        address: IpAddr,
        /// Why not, and what to do.
        why: &'static str,
    },
    /// No connection came about.
    #[error("{host}:{port}: {cause}")]
    Connect {
        /// The name.
        host: String,
        /// The port.
        port: u16,
        /// What the system or TLS said.
        cause: String,
    },
    /// The connection broke before there was an answer.
    #[error("the connection ended without an answer ({0})")]
    Broken(String),
    /// No answer came in time.
    #[error("no answer within {} s", WHOLE_LIMIT.as_secs())]
    TimedOut,
    /// A header can't hold a value: ours to mend.
    #[error("a header holds what no header can: {0}")]
    Header(String),
}

impl PostError {
    /// Whether the receiver can't be reached at all, so that other events needn't try now.
    #[must_use]
    pub fn is_unreachable(&self) -> bool {
        match self {
            Self::Lookup { .. } | Self::Forbidden { .. } | Self::Connect { .. } => true,
            Self::Broken(_) | Self::TimedOut | Self::Header(_) => false,
        }
    }
}

/// What was answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The Retry-After field.
    pub retry_after: Option<String>,
    /// The beginning of the content.
    pub excerpt: String,
}

/// The answer to a look-up, in time.
type Found = Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send>>;

/// Who looks names up: the system, or a test.
#[derive(Clone)]
pub struct Names(Arc<dyn Fn(&str) -> Found + Send + Sync>);

impl Names {
    /// The system's resolver.
    #[must_use]
    pub fn system() -> Self {
        Self::from_fn(|host| {
            let host = host.to_owned();
            Box::pin(async move {
                let found = tokio::net::lookup_host((host.as_str(), 0)).await?;
                Ok(found.map(|address| address.ip()).collect())
            })
        })
    }

    /// A resolver that answers what this returns.
    #[must_use]
    pub fn from_fn(look_up: impl Fn(&str) -> Found + Send + Sync + 'static) -> Self {
        Self(Arc::new(look_up))
    }
}

impl fmt::Debug for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Names")
    }
}

/// Who is posted to, and how.
#[derive(Debug, Clone)]
pub struct Receiver {
    /// Where.
    pub url: Url,
    /// Whether it may be at a private address.
    pub allow_private: bool,
    /// How its certificate is judged; the cause when that can't be had.
    pub tls: Result<Arc<ClientConfig>, Arc<TlsError>>,
    /// Who looks its name up.
    pub names: Names,
}

/// One connection to a receiver.
#[derive(Debug)]
pub struct Connection {
    sender: SendRequest<Full<Bytes>>,
    /// Answers were read on it already: the receiver may have closed it meanwhile.
    is_used: bool,
    opened: Instant,
}

impl Connection {
    /// Connects.
    ///
    /// # Errors
    /// Those of [`PostError`] that [are unreachable](PostError::is_unreachable).
    pub async fn open(receiver: &Receiver) -> Result<Self, PostError> {
        let Url { host, port, .. } = &receiver.url;
        let failed = |cause: String| PostError::Connect { host: host.clone(), port: *port, cause };
        let limit = format!("no connection within {} s", CONNECT_LIMIT.as_secs());
        timeout(CONNECT_LIMIT, Self::try_open(receiver)).await.unwrap_or(Err(failed(limit)))
    }

    async fn try_open(receiver: &Receiver) -> Result<Self, PostError> {
        let Url { host, port, encrypted, .. } = &receiver.url;
        let failed = |cause: String| PostError::Connect { host: host.clone(), port: *port, cause };
        let addresses = addresses(receiver).await?;
        let socket = resolve::race(addresses, usize::MAX).await.map_err(|cause| failed(cause.to_string()))?;
        let _ = socket.set_nodelay(true);
        let sender = if *encrypted {
            let config = receiver.tls.as_ref().map_err(|cause| failed(cause.to_string()))?;
            let name = ServerName::try_from(host.clone()).map_err(|cause| failed(cause.to_string()))?;
            let stream = TlsConnector::from(config.clone()).connect(name, socket).await;
            shake(stream.map_err(|cause| failed(tls_in_words(&cause)))?).await
        } else {
            shake(socket).await
        };
        let sender = sender.map_err(|cause| failed(cause.to_string()))?;
        Ok(Self { sender, is_used: false, opened: Instant::now() })
    }

    /// Whether it can be used again, as far as we know.
    #[must_use]
    pub fn is_fit(&self, longest: Duration) -> bool {
        self.sender.is_ready() && self.opened.elapsed() < longest
    }

    /// Sends a request; returns with the head of its answer.
    async fn send(
        &mut self,
        receiver: &Receiver,
        method: Method,
        headers: HeaderMap,
        body: Bytes,
        until: Instant,
    ) -> Result<Response<Incoming>, PostError> {
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = method;
        *request.uri_mut() = receiver.url.target().parse().unwrap_or_default();
        *request.headers_mut() = headers;
        let host = receiver.url.uri.authority().map_or("", hyper::http::uri::Authority::as_str);
        request.headers_mut().insert(HOST, header(host)?);
        let response = timeout_at(until, self.sender.send_request(request)).await;
        let response = response.map_err(|_| PostError::TimedOut)?;
        response.map_err(|cause| PostError::Broken(told(&cause)))
    }

    /// Posts. The connection comes back if it can be used again.
    async fn post(
        mut self,
        receiver: &Receiver,
        headers: HeaderMap,
        body: Bytes,
        until: Instant,
    ) -> Result<(Answer, Option<Self>), PostError> {
        let response = self.send(receiver, Method::POST, headers, body, until).await?;
        let status = response.status().as_u16();
        let retry_after = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
        let retry_after = retry_after.map(str::to_owned);
        let (excerpt, whole) = timeout_at(until, read(response)).await.unwrap_or_default();
        self.is_used = true;
        Ok((Answer { status, retry_after, excerpt }, whole.then_some(self)))
    }
}

/// Why a handshake failed, for who set the webhook up.
fn tls_in_words(cause: &io::Error) -> String {
    use rustls::{AlertDescription as Alert, CertificateError as Certificate, Error};
    let words = match cause.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
        Some(Error::InvalidMessage(_)) => "it speaks no TLS on this port; is it http://?",
        Some(Error::AlertReceived(Alert::HandshakeFailure | Alert::ProtocolVersion)) => {
            "it speaks no TLS that is taken here: 1.2 or 1.3 is needed"
        }
        Some(Error::InvalidCertificate(Certificate::UnknownIssuer)) => {
            "no authority that this machine trusts signed its certificate"
        }
        // As webpki says it.
        Some(Error::InvalidCertificate(Certificate::Other(_)))
            if cause.to_string().contains("CaUsedAsEndEntity") =>
        {
            "its certificate is self-signed, and one of an authority (CA:TRUE)"
        }
        _ => return cause.to_string(),
    };
    words.to_owned()
}

/// The innermost cause says most.
fn told(cause: &hyper::Error) -> String {
    use std::error::Error as _;
    cause.source().map_or_else(|| cause.to_string(), ToString::to_string)
}

/// A header's value.
///
/// # Errors
/// [`PostError::Header`] when no header can hold it.
pub fn header(value: &str) -> Result<HeaderValue, PostError> {
    HeaderValue::from_str(value).map_err(|_| PostError::Header(value.escape_debug().to_string()))
}

/// Posts over `kept`, if that is given and still good, else over a new connection. The connection comes back if it
/// can be used again.
///
/// # Errors
/// When no answer came.
pub async fn post(
    receiver: &Receiver,
    kept: Option<Connection>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<(Answer, Option<Connection>), PostError> {
    let until = Instant::now() + WHOLE_LIMIT;
    if let Some(kept) = kept {
        let was_used = kept.is_used;
        match kept.post(receiver, headers.clone(), body.clone(), until).await {
            // Closed by the receiver since the last answer: it never saw this, or it sees it twice under one id.
            Err(PostError::Broken(_)) if was_used => {}
            other => return other,
        }
    }
    Connection::open(receiver).await?.post(receiver, headers, body, until).await
}

/// A page, or where it has gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// The status code.
    pub status: u16,
    /// The Location field.
    pub location: Option<String>,
    /// The beginning of the content.
    pub content: Vec<u8>,
}

/// Fetches a page over a connection of its own, and reads the first `most` octets of it. No cookie is kept or sent.
///
/// # Errors
/// When there was no whole answer, or none up to `most` octets, by `until`.
pub async fn fetch(
    receiver: &Receiver,
    method: Method,
    headers: HeaderMap,
    body: Bytes,
    most: usize,
    until: Instant,
) -> Result<Page, PostError> {
    let opening = timeout_at(until, Connection::open(receiver)).await;
    let mut connection = opening.map_err(|_| PostError::TimedOut)??;
    let response = connection.send(receiver, method, headers, body, until).await?;
    let status = response.status().as_u16();
    let location = response.headers().get(LOCATION).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let (mut body, mut content) = (response.into_body(), Vec::new());
    while content.len() < most {
        let frame = timeout_at(until, body.frame()).await.map_err(|_| PostError::TimedOut)?;
        let Some(frame) = frame else { break };
        let frame = frame.map_err(|cause| PostError::Broken(told(&cause)))?;
        let Some(data) = frame.data_ref() else { continue };
        let room = (most - content.len()).min(data.len());
        content.extend_from_slice(data.get(..room).unwrap_or_default());
    }
    Ok(Page { status, location, content })
}

/// The addresses that may be connected to.
async fn addresses(receiver: &Receiver) -> Result<Vec<SocketAddr>, PostError> {
    let Url { host, port, encrypted, .. } = &receiver.url;
    let failed = |cause: String| PostError::Lookup { host: host.clone(), cause };
    let found = match receiver.url.literal() {
        Some(address) => vec![address],
        None => (receiver.names.0)(host).await.map_err(|cause| failed(cause.to_string()))?,
    };
    let forbids = |address: &IpAddr| forbidden(*address, receiver.allow_private, *encrypted);
    let allowed = found.iter().filter(|address| forbids(address).is_none());
    let allowed: Vec<SocketAddr> = allowed.map(|address| SocketAddr::new(*address, *port)).collect();
    if !allowed.is_empty() {
        return Ok(resolve::interleave(allowed));
    }
    match found.first().and_then(|address| Some((*address, forbids(address)?))) {
        Some((address, why)) => Err(PostError::Forbidden { host: host.clone(), address, why }),
        None => Err(failed("no addresses".to_owned())),
    }
}

/// Why an address may not be connected to, if it may not.
#[must_use]
pub fn forbidden(address: IpAddr, allow_private: bool, encrypted: bool) -> Option<&'static str> {
    match reach(address) {
        Reach::Public if encrypted => None,
        Reach::Public => Some("a public address; plain http is for private ones, use https"),
        Reach::Private if allow_private => None,
        Reach::Private => Some(
            "a private or reserved address; if it is meant, set allow_private = true beside this webhook",
        ),
        Reach::Nobody => Some("no machine's address"),
    }
}

/// Begins HTTP on a stream.
async fn shake<S>(stream: S) -> hyper::Result<SendRequest<Full<Bytes>>>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) =
        http1::Builder::new().max_buf_size(MOST_READ).handshake(TokioIo::new(stream)).await?;
    // Ends when the sender is dropped or the receiver closes; what went wrong the sender is told, too.
    tokio::spawn(async move { drop(connection.await) });
    Ok(sender)
}

/// The beginning of an answer's content, and whether it was read to its end.
async fn read(response: Response<Incoming>) -> (String, bool) {
    let (mut body, mut octets, mut length) = (response.into_body(), BytesMut::new(), 0);
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else { return (excerpt(&octets), false) };
        let Some(data) = frame.data_ref() else { continue };
        length += data.len();
        let room = EXCERPT.saturating_sub(octets.len());
        octets.extend_from_slice(data.get(..room.min(data.len())).unwrap_or_default());
        if length > MOST_READ {
            return (excerpt(&octets), false);
        }
    }
    (excerpt(&octets), true)
}

fn excerpt(octets: &[u8]) -> String {
    String::from_utf8_lossy(octets).trim().to_owned()
}

#[cfg(test)]
mod tests;
