/** The hand on the sheet: choosing and moving, and the tools that draw (plandrawing.js). One is in hand at a time. */

import { AreaTool, BrushTool, RowTool, ShapeTool } from "./plandrawing.js";
import { aroundSeat, combined, inBox, shapeAt } from "./planchoice.js";
import { move, stepWithin } from "./planedits.js";
import { KEY, rowsAmong } from "./plan.js";
import { pointsOf, stretch } from "./planrenumber.js";
import { offChord, rowPoints, sagittaOf, turned } from "./planrows.js";
import { plural } from "./words.js";

const CLICK_PX = 4;
const AGAIN_MS = 350;
/** A curve that rises by less than this on the screen is meant to be a line. */
const FLAT_PX = 5;
const HANDLES_PX = 44;

/** How a gesture changes what is chosen. */
function modeOf(happening) {
  if (happening.altKey) return "remove";
  if (happening.ctrlKey || happening.metaKey) return "toggle";
  return happening.shiftKey ? "add" : "replace";
}

/** Takes a row by one of its handles: its ends, or its middle, which bends it. */
class HandleGrip {
  constructor(editor, handle) {
    const [{ seats }] = rowsAmong(editor.plan, editor.chosen);
    const points = pointsOf(editor.plan, seats);
    Object.assign(this, { editor, handle, seats, radius: editor.scene.radius[editor.scene.indexOfKey(seats[0][KEY])] });
    this.before = { from: points[0], to: points[points.length - 1], sagitta: sagittaOf(points) };
    this.now = this.before;
  }

  drag(point, happening) {
    const { from, to, sagitta } = this.before;
    const { map } = this.editor;
    if (this.handle.name === "bend") {
      const off = offChord(from, to, point);
      this.now = { from, to, sagitta: Math.abs(off) * map.camera.scale < FLAT_PX ? 0 : off };
    } else {
      const fixed = this.handle.name === "from" ? to : from;
      const end = happening.shiftKey ? turned(fixed, point) : this.editor.snap(point);
      const chord = Math.hypot(to[0] - from[0], to[1] - from[1]) || 1;
      const bent = (sagitta * Math.hypot(end[0] - fixed[0], end[1] - fixed[1])) / chord;
      this.now = this.handle.name === "from" ? { from: end, to, sagitta: bent } : { from, to: end, sagitta: bent };
    }
    const { from: a, to: b, sagitta: rise } = this.now;
    const text = this.handle.name === "bend" ? (rise ? `Curve ${this.editor.inUnits(rise)}` : "Straight") : plural(this.seats.length, "seat");
    map.setPreview({ rows: [rowPoints(a, b, this.seats.length, rise)], radius: this.radius, text, at: point });
  }

  drop() {
    const { from, to, sagitta } = this.now;
    this.editor.map.setPreview(null);
    if (this.now !== this.before) this.editor.act(this.handle.name === "bend" ? "Bend a row" : "Stretch a row", stretch(this.editor.plan, this.editor.chosen, from, to, sagitta));
  }
}

class SelectTool {
  constructor(editor) {
    this.editor = editor;
    this.last = { at: -Infinity, times: 0 };
  }

  grab(x, y, happening) {
    const { editor } = this;
    const { map, scene } = editor;
    const point = map.toWorld(x, y);
    this.from = { x, y, point };
    this.moved = false;
    this.mode = modeOf(happening);
    const handle = map.handleAt(x, y, happening.pointerType === "mouse" ? 11 : 20);
    this.grip = handle ? new HandleGrip(editor, handle) : null;
    this.index = handle ? -1 : map.seatAt(x, y, happening.pointerType === "mouse" ? 2 : 9);
    this.hit = this.index >= 0 ? scene.keys[this.index] : (this._thingAt(point)?.[KEY] ?? null);
    // A finger that lies on nothing chosen moves the map; what it taps comes as a pick.
    if (happening.pointerType === "touch" && !this.grip && !(this.hit !== null && editor.chosen.has(this.hit))) return false;
    this.moves = this.hit !== null && this.mode === "replace";
    if (this.moves && !editor.chosen.has(this.hit)) editor.choose(this._taken());
    return true;
  }

