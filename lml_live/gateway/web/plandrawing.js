/** The tools that draw: rows, areas, decoration, and the brush that paints categories. */

import { inBox, underBrush } from "./planchoice.js";
import { besideLast, guided, rowEnds } from "./planguides.js";
import { KEY } from "./plan.js";
import { blockPoints, turned } from "./planrows.js";
import { plural } from "./words.js";

const CLICK_PX = 4;
/** A click so near to a polygon's first corner closes it. */
const CLOSE_PX = 10;
const AGAIN_MS = 350;
const GUIDE_PX = 7;

export class RowTool {
  constructor(editor) {
    this.editor = editor;
  }

  grab(x, y) {
    const { editor } = this;
    this.start = { x, y };
    this.ends = rowEnds(editor.scene);
    this.spots = besideLast(editor.scene, editor.sectionToDraw(), editor.settings.row.rowSpacing);
    this.from = this._drawnTo(editor.map.toWorld(x, y)).point;
    this.to = null;
    return true;
  }

  /** With the grid on the grid, else level with rows that are there. */
  _drawnTo(point) {
    const { editor } = this;
    if (editor.settings.grid) return { point: editor.snap(point), lines: [] };
    return guided(point, { spots: this.spots, ends: this.ends, reach: GUIDE_PX / editor.map.camera.scale });
  }

  drag(x, y, happening) {
    const { editor } = this;
    if (!this.to && Math.hypot(x - this.start.x, y - this.start.y) < CLICK_PX) return;
    const point = editor.map.toWorld(x, y);
    const drawn = happening.shiftKey ? { point: turned(this.from, point), lines: [] } : this._drawnTo(point);
    this.to = drawn.point;
    const rows = blockPoints(editor.blockOf(this.from, this.to));
    const seats = rows.reduce((sum, row) => sum + row.length, 0);
    const text = rows.length > 1 ? `${plural(rows.length, "row")}, ${plural(seats, "seat")}` : plural(seats, "seat");
    editor.map.setPreview({ rows, radius: editor.settings.row.spacing * 0.41, text, at: this.to, lines: drawn.lines });
  }

  drop() {
    this.cancel();
    if (this.to) this.editor.drawRows(this.from, this.to);
  }

  cancel() {
    this.editor.map.setPreview(null);
  }
}

/** A box by dragging, or a polygon corner by corner. */
class OutlineTool {
  constructor(editor) {
    this.editor = editor;
    this.corners = [];
    this.last = -Infinity;
  }

  grab(x, y) {
    this.start = { x, y };
    this.from = this.editor.snap(this.editor.map.toWorld(x, y));
    this.moved = false;
    return true;
  }

  drag(x, y, happening) {
    if (!this.moved && Math.hypot(x - this.start.x, y - this.start.y) < CLICK_PX) return;
    this.moved = true;
    if (this.corners.length) {
      this.hover(x, y, happening);
      return;
    }
    const to = this.editor.snap(this.editor.map.toWorld(x, y));
    const text = `${this.editor.inUnits(Math.abs(to[0] - this.from[0]))} × ${this.editor.inUnits(Math.abs(to[1] - this.from[1]))}`;
    this.editor.map.setPreview({ outline: this._box(to), closed: true, text, at: to });
  }

  drop(x, y, happening) {
    const { map } = this.editor;
    const point = this.editor.snap(map.toWorld(x, y));
    if (this.moved && !this.corners.length) {
      map.setPreview(null);
      if (Math.hypot(point[0] - this.from[0], point[1] - this.from[1]) * map.camera.scale > CLICK_PX * 2) this.finish(this._box(point));
      return;
    }
    const again = happening.timeStamp - this.last < AGAIN_MS;
    this.last = happening.timeStamp;
    const [firstX, firstY] = this.corners.length ? map.toScreen(this.corners[0]) : [Infinity, Infinity];
    if (this.corners.length > 2 && (again || Math.hypot(firstX - x, firstY - y) < CLOSE_PX)) this.close();
    else if (!again) {
      this.corners.push(point);
      this.hover(x, y, happening);
    }
  }

