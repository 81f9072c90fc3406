/** Train: start a run from a form, or watch one that trains already, also one started in a terminal. */

import { get, post } from "./api.js";
import { count, h, number } from "./dom.js";
import { Follow } from "./follow.js";
import { SettingsForm } from "./form.js";
import * as route from "./route.js";

const LOOK_EVERY = 3000; // ms between two looks for new runs

export class TrainView {
  constructor(app) {
    this.app = app;
    this.form = new SettingsForm((values) => this.#changed(values));
    this.follow = new Follow(app, () => this.#runs());
    this.family = h("select", { id: "family", onchange: () => this.#families() }, app.state.families.map((name) => h("option", { value: name }, name)));
    this.start = h("button", { class: "primary", onclick: () => this.#start() }, "Start training");
    this.command = h("code", { class: "command" });
    this.problem = h("p", { class: "status wrong", role: "alert" });
    this.list = h("div", { class: "runlist", role: "group", "aria-label": "Runs" });
    this.el = h(
      "div",
      { class: "train" },
      h("aside", { class: "panel starter", "aria-label": "A new run" }, app.state.train ? this.#starter() : this.#readOnly()),
      h("div", { class: "watching" }, h("div", { class: "panel" }, h("header", {}, h("h2", {}, "Runs")), this.list), this.follow.el),
    );
  }

  get values() {
    return { run: this.follow.name };
  }

  async show(params) {
    await this.#runs();
    this.timer ??= setInterval(() => this.#runs().catch(() => {}), LOOK_EVERY);
    if (this.app.state.train && !this.form.fields.size) await this.#families();
    const name = params.get("run") ?? (this.follow.name || this.app.runs.find((run) => run.status === "running")?.name || this.app.firstRuns[0]);
    if (name && name !== this.follow.name) this.#attach(name);
  }

  hide() {
    clearInterval(this.timer);
    this.timer = undefined;
  }

  #starter() {
    const clear = h("button", { class: "quiet", onclick: () => this.form.clear() }, "Defaults");
    return [
      h("header", {}, h("h2", {}, "New run"), clear),
      h("label", { class: "field", for: "family" }, "Model family", this.family),
      this.form.el,
      h("div", { class: "actions" }, this.start),
      this.problem,
      h("p", { class: "help" }, "the same as", this.command),
    ];
  }

  #readOnly() {
    return [
      h("h2", {}, "This page only watches"),
      h("p", {}, "To start, stop and resume runs from here, begin it with"),
      h("code", { class: "command" }, "python chargpt.py play --train=True"),
      h("p", {}, "Runs started in a terminal show up by themselves, with their curve, speed and samples."),
    ];
  }

  async #families() {
    const family = this.family.value;
    const settings = await get("settings", { family });
    if (family === this.family.value) this.form.show(settings.filter(({ name }) => name !== "model.type"));
  }

  #changed(values) {
    const words = Object.entries({ ...this.#type(), ...values }).map(([name, value]) => ` --${name}=${quoted(value)}`);
    this.command.textContent = `python chargpt.py${words.join("")}`;
  }

  #type() {
    return this.family.value === this.app.state.families[0] ? {} : { "model.type": this.family.value };
  }

  async #start() {
    this.problem.textContent = "";
    this.start.disabled = true;
    try {
      const { name } = await post("train", { settings: { ...this.#type(), ...this.form.values } });
      await this.#runs();
      this.#attach(name);
    } catch (error) {
      this.problem.textContent = error.message;
      this.form.blame(error.message);
    } finally {
      this.start.disabled = false;
    }
  }

  #attach(name) {
    this.follow.attach(name);
    if (route.read().view === "train") route.write("train", this.values);
    this.#mark();
  }

  async #runs() {
    const runs = await this.app.refresh();
    const key = JSON.stringify(runs.map(({ name, status, val_loss, step }) => [name, status, val_loss, status === "running" ? step : 0]));
    if (key === this.key) return;
    this.key = key;
    const focused = document.activeElement?.dataset?.run;
    this.list.replaceChildren(
      ...runs.map((run) =>
        h(
          "button",
          { class: "runrow", "data-run": run.name, onclick: () => this.#attach(run.name) },
          h("span", { class: `dot ${run.status}`, "aria-hidden": "true" }),
          h("span", { class: "name" }, run.name),
          h("span", { class: "state" }, run.status),
          h("span", { class: "loss" }, number(run.val_loss)),
          h("span", { class: "steps" }, run.step ? `${count(run.step)} step${run.step === 1 ? "" : "s"}` : "–"),
        ),
      ),
    );
    if (!runs.length) this.list.append(h("p", { class: "hint" }, "No run yet."));
    if (focused) this.list.querySelector(`[data-run="${CSS.escape(focused)}"]`)?.focus();
    this.#mark();
  }

  #mark() {
    for (const row of this.list.children) row.setAttribute?.("aria-current", row.dataset.run === this.follow.name);
    const current = this.list.querySelector("[aria-current=true]");
    if (!current || this.list.contains(document.activeElement)) return;
    const [top, bottom] = [current.offsetTop, current.offsetTop + current.offsetHeight];
    if (top < this.list.scrollTop || bottom > this.list.scrollTop + this.list.clientHeight) this.list.scrollTop = top;
  }
}

/** A value as a shell takes it. */
function quoted(value) {
  const word = value === true ? "True" : value === false ? "False" : value === null ? "null" : String(value);
  return /^[\w./:,@+-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
}
