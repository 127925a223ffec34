/**
 * A section of the page: fetches its figures when it comes near the viewport, shows them, and says what went wrong.
 *
 * A section that fails keeps what it showed, says so, and offers to try again; the others go on.
 */

import { byId, button, element, fill } from "./dom.js";

const NEAR = "300px";
const sections = new Map();

const nearby = new IntersectionObserver(
  (entries) => entries.forEach((entry) => sections.get(entry.target)?.seen(entry.isIntersecting)),
  { rootMargin: NEAR },
);

export class Section {
  /** ``load(signal)`` fetches figures, ``show(body, figures)`` shows them; both may be asynchronous. */
  constructor(id, { load, show }) {
    this.node = byId(id);
    this.body = this.node.querySelector(".body") ?? this.node;
    this.controls = this.node.querySelector(".controls");
    this.load = load;
    this.show = show;
    this.isNear = false;
    this.isDue = true;
    this.problem = element("div", { class: "problem", role: "alert", hidden: true });
    this.body.before(this.problem);
    sections.set(this.node, this);
  }

  /** Begin to watch for the section coming near. */
  begin() {
    nearby.observe(this.node);
  }

  /** No longer watch, nor wait for what was asked: the section is to be taken off the page. */
  end() {
    this.asking?.abort();
    nearby.unobserve(this.node);
    sections.delete(this.node);
  }

  /** The section has come near the viewport, or left it. */
  seen(isNear) {
    this.isNear = isNear;
    if (isNear && this.isDue) this.refresh();
  }

  /** Something new is there: fetch it now where it can be seen, otherwise when it can. */
  invalidate() {
    this.isDue = true;
    if (this.isNear && !document.hidden) this.refresh();
  }

  /** Fetch and show. What was asked before and has not come is no longer waited for. */
  async refresh() {
    this.isDue = false;
    this.asking?.abort();
    const asking = (this.asking = new AbortController());
    this.node.setAttribute("aria-busy", "true");
    try {
      const figures = await this.load(asking.signal);
      if (!asking.signal.aborted) await keepingFocus(this.node, () => this.show(this.body, figures));
      if (!asking.signal.aborted) this.problem.hidden = true;
    } catch (error) {
      if (!asking.signal.aborted) this.failed(error);
    } finally {
      if (this.asking === asking) this.node.removeAttribute("aria-busy");
    }
  }

  failed(error) {
    this.isDue = true;
    if (error.status === 401) {
      dispatchEvent(new CustomEvent("signed-out"));
      return;
    }
    fill(this.problem,
      element("p", {}, element("strong", {}, error.title ?? "This could not be shown"), " ", error.detail ?? error.message),
      button("Try again", () => this.refresh()));
    this.problem.hidden = false;
  }
}

/**
 * Show something anew without taking the keyboard from where it was: what had it is built anew, and found again by what
 * it is called.
 */
function keepingFocus(node, show) {
  const before = node.contains(document.activeElement) ? document.activeElement : null;
  const [start, end] = before?.matches("input") ? [before.selectionStart, before.selectionEnd] : [];
  const showing = show();
  if (!before || before.isConnected || document.activeElement !== document.body) return showing;
  const again = [...node.querySelectorAll(before.tagName)].find((each) => nameOf(each) === nameOf(before));
  again?.focus({ preventScroll: true });
  if (start !== undefined) again?.setSelectionRange(start, end);
  return showing;
}

function nameOf(node) {
  return ["id", "href", "aria-label", "data-value", "data-point"].map((name) => node.getAttribute(name)).join("\n") + node.textContent;
}

/** Sections that failed or have fallen behind, and can be seen, fetch anew. */
export function refreshDue() {
  for (const section of sections.values()) if (section.isDue && section.isNear) section.refresh();
}
