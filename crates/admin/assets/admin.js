// The console. Everything that comes from outside is put in as text, never as HTML.
"use strict";

const $ = (id) => document.getElementById(id);
let token = sessionStorage.getItem("towpath-admin-token");
let writable = false;
let last = null;
/** Lists that are shown in full. */
const opened = new Set();
/** By what methods are in order. */
let order = "rate";
const FEW = 6;

/** An element: classes after the name, then attributes, then children (texts or elements). */
function el(what, attributes, ...children) {
  const [name, ...classes] = what.split(".");
  const made = document.createElement(name);
  if (classes.length) made.className = classes.join(" ");
  for (const [key, value] of Object.entries(attributes || {})) {
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (value !== null && value !== undefined) made.setAttribute(key, value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

function svg(name, attributes) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

const number = (value, digits = 0) =>
  value.toLocaleString("en", { maximumFractionDigits: digits, minimumFractionDigits: digits });

function rate(value) {
  return value >= 10_000 ? number(value / 1000, 1) + "k" : number(value, value > 0 && value < 10 ? 1 : 0);
}

function time(us) {
  if (us === null || us === undefined) return "–";
  if (us < 1000) return us + " µs";
  if (us < 1_000_000) return number(us / 1000, us < 10_000 ? 1 : 0) + " ms";
  return number(us / 1_000_000, 1) + " s";
}

function span(ms) {
  if (ms < 1000) return ms + " ms";
  const s = Math.round(ms / 1000);
  if (s < 120) return s + " s";
  const m = Math.round(s / 60);
  return m < 120 ? m + " min" : Math.round(m / 60) + " h";
}

function share(value) {
  if (value === null || value === undefined) return "–";
  // What is not all is not to look like all.
  const percent = value < 1 ? Math.min(value * 100, 99.99) : 100;
  return number(percent, percent > 99 && percent < 100 ? 2 : percent === 100 ? 0 : 1) + " %";
}

const GOOD = ["connected", "serving", "ready", "closed breaker"];
const BAD = ["ejected", "unhealthy", "gone", "open", "forced open"];

function badge(word, of = "") {
  const key = word === "closed" && of === "breaker" ? "closed breaker" : word;
  const tone = GOOD.includes(key) ? "good" : BAD.includes(key) ? "bad" : word === "idle" ? "" : "warn";
  return el("span.badge" + (tone ? "." + tone : ""), null, word);
}

/** Bars, one on another, for a minute. */
function bars(points) {
  const chart = svg("svg", { viewBox: "0 0 60 40", preserveAspectRatio: "none", role: "img", "aria-label": "calls per second of the last minute" });
  chart.append(svg("line", { class: "base", x1: 0, x2: 60, y1: 39.5, y2: 39.5 }));
  const top = Math.max(1, ...points.map((point) => point.ok + point.faults + point.failed));
  for (const point of points) {
    const x = 59 - Math.round(point.ago_ms / 1000);
    if (x < 0) continue;
    let y = 39.5;
    for (const kind of ["ok", "faults", "failed"]) {
      const height = (point[kind] / top) * 38;
      if (height <= 0) continue;
      y -= height;
      chart.append(svg("rect", { class: kind, x: x + 0.1, y, width: 0.8, height }));
    }
  }
  return chart;
}

/** Two lines for a minute, both from zero on, on one scale. */
function lines(points) {
  const chart = svg("svg", { viewBox: "0 0 60 40", preserveAspectRatio: "none", role: "img", "aria-label": "time of calls of the last minute: the median, and the 99th percentile" });
  chart.append(svg("line", { class: "base", x1: 0, x2: 60, y1: 39.5, y2: 39.5 }));
  const top = Math.max(1, ...points.map((point) => point.p99_us || 0));
  for (const kind of ["p99", "p50"]) {
    let path = "";
    let pen = "M";
    for (const point of points) {
      const value = point[kind + "_us"];
      // Where there were no calls there is no line.
      if (value === null) { pen = "M"; continue; }
      path += `${pen}${(59.5 - point.ago_ms / 1000).toFixed(2)} ${(39 - (value / top) * 37).toFixed(2)}`;
      pen = "L";
    }
    if (path) chart.append(svg("path", { class: kind, d: path }));
  }
  return chart;
}

function tile(name, title, big, more, chart) {
  return el("div.tile", { "data-tile": name }, el("h3", null, title), el("p.big", null, big), el("p.more", null, ...more), chart);
}

const key = (which, text) => [el("span.key" + (which ? "." + which : "")), text];

function tiles(target) {
  const traffic = target.traffic;
  if (!traffic) return null;
  const budget = target.budget;
  const fifth = budget
    ? tile("budget", "Retry budget", number(budget.left),
      [`${number(budget.retries)} retries, ${number(budget.hedges)} hedges (${number(budget.hedges_won)} won), ${number(budget.refused)} not paid for`], null)
    : tile("cancelled", "Given up", number(traffic.cancelled), ["by their callers"], null);
  return el("div.tiles", null,
    tile("rate", "Calls per second", rate(traffic.rate),
      [...key("", "ok"), ...key("second", "faults"), ...key("third", "failed")], bars(traffic.series)),
    tile("success", "Success", share(traffic.success),
      [`${number(traffic.calls)} calls: ${number(traffic.faults)} faults, ${number(traffic.failed)} failed` +
        (traffic.attempts ? `; ${number(traffic.attempts, 2)} attempts per call` : "")], null),
    tile("latency", "Time, p99", time(traffic.p99_us),
      [...key("", `p50 ${time(traffic.p50_us)}`), ...key("second", "p99"), `; p90 ${time(traffic.p90_us)}, longest ${time(traffic.max_us)}`], lines(traffic.series)),
    fifth);
}

function table(label, heads, rows) {
  const head = el("tr", null, ...heads.map(([text, numeric]) => el(numeric ? "th.number" : "th", { scope: "col" }, text)));
  return el("div.scroll", null, el("table.cards", { "aria-label": label }, el("thead", null, head), el("tbody", null, ...rows)));
}

/** The cells of a row know their heads, for where there is no room for them. */
function row(attributes, heads, cells) {
  return el("tr", attributes, ...cells.map((cell, at) => {
    const classes = at === 0 ? "td.name" : heads[at][1] ? "td.number" : "td";
    return el(classes, { "data-label": heads[at][0] }, ...[cell].flat());
  }));
}

function part(title, content) {
  return content ? el("section", null, el("h3", null, title), content) : null;
}

function endpoints(target) {
  if (!target.endpoints.length) return null;
  const heads = [["Endpoint"], ["Status"], ["Weight", 1], ["In flight", 1], ["EWMA", 1], ["Fails", 1], ["Calls", 1]];
  const sorted = [...target.endpoints].sort((a, b) => a.priority - b.priority || a.address.localeCompare(b.address));
  const rows = sorted.map((one) => row({ "data-endpoint": one.address }, heads, [
    [el("code", null, one.address), one.zone || one.priority ? el("span.sub", null, [one.zone, one.priority ? `priority ${one.priority}` : ""].filter(Boolean).join(", ")) : null],
    [badge(one.status), one.until_ms ? el("span.sub", null, "for " + span(one.until_ms)) : null],
    number(one.weight), number(one.in_flight), time(one.ewma_us), share(Math.min(one.failures, 1)), number(one.picks)]));
  return table("Endpoints of " + target.name, heads, rows);
}

/** The first few of many, and a button for the rest. */
function few(name, all, most) {
  const whole = opened.has(name);
  const toggle = () => { whole ? opened.delete(name) : opened.add(name); show(last); };
  const more = all.length > most
    ? el("button.toggle", { type: "button", "aria-expanded": String(whole), "data-key": name, onclick: toggle }, whole ? "Fewer" : `${all.length - most} more`)
    : null;
  return [whole ? all : all.slice(0, most), more];
}

/** The slowest first, as their 99th percentiles say; the rest, which is of many methods, stays last. */
function slowest(a, b) {
  return (a.name === "") - (b.name === "") || (b.p99_us ?? -1) - (a.p99_us ?? -1) || a.name.localeCompare(b.name);
}

function methods(target) {
  if (!target.methods.length) return null;
  const heads = [["Method"], ["Calls/s", 1], ["Success", 1], ["p50", 1], ["p99", 1], ["Calls", 1]];
  // They come with the busiest first.
  const sorted = order === "p99" ? [...target.methods].sort(slowest) : target.methods;
  const [shown, more] = few(target.name + " methods", sorted, 8);
  const rows = shown.map((one) => row({ "data-method": one.name }, heads, [
    one.name ? el("code", null, one.name) : "all others", rate(one.rate),
    el(one.success !== null && one.success < 0.95 ? "span.low" : "span", null, share(one.success)), time(one.p50_us), time(one.p99_us), number(one.calls)]));
  const by = (name, text) => el("button", { type: "button", "aria-pressed": String(order === name), "data-order": name,
    "data-key": `${target.name} order ${name}`, onclick: () => { order = name; show(last); } }, text);
  const orders = target.methods.length > 1
    ? el("p.orders", { role: "group", "aria-label": "Order of methods" }, by("rate", "Busiest first"), " ", by("p99", "Slowest first (p99)")) : null;
  return el("div", null, orders, table("Methods of " + target.name, heads, rows), more);
}

async function force(target, breaker, mode) {
  const answer = await ask("breakers", {
    method: "POST",
    headers: { "content-type": "application/json", "x-towpath-admin": "1" },
    body: JSON.stringify({ target, breaker, mode }),
  });
  if (!answer.ok) say("lost", (await answer.json()).error);
  else refresh();
}

function breakers(target) {
  if (!target.breakers.length) return null;
  const heads = [["Breaker"], ["State"], ["Window", 1], ["Turned away", 1]];
  if (writable) heads.push(["By hand"]);
  const rows = target.breakers.map((one) => {
    const about = one.mode !== "automatic" ? one.mode : one.still_ms ? "for " + span(one.still_ms) : one.changes ? "since " + span(one.for_ms) : null;
    const name = one.name || (one.of === "method" ? "all other methods" : "all");
    const cells = [
      [el("code", null, name), el("span.sub", null, "of " + (one.of === "method" ? "a method" : "an endpoint"))],
      [badge(one.state, "breaker"), about ? el("span.sub", null, about) : null],
      `${number(one.failures)} of ${number(one.calls)} failed` + (one.slow ? `, ${number(one.slow)} slow` : ""), number(one.rejected)];
    if (writable) {
      const button = (mode, text, is) => el("button", {
        type: "button", "aria-pressed": String(one.mode === is), "data-mode": mode, "data-key": `${target.name} ${one.id} ${mode}`,
        "aria-label": `${text}: ${name}`, onclick: () => force(target.name, one.id, mode) }, text);
      cells.push(el("span.force", null, button("open", "Open", "forced open"), button("closed", "Close", "forced closed"), button("automatic", "Auto", "automatic")));
    }
    return row({ "data-breaker": one.id }, heads, cells);
  });
  return table("Breakers of " + target.name, heads, rows);
}

function stack(target) {
  if (!target.stack.length) return null;
  return el("ol.stack", null, ...target.stack.map((step) =>
    el("li." + step.per, { title: "once per " + step.per }, step.name.replace(/Layer$/, ""), step.about ? el("span", null, step.about) : null)));
}

function numbers(pairs) {
  return el("dl", null, ...pairs.filter(([, value]) => value !== null && value !== undefined)
    .flatMap(([name, value]) => [el("dt", null, name), el("dd", null, number(value))]));
}

function pool(target) {
  const one = target.pool;
  return one && numbers([["open", one.open], ["idle", one.idle], ["connecting", one.connecting], ["in flight", one.in_flight],
    ["waiting", one.waiting], ["connects", one.connects], ["failed connects", one.failures], ["losses", one.losses]]);
}

function limits(target) {
  if (!target.limits.length) return null;
  return el("div", null, ...target.limits.map((one) =>
    numbers([[one.name + " limit", one.limit], ["in flight", one.in_flight], ["waiting", one.waiting], [one.name + " refused", one.refused]])));
}

function faults(target) {
  if (!target.traffic) return null;
  if (!target.faults.length) return el("p.none", null, "no call has failed");
  const [shown, more] = few(target.name + " faults", target.faults, FEW);
  return el("div", null, el("ul.faults", null, ...shown.map((one) => el("li", { "data-fault": one.trace_id },
    el("div.line", null,
      el("time", { datetime: new Date(one.at_ms).toISOString() }, new Date(one.at_ms).toTimeString().slice(0, 8)),
      el("span.badge.bad", null, one.code || "error"),
      el("code", null, one.method),
      el("span.more", null, time(one.took_us) + (one.attempts ? `, ${one.attempts} attempt${one.attempts > 1 ? "s" : ""}` : "") + (one.endpoint ? `, last at ${one.endpoint}` : ""))),
    el("ol.chain", null, ...one.chain.map((text) => el("li", null, text))),
    el("button.trace.mono", { type: "button", "data-key": `${target.name} ${one.trace_id}`, onclick: () => explain(one.trace_id) }, one.trace_id)))), more);
}

/** What has happened, the newest first. */
function events(snapshot) {
  if (!snapshot.targets.length) return null;
  const [shown, more] = few("events", snapshot.events, 5);
  const lines = shown.map((one) => el("li", { "data-event": one.kind },
    el("time", { datetime: new Date(one.at_ms).toISOString() }, new Date(one.at_ms).toTimeString().slice(0, 8)),
    el("span.badge" + (one.level ? "." + one.level : ""), null, one.kind),
    el("p", null, el("b", null, one.target), " ", one.who ? el("code", null, one.who) : null, one.who ? " " : null, one.what)));
  return el("section.target", { id: "events", "aria-label": "Events" }, el("h3", null, "What has happened"),
    lines.length ? el("ol.events", null, ...lines) : el("p.none", null, "nothing since somebody looks"), more);
}

function section(target) {
  const state = [badge(target.state), el("span.badge", null, target.side)];
  return el("section.target", { id: "t-" + target.name, "aria-label": target.name, "data-target": target.name },
    el("div.head", null, el("h2", null, target.name), ...state, target.about ? el("p", null, target.about) : null),
    ...target.warnings.map((text) => el("p.warning", { role: "note" }, text)),
    tiles(target),
    el("div.parts", null,
      el("div", null, part("Methods", methods(target)), part("Endpoints", endpoints(target)), part("Breakers", breakers(target)), part("Recent faults", faults(target))),
      el("div", null, part("Stack", stack(target)), part("Connections", pool(target)), part("Limits", limits(target)))));
}

function show(snapshot) {
  last = snapshot;
  writable = snapshot.writable;
  $("metrics").hidden = !snapshot.metrics;
  const selection = document.getSelection();
  // Who marks a text to copy it is not to lose it.
  if (selection && !selection.isCollapsed && $("targets").contains(selection.anchorNode)) return;
  const focus = document.activeElement && document.activeElement.dataset && document.activeElement.dataset.key;
  const scrolled = [...document.querySelectorAll("#targets .scroll")].map((one) => one.scrollLeft);
  $("names").replaceChildren(...snapshot.targets.map((one) => {
    const link = el("a", { href: location.pathname + "#t-" + encodeURIComponent(one.name) }, one.name);
    return el("li", null, link);
  }));
  $("targets").replaceChildren(...(snapshot.targets.length
    ? [events(snapshot), ...snapshot.targets.map(section)]
    : [el("p.none", null, "nothing is shown here yet: see Admin::target")]));
  document.querySelectorAll("#targets .scroll").forEach((one, at) => { one.scrollLeft = scrolled[at] || 0; });
  if (focus) {
    const again = [...document.querySelectorAll("[data-key]")].find((one) => one.dataset.key === focus);
    if (again) again.focus({ preventScroll: true });
  }
}

async function explain(trace) {
  const answer = await ask("explain/" + encodeURIComponent(trace));
  const told = await answer.json();
  const calls = told.calls || [];
  $("explain-calls").replaceChildren(...(calls.length ? calls.map((call) => el("article", { "data-explained": call.trace_id },
    el("p.about", null, el("code", null, call.method), ` by ${call.target}: ${call.outcome} after ${time(call.took_us)}, trace `, el("code", null, call.trace_id),
      call.sampled ? " (one of the sample)" : ""),
    el("ol", null, ...call.decisions.map((one) => el("li", null, el("span", null, time(one.after_us)), el("span", null, one.what)))))) : [el("p.none", null, told.error)]));
  $("explain").hidden = false;
  $("explain-title").focus();
}

function say(how, text) {
  $("link").className = how;
  if ($("link").textContent !== text) $("link").textContent = text;
}

function ask(path, options = {}) {
  const headers = new Headers(options.headers);
  if (token) headers.set("authorization", "Bearer " + token);
  return fetch(path, { ...options, headers, cache: "no-store" });
}

async function refresh() {
  const answer = await ask("snapshot.json");
  if (answer.ok) show(await answer.json());
}

/** Server-sent events by fetch, since an EventSource cannot send the token. */
async function follow() {
  for (;;) {
    try {
      const answer = await ask("events");
      if (answer.status === 401) return login();
      if (!answer.ok) throw new Error(String(answer.status));
      const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
      say("live", "live");
      let text = "";
      for (;;) {
        const { done, value } = await reader.read();
        if (done) break;
        text += value;
        const events = text.split("\n\n");
        text = events.pop();
        const data = events.map((event) => event.split("\n").filter((line) => line.startsWith("data:")).map((line) => line.slice(5)).join("\n"));
        const newest = data.filter(Boolean).pop();
        if (newest) show(JSON.parse(newest));
      }
      // The server ends each stream after a while: what follows is the next one.
    } catch (error) {
      say("lost", last ? "not reached; this is how it was at " + new Date(last.at_ms).toTimeString().slice(0, 8) : "not reached");
    }
    await new Promise((done) => setTimeout(done, 1000));
  }
}

function login() {
  say("lost", token ? "that is not the token" : "a token is needed");
  $("ask").hidden = false;
  $("token").focus();
}

$("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  token = $("token").value;
  sessionStorage.setItem("towpath-admin-token", token);
  $("token").value = "";
  $("ask").hidden = true;
  follow();
});
$("find").addEventListener("submit", (event) => {
  event.preventDefault();
  explain($("trace").value.trim());
});
$("explain-close").addEventListener("click", () => { $("explain").hidden = true; });
document.addEventListener("keydown", (event) => { if (event.key === "Escape") $("explain").hidden = true; });
follow();
