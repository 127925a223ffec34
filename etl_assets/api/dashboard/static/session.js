/** Signing in where the page is behind a token, and out again. The session is a cookie that no script can read. */

import { byId } from "./dom.js";
import { send } from "./figures.js";

const ADDRESS = "/dashboard/session";
const WRONG = "This client id and secret do not go together, or the client may not read data.";

/** Watch for figures being refused; ``begin`` is called when somebody has signed in. */
export function beginSessions(begin) {
  byId("sign-out").hidden = !wasSignedIn();
  addEventListener("signed-out", () => {
    remember(false);
    show(true);
  });
  byId("sign-in").addEventListener("submit", (event) => {
    event.preventDefault();
    signIn(begin);
  });
  byId("sign-out").addEventListener("click", async () => {
    await send("DELETE", ADDRESS).catch(() => {});
    remember(false);
    location.reload();
  });
}

/** Whether there is a session to end: its cookie cannot be seen from here. */
function remember(isSignedIn) {
  byId("sign-out").hidden = !isSignedIn;
  try {
    if (isSignedIn) localStorage.setItem("signed-in", "yes");
    else localStorage.removeItem("signed-in");
  } catch {
    // Storage may be refused: then the button is there until the page is loaded again.
  }
}

function wasSignedIn() {
  try {
    return localStorage.getItem("signed-in") === "yes";
  } catch {
    return false;
  }
}

function show(isNeeded) {
  const wasShown = !byId("sign-in").hidden;
  byId("sign-in").hidden = !isNeeded;
  byId("figures").hidden = isNeeded;
  byId("live").hidden = isNeeded;
  if (isNeeded && !wasShown) byId("client-id").focus();
}

async function signIn(begin) {
  const said = byId("sign-in-problem");
  said.textContent = "";
  const client = { client_id: byId("client-id").value, client_secret: byId("client-secret").value };
  try {
    await send("POST", ADDRESS, client);
  } catch (problem) {
    said.textContent = problem.status === 401 ? WRONG : problem.message;
    byId("client-secret").focus();
    return;
  }
  byId("client-secret").value = "";
  remember(true);
  show(false);
  begin();
}
