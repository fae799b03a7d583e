//! A look at one endpoint, and what was seen at all of them.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{sync::Notify, time::Instant};
use towpath::{
    Address, BoxError, Client, ClientTls, Connection, Endpoint, EndpointId, LoadReport,
    auth::Token,
    health::{HealthEvent, Probe},
    router::METHODS,
    transport::Connector,
};

/// Round trips count for less the older they are: after this time, for a third.
const HORIZON: Duration = Duration::from_secs(10);

/// What was seen.
#[derive(Default)]
pub(super) struct Seen {
    /// There is something new.
    pub(super) news: Notify,
    by_id: Mutex<HashMap<EndpointId, One>>,
}

/// What was seen of one endpoint.
#[derive(Clone, Debug)]
pub(super) struct One {
    /// The last round trip, and when it was over.
    pub(super) trip: Option<(Duration, Instant)>,
    /// Round trips smoothed, in seconds.
    pub(super) smooth: f64,
    /// What it said of its own load last.
    pub(super) load: Option<LoadReport>,
    /// How often it was looked at, and how often in vain.
    pub(super) looks: u64,
    pub(super) failed: u64,
    /// Since when looks end as the last one did.
    pub(super) since: Instant,
    well: bool,
}

impl Seen {
    pub(super) fn of(&self, id: EndpointId) -> Option<One> {
        self.lock().get(&id).cloned()
    }

    /// Forgets those that are not there any more.
    pub(super) fn keep(&self, wanted: impl Fn(EndpointId) -> bool) {
        self.lock().retain(|id, _| wanted(*id));
    }

    /// A look has ended.
    pub(super) fn hear(&self, event: &HealthEvent) {
        if let HealthEvent::Probed { endpoint, error, .. } = event {
            let (well, now) = (error.is_none(), Instant::now());
            let mut all = self.lock();
            let one = all.entry(endpoint.id()).or_insert_with(|| One::new(now));
            one.looks += 1;
            one.failed += u64::from(!well);
            if !well {
                (one.trip, one.load) = (None, None);
            }
            if one.looks == 1 || one.well != well {
                (one.well, one.since) = (well, now);
            }
        }
        self.news.notify_one();
    }

    fn took(&self, id: EndpointId, trip: Duration, load: Option<LoadReport>) {
        let now = Instant::now();
        let mut all = self.lock();
        all.entry(id).or_insert_with(|| One::new(now)).took(trip, now, load);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<EndpointId, One>> {
        self.by_id.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl One {
    fn new(now: Instant) -> Self {
        One { trip: None, smooth: 0.0, load: None, looks: 0, failed: 0, since: now, well: false }
    }

    fn took(&mut self, trip: Duration, now: Instant, load: Option<LoadReport>) {
        let new = trip.as_secs_f64();
        self.smooth = match self.trip {
            None => new,
            Some((_, at)) => {
                let old = (-(now - at).as_secs_f64() / HORIZON.as_secs_f64()).exp();
                self.smooth * old + new * (1.0 - old)
            }
        };
        (self.trip, self.load) = (Some((trip, now)), load);
    }
}

/// Asks an endpoint by PING, and for a list of its methods if its load is wanted: an answer is what tells of it.
#[derive(Clone)]
pub(super) struct Look {
    connector: Connector,
    open: Option<Connection>,
    /// Whether the load is wanted, and as whom to ask for it.
    load: Option<Option<Token>>,
    timeout: Duration,
    seen: Arc<Seen>,
}

impl Look {
    pub(super) fn new(
        tls: Option<ClientTls>,
        load: Option<Option<Token>>,
        timeout: Duration,
        seen: Arc<Seen>,
    ) -> Self {
        let connector = Connector::default();
        let connector = match tls {
            Some(tls) => connector.with_tls(tls),
            None => connector,
        };
        Look { connector, open: None, load, timeout, seen }
    }

    /// The round trip; over a new connection if the one from the last look has ended meanwhile.
    async fn ping(&mut self, endpoint: &Endpoint) -> Result<Duration, BoxError> {
        if let Some(open) = self.open.take_if(|open| !open.is_closed())
            && let Ok(trip) = open.ping().await
        {
            self.open = Some(open);
            return Ok(trip);
        }
        let address: Address = endpoint.address().parse()?;
        let connection = self.connector.connect(&address).await?;
        let trip = connection.ping().await?;
        self.open = Some(connection);
        Ok(trip)
    }

    /// What an answer says of the load, if there is one and it does: that it is refused is no failure.
    async fn load(&self) -> Option<LoadReport> {
        let (Some(token), Some(open)) = (&self.load, &self.open) else { return None };
        let client = Client::builder().over(open.clone());
        let mut call = client.request(METHODS).body(&()).timeout(self.timeout);
        if let Some(token) = token {
            call = call.authorization(token.to_authorization());
        }
        let answer = call.send_raw().await.ok()?;
        answer.metadata().get_str(LoadReport::KEY)?.parse().ok()
    }
}

impl Probe for Look {
    async fn probe(&mut self, endpoint: &Endpoint) -> Result<(), BoxError> {
        let trip = self.ping(endpoint).await?;
        let load = self.load().await;
        self.seen.took(endpoint.id(), trip, load);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_round_trips_count_for_less() {
        let begin = Instant::now();
        let mut one = One::new(begin);
        let ms = Duration::from_millis;
        one.took(ms(10), begin, None);
        assert_eq!(one.smooth, 0.01);
        one.took(ms(20), begin, None);
        assert_eq!(one.smooth, 0.01, "no time has passed: it is the same moment");
        one.took(ms(20), begin + HORIZON, None);
        assert!((0.0162..0.0164).contains(&one.smooth), "{}", one.smooth);
        one.took(ms(20), begin + HORIZON * 20, None);
        assert!((0.0199..=0.02).contains(&one.smooth), "{}", one.smooth);
    }
}
