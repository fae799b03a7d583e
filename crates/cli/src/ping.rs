//! `towpath ping`

use crate::{args::PingArgs, exit::Failure, tls};
use std::{
    io::{Write, stdout},
    time::Duration,
};
use tokio::time::{sleep, timeout};

pub(crate) async fn run(args: PingArgs) -> Result<(), Failure> {
    let address = args.address.to_string();
    let client = tls::client(&args.address, &args.tls, args.timeout)?.connect(&address).await?;
    let mut trips = Vec::new();
    for number in 1..=args.count {
        if number > 1 {
            sleep(args.interval).await;
        }
        let trip = match timeout(args.timeout, client.ping()).await {
            Ok(Ok(trip)) => trip,
            Ok(Err(error)) => return Err(Failure::NotReached(error.to_string())),
            Err(_) => {
                let waited = args.timeout;
                return Err(Failure::Deadline(format!(
                    "{address} did not answer a PING within {waited:?} (check that an MCP service is there)"
                )));
            }
        };
        line(&format!("{address} {number}: {}", ms(trip)))?;
        trips.push(trip);
    }
    line(&summary(&trips))
}

fn summary(trips: &[Duration]) -> String {
    let count = trips.len();
    let total: Duration = trips.iter().sum();
    let mean = total.checked_div(u32::try_from(count).unwrap_or(u32::MAX)).unwrap_or_default();
    let least = trips.iter().min().copied().unwrap_or_default();
    let most = trips.iter().max().copied().unwrap_or_default();
    let word = if count == 1 { "round trip" } else { "round trips" };
    format!("{count} {word}: min {}, mean {}, max {}", ms(least), ms(mean), ms(most))
}

fn ms(time: Duration) -> String {
    format!("{:.3} ms", time.as_secs_f64() * 1_000.0)
}

fn line(text: &str) -> Result<(), Failure> {
    let mut out = stdout().lock();
    let written = writeln!(out, "{text}").and_then(|()| out.flush());
    written.map_err(|error| Failure::Other(format!("stdout cannot be written: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary() {
        let trips = [Duration::from_micros(1500), Duration::from_micros(500)];
        assert_eq!(summary(&trips), "2 round trips: min 0.500 ms, mean 1.000 ms, max 1.500 ms");
        assert_eq!(summary(&trips[..1]), "1 round trip: min 1.500 ms, mean 1.500 ms, max 1.500 ms");
    }
}
