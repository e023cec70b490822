//! `waystation status`: is it running, and how are its lanes.

use super::{Done, control, print, table};
use crate::admin::{self, LaneStatus, LimitStatus, Request, Status as Report};
use clap::Args;
use serde_json::Value;
use std::path::Path;

#[derive(Debug, Args)]
pub(super) struct Status {
    /// One array of lanes; each tells of the daemon, too
    #[arg(long)]
    json: bool,
}

impl Status {
    pub(super) fn run(&self, config: Option<&Path>) -> Done {
        let report: Report = control::client(config)?.ask(&Request::Status)?;
        if self.json {
            print(&format!("{}\n", serde_json::to_string_pretty(&array(&report)).unwrap_or_default()));
        } else {
            print(&text(&report));
        }
        Ok(())
    }
}

/// The lanes; what is the daemon's stands in each as `daemon`, since there is always a lane and the contract wants one array.
fn array(report: &Report) -> Vec<Value> {
    let mut daemon = serde_json::to_value(report).unwrap_or_default();
    let lanes = daemon.as_object_mut().and_then(|daemon| daemon.remove("lanes"));
    let Some(Value::Array(mut lanes)) = lanes else { return Vec::new() };
    for lane in lanes.iter_mut().filter_map(Value::as_object_mut) {
        lane.insert("daemon".into(), daemon.clone());
    }
    lanes
}

fn text(report: &Report) -> String {
    let Report {
        pid,
        version,
        started_at,
        configuration,
        listeners,
        unanswered,
        sessions,
        spool_bytes,
        intake_refused,
        disk_refusal,
        lanes,
        endpoints,
    } = report;
    let mut text = format!(
        "waystation {version} runs, process {pid}, since {started_at}\n\
         configuration {} generation {} ({}), loaded {}\n",
        configuration.file.display(),
        configuration.generation,
        configuration.fingerprint,
        configuration.loaded_at,
    );
    if let Some(refused) = &configuration.refused {
        text += &format!("THE LATEST RELOAD WAS REFUSED, this generation stays:\n{}\n", refused.trim_end());
    }
    text += &format!(
        "listens on {}; {sessions} sessions, {} of content queued\n",
        listeners.join(", "),
        size(*spool_bytes)
    );
    for name in unanswered {
        text += &format!(
            "NOBODY ANSWERS at the socket {name} that systemd passed: {}\n",
            admin::unanswered(name)
        );
    }
    if let Some(reason) = intake_refused {
        text += &format!("REFUSES MAIL: {reason}\n");
    }
    if let Some(cause) = disk_refusal {
        text += &format!("MAIL WAITS FOR THE DISK, which takes no record of what is sent: {cause}\n");
    }
    text.push('\n');
    let rows: Vec<Vec<String>> = lanes
        .iter()
        .map(|lane| {
            vec![
                lane.lane.clone(),
                lane.state.clone(),
                lane.queued.to_string(),
                lane.deferred.to_string(),
                lane.held.to_string(),
                lane.next_due.clone().unwrap_or_default(),
                lane.empty_by.clone().unwrap_or_default(),
                lane.quota_left.map(|left| left.to_string()).unwrap_or_default(),
                lane.connections.to_string(),
            ]
        })
        .collect();
    text.push_str(&table::aligned(
        &["LANE", "STATE", "QUEUED", "DEFERRED", "HELD", "NEXT DUE", "EMPTY BY", "QUOTA LEFT", "CONNECTIONS"],
        &rows,
    ));
    text += &by_own_limits(lanes);
    for lane in lanes {
        if let Some(most) = lane.learned_connections {
            text += &format!("{}: the smarthost refused more than {most} connections at once\n", lane.lane);
        }
        if let Some(most) = lane.learned_recipients {
            text += &format!("{}: the smarthost takes {most} recipients of a message at once\n", lane.lane);
        }
        if let Some(reason) = &lane.reason {
            let advice = lane.advice.as_ref().map(|advice| format!(" → {advice}")).unwrap_or_default();
            let probe = lane.next_probe.as_ref().map(|at| format!(" (next try {at})")).unwrap_or_default();
            text += &format!("{}: {}{advice}{probe}\n", lane.lane, table::printable(reason));
        }
    }
    text += &mailboxes(lanes);
    text += &limits(lanes);
    for lane in lanes {
        for told in lane.defaults.iter().chain(&lane.known_limits) {
            text += &format!("{}: {told}\n", lane.lane);
        }
    }
    if !endpoints.is_empty() {
        text.push('\n');
        text += &super::events::endpoint_table(endpoints);
    }
    text
}

