//! A stand-in for the service behind the webhook, for the demo: takes every post, checks its signature as a receiver
//! should (Standard Webhooks), answers 204, and hands it over.

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::HeaderMap;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use tokio::net::TcpListener;
use tokio::sync::mpsc;

/// Octets of a body that are taken.
const LONGEST: usize = 4 << 20;
/// Posts that wait to be looked at.
const WAITING: usize = 100;

/// An event as it arrived.
#[derive(Debug)]
pub(super) struct Post {
    pub(super) id: String,
    pub(super) is_signed: bool,
    pub(super) body: Bytes,
}

/// A receiver on a free loopback port.
pub(super) struct Receiver {
    address: SocketAddr,
    posts: mpsc::Receiver<Post>,
}

impl Receiver {
    /// Takes what is signed by `key`, the octets behind `whsec_`.
    pub(super) async fn start(key: &[u8]) -> io::Result<Self> {
        let socket = TcpListener::bind("127.0.0.1:0").await?;
        let address = socket.local_addr()?;
        let (sender, posts) = mpsc::channel(WAITING);
        let key = hmac::Key::new(hmac::HMAC_SHA256, key);
        tokio::spawn(async move {
            while let Ok((connection, _)) = socket.accept().await {
                let (sender, key) = (sender.clone(), key.clone());
                let answer = service_fn(move |request| take(request, key.clone(), sender.clone()));
                let http = hyper::server::conn::http1::Builder::new();
                let serving = http.serve_connection(TokioIo::new(connection), answer);
                // Whoever posts copes with a connection that breaks.
                tokio::spawn(async move { drop(serving.await) });
            }
        });
        Ok(Self { address, posts })
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}/hooks/mail", self.address)
    }

    /// The next event; none when the receiver has ended.
    pub(super) async fn next(&mut self) -> Option<Post> {
        self.posts.recv().await
    }
}

async fn take(
    request: Request<Incoming>,
    key: hmac::Key,
    posts: mpsc::Sender<Post>,
) -> Result<Response<Empty<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let body = Limited::new(body, LONGEST).collect().await.map(http_body_util::Collected::to_bytes);
    let mut response = Response::new(Empty::new());
    *response.status_mut() = match body {
        Ok(body) => {
            let is_signed = is_signed(&head.headers, &body, &key);
            let id = field(&head.headers, "webhook-id").to_owned();
            let _ = posts.send(Post { id, is_signed, body }).await;
            if is_signed { StatusCode::NO_CONTENT } else { StatusCode::UNAUTHORIZED }
        }
        Err(_) => StatusCode::PAYLOAD_TOO_LARGE,
    };
    Ok(response)
}

/// One of the signatures is `v1,` and the HMAC-SHA256 of `id.timestamp.body`.
fn is_signed(headers: &HeaderMap, body: &[u8], key: &hmac::Key) -> bool {
    let (id, timestamp) = (field(headers, "webhook-id"), field(headers, "webhook-timestamp"));
    let signed = [id.as_bytes(), b".", timestamp.as_bytes(), b".", body].concat();
    field(headers, "webhook-signature").split(' ').any(|signature| {
        let tag = signature.strip_prefix("v1,").and_then(|tag| BASE64_STANDARD.decode(tag).ok());
        tag.is_some_and(|tag| hmac::verify(key, &signed, &tag).is_ok())
    })
}

fn field<'h>(headers: &'h HeaderMap, name: &str) -> &'h str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}
