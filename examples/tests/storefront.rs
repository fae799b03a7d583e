//! The storefront as its user meets it: a command line, files, an exit code, a table and a report.

#![allow(clippy::unwrap_used)]

use serde_json::Value;
use std::{
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    process, thread,
};
use tempfile::TempDir;
use towpath_examples::storefront::run;

const HEADER: &str = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country";

/// Four orders: one of a customer with two lines of one article, one of a guest, one with a bad quantity, and
/// a cancellation, whose lines stand apart.
const DAY: &str = "\
536365,A,\"HOLDER, WHITE\",6,2010-12-01 08:26:00,2.55,17850.0,United Kingdom
536365,A,\"HOLDER, WHITE\",2,2010-12-01 08:26:00,2.55,17850.0,United Kingdom
C536379,B,LANTERN,-3,2010-12-01 09:41:00,3.39,14527.0,United Kingdom
536366,B,LANTERN,4,2010-12-01 08:28:00,3.39,,United Kingdom
C536379,A,HOLDER,-1,2010-12-01 09:41:00,2.55,14527.0,United Kingdom
536367,A,HOLDER,5,2010-12-01 08:34:00,2.55,13047.0,United Kingdom
536367,B,LANTERN,0,2010-12-01 08:34:00,3.39,13047.0,United Kingdom
";

struct Outcome {
    code: u8,
    out: String,
    err: String,
    report: Value,
}

struct Files(TempDir);

impl Files {
    fn new() -> Self {
        Files(tempfile::tempdir().unwrap())
    }

    fn write(&self, name: &str, text: impl AsRef<[u8]>) -> String {
        let path = self.0.path().join(name);
        fs::write(&path, text).unwrap();
        path.display().to_string()
    }

    fn run(&self, arguments: &[&str]) -> Outcome {
        let report = self.0.path().join("report.json");
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let arguments = [&["storefront"], arguments, &["--report", report.to_str().unwrap()]].concat();
        let code = run(arguments, &mut out, &mut err);
        let report = fs::read(report).ok().and_then(|json| serde_json::from_slice(&json).ok());
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Outcome { code, out: text(out), err: text(err), report: report.unwrap_or_default() }
    }
}

impl Outcome {
    fn orders(&self) -> [u64; 5] {
        ["read", "placed", "rejected", "cancelled", "failed"]
            .map(|name| self.report["orders"][name].as_u64().unwrap())
    }

    fn units(&self) -> [u64; 2] {
        ["deducted", "restocked"].map(|name| self.report["units"][name].as_u64().unwrap())
    }

    fn number(&self, name: &str) -> u64 {
        self.report[name].as_u64().unwrap()
    }

    #[track_caller]
    fn balances(&self) {
        assert_eq!(self.code, 0, "{}{}", self.out, self.err);
        assert_eq!(self.report["ledger_ok"], true, "{}", self.out);
    }
}

#[test]
fn a_small_day_adds_up() {
    let files = Files::new();
    let day = files.write("day.csv", format!("{HEADER}\n{DAY}"));
    let outcome = files.run(&["--orders", &day]);
    outcome.balances();
    assert_eq!(outcome.orders(), [4, 2, 1, 1, 0]);
    assert_eq!(outcome.units(), [12, 4]);
    assert_eq!(outcome.number("points_granted"), 20, "8 times 2.55 pounds; a guest has no points");
    // Place, Place, Cancel, Place; a look-up and two lines; one line; a restock; a grant. In the evening, at
    // least one question whether all points are granted.
    let calls = outcome.number("calls");
    assert!((11..20).contains(&calls), "{calls}");
    assert_eq!((outcome.number("retries"), &outcome.report["error_rate"]), (0, &0.0.into()));
    for quantile in ["mean", "p50", "p99", "p999"] {
        assert!(outcome.report["latency_ms"][quantile].as_f64().unwrap() > 0.0);
    }
    assert!(outcome.out.contains("1 rejected with ORD-E-003"), "{}", outcome.out);
    assert!(outcome.out.contains("the books balance"), "{}", outcome.out);
    assert!(outcome.err.is_empty(), "{}", outcome.err);
}