  hover(x, y, happening) {
    if (!this.corners.length) return;
    const point = this.editor.map.toWorld(x, y);
    const next = happening.shiftKey ? turned(this.corners[this.corners.length - 1], point) : this.editor.snap(point);
    this.editor.map.setPreview({ outline: [...this.corners, next], closed: this.corners.length > 1, corners: this.corners });
  }

  /** Ends the polygon with the corners that it has. @returns {boolean} whether there was one */
  close() {
    const { corners } = this;
    if (corners.length < 3) return false;
    this.cancel();
    this.corners = [];
    this.finish(corners);
    return true;
  }

  /** Gives the last corner up. @returns {boolean} whether there was one */
  back() {
    const had = this.corners.pop() !== undefined;
    this.editor.map.setPreview(this.corners.length ? { outline: this.corners, closed: false, corners: this.corners } : null);
    return had;
  }

  /** @returns {boolean} whether there was something to give up */
  leave() {
    const had = this.corners.length > 0;
    this.corners = [];
    this.cancel();
    return had;
  }

  cancel() {
    if (!this.corners.length) this.editor.map.setPreview(null);
  }

  _box(to) {
    return [this.from, [to[0], this.from[1]], to, [this.from[0], to[1]]];
  }
}

export class AreaTool extends OutlineTool {
  finish(outline) {
    this.editor.drawArea(outline);
  }
}

export class ShapeTool extends OutlineTool {
  finish(outline) {
    this.editor.drawShape(outline);
  }
}

export class BrushTool {
  constructor(editor) {
    this.editor = editor;
    this.painted = null;
  }

  grab(x, y, happening) {
    const { editor } = this;
    const point = editor.map.toWorld(x, y);
    if (happening.altKey) {
      const index = editor.map.seatAt(x, y, 4);
      if (index >= 0) editor.takeCategory(editor.scene.categories[editor.scene.categoryOf[index]]);
      return true;
    }
    this.category = editor.brushCategory();
    this.box = happening.shiftKey ? point : null;
    this.at = point;
    this.painted = new Set();
    if (!this.box) this._pass(point);
    return true;
  }

  drag(x, y) {
    if (!this.painted) return;
    const point = this.editor.map.toWorld(x, y);
    if (this.box) {
      const [a, b] = [this.box, point];
      this.editor.map.setPreview({ outline: [a, [b[0], a[1]], b, [a[0], b[1]]], closed: true, dashed: true });
    } else {
      this._pass(point);
      this._show(point);
    }
  }

  drop(x, y) {
    const { editor, painted } = this;
    if (!painted) return;
    const point = editor.map.toWorld(x, y);
    if (this.box) for (const key of inBox(editor.scene, [...this.box, ...point])) painted.add(key);
    else if (!painted.size) {
      const number = editor.scene.sectionAt(...point);
      if (number >= 0 && editor.scene.sections[number].standing) painted.add(editor.plan.sections[number][KEY]);
    }
    this.painted = null;
    this._show(point);
    editor.paintKeys(painted, this.category);
  }

  /** A second finger: what was passed over gets its colour back. */
  cancel() {
    if (this.painted?.size) this.editor.refresh();
    this.painted = null;
    this.editor.map.setPreview(null);
  }

  hover(x, y) {
    this._show(this.editor.map.toWorld(x, y));
  }

  leave() {
    this.editor.map.setPreview(null);
  }

  _pass(point) {
    const { editor } = this;
    const found = underBrush(editor.scene, this.at, point, editor.settings.brush);
    this.at = point;
    const fresh = found.filter((index) => !this.painted.has(editor.scene.keys[index]));
    for (const index of fresh) this.painted.add(editor.scene.keys[index]);
    const number = editor.scene.categories.indexOf(this.category);
    if (number >= 0) editor.map.repaintAs(fresh, number);
  }

  _show(point) {
    const { editor } = this;
    const number = editor.scene.categories.indexOf(editor.settings.category);
    editor.map.setPreview({ brush: { point, radius: editor.settings.brush, colour: editor.map.theme.categories[number] } });
  }
}

