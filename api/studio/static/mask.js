/** The painted mask: strokes become pixels, pixels become the PNG that the API takes. */

const TINT = "#00c2a8";
const TINT_RGB = [0, 194, 168];
const THRESHOLD = 128; // of 255: at least half covered may change
const SHOWN_PX = 1024; // the longer side of an automatic mask that is only looked at

/**
 * A stroke is one of
 *   {kind: "line", points: [[x, y], ...], size, erases}   size: its width in pixels
 *   {kind: "rectangle", from: [x, y], to: [x, y]}         both corner pixels belong to it
 *   {kind: "canvas", canvas}                              a mask that came as a picture
 */
export class Mask {
  #strokes = null;
  #drawn = [];

  constructor(width, height) {
    this.canvas = new OffscreenCanvas(width, height);
    this.pen = this.canvas.getContext("2d");
  }

  /** Show these strokes; those that are there already are not drawn again. */
  draw(strokes) {
    if (strokes === this.#strokes) return;
    this.#strokes = strokes;
    const wanted = strokes || [];
    const isLonger = this.#drawn.every((stroke, index) => stroke === wanted[index]);
    if (!isLonger) {
      this.pen.clearRect(0, 0, this.canvas.width, this.canvas.height);
      this.#drawn = [];
    }
    for (const stroke of wanted.slice(this.#drawn.length)) this.#paint(stroke);
    this.#drawn = wanted;
  }

  /** White may change, black must stay; nothing in between. */
  async toPng() {
    const { width, height } = this.canvas;
    const pixels = this.pen.getImageData(0, 0, width, height);
    const { data } = pixels;
    for (let at = 0; at < data.length; at += 4) {
      data.fill(data[at + 3] >= THRESHOLD ? 255 : 0, at, at + 3);
      data[at + 3] = 255;
    }
    const out = new OffscreenCanvas(width, height);
    out.getContext("2d").putImageData(pixels, 0, 0);
    return out.convertToBlob({ type: "image/png" });
  }

  #paint(stroke) {
    const { pen } = this;
    pen.globalCompositeOperation = stroke.erases ? "destination-out" : "source-over";
    pen.fillStyle = pen.strokeStyle = TINT;
    if (stroke.kind === "canvas") {
      pen.drawImage(stroke.canvas, 0, 0, this.canvas.width, this.canvas.height);
    } else if (stroke.kind === "rectangle") {
      const [x0, x1] = edges(stroke.from[0], stroke.to[0]);
      const [y0, y1] = edges(stroke.from[1], stroke.to[1]);
      pen.fillRect(x0, y0, x1 - x0, y1 - y0);
    } else {
      pen.lineWidth = stroke.size;
      pen.lineCap = pen.lineJoin = "round";
      const [x0, y0] = stroke.points[0];
      pen.beginPath(); // the middle of pixel (0, 0) is at (0.5, 0.5) of the canvas
      if (stroke.points.length === 1) pen.arc(x0 + 0.5, y0 + 0.5, stroke.size / 2, 0, 2 * Math.PI);
      for (const [x, y] of stroke.points) pen.lineTo(x + 0.5, y + 0.5);
      if (stroke.points.length === 1) pen.fill();
      else pen.stroke();
    }
  }
}

/** From the outer edge of one pixel to the outer edge of the other. */
function edges(one, other) {
  return [Math.round(Math.min(one, other)), Math.round(Math.max(one, other)) + 1];
}

/** A black and white picture of a mask, tinted to lie over the picture. */
export function tinted(bitmap, longest = SHOWN_PX) {
  const scale = Math.min(1, longest / Math.max(bitmap.width, bitmap.height));
  const [width, height] = [bitmap.width, bitmap.height].map((n) => Math.max(1, Math.round(n * scale)));
  const canvas = new OffscreenCanvas(width, height);
  const pen = canvas.getContext("2d", { willReadFrequently: true });
  pen.drawImage(bitmap, 0, 0, width, height);
  const pixels = pen.getImageData(0, 0, width, height);
  const { data } = pixels;
  for (let at = 0; at < data.length; at += 4) {
    data[at + 3] = data[at];
    [data[at], data[at + 1], data[at + 2]] = TINT_RGB;
  }
  pen.putImageData(pixels, 0, 0);
  return canvas;
}
