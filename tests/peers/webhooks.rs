//! What a receiver in another language makes of our events.

use crate::support::client::{letter, submit};
use crate::support::foreign::{python_with, run, script};
use crate::support::receiver::{OTHER_SECRET, Receiver, SECRET};
use crate::support::relay::Relay;
use crate::support::smarthost::Smarthost;
use crate::support::{folder, write_secret};

#[test]
fn pythons_library_verifies_each_event_under_either_secret() {
    let Some(python) = python_with("standardwebhooks") else { return };
    let (smarthost, receiver, folder) = (Smarthost::plain(), Receiver::taking(), folder());
    write_secret(&folder.path().join("events.secret"), &format!("{SECRET}\n{OTHER_SECRET}\n"));
    let config = format!(
        "hostname = \"relay.test\"\n[[listener]]\naddress = \"127.0.0.1:0\"\n\
         [smarthost.out]\nhost = \"127.0.0.1\"\nport = {}\ntls = \"none\"\n\
         [events]\nwebhook = \"{}\"\nsecret_file = \"events.secret\"\nallow_private = true\n",
        smarthost.address.port(),
        receiver.url()
    );
    let relay = Relay::start(folder.path(), &config);
    submit(relay.plain(), "shop@shop.test", &["ana@guest.test"], &letter("Zażółć"));
    submit(relay.plain(), "shop@shop.test", &["bob@guest.test"], &letter("Hello"));
    for request in receiver.requests(2) {
        let body = String::from_utf8(request.body.clone()).unwrap();
        let input = serde_json::json!({"headers": request.headers, "body": body}).to_string();
        for secret in [SECRET, OTHER_SECRET] {
            let told = run(script(&python, "verify_webhook.py").arg(secret), input.as_bytes());
            told.expect_success();
            assert_eq!(told.text().trim(), format!("message.delivered {}", request.seq()));
        }
        let forged = input.replace("message.delivered", "message.bounced");
        assert!(!run(script(&python, "verify_webhook.py").arg(SECRET), forged.as_bytes()).status.success());
    }
}
