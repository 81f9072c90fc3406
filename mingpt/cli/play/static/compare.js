/** Compare: every run below the root as a table, curves of the chosen ones, their comparison, and the experiments. */

import { get, post } from "./api.js";
import { LossChart } from "./charts.js";
import { count, duration, h, label, number, textTable } from "./dom.js";
import { Experiments } from "./experiments.js";
import * as route from "./route.js";

const COLUMNS = [
  { key: "name", title: "run", of: (run) => run.name, whole: (run) => [run.name, run.error && h("small", { class: "wrong" }, run.error)] },
  { key: "family", title: "family", of: (run) => run.family },
  { key: "status", title: "status", of: (run) => run.status, show: (value) => h("span", { class: `state ${value}` }, value) },
  { key: "val_loss", title: "validation loss", number: true, of: (run) => run.val_loss, show: (value) => number(value) },
  { key: "pseudo", title: "pseudo-nats", number: true, of: (run) => run.pseudo, show: (value) => number(value) },
  { key: "parameters", title: "parameters", number: true, of: (run) => run.parameters, show: count },
  { key: "step", title: "steps", number: true, of: (run) => run.step, show: count },
  { key: "seconds", title: "time", number: true, of: (run) => run.seconds, show: duration },
];

const shown = (value) => (value === undefined ? "" : value === null ? "null" : value === true ? "True" : value === false ? "False" : label(String(value)));

const cell = ({ of, show, whole }, run) => (whole ? whole(run) : show ? show(of(run)) : (of(run) ?? "–"));

