//! How long a tool waits for a target.

use std::time::Duration;

use iscsi_client::{logical_unit::LogicalUnitOptions, session::SessionOptions};
use mpio::core::{Config, MarginalConfig, NoPathRetry};

use crate::{args, failure::Failure};

/// How long to wait.
#[derive(Clone, Copy, Debug, Default, clap::Args)]
pub struct DeadlineArgs {
    /// Seconds for a connection, for a login, for an answer, and without any path, each [default: 5, 15, 30, 60]
    #[arg(long, value_name = "SECONDS", value_parser = some_seconds)]
    pub timeout: Option<Duration>,
}

fn some_seconds(text: &str) -> Result<Duration, String> {
    // Less is no time in which a round trip could be made, and the clock of a session.
    let least = Duration::from_millis(100);
    args::seconds(text).and_then(|time| match time < least {
        true => Err("must be at least 0.1".into()),
        false => Ok(time),
    })
}

impl DeadlineArgs {
    /// Sets what bounds a session.
    pub fn bound(&self, options: &mut SessionOptions) {
        let Some(time) = self.timeout else {
            return;
        };
        options.connect_timeout = time;
        options.login.timeout = time;
        options.command_timeout = Some(time);
        options.core.text_timeout = time;
        // What comes after a deadline, or asks whether somebody is there, takes no longer than that.
        for limit in [
            &mut options.close_timeout,
            &mut options.core.pdu_timeout,
            &mut options.core.nop_timeout,
            &mut options.core.task_management_timeout,
            &mut options.core.logout_timeout,
        ] {
            *limit = time.min(*limit);
        }
        let ladder = &mut options.core.ladder;
        ladder.abort_task = ladder.abort_task.map(|limit| time.min(limit));
    }

    /// Bounds what a logical unit does.
    #[must_use]
    pub fn unit_options(&self) -> LogicalUnitOptions {
        let mut options = LogicalUnitOptions::default();
        if let Some(time) = self.timeout {
            options.timeout = time;
            options.open_timeout = time;
        }
        options
    }

    /// Bounds how long a device waits for a path.
    ///
    /// # Errors
    ///
    /// If the time is none that a device takes.
    pub fn device_config(&self) -> Result<Config, Failure> {
        self.config_with(Some(MarginalConfig::DEFAULT))
    }

    /// The same, and for a device whose paths are lost on purpose, time and again: that makes none of them marginal.
    ///
    /// # Errors
    ///
    /// If the time is none that a device takes.
    pub fn forgiving_config(&self) -> Result<Config, Failure> {
        self.config_with(None)
    }

    fn config_with(&self, marginal: Option<MarginalConfig>) -> Result<Config, Failure> {
        let mut config = Config::builder().marginal(marginal);
        if let Some(time) = self.timeout {
            config = config.no_path_retry(NoPathRetry::QueueFor(time));
        }
        let refused = |error| Failure::usage(format_args!("--timeout: {error}"));
        config.build().map_err(refused)
    }
}
