// The frame of the page: tabs, language, what is selected, and the connection to the server.
import { $, emit, get, h, moveByArrows, selection, server, versionName } from "./common.js";
import { learn, locale, speak, t } from "./text.js";
import "./classify.js";
import "./evaluate.js";
import "./live.js";
const TABS = ["try", "evaluate", "live"];

function show() {
  const chosen = TABS.find((tab) => location.hash === `#${tab}`) ?? TABS.find((tab) => !$(tab).hidden);
  for (const tab of TABS) {
    $(tab).hidden = tab !== chosen;
    Object.assign($(`tab-${tab}`), { ariaSelected: String(tab === chosen), tabIndex: tab === chosen ? 0 : -1 });
  }
}
window.onhashchange = show;
for (const tab of TABS) $(`tab-${tab}`).onclick = $(`tab-${tab}`).onfocus = () => (location.hash = tab);
moveByArrows(document.querySelector(".tabs"), "button");

function choose(language) {
  localStorage.setItem("language", language);
  speak(language);
  const [textContent, lang] = language === "zh" ? ["English", "en"] : ["中文", "zh-CN"];
  Object.assign($("language"), { textContent, lang });
  showSelection();
  showConnection();
  emit("language");
}
$("language").onclick = () => choose(locale.language === "zh" ? "en" : "zh");

// ---- what is selected
function showOptions(select, entries, chosen) {
  if (!entries.some(([value]) => value === chosen)) entries.push([chosen, t("{0} (not served)", versionName(chosen))]);
  if (select.dataset.entries !== JSON.stringify(entries)) {
    select.dataset.entries = JSON.stringify(entries);
    select.replaceChildren(...entries.map(([value, text]) => h("option", { value }, text)));
  }
  select.value = chosen;
}

function showSelection() {
  const { models, versions, labels, targets } = server.state ?? { models: [] };
  if (!models.length) return;
  selection.model ||= models[0];
  if (!(selection.protocol in targets)) selection.protocol = Object.keys(targets)[0];
  const available = versions.filter((one) => one.state === "AVAILABLE").map((one) => one.version);
  const named = Object.entries(labels).map(([label, at]) => [`label:${label}`, t("{0} (version {1})", label, at)]);
  named.push(...available.map((version) => [`version:${version}`, t("Version {0}", version)]));
  showOptions($("model"), models.map((name) => [name, name]), selection.model);
  showOptions($("which"), [["newest", t("Newest")], ...named], selection.which);
  showOptions($("other"), [["", t("Nothing")], ...named], selection.other);
  for (const radio of document.querySelectorAll("[name=protocol]")) {
    Object.assign(radio, { checked: radio.value === selection.protocol, disabled: !(radio.value in targets) });
  }
}
$("selection").onchange = ({ target }) => {
  selection[target.id || target.name] = target.value;
  if (target.id === "model") Object.assign(selection, { which: "newest", other: "" });
  showConnection();
  emit("selection");
  poll();
};

// ---- the connection
const isDown = () => server.offline || !server.state || selection.protocol in server.state.errors;
function showConnection() {
  const error = server.state?.errors[selection.protocol];
  $("banner").hidden = !(server.offline || error);
  if (error) $("banner").textContent = t("The model server does not answer; this page keeps trying: {0}", error);
  if (server.offline) $("banner").textContent = t("The playground was stopped. This page reconnects when it runs again.");
  $("status").className = isDown() ? "bad" : "good";
  if (!isDown()) $("status").textContent = t("Connected to {0}", server.state.targets[selection.protocol]);
  else $("status").textContent = t(server.offline || error ? "Reconnecting…" : "Connecting…");
}

let polls = 0;
async function poll() {
  const turn = ++polls;
  const wasDown = isDown();
  try {
    const path = `/api/state?model=${encodeURIComponent(selection.model)}`;
    const state = await get(path, { signal: AbortSignal.timeout(8000) });
    server.samples ??= await get("/api/samples");
    if (turn !== polls) return;
    Object.assign(server, { state, offline: false });
    learn(state.chinese);
    showSelection();
    emit("state");
    if (wasDown && !isDown()) emit("recovered");
  } catch {
    server.offline = true;
  }
  showConnection();
  setTimeout(() => turn === polls && poll(), $("live").hidden || document.hidden ? 2000 : 1000);
}
choose(localStorage.getItem("language") ?? (navigator.language.startsWith("zh") ? "zh" : "en"));
show();
poll();
