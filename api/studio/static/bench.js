/** The place of work: picture, edit and tools together, and what the stage shows of them. */

import { Stage } from "/studio/canvas.js";
import { byId, isTyping, onClick, show } from "/studio/dom.js";
import { DragList, badEnds, sortProblems } from "/studio/drags.js";
import { Edit } from "/studio/edit.js";
import { Mask } from "/studio/mask.js";
import { Pointer } from "/studio/pointer.js";
import { makeTools } from "/studio/tools.js";
import { View } from "/studio/view.js";

const TOOL_KEYS = { d: "drag", b: "brush", e: "eraser", r: "rectangle", h: "hand" };
const ZOOM = 1.5;
const MASK_ALPHA = { drag: 0.14, hand: 0.14 }; // over what is being dragged, fainter
const MASK_ALPHA_PAINTING = 0.5;

export class Bench {
  picture = null;
  toolName = "drag";
  preview = null; // {bitmap, mask, warnings}: what the server made of the edit
  #chosen = -1;
  #cursor = null;
  #rectangle = null;
  #problems = new Map();
  #isOriginal = false;
  #busy = "";

  /** `onChange`: the edit is another; `announce(text)`: say it to who cannot see it. */
  constructor({ onChange, announce }) {
    this.announce = announce;
    this.view = new View();
    this.stage = new Stage(byId("canvas"), this.view);
    this.edit = new Edit(() => {
      this.redraw();
      onChange();
    });
    this.tools = makeTools(this);
    this.pointer = new Pointer(this);
    this.list = new DragList(this);
    new ResizeObserver(() => this.#place()).observe(byId("canvas"));
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.redraw());
    this.#wire();
  }

  /** Begin with a picture, and nothing done to it. */
  open(picture) {
    this.picture = picture;
    this.preview = null;
    this.#problems = new Map();
    this.mask = new Mask(picture.width, picture.height);
    const longest = Math.max(picture.width, picture.height);
    Object.assign(byId("brush-size"), { max: Math.ceil(longest / 2), value: Math.ceil(longest / 10) });
    byId("stage").style.setProperty("--ratio", picture.width / picture.height);
    this.choose(-1);
    this.useTool("drag");
    this.edit.reset();
    this.#place();
  }

  get brushSize() {
    return byId("brush-size").valueAsNumber;
  }

  choose(index) {
    this.#chosen = index;
    this.redraw();
  }

  removeDrag(index) {
    this.#chosen = -1;
    this.edit.change({ drags: this.edit.drags.toSpliced(index, 1) });
  }

  showCursor(cursor) {
    this.#cursor = cursor;
    this.redraw();
  }

  showRectangle(rectangle) {
    this.#rectangle = rectangle;
    this.redraw();
  }

  showProblems(problems) {
    const { byDrag, others } = sortProblems(problems);
    this.#problems = byDrag;
    this.redraw();
    return others;
  }

  /** What the server is doing for the preview; empty: nothing. */
  showBusy(text) {
    this.#busy = text;
    this.redraw();
  }

  showPreview(preview) {
    this.preview = preview;
    this.redraw();
  }

  /** A handle is put on the picture as it was, so nothing else is shown while that is done. */
  get isPlacingHandle() {
    return this.pointer.isBusy && this.pointer.needsOriginal && !this.#isPulled;
  }

  get #isPulled() {
    const drag = this.edit.drags[this.#chosen];
    return Boolean(drag) && String(drag.handle) !== String(drag.target);
  }

