/**
 * What happens while the page is open, as the server tells it: a stream of events.
 *
 * The browser reconnects by itself and says which event it had last; where the server refused the stream for good, it
 * is opened anew after a while. A hidden page listens to nothing.
 */

import { byId } from "./dom.js";

const AGAIN_MS = 5000;
const WORDS = { live: "live", connecting: "connecting", reconnecting: "reconnecting", paused: "paused" };

let source = null;
let again = null;

/**
 * Listen. ``handlers`` are by the events' names, and get their data; ``resumed`` is called when the stream is back
 * after something may have been missed.
 */
export function beginLive(handlers, resumed) {
  let hasMissed = false;
  let isSignedOut = false;
  const open = () => {
    clearTimeout(again);
    if (document.hidden || isSignedOut) return;
    source?.close();
    source = new EventSource("/dashboard/events");
    source.addEventListener("open", () => {
      sign("live");
      if (hasMissed) resumed();
      hasMissed = false;
    });
    source.addEventListener("error", () => {
      hasMissed = true;
      sign("reconnecting");
      if (source.readyState === EventSource.CLOSED) again = setTimeout(open, AGAIN_MS);
    });
    for (const [name, handle] of Object.entries(handlers)) {
      source.addEventListener(name, (event) => handle(JSON.parse(event.data)));
    }
  };
  const pause = () => {
    clearTimeout(again);
    source?.close();
    hasMissed = true;
    sign("paused");
  };
  document.addEventListener("visibilitychange", () => (document.hidden ? pause() : open()));
  addEventListener("signed-out", () => {
    isSignedOut = true;
    pause();
  });
  addEventListener("signed-in", () => {
    if (isSignedOut) {
      isSignedOut = false;
      open();
    }
  });
  if (document.hidden) pause();
  else open();
}

function sign(state) {
  byId("live").dataset.state = state;
  byId("live-word").textContent = WORDS[state];
}

const waiting = [];
let saying = null;
const PAUSE_MS = 1500;
/** Sentences said in one go: after a night away there may be hundreds. */
const MOST_SAID = 5;

/** Tell screen readers, politely, and what comes close together in one go. */
export function say(words) {
  if (!waiting.includes(words)) waiting.push(words);
  clearTimeout(saying);
  saying = setTimeout(() => {
    byId("said").textContent = waiting.splice(0).slice(-MOST_SAID).join(" ");
  }, PAUSE_MS);
}
