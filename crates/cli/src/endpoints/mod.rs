//! `towpath endpoints`

mod json;
mod look;
mod screen;
mod table;
mod view;

use crate::{args::EndpointsArgs, exit::Failure, stop::Signals, tls, token};
use look::{Look, Seen};
use screen::Screen;
use std::{
    io::{IsTerminal, Write, stdout},
    sync::Arc,
    time::Duration,
};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout_at};
use towpath::{
    Client, ClientTls,
    discover::{Directory, DiscoverEvent, NameHandle, Sources},
    health::{HealthChecker, HealthConfig, HealthOptions, Initial},
    pool::{PoolConfig, PoolOptions},
    registry::registry_source,
};
use view::View;

/// A terminal is drawn this often at least: it shows for how long something has been as it is.
const DRAW: Duration = Duration::from_millis(500);

/// What is looked at, and who looks.
struct Watched {
    url: String,
    name: NameHandle,
    checker: HealthChecker,
    seen: Arc<Seen>,
}

impl Watched {
    fn view(&self) -> View {
        View::of(&self.url, &self.name.status(), self.name.about(), &self.checker, &self.seen)
    }
}

pub(crate) async fn run(args: EndpointsArgs) -> Result<(), Failure> {
    let token = token::read(&args.token, &[])?;
    if token.is_some() && !args.load {
        return Err(Failure::Usage("a PING has no credential: a token is for --load".to_owned()));
    }
    let tls = tls::of_many(&args.url, &args.tls)?;
    let seen = Arc::new(Seen::default());
    let heard = seen.clone();
    let directory = Directory::builder()
        .sources(sources(tls.clone(), args.timeout)?)
        .observe(move |_: &DiscoverEvent| heard.news.notify_one())
        .build();
    let watch = directory.watch(&args.url).map_err(|error| Failure::Usage(error.to_string()))?;
    let name = watch.handle();

    // What is shown is the last look, and not a verdict over several.
    let between = if args.once { args.timeout } else { args.interval };
    let config = HealthConfig::try_new(HealthOptions {
        interval: between,
        timeout: args.timeout.min(between),
        failures: 1,
        successes: 1,
        initial: Initial::Unhealthy,
        ..HealthOptions::default()
    });
    let config = config.map_err(|error| Failure::Usage(error.to_string()))?;
    let look = Look::new(tls, args.load.then_some(token), args.timeout, seen.clone());
    let heard = seen.clone();
    let checker =
        HealthChecker::builder(look).config(config).observe(move |event: &_| heard.hear(event)).build();
    tokio::spawn(checker.through(watch).run());

    let watched = Watched { url: args.url, name, checker, seen };
    match args.once {
        true => once(&watched, args.timeout, args.json).await,
        false => live(&watched, args.interval, args.json).await,
    }
}

/// Those of the facade; a registry is asked over TLS as well if that is configured, and in half the time that there is, so
/// that it can be said why it does not answer.
fn sources(tls: Option<ClientTls>, patience: Duration) -> Result<Sources, Failure> {
    let pool = PoolOptions { acquire_timeout: patience / 2, ..PoolOptions::default() };
    let pool = PoolConfig::try_new(pool).map_err(|error| Failure::Usage(error.to_string()))?;
    let mut builder = Client::builder().pool(pool);
    if let Some(tls) = tls {
        builder = builder.tls(tls);
    }
    let connect = move |address: &str| builder.clone().connect_lazy(address);
    Ok(towpath::sources().with("registry", registry_source(connect)))
}

/// Looks at each of them once.
async fn once(watched: &Watched, patience: Duration, json: bool) -> Result<(), Failure> {
    let until = Instant::now() + patience;
    let view = loop {
        let news = watched.seen.news.notified();
        let view = watched.view();
        if view.is_complete() {
            break view;
        }
        if !view.settled {
            if let Some(error) = view.error {
                return Err(Failure::NotReached(error));
            }
            if timeout_at(until, news).await.is_err() {
                let (url, about) = (&watched.url, watched.name.about());
                let why =
                    format!("{url}: nobody has said within {patience:?} which endpoints there are ({about})");
                return Err(Failure::NotReached(why));
            }
        } else {
            news.await;
        }
    };
    print(&show(&view, json)?)?;
    match view.ready() {
        0 => Err(Failure::NotReached(format!("none takes calls of {}", view.summary()))),
        _ => Ok(()),
    }
}

/// Looks until a signal comes.
async fn live(watched: &Watched, every: Duration, json: bool) -> Result<(), Failure> {
    let deaf = |error| Failure::Other(format!("no signal can be received: {error}"));
    let mut signals = Signals::listen().map_err(deaf)?;
    let mut screen = (stdout().is_terminal() && !json).then(Screen::new);
    let mut ticks = interval(if screen.is_some() { every.min(DRAW) } else { every });
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    if screen.is_none() {
        // The first table is not one of which nothing is known yet.
        ticks.reset();
    }
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = signals.next() => break,
        }
        let view = watched.view();
        match &mut screen {
            Some(screen) => screen.draw(&table::text(&view)).map_err(unwritten)?,
            None => print(&(show(&view, json)? + if json { "" } else { "\n" }))?,
        }
    }
    match screen.take() {
        // The last look stays in sight.
        Some(screen) => {
            drop(screen);
            print(&table::text(&watched.view()))
        }
        None => Ok(()),
    }
}

fn show(view: &View, json: bool) -> Result<String, Failure> {
    if json {
        json::text(view).map_err(|error| Failure::Other(error.to_string()))
    } else {
        Ok(table::text(view))
    }
}

fn print(text: &str) -> Result<(), Failure> {
    let mut out = stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(unwritten)
}

fn unwritten(error: std::io::Error) -> Failure {
    Failure::Other(format!("stdout cannot be written: {error}"))
}
