/** Mouse, pen, fingers and keys on the stage, turned into one thing: a tool that is used. */

const REACH = { mouse: 14, pen: 16, touch: 26 }; // CSS pixels from an end that still take it
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

export class Pointer {
  #tool = null; // the one in use
  #pointers = new Map(); // those that are down, by id
  #panning = null;

  /** `bench`: see main.js. */
  constructor(bench) {
    this.bench = bench;
    const { canvas } = bench.stage;
    canvas.addEventListener("pointerdown", (event) => this.#down(event));
    canvas.addEventListener("pointermove", (event) => this.#move(event));
    canvas.addEventListener("pointerup", (event) => this.#up(event));
    canvas.addEventListener("pointercancel", (event) => this.#lost(event));
    canvas.addEventListener("pointerleave", () => bench.showCursor(null));
    canvas.addEventListener("blur", () => bench.showCursor(null));
    canvas.addEventListener("contextmenu", (event) => event.preventDefault());
    canvas.addEventListener("wheel", (event) => this.#wheel(event), { passive: false });
    canvas.addEventListener("keydown", (event) => this.#key(event));
  }

  get isBusy() {
    return this.#tool !== null;
  }

  get needsOriginal() {
    return this.#tool?.needsOriginal ?? false;
  }

  #place(event) {
    const box = this.bench.stage.canvas.getBoundingClientRect();
    return { x: event.clientX - box.left, y: event.clientY - box.top };
  }

  #down(event) {
    const { bench } = this;
    const at = this.#place(event);
    bench.stage.canvas.setPointerCapture(event.pointerId);
    this.#pointers.set(event.pointerId, at);
    if (this.#pointers.size === 2) {
      this.#stop("cancel"); // the second finger: a pinch
      return;
    }
    if (this.#pointers.size > 1) return;
    const wantsPan = bench.toolName === "hand" || event.button === 1;
    if (wantsPan || event.button !== 0) {
      this.#panning = wantsPan ? at : null;
      return;
    }
    const reach = REACH[event.pointerType] ?? REACH.mouse;
    this.#start(bench.view.toPicture(at), reach);
  }

  #start(point, reach) {
    const tool = this.bench.tools[this.bench.toolName];
    if (!tool?.down(point, reach)) return;
    this.#tool = tool;
    this.bench.redraw();
  }

  #move(event) {
    const at = this.#place(event);
    const before = this.#pointers.get(event.pointerId);
    if (this.#pointers.size >= 2 && before) {
      this.#pinch(event.pointerId, before, at);
    } else if (this.#panning) {
      this.bench.view.pan(at.x - this.#panning.x, at.y - this.#panning.y);
      this.#panning = at;
    } else if (this.#tool) {
      // A quick stroke has more places than frames.
      const all = event.getCoalescedEvents?.() ?? [];
      const places = this.bench.toolName === "brush" && all.length ? all : [event];
      for (const each of places) this.#tool.move(this.bench.view.toPicture(this.#place(each)));
    }
    if (before) this.#pointers.set(event.pointerId, at);
    if (event.pointerType !== "touch") this.#showBrush(at);
    this.bench.redraw();
  }

  #pinch(id, before, at) {
    const [other] = [...this.#pointers].filter(([each]) => each !== id).map(([, place]) => place);
    const distance = (place) => Math.max(Math.hypot(place.x - other.x, place.y - other.y), 1);
    const middle = { x: (at.x + other.x) / 2, y: (at.y + other.y) / 2 };
    this.bench.view.pan((at.x - before.x) / 2, (at.y - before.y) / 2);
    this.bench.view.zoom(distance(at) / distance(before), middle);
  }

  #up(event) {
    this.#pointers.delete(event.pointerId);
    this.#panning = null;
    if (this.#pointers.size === 0) this.#stop("up");
  }

  #lost(event) {
    this.#pointers.delete(event.pointerId);
    this.#panning = null;
    this.#stop("cancel");
  }

  #stop(how) {
    const tool = this.#tool;
    this.#tool = null;
    tool?.[how]();
    this.bench.redraw();
  }

  #wheel(event) {
    event.preventDefault();
    const lines = event.deltaMode === WheelEvent.DOM_DELTA_LINE ? 16 : 1;
    this.bench.view.zoom(Math.exp((-event.deltaY * lines) / 400), this.#place(event));
    this.bench.redraw();
  }

  #showBrush(at) {
    const { bench } = this;
    const isBrush = bench.toolName === "brush" || bench.toolName === "eraser";
    bench.showCursor(isBrush ? { at: bench.view.toPicture(at), size: bench.brushSize } : null);
  }

  /** The keyboard has a cross of its own, which presses, pulls and lets go like a finger. */
  #key(event) {
    const { bench } = this;
    if (event.key === "Escape" && this.#tool) {
      this.#stop("cancel");
    } else if (ARROWS[event.key]) {
      this.#moveCross(ARROWS[event.key], event.shiftKey ? 10 : 1);
    } else if (event.key === "Enter" && !event.repeat) {
      const at = this.#cross();
      if (this.#tool) this.#stop("up");
      else this.#start(at, REACH.mouse);
      this.#moveCross([0, 0], 0);
    } else {
      return;
    }
    event.preventDefault();
  }

  #cross() {
    const { width, height } = this.bench.picture;
    const isFresh = this.cross?.picture !== this.bench.picture;
    if (isFresh) this.cross = { picture: this.bench.picture, at: [width >> 1, height >> 1] };
    return this.cross.at;
  }

  #moveCross([dx, dy], by) {
    const { bench } = this;
    const [x, y] = this.#cross();
    const at = [
      Math.min(Math.max(x + dx * by, 0), bench.picture.width - 1),
      Math.min(Math.max(y + dy * by, 0), bench.picture.height - 1),
    ];
    this.cross.at = at;
    if (this.#tool && by) this.#tool.move(at);
    const isBrush = bench.toolName === "brush" || bench.toolName === "eraser";
    bench.showCursor({ at, isCross: true, size: isBrush ? bench.brushSize : 0 });
    bench.announce(`${at[0]}, ${at[1]}${this.#tool ? ", pressed" : ""}`);
  }
}
