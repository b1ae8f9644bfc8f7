/**
 * Where the picture lies on the stage, and the way between its pixels and the stage's.
 *
 * A whole number is the centre of a pixel of the upright picture: pixel (0, 0) covers the stage
 * from `left` to `left + scale`, and the point (0, 0) is in its middle, half a pixel further in.
 */

const MARGIN = 16; // CSS pixels around a picture that fits, so that ends on its edge can be held
const LARGEST_FIT = 4;
const LARGEST = 32;

export class View {
  scale = 1;
  left = 0;
  top = 0;
  #picture = { width: 1, height: 1 };
  #stage = { width: 1, height: 1 };
  #isFit = true;

  /** A new picture, or a stage of a new size (in CSS pixels). */
  place(picture, stage) {
    const isNew = picture !== this.#picture;
    [this.#picture, this.#stage] = [picture, stage];
    if (isNew || this.#isFit) this.fit();
    else this.#keepInSight();
  }

  fit() {
    this.#isFit = true;
    this.scale = this.#fitScale();
    this.left = (this.#stage.width - this.#picture.width * this.scale) / 2;
    this.top = (this.#stage.height - this.#picture.height * this.scale) / 2;
  }

  /** Nearer (factor > 1) or further, the given stage point standing still. */
  zoom(factor, at = { x: this.#stage.width / 2, y: this.#stage.height / 2 }) {
    const wanted = this.scale * factor;
    if (wanted <= this.#fitScale()) return this.fit();
    const scale = Math.min(wanted, Math.max(LARGEST, this.#fitScale()));
    this.left = at.x - ((at.x - this.left) * scale) / this.scale;
    this.top = at.y - ((at.y - this.top) * scale) / this.scale;
    this.scale = scale;
    this.#isFit = false;
    return this.#keepInSight();
  }

  pan(dx, dy) {
    this.left += dx;
    this.top += dy;
    this.#isFit = false;
    this.#keepInSight();
  }

  /** A point of the picture as a place on the stage. */
  toStage([x, y]) {
    return { x: this.left + (x + 0.5) * this.scale, y: this.top + (y + 0.5) * this.scale };
  }

  /** A place on the stage as a point of the picture, which may lie outside it. */
  toPicture({ x, y }) {
    return [(x - this.left) / this.scale - 0.5, (y - this.top) / this.scale - 0.5];
  }

  /** The nearest point in the picture, no finer than the stage shows: 0 <= x <= width - 1. */
  snap([x, y]) {
    const step = this.scale > 2 ? 0.5 : 1;
    const put = (value, size) => Math.min(Math.max(Math.round(value / step) * step, 0), size - 1);
    return [put(x, this.#picture.width), put(y, this.#picture.height)];
  }

  #fitScale() {
    const across = (this.#stage.width - 2 * MARGIN) / this.#picture.width;
    const down = (this.#stage.height - 2 * MARGIN) / this.#picture.height;
    return Math.max(Math.min(across, down, LARGEST_FIT), 0.001);
  }

  /** A good part of the picture stays on the stage. */
  #keepInSight() {
    const keep = (at, size, room) => {
      const part = Math.min(size, room) / 2;
      return Math.min(Math.max(at, part - size), room - part);
    };
    this.left = keep(this.left, this.#picture.width * this.scale, this.#stage.width);
    this.top = keep(this.top, this.#picture.height * this.scale, this.#stage.height);
  }
}