#[test]
fn the_form_of_the_file_does_not_matter() {
    let files = Files::new();
    let mut columns: Vec<Vec<String>> = Vec::new();
    let mut rows = csv::ReaderBuilder::new().has_headers(false).from_reader(HEADER.as_bytes());
    columns.extend(rows.records().map(|row| row.unwrap().iter().map(str::to_owned).collect()));
    let mut rows = csv::ReaderBuilder::new().has_headers(false).from_reader(DAY.as_bytes());
    columns.extend(rows.records().map(|row| row.unwrap().iter().map(str::to_owned).collect()));
    let backwards = |row: &Vec<String>| {
        let fields: Vec<String> = row.iter().rev().map(|field| format!("\"{field}\"")).collect();
        fields.join(",") + "\r\n"
    };
    let text = "\u{feff}".to_owned() + &columns.iter().map(backwards).collect::<String>();
    let outcome = files.run(&["--orders", &files.write("day.csv", text)]);
    outcome.balances();
    assert_eq!((outcome.orders(), outcome.units()), ([4, 2, 1, 1, 0], [12, 4]));
}

#[test]
fn a_day_is_played_again_with_the_stock_that_is_left() {
    let files = Files::new();
    let day = files.write("day.csv", format!("{HEADER}\n{DAY}"));
    let outcome = files.run(&["--orders", &day, "--repeat", "50", "--inflight", "7"]);
    outcome.balances();
    assert_eq!((outcome.orders(), outcome.units()), ([200, 100, 50, 50, 0], [600, 200]));
    assert_eq!(outcome.number("points_granted"), 50 * 20);

    // Of A there are 10, and 8 go and 1 comes a day; of B 10, and 4 go and 3 come.
    let outcome = files.run(&["--orders", &day, "--repeat", "3", "--inflight", "1", "--stock", "10"]);
    outcome.balances();
    assert_eq!((outcome.orders(), outcome.units()), ([12, 4, 5, 3, 0], [8 + 3 * 4, 12]));
    assert_eq!(outcome.number("points_granted"), 20);
    assert!(outcome.out.contains("2 rejected with ORD-E-102"), "{}", outcome.out);
}

#[test]
fn scarce_stock_goes_to_whoever_comes_first_and_all_or_nothing() {
    let files = Files::new();
    // The second order's first line would fit and its second does not: the first is put back for the third.
    let rows = "1,A,x,6,d,1.0,1,UK\n2,B,x,5,d,1.0,2,UK\n2,A,x,5,d,1.0,2,UK\n3,B,x,10,d,1.0,3,UK\n\
                4,A,x,5,d,1.0,4,UK\nC5,A,x,-1,d,1.0,1,UK\n6,A,x,5,d,1.0,4,UK\n7,A,x,1,d,1.0,4,UK\n";
    let day = files.write("day.csv", format!("{HEADER}\n{rows}"));
    let outcome = files.run(&["--orders", &day, "--inflight", "1", "--stock", "10"]);
    outcome.balances();
    assert_eq!(outcome.orders(), [7, 3, 3, 1, 0]);
    assert_eq!(outcome.units(), [6 + 10 + 5, 1]);
    let crowd = files.run(&["--orders", &day, "--inflight", "7", "--stock", "10", "--repeat", "30"]);
    crowd.balances();
    assert_eq!(crowd.orders()[4], 0);
    let nothing = files.run(&["--orders", &day, "--inflight", "1", "--stock", "0"]);
    nothing.balances();
    assert_eq!((nothing.orders(), nothing.units()), ([7, 1, 5, 1, 0], [1, 1]));
}

#[test]
fn a_day_without_orders_is_a_day() {
    let files = Files::new();
    let outcome = files.run(&["--orders", &files.write("day.csv", format!("{HEADER}\n"))]);
    outcome.balances();
    assert_eq!((outcome.orders(), outcome.units()), ([0; 5], [0; 2]));
    assert_eq!(outcome.report["error_rate"], 0.0);
}

