// Images come from files, the clipboard, the camera, the board or the test images; the answer is shown next to them.
import { $, fill, get, h, moveByArrows, on, post, sampleUrl, selection, server, versionName } from "./common.js";
import { drawing } from "./draw.js";
import { explain, number, percent, t } from "./text.js";
let current = null; // {sample, truth}, {blob, url} for a file, or {blob} for a drawing
let [answer, problem] = [null, null];
let [prepare, calls] = ["auto", 0];

async function classify() {
  if (!current) return;
  const turn = ++calls;
  const { blob, url, sample } = current;
  $("result").ariaBusy = "true";
  try {
    const extra = { prepare: url ? prepare : "resize", ...(blob ? {} : { sample }) };
    const found = await (await post("/api/classify", extra, { body: blob })).json();
    if (turn === calls) [answer, problem] = [found, null];
  } catch (error) {
    if (turn === calls && !error.offline) [answer, problem] = [null, error];
  }
  if (turn !== calls) return; // another image has been chosen since
  $("result").ariaBusy = "false";
  render();
  $("spoken").textContent = [...document.querySelectorAll(".verdict")].map((one) => one.innerText).join("\n");
}

/** Mark the chosen image; Tab reaches it and the first of each strip, arrow keys reach the others. */
function mark() {
  for (const button of document.querySelectorAll("#files button, #samples button")) {
    button.ariaPressed = String(button.image === current);
    button.tabIndex = button.image === current || !button.previousSibling ? 0 : -1;
  }
}
const choose = (image) => ((current = image), mark(), classify());
const showResult = () => $("try").scrollHeight > 1.5 * innerHeight && $("result").scrollIntoView(); // on a phone

/** Show a test image on the first tab. */
export function openSample(sample, truth) {
  location.hash = "try";
  stopDrawing();
  choose({ sample, truth });
}

// ---- the answer
function render() {
  if (problem) return fill($("result"), h("p", { className: "banner", role: "alert" }, explain(problem)));
  if (!answer) return fill($("result"), h("p", { className: "empty" }, t("Choose an image.")));
  const { results, shape, prepared } = answer;
  const how = { photo: "{0}, trimmed and inverted", resized: "{0}, resized", unchanged: "{0}, unchanged" }[prepared];
  const best = results.map((result) => result.top[0]);
  const truth = results[0].top.find((one) => one.index === current.truth || one.name === current.truth);
  const agree = best.every((one) => one.name === best[0].name);
  const verdict = ({ version, milliseconds, protocol }, side) => h("div", { className: `verdict side${side}` },
    best[1] ? h("span", { className: "which" }, versionName(side ? selection.other : selection.which)) : null,
    h("strong", {}, t(best[side].name)),
    h("span", {}, t("{0} confident", percent(best[side].score))),
    h("small", {}, t("Version {0} answered in {1} ms over {2}", version, number(milliseconds, 1),
      protocol === "grpc" ? "gRPC" : "REST")));
  const tag = (id, good, text) => h("span", { id, className: `tag ${good ? "good" : "bad"}` }, text);
  fill($("result"),
    h("div", { className: "answer" },
      h("figure", {}, h("img", { id: "pixels", src: answer.pixels, alt: t("What the model receives") }),
        h("figcaption", {}, t("What the model receives"), h("br"), t(how, `${number(shape[1])} × ${number(shape[0])}`))),
      h("div", {}, h("div", { className: "verdicts" }, ...results.map(verdict)), h("div", { className: "tags" },
        best[1] ? tag("agreement", agree, t(agree ? "The two versions agree" : "The two versions disagree")) : null,
        truth ? tag("truth", best[0].index === truth.index, t("True class: {0}", t(truth.name))) : null,
        current.url ? preparation() : null))),
    bars(results));
}

function preparation() {
  const modes = { auto: "Automatic", resize: "Resize only", photo: "Product photo" };
  const select = h("select", { id: "prepare", onchange: () => ((prepare = select.value), classify()) },
    ...Object.entries(modes).map(([value, text]) => h("option", { value, selected: value === prepare }, t(text))));
  return h("label", { className: "note" }, t("Preparation"), select);
}

/** A row for each class with a bar for each version; bold where they are ten points apart. */
function bars(results) {
  const names = [...new Set(results.flatMap((result) => result.top.map((one) => one.name)))];
  const score = (result, name) => result.top.find((one) => one.name === name)?.score ?? 0;
  const rows = names.map((name) => ({ name, scores: results.map((result) => score(result, name)) }));
  rows.sort((a, b) => Math.max(...b.scores) - Math.max(...a.scores));
  return h("ol", { className: "bars" }, ...rows.slice(0, results[1] ? 6 : 10).map(({ name, scores }) =>
    h("li", { className: Math.abs(scores[0] - scores.at(-1)) >= 0.1 ? "differs" : "" }, h("span", {}, t(name)),
      h("span", {}, ...scores.map((value, side) => h("span", { className: `value side${side}` },
        h("span", { className: "track" }, h("span", { className: "fill", style: { width: `${value * 100}%` } })),
        h("span", { className: "percent" }, percent(value))))))));
}

// ---- where images come from
function thumbnail(image, src, label) {
  const onclick = () => (stopDrawing(), choose(image).then(showResult));
  return h("button", { type: "button", image, onclick, ariaLabel: label, title: label }, h("img", { src, alt: "" }));
}

function add(files) {
  const images = [...files].map((blob) => ({ blob, url: URL.createObjectURL(blob) }));
  if (!images.length) return;
  stopDrawing();
  $("files").prepend(...images.map((image) => thumbnail(image, image.url, image.blob.name)));
  $("yours").hidden = false;
  location.hash = "try";
  choose(images[0]).then(showResult);
}
for (const id of ["file", "camera"]) $(id).onchange = ({ target }) => (add(target.files), (target.value = ""));
document.onpaste = (event) => add(event.clipboardData.files);
document.ondragover = document.ondragleave = document.ondrop = (event) => {
  event.preventDefault();
  $("drop").classList.toggle("over", event.type === "dragover");
  if (event.type === "drop") add(event.dataTransfer.files);
};

function renderSamples() {
  const { count = 0, items = [], name } = server.samples ?? {};
  $("no-samples").hidden = count > 0 || !server.samples;
  $("shuffle").hidden = !count;
  $("samples-title").textContent = count ? t("Test images: {0}", name) : "";
  const button = (item) => thumbnail(item, sampleUrl(item.sample), t("Test image {0}", item.sample));
  fill($("samples"), ...items.map(button));
  mark();
}
const shuffle = async () => ((server.samples = await get("/api/samples")), renderSamples());
$("shuffle").onclick = () => shuffle().catch(() => {}); // the banner says what is wrong
const stopDrawing = () => $("board").hidden || $("draw").click();
$("draw").onclick = () => {
  const drawing = (document.querySelector(".hint").hidden = $("board").hidden);
  $("board").hidden = $("clear").hidden = !drawing;
  $("draw").ariaPressed = String(drawing);
};
$("clear").onclick = () => drawing.clear();
drawing.onchange = (blob) => choose({ blob });
for (const id of ["samples", "files"]) moveByArrows($(id), "button");
for (const event of ["selection", "recovered"]) on(event, classify);
on("language", () => (renderSamples(), render()));
on("state", () => {
  if ($("samples").childElementCount) return;
  renderSamples();
  if (!current && server.samples.count) choose(server.samples.items[0]);
});
