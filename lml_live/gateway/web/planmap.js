/**
 * The map of a plan that is being drawn: the seat map with a sheet under it, and over it what is chosen, what is wrong,
 * and what the hand is about to do. An edit repaints the tiles that it touched and no other.
 */

import { CATEGORY_COLOURS, readTheme, SeatPainter } from "./paint.js";
import { drawChosen, drawFaults, drawGhost, drawHandles, drawMarks, drawPreview, drawSheet } from "./plandraw.js";
import { KEY } from "./plan.js";
import { touchedBoxes } from "./planscene.js";
import { SeatMap } from "./seatmap.js";

export class PlanMap extends SeatMap {
  constructor(canvas, listeners) {
    super(canvas, listeners);
    this.insets = { top: 36, bottom: 56, side: 36 };
    this.namesUntil = 3.5;
    /** Keys of what is chosen, and the indexes of the seats among them. */
    this.chosen = new Set();
    this.chosenIndexes = [];
    /** @type {{index: number, error: boolean, first: boolean}[]} */
    this.faults = [];
    this.preview = null;
    this.ghost = null;
    this.handles = [];
    /** The step of the grid in world units; 0 for none. */
    this.gridStep = 0;
  }

  /** Shows a plan. The sheet stays where it is, unless it is another. @param {import("./planscene.js").Scene} scene */
  show(scene) {
    const before = this.layout;
    this.colours = scene.plan.categories;
    if (!before || before.plan.layout_id !== scene.plan.layout_id || before.width !== scene.width || before.height !== scene.height) {
      this.setLayout(scene, (category) => category);
      this._count(scene);
      return;
    }
    const boxes = touchedBoxes(before, scene);
    this.layout = scene;
    this.states = new Uint8Array(scene.count);
    this.hoverIndex = -1;
    this.cursorIndex = before.keys[this.cursorIndex] === undefined ? -1 : scene.indexOfKey(before.keys[this.cursorIndex]);
    this._count(scene);
    for (const number of [...this._labels.keys()]) if (before.sections[number]?.source !== scene.sections[number]?.source) this._labels.delete(number);
    this._dirty.clear();
    if (boxes === null) this.theme = this._readTheme();
    const painter = new SeatPainter(scene, this.theme, this._colourOf, this.ratio);
    if (boxes !== null) painter.adopt(this.painter);
    painter.states = this.states;
    this.painter = this.tiles.painter = painter;
    if (boxes === null) this.tiles.smudgeAll();
    else if (boxes.length) this.tiles.smudgeIn(boxes);
    this._request();
  }

  /** Shows seats in another category at once, before the plan says so. */
  repaintAs(indexes, category) {
    for (const index of indexes) {
      this.layout.categoryOf[index] = category;
      this._dirty.add(index);
    }
    this._request();
  }

  choose(keys) {
    this.chosen = keys;
    this.chosenIndexes = this.layout.indexesOf(keys);
    this._request();
  }

  /** @param {{keys: Set<number>, error: boolean}[]} findings */
  setFaults(findings) {
    this.faults = [];
    for (const { keys, error } of findings) {
      let first = true;
      for (const key of keys) {
        const index = this.layout.indexOfKey(key);
        if (index < 0 || this.faults.length >= 4_000) continue;
        this.faults.push({ index, error, first });
        first = false;
      }
    }
    this._request();
  }

  /** What the hand is about to do: drawn over everything until it is null. */
  setPreview(preview) {
    this.preview = preview;
    this._request();
  }

  setGhost(ghost) {
    this.ghost = ghost;
    this._request();
  }

  setHandles(handles) {
    this.handles = handles;
    this._request();
  }

  /** The handle at a place on the element, or null. */
  handleAt(x, y, reach = 12) {
    return this.handles.find((handle) => {
      const at = this.toScreen(handle.point);
      return Math.hypot(at[0] - x, at[1] - y) <= reach;
    }) ?? null;
  }

  toScreen([x, y]) {
    return [(x - this.camera.x) * this.camera.scale + this.width / 2, (y - this.camera.y) * this.camera.scale + this.height / 2];
  }

  /** Brings what has these keys into view, near enough to be seen. */
  reveal(keys) {
    const box = [Infinity, Infinity, -Infinity, -Infinity];
    const add = (x, y) => {
      box[0] = Math.min(box[0], x);
      box[1] = Math.min(box[1], y);
      box[2] = Math.max(box[2], x);
      box[3] = Math.max(box[3], y);
    };
    for (const index of this.layout.indexesOf(keys)) add(this.layout.x[index], this.layout.y[index]);
    const { plan, size } = this.layout;
    for (const section of plan.sections) if (keys.has(section[KEY])) for (const [x, y] of section.outline ?? []) add(x * size.width, y * size.height);
    for (const shape of plan.shapes) if (keys.has(shape[KEY])) for (const [x, y] of shape.points) add(x * size.width, y * size.height);
    if (box[0] === Infinity) return;
    const pad = this.layout.spacing * 8;
    const [width, height] = [box[2] - box[0] + pad, box[3] - box[1] + pad];
    const scale = Math.min(this.width / width, this.height / height, 12 / (this.layout.spacing * 0.41));
    this.moveTo((box[0] + box[2]) / 2, (box[1] + box[3]) / 2, Math.max(scale, this._fitScale()));
  }

  _count(scene) {
    this.left = Uint32Array.from(scene.sections, (section) => section.count);
    this.areasLeft = Object.fromEntries(scene.sections.filter((section) => section.standing).map((section) => [section.areaId, section.capacity]));
  }

  _countWords(count) {
    return count === undefined ? "" : `${count.toLocaleString()} ${count === 1 ? "place" : "places"}`;
  }

  /** The plan's own colours, and the palette's where a category has none. */
  _readTheme() {
    const theme = readTheme(this.canvas);
    const palette = theme.categories.slice(0, CATEGORY_COLOURS);
    const listed = new Map((this.colours ?? []).map((category) => [category.name, category.color]));
    theme.categories = (this.layout?.categories ?? []).map((name, at) => listed.get(name) ?? palette[at % CATEGORY_COLOURS]);
    return theme;
  }

  _limitScale(scale) {
    const fit = this._fitScale();
    return Math.max(fit * 0.6, Math.min(Math.max(fit * 6, 24 / (this.layout.spacing * 0.41)), scale));
  }

  _drawGround(context) {
    drawSheet(context, this);
  }

  _drawOwn(context) {
    drawMarks(context, this);
    drawChosen(context, this);
    drawFaults(context, this);
    if (this.ghost) drawGhost(context, this);
    if (this.preview) drawPreview(context, this);
    drawHandles(context, this);
    if (this.hoverIndex >= 0 && !this.preview) this._ring(context, this.hoverIndex, this.theme.ink, 1.5, 1.5);
    if (this.cursorIndex >= 0 && document.activeElement === this.canvas) this._ring(context, this.cursorIndex, this.theme.focus, 3, 5);
  }
}
