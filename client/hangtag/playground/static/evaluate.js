// Labelled images against one or two versions: accuracy, a matrix that fills up, and the images of one of its cells.
import { openSample } from "./classify.js";
import { $, fill, h, moveByArrows, on, post, sampleUrl, selection, server, versionName } from "./common.js";
import { explain, number, percent, t } from "./text.js";
const MOST_CLASSES = 50;
const MOST_SHOWN = 60; // images of a cell
const DIFFERENCES = 2; // the view of where two versions differ; 0 and 1 show the matrix of one of them
let run = null; // {names, sides, rows: [{truth, predicted, url or sample}], total, running, abort, error}
let [view, cell] = [0, ""]; // the cell as "row,column"

async function evaluate(files) {
  const sides = [selection.which, selection.other].filter(Boolean);
  run = { names: [], sides, rows: [], total: 0, running: true, abort: new AbortController(), error: "" };
  [view, cell] = [0, ""];
  render();
  try {
    await (files ? readFolder(files) : readSamples());
  } catch (error) {
    const broken = error.offline || error.name === "TypeError"; // the latter between two lines of an answer
    if (broken) run.error = t("The playground was stopped. This page reconnects when it runs again.");
    else if (error.name !== "AbortError") run.error = explain(error);
  }
  run.running = false;
  render();
}

async function readSamples() {
  const response = await post("/api/evaluate", { count: $("count").value }, { signal: run.abort.signal });
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (let part = await reader.read(); !part.done; part = await reader.read()) {
    const lines = (rest + part.value).split("\n");
    rest = lines.pop();
    for (const { error, kind, names, total, start, truth = [], predicted } of lines.map((line) => JSON.parse(line))) {
      if (error) throw { error, kind };
      if (names) Object.assign(run, { names, total });
      truth.forEach((one, at) =>
        run.rows.push({ truth: one, predicted: predicted.map((side) => side[at]), sample: start + at }));
    }
    render();
  }
}

async function readFolder(files) {
  const { signal } = run.abort;
  run.names = (await (await post("/api/evaluate", { count: 0 }, { signal })).json()).names;
  const numbers = new Map(run.names.map((name, index) => [name.toLowerCase().replaceAll("/", "_"), index]));
  const truth = (file) => numbers.get(file.webkitRelativePath.split("/").at(-2)?.toLowerCase());
  const images = files.filter((file) => /\.(png|jpe?g)$/i.test(file.name) && truth(file) !== undefined);
  if (!images.length) throw { error: t("No subfolder has the name of a class, such as {0}.", run.names[0]) };
  run.total = images.length;
  for (const file of images) {
    const { pixels, results } = await (await post("/api/classify", {}, { body: file, signal })).json();
    run.rows.push({ truth: truth(file), predicted: results.map((one) => one.top[0].index), url: pixels });
    render();
  }
}

// ---- what is shown
export const figure = (label, value) => h("div", { className: "figure" }, h("span", {}, label), h("strong", {}, value));
const pair = (row) => (view === DIFFERENCES ? row.predicted : [row.truth, row.predicted[view]]);
const describe = (one, other, count) => t(view === DIFFERENCES ? "{0} became {1}: {2}" : "{0} predicted as {1}: {2}",
  t(run.names[one] ?? "?"), t(run.names[other] ?? "?"), number(count));

function render() {
  const { rows, sides, error, running, total } = run ?? { rows: [], sides: [] };
  $("start").textContent = t(running ? "Stop" : "Start");
  Object.assign($("progress"), { hidden: !running, value: rows.length / (total || 1) });
  $("problem").hidden = !error;
  $("problem").textContent = error;
  $("summary").hidden = $("evaluated").hidden = !rows.length;
  if (!rows.length) return;
  const names = sides.map(versionName);
  const share = (side) => percent(rows.filter((row) => row.truth === row.predicted[side]).length / rows.length);
  const differing = rows.filter((row) => row.predicted[0] !== row.predicted.at(-1)).length;
  fill($("summary"), ...names.map((name, side) => figure(t("Accuracy of {0}", name), share(side))),
    names[1] ? figure(t("Answered differently"), number(differing)) : null, figure(t("Images"), number(rows.length)));
  $("view").hidden = !names[1];
  const show = (at) => ([view, cell] = [at, ""], render(), $("view").children[at].focus());
  fill($("view"), ...[...names, t("Differences")].map((name, at) =>
    h("button", { type: "button", ariaPressed: String(view === at), onclick: () => show(at) }, name)));
  renderMatrix(names);
  renderGallery();
}

