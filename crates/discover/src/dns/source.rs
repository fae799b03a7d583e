//! A name that is asked for again and again.

use super::{
    ask::{Answer, Ask, Kind, Srv},
    hickory::Hickory,
    pace::Pace,
    url::{Family, Query},
};
use crate::{Instance, InvalidTarget, Source, Target, Update};
use fastrand::Rng;
use std::{
    cmp::Reverse,
    collections::{BTreeSet, HashMap},
    net::{IpAddr, SocketAddr},
    time::Duration,
};
use tokio::{task::JoinSet, time::sleep_until};
use towpath_core::{BoxError, Clock};

/// So many targets of a service are looked up at a time.
const AT_A_TIME: usize = 16;

/// More targets than these are not looked at.
const MOST_TARGETS: usize = 4_096;

/// A service of which some target was not found out is asked for again after this.
const SOON: Duration = Duration::from_secs(5);

/// The addresses of a name, or the targets of a service, asked for again when the answer does not hold any more: not
/// only when something has failed.
///
/// | URL | asks |
/// | --- | --- |
/// | `dns://orders:8080` | for A, and for AAAA where there are none; each address with this port is an endpoint of weight 1 |
/// | `dns+srv://_mcp._tcp.orders` | for SRV, then for the addresses of its targets; port, priority and weight are the record's |
///
/// Options: `?server=127.0.0.1:5353` asks this server and not the system's; `scheme=mcps` makes TLS addresses of the
/// answers (the certificate has to be good for them: they are addresses, not the name); `family=` `auto`, `4`, `6`, or
/// `all`: then a server that has two addresses is two endpoints.
///
/// An answer holds for its TTL, but at least a second and at most five minutes; up to half a second is added by chance.
/// That there are no records (NXDOMAIN, NODATA) is an answer, which holds for 5 s at most, and which the
/// [`Directory`](crate::Directory) doubts for a while. A server that fails or does not answer (2 s, twice) is an error: what
/// is known stays. Where only some of the answers that make up a set are missing, the last ones take their place.
///
/// The weight of a target is the record's, times 100, shared among its addresses; a weight of 0 becomes 1: "a very small
/// chance of being selected", as RFC 2782 has it.
pub struct DnsSource(Names<Hickory>);

/// The same, whoever is asked.
pub(super) struct Names<A> {
    query: Query,
    ask: A,
    pace: Pace,
    rng: Rng,
    /// The last answers that there were, to be used for those that fail.
    last: HashMap<(String, Kind), Vec<IpAddr>>,
}

/// What is known of a name after it was asked for.
#[derive(Default)]
struct Look {
    records: Vec<IpAddr>,
    ttl: Duration,
    /// Whether anything was answered that can be relied upon.
    certain: bool,
    failure: Option<BoxError>,
}

type Answers = HashMap<(String, Kind), Result<Answer<IpAddr>, BoxError>>;

/// What an instance is made of: where, priority, weight.
type Found = (SocketAddr, u32, u32);

impl DnsSource {
    /// The name of a URL.
    ///
    /// # Errors
    /// If it has no name, no port where one is needed, or an option that makes no sense.
    pub fn open(target: &Target<'_>) -> Result<Self, InvalidTarget> {
        let query = Query::read(target)?;
        let ask = Hickory::new(query.server);
        Ok(DnsSource(Names::new(query, ask)))
    }
}

impl Source for DnsSource {
    fn about(&self) -> String {
        let Query { name, port, server, .. } = &self.0.query;
        let kind = if port.is_some() { "addresses" } else { "services" };
        let of = server.map_or("the system's name servers".to_owned(), |server| server.to_string());
        format!("{kind} of {name}, by {of}")
    }

    async fn next(&mut self) -> Result<Option<Update>, BoxError> {
        self.0.next().await.map(Some)
    }

    fn refresh(&mut self) {
        self.0.pace.hurry();
    }
}

impl<A: Ask> Names<A> {
    pub(super) fn new(query: Query, ask: A) -> Self {
        Names { query, ask, pace: Pace::default(), rng: Rng::new(), last: HashMap::new() }
    }

    pub(super) async fn next(&mut self) -> Result<Update, BoxError> {
        if let Some(next) = self.pace.next() {
            sleep_until(next).await;
        }
        self.pace.asks(Clock::now());
        let (mut found, ttl) = match self.query.port {
            Some(port) => self.host(port).await?,
            None => self.services().await?,
        };
        self.pace.answered(Clock::now(), ttl, found.is_empty(), &mut self.rng);
        // Of two with one address the later one counts: that of the lower number, which is used first.
        found.sort_unstable_by_key(|(at, priority, weight)| (*at, Reverse(*priority), *weight));
        let scheme = self.query.scheme;
        let instance = |(at, priority, weight): Found| {
            Instance::new(format!("{scheme}://{at}")).with_priority(priority).with_weight(weight)
        };
        Ok(Update::Full(found.into_iter().map(instance).collect()))
    }

    /// The addresses of the name, with a port.
    async fn host(&mut self, port: u16) -> Result<(Vec<Found>, Duration), BoxError> {
        let name = self.query.name.clone();
        let look = self.look_up(&[name]).await.pop().unwrap_or_default();
        match look.failure {
            Some(failure) if !look.certain => Err(failure),
            _ => {
                Ok((look.records.into_iter().map(|ip| (SocketAddr::new(ip, port), 0, 1)).collect(), look.ttl))
            }
        }
    }

