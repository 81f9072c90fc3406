/** The records of experiments: the question, the answer, the table and the figures. */

import { get, imageAddress } from "./api.js";
import { h, textTable } from "./dom.js";

export class Experiments {
  constructor() {
    this.list = h("div");
    this.el = h("section", { class: "panel experiments", "aria-label": "Experiments", hidden: true }, h("header", {}, h("h2", {}, "Experiments")), this.list);
    this.loaded = false;
  }

  /** Ask once; none recorded: nothing is shown. */
  async load() {
    if (this.loaded) return;
    const records = await get("experiments");
    this.loaded = true;
    this.el.hidden = records.length === 0;
    this.list.replaceChildren(...records.map((record) => this.#record(record)));
  }

  #record({ name, question, answer, table, figures }) {
    const content = h("div", { class: "record" });
    const details = h("details", {}, h("summary", {}, h("b", {}, question || name), h("small", {}, name)), content);
    details.addEventListener("toggle", () => {
      if (!details.open || content.childElementCount) return; // figures are asked for when they are looked at
      content.append(
        ...(answer ? [h("p", {}, answer)] : []),
        ...(table?.rows?.length ? [h("div", { class: "scroller", role: "group", tabindex: "0", "aria-label": `Table of ${name}` }, textTable(table.columns, table.rows))] : []),
        h("div", { class: "figures" }, (figures ?? []).map((url) => h("img", { src: imageAddress(url), alt: figureName(url), loading: "lazy" }))),
      );
    });
    return details;
  }
}

/** What a figure shows, from its file's name. */
function figureName(url) {
  const file = new URLSearchParams(url.split("?")[1] ?? "").get("file") ?? url;
  return file.split("/").at(-1).replace(/\.svg$/, "").replaceAll("-", " ");
}