  redraw() {
    const { edit, picture, pointer } = this;
    if (!picture) return;
    if (this.isPlacingHandle) this.preview = null;
    const isPainting = !(this.toolName in MASK_ALPHA);
    this.mask.draw(edit.strokes);
    const mask = edit.strokes ? this.mask.canvas : (this.preview?.mask ?? null);
    this.stage.show({
      picture,
      shown: (this.#isOriginal ? null : this.preview?.bitmap) ?? picture.bitmap,
      mask,
      maskAlpha: byId("show-mask").checked ? (isPainting ? MASK_ALPHA_PAINTING : MASK_ALPHA[this.toolName]) : 0,
      drags: edit.drags,
      chosen: this.#chosen,
      bad: badEnds(this.#problems),
      cursor: this.#cursor,
      rectangle: this.#rectangle,
    });
    this.list.render(edit.drags, this.#chosen, this.#problems);
    this.#showState(pointer.isBusy);
  }

  #showState(isBusy) {
    const { edit } = this;
    const chip = this.#busy || (this.preview ? (this.#isOriginal ? "Original" : "Preview") : "");
    byId("stage-chip").textContent = chip;
    show("stage-chip", chip !== "");
    byId("stage").setAttribute("aria-busy", String(this.#busy !== ""));
    byId("undo").disabled = !edit.canUndo || isBusy;
    byId("redo").disabled = !edit.canRedo || isBusy;
    byId("clear-drags").disabled = edit.drags.length === 0;
    byId("clear-mask").disabled = edit.strokes === null;
    byId("take-automatic").disabled = edit.strokes !== null || !this.preview?.mask;
    byId("mask-state").textContent = edit.strokes
      ? "Painted: only what is tinted may change."
      : "Automatic: the server makes one around the drags. Paint on the picture to make your own.";
    show("first-hint", edit.drags.length === 0 && !isBusy && this.toolName === "drag");
    byId("original").setAttribute("aria-pressed", String(this.#isOriginal));
  }

  #place() {
    const { clientWidth: width, clientHeight: height } = byId("canvas");
    if (!this.picture || !width || !height) return;
    this.view.place(this.picture, { width, height });
    this.redraw();
  }

  useTool(name) {
    this.toolName = name;
    this.#cursor = null;
    byId("canvas").dataset.tool = name;
    for (const button of byId("tool-buttons").children) {
      button.setAttribute("aria-pressed", String(button.dataset.tool === name));
    }
    this.redraw();
  }

  #wire() {
    const { edit, view } = this;
    const look = (move) => () => {
      move();
      this.redraw();
    };
    byId("tool-buttons").addEventListener("click", ({ target }) => {
      if (target.dataset.tool) this.useTool(target.dataset.tool);
    });
    onClick("undo", () => edit.undo());
    onClick("redo", () => edit.redo());
    onClick("zoom-in", look(() => view.zoom(ZOOM)));
    onClick("zoom-out", look(() => view.zoom(1 / ZOOM)));
    onClick("zoom-fit", look(() => view.fit()));
    onClick("original", look(() => (this.#isOriginal = !this.#isOriginal)));
    onClick("clear-drags", () => edit.change({ drags: [] }));
    onClick("clear-mask", () => edit.change({ strokes: null }));
    onClick("take-automatic", () => this.#takeAutomatic());
    onClick("add-drag", () => this.#addDrag());
    byId("show-mask").addEventListener("change", () => this.redraw());
    document.addEventListener("keydown", (event) => this.#key(event));
  }

  #takeAutomatic() {
    this.edit.change({ strokes: [{ kind: "canvas", canvas: this.preview.mask }] });
    this.useTool("brush");
  }

  /** In the middle, a little way to the right: to be typed over. */
  #addDrag() {
    const { width, height } = this.picture;
    const { drags } = this.edit;
    const [x, y] = [width >> 1, Math.min((height >> 1) + 12 * drags.length, height - 1)];
    const target = [Math.min(x + Math.max(1, width >> 4), width - 1), y];
    this.edit.change({ drags: [...drags, { handle: [x, y], target }] });
    this.choose(drags.length);
    byId("drags").lastElementChild.querySelector("input").focus();
  }

  #key(event) {
    if (byId("work-step").hidden || byId("tools").hidden || isTyping(event)) return;
    const key = event.key.toLowerCase();
    if (event.ctrlKey || event.metaKey) {
      if (key === "z") event.shiftKey ? this.edit.redo() : this.edit.undo();
      else if (key === "y") this.edit.redo();
      else return;
    } else if (event.altKey) {
      return;
    } else if (TOOL_KEYS[key]) this.useTool(TOOL_KEYS[key]);
    else if (key === "o") byId("original").click();
    else if (key === "0") byId("zoom-fit").click();
    else if (key === "delete" || key === "backspace") this.#deleteChosen();
    else return;
    event.preventDefault();
  }

  #deleteChosen() {
    const isThere = this.#chosen >= 0 && this.#chosen < this.edit.drags.length;
    if (isThere && !this.edit.isHeld) this.removeDrag(this.#chosen);
  }
}
