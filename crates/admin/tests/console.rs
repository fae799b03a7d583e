//! The console in headless Chromium. Without one on this machine nothing is tested, and that is said; the gate has one.
//!
//! `PICTURES=folder` has pictures of it taken: narrow and wide, light and dark; with `PICTURES_OF=url`, of a console that is
//! served there, and with `PICTURES_HEIGHT`, of the upper part of it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "common/browser.rs"]
mod browser;
mod common;

use browser::Browser;
use common::{Rig, Served, post, rig, serve};
use serde_json::json;
use std::{env, path::PathBuf, time::Duration};
use tokio::time::sleep;
use towpath_admin::Admin;

async fn start(width: u32, height: u32, dark: bool) -> Option<Browser> {
    let browser = Browser::start(width, height, dark).await;
    if browser.is_none() {
        assert!(env::var_os("CI").is_none(), "there is no chromedriver, and this is the gate");
        eprintln!("there is no chromedriver: not tested");
    }
    browser
}

/// Calls that go on, most of them well.
async fn traffic(rig: &mut Rig) {
    for round in 0..40 {
        for _ in 0..20 {
            rig.call("Shop.Sell").await.unwrap();
        }
        let _ = rig.call(if round % 8 == 0 { "Shop.Lose" } else { "Shop.Refuse" }).await;
    }
}

fn page(served: &Served) -> String {
    format!("http://{}/", served.address)
}

const RATE: &str = "return document.querySelector('[data-tile=rate] .big')?.textContent";
const TOTAL: &str =
    "return parseInt(document.querySelector('[data-tile=success] .more')?.textContent.replace(/,/g, ''))";

#[tokio::test]
async fn live_values_change_and_a_failed_call_is_explained() {
    let Some(browser) = start(1280, 900, false).await else { return };
    let mut rig = rig();
    let served = serve(Admin::new().target("shop", rig.target.clone())).await;
    browser.open(&page(&served)).await;
    browser.wait("return document.querySelector('#link.live')?.textContent").await;
    assert_eq!(browser.wait(RATE).await, json!("0"));
    traffic(&mut rig).await;
    browser.wait("return document.querySelector('[data-tile=rate] .big').textContent !== '0'").await;
    let before = browser.wait(TOTAL).await.as_u64().unwrap();
    traffic(&mut rig).await;
    browser.wait(&format!("{TOTAL} > {before}")).await;
    browser.wait("return document.querySelectorAll('[data-tile=rate] rect').length").await;

    // Each method has a line of its own, which changes as well.
    let of_method = |method: &str, cell: &str| {
        format!(
            "return [...document.querySelectorAll('[data-method=\"{method}\"] td')].find((one) => one.dataset.label === '{cell}')?.textContent"
        )
    };
    let calls = format!(
        "parseInt({}.replace(/,/g, ''))",
        of_method("Shop.Sell", "Calls").trim_start_matches("return ")
    );
    let before = browser.wait(&format!("return {calls}")).await.as_u64().unwrap();
    traffic(&mut rig).await;
    browser.wait(&format!("return {calls} > {before}")).await;
    assert_eq!(browser.eval(&of_method("Shop.Sell", "Success")).await, json!("100 %"));
    assert_eq!(browser.eval(&of_method("Shop.Refuse", "Success")).await, json!("0.0 %"));

    // What others say is text.
    let chain = "return [...document.querySelectorAll('.chain li')].some((one) => one.textContent.includes('<b>no & such</b>'))";
    browser.wait(chain).await;
    assert_eq!(browser.eval("return document.querySelectorAll('.chain b').length").await, json!(0));

    let trace_id = rig.recorder.faults(1)[0].trace_id.clone();
    browser.wait(&format!("return !!document.querySelector('[data-fault=\"{trace_id}\"]')")).await;
    browser.click(&format!("[data-fault=\"{trace_id}\"] button")).await;
    let told = browser.wait("return document.querySelector('[data-explained] ol')?.textContent").await;
    assert!(told.as_str().unwrap().contains("attempt 1 goes to"), "{told}");
    browser.click("#explain-close").await;
    assert_eq!(browser.eval("return document.getElementById('explain').hidden").await, json!(true));

    // Nobody can change anything, and there is no button for it.
    assert_eq!(browser.eval("return document.querySelectorAll('.force').length").await, json!(0));
    assert_eq!(browser.complaints().await, Vec::<serde_json::Value>::new());
    // Every field has a name, and every table has heads.
    let unnamed = "return [...document.querySelectorAll('input')].filter((one) => !one.labels.length).length
        + [...document.querySelectorAll('table')].filter((one) => !one.querySelector('th[scope=col]') || !one.ariaLabel).length";
    assert_eq!(browser.eval(unnamed).await, json!(0));
}

#[tokio::test]
async fn the_slowest_methods_are_first_if_that_is_wanted() {
    let Some(browser) = start(390, 844, false).await else { return };
    let rig = rig();
    // The busiest is quick, and another one is slow by so much that it is on any machine. They go on, as what is shown is of
    // the last seconds.
    for (method, pause) in [("Shop.Sell", 2), ("Shop.Refuse", 50), ("Shop.Linger", 0)] {
        let mut rig = rig.clone();
        tokio::spawn(async move {
            loop {
                rig.call(method).await.unwrap();
                sleep(Duration::from_millis(pause)).await;
            }
        });
    }
    let served = serve(Admin::new().target("shop", rig.target.clone())).await;
    browser.open(&page(&served)).await;
    let first = "document.querySelector('[data-method]')?.dataset.method";
    let pressed = "document.querySelector('.orders [aria-pressed=true]')?.dataset.order";
    browser.wait(&format!("return {pressed} === 'rate'")).await;
    browser.click("[data-order=p99]").await;
    browser.wait(&format!("return {pressed} === 'p99' && {first} === 'Shop.Linger'")).await;
    // The next event does not change that, nor who has the focus.
    let shown = "document.querySelector('.target .tile')";
    browser.eval(&format!("window.before = {shown}; return 0")).await;
    browser.wait(&format!("return {shown} !== window.before && {first} === 'Shop.Linger'")).await;
    assert_eq!(browser.eval("return document.activeElement.dataset.order").await, json!("p99"));
    assert!(browser.overflow().await <= 0, "the page is wider than the window");
    browser.click("[data-order=rate]").await;
    browser.wait(&format!("return {pressed} === 'rate' && {first} === 'Shop.Sell'")).await;
    assert_eq!(browser.complaints().await, Vec::<serde_json::Value>::new());
}

