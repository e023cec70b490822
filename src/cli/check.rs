//! `waystation check`: is the configuration right? With `--live`: does every smarthost take our login?

use super::{CONFIGURATION, Done, Failure, OUR_BUG, load, print};
use crate::config::schema::Config;
use crate::deliver::providers;
use crate::deliver::route::Router;
use crate::deliver::target::Target;
use crate::deliver::trial;
use crate::net::tls;
use clap::Args;
use std::path::Path;
use std::sync::Arc;

#[derive(Debug, Args)]
pub(super) struct Check {
    /// Also log in to every smarthost; nothing is sent
    #[arg(long)]
    live: bool,
}

impl Check {
    pub(super) fn run(&self, config: Option<&Path>) -> Done {
        let loaded = load(config, true)?;
        let config = &loaded.config;
        for (name, smarthost) in &config.smarthosts {
            for doubt in providers::doubts(smarthost) {
                eprintln!("{}: warning: smarthost.{name}: {doubt}", config.path.display());
            }
            if let Some(defaults) = providers::defaults_in_words(smarthost) {
                eprintln!("{}: note: smarthost.{name}: {defaults}", config.path.display());
            }
        }
        tls::check_connectors(config.smarthosts.values())
            .map_err(|cause| Failure::new(CONFIGURATION, format!("{}: {cause}", config.path.display())))?;
        print(&format!("{}: correct\n", config.path.display()));
        if self.live { live(config) } else { Ok(()) }
    }
}

/// One line for each smarthost; all are tried, whatever becomes of the others.
fn live(config: &Config) -> Done {
    let bug = |cause: std::io::Error| Failure::new(OUR_BUG, format!("waystation: {cause}"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(bug)?;
    let router = Arc::new(Router::new(
        config.routes.clone(),
        config.applications.clone(),
        config.default_smarthost.clone(),
    ));
    let mut failed = 0;
    for (name, smarthost) in &config.smarthosts {
        let target = Target::new(smarthost.clone(), &config.hostname, config.retry.clone(), router.clone());
        let place = format!("smarthost.{name} ({}:{})", smarthost.host, smarthost.port);
        match runtime.block_on(trial::try_login(&target)) {
            Ok(report) => print(&format!("{place}: {report}\n")),
            Err(trouble) => {
                failed += 1;
                print(&format!("{place}: {trouble}\n"));
            }
        }
    }
    match failed {
        0 => Ok(()),
        1 => Err(Failure::new(CONFIGURATION, "waystation: 1 smarthost doesn't work")),
        count => Err(Failure::new(CONFIGURATION, format!("waystation: {count} smarthosts don't work"))),
    }
}
