/** The distribution of the next token as bars: the model's own as an outline, what the settings leave of it filled. */

import { h, label, number, percent, spoken } from "./dom.js";

const ROWS = 16;

export class Bars {
  /** `pick(bar)` is called with a bar that was clicked: its token is appended to the text. */
  constructor(pick) {
    this.pick = pick;
    this.rows = [...Array(ROWS).keys()].map(() => this.#row());
    this.caption = h("p", { class: "caption" });
    this.foot = h("p", { class: "help" });
    this.el = h("div", { class: "bars", role: "group", "aria-label": "Likeliest next tokens" }, this.rows.map((row) => row.el));
  }

  /** Show one or two runs' answers [{bars, entropy}], joined by their tokens' texts. */
  show(answers) {
    const merged = new Map();
    answers.forEach((answer, at) => {
      for (const bar of answer.bars) {
        const row = merged.get(bar.text) ?? { text: bar.text, ids: [], p: [], used: [] };
        row.ids[at] = bar.id;
        row.p[at] = bar.p;
        row.used[at] = bar.p_used;
        merged.set(bar.text, row);
      }
    });
    const top = [...merged.values()].sort((a, b) => Math.max(0, ...b.p.filter(Boolean)) - Math.max(0, ...a.p.filter(Boolean))).slice(0, ROWS);
    this.el.classList.toggle("two", answers.length > 1);
    this.rows.forEach((row, at) => this.#set(row, top[at], answers.length));
    if (answers.some(({ entropy }) => entropy === null)) return; // while a text is drawn the foot stays as it is
    const both = (make) => answers.map(make).join(" and ");
    const left = `${both(({ entropy_used }) => number(entropy_used, 2))} with these settings, which leave ${both(({ kept }) => kept)} tokens`;
    this.foot.textContent = `entropy ${both(({ entropy }) => number(entropy, 2))} nats (outline), ${left} (filled)`;
  }

  /** Forget what is shown. */
  clear(reason = "") {
    for (const row of this.rows) this.#set(row, undefined, 1);
    this.foot.textContent = reason;
  }

  #row() {
    const parts = {
      name: h("code"),
      own: [h("i", { class: "own a" }), h("i", { class: "own b" })],
      used: [h("i", { class: "used a" }), h("i", { class: "used b" })],
      value: h("span", { class: "value" }),
    };
    const tracks = [0, 1].map((n) => h("span", { class: `track ${"ab"[n]}`, "aria-hidden": "true" }, parts.own[n], parts.used[n]));
    const el = h("button", { class: "nextbar", disabled: true, onclick: () => this.pick(parts.shown) }, parts.name, h("span", { class: "pair" }, tracks), parts.value);
    return { ...parts, el, parts };
  }

  #set(row, bar, runs) {
    row.parts.shown = bar;
    row.el.disabled = !bar;
    row.name.textContent = bar ? label(bar.text) : "";
    row.value.textContent = bar ? [...Array(runs).keys()].map((n) => percent(bar.used[n] ?? 0)).join("\n") : "";
    if (bar) row.el.setAttribute("aria-label", `${spoken(bar.text)}, ${percent(bar.used[0] ?? 0)}; append`);
    else row.el.setAttribute("aria-label", "nothing");
    for (const n of [0, 1]) {
      row.own[n].style.setProperty("--share", bar?.p[n] ?? 0);
      row.used[n].style.setProperty("--share", bar?.used[n] ?? 0);
    }
  }
}