#[tokio::test]
async fn buttons_open_and_close_breakers() {
    let Some(browser) = start(390, 844, false).await else { return };
    let mut rig = rig();
    let served = serve(Admin::new().writable(true).target("shop", rig.target.clone())).await;
    traffic(&mut rig).await;
    browser.open(&page(&served)).await;
    let button = |mode: &str| format!("[data-breaker='method:Shop.Sell'] [data-mode={mode}]");
    let state = |state: &str| {
        format!(
            "return document.querySelector(\"[data-breaker='method:Shop.Sell'] .badge\")?.textContent === '{state}'"
        )
    };
    browser.wait(&state("closed")).await;
    let newest = |says: &str| {
        format!(
            "return document.querySelector('[data-event=breaker] p')?.textContent === 'shop Shop.Sell {says}'"
        )
    };
    assert_eq!(browser.eval(&newest("forced open by hand")).await, json!(false));
    browser.click(&button("open")).await;
    browser.wait(&state("open")).await;
    browser.wait(&newest("forced open by hand")).await;
    rig.call("Shop.Sell").await.unwrap_err();
    browser.click(&button("automatic")).await;
    browser
        .wait(&format!(
            "return document.querySelector(\"{}\")?.getAttribute('aria-pressed') === 'true'",
            button("automatic")
        ))
        .await;
    rig.call("Shop.Sell").await.unwrap();
    browser.click(&button("closed")).await;
    browser.wait(&state("closed")).await;
    browser.wait(&newest("forced closed by hand")).await;
    assert!(browser.overflow().await <= 0, "the page is wider than the window");
    assert_eq!(browser.complaints().await, Vec::<serde_json::Value>::new());
}

#[tokio::test]
async fn a_token_is_asked_for() {
    let Some(browser) = start(390, 844, true).await else { return };
    let served = serve(Admin::new().token("s3cret").writable(true).target("shop", rig().target)).await;
    browser.open(&page(&served)).await;
    browser.wait("return !document.getElementById('ask').hidden").await;
    assert_eq!(browser.eval("return document.querySelectorAll('.target').length").await, json!(0));
    browser.type_into("#token", "s3cret").await;
    browser.click("#ask button").await;
    browser.wait("return document.querySelectorAll('.target').length").await;
    assert!(browser.overflow().await <= 0, "the page is wider than the window");
}

/// A page of another site, in the same browser, changes nothing and reads nothing.
#[tokio::test]
async fn a_page_of_another_site_changes_nothing() {
    let Some(browser) = start(800, 600, false).await else { return };
    let mut rig = rig();
    rig.call("Shop.Sell").await.unwrap();
    let served = serve(Admin::new().writable(true).target("shop", rig.target.clone())).await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let evil = listener.local_addr().unwrap();
    let page = axum::Router::new().route("/", axum::routing::get(async || "not ours"));
    tokio::spawn(async { axum::serve(listener, page).await });
    browser.open(&format!("http://localhost:{}/", evil.port())).await;
    let body = r#"{"target":"shop","breaker":"method:Shop.Sell","mode":"open"}"#;
    let script = format!(
        "const tried = async (options) => {{ try {{ return (await fetch('http://{}/breakers', options)).status }} catch (e) {{ return 'refused' }} }};
         return Promise.all([tried({{method: 'POST', body: '{body}'}}), tried({{method: 'POST', body: '{body}', mode: 'no-cors'}}),
            tried({{method: 'POST', body: '{body}', headers: {{'x-towpath-admin': '1'}}}})])",
        served.address
    );
    let told = browser.eval(&script).await;
    assert_eq!(told, json!(["refused", 0, "refused"]), "no answer of ours is for it to read");
    rig.call("Shop.Sell").await.expect("the breaker is as it was");
    // The same from here is done.
    let done = post(served.address, "/breakers", body).header("x-towpath-admin", "1").json().await;
    assert_eq!(done.0, 200);
    rig.call("Shop.Sell").await.unwrap_err();
}

#[tokio::test]
async fn pictures() {
    let Some(folder) = env::var_os("PICTURES").map(PathBuf::from) else { return };
    let url = env::var("PICTURES_OF").ok();
    let part = env::var("PICTURES_HEIGHT").ok().map(|height| height.parse().unwrap());
    for (width, height) in [(1280, 900), (390, 844)] {
        for dark in [false, true] {
            let Some(browser) = start(width, height, dark).await else { return };
            let mut rig = rig();
            let served = serve(Admin::new().writable(true).target("shop", rig.target.clone())).await;
            browser.open(url.as_deref().unwrap_or(&page(&served))).await;
            for _ in 0..5 {
                traffic(&mut rig).await;
                sleep(Duration::from_millis(900)).await;
            }
            let name = format!("{width}-{}.png", if dark { "dark" } else { "light" });
            browser.picture(&folder.join(name), width, part).await;
        }
    }
}
