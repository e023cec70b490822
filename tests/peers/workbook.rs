//! `journal --format xlsx`, opened by programs that know workbooks: `LibreOffice` and openpyxl.

use crate::support::client::Client;
use crate::support::folder;
use crate::support::foreign::{peer, python_with, run, script};
use crate::support::relay::Relay;
use crate::support::smarthost::{Settings, Smarthost};
use std::path::Path;
use std::process::Command;
use tempfile::TempDir;

/// A journal of one delivered and one waiting recipient, in a workbook.
fn workbook() -> (Relay, Smarthost, TempDir) {
    let folder = folder();
    let smarthost = Smarthost::start(Settings::default());
    let config = format!(
        "hostname = \"relay.test\"\n[[listener]]\naddress = \"127.0.0.1:0\"\n\
         [smarthost.out]\nhost = \"127.0.0.1\"\nport = {}\ntls = \"none\"\n",
        smarthost.address.port()
    );
    let relay = Relay::start(folder.path(), &config);
    let head = "X-Waystation-Tag: =1+1\r\nX-Waystation-Meta-Order: 4711\r\n";
    let tail =
        "Subject: =?utf-8?q?=3DHYPERLINK(=22http://x.test=22)_za=C5=BC=C3=B3=C5=82=C4=87?=\r\n\r\nHello\r\n";
    let mut client = Client::connect(relay.plain());
    client.begin("shop@shop.test", "", &["ana@guest.test"]);
    assert!(client.data(format!("{head}{tail}").as_bytes()).starts_with("250"));
    client.begin("", "HOLDFOR=86400", &["bob@guest.test"]);
    assert!(client.data(tail.as_bytes()).starts_with("250"));
    relay.logged(&["message delivered"]);
    // The outcome is written behind its line in the log; a question waits for nothing, so that it is asked again.
    while relay.json(&["queue", "list", "--json"]).as_array().unwrap().len() > 1 {}
    let file = folder.path().join("journal.xlsx");
    relay.command(&["journal", "--format", "xlsx", "--output", file.to_str().unwrap()]).expect_success();
    (relay, smarthost, folder)
}

/// A file made of the workbook by `LibreOffice`, in this format.
fn converted(soffice: &Path, folder: &Path, format: &str) -> String {
    let profile = format!("-env:UserInstallation=file://{}/profile", folder.display());
    let mut command = Command::new(soffice);
    command.args([&profile, "--headless", "--convert-to", format, "--outdir"]).arg(folder);
    let finished = run(command.arg(folder.join("journal.xlsx")), b"");
    finished.expect_success();
    let extension = format.split(':').next().unwrap();
    std::fs::read_to_string(folder.join(format!("journal.{extension}")))
        .unwrap_or_else(|cause| panic!("{cause}: {}", finished.text()))
}

#[test]
fn a_workbook_opens_in_libreoffice_with_typed_cells() {
    let Some(soffice) = peer("soffice") else { return };
    let (relay, _smarthost, folder) = workbook();
    let journal = relay.json(&["journal", "--json"]);
    let received = journal[0]["received_at"].as_str().unwrap();
    let seconds = received.get(..19).unwrap();

    // The flat form tells each cell's type.
    let flat = converted(&soffice, folder.path(), "fods");
    let cells: Vec<&str> = flat.split("<table:table-cell ").skip(1).collect();
    let typed = |kind: &str, value: &str| {
        let wanted = format!("office:value-type=\"{kind}\"");
        assert!(
            cells.iter().any(|cell| cell.contains(&wanted) && cell.contains(value)),
            "no {kind} cell with {value}"
        );
    };
    typed("date", &format!("office:date-value=\"{seconds}"));
    typed("float", &format!("office:value=\"{}\"", journal[0]["size_bytes"]));
    typed("float", "office:value=\"1\"");
    typed("string", "ana@guest.test");
    typed("string", "=HYPERLINK(&quot;http://x.test&quot;) zażółć");
    assert!(!flat.contains("table:formula="), "nothing is a formula");
    assert!(flat.contains("table:database-range") && flat.contains("table:display-filter-buttons=\"true\""));

    // What a person sees is what the CSV says.
    let seen = converted(&soffice, folder.path(), "csv:Text - txt - csv (StarCalc):44,34,76");
    let lines: Vec<&str> = seen.lines().collect();
    assert_eq!(lines.len(), 3, "{seen}");
    assert!(
        lines[0].starts_with("id,received_at (UTC),lane,class,sender,recipient,state,attempts,"),
        "{seen}"
    );
    let shown = seconds.replace('T', " ");
    let id = journal[0]["id"].as_str().unwrap();
    let row = format!("{id},{shown},out,normal,shop@shop.test,ana@guest.test,delivered,1,,250 ");
    assert!(lines[1].starts_with(&row), "{row}\n{seen}");
    assert!(lines[1].contains(",=1+1,\"{\"\"Order\"\":\"\"4711\"\"}\""), "{seen}");
    assert!(lines[2].contains(",<>,bob@guest.test,queued,0,20"), "{seen}");
}

#[test]
fn a_workbook_has_a_frozen_header_a_filter_row_and_no_formulas() {
    let Some(python) = python_with("openpyxl") else { return };
    let (relay, _smarthost, folder) = workbook();
    let finished = run(script(&python, "read_workbook.py").arg(folder.path().join("journal.xlsx")), b"");
    finished.expect_success();
    let book: serde_json::Value = serde_json::from_slice(&finished.stdout).unwrap();
    assert_eq!(book["sheets"], serde_json::json!(["Journal", "Summary"]));
    assert_eq!((&book["frozen"], &book["filter"]), (&"A2".into(), &"A1:N3".into()));
    assert!(book["width"].as_f64().unwrap() > 14.0, "{book}");
    let types = |row: usize| -> String {
        book["rows"][row].as_array().unwrap().iter().map(|cell| cell["type"].as_str().unwrap()).collect()
    };
    // s: text, d: date, n: number (or nothing).
    assert_eq!(types(0), "ssssssssssssss");
    assert_eq!(types(1), "sdsssssnnsnsss");
    assert_eq!(types(2), "sdsssssndnnsnn");
    let journal = relay.json(&["journal", "--json"]);
    let received = journal[0]["received_at"].as_str().unwrap().get(..19).unwrap().replace('T', " ");
    let told = book["rows"][1][1]["text"].as_str().unwrap();
    assert!(told.starts_with(&received), "{told} is not {received}");
    assert_eq!(book["rows"][1][10]["text"].as_str().unwrap(), journal[0]["size_bytes"].to_string());
}