/// What the time leaves out at which a lane is empty.
fn by_own_limits(lanes: &[LaneStatus]) -> String {
    let mut text = String::new();
    for lane in lanes.iter().filter(|lane| lane.empty_by.is_some()) {
        if !lane.fallback.is_empty() {
            let others = lane.fallback.join(", ");
            text += &format!(
                "{}: EMPTY BY is by its own limits; {others} may take some of its mail sooner\n",
                lane.lane
            );
        }
        let lends =
            |other: &&LaneStatus| other.fallback.contains(&lane.lane) && other.queued + other.deferred > 0;
        let others: Vec<&str> = lanes.iter().filter(lends).map(|other| &*other.lane).collect();
        if !others.is_empty() {
            let others = others.join(", ");
            text +=
                &format!("{}: EMPTY BY counts nothing that it may yet take over from {others}\n", lane.lane);
        }
    }
    text
}

/// Where each mailbox is to forward to, if there are any.
fn mailboxes(lanes: &[LaneStatus]) -> String {
    let all = lanes.iter().flat_map(|lane| &lane.mailboxes);
    let rows: Vec<Vec<String>> =
        all.map(|one| vec![one.mailbox.clone(), one.address.clone(), one.forward_to.clone()]).collect();
    if rows.is_empty() {
        return String::new();
    }
    format!("\n{}", table::aligned(&["MAILBOX", "ADDRESS", "FORWARDS TO"], &rows))
}

/// How the limits stand, if there are any.
fn limits(lanes: &[LaneStatus]) -> String {
    let row = |lane: &str, limit: &LimitStatus| {
        let next = limit.next.clone().unwrap_or_else(|| "now".into());
        let numbers = [limit.most, limit.used, limit.left, limit.left_for_priority].map(|n| n.to_string());
        let by_default = if limit.default_of.is_some() { " (default)" } else { "" };
        [lane.to_owned(), format!("{}{by_default}", limit.limit)]
            .into_iter()
            .chain(numbers)
            .chain([next])
            .collect()
    };
    let rows: Vec<Vec<String>> =
        lanes.iter().flat_map(|lane| lane.limits.iter().map(|limit| row(&lane.lane, limit))).collect();
    if rows.is_empty() {
        return String::new();
    }
    let titles = ["LANE", "LIMIT", "MOST", "USED", "LEFT", "LEFT FOR PRIORITY", "NEXT"];
    format!("\n{}", table::aligned(&titles, &rows))
}

/// Octets for people.
pub(super) fn size(octets: u64) -> String {
    const UNITS: [(u64, &str); 3] = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    match UNITS.iter().find(|(unit, _)| octets >= *unit) {
        Some((unit, name)) => format!("{}.{} {name}", octets / unit, octets % unit * 10 / unit),
        None => format!("{octets} B"),
    }
}

#[cfg(test)]
mod tests {
    use super::{LaneStatus, by_own_limits, size};

    #[test]
    fn what_fallbacks_may_take_over_is_said_not_to_count() {
        let lane = |name: &str, fallback: &[&str], empty_by: Option<&str>, queued| LaneStatus {
            fallback: fallback.iter().map(ToString::to_string).collect(),
            empty_by: empty_by.map(str::to_owned),
            queued,
            ..LaneStatus::inbox(name.into(), None)
        };
        let at = Some("2026-11-23T23:00:00Z");
        let lanes = [
            lane("shop", &["sol", "luna"], at, 3),
            lane("sol", &[], at, 1),
            lane("luna", &["sol"], None, 0),
            lane("desk", &[], at, 1),
        ];
        assert_eq!(
            by_own_limits(&lanes),
            "shop: EMPTY BY is by its own limits; sol, luna may take some of its mail sooner\n\
             sol: EMPTY BY counts nothing that it may yet take over from shop\n"
        );
    }

    #[test]
    fn sizes_are_short() {
        assert_eq!([size(0), size(1023), size(1536), size(5 << 30)], ["0 B", "1023 B", "1.5 KiB", "5.0 GiB"]);
    }
}
