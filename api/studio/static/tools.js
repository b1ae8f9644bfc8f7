/** What pressing, pulling and letting go mean: each tool in the picture's own coordinates. */

import { MAX_DRAGS } from "/studio/edit.js";

const SHORTEST_PX = 3; // CSS pixels: a press that was hardly a pull makes no drag

/** Press on something and pull it; press on an end to move it. */
class DragTool {
  constructor(bench) {
    this.bench = bench;
  }

  /** `reach`: how far from an end a press still takes it, in CSS pixels. */
  down(point, reach) {
    const { edit, view } = this.bench;
    const drags = edit.drags;
    const taken = nearestEnd(drags, view, point, reach);
    if (!taken && drags.length >= MAX_DRAGS) return false;
    const at = view.snap(point);
    this.isNew = !taken;
    this.index = taken ? taken.index : drags.length;
    this.end = taken ? taken.end : "target";
    edit.hold();
    if (this.isNew) edit.pull({ drags: [...drags, { handle: at, target: at }] });
    this.bench.choose(this.index);
    return true;
  }

  move(point) {
    const { edit, view } = this.bench;
    const moved = { ...edit.drags[this.index], [this.end]: view.snap(point) };
    edit.pull({ drags: edit.drags.with(this.index, moved) });
  }

  up() {
    const { edit, view } = this.bench;
    const [from, to] = ["handle", "target"].map((end) => view.toStage(edit.drags[this.index][end]));
    if (this.isNew && Math.hypot(to.x - from.x, to.y - from.y) < SHORTEST_PX) {
      this.cancel();
      return;
    }
    edit.release();
  }

  cancel() {
    this.bench.edit.giveUp();
    if (this.isNew) this.bench.choose(-1);
  }

  /** A new handle is put on the picture as it was: show that one. */
  get needsOriginal() {
    return this.isNew || this.end === "handle";
  }
}

class BrushTool {
  constructor(bench, erases) {
    this.bench = bench;
    this.erases = erases;
  }

  down(point) {
    const { edit } = this.bench;
    if (this.erases && !edit.strokes) return false;
    this.before = edit.strokes || [];
    edit.hold();
    this.points = [];
    this.move(point);
    return true;
  }

  move(point) {
    this.points = [...this.points, point];
    // A stroke that grows comes as pieces, so that only the newest is drawn.
    const [kind, size, erases] = ["line", this.bench.brushSize, this.erases];
    const piece = { kind, size, erases, points: this.points.slice(-2) };
    const { edit } = this.bench;
    edit.pull({ strokes: this.points.length > 1 ? [...edit.strokes, piece] : [...this.before, piece] });
  }

  up() {
    const { edit, brushSize: size } = this.bench;
    edit.pull({ strokes: [...this.before, { kind: "line", size, erases: this.erases, points: this.points }] });
    edit.release();
  }

  cancel() {
    this.bench.edit.giveUp();
  }
}

class RectangleTool {
  constructor(bench) {
    this.bench = bench;
  }

  down(point) {
    this.from = this.bench.view.snap(point);
    this.move(point);
    return true;
  }

  move(point) {
    this.to = this.bench.view.snap(point);
    this.bench.showRectangle({ from: this.from, to: this.to });
  }

  up() {
    const { edit } = this.bench;
    const stroke = { kind: "rectangle", from: this.from, to: this.to };
    this.bench.showRectangle(null);
    if (this.from[0] !== this.to[0] && this.from[1] !== this.to[1]) {
      edit.change({ strokes: [...(edit.strokes || []), stroke] });
    }
  }

  cancel() {
    this.bench.showRectangle(null);
  }
}

export function makeTools(bench) {
  return {
    drag: new DragTool(bench),
    brush: new BrushTool(bench, false),
    eraser: new BrushTool(bench, true),
    rectangle: new RectangleTool(bench),
  };
}

/** The end within `reach` CSS pixels that is nearest; targets lie above handles. */
export function nearestEnd(drags, view, point, reach) {
  const press = view.toStage(point);
  let nearest = null;
  let best = reach;
  drags.forEach((drag, index) => {
    for (const end of ["handle", "target"]) {
      const at = view.toStage(drag[end]);
      const distance = Math.hypot(at.x - press.x, at.y - press.y);
      if (distance <= best) [nearest, best] = [{ index, end }, distance];
    }
  });
  return nearest;
}
