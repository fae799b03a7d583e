//! The book beside a plain list, whatever is done to both.

use crate::{
    RegistryConfig,
    book::{Book, Seen},
};
use proptest::prelude::*;
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tokio::time::Instant;
use towpath_discover::Instance;

#[derive(Clone, Debug)]
enum Step {
    /// Service, id, weight, and whether the last lease of that id is said.
    Register(u8, u8, u32, bool),
    /// The n-th lease that was ever given, from the end.
    Heartbeat(usize),
    Deregister(usize),
    Wait(u64),
    /// A follower asks.
    Follow(u8),
    /// A follower forgets everything, or confuses this registry with another one.
    Confuse(u8, u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (0u8..3, 0u8..4, 0u32..3, any::<bool>()).prop_map(|(s, id, w, held)| Step::Register(s, id, w, held)),
        3 => (0usize..6).prop_map(Step::Heartbeat),
        3 => (0usize..6).prop_map(Step::Deregister),
        3 => prop_oneof![0u64..3_000, 0u64..25_000].prop_map(Step::Wait),
        4 => (0u8..3).prop_map(Step::Follow),
        1 => (0u8..3, 0u64..40).prop_map(|(s, index)| Step::Confuse(s, index)),
    ];
    proptest::collection::vec(step, 1..80)
}

#[derive(Clone, Debug)]
struct Row {
    service: u8,
    instance: Instance,
    lease: u128,
    until: Instant,
}

#[derive(Default)]
struct Follower {
    seen: Seen,
    set: BTreeMap<Arc<str>, Instance>,
}

proptest! {
    #[test]
    fn it_is_a_list_with_leases(steps in steps()) {
        let config = RegistryConfig::default().with_most(2, 5).unwrap();
        let (begin, mut now) = (Instant::now(), Instant::now());
        let complete_at = begin + config.lease();
        let mut book = Book::new("this".into(), complete_at);
        let mut rows: Vec<Row> = Vec::new();
        let mut leases: Vec<u128> = Vec::new();
        let mut followers: Vec<Follower> = (0..3).map(|_| Follower::default()).collect();
        for step in steps {
            let due = rows.iter().map(|row| row.until).min();
            let complete = (now < complete_at).then_some(complete_at);
            prop_assert_eq!(book.due(now), due.into_iter().chain(complete).min());
            match step {
                Step::Wait(ms) => {
                    now += Duration::from_millis(ms);
                    let expired = book.expire(now);
                    let before = rows.len();
                    rows.retain(|row| row.until > now);
                    prop_assert_eq!(expired.len(), before - rows.len());
                }
                Step::Register(service, id, weight, held) => {
                    let instance = Instance::new(format!("mcp://{id}:1")).with_weight(weight);
                    let at = rows.iter().position(|row| {
                        row.service == service && row.instance.key() == instance.key()
                    });
                    let known = at.map(|at| rows[at].lease);
                    let new = leases.len() as u128 + 1;
                    let held = if held { known } else { None };
                    let name: Arc<str> = service.to_string().into();
                    let given = book.register(name, instance.clone(), (held, new), now, &config);
                    let services = rows.iter().filter(|row| row.service != service).map(|row| row.service);
                    let others = services.collect::<std::collections::BTreeSet<_>>().len();
                    let is_known = rows.iter().any(|row| row.service == service);
                    if at.is_none() && (rows.len() == 5 || (!is_known && others == 2)) {
                        prop_assert!(given.is_err(), "there is no room");
                        continue;
                    }
                    let (lease, event) = given.unwrap();
                    prop_assert_eq!(lease, held.unwrap_or(new));
                    let same = at.is_some_and(|at| rows[at].instance == instance) && held.is_some();
                    prop_assert_eq!(event.is_none(), same);
                    rows.retain(|row| Some(row.lease) != known);
                    rows.push(Row { service, instance, lease, until: now + config.lease() });
                    leases.push(lease);
                }
                Step::Heartbeat(n) => {
                    let Some(lease) = leases.iter().rev().nth(n).copied() else { continue };
                    let row = rows.iter_mut().find(|row| row.lease == lease);
                    prop_assert_eq!(book.heartbeat(lease, now, &config).is_ok(), row.is_some());
                    row.into_iter().for_each(|row| row.until = now + config.lease());
                }
                Step::Deregister(n) => {
                    let Some(lease) = leases.iter().rev().nth(n).copied() else { continue };
                    let before = rows.len();
                    rows.retain(|row| row.lease != lease);
                    prop_assert_eq!(book.deregister(lease).is_some(), rows.len() < before);
                }
                Step::Confuse(service, index) => {
                    let follower = &mut followers[usize::from(service)];
                    follower.seen = Seen { epoch: "another".into(), index, complete: index % 2 == 0 };
                }
                Step::Follow(service) => {
                    let follower = &mut followers[usize::from(service)];
                    let wanted: BTreeMap<Arc<str>, Instance> = (rows.iter())
                        .filter(|row| row.service == service)
                        .map(|row| (row.instance.key().clone(), row.instance.clone()))
                        .collect();
                    let Some(news) = book.news(&service.to_string(), &follower.seen, now) else {
                        prop_assert_eq!(&follower.set, &wanted, "there was something to tell");
                        prop_assert!(follower.seen.complete || now < complete_at);
                        continue;
                    };
                    if news.full {
                        follower.set.clear();
                    } else {
                        prop_assert_eq!(&*follower.seen.epoch, "this");
                        prop_assert!(news.seen.index > follower.seen.index);
                    }
                    news.removed.iter().for_each(|id| drop(follower.set.remove(id)));
                    follower.set.extend(news.instances.into_iter().map(|one| (one.key().clone(), one)));
                    prop_assert_eq!(&follower.set, &wanted);
                    prop_assert_eq!(news.seen.complete, now >= complete_at);
                    follower.seen = news.seen;
                    prop_assert!(book.news(&service.to_string(), &follower.seen, now).is_none());
                }
            }
            let listed: usize = book.services().iter().map(|service| service.instances).sum();
            prop_assert_eq!(listed, rows.len());
        }
    }
}
