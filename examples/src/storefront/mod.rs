//! The storefront: a shop of four services, three replicas each, that places a day's orders over loopback
//! sockets, while replicas die, freeze, turn slow, fail, lose connections, come and go, and whose books balance in the
//! evening. The services find each other through a registry.
//!
//! `play` gives the orders to the order `services`, which call the others through `policy`; what they keep is in `books`. `faults` says what goes wrong, `trouble` does it to the `replica`s. `watch` shows its clients on a page. In the end `ledger` holds
//! the books against each other, and `report` tells.

mod args;
mod books;
mod day;
mod faults;
mod ledger;
mod play;
mod policy;
mod replica;
mod report;
mod services;
mod shop;
mod trouble;
mod watch;

use args::{Args, Faults, Policies};
use clap::Parser as _;
use day::Order;
use faults::Plan;
use indicatif::{ProgressBar, ProgressStyle};
use ledger::Fate;
use play::Played;
use report::{FaultsSeen, Latency, Orders, Reason, Report};
use shop::{Setup, Shop};
use std::{
    ffi::OsString,
    fs,
    io::{self, Write},
    sync::{Arc, atomic::Ordering::Relaxed},
};
use tokio::time::Instant;
use towpath::BoxError;
use trouble::Trouble;
use watch::Watch;

/// Runs the storefront with a command line, the program's name first. The table goes to `out`, what is wrong
/// to `err`; a progress bar goes to the process's standard error, if that is a terminal.
///
/// Returns the exit code: 0 the day is done and the books balance, 1 they do not (or the shop could not be
/// opened), 2 the command line or a file is not usable.
pub fn run<I>(arguments: I, out: &mut dyn Write, err: &mut dyn Write) -> u8
where
    I: IntoIterator<Item: Into<OsString> + Clone>,
{
    let outcome = match Args::try_parse_from(arguments) {
        Ok(args) => day_of(&args).and_then(|day| carry_out(args, day)),
        Err(error) => {
            // Help is asked for, and goes where it can be paged.
            if error.use_stderr() {
                let _ = write!(err, "{error}");
                return 2;
            }
            let _ = write!(out, "{error}");
            return 0;
        }
    };
    match outcome {
        Ok(report) => {
            let _ = write!(out, "{report}");
            if report.balances() { 0 } else { 1 }
        }
        Err(Stop { code, why }) => {
            let _ = writeln!(err, "storefront: {why}");
            code
        }
    }
}

/// Why there is no report.
struct Stop {
    code: u8,
    why: String,
}

impl Stop {
    fn unusable(why: impl ToString) -> Self {
        Stop { code: 2, why: why.to_string() }
    }

    fn broken(why: impl ToString) -> Self {
        Stop { code: 1, why: why.to_string() }
    }
}

/// What is read before anything is started.
struct Given {
    orders: Vec<Order>,
    plan: Plan,
    plan_name: String,
    report: Option<fs::File>,
}

fn day_of(args: &Args) -> Result<Given, Stop> {
    let orders = match &args.orders {
        Some(file) => day::read(file).map_err(Stop::unusable)?,
        None => day::made_up(args.seed),
    };
    let (plan, plan_name) = match &args.faults {
        Faults::None => (Plan::none(), "none".to_owned()),
        Faults::Default => (Plan::usual(), "default".to_owned()),
        Faults::File(file) => (Plan::read(file).map_err(Stop::unusable)?, file.display().to_string()),
    };
    // Opened now: an hour later is a bad time to learn that it cannot be written.
    let create = |file| fs::File::create(file).map_err(|e| Stop::unusable(cannot_write(args, e)));
    let report = args.report.as_ref().map(create).transpose()?;
    Ok(Given { orders, plan, plan_name, report })
}

fn cannot_write(args: &Args, error: io::Error) -> String {
    let file = args.report.as_deref().unwrap_or("".as_ref());
    format!("{}: cannot be written: {error}", file.display())
}

