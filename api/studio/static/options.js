/** Engine, format and seed: what `GET /v1/engines` offers, and what the user chose of it. */

import { byId, make, show } from "/studio/dom.js";

const WITHOUT_CHANCE = new Set(["warp"]); // a seed changes nothing there
const QUICK = "warp"; // previews while another engine would keep its GPU busy

export class Options {
  constructor(onChange) {
    this.engines = [];
    for (const id of ["engine", "format", "seed"]) {
      byId(id).addEventListener("change", () => {
        this.#show();
        onChange();
      });
    }
  }

  offer(engines) {
    this.engines = engines;
    const isDefault = (engine) => engine.is_default;
    byId("engine").replaceChildren(
      ...engines.map(({ name }) => make("option", { value: name, textContent: name })),
    );
    byId("engine").value = (engines.find(isDefault) ?? engines[0]).name;
    this.#show();
  }

  /** The parts of a job's body that the user chose here. */
  chosen() {
    const { name, options } = this.#engine;
    const format = options.format && byId("format").value;
    const seed = byId("seed-row").hidden ? NaN : byId("seed").valueAsNumber;
    return {
      engine: name,
      options: { ...(format && { format }), ...(Number.isInteger(seed) && { seed }) },
    };
  }

  /** The same for a preview; null where no engine that is up can make one. */
  forPreview(contentType) {
    const canPreview = ({ up, options }) => up && options.quality?.choices?.includes("preview");
    const candidates = [this.engines.find(({ name }) => name === QUICK), this.#engine];
    const engine = candidates.find((each) => each && canPreview(each));
    if (!engine) return null;
    // A JPEG has no alpha that a preview as JPEG, quicker to send, could lose.
    const format = contentType === "image/jpeg" ? "jpeg" : "png";
    return { engine: engine.name, options: { quality: "preview", format } };
  }

  get #engine() {
    return this.engines.find(({ name }) => name === byId("engine").value);
  }

  #show() {
    const { name, up, options } = this.#engine;
    const choices = options.format?.choices ?? [];
    const before = byId("format").value;
    byId("format").replaceChildren(
      ...choices.map((choice) => make("option", { value: choice, textContent: choice })),
    );
    byId("format").value = choices.includes(before) ? before : options.format?.default;
    show("seed-row", Boolean(options.seed) && !WITHOUT_CHANCE.has(name));
    byId("engine-state").textContent = up ? "" : "No worker for it is up: edits wait until one is.";
  }
}
