//! The connector against names that change and receivers that misbehave.

use super::*;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

fn receiver(url: &str, allow_private: bool, names: Names) -> Receiver {
    let tls = Err(Arc::new(TlsError::Name("not asked for".into())));
    Receiver { url: Url::parse(url).unwrap(), allow_private, tls, names }
}

/// Answers each look-up with the next of these lists; the last one repeats.
fn names(answers: &'static [&'static [&'static str]]) -> (Names, Arc<AtomicUsize>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    let names = Names::from_fn(move |_| {
        let at = count.fetch_add(1, Ordering::SeqCst).min(answers.len() - 1);
        let found = answers[at].iter().map(|address| address.parse().unwrap()).collect();
        Box::pin(async move { Ok(found) })
    });
    (names, asked)
}

async fn addresses_of(url: &str, allow_private: bool, found: &'static [&'static [&'static str]]) -> String {
    match addresses(&receiver(url, allow_private, names(found).0)).await {
        Ok(addresses) => addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "),
        Err(cause) => cause.to_string(),
    }
}

#[tokio::test]
async fn only_addresses_that_may_be_are_tried() {
    let mixed: &[&[&str]] = &[&["127.0.0.1", "8.8.8.8", "::1", "2606:4700::1"]];
    assert_eq!(addresses_of("https://h.test/x", false, mixed).await, "8.8.8.8:443 [2606:4700::1]:443");
    let local: &[&[&str]] = &[&["::ffff:127.0.0.1"]];
    let told = addresses_of("https://h.test/x", false, local).await;
    assert!(told.starts_with("h.test is at ::ffff:127.0.0.1, a private"), "{told}");
    assert_eq!(addresses_of("https://h.test/x", true, local).await, "[::ffff:127.0.0.1]:443");
    for literal in
        ["127.0.0.1", "[::1]", "[::ffff:10.0.0.1]", "[64:ff9b::7f00:1]", "169.254.169.254", "0.0.0.0"]
    {
        let told = addresses_of(&format!("https://{literal}:8443/x"), false, &[&["8.8.8.8"]]).await;
        assert!(told.contains("address"), "{literal}: {told}");
    }
    let told = addresses_of("http://h.test/x", true, &[&["8.8.8.8"]]).await;
    assert!(told.contains("plain http is for private ones"), "{told}");
    let told = addresses_of("https://h.test/x", true, &[&["0.0.0.0"]]).await;
    assert!(told.contains("no machine's address"), "{told}");
    assert!(addresses_of("https://h.test/x", true, &[&[]]).await.contains("no addresses"));
}

/// A receiver that answers each connection with these octets; how many it saw.
async fn answering(octets: &'static [u8]) -> (u16, Arc<AtomicUsize>) {
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = socket.local_addr().unwrap().port();
    let seen = Arc::new(AtomicUsize::new(0));
    let count = seen.clone();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = socket.accept().await {
            count.fetch_add(1, Ordering::SeqCst);
            tokio::spawn(async move {
                let mut request = [0; 4096];
                let _ = stream.read(&mut request).await;
                let _ = stream.write_all(octets).await;
            });
        }
    });
    (port, seen)
}