fn carry_out(args: Args, given: Given) -> Result<Report, Stop> {
    let Given { orders, plan, plan_name, report: file } = given;
    let day = Arc::new(orders);
    let play = |policies| -> Result<Report, BoxError> {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        let mut report = runtime.block_on(trade(&args, &day, plan, policies))?;
        report.faults.plan.clone_from(&plan_name);
        Ok(report)
    };
    let both = || -> Result<Report, BoxError> {
        let (before, policies) = match args.policies() {
            Policies::Both => (Some(Box::new(play(Policies::None)?)), Policies::Full),
            one => (None, one),
        };
        Ok(Report { before, ..play(policies)? })
    };
    let report = both().map_err(Stop::broken)?;
    if let Some(mut file) = file {
        let json = serde_json::to_string_pretty(&report).map_err(Stop::broken)?;
        writeln!(file, "{json}").map_err(|e| Stop::unusable(cannot_write(&args, e)))?;
    }
    Ok(report)
}

async fn trade(
    args: &Args,
    day: &Arc<Vec<Order>>,
    plan: Plan,
    policies: Policies,
) -> Result<Report, BoxError> {
    let watch = args.admin.map(|_| Watch::new());
    let setup = Setup {
        watch: watch.clone(),
        stock: args.stock,
        customers: day::customers(day),
        policies,
        plan,
        seed: args.seed,
    };
    let shop = Arc::new(Shop::open(setup).await?);
    let admin = match (&watch, args.admin) {
        (Some(watch), Some(address)) => Some(watch.serve(address).await?),
        _ => None,
    };
    if let Some(admin) = &admin {
        eprintln!("admin interface at http://{}/", admin.address());
    }
    let progress = progress(day.len() as u64 * u64::from(args.repeat));
    let trouble = Trouble::begin(shop.clone(), plan, args.seed);
    let started = Instant::now();
    let mut played = play::play(&shop, day, args.repeat, args.inflight, &progress).await?;
    let elapsed_s = started.elapsed().as_secs_f64();
    progress.finish_and_clear();
    let faults = trouble.end().await?;
    play::settle(&shop, &mut played).await;
    if let Some(admin) = admin {
        admin.end().await?;
    }
    let closing = ledger::close(&shop.stock, &shop.orders, &shop.points, day, &played.fates);
    Ok(report(policies, &shop, played, closing, faults, elapsed_s))
}

fn report(
    policies: Policies,
    shop: &Shop,
    played: Played,
    closing: ledger::Closing,
    faults: FaultsSeen,
    elapsed_s: f64,
) -> Report {
    let orders = Orders::count(&played.fates);
    let (calls, attempts) = (shop.counts.calls.load(Relaxed), shop.counts.attempts());
    let mut reasons: Vec<Reason> = played
        .reasons
        .into_iter()
        .map(|((fate, code), orders)| {
            let fate = if fate == Fate::Rejected { "rejected" } else { "failed" };
            Reason { fate, code, orders }
        })
        .collect();
    reasons.sort_by_key(|reason| std::cmp::Reverse(reason.orders));
    Report {
        orders,
        units: closing.totals.into(),
        points_granted: closing.totals.points,
        calls,
        attempts: attempts.all,
        attempts_per_call: attempts.all as f64 / calls.max(1) as f64,
        retries: attempts.retries,
        hedges: attempts.hedges,
        breakers_opened: shop.counts.opened(),
        shed: shop.shed(),
        error_rate: orders.error_rate(),
        latency_ms: Latency::of(played.latencies),
        ledger_ok: closing.violations.is_empty(),
        violations: closing.violations,
        elapsed_s,
        orders_per_s: orders.read as f64 / elapsed_s.max(f64::EPSILON),
        policies: policies.name(),
        faults,
        reasons,
        before: None,
    }
}

/// A bar on standard error; invisible where that is no terminal.
fn progress(orders: u64) -> ProgressBar {
    const BAR: &str = "{bar:40.cyan/blue} {human_pos}/{human_len} orders  {per_sec}  {elapsed} (left: {eta})";
    let bar = ProgressBar::new(orders);
    match ProgressStyle::with_template(BAR) {
        Ok(style) => bar.with_style(style),
        // The plain one will do.
        Err(_) => bar,
    }
}