function renderMatrix(sides) {
  const { names, rows } = run;
  if (names.length > MOST_CLASSES) return fill($("matrix"), t("{0} classes are too many for a matrix.", names.length));
  const counts = names.map(() => names.map(() => 0));
  for (const [one, other] of rows.map(pair)) if (counts[one]) counts[one][other]++;
  const button = (one, other, count) => {
    const share = count && Math.round(8 + 84 * Math.sqrt(count / counts[one].reduce((a, b) => a + b)));
    const [key, label] = [`${one},${other}`, describe(one, other, count)];
    return h("button", {
      type: "button", className: one === other ? "right" : "wrong", style: { "--share": `${share}%` }, title: label,
      ariaLabel: label, ariaPressed: String(cell === key), tabIndex: one || other ? -1 : 0, id: `cell-${key}`,
      onclick: () => ((cell = key), render()),
    }, count ? number(count) : "");
  };
  const focused = document.activeElement?.id;
  const caption = view === DIFFERENCES ? "Rows: {0}. Columns: {1}." : "Rows are true classes, columns are predictions.";
  fill($("matrix"), h("table", {}, h("caption", {}, t(caption, ...sides)),
    h("thead", {}, h("tr", {}, h("td"), ...names.map((name) => h("th", { scope: "col" }, h("span", {}, t(name)))))),
    h("tbody", {}, ...names.map((name, one) => h("tr", {}, h("th", { scope: "row" }, t(name)),
      ...counts[one].map((count, other) => h("td", {}, button(one, other, count))))))));
  if (focused?.startsWith("cell-")) $(focused)?.focus();
}

function renderGallery() {
  const rows = cell ? run.rows.filter((row) => pair(row).join() === cell) : [];
  const title = cell ? describe(...cell.split(","), rows.length) : t("Choose a number in the matrix to see its images.");
  if ($("gallery").dataset.shown === title) return;
  $("gallery").dataset.shown = title;
  const image = ({ url, sample, truth }) => url ? h("img", { src: url, alt: "" }) : h("button",
    { type: "button", ariaLabel: t("Test image {0}", sample), onclick: () => openSample(sample, truth) },
    h("img", { src: sampleUrl(sample), alt: "", loading: "lazy" }));
  fill($("gallery"), h(cell ? "h2" : "p", { className: cell ? "" : "empty" }, title),
    h("div", { className: "strip" }, ...rows.slice(0, MOST_SHOWN).map(image)),
    rows.length > MOST_SHOWN ? h("p", { className: "note" }, t("and {0} more", rows.length - MOST_SHOWN)) : null);
}

function renderControls() {
  const { count = 0, labelled, name } = server.samples ?? {};
  if (!server.samples) return;
  const options = (select, entries) => fill(select, ...entries.map(([value, text]) =>
    h("option", { value, selected: String(value) === select.value }, text)));
  const samples = labelled ? [["samples", t("Test images: {0}", name)]] : [];
  options($("source"), [...samples, ["folder", t("A folder on this device…")]]);
  const limits = [500, 2000].filter((limit) => limit < count).map((limit) => [limit, t("First {0}", number(limit))]);
  options($("count"), [...limits, [count, t("All {0}", number(count))]]);
  $("folder-note").hidden = !($("count").disabled = $("source").value === "folder");
}
$("evaluation").onsubmit = (event) => {
  event.preventDefault();
  if (run?.running) run.abort.abort();
  else if ($("source").value === "folder") $("folder").click();
  else evaluate(null);
};
$("folder").onchange = ({ target }) => evaluate([...target.files]).finally(() => (target.value = ""));
$("source").onchange = renderControls;
moveByArrows($("matrix"), "button", () => run.names.length);
on("state", () => $("source").childElementCount || renderControls());
on("language", () => (renderControls(), render()));
