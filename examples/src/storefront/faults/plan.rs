//! How often what goes wrong, for each service.

use serde::Deserialize;
use std::{fs, ops::Index, path::Path, time::Duration};

/// The services of the shop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Service {
    User,
    Order,
    Inventory,
    Points,
}

impl Service {
    pub(crate) const ALL: [Service; 4] = [Service::User, Service::Order, Service::Inventory, Service::Points];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Service::User => "user",
            Service::Order => "order",
            Service::Inventory => "inventory",
            Service::Points => "points",
        }
    }
}

/// What goes wrong with one service. A period of zero, or a share of zero: never.
#[derive(Clone, Copy, Debug, PartialEq, Default)]
pub(crate) struct Knobs {
    /// How often one of its replicas dies, and for how long: listener and connections are gone.
    pub(crate) die_every: Duration,
    pub(crate) die_for: Duration,
    /// How often one of its replicas freezes, and for how long: it keeps its connections and says nothing.
    pub(crate) freeze_every: Duration,
    pub(crate) freeze_for: Duration,
    /// How often one more replica comes, and for how long: it is registered, serves, takes its leave and drains.
    pub(crate) join_every: Duration,
    pub(crate) join_for: Duration,
    /// How often one of its replicas answers slower, for how long, and how many times slower.
    pub(crate) slow_every: Duration,
    pub(crate) slow_for: Duration,
    pub(crate) slow_factor: f64,
    /// The share of its calls that fail with its transient code, before any work is done.
    pub(crate) transient_rate: f64,
    /// How often connections to it are reset, and which share of the open ones.
    pub(crate) reset_every: Duration,
    pub(crate) reset_share: f64,
}

/// The knobs of all services.
#[derive(Clone, Copy, Debug, PartialEq, Default)]
pub(crate) struct Plan([Knobs; Service::ALL.len()]);

impl Index<Service> for Plan {
    type Output = Knobs;

    fn index(&self, service: Service) -> &Knobs {
        &self.0[service as usize]
    }
}

impl Plan {
    /// Nothing goes wrong.
    pub(crate) fn none() -> Self {
        Plan::default()
    }

    /// What `--faults default` stands for. It is one replica in all that turns slow: one of the inventory,
    /// the service that is called most.
    pub(crate) fn usual() -> Self {
        let every = Knobs {
            die_every: Duration::from_secs(10),
            die_for: Duration::from_secs(2),
            freeze_every: Duration::from_secs(20),
            freeze_for: Duration::from_secs(1),
            join_every: Duration::from_secs(10),
            join_for: Duration::from_secs(5),
            transient_rate: 0.01,
            reset_every: Duration::from_secs(1),
            reset_share: 0.005,
            ..Knobs::default()
        };
        let mut plan = Plan([every; Service::ALL.len()]);
        let inventory = &mut plan.0[Service::Inventory as usize];
        inventory.slow_every = Duration::from_secs(20);
        inventory.slow_for = Duration::from_secs(5);
        inventory.slow_factor = 50.0;
        plan
    }

    /// Reads a plan from a file; the error names file and line.
    pub(crate) fn read(path: &Path) -> Result<Self, String> {
        let name = path.display();
        let text = fs::read_to_string(path).map_err(|e| format!("{name}: cannot be read: {e}"))?;
        Plan::parse(&text).map_err(|(line, what)| match line {
            Some(line) => format!("{name}:{line}: {what}"),
            None => format!("{name}: {what}"),
        })
    }

