//! Names beside a resolver that says what it is told to say, in virtual time.

use super::{
    ask::{Answer, Ask, Kind, Srv},
    source::Names,
    url::Query,
};
use crate::{BoxSource, Directory, Source, Target, Update};
use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::time::{Instant, sleep};
use towpath_core::BoxError;

type Script = Result<(&'static [&'static str], u64), &'static str>;

/// What is answered to which question, and what was asked when.
#[derive(Clone, Default)]
struct Fake(Arc<Mutex<Told>>);

#[derive(Default)]
struct Told {
    addresses: HashMap<(String, Kind), Script>,
    services: Option<Result<Answer<Srv>, &'static str>>,
    asked: Vec<(String, Instant)>,
}

impl Fake {
    fn a(&self, name: &str, script: Script) {
        self.0.lock().unwrap().addresses.insert((name.into(), Kind::V4), script);
    }

    fn aaaa(&self, name: &str, script: Script) {
        self.0.lock().unwrap().addresses.insert((name.into(), Kind::V6), script);
    }

    fn srv(&self, ttl: u64, records: &[(&str, u16, u16, u16, &[&str])]) {
        let record = |(target, port, priority, weight, known): &(&str, u16, u16, u16, &[&str])| Srv {
            target: (*target).into(),
            port: *port,
            priority: *priority,
            weight: *weight,
            known: known.iter().map(|ip| ip.parse().unwrap()).collect(),
        };
        let records = records.iter().map(record).collect();
        self.0.lock().unwrap().services = Some(Ok(Answer { records, ttl: Duration::from_secs(ttl) }));
    }

    /// When it was asked since this was asked last.
    fn asked(&self) -> Vec<(String, Instant)> {
        std::mem::take(&mut self.0.lock().unwrap().asked)
    }
}

impl Ask for Fake {
    fn addresses(
        &self,
        name: &str,
        kind: Kind,
    ) -> impl Future<Output = Result<Answer<IpAddr>, BoxError>> + Send + 'static {
        let mut told = self.0.lock().unwrap();
        told.asked.push((format!("{kind:?} {name}"), Instant::now()));
        let script = told.addresses.get(&(name.to_owned(), kind)).copied().unwrap_or(Ok((&[], 3)));
        async move {
            sleep(Duration::from_millis(10)).await;
            let (records, ttl) = script?;
            let records = records.iter().map(|ip| ip.parse().unwrap()).collect();
            Ok(Answer { records, ttl: Duration::from_secs(ttl) })
        }
    }

    fn services(&self, name: &str) -> impl Future<Output = Result<Answer<Srv>, BoxError>> + Send + 'static {
        let mut told = self.0.lock().unwrap();
        told.asked.push((format!("SRV {name}"), Instant::now()));
        let answer = told.services.clone().unwrap_or(Err("no service"));
        async move { Ok(answer?) }
    }
}

fn names(url: &str, fake: &Fake) -> Names<Fake> {
    Names::new(Query::read(&Target::parse(url).unwrap()).unwrap(), fake.clone())
}

/// `address weight priority` of each.
fn list(update: Update) -> Vec<String> {
    let Update::Full(instances) = update else { panic!("{update:?}") };
    let mut list: Vec<_> = instances
        .iter()
        .map(|one| format!("{} {} {}", one.address(), one.weight(), one.priority()))
        .collect();
    list.sort();
    list
}

/// The fake as a source.
struct Faked(Names<Fake>);

impl Source for Faked {
    fn about(&self) -> String {
        "a fake".into()
    }

    async fn next(&mut self) -> Result<Option<Update>, BoxError> {
        self.0.next().await.map(Some)
    }
}

fn gaps(asked: &[(String, Instant)]) -> Vec<f64> {
    asked.windows(2).map(|two| (two[1].1 - two[0].1).as_secs_f64()).collect()
}

