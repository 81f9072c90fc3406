/** The settings of sampling as sliders with numbers. */

import { h } from "./dom.js";

export const SETTINGS = [
  { name: "temperature", title: "Temperature", min: 0, max: 2, step: 0.05, help: "0: always the likeliest; 1: the model's own distribution" },
  { name: "top_k", title: "Top-k", min: 0, max: 50, step: 1, help: "keep the k likeliest; 0: all" },
  { name: "top_p", title: "Top-p", min: 0.05, max: 1, step: 0.05, help: "keep the fewest that reach p; 1: all" },
  { name: "min_p", title: "Min-p", min: 0, max: 0.5, step: 0.01, help: "keep those above p times the likeliest; 0: all" },
  { name: "seed", title: "Seed", min: 0, max: 9999, step: 1, help: "the same seed draws the same text" },
  { name: "max_new_tokens", title: "Length", min: 1, max: 1000, step: 1, help: "tokens to write", first: 300 },
];

export class Sliders {
  /** `changed(values, name)` is called at every move of a slider. */
  constructor(changed) {
    this.changed = changed;
    this.inputs = new Map();
    this.defaults = {};
    this.el = h("div", { class: "sliders" }, SETTINGS.map((setting) => this.#row(setting)));
  }

  /** Take the defaults of a run, and what an address gave instead. */
  reset(defaults, given = {}) {
    this.defaults = defaults;
    for (const { name, min, first } of SETTINGS) {
      const value = Number(given[name] ?? defaults[name] ?? first ?? min);
      this.set(name, Number.isFinite(value) ? value : min);
    }
  }

  set(name, value) {
    for (const input of this.inputs.get(name)) input.value = value;
  }

  /** Let the sliders be moved, or not where they have no effect. */
  enable(on) {
    for (const pair of this.inputs.values()) for (const input of pair) input.disabled = !on;
  }

  get values() {
    return Object.fromEntries(SETTINGS.map(({ name }) => [name, Number(this.inputs.get(name)[1].value)]));
  }

  /** Values that differ from the defaults, for the address. */
  get differing() {
    const values = this.values;
    return Object.fromEntries(
      SETTINGS.filter(({ name, min, first }) => values[name] !== Number(this.defaults[name] ?? first ?? min)).map(({ name }) => [name, values[name]]),
    );
  }

  #row({ name, title, min, max, step, help }) {
    const id = `setting-${name}`;
    const range = h("input", { type: "range", min, max, step, id, "aria-describedby": `${id}-help` });
    const exact = h("input", { type: "number", min, step, max: name === "seed" || name === "top_k" ? null : max, "aria-label": `${title}, exact` });
    this.inputs.set(name, [range, exact]);
    range.addEventListener("input", () => this.#moved(name, range.value, exact));
    exact.addEventListener("input", () => exact.value !== "" && exact.checkValidity() && this.#moved(name, exact.value, range));
    exact.addEventListener("change", () => {
      if (exact.value === "" || !exact.checkValidity()) exact.value = range.value;
    });
    return h(
      "div",
      { class: "slider" },
      h("label", { for: id }, title),
      exact,
      range,
      h("p", { class: "help", id: `${id}-help` }, help),
    );
  }

  #moved(name, value, other) {
    other.value = value;
    this.changed(this.values, name);
  }
}
