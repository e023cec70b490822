//! UP16: a smarthost's certificate, as wrong as can be. Whatever is wrong with it, no login and no mail is said to it.

use crate::support::smarthost::{Settings, Smarthost, Tls};
use crate::support::{folder, write_secret};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, GeneralSubtree, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, NameConstraints, date_time_ymd,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::{RootCertStore, ServerConfig};
use std::process::Command;
use std::sync::Arc;

type Ca = Issuer<'static, KeyPair>;

fn ca(change: impl FnOnce(&mut CertificateParams)) -> CertificateParams {
    let mut ca = CertificateParams::new(Vec::<String>::new()).unwrap();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    ca.distinguished_name.push(DnType::CommonName, "test authority");
    change(&mut ca);
    ca
}

/// A root: its PEM and what signs with it.
fn root(change: impl FnOnce(&mut CertificateParams)) -> (String, Ca) {
    let (params, key) = (ca(change), KeyPair::generate().unwrap());
    let pem = params.self_signed(&key).unwrap().pem();
    (pem, Issuer::new(params, key))
}

/// A certificate below `issuer`, with the server that shows it and these behind it.
fn server(
    issuer: &Ca,
    names: &[&str],
    chain: &[CertificateDer<'static>],
    change: impl FnOnce(&mut CertificateParams),
) -> Arc<ServerConfig> {
    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
    let mut params = CertificateParams::new(names).unwrap();
    change(&mut params);
    let key = KeyPair::generate().unwrap();
    let leaf = params.signed_by(&key, issuer).unwrap();
    let whole = [leaf.der().clone()].into_iter().chain(chain.iter().cloned()).collect();
    serving(whole, &key)
}

fn serving(chain: Vec<CertificateDer<'static>>, key: &KeyPair) -> Arc<ServerConfig> {
    serving_to(WebPkiClientVerifier::no_client_auth(), chain, key)
}

fn serving_to(
    clients: Arc<dyn ClientCertVerifier>,
    chain: Vec<CertificateDer<'static>>,
    key: &KeyPair,
) -> Arc<ServerConfig> {
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(clients)
        .with_single_cert(chain, key)
        .unwrap();
    Arc::new(config)
}

/// An authority below `issuer`.
fn intermediate(issuer: &Ca, change: impl FnOnce(&mut CertificateParams)) -> (CertificateDer<'static>, Ca) {
    let mut params = ca(change);
    params.distinguished_name.push(DnType::CommonName, "test intermediate");
    let key = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, issuer).unwrap();
    (certificate.der().clone(), Issuer::new(params, key))
}

