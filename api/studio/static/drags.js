/** The list of drags beside the picture: their numbers, as fields, and what is wrong with each. */

import { byId, make } from "/studio/dom.js";
import { MAX_DRAGS } from "/studio/edit.js";
import { violationInWords } from "/studio/words.js";

const POINTER = /^\/drags\/(\d+)(?:\/(handle|target))?/;

/** Problems by what they belong to: drags by index, and the rest. */
export function sortProblems(problems) {
  const byDrag = new Map();
  const others = [];
  for (const problem of problems) {
    const match = POINTER.exec(problem.pointer);
    if (!match) others.push(problem);
    else byDrag.set(+match[1], [...(byDrag.get(+match[1]) ?? []), { ...problem, end: match[2] }]);
  }
  return { byDrag, others };
}

/** The ends that are wrong, by the drag's index: what the stage paints red. */
export function badEnds(byDrag) {
  const ends = (problems) => new Set(problems.flatMap(({ end }) => (end ? [end] : ["handle", "target"])));
  return new Map([...byDrag].map(([index, problems]) => [index, ends(problems)]));
}

export class DragList {
  #shown = {};

  constructor(bench) {
    this.bench = bench;
    this.list = byId("drags");
  }

  render(drags, chosen, byDrag) {
    const isSame = this.#shown.drags === drags && this.#shown.byDrag === byDrag;
    if (isSame && this.#shown.chosen === chosen) return;
    const isCount = this.#shown.drags?.length === drags.length;
    this.#shown = { drags, chosen, byDrag };
    byId("drags-count").textContent = drags.length ? `${drags.length} of ${MAX_DRAGS}` : "";
    if (!isCount) this.list.replaceChildren(...drags.map((_, index) => this.#row(index)));
    drags.forEach((drag, index) => this.#fill(index, drag, byDrag.get(index) ?? [], index === chosen));
  }

  #row(index) {
    const number = index + 1;
    const field = (end, axis) =>
      make("input", {
        type: "number",
        step: "any",
        "aria-label": `Drag ${number}, ${end}, ${"xy"[axis]}`,
        "data-end": end,
        onfocus: () => this.bench.choose(index),
        onchange: (event) => this.#typed(index, end, axis, event.target),
      });
    const pair = (end) => make("span", { className: "pair" }, field(end, 0), field(end, 1));
    return make(
      "li",
      { onpointerdown: () => this.bench.choose(index) },
      make("span", { className: "number", textContent: number }),
      pair("handle"),
      make("span", { className: "to", textContent: "to" }),
      pair("target"),
      make("button", {
        type: "button",
        className: "quiet",
        textContent: "Delete",
        "aria-label": `Delete drag ${number}`,
        onclick: () => this.bench.removeDrag(index),
      }),
      make("p", { className: "problem" }),
    );
  }

  #fill(index, drag, problems, isChosen) {
    const row = this.list.children[index];
    const size = this.bench.picture;
    row.classList.toggle("chosen", isChosen);
    row.classList.toggle("bad", problems.length > 0);
    const fields = [...row.querySelectorAll("input")];
    [...drag.handle, ...drag.target].forEach((value, at) => {
      const field = fields[at];
      if (field.value !== String(value)) field.value = value;
      field.min = 0;
      field.max = (at % 2 ? size.height : size.width) - 1;
      const isBad = problems.some(({ end }) => !end || end === field.dataset.end);
      field.setAttribute("aria-invalid", String(isBad));
    });
    const text = problems.map(violationInWords).join(" ");
    const message = row.querySelector(".problem");
    if (message.textContent !== text) message.textContent = text;
  }

  #typed(index, end, axis, field) {
    const value = field.valueAsNumber;
    const { edit } = this.bench;
    if (!Number.isFinite(value)) {
      field.value = edit.drags[index][end][axis];
      return;
    }
    const moved = { ...edit.drags[index], [end]: edit.drags[index][end].with(axis, value) };
    edit.change({ drags: edit.drags.with(index, moved) });
  }
}