    fn parse(text: &str) -> Result<Self, (Option<usize>, String)> {
        let file: File = toml::from_str(text).map_err(|error| {
            let line = error.span().map(|span| 1 + text[..span.start].matches('\n').count());
            (line, error.message().to_owned())
        })?;
        let mut plan = Plan::default();
        for service in Service::ALL {
            let own = match service {
                Service::User => &file.user,
                Service::Order => &file.order,
                Service::Inventory => &file.inventory,
                Service::Points => &file.points,
            };
            plan.0[service as usize] = knobs(&file.all, own, service).map_err(|what| (None, what))?;
        }
        Ok(plan)
    }
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct File {
    all: Table,
    user: Table,
    order: Table,
    inventory: Table,
    points: Table,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct Table {
    die_every_s: Option<f64>,
    die_for_s: Option<f64>,
    freeze_every_s: Option<f64>,
    freeze_for_s: Option<f64>,
    join_every_s: Option<f64>,
    join_for_s: Option<f64>,
    slow_every_s: Option<f64>,
    slow_for_s: Option<f64>,
    slow_factor: Option<f64>,
    transient_rate: Option<f64>,
    reset_every_s: Option<f64>,
    reset_share: Option<f64>,
}

/// A service's table, with `[all]` behind it, checked.
fn knobs(all: &Table, own: &Table, service: Service) -> Result<Knobs, String> {
    let number = |name: &str, value: fn(&Table) -> Option<f64>, range: std::ops::RangeInclusive<f64>| {
        let value = value(own).or_else(|| value(all)).unwrap_or(*range.start());
        if range.contains(&value) {
            return Ok(value);
        }
        let (service, from, to) = (service.name(), range.start(), range.end());
        Err(format!("{name} = {value} for {service} is not between {from} and {to}"))
    };
    let time = |name, value| number(name, value, 0.0..=86_400.0).map(Duration::from_secs_f64);
    let share = |name, value| number(name, value, 0.0..=1.0);
    let knobs = Knobs {
        die_every: time("die_every_s", |t| t.die_every_s)?,
        die_for: time("die_for_s", |t| t.die_for_s)?,
        freeze_every: time("freeze_every_s", |t| t.freeze_every_s)?,
        freeze_for: time("freeze_for_s", |t| t.freeze_for_s)?,
        join_every: time("join_every_s", |t| t.join_every_s)?,
        join_for: time("join_for_s", |t| t.join_for_s)?,
        slow_every: time("slow_every_s", |t| t.slow_every_s)?,
        slow_for: time("slow_for_s", |t| t.slow_for_s)?,
        slow_factor: number("slow_factor", |t| t.slow_factor, 1.0..=10_000.0)?,
        transient_rate: share("transient_rate", |t| t.transient_rate)?,
        reset_every: time("reset_every_s", |t| t.reset_every_s)?,
        reset_share: share("reset_share", |t| t.reset_share)?,
    };
    for (what, every, lasts) in [
        ("die", knobs.die_every, knobs.die_for),
        ("freeze", knobs.freeze_every, knobs.freeze_for),
        ("join", knobs.join_every, knobs.join_for),
        ("slow", knobs.slow_every, knobs.slow_for),
    ] {
        if !every.is_zero() && lasts >= every {
            let service = service.name();
            return Err(format!("{what}_for_s for {service} must be shorter than {what}_every_s"));
        }
        if !every.is_zero() && every < SHORTEST || !lasts.is_zero() && lasts < SHORTEST {
            return Err(format!(
                "{what}_every_s and {what}_for_s for {} must be 0.01 or more",
                service.name()
            ));
        }
    }
    if !knobs.reset_every.is_zero() && knobs.reset_every < SHORTEST {
        return Err(format!("reset_every_s for {} must be 0.01 or more", service.name()));
    }
    Ok(knobs)
}

/// A shorter period than this one is a mistake in the unit.
const SHORTEST: Duration = Duration::from_millis(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_overrides_all() {
        let plan = Plan::parse(
            "[all]\ndie_every_s = 1.0\ndie_for_s = 0.2\ntransient_rate = 0.05\n[inventory]\ntransient_rate = 0.5\n",
        )
        .unwrap();
        for service in Service::ALL {
            let knobs = plan[service];
            let rate = if service == Service::Inventory { 0.5 } else { 0.05 };
            assert_eq!((knobs.die_for, knobs.transient_rate), (Duration::from_millis(200), rate));
            assert_eq!(knobs.reset_every, Duration::ZERO);
        }
        assert_eq!(
            Plan::parse("").unwrap()[Service::User].transient_rate,
            Plan::none()[Service::User].transient_rate
        );
    }

    #[test]
    fn mistakes_are_named() {
        for (text, line, what) in [
            ("[all]\ndie_every = 1.0\n", Some(2), "unknown field `die_every`"),
            ("[shop]\n", Some(1), "unknown field `shop`"),
            ("[all]\n\ntransient_rate = \"x\"\n", Some(3), "invalid type"),
            ("[user]\ntransient_rate = 1.5\n", None, "transient_rate = 1.5 for user is not between 0 and 1"),
            ("[user]\ndie_every_s = nan\n", None, "die_every_s = NaN for user"),
            ("[user]\ndie_every_s = 1\ndie_for_s = 1\n", None, "shorter than die_every_s"),
            ("[user]\nreset_every_s = 0.001\n", None, "0.01 or more"),
        ] {
            let (at, said) = Plan::parse(text).unwrap_err();
            assert_eq!(at, line, "{text}");
            assert!(said.contains(what), "{said}");
        }
    }

    #[test]
    fn the_usual_plan_is_the_documented_one() {
        let text = include_str!("../../../faults-default.toml");
        assert_eq!(Plan::parse(text).unwrap(), with_factor_one(Plan::usual()));
    }

    /// A file's factor is 1 where it says nothing.
    fn with_factor_one(mut plan: Plan) -> Plan {
        for knobs in &mut plan.0 {
            knobs.slow_factor = knobs.slow_factor.max(1.0);
        }
        plan
    }
}
