/** Figures from the server, and what went wrong as a ``Problem``. */

/** What the server (or the way to it) says is wrong: a status (0: no answer), what it is, and what to do. */
export class Problem extends Error {
  constructor(status, title, detail = "", retryAfter = null) {
    super(detail ? `${title}: ${detail}` : title);
    this.status = status;
    this.title = title;
    this.detail = detail;
    this.retryAfter = retryAfter;
  }
}

/** The JSON at an address. Parameters that are null or empty are left out. Throws ``Problem``. */
export async function figures(path, parameters = {}, signal = undefined) {
  const given = Object.entries(parameters).filter(([, value]) => value !== null && value !== undefined && value !== "");
  const query = new URLSearchParams(given).toString();
  const answer = await asked(query ? `${path}?${query}` : path, { signal, headers: { Accept: "application/json" } });
  return answer.json();
}

/** Send something, or end something. Throws ``Problem``. */
export async function send(method, path, body = undefined) {
  const headers = body ? { "Content-Type": "application/json" } : {};
  return asked(path, { method, headers, body: body && JSON.stringify(body) });
}

async function asked(address, options) {
  let answer;
  try {
    answer = await fetch(address, { credentials: "same-origin", ...options });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem(0, "No answer", "The server cannot be reached. Is it running, and is this machine on its network?");
  }
  if (!answer.ok) throw await problemOf(answer);
  return answer;
}

async function problemOf(answer) {
  const retryAfter = Number(answer.headers.get("Retry-After")) || null;
  try {
    const said = await answer.json();
    return new Problem(answer.status, said.title, said.detail, retryAfter);
  } catch {
    return new Problem(answer.status, `The server answered ${answer.status}`, answer.statusText, retryAfter);
  }
}
