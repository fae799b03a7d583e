//! A name with many addresses: which of them is connected to (happy eyeballs, RFC 8305).

use std::{
    fmt::Write,
    future::{Future, poll_fn},
    io,
    net::SocketAddr,
    pin::{Pin, pin},
    task::Poll,
    time::Duration,
};
use tokio::time::{Instant, sleep_until};

/// How long an attempt is alone before the next address is tried beside it.
pub(super) const GAP: Duration = Duration::from_millis(250);

/// How many addresses an error lists.
const SHOWN: usize = 6;

/// The addresses in the order in which they are tried: the families in turn, beginning with that of the first.
/// Within a family the resolver's order stays.
pub(super) fn interleave(addresses: impl IntoIterator<Item = SocketAddr>) -> Vec<SocketAddr> {
    let addresses: Vec<SocketAddr> = addresses.into_iter().collect();
    let first = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let (mut one, mut other) = (
        addresses.iter().filter(|address| address.is_ipv6() == first),
        addresses.iter().filter(|address| address.is_ipv6() != first),
    );
    let mut order = Vec::with_capacity(addresses.len());
    while order.len() < addresses.len() {
        order.extend(one.next().into_iter().chain(other.next()).copied());
    }
    order
}

/// What each address that was tried has answered; `None`: nothing yet.
#[derive(Debug, Default)]
pub(super) struct Answers(Vec<(SocketAddr, Option<io::Error>)>);

/// Connects to one address after another: to the next when [`GAP`] has passed or an attempt has failed. The first
/// that succeeds wins, and the others are dropped. `None`: all have failed.
pub(super) async fn race<T, F: Future<Output = io::Result<T>>>(
    addresses: Vec<SocketAddr>,
    answers: &mut Answers,
    connect: impl Fn(SocketAddr) -> F,
) -> Option<T> {
    let mut waiting = addresses.into_iter();
    let mut running: Vec<(usize, Pin<Box<F>>)> = Vec::new();
    let mut timer = pin!(sleep_until(Instant::now()));
    poll_fn(|cx| {
        loop {
            let mut failed = false;
            let mut at = 0;
            while let Some((number, attempt)) = running.get_mut(at) {
                match attempt.as_mut().poll(cx) {
                    Poll::Ready(Ok(won)) => return Poll::Ready(Some(won)),
                    Poll::Ready(Err(error)) => {
                        answers.0[*number].1 = Some(error);
                        drop(running.swap_remove(at));
                        failed = true;
                    }
                    Poll::Pending => at += 1,
                }
            }
            if !failed && !running.is_empty() && timer.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            match waiting.next() {
                Some(address) => {
                    running.push((answers.0.len(), Box::pin(connect(address))));
                    answers.0.push((address, None));
                    timer.as_mut().reset(Instant::now() + GAP);
                }
                None if running.is_empty() => return Poll::Ready(None),
                None => return Poll::Pending,
            }
        }
    })
    .await
}

impl Answers {
    /// What they were, in words; of a single address without naming it again.
    pub(super) fn text(&self) -> String {
        let say = |answer: &Option<io::Error>| answer.as_ref().map_or("no answer".to_owned(), reason);
        if let [(_, Some(error))] = &self.0[..] {
            return reason(error);
        }
        let mut text = String::new();
        for (number, (address, answer)) in self.0.iter().take(SHOWN).enumerate() {
            let comma = if number == 0 { "" } else { "; " };
            // Writing to a string does not fail.
            let _ = write!(text, "{comma}{address}: {}", say(answer));
        }
        if self.0.len() > SHOWN {
            let _ = write!(text, "; and {} more", self.0.len() - SHOWN);
        }
        text
    }

    /// How many were tried.
    pub(super) fn count(&self) -> usize {
        self.0.len()
    }

    /// The last error.
    pub(super) fn into_error(self) -> Option<io::Error> {
        self.0.into_iter().rev().find_map(|(_, error)| error)
    }
}

