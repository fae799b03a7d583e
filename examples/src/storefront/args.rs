//! The command line.

use clap::{Parser, ValueEnum};
use std::{net::SocketAddr, path::PathBuf};

/// A shop of four services, three replicas each, that places a day's orders over MCP on loopback.
///
/// Exit: 0 the day is done and the books balance, 1 they do not, 2 the command line or a file is not usable.
#[derive(Parser, Debug, Clone)]
#[command(name = "storefront", version)]
pub(crate) struct Args {
    /// The orders, in the form of the UCI Online Retail data set; without it, a made-up day.
    #[arg(long, value_name = "FILE.csv")]
    pub(crate) orders: Option<PathBuf>,

    /// Units of every article at the start of the day.
    #[arg(long, value_name = "N", default_value_t = 1_000_000, value_parser = clap::value_parser!(i64).range(0..=1_000_000_000_000))]
    pub(crate) stock: i64,

    /// Plays the day so many times, with fresh order ids and the stock that is left.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) repeat: u32,

    /// Orders on their way at a time; with 1, each waits for the one before.
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) inflight: u32,

    /// Which resilience policies there are. Without it: both if anything goes wrong on purpose, else full.
    #[arg(long, value_name = "none|balance|full|both", value_enum)]
    pub(crate) policies: Option<Policies>,

    /// What goes wrong on purpose.
    #[arg(long, value_name = "none|default|FILE.toml", default_value = "none")]
    pub(crate) faults: Faults,

    /// Where to write the report as JSON.
    #[arg(long, value_name = "FILE.json")]
    pub(crate) report: Option<PathBuf>,

    /// Where to serve the admin interface while the day is played: 127.0.0.1:9900, say.
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub(crate) admin: Option<SocketAddr>,

    /// Seed of the made-up day and of the faults.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) seed: u64,
}

/// Which resilience policies there are.
#[derive(ValueEnum, Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Policies {
    /// A deadline, and one attempt at a replica that is connected, one after the other; what fails has failed.
    None,
    /// The same, at the replica that is likely to answer soonest.
    Balance,
    /// What the policies can do.
    Full,
    /// The same day twice, without and with them, and what came of it side by side.
    Both,
}

impl Policies {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Policies::None => "none",
            Policies::Balance => "balance",
            Policies::Full => "full",
            Policies::Both => "both",
        }
    }
}

impl Args {
    /// Which policies there are: those that were asked for, or what there is to see.
    pub(crate) fn policies(&self) -> Policies {
        match (self.policies, &self.faults) {
            (Some(policies), _) => policies,
            (None, Faults::None) => Policies::Full,
            (None, _) => Policies::Both,
        }
    }
}

/// What goes wrong on purpose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Faults {
    None,
    Default,
    File(PathBuf),
}

impl From<&str> for Faults {
    fn from(text: &str) -> Self {
        match text {
            "none" => Faults::None,
            "default" => Faults::Default,
            file => Faults::File(file.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_holds_together() {
        use clap::CommandFactory as _;
        Args::command().debug_assert();
    }

    #[test]
    fn defaults_are_those_of_the_manual() {
        let args = Args::parse_from(["storefront"]);
        assert_eq!((args.stock, args.repeat, args.inflight, args.seed), (1_000_000, 1, 16, 1));
        assert_eq!(args.policies(), Policies::Full);
        assert_eq!((args.faults, args.orders), (Faults::None, None));
        assert_eq!(Args::parse_from(["storefront", "--faults", "default"]).policies(), Policies::Both);
        let args = Args::parse_from(["storefront", "--faults", "bad day.toml", "--policies=none"]);
        assert_eq!(args.policies(), Policies::None);
        assert_eq!(args.faults, Faults::File("bad day.toml".into()));
    }
}