/// Pitfall 16: asked again by the TTL, though nothing has failed.
#[tokio::test(start_paused = true)]
async fn a_name_is_asked_for_again_when_its_ttl_is_over() {
    let fake = Fake::default();
    fake.a("orders", Ok((&["10.0.0.1", "10.0.0.2"], 30)));
    let source = BoxSource::new(Faked(names("dns://orders:80", &fake)));
    let watch = Directory::new().watch_source("orders", source);
    assert_eq!(watch.settled().await.unwrap().endpoints().len(), 2);
    sleep(Duration::from_secs(10)).await;
    fake.a("orders", Ok((&["10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4"], 30)));
    assert_eq!(watch.snapshot().endpoints().len(), 2);
    // TTL + 1 s, the quiet time included.
    sleep(Duration::from_secs(21)).await;
    assert_eq!(watch.snapshot().endpoints().len(), 4);
    sleep(Duration::from_secs(300)).await;
    let asked = fake.asked();
    assert!(gaps(&asked).iter().all(|gap| (30.0..30.6).contains(gap)), "{:?}", gaps(&asked));
    assert!(asked.iter().all(|(question, _)| question == "V4 orders"), "IPv6 where there is no IPv4");
}

#[tokio::test(start_paused = true)]
async fn a_ttl_of_zero_is_a_second() {
    let fake = Fake::default();
    fake.a("orders", Ok((&["10.0.0.1"], 0)));
    let mut names = names("dns://orders:80", &fake);
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_secs(60) {
        names.next().await.unwrap();
    }
    let gaps = gaps(&fake.asked());
    assert!(gaps.len() >= 50 && gaps.iter().all(|gap| (1.0..1.2).contains(gap)), "{gaps:?}");
    // Failures too, whatever the backoff.
    fake.a("orders", Err("refused"));
    let begin = Instant::now();
    for _ in 0..10 {
        names.next().await.unwrap_err();
    }
    assert!(begin.elapsed() >= Duration::from_secs(9));
}