  drag(x, y, happening) {
    const { editor, from } = this;
    if (!this.moved && Math.hypot(x - from.x, y - from.y) < CLICK_PX) return;
    this.moved = true;
    const point = editor.map.toWorld(x, y);
    if (this.grip) this.grip.drag(point, happening);
    else if (this.moves) {
      let [dx, dy] = [point[0] - from.point[0], point[1] - from.point[1]];
      if (happening.shiftKey) [dx, dy] = Math.abs(dx) > Math.abs(dy) ? [dx, 0] : [0, dy];
      [dx, dy] = stepWithin(editor.plan, editor.chosen, ...editor.snapStep(dx, dy));
      this.step = { dx, dy };
      editor.map.setGhost(this.step);
    } else {
      const [a, b] = [from.point, point];
      editor.map.setPreview({ outline: [a, [b[0], a[1]], b, [a[0], b[1]]], closed: true, dashed: true });
    }
  }

  drop(x, y, happening) {
    const { editor, from } = this;
    this.cancel();
    if (this.grip) this.grip.drop();
    else if (!this.moved) this._click(happening);
    else if (this.moves) editor.act("Move", move(editor.plan, editor.chosen, this.step.dx, this.step.dy));
    else editor.choose(combined(editor.chosen, inBox(editor.scene, [...from.point, ...editor.map.toWorld(x, y)]), this.mode));
  }

  cancel() {
    this.editor.map.setGhost(null);
    this.editor.map.setPreview(null);
  }

  /** Of a finger that tapped a seat, and of Enter at the cursor. */
  pick(index, mode = "toggle") {
    this.index = index;
    this.editor.choose(combined(this.editor.chosen, this._taken(), mode));
  }

  /** Of a finger that tapped an area. */
  pickThing(thing) {
    this.editor.choose(combined(this.editor.chosen, new Set([thing[KEY]]), "toggle"));
  }

  _click(happening) {
    const { editor } = this;
    const again = happening.timeStamp - this.last.at < AGAIN_MS && this.last.hit === this.hit;
    this.last = { at: happening.timeStamp, hit: this.hit, times: again ? this.last.times + 1 : 1 };
    if (this.hit === null) {
      if (this.mode === "replace") editor.choose(new Set());
      return;
    }
    // Once is a seat, twice its row, three times its section.
    const reach = this.index >= 0 && this.last.times > 1 ? ["rows", "sections"][Math.min(this.last.times, 3) - 2] : editor.settings.reach;
    const found = this._taken(reach);
    editor.choose(combined(editor.chosen, found, again && this.mode === "toggle" ? "add" : this.mode));
  }

  _taken(reach = this.editor.settings.reach) {
    return this.index >= 0 ? aroundSeat(this.editor.scene, this.index, reach) : new Set([this.hit]);
  }

  _thingAt([x, y]) {
    const { scene, map } = this.editor;
    const number = scene.sectionAt(x, y);
    if (number >= 0 && scene.sections[number].standing) return scene.plan.sections[number];
    return shapeAt(scene, x, y, 8 / map.camera.scale);
  }
}

/** Moves the map and nothing on it. */
class HandTool {
  grab() {
    return false;
  }

  cancel() {}
}

