//! One seed, from the first call to the last table that is empty.

use super::{
    host::Host,
    ledger::{Ending, Ledger},
    monitor::Monitor,
    plan::{Call, Fault, Plan, TROUBLE, Work},
    service,
};
use bytes::Bytes;
use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};
use tokio::{
    runtime::Handle,
    sync::Mutex as AsyncMutex,
    task::JoinSet,
    time::{Instant, sleep, sleep_until, timeout, timeout_at},
};
use towpath::{Client, Connection, Error, ErrorKind, Mode, Processed, ServerConfig};
use towpath_testing::net::{Conditions, Network};

/// As long as it takes at most until a side knows that nobody is there, and a client has tried again: the
/// longest keep-alive, its time-out, a retransmission, the longest backoff.
const FINDS_OUT: Duration = Duration::from_secs(12);

/// What came of a seed.
#[derive(Debug, Default)]
pub struct Outcome {
    pub violations: Vec<String>,
    pub counts: BTreeMap<String, u64>,
    pub requests: u64,
    pub trace: Vec<String>,
}

struct World {
    plan: Plan,
    ledger: Ledger,
    network: Network,
    hosts: Vec<AsyncMutex<Host>>,
    clients: Mutex<Vec<Vec<Client>>>,
    /// Drivers of clients that have not ended.
    drivers: Arc<AtomicUsize>,
}

/// Runs a seed on a runtime of its own, whose clock is paused.
pub fn run(seed: u64, trace: bool) -> Outcome {
    // What the library draws, it draws from here.
    fastrand::seed(seed);
    towpath_testing::time::paused(live(Plan::new(seed), trace))
}

async fn live(plan: Plan, trace: bool) -> Outcome {
    let ledger = Ledger::new(Instant::now(), plan.calm, trace);
    ledger.note(|| format!("{plan:#?}"));
    let network = Network::new(plan.seed, plan.conditions);
    let monitor = Arc::new(Mutex::new(Monitor::new(ledger.clone())));
    let ear = monitor.clone();
    network.tap(move |event| ear.lock().unwrap().hear(event));
    let hosts = plan.servers.iter().enumerate().map(|(n, config)| {
        let router = service::router(&ledger);
        let mut host = Host::new(format!("s{n}"), network.clone(), config.clone(), router, ledger.clone());
        host.start();
        AsyncMutex::new(host)
    });
    let hosts = hosts.collect();
    let drivers = Arc::new(AtomicUsize::new(0));
    let world = World {
        ledger: ledger.clone(),
        network: network.clone(),
        hosts,
        clients: Mutex::default(),
        drivers,
        plan,
    };
    let clients = (0..world.plan.clients.len())
        .map(|client| (0..world.plan.servers.len()).map(|server| world.client(client, server)).collect());
    *world.clients.lock().unwrap() = clients.collect();
    let world = Arc::new(world);
    world.trouble().await;
    world.afterwards().await;
    let mut outcome = Outcome::default();
    monitor.lock().unwrap().audit();
    outcome.requests = monitor.lock().unwrap().requests;
    let mut book = ledger.lock();
    book.audit(&world.plan, &mut outcome.counts);
    outcome.violations = std::mem::take(&mut book.violations);
    outcome.trace = book.trace.take().unwrap_or_default();
    outcome
}

impl World {
    fn client(&self, client: usize, server: usize) -> Client {
        let (config, backoff) = self.plan.clients[client].clone();
        let (network, drivers) = (self.network.clone(), self.drivers.clone());
        Client::builder()
            .without_defaults()
            .config(config)
            .reconnect(backoff)
            .connector(move |address, config| {
                let (network, drivers) = (network.clone(), drivers.clone());
                async move {
                    let from = format!("c{client}");
                    let io = network.connect(&from, address.host().unwrap()).await;
                    let io = io.map_err(|error| Error::new(ErrorKind::ConnectFailed).with_source(error))?;
                    let (connection, driver) = Connection::new(io, address.to_string(), &config).unwrap();
                    drivers.fetch_add(1, Relaxed);
                    tokio::spawn(async move {
                        let _ = driver.await;
                        drivers.fetch_sub(1, Relaxed);
                    });
                    Ok(connection)
                }
            })
            .connect_lazy(format!("mcp://s{server}:1"))
            .unwrap()
    }