#[tokio::test(start_paused = true)]
async fn a_blip_takes_nobody_away() {
    let fake = Fake::default();
    fake.a("orders", Ok((&["10.0.0.1", "10.0.0.2"], 5)));
    let source = BoxSource::new(Faked(names("dns://orders:80", &fake)));
    let watch = Directory::new().watch_source("orders", source);
    watch.settled().await.unwrap();
    for blip in [Ok((&[][..], 3600)), Err("server failure")] {
        fake.a("orders", blip);
        for _ in 0..20 {
            sleep(Duration::from_secs(1)).await;
            assert_eq!(watch.snapshot().endpoints().len(), 2);
        }
        fake.a("orders", Ok((&["10.0.0.2", "10.0.0.3"], 5)));
        // However long there was to be nothing, it is asked again soon.
        sleep(Duration::from_secs(12)).await;
        let found = watch.snapshot();
        assert!(found.endpoints().iter().any(|one| &**one.address() == "mcp://10.0.0.3:80"));
        fake.a("orders", Ok((&["10.0.0.1", "10.0.0.2"], 5)));
        sleep(Duration::from_secs(12)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn which_addresses_are_taken() {
    let fake = Fake::default();
    let (v4, v6) = ("mcp://10.0.0.1:80 1 0", "mcp://[fd00::1]:80 1 0");
    let ask = async |family: &str| {
        let mut names = names(&format!("dns://orders:80?family={family}"), &fake);
        names.next().await.map(list).map_err(|error| error.to_string())
    };
    fake.a("orders", Ok((&["10.0.0.1"], 9)));
    fake.aaaa("orders", Ok((&["fd00::1"], 9)));
    assert_eq!(ask("auto").await.unwrap(), [v4]);
    assert_eq!(ask("6").await.unwrap(), [v6]);
    assert_eq!(ask("all").await.unwrap(), [v4, v6]);
    fake.a("orders", Ok((&[], 9)));
    assert_eq!(ask("auto").await.unwrap(), [v6]);
    assert_eq!(ask("4").await.unwrap(), [""; 0]);
    // That there are none of one kind says nothing while the other is not known.
    fake.aaaa("orders", Err("timed out"));
    assert_eq!(ask("auto").await.unwrap_err(), "timed out");
    assert_eq!(ask("all").await.unwrap_err(), "timed out");
    fake.a("orders", Err("refused"));
    fake.aaaa("orders", Ok((&["fd00::1"], 9)));
    assert_eq!(ask("auto").await.unwrap_err(), "refused");
    assert_eq!(ask("all").await.unwrap(), [v6]);
}

#[tokio::test(start_paused = true)]
async fn what_is_missing_in_part_is_as_it_was() {
    let fake = Fake::default();
    fake.a("orders", Ok((&["10.0.0.1"], 60)));
    fake.aaaa("orders", Ok((&["fd00::1"], 60)));
    let mut names = names("dns://orders:80?family=all", &fake);
    assert_eq!(list(names.next().await.unwrap()).len(), 2);
    fake.aaaa("orders", Err("timed out"));
    assert_eq!(list(names.next().await.unwrap()).len(), 2);
    // And it is asked again soon.
    let begin = Instant::now();
    assert_eq!(list(names.next().await.unwrap()).len(), 2);
    assert!(begin.elapsed() < Duration::from_secs(6), "{:?}", begin.elapsed());
    fake.a("orders", Err("timed out"));
    assert!(names.next().await.is_err(), "nobody answers");
}

#[tokio::test(start_paused = true)]
async fn services_bring_port_priority_and_weight() {
    let fake = Fake::default();
    fake.srv(
        60,
        &[
            ("a.", 7001, 10, 60, &["10.0.0.1"]),
            ("b.", 7002, 10, 0, &[]),
            ("c.", 7003, 20, 3, &[]),
            // The same place once more, later: the first group counts.
            ("a.", 7001, 30, 5, &["10.0.0.1"]),
        ],
    );
    fake.a("b.", Ok((&["10.0.0.2"], 30)));
    fake.a("c.", Ok((&["10.0.0.3", "10.0.0.4"], 90)));
    let mut names = names("dns+srv://_mcp._tcp.orders?scheme=mcps", &fake);
    let update = names.next().await.unwrap();
    let Update::Full(instances) = &update else { panic!() };
    let last = instances.iter().rfind(|one| &**one.address() == "mcps://10.0.0.1:7001").unwrap();
    assert_eq!((last.weight(), last.priority()), (6000, 10));
    assert_eq!(
        list(update),
        [
            "mcps://10.0.0.1:7001 500 30",
            "mcps://10.0.0.1:7001 6000 10",
            "mcps://10.0.0.2:7002 1 10",
            "mcps://10.0.0.3:7003 150 20",
            "mcps://10.0.0.4:7003 150 20",
        ]
    );
    // The shortest TTL of what it is made of.
    fake.asked();
    let begin = Instant::now();
    // A target that is not found out is as it was; one that never was is left out for now.
    fake.srv(60, &[("b.", 7002, 0, 1, &[]), ("c.", 7003, 0, 1, &[]), ("d.", 7004, 0, 1, &[])]);
    fake.a("c.", Err("timed out"));
    fake.a("d.", Err("timed out"));
    assert_eq!(list(names.next().await.unwrap()).len(), 3);
    assert!((30.0..30.6).contains(&begin.elapsed().as_secs_f64()), "{:?}", begin.elapsed());
    // None of them: that is a failure.
    fake.a("b.", Err("timed out"));
    assert!(names.next().await.is_err());
    // There are none: that is an answer.
    fake.srv(60, &[]);
    assert_eq!(names.next().await.unwrap(), Update::Full(vec![]));
    fake.0.lock().unwrap().services = Some(Err("refused"));
    assert_eq!(names.next().await.unwrap_err().to_string(), "refused");
}

#[tokio::test(start_paused = true)]
async fn many_targets_are_looked_up_a_few_at_a_time() {
    let fake = Fake::default();
    let targets: Vec<String> = (0..100).map(|n| format!("t{n}.")).collect();
    let records: Vec<(&str, u16, u16, u16, &[&str])> =
        targets.iter().map(|target| (&**target, 1, 0, 1, &[][..])).collect();
    fake.srv(60, &records);
    targets.iter().for_each(|target| fake.a(target, Ok((&["10.0.0.1"], 60))));
    let begin = Instant::now();
    names("dns+srv://orders", &fake).next().await.unwrap();
    // 7 rounds of 10 ms.
    assert_eq!(begin.elapsed(), Duration::from_millis(70));
}
