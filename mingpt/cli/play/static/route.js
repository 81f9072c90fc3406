/** The state of the page in the address after #, so that any view can be linked: #look?run=out/gpt&text=To+be */

export const VIEWS = ["write", "look", "train", "compare"];

/** {view, params} of the address; an unknown view is the first. */
export function read() {
  const [name, query = ""] = location.hash.slice(1).split(/\?(.*)/s);
  return { view: VIEWS.includes(name) ? name : VIEWS[0], params: new URLSearchParams(query) };
}

/** Put {name: value} of a view into the address; null and "" are left out. */
export function write(view, values, { push = false } = {}) {
  const params = new URLSearchParams();
  for (const [name, value] of Object.entries(values)) {
    for (const one of Array.isArray(value) ? value : [value]) {
      if (one !== null && one !== undefined && one !== "") params.append(name, one);
    }
  }
  const query = params.toString();
  const hash = `#${view}${query ? `?${query}` : ""}`;
  if (hash === location.hash) return;
  history[push ? "pushState" : "replaceState"](null, "", location.pathname + location.search + hash);
}
