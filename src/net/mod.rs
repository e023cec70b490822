//! Bounded streams, TLS and names: what both sides of the relay stand on.

pub mod stream;
pub mod pem;
pub mod tls;
pub mod certificate;
pub mod tls_trouble;
pub mod observe;
pub mod resolve;
pub mod reach;
pub mod signature;
pub mod http;
