//! Which endpoint answers for which keys: a table of slots, each with the three endpoints that come first for it.
//!
//! Each endpoint prefers the slots in an order of its own, a permutation of them as in Maglev (Eisenbud et al., "Maglev: A
//! Fast and Reliable Software Network Load Balancer", NSDI 2016): it begins somewhere and goes on by a fixed step, and as the
//! number of slots is a prime it comes to each. A slot belongs to the endpoint whose permutation comes to it first, as
//! in rendezvous hashing (Thaler and Ravishankar, "Using Name-Based Mappings to Increase Hit Rates", 1998). Maglev lets
//! them take turns instead, each until it has found a free slot: its shares are more even, but when one leaves, slots
//! of others change hands too, and who is next for a slot cannot be said. Here a slot has an order of endpoints, and
//! that of the others does not change when one joins, leaves or is given another weight.

use super::name::affinity_hash_with;

/// Not an endpoint.
const NONE: u32 = u32::MAX;
/// The endpoints that a slot remembers.
const PLACES: usize = 3;
/// The slots that are looked at, one after another, for an endpoint that takes calls.
const WALK: usize = 16;
/// There are at least so many slots for each voice.
const SLOTS_PER_VOICE: u32 = 8;
/// The first round after which it is looked who has nothing left to claim.
const FIRST_CHECK: u32 = 32;

/// The table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Slots {
    /// The first endpoint of each slot: what most picks read, and no more.
    first: Box<[u32]>,
    next: Box<[[u32; PLACES - 1]]>,
}

/// An endpoint of weight 3 has three voices, each with a permutation of its own.
struct Voice {
    /// Who comes first in a round.
    order: u64,
    member: u32,
    /// The slot that it comes to next, and the way from there to the one after it.
    at: u32,
    step: u32,
}

impl Slots {
    /// Fills so many slots, which is a prime, for endpoints with these names and weights.
    pub(crate) fn new(slots: u32, members: &[(&str, u32)]) -> Self {
        let mut voices = voices(slots, members);
        let present = members.iter().filter(|(_, weight)| *weight > 0).count();
        let places = PLACES.min(present);
        let mut lists = vec![[NONE; PLACES]; slots as usize];
        let mut open = if places == 0 { 0 } else { slots };
        let (mut round, mut check) = (0, FIRST_CHECK);
        while open > 0 {
            for voice in &mut voices {
                open -= u32::from(claim(&mut lists[voice.at as usize][..places], voice.member));
                voice.at = (voice.at + voice.step) % slots;
            }
            round += 1;
            if round == check {
                check *= 2;
                dismiss(&mut voices, &lists, places, open, members.len());
            }
        }
        Slots {
            first: lists.iter().map(|list| list[0]).collect(),
            next: lists.iter().map(|[_, next @ ..]| *next).collect(),
        }
    }

    /// The slot of a hash.
    #[inline]
    pub(crate) fn slot(&self, hash: u64) -> usize {
        (hash % self.first.len().max(1) as u64) as usize
    }

    /// The endpoint that a slot belongs to. `None`: there are none.
    #[inline]
    pub(crate) fn first(&self, slot: usize) -> Option<usize> {
        let first = *self.first.get(slot)?;
        (first != NONE).then_some(first as usize)
    }

    /// Those who come after the first, in the order in which they take its place: the others of its slot, then those of
    /// the slots after it. It is not all of them, and the same one may come more than once.
    pub(crate) fn after(&self, slot: usize) -> impl Iterator<Item = usize> {
        let from = |slot: usize| {
            let next = self.next.get(slot).into_iter().flatten();
            next.copied().filter(|member| *member != NONE).map(|member| member as usize)
        };
        let walk = (slot + 1..self.first.len()).chain(0..slot).take(WALK - 1);
        from(slot).chain(walk.flat_map(move |slot| self.first(slot).into_iter().chain(from(slot))))
    }
}

/// Has a member join the list of a slot, if there is room. Says whether that was the last place.
#[inline]
fn claim(list: &mut [u32], member: u32) -> bool {
    let last = list.len() - 1;
    for (place, holder) in list.iter_mut().enumerate() {
        if *holder == member {
            return false;
        }
        if *holder == NONE {
            *holder = member;
            return place == last;
        }
    }
    false
}

