/** What the stage shows: the picture, the mask over it, the drags as numbered arrows. */

const COLOURS = { drag: "#1279e6", chosen: "#ff9d00", bad: "#e02424", halo: "rgba(255,255,255,.95)" };
const RADIUS = 10; // CSS pixels
const SMOOTH_UNTIL = 3; // magnified further, the pixels are what one wants to see

export class Stage {
  constructor(canvas, view) {
    this.canvas = canvas;
    this.view = view;
    this.pen = canvas.getContext("2d");
    this.scene = null;
  }

  #isDue = false;

  /** Draw this before the next frame: see `#draw` for the parts of a scene. */
  show(scene) {
    this.scene = scene;
    if (this.#isDue) return;
    this.#isDue = true;
    requestAnimationFrame(() => {
      this.#isDue = false;
      this.#draw(this.scene);
    });
  }

  #draw({ picture, shown, mask, maskAlpha, drags, chosen, bad, cursor, rectangle }) {
    const { pen, view } = this;
    const { width, height } = this.#fitToScreen();
    pen.clearRect(0, 0, width, height);
    if (!picture) return;
    const area = [view.left, view.top, picture.width * view.scale, picture.height * view.scale];
    pen.fillStyle = "#9aa0a6";
    pen.fillRect(...area);
    pen.imageSmoothingEnabled = view.scale < SMOOTH_UNTIL;
    pen.imageSmoothingQuality = "high";
    pen.drawImage(shown, ...area);
    if (mask && maskAlpha) {
      pen.globalAlpha = maskAlpha;
      pen.drawImage(mask, ...area);
      pen.globalAlpha = 1;
    }
    drags.forEach((drag, index) => this.#arrow(drag, index, index === chosen, bad.get(index)));
    if (rectangle) this.#outline(rectangle);
    if (cursor) this.#cursor(cursor);
  }

  /** As many canvas pixels as the screen has; all drawing is in CSS pixels. */
  #fitToScreen() {
    const { clientWidth: width, clientHeight: height } = this.canvas;
    const ratio = window.devicePixelRatio || 1;
    const [across, down] = [Math.round(width * ratio), Math.round(height * ratio)];
    if (this.canvas.width !== across) this.canvas.width = across;
    if (this.canvas.height !== down) this.canvas.height = down;
    this.pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    return { width, height };
  }

  #arrow({ handle, target }, index, isChosen, badEnds) {
    const [from, to] = [this.view.toStage(handle), this.view.toStage(target)];
    const colour = isChosen ? COLOURS.chosen : COLOURS.drag;
    const line = Math.hypot(to.x - from.x, to.y - from.y);
    if (line > 1) {
      const [ux, uy] = [(to.x - from.x) / line, (to.y - from.y) / line];
      this.#stroke(COLOURS.halo, 6, from, to, ux, uy);
      this.#stroke(colour, 3, from, to, ux, uy);
    }
    this.#dot(to, RADIUS * 0.55, badEnds?.has("target") ? COLOURS.bad : colour);
    this.#dot(from, RADIUS, badEnds?.has("handle") ? COLOURS.bad : colour);
    this.pen.fillStyle = "#fff";
    this.pen.font = "600 12px system-ui, sans-serif";
    this.pen.textAlign = "center";
    this.pen.textBaseline = "middle";
    this.pen.fillText(String(index + 1), from.x, from.y + 0.5);
  }

  #stroke(colour, width, from, to, ux, uy) {
    const { pen } = this;
    const head = 13;
    pen.strokeStyle = colour;
    pen.lineWidth = width;
    pen.lineCap = pen.lineJoin = "round";
    pen.beginPath();
    pen.moveTo(from.x, from.y);
    pen.lineTo(to.x, to.y);
    pen.moveTo(to.x - head * ux - head * 0.6 * uy, to.y - head * uy + head * 0.6 * ux);
    pen.lineTo(to.x, to.y);
    pen.lineTo(to.x - head * ux + head * 0.6 * uy, to.y - head * uy - head * 0.6 * ux);
    pen.stroke();
  }

  #dot(at, radius, colour) {
    const { pen } = this;
    pen.beginPath();
    pen.arc(at.x, at.y, radius, 0, 2 * Math.PI);
    pen.fillStyle = colour;
    pen.strokeStyle = COLOURS.halo;
    pen.lineWidth = 2;
    pen.fill();
    pen.stroke();
  }

  #outline({ from, to }) {
    const [a, b] = [this.view.toStage(from), this.view.toStage(to)];
    this.#twice(() => this.pen.strokeRect(a.x, a.y, b.x - a.x, b.y - a.y));
  }

  /** Where the pointer or the keyboard's cross is; a circle of the brush's size. */
  #cursor({ at, size, isCross }) {
    const { x, y } = this.view.toStage(at);
    const { pen } = this;
    this.#twice(() => {
      pen.beginPath();
      if (size) pen.arc(x, y, (size * this.view.scale) / 2, 0, 2 * Math.PI);
      if (isCross) {
        for (const [dx, dy] of [[1, 0], [-1, 0], [0, 1], [0, -1]]) {
          pen.moveTo(x + 4 * dx, y + 4 * dy);
          pen.lineTo(x + 16 * dx, y + 16 * dy);
        }
      }
      pen.stroke();
    });
  }

  /** A thin line that is seen on dark and on light. */
  #twice(stroke) {
    for (const [colour, width] of [["rgba(0,0,0,.7)", 3], ["#fff", 1.25]]) {
      this.pen.strokeStyle = colour;
      this.pen.lineWidth = width;
      stroke();
    }
  }
}
