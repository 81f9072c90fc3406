/** The page: its four views as tabs, what they share, and the state in the address. */

import { get, takeToken } from "./api.js";
import { h } from "./dom.js";
import * as route from "./route.js";
import { CompareView } from "./compare.js";
import { LookView } from "./look.js";
import { TrainView } from "./train.js";
import { WriteView } from "./write.js";

const MAKERS = { write: WriteView, look: LookView, train: TrainView, compare: CompareView };

/** What every view gets: the server's state, the runs below its root, and facts of one run. */
class App {
  constructor(state) {
    this.state = state;
    this.runs = [];
    this.known = new Map();
  }

  /** Ask for the runs below the root again; facts of those that trained on since are forgotten. */
  async refresh() {
    const steps = new Map(this.runs.map((run) => [run.name, run.step]));
    this.runs = await get("runs");
    for (const { name, step } of this.runs) if (steps.get(name) !== step) this.known.delete(name);
    return this.runs;
  }

  /** Facts of one run, with its row of the table, asked for once. */
  info(name) {
    if (!this.known.has(name)) {
      const row = this.runs.find((run) => run.name === name);
      const asked = get("run", { name }).then((facts) => ({ ...row, ...facts }));
      asked.catch(() => this.known.delete(name)); // a later try may succeed
      this.known.set(name, asked);
    }
    return this.known.get(name);
  }

  /** Runs to begin with: those named on the command line, else the newest with something to load. */
  get firstRuns() {
    return this.state.runs.length ? this.state.runs : this.runs.slice(0, 1).map((run) => run.name);
  }

  /** Show a problem in one line below the views; null: none. */
  notice(error) {
    const el = document.getElementById("notice");
    el.hidden = !error;
    el.textContent = error ? (error.message ?? String(error)) : "";
  }
}

const tabs = [...document.querySelectorAll("[role=tab]")];
const views = new Map();
let app = null;
let shown = "";

/** Show the view of the address. */
async function follow() {
  const { view, params } = route.read();
  for (const tab of tabs) {
    const here = tab.dataset.view === view;
    tab.setAttribute("aria-selected", here);
    tab.tabIndex = here ? 0 : -1;
    document.getElementById(tab.dataset.view).hidden = !here;
  }
  if (shown && shown !== view) views.get(shown)?.hide?.();
  shown = view;
  document.title = `${view[0].toUpperCase()}${view.slice(1)} · chargpt play`;
  if (!views.has(view)) {
    const made = new MAKERS[view](app);
    views.set(view, made);
    document.getElementById(view).append(made.el);
  }
  app.notice(null);
  try {
    await views.get(view).show(params);
  } catch (error) {
    app.notice(error);
  }
}

/** Go to a view as it was left. */
function open(view) {
  route.write(view, views.get(view)?.values ?? {}, { push: true });
  follow();
}

for (const tab of tabs) {
  tab.addEventListener("click", () => open(tab.dataset.view));
  tab.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    const next = tabs[(tabs.indexOf(tab) + step + tabs.length) % tabs.length];
    next.focus();
    open(next.dataset.view);
  });
}

async function start() {
  takeToken();
  try {
    app = new App(await get("state"));
    await app.refresh();
  } catch (error) {
    const hint = error.status === 401 || error.status === 403 ? "open the address that chargpt play printed in the terminal; it holds the key" : error.message;
    const el = document.getElementById("notice");
    el.hidden = false;
    el.replaceChildren(h("b", {}, "No entry: "), hint);
    return;
  }
  addEventListener("popstate", follow);
  await follow();
  document.documentElement.dataset.ready = "";
}

start();
