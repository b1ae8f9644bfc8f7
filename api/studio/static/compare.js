/** Before and after, one over the other, with a divider to move. */

import { byId, show } from "/studio/dom.js";

export class Compare {
  #urls = [];

  constructor() {
    this.box = byId("compare");
    this.divider = byId("divider");
    this.divider.addEventListener("input", () => this.#place());
  }

  /** Two pictures of one size, as blobs; the second can be downloaded under `name`; `at`: in %. */
  open(before, after, { width, height, name, at }) {
    this.#forget();
    this.#urls = [before, after].map((blob) => URL.createObjectURL(blob));
    [byId("before").src, byId("after").src] = this.#urls;
    this.box.style.setProperty("--width", width);
    this.box.style.setProperty("--height", height);
    byId("download").href = this.#urls[1];
    byId("download").download = name;
    this.divider.value = at;
    this.#place();
    show(this.box, true);
  }

  close() {
    show(this.box, false);
    this.#forget();
  }

  get isOpen() {
    return !this.box.hidden;
  }

  #place() {
    this.box.style.setProperty("--at", `${this.divider.value}%`);
  }

  #forget() {
    this.#urls.forEach((url) => URL.revokeObjectURL(url));
    this.#urls = [];
  }
}