#[test]
fn bad_input_is_named_with_its_place_and_nothing_starts() {
    let files = Files::new();
    let bad = |rows: &str| files.write("bad.csv", format!("{HEADER}\n1,A,x,1,d,1.0,,UK\n{rows}\n"));
    for (rows, said) in [
        ("2,A,x,six,d,1.0,,UK", "bad.csv:3: Quantity \"six\" is not a whole number"),
        ("2,A,x,1,d,cheap,,UK", "bad.csv:3: UnitPrice \"cheap\" is not a number"),
        ("2,A,x,1,d,1.0,bob,UK", "bad.csv:3: CustomerID \"bob\" is not a customer's number"),
        ("2,A,x,1,d,1.0", "bad.csv:3: has 6 fields where the first line has 8"),
    ] {
        let outcome = files.run(&["--orders", &bad(rows)]);
        assert_eq!(outcome.code, 2, "{rows}");
        assert!(outcome.err.contains(said), "{rows}: {}", outcome.err);
        assert!(outcome.out.is_empty() && outcome.report.is_null());
    }
    let header = HEADER.replace("StockCode,", "");
    let outcome = files.run(&["--orders", &files.write("bad.csv", header)]);
    assert_eq!(outcome.code, 2);
    assert!(outcome.err.contains("bad.csv:1: column StockCode is missing"), "{}", outcome.err);

    let faults = files.write("bad.toml", "[all]\ndie_for_s = 1.0\ndie_often = 2.0\n");
    for (arguments, said) in [
        (&["--orders", "/no/such/day.csv"][..], "/no/such/day.csv: cannot be read"),
        (&["--faults", "/no/such/faults.toml"], "/no/such/faults.toml: cannot be read"),
        (&["--faults", &faults], "bad.toml:3: unknown field `die_often`"),
        (&["--report", "/no/such/place.json"], "/no/such/place.json: cannot be written"),
        (&["--inflight", "0"], "--inflight"),
        (&["--repeat", "0"], "--repeat"),
        (&["--stock=-1"], "--stock"),
        (&["--policies", "some"], "--policies"),
        (&["--order", "x.csv"], "--order"),
    ] {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let code = run(["storefront"].iter().chain(arguments), &mut out, &mut err);
        let err = String::from_utf8(err).unwrap();
        assert_eq!(code, 2, "{arguments:?}");
        assert!(err.contains(said), "{arguments:?}: {err}");
        assert!(out.is_empty());
    }
}

/// A bad day in a few seconds: every service loses a replica again and again, calls fail, connections are
/// reset, one replica is slow.
const TROUBLE: &str = "
[all]
die_every_s = 0.5
die_for_s = 0.2
transient_rate = 0.02
reset_every_s = 0.1
reset_share = 0.05
[inventory]
slow_every_s = 1.0
slow_for_s = 0.3
slow_factor = 20.0
";

/// Plays the small day until at least two seconds of trouble are over (with the policies, if it is played both ways).
fn trouble(policies: &str) -> Outcome {
    let files = Files::new();
    let day = files.write("day.csv", format!("{HEADER}\n{DAY}"));
    let faults = files.write("faults.toml", TROUBLE);
    let mut repeat = 500;
    loop {
        let times = repeat.to_string();
        let arguments = [
            "--orders",
            &day,
            "--faults",
            &faults,
            "--policies",
            policies,
            "--repeat",
            &times,
            "--stock",
            "300",
        ];
        let outcome = files.run(&arguments);
        outcome.balances();
        if outcome.report["elapsed_s"].as_f64().unwrap() > 2.0 {
            return outcome;
        }
        repeat *= 3;
    }
}

#[test]
fn the_books_balance_through_trouble_and_no_order_fails() {
    let outcome = trouble("full");
    let [read, placed, rejected, cancelled, failed] = outcome.orders();
    assert_eq!(placed + rejected + cancelled + failed, read);
    assert!(failed * 1_000 <= read, "{}", outcome.out);
    assert!(outcome.number("retries") > 0);
    for what in ["deaths", "transient", "resets", "slow_phases"] {
        assert!(outcome.report["faults"][what].as_u64().unwrap() > 0, "{what}: {}", outcome.out);
    }
}

/// An order that was refused at the door is asked for again: the calls below it are first attempts all the same. Else some of
/// its many lines would fail each time.
#[test]
fn a_long_order_is_placed_although_it_is_asked_for_again() {
    let files = Files::new();
    let line = |n: u32| format!("600001,{n},THING {n},1,1/4/2011 10:00,1.50,17850,United Kingdom\n");
    let day = files.write("day.csv", format!("{HEADER}\n{}", (1..=300).map(line).collect::<String>()));
    let faults =
        files.write("faults.toml", "[order]\ntransient_rate = 0.1\n[inventory]\ntransient_rate = 0.02\n");
    let outcome = files.run(&["--orders", &day, "--faults", &faults, "--policies", "full", "--repeat", "40"]);
    outcome.balances();
    assert_eq!(outcome.orders(), [40, 40, 0, 0, 0], "{}", outcome.out);
}

#[test]
fn without_policies_orders_fail_and_the_books_balance_all_the_same() {
    let outcome = trouble("none");
    let [read, placed, rejected, cancelled, failed] = outcome.orders();
    assert_eq!(placed + rejected + cancelled + failed, read);
    assert!(failed > 0 && outcome.report["error_rate"].as_f64().unwrap() > 0.01, "{}", outcome.out);
    assert_eq!((outcome.number("retries"), outcome.number("hedges")), (0, 0));
    assert_eq!((outcome.number("breakers_opened"), outcome.number("shed")), (0, 0));
}

