/** Colours: surprise as one of eight classes, ramps for maps, and a colour per curve.  All live in app.css. */

const LEVELS = 8;
const MOST = 5; // nats: a probability below 0.7 % has the strongest colour

/** Class of a token by its surprise, -ln p in nats: s0 (certain) to s7. */
export function surpriseClass(nats) {
  if (nats === null || nats === undefined || Number.isNaN(nats)) return "s0";
  return `s${Math.min(LEVELS - 1, Math.floor((Math.max(0, nats) / MOST) * LEVELS))}`;
}

/** A legend of the eight colours. */
export function surpriseLegend(h) {
  const steps = [...Array(LEVELS).keys()].map((n) => h("i", { class: `s${n}` }));
  return h("span", { class: "legend" }, "expected", h("span", { class: "ramp", "aria-hidden": "true" }, steps), "surprising");
}

const variable = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

const rgb = (hex) => [1, 3, 5].map((at) => Number.parseInt(hex.slice(at, at + 2), 16));

/** A table of 256 RGB triples between the colours that the variables name. */
export function ramp(...names) {
  const stops = names.map((name) => rgb(variable(name)));
  const table = new Uint8ClampedArray(256 * 3);
  for (let n = 0; n < 256; n++) {
    const at = (n / 255) * (stops.length - 1);
    const low = Math.min(Math.floor(at), stops.length - 2);
    for (let c = 0; c < 3; c++) table[n * 3 + c] = stops[low][c] + (stops[low + 1][c] - stops[low][c]) * (at - low);
  }
  return table;
}

export const RAMPS = {
  attention: () => ramp("--map-0", "--map-1", "--map-2", "--map-3"),
  dependency: () => ramp("--dep-0", "--dep-1", "--dep-2", "--dep-3"),
  hidden: () => ramp("--low", "--middle", "--high"),
};

/** The colour of curve n. */
export const curve = (n) => variable(`--curve-${n % 8}`);
export const ink = () => variable("--ink");
export const muted = () => variable("--muted");
export const line = () => variable("--line");

const listeners = new Set();

/** Call `draw` whenever light turns dark or back; returns a function that ends it. */
export function onScheme(draw) {
  listeners.add(draw);
  return () => listeners.delete(draw);
}

matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => listeners.forEach((draw) => draw()));
