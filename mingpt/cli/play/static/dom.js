/** Elements, texts and numbers.  Text of models and runs becomes text nodes only, never markup. */

/**
 * Make an element: h("button", {class: "x", onclick: f}, "text", child).
 * Strings become text nodes; null and false are left out; `style` is an object, set through the CSSOM.
 */
export function h(tag, props = {}, ...children) {
  return fill(document.createElement(tag), props, children);
}

/** Make an SVG element, as `h`. */
export function svg(tag, props = {}, ...children) {
  return fill(document.createElementNS("http://www.w3.org/2000/svg", tag), props, children);
}

function fill(el, props, children) {
  for (const [name, value] of Object.entries(props)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) el.addEventListener(name.slice(2), value);
    else if (name === "style") for (const [key, to] of Object.entries(value)) el.style.setProperty(key, to);
    else if (name === "value" || name === "checked" || name === "disabled") el[name] = value;
    else el.setAttribute(name, value === true ? "" : value);
  }
  el.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return el;
}

const NAMES = { " ": "␣", "\n": "↵", "\t": "⇥", "\r": "␍", "": "∅" };
const SPOKEN = { " ": "space", "\n": "line break", "\t": "tab", "\r": "carriage return", "": "nothing" };
// Controls, zero-width characters and those that turn the direction of what follows.
const UNSEEN = /[\u0000-\u001f\u007f-\u009f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]/gu;

const codePoint = (char) => `U+${char.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}`;

/** A token as a label shows it: every character visible, also spaces and controls. */
export function label(text) {
  if (text in NAMES) return NAMES[text];
  return text.replace(/^ +| +$|\n|\t/g, (run) => [...run].map((char) => NAMES[char]).join("")).replace(UNSEEN, codePoint);
}

/** A token as a screen reader should say it. */
export function spoken(text) {
  return SPOKEN[text] ?? text.replace(/\n/g, " line break ").replace(UNSEEN, codePoint);
}

/** A text with its controls spelled out, line breaks kept. */
export function plain(text) {
  return text.replace(UNSEEN, (char) => (char === "\n" || char === "\t" ? char : `⟨${codePoint(char)}⟩`));
}

/** Say if a token has a character that would not show, or would turn what follows. */
export function unseen(text) {
  return text !== "\n" && text !== "\t" && text.search(UNSEEN) >= 0;
}

/** A probability in per cent: 43.2 %, 0.02 %, <0.01 %. */
export function percent(p) {
  if (p === 0) return "0 %";
  if (p < 0.0001) return "<0.01 %";
  return `${(p * 100).toFixed(p < 0.01 ? 2 : 1)} %`;
}

/** A count: 1,234 or 3.1 M. */
export function count(n) {
  if (n === null || n === undefined) return "–";
  if (n >= 1e9) return `${(n / 1e9).toFixed(1)} G`;
  return n >= 1e6 ? `${(n / 1e6).toFixed(2)} M` : Math.round(n).toLocaleString("en");
}

/** A duration: 42 s, 3 min 5 s, 2 h 4 min. */
export function duration(seconds) {
  if (seconds === null || seconds === undefined || !Number.isFinite(seconds)) return "–";
  const s = Math.round(seconds);
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min ${s % 60} s`;
  return `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} min`;
}

/** A number with so many decimals, – where there is none. */
export function number(x, decimals = 3) {
  return x === null || x === undefined || !Number.isFinite(x) ? "–" : x.toFixed(decimals);
}

/** What a run reached, in words: [] where that is unknown. */
export function score({ val_loss, pseudo }) {
  if (Number.isFinite(val_loss)) return [`validation loss ${number(val_loss)}`];
  return Number.isFinite(pseudo) ? [`${number(pseudo)} pseudo-nats`] : [];
}

/** Call `f` once nothing has called this for `ms`. */
export function later(f, ms) {
  let timer = 0;
  return (...words) => {
    clearTimeout(timer);
    timer = setTimeout(() => f(...words), ms);
  };
}

/** Call async `f(signal, ...)` so that a new call aborts the one before it; an aborted one yields undefined. */
export function latest(f) {
  let running = null;
  return async (...words) => {
    running?.abort();
    const mine = (running = new AbortController());
    try {
      return await f(mine.signal, ...words);
    } catch (error) {
      if (error.name === "AbortError") return undefined;
      throw error;
    }
  };
}

/** Say a text to screen readers. */
export function announce(text) {
  document.getElementById("live").textContent = text;
}

/** A table of texts. */
export function textTable(columns, rows) {
  return h(
    "table",
    {},
    h("thead", {}, h("tr", {}, columns.map((title) => h("th", { scope: "col" }, title)))),
    h("tbody", {}, rows.map((row) => h("tr", {}, row.map((cell, at) => (at ? h("td", {}, cell) : h("th", { scope: "row" }, cell)))))),
  );
}
