/** Requests to the server that served this page.  The token of the address goes with each as a header. */

const KEY = "chargpt-token";
let memory = "";

/** Take the token from the address, where it no longer shows afterwards. */
export function takeToken() {
  const query = new URLSearchParams(location.search);
  const given = query.get("token");
  memory = given ?? stored();
  if (given === null) return;
  try {
    sessionStorage.setItem(KEY, given);
  } catch {
    return; // no storage in this frame: the address keeps the token, so that reloading works
  }
  query.delete("token");
  const rest = query.toString();
  history.replaceState(null, "", location.pathname + (rest ? `?${rest}` : "") + location.hash);
}

function stored() {
  try {
    return sessionStorage.getItem(KEY) ?? "";
  } catch {
    return "";
  }
}

/** What the server rejected, as its one line. */
export class ApiError extends Error {
  constructor(message, status) {
    super(message);
    this.status = status;
  }
}

async function request(path, { params, body, signal } = {}) {
  const query = params ? `?${new URLSearchParams(params)}` : "";
  const headers = { "X-Token": memory };
  if (body !== undefined) headers["Content-Type"] = "application/json";
  let answer;
  try {
    answer = await fetch(`/api/${path}${query}`, {
      method: body === undefined ? "GET" : "POST",
      headers,
      body: body === undefined ? undefined : JSON.stringify(body),
      signal,
      cache: "no-store",
    });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError("the server does not answer: has chargpt play been stopped?", 0);
  }
  if (answer.ok) return answer;
  let line = `${answer.status} ${answer.statusText}`;
  try {
    line = (await answer.json()).error ?? line;
  } catch {
    // not the server's own answer: the status says it
  }
  throw new ApiError(line, answer.status);
}

/** GET an object. */
export async function get(path, params, signal) {
  return (await request(path, { params, signal })).json();
}

/** POST an object and get one back. */
export async function post(path, body, signal) {
  return (await request(path, { body, signal })).json();
}

/** POST an object and get float32 numbers back. */
export async function floats(path, body, signal) {
  return new Float32Array(await (await request(path, { body, signal })).arrayBuffer());
}

/** Yield {event, data} of a stream of server-sent events, until it ends or `signal` aborts it. */
export async function* events(path, { params, body, signal }) {
  const answer = await request(path, { params, body, signal });
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      rest += value;
      const parts = rest.split(/\r?\n\r?\n/);
      rest = parts.pop();
      for (const part of parts) {
        const found = parsed(part);
        if (found) yield found;
      }
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

function parsed(part) {
  let event = "message";
  const data = [];
  for (const line of part.split(/\r?\n/)) {
    if (line.startsWith("event:")) event = line.slice(6).trim();
    else if (line.startsWith("data:")) data.push(line.slice(5).trimStart());
  }
  return data.length ? { event, data: JSON.parse(data.join("\n")) } : null;
}

/** The address of an image, which can't send headers, with the token. */
export function imageAddress(url) {
  return `${url}${url.includes("?") ? "&" : "?"}token=${encodeURIComponent(memory)}`;
}