/// Lets go of those who are in the list of every slot that has room: beside one that weighs 8 000 times as much, another
/// would have to be waited for.
fn dismiss(voices: &mut Vec<Voice>, lists: &[[u32; PLACES]], places: usize, open: u32, members: usize) {
    let mut listed = vec![0; members];
    for list in lists.iter().filter(|list| list[places - 1] == NONE) {
        for member in list.iter().filter(|member| **member != NONE) {
            listed[*member as usize] += 1;
        }
    }
    voices.retain(|voice| listed[voice.member as usize] < open);
}

fn voices(slots: u32, members: &[(&str, u32)]) -> Vec<Voice> {
    let most = u64::from(slots / SLOTS_PER_VOICE).max(1);
    let sum: u64 = members.iter().map(|(_, weight)| u64::from(*weight)).sum();
    let mut voices = Vec::new();
    for (member, (name, weight)) in members.iter().enumerate() {
        let count = match u64::from(*weight) {
            weight if sum <= most => weight,
            weight => (weight * most).div_ceil(sum),
        };
        for number in 0..count {
            let order = affinity_hash_with(name.as_bytes(), 2 * number + 1);
            let step = affinity_hash_with(name.as_bytes(), 2 * number + 2);
            voices.push(Voice {
                order,
                member: member as u32,
                at: (order % u64::from(slots)) as u32,
                step: (step % u64::from(slots - 1)) as u32 + 1,
            });
        }
    }
    voices.sort_by_key(|voice| (voice.order, members[voice.member as usize].0));
    voices
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// By the definition: for each slot, the endpoints by when the first of their voices comes to it.
    fn slow(slots: u32, members: &[(&str, u32)]) -> Vec<Vec<usize>> {
        let voices = voices(slots, members);
        (0..slots)
            .map(|slot| {
                let rank = |voice: &Voice| {
                    (0..slots).find(|rank| {
                        (u64::from(voice.at) + u64::from(*rank) * u64::from(voice.step)) % u64::from(slots)
                            == u64::from(slot)
                    })
                };
                let mut ranks: Vec<_> = voices
                    .iter()
                    .enumerate()
                    .map(|(place, voice)| (rank(voice).unwrap(), place, voice.member as usize))
                    .collect();
                ranks.sort();
                let mut list = Vec::new();
                for (_, _, member) in ranks {
                    if !list.contains(&member) {
                        list.push(member);
                    }
                }
                list
            })
            .collect()
    }

    fn lists(table: &Slots) -> Vec<Vec<usize>> {
        let list = |slot: usize| {
            let next =
                table.next[slot].iter().filter(|member| **member != NONE).map(|member| *member as usize);
            table.first(slot).into_iter().chain(next).collect()
        };
        (0..table.first.len()).map(list).collect()
    }

    fn shares(table: &Slots, members: usize) -> Vec<f64> {
        let mut shares = vec![0.0; members];
        for slot in 0..table.first.len() {
            shares[table.first(slot).unwrap()] += 1.0 / table.first.len() as f64;
        }
        shares
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn as_defined(weights in proptest::collection::vec(0u32..20, 0..9), prime in proptest::sample::select(vec![2u32, 3, 61, 101])) {
            let names: Vec<_> = (0..weights.len()).map(|i| format!("10.0.0.{i}:80")).collect();
            let members: Vec<_> = names.iter().zip(&weights).map(|(name, weight)| (name.as_str(), *weight)).collect();
            let table = Slots::new(prime, &members);
            for (slot, list) in slow(prime, &members).into_iter().enumerate() {
                prop_assert_eq!(&lists(&table)[slot][..], &list[..list.len().min(PLACES)], "slot {}", slot);
            }
        }

        #[test]
        fn the_order_of_the_others_stays(count in 2usize..30, gone in 0usize..30, weight in 1u32..5) {
            let gone = gone % count;
            let names: Vec<_> = (0..count).map(|i| format!("mcp://10.0.1.{i}:8080")).collect();
            let members: Vec<_> = names.iter().map(|name| (name.as_str(), weight)).collect();
            let before = lists(&Slots::new(1_021, &members));
            let mut others = members.clone();
            others.remove(gone);
            let named = |list: &[usize], members: &[(&str, u32)]| -> Vec<String> {
                list.iter().map(|member| members[*member].0.to_owned()).filter(|name| *name != names[gone]).collect()
            };
            for (before, after) in before.iter().zip(lists(&Slots::new(1_021, &others))) {
                let (before, after) = (named(before, &members), named(&after, &others));
                prop_assert_eq!(&after[..before.len()], &before[..]);
            }
            // One that gets a third of its weight loses slots, and nobody else does.
            let mut lighter = members.clone();
            lighter[gone].1 = weight.div_ceil(3);
            for (before, after) in before.iter().zip(lists(&Slots::new(1_021, &lighter))) {
                prop_assert!(before[0] == after[0] || before[0] == gone);
            }
        }
    }

    #[test]
    fn slots_are_shared_by_weight() {
        let even: Vec<_> = (0..20).map(|i| format!("mcp://10.0.0.{i}:8080")).collect();
        let members: Vec<_> = even.iter().map(|name| (name.as_str(), 1)).collect();
        let shares_of = |members: &[(&str, u32)]| shares(&Slots::new(65_537, members), members.len());
        for share in shares_of(&members) {
            assert!((0.95..1.05).contains(&(20.0 * share)), "{share}");
        }
        for weights in [
            [1, 2, 3, 4],
            [10, 20, 30, 40],
            [1_000, 2_000, 3_000, 4_000],
            [1 << 29, 2 << 29, 3 << 29, u32::MAX],
        ] {
            let sum: f64 = weights.iter().map(|weight| f64::from(*weight)).sum();
            let members: Vec<_> = even.iter().map(String::as_str).zip(weights).collect();
            for (share, weight) in shares_of(&members).into_iter().zip(weights) {
                assert!((share - f64::from(weight) / sum).abs() < 0.01, "{share} {weight}");
            }
        }
    }

    #[test]
    fn a_light_one_beside_a_heavy_one_is_not_waited_for() {
        let table = Slots::new(65_537, &[("a", u32::MAX), ("b", 1), ("none", 0)]);
        assert!(lists(&table).iter().all(|list| list.len() == 2));
        let table = Slots::new(65_537, &[("a", u32::MAX), ("b", u32::MAX), ("c", 1), ("d", 1)]);
        assert!(lists(&table).iter().all(|list| list.len() == 3));
    }

    #[test]
    fn the_walk_begins_with_the_slot_and_ends() {
        let names: Vec<_> = (0..50).map(|i| format!("h{i}")).collect();
        let members: Vec<_> = names.iter().map(|name| (name.as_str(), 1)).collect();
        let table = Slots::new(101, &members);
        for slot in [0, 57, 100] {
            let walk: Vec<_> = table.first(slot).into_iter().chain(table.after(slot)).collect();
            let expected: Vec<_> =
                (0..WALK).flat_map(|step| lists(&table)[(slot + step) % 101].clone()).collect();
            assert_eq!(walk, expected);
        }
        let none = Slots::new(101, &[("a", 0)]);
        assert_eq!((none.first(5), none.after(5).next()), (None, None));
    }

    /// Those of `docs/protocol.md`, "Affinity", made by another implementation.
    #[test]
    fn slots_are_those_of_the_vectors() {
        let vectors: serde_json::Value =
            serde_json::from_str(include_str!("../../vectors/affinity.json")).unwrap();
        let number = |value: &serde_json::Value| value.as_u64().unwrap() as usize;
        for table in vectors["tables"].as_array().unwrap() {
            let endpoints = table["endpoints"].as_array().unwrap();
            let name = |endpoint: &serde_json::Value| {
                endpoint.get("hash-key").unwrap_or(&endpoint["address"]).as_str().unwrap().to_owned()
            };
            let names: Vec<_> = endpoints.iter().map(name).collect();
            let mut weights: Vec<_> =
                endpoints.iter().map(|endpoint| number(&endpoint["weight"]) as u32).collect();
            if weights.iter().all(|weight| *weight == 0) {
                weights.fill(1);
            }
            let members: Vec<_> = names.iter().map(String::as_str).zip(weights).collect();
            let slots = Slots::new(number(&table["slots"]) as u32, &members);
            for (member, owned) in table["owned"].as_array().unwrap().iter().enumerate() {
                let first = slots.first.iter().filter(|first| **first as usize == member).count();
                assert_eq!(first, number(owned), "{}", table["meaning"]);
            }
            let lists = lists(&slots);
            for key in table["keys"].as_array().unwrap() {
                let expected: Vec<_> = key["endpoints"].as_array().unwrap().iter().map(number).collect();
                assert_eq!(lists[number(&key["slot"])], expected, "{}", table["meaning"]);
            }
        }
    }
}
