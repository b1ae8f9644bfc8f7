/** The edits of this tab, as thumbnails: each is a job, asked for again when it is opened. */

import { reachable } from "/studio/api.js";
import { byId, make, show } from "/studio/dom.js";

const STORED = "towline-studio-session";

/** What marks this tab's jobs among the account's, in their `metadata`. */
export function sessionName() {
  let name = sessionStorage.getItem(STORED);
  if (!name) {
    name = Array.from(crypto.getRandomValues(new Uint8Array(8)), (n) => n.toString(16).padStart(2, "0")).join("");
    sessionStorage.setItem(STORED, name);
  }
  return name;
}

export class History {
  constructor(onOpen) {
    this.onOpen = onOpen;
    this.list = byId("history");
  }

  /** The jobs of this tab from before it was loaded again. */
  async load(api) {
    const query = { "metadata.studio": sessionName(), status: "succeeded", limit: 50 };
    this.list.replaceChildren();
    for (const job of (await api.jobs(query)).reverse()) this.add(job);
  }

  add(job) {
    const number = this.list.children.length + 1;
    const candidate = job.result.candidates[0];
    const picture = make("img", { src: reachable(candidate.url), alt: "", loading: "lazy" });
    const button = make("button", {
      type: "button",
      title: `Edit ${number}, ${new Date(job.finished_at).toLocaleTimeString()}`,
      "aria-label": `Open edit ${number}`,
      onclick: () => this.onOpen(job.id),
    });
    button.append(picture, make("span", { textContent: number }));
    this.list.prepend(make("li", { "data-job": job.id }, button));
    show("history-part", true);
  }

  mark(jobId) {
    for (const item of this.list.children) {
      item.firstChild.setAttribute("aria-current", String(item.dataset.job === jobId));
    }
  }
}