    /// The services of the name, with the addresses of their targets.
    async fn services(&mut self) -> Result<(Vec<Found>, Duration), BoxError> {
        let Answer { mut records, mut ttl } = self.ask.services(&self.query.name).await?;
        records.sort_by_key(|srv| srv.priority);
        records.truncate(MOST_TARGETS);
        let family = self.query.family;
        records.iter_mut().for_each(|srv| srv.known = pick(family, &srv.known));
        let unknown: BTreeSet<&String> =
            records.iter().filter(|srv| srv.known.is_empty()).map(|srv| &srv.target).collect();
        let unknown: Vec<String> = unknown.into_iter().cloned().collect();
        let looks = self.look_up(&unknown).await;
        let looks: HashMap<&String, Look> = unknown.iter().zip(looks).collect();
        let (mut found, mut certain, mut failure) = (Vec::new(), unknown.len() < records.len(), None);
        for Srv { target, port, priority, weight, known } in &records {
            let known = match looks.get(target) {
                _ if !known.is_empty() => known,
                Some(look) => {
                    ttl = if look.records.is_empty() { ttl } else { ttl.min(look.ttl) };
                    certain |= look.certain;
                    failure = failure.or(look.failure.as_ref());
                    &look.records
                }
                None => continue,
            };
            // A service has at most as many addresses as fit into 64 KiB.
            let share = (u32::from(*weight) * 100 / known.len().max(1) as u32).max(1);
            found.extend(known.iter().map(|ip| (SocketAddr::new(*ip, *port), u32::from(*priority), share)));
        }
        match failure {
            Some(failure) if !certain => return Err(failure.to_string().into()),
            Some(_) => ttl = ttl.min(SOON),
            None => {}
        }
        // What is no target any more need not be remembered.
        self.last.retain(|(name, _), _| unknown.binary_search(name).is_ok());
        Ok((found, ttl))
    }

    /// The addresses of some names, of a few at a time, in the order of the names.
    async fn look_up(&mut self, names: &[String]) -> Vec<Look> {
        let mut looks = Vec::with_capacity(names.len());
        let kinds: &[Kind] = match self.query.family {
            Family::Auto | Family::V4 => &[Kind::V4],
            Family::V6 => &[Kind::V6],
            Family::All => &[Kind::V4, Kind::V6],
        };
        for names in names.chunks(AT_A_TIME) {
            let mut answers = self.ask_all(names.iter(), kinds).await;
            if self.query.family == Family::Auto {
                // Only where it is certain that there are none of the first kind.
                let none = |name: &&String| {
                    let first = answers.get(&((*name).clone(), Kind::V4));
                    first.is_some_and(|first| first.as_ref().is_ok_and(|first| first.records.is_empty()))
                };
                let others: Vec<&String> = names.iter().filter(none).collect();
                answers.extend(self.ask_all(others, &[Kind::V6]).await);
            }
            looks.extend(names.iter().map(|name| self.look(name, &mut answers)));
        }
        looks
    }

    async fn ask_all(&self, names: impl IntoIterator<Item = &String>, kinds: &[Kind]) -> Answers {
        let mut asked = JoinSet::new();
        for name in names {
            for kind in kinds {
                let (key, answer) = ((name.clone(), *kind), self.ask.addresses(name, *kind));
                asked.spawn(async move { (key, answer.await) });
            }
        }
        let mut answers = Answers::new();
        while let Some(joined) = asked.join_next().await {
            // One that panicked is missing.
            answers.extend(joined);
        }
        answers
    }

    /// All that was answered of a name, and the last answers in the place of those that failed.
    fn look(&mut self, name: &str, answers: &mut Answers) -> Look {
        let mut look = Look::default();
        let (mut full, mut empty) = (None::<Duration>, None::<Duration>);
        for kind in [Kind::V4, Kind::V6] {
            let key = (name.to_owned(), kind);
            match answers.remove(&key) {
                Some(Ok(answer)) => {
                    let ttl = if answer.records.is_empty() { &mut empty } else { &mut full };
                    *ttl = Some(ttl.map_or(answer.ttl, |ttl| ttl.min(answer.ttl)));
                    look.certain |= !answer.records.is_empty();
                    look.records.extend(&answer.records);
                    self.last.insert(key, answer.records);
                }
                Some(Err(error)) => {
                    look.records.extend(self.last.get(&key).into_iter().flatten());
                    look.failure = Some(error);
                }
                None => {}
            }
        }
        // That there are none of one kind is certain only if nothing is open about the other.
        look.certain |= look.failure.is_none() && empty.is_some();
        look.ttl = full.or(empty).unwrap_or(SOON);
        match (&look.failure, look.certain) {
            (None, false) => look.failure = Some(format!("{name} was not looked up").into()),
            (Some(_), _) => look.ttl = look.ttl.min(SOON),
            (None, true) => {}
        }
        look
    }
}

/// Of addresses that came unasked, those that would be asked for.
fn pick(family: Family, known: &[IpAddr]) -> Vec<IpAddr> {
    let of = |v4: bool| known.iter().filter(|ip| ip.is_ipv4() == v4).copied().collect::<Vec<_>>();
    match family {
        // Without the first kind it is not known whether there are any.
        Family::Auto | Family::V4 => of(true),
        Family::V6 => of(false),
        // Nor here, whether these are all.
        Family::All => Vec::new(),
    }
}