#[tokio::test]
async fn a_name_that_changes_after_the_look_at_it_changes_nothing() {
    let (port, seen) = answering(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
    let url = format!("https://rebind.test:{port}/x");
    // Public at first, loopback from then on: what was looked at is what is connected to, and nobody asks again.
    let (names, asked) = names(&[&["192.0.2.1"], &["127.0.0.1"]]);
    let told = addresses(&receiver(&url, false, names.clone())).await.unwrap_err();
    assert!(matches!(told, PostError::Forbidden { .. }), "documentation addresses aren't public: {told}");
    assert_eq!(asked.load(Ordering::SeqCst), 1);
    let told = Connection::open(&receiver(&url, false, names)).await.unwrap_err();
    assert!(matches!(told, PostError::Forbidden { address, .. } if address.is_loopback()), "{told}");
    assert_eq!(seen.load(Ordering::SeqCst), 0, "the receiver on loopback was never connected to");
}

#[tokio::test]
async fn the_address_that_was_looked_at_is_the_one_connected_to() {
    let (port, seen) = answering(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
    // The second answer would lead nowhere: asking twice would fail.
    let (names, asked) = names(&[&["127.0.0.1"], &["0.0.0.0"]]);
    let receiver = receiver(&format!("http://rebind.test:{port}/x"), true, names);
    let (answer, _) = post(&receiver, None, HeaderMap::new(), Bytes::from_static(b"{}")).await.unwrap();
    assert_eq!((answer.status, answer.excerpt.as_str()), (200, "ok"));
    assert_eq!((asked.load(Ordering::SeqCst), seen.load(Ordering::SeqCst)), (1, 1));
}

async fn posted(octets: &'static [u8]) -> Result<(Answer, Option<Connection>), PostError> {
    let (port, seen) = answering(octets).await;
    let receiver = receiver(&format!("http://127.0.0.1:{port}"), true, Names::system());
    let outcome = post(&receiver, None, HeaderMap::new(), Bytes::from_static(b"{}")).await;
    assert_eq!(seen.load(Ordering::SeqCst), 1, "one connection, whatever the answer");
    outcome
}

#[tokio::test]
async fn a_redirect_is_an_answer_and_not_followed() {
    let (answer, _) =
        posted(b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n")
            .await
            .unwrap();
    assert_eq!(answer.status, 302);
}

#[tokio::test]
async fn what_comes_behind_the_cap_is_not_read() {
    let mut flood = b"HTTP/1.1 200 OK\r\n\r\n".to_vec();
    flood.resize(1 << 20, b'x');
    let (answer, kept) = posted(Vec::leak(flood)).await.unwrap();
    assert_eq!((answer.status, answer.excerpt.len()), (200, EXCERPT));
    assert!(kept.is_none(), "the rest of the flood mustn't be taken for the next answer");
}

#[tokio::test]
async fn compressed_content_stays_compressed() {
    let answer = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\n\x1f\x8b\x08\x00";
    assert_eq!(posted(answer).await.unwrap().0.excerpt, "\u{1f}\u{fffd}\u{8}\0");
}

#[tokio::test]
async fn a_header_without_end_and_a_silent_close_are_no_answers() {
    let mut endless = b"HTTP/1.1 200 OK\r\nX: ".to_vec();
    endless.resize(1 << 20, b'y');
    assert!(matches!(posted(Vec::leak(endless)).await, Err(PostError::Broken(_))));
    assert!(matches!(posted(b"").await, Err(PostError::Broken(_))));
    assert!(matches!(posted(b"SSH-2.0-x\r\n").await, Err(PostError::Broken(_))));
    let (answer, kept) = posted(b"HTTP/1.1 204 No Content\r\nRetry-After: 7\r\n\r\n").await.unwrap();
    assert_eq!((answer.status, answer.retry_after.as_deref()), (204, Some("7")));
    drop(kept);
}

#[tokio::test(start_paused = true)]
async fn a_receiver_that_hangs_is_given_up_in_time() {
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = socket.local_addr().unwrap().port();
    let receiver = receiver(&format!("http://127.0.0.1:{port}/x"), true, Names::system());
    let begun = Instant::now();
    // Connected by the system, but nobody reads: only the paused clock moves on.
    let outcome = post(&receiver, None, HeaderMap::new(), Bytes::from_static(b"{}")).await;
    assert!(begun.elapsed() <= WHOLE_LIMIT + Duration::from_secs(1));
    assert!(outcome.is_err());
    drop(socket);
}

#[tokio::test]
async fn an_unreachable_receiver_is_told_from_one_that_fails() {
    // Taken, so that no other test's server gets the port, and nobody listens.
    let taken = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    taken.bind(&std::net::SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    let dead = taken.local_addr().unwrap().as_socket().unwrap().port();
    let receiver = receiver(&format!("http://127.0.0.1:{dead}/x"), true, Names::system());
    let cause = post(&receiver, None, HeaderMap::new(), Bytes::new()).await.unwrap_err();
    assert!(cause.is_unreachable(), "{cause}");
    assert!(!PostError::TimedOut.is_unreachable());
}

#[test]
fn urls_are_read_or_refused() {
    let url = Url::parse("https://[::1]:8443/a?b=c").unwrap();
    assert_eq!((url.host.as_str(), url.port, url.target().as_str()), ("::1", 8443, "/a?b=c"));
    assert_eq!(Url::parse("http://h.test").unwrap().target(), "/");
    assert_eq!(Url::parse("http://h.test?x=1").unwrap().target(), "/?x=1");
    for bad in [
        "ftp://h.test/",
        "https://",
        "https://u:p@h.test/",
        "/x",
        "https://h.test:/x",
        "https://h.test:0/x",
        "https://h te/",
    ] {
        assert!(Url::parse(bad).is_err(), "{bad}");
    }
}

#[test]
fn why_tls_failed_is_told_in_words() {
    use rustls::{AlertDescription, CertificateError, Error, InvalidMessage};
    for (error, words) in [
        (Error::InvalidMessage(InvalidMessage::InvalidContentType), "no TLS on this port"),
        (Error::AlertReceived(AlertDescription::ProtocolVersion), "1.2 or 1.3 is needed"),
        (Error::InvalidCertificate(CertificateError::UnknownIssuer), "no authority"),
        (Error::InvalidCertificate(CertificateError::Expired), "Expired"),
    ] {
        let told = tls_in_words(&io::Error::new(io::ErrorKind::InvalidData, error));
        assert!(told.contains(words), "{told}");
    }
}