/** The tools by name, with the key that takes each and what it says. */
export const TOOLS = Object.freeze([
  { name: "select", key: "v", words: "Select", icon: "M6 3l12 10-5.5.8L15.5 20l-2.7 1.2-3-6.2L6 18.5z", hint: "Click a seat, twice its row, three times its section; or drag a box. Drag what is chosen to move it." },
  { name: "row", key: "r", words: "Rows", icon: "M4 16a14 14 0 0 1 16 0M4 10a14 14 0 0 1 16 0", hint: "Drag from one end of a row to the other, then its middle to bend it. Shift keeps to angles." },
  { name: "brush", key: "b", words: "Brush", icon: "M14 4l6 6-8 7-5-5zM7 12c-3 1-2 5-5 6 4 3 9 1 9-2.5", hint: "Paint seats with a category. Shift: a box. Alt: take the category under the brush. [ and ] change its size." },
  { name: "area", key: "a", words: "Area", icon: "M5 6l9-2 6 8-5 8-10-3z", hint: "Drag a box for a standing area, or click its corners and end with Enter." },
  { name: "shape", key: "d", words: "Stage", icon: "M4 6h16v7H4zM8 17h8M10 20h4", hint: "Drag a box for a stage or other decoration, or click its corners and end with Enter." },
  { name: "hand", key: "h", words: "Hand", icon: "M8 12V6.5a1.5 1.5 0 0 1 3 0V11m0-5.5a1.5 1.5 0 0 1 3 0V11m0-4a1.5 1.5 0 0 1 3 0v7c0 4-2.5 7-6 7-3 0-4.5-1.5-6-4l-1.5-3a1.5 1.5 0 0 1 2.5-1.5L8 14", hint: "Drag to move around. The wheel zooms; so does space with any other tool." },
]);

export class Tools {
  constructor(editor) {
    this.editor = editor;
    this.all = { select: new SelectTool(editor), row: new RowTool(editor), brush: new BrushTool(editor), area: new AreaTool(editor), shape: new ShapeTool(editor), hand: new HandTool() };
    this.name = "select";
    /** While the space bar is down every tool is the hand. */
    this.spaced = false;
    this.grip = null;
  }

  get current() {
    return this.all[this.name];
  }

  take(name) {
    this.current.cancel();
    this.current.leave?.();
    this.name = name;
    this.editor.map.setPreview(null);
  }

  /** What the map's gestures ask: whether the tool wants this press. */
  grab(x, y, happening) {
    if (this.spaced) return false;
    const handle = this.name === "row" && this.editor.map.handleAt(x, y);
    this.grip = handle ? this.all.select : this.current;
    return Boolean(this.grip.grab(x, y, happening));
  }

  drag(x, y, happening) {
    this.grip.drag(x, y, happening);
  }

  drop(x, y, happening) {
    this.grip.drop(x, y, happening);
  }

  cancel() {
    this.grip?.cancel();
  }

  /** Where the chosen row can be taken hold of. */
  handles() {
    if (this.name !== "select" && this.name !== "row") return [];
    if (this.editor.chosen.size < 2 || this.editor.map.chosenIndexes.length !== this.editor.chosen.size) return [];
    const { scene } = this.editor;
    const [first] = this.editor.map.chosenIndexes;
    const row = scene.rowOf[first];
    if (this.editor.map.chosenIndexes.length > scene.rows[row].count || this.editor.map.chosenIndexes.some((index) => scene.rowOf[index] !== row)) return [];
    const [{ seats }] = rowsAmong(this.editor.plan, this.editor.chosen);
    const points = pointsOf(this.editor.plan, seats);
    const [from, to] = [points[0], points[points.length - 1]];
    // Far out they would cover the row.
    if (Math.hypot(to[0] - from[0], to[1] - from[1]) * this.editor.map.camera.scale < HANDLES_PX) return [];
    const [, middle] = rowPoints(from, to, 3, sagittaOf(points));
    // The ends' handles stand a little outside, so that the seats themselves can be taken.
    const chord = Math.hypot(to[0] - from[0], to[1] - from[1]) || 1;
    const reach = Math.max(scene.spacing * 0.9, 13 / this.editor.map.camera.scale);
    const out = (end, sign) => [end[0] + (sign * (to[0] - from[0]) * reach) / chord, end[1] + (sign * (to[1] - from[1]) * reach) / chord];
    const ends = [{ name: "from", point: out(from, -1) }, { name: "to", point: out(to, 1) }];
    return seats.length > 2 ? [...ends, { name: "bend", point: middle }] : ends;
  }
}
