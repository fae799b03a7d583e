//! DNS against a real server: knot, started by the test. Where it is missing, one line says so.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::{Events, Follower, ms};
use std::{
    fmt::Write as _,
    fs,
    net::{TcpListener, UdpSocket},
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};
use tempfile::TempDir;
use tokio::time::{Instant, sleep, timeout};
use towpath_discover::{Directory, DiscoverConfig};

/// A name server of its own, killed with the test that needs it.
struct Knot {
    folder: TempDir,
    port: u16,
    serial: u32,
    child: Option<Child>,
}

/// A port that nobody has, for either protocol.
fn free_port() -> u16 {
    loop {
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = tcp.local_addr().unwrap().port();
        if UdpSocket::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// Where Debian has it, if that is not in the path of who tests.
fn program() -> &'static str {
    if Path::new("/usr/sbin/knotd").exists() { "/usr/sbin/knotd" } else { "knotd" }
}

fn there() -> bool {
    Command::new(program()).arg("--version").stdout(Stdio::null()).status().is_ok()
}

impl Knot {
    /// `None`, with a line that says so: there is no knot.
    async fn start(zone: &str) -> Option<Self> {
        if !there() {
            eprintln!("skipped: no knotd here (apt-get install knot)");
            return None;
        }
        let mut knot =
            Knot { folder: tempfile::tempdir().unwrap(), port: free_port(), serial: 0, child: None };
        knot.write(zone);
        knot.run().await;
        Some(knot)
    }

    fn write(&mut self, zone: &str) {
        self.serial += 1;
        let (folder, port, serial) = (self.folder.path().display(), self.port, self.serial);
        let config = format!(
            "server:\n    rundir: \"{folder}\"\n    listen: 127.0.0.1@{port}\n\
             log:\n  - target: stderr\n    any: error\n\
             database:\n    storage: \"{folder}\"\n\
             zone:\n  - domain: svc.test\n    file: \"{folder}/zone\"\n    journal-content: none\n"
        );
        fs::write(self.folder.path().join("knot.conf"), config).unwrap();
        let head = format!(
            "$ORIGIN svc.test.\n@ 1 SOA ns.svc.test. hostmaster.svc.test. {serial} 60 60 3600 1\n@ 60 NS ns\nns 60 A 127.0.0.1\n"
        );
        fs::write(self.folder.path().join("zone.new"), head + zone).unwrap();
        fs::rename(self.folder.path().join("zone.new"), self.folder.path().join("zone")).unwrap();
    }

    async fn run(&mut self) {
        let config = self.folder.path().join("knot.conf");
        self.child = Some(Command::new(program()).arg("-c").arg(config).spawn().unwrap());
        // Up when it answers.
        let probe = async {
            while self.soa().await.is_none() {
                sleep(ms(10)).await;
            }
        };
        timeout(Duration::from_secs(60), probe).await.expect("knot does not start");
    }

    /// Another zone, from now on.
    async fn set(&mut self, zone: &str) {
        self.write(zone);
        let pid = self.child.as_ref().unwrap().id();
        Command::new("sh").arg("-c").arg(format!("kill -HUP {pid}")).status().unwrap();
        let probe = async {
            while self.soa().await != Some(self.serial) {
                sleep(ms(2)).await;
            }
        };
        timeout(Duration::from_secs(60), probe).await.expect("knot does not reload");
    }

    fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// The serial of the zone that is served, by a question of our own making.
    async fn soa(&self) -> Option<u32> {
        let socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await.ok()?;
        let question = b"\x01\x02\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x03svc\x04test\x00\x00\x06\x00\x01";
        socket.send_to(question, ("127.0.0.1", self.port)).await.ok()?;
        let mut answer = [0; 512];
        let length = timeout(ms(500), socket.recv(&mut answer)).await.ok()?.ok()?;
        // The last 20 bytes of the record are five numbers; the record is followed by nothing.
        let tail = answer[..length].get(length.checked_sub(20)?..)?;
        Some(u32::from_be_bytes(tail[..4].try_into().ok()?))
    }

    fn watch(&self, directory: &Directory, url: &str) -> Follower {
        let mark = if url.contains('?') { '&' } else { '?' };
        Follower::new(directory.watch(format!("{url}{mark}server=127.0.0.1:{}", self.port)).unwrap())
    }
}

impl Drop for Knot {
    fn drop(&mut self) {
        self.kill();
    }
}

fn hosts(ttl: u32, addresses: std::ops::Range<u32>) -> String {
    addresses.fold(String::new(), |mut zone, n| {
        writeln!(zone, "orders {ttl} A 127.0.{}.{}", n / 250, n % 250 + 1).unwrap();
        zone
    })
}

async fn count(follower: &mut Follower, wanted: usize) {
    let wait = async {
        while follower.set.len() != wanted {
            assert!(follower.batch().await);
        }
    };
    timeout(Duration::from_secs(60), wait).await.unwrap_or_else(|_| panic!("{:?}", follower.addresses()));
}

/// Pitfall 16: from 2 to 4 within TTL + 1 s, with no failure that would have somebody ask.
#[tokio::test]
async fn a_service_that_grows_is_seen_within_its_ttl_and_a_second() {
    let Some(mut knot) = Knot::start(&hosts(1, 0..2)).await else { return };
    let events = Events::default();
    let directory = Directory::builder().observe(events.observe()).build();
    let mut follower = knot.watch(&directory, "dns://orders.svc.test:8080");
    count(&mut follower, 2).await;
    // A machine that is busy may be late; who does not ask is always late.
    for round in 0.. {
        knot.set(&hosts(1, 0..4)).await;
        let begin = Instant::now();
        count(&mut follower, 4).await;
        let took = begin.elapsed();
        if took <= Duration::from_secs(2) {
            break;
        }
        assert!(round < 3, "{took:?}");
        knot.set(&hosts(1, 0..2)).await;
        count(&mut follower, 2).await;
    }
    assert!(!events.take().iter().any(|event| event.contains("failed")));
}

#[tokio::test]
async fn a_name_that_is_gone_for_a_moment_and_a_server_that_dies_take_nobody_away() {
    let Some(mut knot) = Knot::start(&hosts(1, 0..2)).await else { return };
    let events = Events::default();
    let directory = Directory::builder().observe(events.observe()).build();
    let mut follower = knot.watch(&directory, "dns://orders.svc.test:8080");
    count(&mut follower, 2).await;
    // NXDOMAIN, and NODATA.
    for zone in ["other 1 A 127.0.0.9\n", "orders 1 TXT \"nothing\"\n"] {
        events.take();
        knot.set(zone).await;
        let doubted = async {
            while !events.take().contains(&"doubted".to_owned()) {
                sleep(ms(5)).await;
            }
        };
        timeout(Duration::from_secs(60), doubted).await.unwrap();
        assert!(follower.now() && follower.set.len() == 2);
        knot.set(&hosts(1, 0..3)).await;
        count(&mut follower, 3).await;
        knot.set(&hosts(1, 0..2)).await;
        count(&mut follower, 2).await;
    }
    knot.kill();
    let handle = follower.watch.handle();
    let failed = async {
        while handle.status().error.is_none() {
            sleep(ms(5)).await;
        }
    };
    timeout(Duration::from_secs(60), failed).await.unwrap();
    let error = handle.status().error.unwrap().to_string();
    assert!(error.contains("A of orders.svc.test was not answered by 127.0.0.1:"), "{error}");
    assert!(follower.now() && follower.set.len() == 2);
    knot.write(&hosts(1, 0..3));
    knot.run().await;
    count(&mut follower, 3).await;
    assert!(handle.status().error.is_none());
}

#[tokio::test]
async fn many_addresses_come_over_tcp() {
    let Some(knot) = Knot::start(&hosts(60, 0..300)).await else { return };
    let mut follower = knot.watch(&Directory::new(), "dns://orders.svc.test:8080");
    count(&mut follower, 300).await;
}

#[tokio::test]
async fn services_are_found_with_port_weight_and_priority() {
    let zone = |weight: u32| {
        format!(
            "_mcp._tcp 1 SRV 10 {weight} 7001 a\n_mcp._tcp 1 SRV 10 40 7002 b\n_mcp._tcp 1 SRV 20 0 7003 c.else.test.\n\
             a 1 A 127.0.0.1\nb 1 AAAA ::1\n_none._tcp 1 SRV 0 0 0 .\n"
        )
    };
    let Some(mut knot) = Knot::start(&zone(60)).await else { return };
    let config = DiscoverConfig::default().with_quiet(ms(0), ms(0)).unwrap();
    let directory = Directory::builder().config(config).build();
    let mut follower = knot.watch(&directory, "dns+srv://_mcp._tcp.svc.test?scheme=mcps");
    count(&mut follower, 2).await;
    assert_eq!(follower.addresses(), ["mcps://127.0.0.1:7001", "mcps://[::1]:7002"]);
    let a = follower.at("mcps://127.0.0.1:7001").clone();
    assert_eq!((a.weight(), a.priority()), (6_000, 10));
    knot.set(&zone(5)).await;
    let changed = async {
        while follower.at("mcps://127.0.0.1:7001").weight() != 500 {
            follower.batch().await;
        }
    };
    timeout(Duration::from_secs(60), changed).await.unwrap();
    assert_eq!(follower.at("mcps://127.0.0.1:7001").id(), a.id());

    // "." says that there is none.
    let none = knot.watch(&directory, "dns+srv://_none._tcp.svc.test");
    assert_eq!(none.watch.settled().await.unwrap().endpoints().len(), 0);
}