/// Names, in the order of the servers; good ones begin with `good`.
fn cases(root: &Ca) -> Vec<(&'static str, Arc<ServerConfig>)> {
    let plain = |names: &[&str]| server(root, names, &[], |_| {});
    let (between, below) = intermediate(root, |_| {});
    let (no_ca, below_no_ca) = intermediate(root, |params| params.is_ca = IsCa::ExplicitNoCa);
    // rustls-webpki looks at what makes an authority (basic constraints), and not at keyUsage beside it.
    let (no_sign, below_no_sign) =
        intermediate(root, |params| params.key_usages = vec![KeyUsagePurpose::DigitalSignature]);
    let (narrow, below_narrow) = intermediate(root, |params| {
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    });
    let (deeper, below_deeper) = intermediate(&below_narrow, |_| {});
    let (fenced, below_fenced) = intermediate(root, |params| {
        params.name_constraints = Some(NameConstraints {
            permitted_subtrees: vec![GeneralSubtree::DnsName("elsewhere.test".into())],
            excluded_subtrees: vec![],
        });
    });
    let (barred, below_barred) = intermediate(root, |params| {
        params.name_constraints = Some(NameConstraints {
            permitted_subtrees: vec![],
            excluded_subtrees: vec![GeneralSubtree::DnsName("localhost".into())],
        });
    });
    let (old, below_old) = intermediate(root, |params| params.not_after = date_time_ymd(2020, 1, 1));
    let (_, stranger) = self::root(|params| params.distinguished_name.push(DnType::CommonName, "stranger"));
    // The same name as the root's, another key.
    let (_, twin) = self::root(|_| {});
    let purposes = |purpose: ExtendedKeyUsagePurpose| {
        server(root, &["localhost"], &[], |params| params.extended_key_usages = vec![purpose])
    };
    let named = |name: &str| {
        server(root, &[], &[], |params| params.distinguished_name.push(DnType::CommonName, name))
    };
    let wants_ours = {
        let mut anchors = RootCertStore::empty();
        anchors.add(between.clone()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let asks = WebPkiClientVerifier::builder_with_provider(Arc::new(anchors), provider).build().unwrap();
        let key = KeyPair::generate().unwrap();
        let leaf =
            CertificateParams::new(vec!["localhost".to_owned()]).unwrap().signed_by(&key, root).unwrap();
        serving_to(asks, vec![leaf.der().clone()], &key)
    };
    let alone = {
        let key = KeyPair::generate().unwrap();
        let leaf = CertificateParams::new(vec!["localhost".to_owned()]).unwrap().self_signed(&key).unwrap();
        serving(vec![leaf.der().clone()], &key)
    };
    let swapped = {
        let key = KeyPair::generate().unwrap();
        let leaf =
            CertificateParams::new(vec!["localhost".to_owned()]).unwrap().signed_by(&key, &below).unwrap();
        serving(vec![leaf.der().clone(), no_ca.clone(), between.clone()], &key)
    };
    vec![
        ("good-plain", plain(&["localhost"])),
        ("good-case", plain(&["LocalHost"])),
        ("good-among-others", plain(&["a.test", "localhost", "b.test"])),
        ("good-intermediate", server(&below, &["localhost"], std::slice::from_ref(&between), |_| {})),
        ("good-order", swapped),
        ("good-purpose", purposes(ExtendedKeyUsagePurpose::ServerAuth)),
        ("name-other", plain(&["other.test"])),
        ("name-longer", plain(&["localhost.evil.test"])),
        ("name-below", plain(&["smtp.localhost"])),
        ("name-wildcard-alone", plain(&["*"])),
        ("name-wildcard-below", plain(&["*.localhost"])),
        ("name-prefix", plain(&["localhost.test"])),
        ("name-address", plain(&["127.0.0.1"])),
        ("name-common-only", named("localhost")),
        ("name-none", server(root, &[], &[], |_| {})),
        (
            "time-over",
            server(root, &["localhost"], &[], |params| params.not_after = date_time_ymd(2020, 1, 1)),
        ),
        (
            "time-not-yet",
            server(root, &["localhost"], &[], |params| params.not_before = date_time_ymd(2090, 1, 1)),
        ),
        ("time-intermediate-over", server(&below_old, &["localhost"], &[old], |_| {})),
        ("self-signed", alone),
        ("authority-unknown", server(&stranger, &["localhost"], &[], |_| {})),
        ("authority-same-name", server(&twin, &["localhost"], &[], |_| {})),
        ("chain-without-intermediate", server(&below, &["localhost"], &[], |_| {})),
        ("chain-wrong-intermediate", server(&below, &["localhost"], std::slice::from_ref(&no_ca), |_| {})),
        ("chain-issuer-no-authority", server(&below_no_ca, &["localhost"], &[no_ca], |_| {})),
        ("good-issuer-without-key-usage", server(&below_no_sign, &["localhost"], &[no_sign], |_| {})),
        ("chain-too-deep", server(&below_deeper, &["localhost"], &[deeper, narrow], |_| {})),
        ("constraint-permitted-elsewhere", server(&below_fenced, &["localhost"], &[fenced], |_| {})),
        ("constraint-excluded", server(&below_barred, &["localhost"], &[barred], |_| {})),
        ("purpose-client", purposes(ExtendedKeyUsagePurpose::ClientAuth)),
        ("purpose-mail", purposes(ExtendedKeyUsagePurpose::EmailProtection)),
        ("purpose-code", purposes(ExtendedKeyUsagePurpose::CodeSigning)),
        ("client-certificate", wants_ours),
        (
            "leaf-is-an-authority",
            server(root, &["localhost"], &[], |params| {
                params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            }),
        ),
    ]
}

#[test]
fn only_a_right_certificate_hears_a_login() {
    let folder = folder();
    let (pem, root) = root(|_| {});
    std::fs::write(folder.path().join("ca.pem"), pem).unwrap();
    let mut config = "hostname = \"relay.test\"\nstate_dir = \"state\"\n".to_owned();
    let mut servers = Vec::new();
    for (name, tls) in cases(&root) {
        for implicit in [true, false] {
            let (mode, tls) = if implicit {
                ("implicit", Tls::Implicit(tls.clone()))
            } else {
                ("starttls", Tls::ByCommand(tls.clone()))
            };
            let login = Some(("shop".to_owned(), "secret".to_owned()));
            let server = Smarthost::start(Settings { tls, login, ..Settings::default() });
            let default = if servers.is_empty() { "default = true\n" } else { "" };
            config += &format!(
                "[smarthost.{name}-{mode}]\n{default}host = \"localhost\"\nport = {}\ntls = \"{mode}\"\n\
                 ca_file = \"ca.pem\"\nusername = \"shop\"\npassword = \"secret\"\n",
                server.address.port()
            );
            servers.push((format!("{name}-{mode}"), server));
        }
    }
    let file = folder.path().join("waystation.toml");
    write_secret(&file, &config);
    let mut command = Command::new(env!("CARGO_BIN_EXE_waystation"));
    let output = command.arg("--config").arg(file).args(["check", "--live"]).output().unwrap();
    let told = String::from_utf8(output.stdout).unwrap();
    let mut wrong = String::new();
    for (name, server) in &servers {
        let line = told.lines().find(|line| line.starts_with(&format!("smarthost.{name} "))).unwrap_or("");
        let confided =
            server.transcript().iter().any(|line| line.starts_with("AUTH") || line.starts_with("MAIL"));
        let good = name.starts_with("good");
        if confided != good || line.contains("login good") != good {
            wrong += &format!("confided {confided}: {line}\n");
        } else if !(good || line.contains("certificate") || line.contains("TLS"))
            || name.starts_with("client-certificate") && !line.contains("wants a client certificate")
        {
            wrong += &format!("unclear: {line}\n");
        }
    }
    assert!(wrong.is_empty(), "{wrong}\n{told}\n{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(78));
}
