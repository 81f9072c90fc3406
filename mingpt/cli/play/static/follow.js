/** One run while it trains: its curve, its numbers, its samples, and the buttons that stop and resume it. */

import { events, post } from "./api.js";
import { LossChart } from "./charts.js";
import { count, duration, h, number, plain } from "./dom.js";

const SAMPLES = 20; // newest samples kept on the page
const DRAW_EVERY = 150; // ms

export class Follow {
  /** `ended(name)` is called when the run's status changes. */
  constructor(app, ended) {
    this.app = app;
    this.ended = ended;
    this.name = "";
    this.running = null;
    this.pseudo = false;
    this.chart = new LossChart("Training and validation loss");
    this.title = h("h2", {}, "No run chosen");
    this.badge = h("span", { class: "state" });
    this.stop = h("button", { class: "stop", hidden: true, onclick: () => this.#ask("stop") }, "Stop");
    this.resume = h("button", { class: "primary", hidden: true, onclick: () => this.#ask("resume") }, "Resume");
    this.bar = h("progress", { max: 1, value: 0, "aria-label": "Steps made" });
    this.facts = new Map(["step", "training loss", "validation loss", "tokens/s", "time left"].map((name) => [name, h("dd", {}, "–")]));
    this.samples = h("div", { class: "samples", role: "group", tabindex: "0", "aria-label": "Samples, newest first" });
    this.problem = h("p", { class: "status wrong", role: "alert" });
    this.el = h(
      "section",
      { class: "panel follow", "aria-label": "Training run" },
      h("header", {}, this.title, this.badge, h("span", { class: "spacer" }), this.stop, this.resume),
      this.bar,
      h("dl", { class: "facts" }, [...this.facts].map(([name, value]) => h("div", {}, h("dt", {}, name), value))),
      this.problem,
      this.chart.el,
      h("h3", {}, "Samples"),
      this.samples,
    );
  }

  /** Follow a run from now on. */
  async attach(name) {
    this.detach();
    const mine = (this.running = new AbortController());
    Object.assign(this, { name, rows: [], baselines: {}, status: null });
    this.title.textContent = name;
    this.samples.replaceChildren(h("p", { class: "hint" }, "A sample appears here at every evaluation."));
    this.problem.textContent = "";
    this.#status({ status: "", step: 0, max_iters: 1 });
    this.#draw();
    try {
      for await (const { event, data } of events("follow", { params: { name }, signal: mine.signal })) {
        if (mine.signal.aborted) return;
        this.#take(event, data);
      }
    } catch (error) {
      if (error.name !== "AbortError") this.problem.textContent = error.message;
    }
  }

  detach() {
    this.running?.abort();
    this.running = null;
  }

  #take(event, data) {
    if (event === "metrics") this.rows = data.replace ? data.rows : [...this.rows, ...data.rows];
    else if (event === "baselines") this.baselines = data.baselines ?? data;
    else if (event === "sample") this.#sample(data);
    else if (event === "status") this.#status(data);
    else if (event === "error") this.problem.textContent = data.error;
    this.#soon();
  }

  #soon() {
    if (this.timer) return;
    this.timer = setTimeout(() => {
      this.timer = 0;
      this.#draw();
    }, DRAW_EVERY);
  }

  #draw() {
    const trained = this.rows.filter((row) => row[2] !== null);
    const evaluated = this.rows.filter((row) => row[3] !== null && row[3] !== undefined);
    const xy = (rows, at) => ({ x: rows.map((row) => row[0]), y: rows.map((row) => row[at]) });
    const curves = [
      { name: "training", faint: true, colour: 0, ...xy(trained, 2) },
      { name: this.pseudo ? "pseudo-nats" : "validation", colour: 1, ...xy(evaluated, 3) },
    ];
    this.chart.set(this.rows.length ? curves : [], { baselines: this.pseudo ? {} : this.baselines }).catch((error) => (this.problem.textContent = error.message));
    this.#fact("training loss", number(trained.at(-1)?.[2]));
    this.#fact("validation loss", this.pseudo ? "–" : number(evaluated.at(-1)?.[3]));
  }

  #status(data) {
    const before = this.status;
    this.status = data.status;
    this.pseudo = Number.isFinite(data.pseudo); // a masked language model's evaluations are no validation loss
    const running = data.status === "running";
    this.badge.textContent = data.status;
    this.badge.className = `state ${data.status}`;
    this.bar.value = data.max_iters ? data.step / data.max_iters : 0;
    this.#fact("step", data.max_iters ? `${count(data.step)} / ${count(data.max_iters)}` : count(data.step));
    this.#fact("tokens/s", running && data.tokens_per_second ? count(data.tokens_per_second) : "–");
    this.#fact("time left", running ? duration(data.left_seconds) : "–");
    const may = this.app.state.train;
    this.stop.hidden = !(may && running);
    this.resume.hidden = !(may && (data.status === "stopped" || data.status === "failed"));
    this.stop.disabled = this.resume.disabled = false;
    if (data.error) this.problem.textContent = data.error;
    if (before && before !== data.status) this.ended(this.name);
  }

  #sample({ step, text }) {
    this.samples.querySelector(".hint")?.remove();
    this.samples.prepend(h("article", {}, h("h4", {}, `step ${count(step)}`), h("pre", {}, plain(text))));
    while (this.samples.children.length > SAMPLES) this.samples.lastChild.remove();
  }

  #fact(name, value) {
    this.facts.get(name).textContent = value;
  }

  async #ask(what) {
    this.problem.textContent = "";
    this.stop.disabled = this.resume.disabled = true;
    try {
      await post(what, { name: this.name });
      if (what === "resume") this.attach(this.name);
    } catch (error) {
      this.problem.textContent = error.message;
      this.stop.disabled = this.resume.disabled = false;
    }
  }
}
