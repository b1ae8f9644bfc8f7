/** What the user has made so far, drags and mask strokes, with undo and redo. */

export const MAX_DRAGS = 64;
const MAX_UNDO = 200;
const NOTHING = { drags: [], strokes: null };

/**
 * `drags`: [{handle: [x, y], target: [x, y]}], in pixels of the upright picture.
 * `strokes`: what was painted, in order; null: the server makes the mask around the drags.
 * Both are replaced, never changed, so that a step back is the object of then.
 */
export class Edit {
  #now = NOTHING;
  #past = [];
  #future = [];
  #held = null;

  constructor(onChange) {
    this.onChange = onChange;
  }

  get drags() {
    return this.#now.drags;
  }

  get strokes() {
    return this.#now.strokes;
  }

  get canUndo() {
    return this.#past.length > 0;
  }

  get canRedo() {
    return this.#future.length > 0;
  }

  /** One step that can be undone. */
  change(parts) {
    this.#remember(this.#now);
    this.#set({ ...this.#now, ...parts });
  }

  /** Between `hold` and `release` everything is one step: a pull, a stroke. */
  hold() {
    this.#held = this.#now;
  }

  pull(parts) {
    this.#set({ ...this.#now, ...parts });
  }

  release() {
    if (this.#held && this.#held !== this.#now) this.#remember(this.#held);
    this.#held = null;
    this.onChange();
  }

  giveUp() {
    const before = this.#held;
    this.#held = null;
    if (before) this.#set(before);
  }

  get isHeld() {
    return this.#held !== null;
  }

  undo() {
    if (!this.canUndo || this.isHeld) return;
    this.#future.push(this.#now);
    this.#set(this.#past.pop());
  }

  redo() {
    if (!this.canRedo || this.isHeld) return;
    this.#past.push(this.#now);
    this.#set(this.#future.pop());
  }

  reset() {
    [this.#past, this.#future, this.#held] = [[], [], null];
    this.#set(NOTHING);
  }

  #remember(before) {
    this.#past.push(before);
    if (this.#past.length > MAX_UNDO) this.#past.shift();
    this.#future = [];
  }

  #set(now) {
    this.#now = now;
    this.onChange();
  }
}