    /// Calls and faults, until every call has ended.
    async fn trouble(self: &Arc<Self>) {
        let start = Instant::now();
        let mut callers = JoinSet::new();
        for calls in self.plan.callers.clone() {
            let world = self.clone();
            callers.spawn(async move {
                for call in calls {
                    sleep(call.pause).await;
                    world.call(call).await;
                }
            });
        }
        let mut faults = JoinSet::new();
        for (at, fault) in self.plan.faults.clone() {
            let world = self.clone();
            faults.spawn(async move {
                sleep(at).await;
                world.ledger.note(|| format!("FAULT {fault:?}"));
                world.strike(fault, start + TROUBLE).await;
            });
        }
        while let Some(done) = faults.join_next().await {
            done.unwrap();
        }
        sleep_until(start + TROUBLE).await;
        self.network.heal_all();
        self.network.set_conditions(Conditions { loss: 0.0, bandwidth: None, ..self.plan.conditions });
        for host in &self.hosts {
            let mut host = host.lock().await;
            self.network.power_on(host.name());
            if !host.is_running() {
                host.start();
            }
        }
        self.ledger.note(|| "the trouble is over".to_owned());
        // The longest deadline is 15 s. Calls without one end when they are answered, or when a keep-alive
        // of 5 s finds out that nobody is there.
        let all = async { while callers.join_next().await.is_some_and(|done| done.is_ok()) {} };
        if timeout(Duration::from_secs(600), all).await.is_err() {
            self.ledger.violation("some callers hang");
        }
    }

    async fn strike(&self, fault: Fault, end: Instant) {
        let until = |lasts: Duration| sleep_until((Instant::now() + lasts).min(end));
        let wire = |pick: usize| {
            let wires = self.network.wires();
            (!wires.is_empty()).then(|| wires[pick % wires.len()])
        };
        match fault {
            Fault::Cut { client, server, there, back, lasts } => {
                let (client, server) = (format!("c{client}"), format!("s{server}"));
                if there {
                    self.network.cut(&client, &server);
                }
                if back {
                    self.network.cut(&server, &client);
                }
                until(lasts).await;
                self.network.heal(&client, &server);
                self.network.heal(&server, &client);
            }
            Fault::Reset { pick } => wire(pick).into_iter().for_each(|wire| self.network.reset(wire)),
            Fault::End { pick } => wire(pick).into_iter().for_each(|wire| self.network.end(wire)),
            Fault::Lose { pick } => wire(pick).into_iter().for_each(|wire| self.network.lose(wire)),
            Fault::Kill { server, back_after } => {
                let mut host = self.hosts[server].lock().await;
                host.kill().await;
                until(back_after).await;
                if !host.is_running() {
                    host.start();
                }
            }
            Fault::PowerOff { server, back_after } => {
                let mut host = self.hosts[server].lock().await;
                self.network.power_off(host.name());
                host.kill().await;
                until(back_after).await;
                self.network.power_on(host.name());
                host.start();
            }
            Fault::Drain { server, back_after } => {
                let mut host = self.hosts[server].lock().await;
                host.drain().await;
                until(back_after).await;
                host.start();
            }
            Fault::Storm { loss, bandwidth, lasts } => {
                let bandwidth = Some(bandwidth);
                self.network.set_conditions(Conditions { loss, bandwidth, ..self.plan.conditions });
                until(lasts).await;
                self.network.set_conditions(self.plan.conditions);
            }
            Fault::Replace { client, server, close } => {
                let fresh = self.client(client, server);
                let old = std::mem::replace(&mut self.clients.lock().unwrap()[client][server], fresh);
                if close {
                    old.close();
                }
            }
        }
    }

    /// One call as its caller sees it.
    async fn call(&self, call: Call) -> usize {
        let client = self.clients.lock().unwrap()[call.client][call.server].clone();
        let id = self.ledger.issue(call.clone());
        let question = service::question(id, &call);
        let method = if call.spawned { "Sim.Spawned" } else { "Sim.Work" };
        let mut request = client.request(method).raw(question.clone());
        drop(client);
        if let Some(timeout) = call.timeout {
            request = request.timeout(timeout);
        }
        let made = async {
            match call.mode {
                Mode::Async => {
                    let accepted = request.send_async::<Bytes>().await?;
                    self.ledger.accepted(id);
                    accepted.await.map(|answer| service::judge(&question, &answer))
                }
                Mode::OneWay => request.send_one_way().await.map(|()| Ending::Answer),
                _ => request.send::<Bytes>().await.map(|answer| service::judge(&question, &answer)),
            }
        };
        let ending = match call.cancel {
            Some(after) => timeout(after, made).await.unwrap_or(Ok(Ending::Cancelled)),
            None => made.await,
        };
        self.ledger.end(id, ending.unwrap_or_else(|error| Ending::of(&error)));
        id
    }

