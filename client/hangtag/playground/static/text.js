// The page in two languages: English stands in the code, its translations in zh.json.
const CHINESE = await (await fetch("/zh.json")).json();
export const locale = { language: "en", tag: "en" };
export const learn = (translations) => Object.assign(CHINESE, translations);
/** `text` in the chosen language, with {0}, {1}… filled in. */
export function t(text, ...values) {
  const chosen = (locale.language === "zh" && CHINESE[text]) || text;
  return values.reduce((filled, value, at) => filled.replaceAll(`{${at}}`, value), chosen);
}

/** An error of the server. In Chinese: its translation, or else what its kind means and what to do, and the original. */
export const explain = ({ error, kind }) => locale.language !== "zh" || !kind ? error
  : (CHINESE[error] ?? `${CHINESE[kind] ?? CHINESE.Internal}（${error}）`);
export const number = (value, digits = 0) =>
  value.toLocaleString(locale.tag, { minimumFractionDigits: digits, maximumFractionDigits: digits });
export const percent = (value) => `${number(value * 100, 1)}%`;

/** Choose a language, and write the texts that stand in index.html. */
export function speak(language) {
  Object.assign(locale, { language, tag: language === "zh" ? "zh-CN" : "en" });
  document.documentElement.lang = locale.tag;
  for (const item of document.querySelectorAll("[data-t]")) {
    item.dataset.t ||= item.textContent.replace(/\s+/g, " ");
    item.textContent = t(item.dataset.t);
  }
  for (const item of document.querySelectorAll("[data-label]")) item.ariaLabel = t(item.dataset.label);
}