/// The system's words, without its numbers.
fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused: nobody listens there".to_owned(),
        io::ErrorKind::TimedOut => "no answer".to_owned(),
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{cell::RefCell, sync::Arc};
    use tokio::time::sleep;

    fn v4(last: u8) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, last], 80))
    }

    fn v6(last: u16) -> SocketAddr {
        SocketAddr::from(([0x2001, 0xdb8, 0, 0, 0, 0, 0, last], 80))
    }

    #[test]
    fn families_take_turns() {
        let order = interleave([v6(1), v6(2), v6(3), v4(1)]);
        assert_eq!(order, [v6(1), v4(1), v6(2), v6(3)]);
        assert_eq!(interleave([v4(1), v4(2), v6(1)]), [v4(1), v6(1), v4(2)]);
        assert_eq!(interleave([]), []);
    }

    /// After so many milliseconds: connected, or refused.
    type Plan = Vec<(SocketAddr, u64, bool)>;

    /// Races over the plan. Who won, when each attempt began and the race ended, and how many were still
    /// running then.
    async fn run(plan: Plan) -> (Option<SocketAddr>, Vec<u64>, u64, Answers) {
        let begin = Instant::now();
        let started = RefCell::new(Vec::new());
        let alive = Arc::new(());
        let mut answers = Answers::default();
        let addresses = plan.iter().map(|(address, ..)| *address).collect();
        let winner = race(addresses, &mut answers, |address| {
            started.borrow_mut().push(begin.elapsed().as_millis() as u64);
            let (_, after, fine) = *plan.iter().find(|(other, ..)| *other == address).unwrap();
            let alive = alive.clone();
            async move {
                sleep(Duration::from_millis(after)).await;
                drop(alive);
                if fine { Ok(address) } else { Err(io::ErrorKind::ConnectionRefused.into()) }
            }
        })
        .await;
        assert_eq!(Arc::strong_count(&alive), 1, "the losers are dropped");
        (winner, started.into_inner(), begin.elapsed().as_millis() as u64, answers)
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_answers_soon_is_alone() {
        let (winner, started, took, _) = run(vec![(v6(1), 249, true), (v4(1), 0, true)]).await;
        assert_eq!((winner, started, took), (Some(v6(1)), vec![0], 249));
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_one_is_overtaken_after_a_quarter_of_a_second() {
        let plan = vec![(v6(1), 60_000, true), (v4(1), 60_000, true), (v6(2), 30, true), (v4(2), 0, true)];
        let (winner, started, took, _) = run(plan).await;
        assert_eq!((winner, started, took), (Some(v6(2)), vec![0, 250, 500], 530));
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_to_connect_wins_not_the_first_to_begin() {
        let (winner, started, took, _) = run(vec![(v6(1), 400, true), (v4(1), 100, true)]).await;
        assert_eq!((winner, started, took), (Some(v4(1)), vec![0, 250], 350));
        let (winner, _, took, _) = run(vec![(v6(1), 300, true), (v4(1), 100, true)]).await;
        assert_eq!((winner, took), (Some(v6(1)), 300));
    }

    #[tokio::test(start_paused = true)]
    async fn after_a_refusal_the_next_is_tried_at_once() {
        let plan = vec![(v6(1), 10, false), (v4(1), 500, true), (v6(2), 20, false), (v4(2), 1000, true)];
        let (winner, started, took, _) = run(plan).await;
        assert_eq!((winner, started, took), (Some(v4(1)), vec![0, 10, 260, 280], 510));
    }

    #[tokio::test(start_paused = true)]
    async fn when_all_have_failed_each_is_told_of() {
        let (winner, _, took, answers) = run(vec![(v6(1), 10, false), (v4(1), 400, false)]).await;
        assert_eq!((winner, took), (None, 410));
        let text = answers.text();
        assert_eq!(
            text,
            "[2001:db8::1]:80: connection refused: nobody listens there; \
             10.0.0.1:80: connection refused: nobody listens there"
        );
        let (_, _, _, answers) = run((1..=9).map(|n| (v4(n), 1, false)).collect()).await;
        assert!(answers.text().ends_with("; and 3 more"), "{}", answers.text());
        let (winner, .., answers) = run(Vec::new()).await;
        assert_eq!((winner, answers.count()), (None, 0));
    }
}