export class CompareView {
  constructor(app) {
    this.app = app;
    this.chosen = [];
    this.sort = { key: "val_loss", down: false };
    this.curves = new Map();
    this.chart = new LossChart("Validation loss of the chosen runs");
    this.axis = h("select", { "aria-label": "Horizontal axis", onchange: () => this.#draw() }, h("option", { value: "step" }, "by step"), h("option", { value: "seconds" }, "by seconds"));
    this.table = h("div", { class: "scroller", role: "group", tabindex: "0", "aria-label": "Runs" });
    this.result = h("div", { class: "scroller", role: "group", tabindex: "0", "aria-label": "Comparison" });
    this.hint = h("p", { class: "help" });
    this.experiments = new Experiments();
    this.el = h(
      "div",
      { class: "compare" },
      h("section", { class: "panel", "aria-label": "Runs" }, h("header", {}, h("h2", {}, "Runs"), this.hint), this.table),
      h("section", { class: "panel", "aria-label": "Curves" }, h("header", {}, h("h2", {}, "Validation loss"), h("span", { class: "spacer" }), this.axis), this.chart.el),
      h("section", { class: "panel", "aria-label": "Comparison of the chosen runs" }, h("header", {}, h("h2", {}, "Comparison")), this.result),
      this.experiments.el,
    );
  }

  get values() {
    return { run: this.chosen, sort: this.sort.key === "val_loss" ? null : this.sort.key, down: this.sort.down ? 1 : null };
  }

  async show(params) {
    await this.app.refresh();
    if (params.has("sort") || params.has("down")) this.sort = { key: params.get("sort") ?? "val_loss", down: params.has("down") };
    const names = params.getAll("run");
    if (names.length || !this.chosen.length) this.chosen = names.length ? names : comparable(this.app.runs);
    this.#rows();
    await Promise.all([this.#update(), this.experiments.load()]);
  }

  #columns() {
    const names = [...new Set(this.app.runs.flatMap((run) => Object.keys(run.settings ?? {})))].filter((name) => name !== "model.type" && name !== "system.work_dir");
    const pseudo = this.app.runs.some((run) => Number.isFinite(run.pseudo));
    return [...COLUMNS.filter(({ key }) => pseudo || key !== "pseudo"), ...names.map((name) => ({ key: name, title: name.split(".").slice(1).join(".") || name, hint: name, of: (run) => run.settings?.[name], show: shown }))];
  }

  #sorted(columns) {
    const { of } = columns.find(({ key }) => key === this.sort.key) ?? columns[0];
    const order = (a, b) => {
      const [x, y] = [of(a), of(b)];
      const [no, yes] = [x === null || x === undefined, y === null || y === undefined];
      if (no || yes) return no - yes; // those without a value last, whichever way
      const by = typeof x === "number" && typeof y === "number" ? x - y : String(x).localeCompare(String(y), "en", { numeric: true });
      return this.sort.down ? -by : by;
    };
    return [...this.app.runs].sort(order);
  }

  #rows() {
    const columns = this.#columns();
    const head = columns.map(({ key, title, hint, number: right }) => {
      const here = this.sort.key === key;
      const sign = h("span", { class: "arrow", "aria-hidden": "true" }, here ? (this.sort.down ? "↓" : "↑") : "");
      return h(
        "th",
        { scope: "col", class: right ? "right" : null, "aria-sort": here ? (this.sort.down ? "descending" : "ascending") : null },
        h("button", { class: "sorter", title: hint ?? null, "data-key": key, onclick: () => this.#sort(key) }, right ? [sign, title] : [title, sign]),
      );
    });
    const body = this.#sorted(columns).map((run) => {
      const at = this.chosen.indexOf(run.name);
      const box = h("input", { type: "checkbox", "aria-label": `Choose ${run.name}`, value: run.name, checked: at >= 0, onchange: () => this.#toggle(run.name) });
      return h("tr", { class: at >= 0 ? "chosen" : null }, h("td", { class: at >= 0 ? `pick curve-${at % 8}` : "pick" }, box), columns.map((column, n) => h(n ? "td" : "th", { scope: n ? null : "row", class: column.number ? "right" : null }, cell(column, run))));
    });
    this.table.replaceChildren(h("table", {}, h("thead", {}, h("tr", {}, h("td", {}, h("span", { class: "hidden" }, "chosen")), head)), h("tbody", {}, body)));
    this.hint.textContent = this.app.runs.length ? `${this.app.runs.length} below ${this.app.state.root}; columns of settings only where they differ` : `none below ${this.app.state.root} yet`;
  }

  #sort(key) {
    this.sort = { key, down: this.sort.key === key && !this.sort.down };
    this.#rows();
    this.table.querySelector(`[data-key="${CSS.escape(key)}"]`)?.focus();
    route.write("compare", this.values);
  }

  #toggle(name) {
    this.chosen = this.chosen.includes(name) ? this.chosen.filter((other) => other !== name) : [...this.chosen, name];
    this.#rows();
    this.table.querySelector(`input[value="${CSS.escape(name)}"]`)?.focus();
    route.write("compare", this.values);
    this.#update().catch((error) => this.app.notice(error));
  }

  async #update() {
    await Promise.all([this.#draw(), this.#compare()]);
  }

  async #draw() {
    const names = [...this.chosen];
    const got = await Promise.all(names.map((name) => this.#curve(name)));
    if (names.join("\n") !== this.chosen.join("\n")) return;
    const at = this.axis.value === "step" ? 0 : 1;
    const curves = got.map((val, colour) => ({ name: names[colour], colour, x: val.map((row) => row[at]), y: val.map((row) => row[2]) }));
    await this.chart.set(curves, { axis: this.axis.value });
  }

  async #curve(name) {
    const running = this.app.runs.find((run) => run.name === name)?.status === "running";
    if (running || !this.curves.has(name)) this.curves.set(name, (await get("curve", { name })).val);
    return this.curves.get(name);
  }

  async #compare() {
    const names = [...this.chosen];
    if (names.length < 2) {
      this.result.replaceChildren(h("p", { class: "hint" }, "Choose two runs or more."));
      return;
    }
    try {
      const { columns, rows, notes } = await post("compare", { names });
      if (names.join("\n") !== this.chosen.join("\n")) return;
      this.result.replaceChildren(textTable(columns, rows), ...[notes ?? []].flat().map((note) => h("p", { class: "help" }, note)));
    } catch (error) {
      this.result.replaceChildren(h("p", { class: "status wrong" }, error.message));
    }
  }
}

/** Names of up to four finished runs with a validation loss on the same text and validation set as the first's. */
function comparable(runs) {
  const known = runs.filter((run) => Number.isFinite(run.val_loss) && run.status === "finished" && run.text_sha256);
  const same = (run) => run.text_sha256 === known[0].text_sha256 && ["data.val_fraction", "data.test_fraction"].every((key) => run.settings?.[key] === known[0].settings?.[key]);
  return known.filter(same).slice(0, 4).map((run) => run.name);
}
