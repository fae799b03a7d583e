//! Where calls go by rules of one's own, over real servers: once as a closure, once as a type, and that type within
//! priorities.
//!
//! The balancer keeps what keeps a system alive (who is out, who drains, what an attempt has tried, how long a call
//! waits); the picker says which of those that are ready it is. Run it: `cargo run --example own_picker`.

use std::{collections::BTreeMap, time::Duration};
use towpath::{
    BoxError, Client, Endpoint, Fault, Json, Router, Server,
    balance::{Pick, Priorities, PriorityConfig, View},
    discover::{Directory, Instance, PushSource, Watch},
};

/// Takes the cheapest endpoint that has fewer calls of ours under way than its room; if all are full, the emptiest.
struct Cheapest {
    room: u32,
}

impl Pick for Cheapest {
    /// The endpoints by price: computed when there is another set of them, and not for each call.
    type Table = Vec<usize>;

    fn table(&self, endpoints: &[&Endpoint]) -> Vec<usize> {
        let price =
            |index: &usize| endpoints[*index].label("price").and_then(|price| price.parse::<u32>().ok());
        let mut by_price: Vec<_> = (0..endpoints.len()).collect();
        // Who has no price is the dearest.
        by_price.sort_by_key(|index| price(index).unwrap_or(u32::MAX));
        by_price
    }

    fn pick(&self, by_price: &Vec<usize>, view: &View<'_>) -> Option<usize> {
        let ready = || by_price.iter().copied().filter(|index| view.is_ready(*index));
        let with_room = ready().find(|index| view.in_flight(*index) < self.room);
        with_room.or_else(|| ready().min_by_key(|index| view.in_flight(*index)))
    }
}

/// Says who it is, after a while.
async fn who(name: &'static str) -> Result<Json<String>, Fault> {
    tokio::time::sleep(Duration::from_millis(20)).await;
    Ok(Json(name.to_owned()))
}

/// So many calls at the same time: how many went where.
async fn at_once(client: &Client, calls: usize) -> Result<BTreeMap<String, u32>, BoxError> {
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..calls {
        let client = client.clone();
        tasks.spawn(async move { client.call::<String>("Render.Who", &()).await });
    }
    let mut went = BTreeMap::new();
    while let Some(answer) = tasks.join_next().await {
        *went.entry(answer??).or_default() += 1;
    }
    Ok(went)
}

/// So that all servers are there before the first call.
async fn connected(client: Client, servers: usize) -> Result<Client, BoxError> {
    let ready = || client.endpoints().map_or(0, |endpoints| endpoints.counts().ready) as usize;
    client.ready().await?;
    while ready() < servers {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    Ok(client)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), BoxError> {
    // Discovery says what an endpoint costs, and that one is not to be used but in need.
    let (pusher, source) = PushSource::new();
    let mut instances = Vec::new();
    for (name, price, priority) in [("own", 1, 0), ("rented", 5, 0), ("borrowed", 20, 1)] {
        let server = Server::builder().bind("127.0.0.1:0").await?;
        let url = format!("mcp://{}", server.local_addr());
        let instance = Instance::new(url).with_label("price", price.to_string());
        instances.push(instance.with_priority(priority));
        let router = Router::new().route("Render.Who", move || who(name));
        tokio::spawn(server.serve(router).into_future());
    }
    pusher.set(instances);
    let directory = Directory::new();
    let fleet: Watch = directory.watch_source("render", source);

    // A closure: whoever comes first in the list takes everything, and the next one when that one is out.
    let first = |view: &View<'_>| (0..view.len()).find(|index| view.is_ready(*index));
    let client = connected(Client::builder().pick_by(first).follow("render", fleet.clone())?, 3).await?;
    let went = at_once(&client, 12).await?;
    println!("the first one:          {went:?}");
    assert_eq!(went.len(), 1);

    // A type: four at a time for each, the cheapest first.
    let builder = Client::builder().pick_by(Cheapest { room: 4 });
    let client = connected(builder.follow("render", fleet.clone())?, 3).await?;
    for calls in [3, 6, 12] {
        let went = at_once(&client, calls).await?;
        println!("{calls:2} to the cheapest:     {went:?}");
        assert_eq!(went.len(), calls.div_ceil(4));
    }

    // Around it, what is there already: those of the next priority only if the first one's cannot take it.
    let picker = Priorities::new(PriorityConfig::default(), Cheapest { room: 4 });
    let client = connected(Client::builder().pick_by(picker).follow("render", fleet)?, 3).await?;
    let went = at_once(&client, 12).await?;
    println!("12, none of it borrowed: {went:?}");
    assert_eq!(went, BTreeMap::from([("own".into(), 6), ("rented".into(), 6)]));
    Ok(())
}
