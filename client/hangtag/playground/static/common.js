// What the modules share: elements, the selection, the server's state, and calls to the playground's server.
import { t } from "./text.js";

export const $ = (id) => document.getElementById(id);
export const fill = (element, ...children) => element.replaceChildren(...children.filter((child) => child !== null));
/** An element; children that are null are left out: h("li", {className: "row"}, "text", another). */
export function h(tag, { style = {}, ...properties } = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  for (const [name, value] of Object.entries(style)) element.style.setProperty(name, value);
  fill(element, ...children);
  return element;
}

export const selection = { model: "", which: "newest", other: "", protocol: "grpc" };
export const server = { state: null, samples: null, offline: false };
export const sampleUrl = (index) => `/api/samples/${index}.png`;
const listeners = {}; // of "state", "selection", "language" and "recovered"
export const on = (event, listener) => (listeners[event] ??= []).push(listener);
export const emit = (event) => (listeners[event] ?? []).forEach((listener) => listener());

/** The response to a call that succeeded; throws {error, kind}, or {offline} if the server does not answer. */
export async function request(path, options) {
  const response = await fetch(path, options).catch((problem) => {
    throw problem.name === "AbortError" ? problem : { offline: true };
  });
  if (!response.ok) throw await response.json().catch(() => ({ error: response.statusText, kind: "Internal" }));
  return response;
}
export const get = async (path, options) => (await request(path, options)).json();
export const post = (path, extra = {}, options = {}) =>
  request(`${path}?${new URLSearchParams({ ...selection, ...extra })}`, { method: "POST", ...options });

/** "newest", "version:3" or "label:stable" as a person reads it. */
export function versionName(which) {
  const [kind, value] = which.split(/:(.*)/);
  return kind === "version" ? t("Version {0}", value) : kind === "label" ? value : t("Newest");
}

/** Let arrow keys move the focus among `selector`, `columns()` of them in a row; one is reached by Tab. */
export function moveByArrows(container, selector, columns = () => 1) {
  container.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns(), ArrowDown: columns() }[event.key];
    const items = [...container.querySelectorAll(selector)];
    const next = items[items.indexOf(event.target) + step];
    if (!next) return;
    event.preventDefault();
    for (const item of items) item.tabIndex = item === next ? 0 : -1;
    next.focus();
  });
}