    /// Nothing goes wrong any more: everything works again, and nothing is left of what was.
    async fn afterwards(self: &Arc<Self>) {
        sleep(FINDS_OUT).await;
        for client in 0..self.plan.clients.len() {
            for server in 0..self.hosts.len() {
                self.works_again(client, server).await;
            }
        }
        // Who was called by somebody that is gone learns it by its keep-alive.
        sleep(FINDS_OUT).await;
        let working = self.ledger.at_work();
        if !working.is_empty() {
            self.ledger.violation(format!("handlers are still at work: {working:?}"));
        }
        // Every connection has both of its ends, unless servers close some all the time.
        let close =
            |config: &ServerConfig| config.idle_timeout.is_some() || config.max_connection_age.is_some();
        let (wires, drivers) = (self.network.wires(), self.drivers.load(Relaxed));
        if wires.len() != drivers && !self.plan.servers.iter().any(close) {
            self.ledger.violation(format!("{drivers} clients' ends, and connections {wires:?}"));
        }
        // Half of the seeds end here, half there: either side takes its leave at once, since its tables are
        // empty, and the other one follows.
        let start = Instant::now();
        let clients_first = self.plan.seed.is_multiple_of(2);
        if clients_first {
            self.clients.lock().unwrap().clear();
            self.settled(start, "the clients were dropped").await;
        }
        let mut drains = JoinSet::new();
        for server in 0..self.hosts.len() {
            let world = self.clone();
            drains.spawn(async move { world.hosts[server].lock().await.drain().await });
        }
        let limit = Instant::now() + Duration::from_secs(3);
        let all = async { while drains.join_next().await.is_some_and(|done| done.is_ok()) {} };
        if timeout_at(limit, all).await.is_err() {
            self.ledger.violation("servers without calls take their time to drain");
        }
        if !clients_first {
            self.settled(start, "the servers were drained").await;
            self.clients.lock().unwrap().clear();
        }
        sleep(Duration::from_secs(10)).await;
        let (tasks, wires) = (Handle::current().metrics().num_alive_tasks(), self.network.wires());
        if tasks > 0 || !wires.is_empty() {
            self.ledger.violation(format!("left behind: {tasks} tasks, connections {wires:?}"));
        }
    }

    /// Service has resumed by itself: a call with time gets through.
    async fn works_again(&self, client: usize, server: usize) {
        let call = Call {
            pause: Duration::ZERO,
            client,
            server,
            mode: Mode::Unary,
            timeout: Some(Duration::from_secs(15)),
            cancel: None,
            work: Work::Answer,
            spawned: false,
            ask_bytes: 100,
            answer_bytes: 100,
        };
        let start = Instant::now();
        // A server that sends idle or old connections away may do so just now; then it says so.
        let config = &self.plan.servers[server];
        let sends_away = config.idle_timeout.is_some() || config.max_connection_age.is_some();
        let tries = if sends_away { 5 } else { 1 };
        let mut ended = None;
        for _ in 0..tries {
            let id = self.call(call.clone()).await;
            ended = self.ledger.lock().records[id].ended.clone();
            if !matches!(ended, Some((_, Ending::Failed(ErrorKind::Draining, Processed::No, _)))) {
                break;
            }
        }
        if !matches!(ended, Some((_, Ending::Answer))) {
            let took = start.elapsed();
            let what = format!("c{client} cannot call s{server} any more, after {took:?}: {ended:?}");
            self.ledger.violation(what);
        }
    }

    /// The clients' drivers end soon.
    async fn settled(&self, since: Instant, after: &str) {
        for _ in 0..300 {
            if self.drivers.load(Relaxed) == 0 {
                return;
            }
            sleep(Duration::from_millis(10)).await;
        }
        let (left, waited) = (self.drivers.load(Relaxed), since.elapsed());
        self.ledger.violation(format!("{left} client drivers are still there {waited:?} after {after}"));
    }
}
