//! One attempt: a signed letter to where the configuration says, over a connection that is kept for the next.

use crate::config::schema::Endpoint as Settings;
use crate::net::http::{self, Answer, Connection, Names, PostError, Receiver};
use crate::net::signature::Secrets;
use crate::net::tls::TlsError;
use bytes::Bytes;
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, USER_AGENT};
use jiff::Timestamp;
use parking_lot::Mutex;
use rustls::ClientConfig;
use std::sync::Arc;
use std::time::Duration;

/// A connection that is older isn't used again, so that the name is looked up now and then.
const OLDEST: Duration = Duration::from_secs(30);
/// Connections kept for the next post.
const KEPT: usize = super::gate::AT_ONCE;

const WEBHOOK_ID: HeaderName = HeaderName::from_static("webhook-id");
const WEBHOOK_TIMESTAMP: HeaderName = HeaderName::from_static("webhook-timestamp");
const WEBHOOK_SIGNATURE: HeaderName = HeaderName::from_static("webhook-signature");
/// Which attempt it is, from 1; a Standard Webhooks receiver doesn't look at it.
const WEBHOOK_ATTEMPT: HeaderName = HeaderName::from_static("webhook-attempt");
const AGENT: HeaderValue = HeaderValue::from_static(concat!("waystation/", env!("CARGO_PKG_VERSION")));

/// A receiver by one generation of the configuration.
#[derive(Debug)]
pub struct Target {
    /// As configured.
    pub settings: Settings,
    receiver: Receiver,
    /// None: letters aren't signed. An error stops the endpoint and is shown.
    secrets: Result<Option<Secrets>, String>,
    kept: Mutex<Vec<Connection>>,
}

/// What is posted.
#[derive(Debug, Clone)]
pub struct Letter {
    /// `webhook-id`.
    pub id: String,
    /// Content-Type.
    pub content_type: String,
    /// From 1.
    pub attempt: u32,
    /// The body.
    pub body: Bytes,
}

impl Target {
    /// Reads the secrets; `tls` is [`tls::web_client`](crate::net::tls::web_client)'s.
    #[must_use]
    pub fn new(settings: Settings, tls: Result<Arc<ClientConfig>, Arc<TlsError>>) -> Self {
        let secrets = settings
            .secret_file
            .as_deref()
            .map(|path| Secrets::read(path).map_err(|why| format!("secret_file {why}")));
        let receiver = Receiver {
            url: settings.url.clone(),
            allow_private: settings.allow_private,
            tls,
            names: Names::system(),
        };
        Self { settings, receiver, secrets: secrets.transpose(), kept: Mutex::default() }
    }

    /// Why nothing can be posted, if so.
    #[must_use]
    pub fn trouble(&self) -> Option<&str> {
        self.secrets.as_ref().err().map(String::as_str)
    }

    /// Posts a letter, signed as of `now`.
    ///
    /// # Errors
    /// When no answer came.
    pub async fn post(&self, letter: &Letter, now: Timestamp) -> Result<Answer, PostError> {
        let headers = self.headers(letter, now)?;
        let (answer, connection) =
            http::post(&self.receiver, self.kept_connection(), headers, letter.body.clone()).await?;
        if let Some(connection) = connection {
            let mut kept = self.kept.lock();
            if kept.len() < KEPT {
                kept.push(connection);
            }
        }
        Ok(answer)
    }

    fn kept_connection(&self) -> Option<Connection> {
        let mut kept = self.kept.lock();
        kept.retain(|connection| connection.is_fit(OLDEST));
        kept.pop()
    }

    fn headers(&self, letter: &Letter, now: Timestamp) -> Result<HeaderMap, PostError> {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, http::header(&letter.content_type)?);
        headers.insert(USER_AGENT, AGENT);
        headers.insert(WEBHOOK_ID, http::header(&letter.id)?);
        headers.insert(WEBHOOK_TIMESTAMP, now.as_second().into());
        headers.insert(WEBHOOK_ATTEMPT, letter.attempt.into());
        if let Ok(Some(secrets)) = &self.secrets {
            let signature = secrets.sign(&letter.id, now, &letter.body);
            headers.insert(WEBHOOK_SIGNATURE, http::header(&signature)?);
        }
        Ok(headers)
    }
}