/// The made-up day under the usual faults, both ways.
#[test]
fn policies_make_fewer_orders_fail_and_no_more_than_a_fifth_more_attempts() {
    let files = Files::new();
    let outcome = files.run(&["--faults", "default", "--repeat", "2"]);
    outcome.balances();
    let (after, before) = (&outcome.report, &outcome.report["before"]);
    assert_eq!((&after["policies"], &before["policies"]), (&"full".into(), &"none".into()));
    assert_eq!(before["ledger_ok"], true, "{}", outcome.out);
    let failed = |report: &Value| report["orders"]["failed"].as_u64().unwrap();
    assert_eq!(after["orders"]["read"], before["orders"]["read"]);
    assert!(failed(before) > 100 && failed(after) * 50 <= failed(before), "{}", outcome.out);
    // One replica is slow: who does not take turns hardly meets it.
    let p99 = |report: &Value| report["latency_ms"]["p99"].as_f64().unwrap();
    assert!(p99(after) < p99(before), "{}", outcome.out);
    assert_eq!((&before["attempts"], &before["retries"]), (&before["calls"], &0.into()));
    // A hundred for the budget's reserve: ten a second for each of ten clients, of which a second or two are used.
    let (calls, attempts) = (after["calls"].as_u64().unwrap(), after["attempts"].as_u64().unwrap());
    assert!(attempts > calls && attempts <= calls * 12 / 10 + 100, "{}", outcome.out);
    let beyond = outcome.number("retries") + outcome.number("hedges");
    assert!(attempts - calls <= beyond, "{}", outcome.out);
    assert!(outcome.out.contains("errors from "), "{}", outcome.out);
}

/// `GET` of a path; `None` while nobody listens, and when nobody listens any more.
fn get(address: SocketAddr, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(address).ok()?;
    write!(stream, "GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n").ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    assert!(text.starts_with("HTTP/1.1 200"), "{path}: {text}");
    Some(text)
}

#[test]
fn the_day_can_be_looked_at_while_it_is_played() {
    // An address of loopback's own that no other process has: whatever the port, it is free.
    let [_, _, high, low] = process::id().to_be_bytes();
    let address = SocketAddr::from(([127, 83, high, low], 9900));
    let admin = address.to_string();
    let day = thread::spawn(move || Files::new().run(&["--admin", &admin, "--repeat", "2"]));
    let wanted = [
        (
            "/metrics",
            "rpc_client_call_duration_seconds_count{target=\"order\",rpc_method=\"OrderService.Place\",outcome=\"ok\"}",
        ),
        ("/metrics", "rpc_server_call_duration_seconds_count{target=\"inventory\","),
        ("/stack.json", "\"name\":\"order-server\""),
        ("/methods.json", "\"InventoryService.Deduct\""),
        ("/", "<title>"),
    ];
    for (path, words) in wanted {
        while !get(address, path).is_some_and(|page| page.contains(words)) {
            assert!(!day.is_finished(), "the day is over, and {path} has never had {words}");
            thread::yield_now();
        }
    }
    // Of each service, a server answers calls behind its limits, and the console shows both.
    let servers = ["user-server", "order-server", "inventory-server", "points-server"];
    let is_seen = |snapshot: &Value, name: &str| {
        let target = snapshot["targets"].as_array()?.iter().find(|one| one["name"] == name)?;
        let is = target["side"] == "server" && target["limits"][0]["limit"].as_u64()? > 0;
        let busy = target["traffic"]["calls"].as_u64()? > 0 && !target["methods"].as_array()?.is_empty();
        Some(is && busy && target["state"] == "serving")
    };
    loop {
        let page = get(address, "/snapshot.json").unwrap_or_default();
        let body = page.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        let snapshot: Value = serde_json::from_str(body).unwrap_or_default();
        if servers.iter().all(|name| is_seen(&snapshot, name) == Some(true)) {
            break;
        }
        assert!(!day.is_finished(), "the day is over, and not all servers were seen at work: {snapshot}");
        thread::yield_now();
    }
    let outcome = day.join().unwrap();
    assert_eq!((outcome.code, get(address, "/")), (0, None), "{}", outcome.err);
}

#[test]
fn help_is_no_mistake() {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    assert_eq!(run(["storefront", "--help"], &mut out, &mut err), 0);
    assert!(String::from_utf8(out).unwrap().contains("--policies") && err.is_empty());
}
