// Versions, throughput and latency from the server's own counters: the difference between two readings.
import { $, fill, h, on, post, server } from "./common.js";
import { figure } from "./evaluate.js";
import { locale, number, t } from "./text.js";
const KEPT = 90; // looks
let looks = []; // {rates: {version: per second}, rate, p50, p95}, or {} where nothing is known
let [before, states] = [null, null]; // {time, metrics} at the last look, and the states by version
let [sending, answering] = [false, null]; // whether test traffic is sent, and the version that answered last
on("selection", () => ((before = states = null), (looks = [])));
on("state", () => {
  const { metrics, versions } = server.state;
  const time = performance.now();
  const known = metrics && before?.metrics;
  looks = [...looks, known ? difference(metrics, before.metrics, (time - before.time) / 1000) : {}].slice(-KEPT);
  before = { time, metrics };
  const now = Object.fromEntries(versions.map((one) => [one.version, one.state]));
  for (const version of versions.length && states ? Object.keys({ ...states, ...now }) : []) {
    if (!now[version]) report("Version {0} is no longer listed", version);
    else if (states[version] !== now[version]) report("Version {0} is {1}", version, now[version].toLowerCase());
  }
  if (versions.length) states = now;
  render();
});

function difference(now, then, seconds) {
  const count = now.latency.count - then.latency.count;
  if (count < 0) return {}; // the server was started again
  const rates = Object.keys(now.versions).length ? {} : { "": count / seconds };
  for (const [version, total] of Object.entries(now.versions)) {
    rates[version] = (total - (then.versions[version] ?? 0)) / seconds;
  }
  const old = new Map(then.latency.buckets);
  const buckets = now.latency.buckets.map(([bound, value]) => [bound, value - (old.get(bound) ?? 0)]);
  return { rates, rate: count / seconds, p50: quantile(buckets, count, 0.5), p95: quantile(buckets, count, 0.95) };
}

/** Milliseconds under which a share of the requests stayed, interpolated within a bucket; undefined without any. */
function quantile(buckets, count, share) {
  let [lower, below] = [0, 0];
  for (const [bound, value] of count ? buckets : []) {
    if (value >= count * share) return (lower + ((bound - lower) * (count * share - below)) / (value - below)) / 1000;
    [lower, below] = [bound, value];
  }
}

// ---- what is shown
const shown = (value, unit = "") => (value === undefined ? "–" : number(value, 1) + unit);
function render() {
  const { labels = {}, metrics = null, versions = [], reachable = false } = server.state ?? {};
  const { rate, p50, p95 } = looks.at(-1) ?? {};
  $("no-metrics").hidden = Boolean(metrics) || !reachable;
  fill($("figures"), figure(t("Predictions per second"), shown(rate)), figure(t("Median latency"), shown(p50, " ms")),
    figure(t("95th percentile"), shown(p95, " ms")), figure(t("Failed requests"), metrics ? number(metrics.failed) : "–"));
  const served = [...new Set(looks.flatMap((look) => Object.keys(look.rates ?? {})))].slice(-4);
  const name = (version) => (version ? t("Version {0}", version) : t("All versions"));
  chart($("throughput"), served.map((one) => [name(one), (look) => look.rates && (look.rates[one] ?? 0)]));
  chart($("latency"), [[t("Median"), (look) => look.p50], [t("95th percentile"), (look) => look.p95]]);
  const tag = (text, kind = "") => h("span", { className: `tag ${kind}` }, text);
  const labelled = (version) => Object.keys(labels).filter((label) => labels[label] === version);
  fill($("versions"), ...versions.map(({ version, state, error }) => h("li", {}, h("strong", {}, name(version)),
    tag(t(state.toLowerCase()), { AVAILABLE: "good", END: "bad" }[state]),
    ...labelled(version).map((label) => tag(label)), h("small", {}, error && t("Cannot load: {0}", error)))));
  $("events").dataset.empty = t("Changes of versions appear here.");
}

/** Lines over time, with gaps where nothing is known, and a legend; `series` are names and what to read of a look. */
function chart(element, series) {
  const rows = series.map(([name, read]) => [name, looks.map(read)]);
  const top = Math.max(...rows.flatMap(([, values]) => values.filter((value) => value !== undefined)), 0.001);
  const point = (value, at, values) => value === undefined ? "" : (values[at - 1] === undefined ? "M" : "L") +
    `${((at + KEPT - values.length) * 300) / (KEPT - 1)} ${98 - (94 * value) / top}`;
  const svg = (tag, attributes) => {
    const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    return made;
  };
  const picture = svg("svg", { viewBox: "0 0 300 100", preserveAspectRatio: "none", "aria-hidden": "true" });
  picture.append(...rows.map(([, values], at) => svg("path", { class: `line${at}`, d: values.map(point).join("") })));
  const legend = rows.map(([name, values], at) => h("li", { className: `line${at}` }, `${name}: ${shown(values.at(-1))}`));
  fill(element, picture, h("ul", { className: "legend" }, ...legend, h("li", {}, t("Peak: {0}", shown(top)))));
}

function report(text, version, state) {
  const time = new Date().toLocaleTimeString(locale.tag, { hour12: false });
  $("events").prepend(h("li", {}, h("time", {}, time), h("span", {}, t(text, version, state && t(state)))));
  $("events").children[50]?.remove();
}

// ---- test traffic: one request after the other, so that a change of versions can be watched
async function send() {
  if (!sending || !server.samples?.count) return;
  try {
    const sample = Math.floor(Math.random() * server.samples.count);
    const [{ version }] = (await (await post("/api/classify", { sample, other: "" })).json()).results;
    if (version !== answering) report("Version {0} answers", (answering = version));
  } catch {
    answering = null; // the banner says what is wrong
  }
  setTimeout(send, 100);
}
$("traffic").onclick = () => {
  [sending, answering] = [!sending, null];
  $("traffic").ariaPressed = String(sending);
  send();
};
on("language", render);
