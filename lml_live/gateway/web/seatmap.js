/**
 * The seat map: a camera over tiles.js, with what changes often (my seats, the cursor, names) drawn over it each frame.
 *
 * It draws and says what the user pointed at; it decides nothing about holds. Whoever owns it calls `setLayout`,
 * `setStates`, `update`, `setMine`, and gets `pick(index)`, `pickArea(areaId)`, `point(index, x, y)` and
 * `cursor(index)` back.
 */

import { attachGestures } from "./gestures.js";
import { AVAILABLE } from "./seats.js";
import { drawMine, readTheme, SeatPainter } from "./paint.js";
import { Tiles } from "./tiles.js";

/** A seat's radius in CSS pixels from which it may be picked; nearer out a tap zooms in. */
const PICK_RADIUS = { mouse: 2.6, touch: 6 };
const SEAT_RADIUS_MAX = 24;
const LABEL_RADIUS_MAX = 6.5;
const REST_MS = 140;
const STILL_MS = 250;
const WORK_MS = 5;
const FLASH_MS = 1600;
const LABEL_HEIGHT = 35;
const NAME_HEIGHT = 17;
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

export class SeatMap {
  /**
   * @param {HTMLCanvasElement} canvas
   * @param {{pick?: Function, pickArea?: Function, point?: Function, cursor?: Function, leave?: Function, grab?: Function}}
   *   listeners those of `attachGestures` for what is grabbed are handed on
   */
  constructor(canvas, listeners = {}) {
    this.canvas = canvas;
    this.context = canvas.getContext("2d");
    this.listeners = listeners;
    this.layout = null;
    this.states = new Uint8Array(0);
    /** @type {Set<number>} */
    this.mine = new Set();
    /** @type {Set<number>} */
    this.pending = new Set();
    this.cursorIndex = -1;
    this.hoverIndex = -1;
    this.hoverSection = -1;
    this.left = new Uint32Array(0);
    this.areasLeft = {};
    /** What lies over the map's edges and is kept clear when everything is shown, in CSS pixels. */
    this.insets = { top: 28, bottom: 28, side: 28 };
    /** From this radius of a seat on, in CSS pixels, the name of its section is not drawn over it any more. */
    this.namesUntil = LABEL_RADIUS_MAX;
    this.camera = { x: 0, y: 0, scale: 1 };
    this._dirty = new Set();
    this._frame = null;
    this._animation = null;
    this._zoomedAt = 0;
    this._movedAt = 0;
    this._labels = new Map();
    this._touched = false;
    this._dimmed = new Set();
    this._flashes = new Map();
    this._detach = attachGestures(canvas, {
      panBy: (dx, dy) => this.panBy(dx, dy),
      zoomAt: (x, y, factor) => this.zoomAt(x, y, factor),
      tap: (x, y, kind) => this._tap(x, y, kind),
      doubleTap: (x, y, kind) => this._doubleTap(x, y, kind),
      hover: (x, y) => this._hover(x, y),
      leave: () => this._hover(-1e9, -1e9),
      key: (name) => this._key(name),
      ...(listeners.grab && { grab: listeners.grab, drag: listeners.drag, drop: listeners.drop, cancel: listeners.cancel }),
    });
    this._observer = new ResizeObserver(() => this._resize());
    this._observer.observe(canvas);
    this._dark = matchMedia("(prefers-color-scheme: dark)");
    this._retheme = () => this.layout && this._restyle();
    this._dark.addEventListener("change", this._retheme);
    canvas.addEventListener("focus", () => this._request());
    canvas.addEventListener("blur", () => this._request());
    this._resize();
  }

  destroy() {
    this._detach();
    this._observer.disconnect();
    this._dark.removeEventListener("change", this._retheme);
    cancelAnimationFrame(this._frame);
    this._frame = 0; // never again
    this.layout = null;
  }

  /**
   * @param {import("./layout.js").Layout} layout
   * @param {(category: number) => number} colourOf
   */
  setLayout(layout, colourOf) {
    this.layout = layout;
    this._colourOf = colourOf;
    this.states = new Uint8Array(layout.count);
    this.left = new Uint32Array(layout.sections.length);
    this.mine = new Set();
    this.pending = new Set();
    this.cursorIndex = this.hoverIndex = -1;
    this._dirty.clear();
    this._touched = false;
    this._restyle();
    this.fit(false);
  }

  /** All states anew, after a snapshot. The array is copied. */
  setStates(states) {
    this.states.set(states);
    this.left.fill(0);
    for (let index = 0; index < states.length; index += 1) {
      if (states[index] === AVAILABLE) this.left[this.layout.sectionOf[index]] += 1;
    }
    this._dirty.clear();
    this.tiles.smudgeAll();
    this._request();
  }

  /** Single seats changed. `states` is the whole mirror; they are repainted in the next frame. */
  update(states, changed) {
    for (const index of changed) {
      const section = this.layout.sectionOf[index];
      if (this.states[index] === AVAILABLE) this.left[section] -= 1;
      if (states[index] === AVAILABLE) this.left[section] += 1;
      this.states[index] = states[index];
      this._dirty.add(index);
    }
    this._request();
  }

  /** Which seats are the holder's, and which are asked for or being given back. */
  setMine(mine, pending) {
    this.mine = new Set(mine);
    this.pending = new Set(pending);
    this._request();
  }

  /** Points at a seat for a moment: somebody else was faster. */
  flash(index) {
    this._flashes.set(index, performance.now() + FLASH_MS);
    setTimeout(() => this._request(), FLASH_MS + 20);
    this._request();
  }

  /** Free places of standing sections by area id, for their labels. */
  setAreasLeft(left) {
    this.areasLeft = left;
    this._request();
  }

  /** Shows only some categories strongly; an empty set shows all. @param {Set<number>} categories */
  showOnly(categories) {
    this._dimmed = new Set(categories.size ? this.layout.categories.keys() : []);
    for (const category of categories) this._dimmed.delete(category);
    this._applyDimmed();
    this.tiles.smudgeAll();
    this._request();
  }

  // ---- camera, in CSS pixels

  panBy(dx, dy) {
    this._animation = null;
    this._touched = true;
    this._movedAt = performance.now();
    this.camera.x -= dx / this.camera.scale;
    this.camera.y -= dy / this.camera.scale;
    this._clamp();
    this._request();
  }

  zoomAt(x, y, factor) {
    this._animation = null;
    this._touched = true;
    const [worldX, worldY] = this.toWorld(x, y);
    this.camera.scale = this._limitScale(this.camera.scale * factor);
    this.camera.x = worldX - (x - this.width / 2) / this.camera.scale;
    this.camera.y = worldY - (y - this.height / 2) / this.camera.scale;
    this._zoomedAt = performance.now();
    this._clamp();
    this._request();
  }

  /** Zooms about the middle, softly. */
  zoomBy(factor) {
    const target = this._animation?.to.scale ?? this.camera.scale;
    this.moveTo(this.camera.x, this.camera.y, target * factor);
  }

  fit(soft = true) {
    if (!this.layout) return;
    const [x0, y0, x1, y1] = this.layout.box;
    const scale = this._fitScale();
    const { top, bottom } = this.insets;
    this.moveTo((x0 + x1) / 2, (y0 + y1) / 2 + (bottom - top) / 2 / scale, scale, soft);
    this._touched = false;
  }

  moveTo(x, y, scale, soft = true) {
    const to = { x, y, scale: this._limitScale(scale) };
    this._touched = true;
    this._zoomedAt = performance.now();
    if (!soft || matchMedia("(prefers-reduced-motion: reduce)").matches) {
      this._animation = null;
      Object.assign(this.camera, to);
      this._zoomedAt = 0;
    } else {
      this._animation = { from: { ...this.camera }, to, start: performance.now(), ms: 240 };
    }
    this._request();
  }

  toWorld(x, y) {
    return [this.camera.x + (x - this.width / 2) / this.camera.scale, this.camera.y + (y - this.height / 2) / this.camera.scale];
  }

  /** Where a seat is on the element, in CSS pixels. @returns {{x: number, y: number, r: number}} */
  place(index) {
    const { x, y, scale } = this.camera;
    return {
      x: (this.layout.x[index] - x) * scale + this.width / 2,
      y: (this.layout.y[index] - y) * scale + this.height / 2,
      r: this.layout.radius[index] * scale,
    };
  }

  /** The seat at a place on the element, or −1. */
  seatAt(x, y, slackPx = 0) {
    if (!this.layout) return -1;
    const [worldX, worldY] = this.toWorld(x, y);
    return this.layout.seatAt(worldX, worldY, slackPx / this.camera.scale);
  }

  /** Moves the cursor to a seat and brings it into view, near enough to see. */
  setCursor(index) {
    this.cursorIndex = index;
    const place = this.place(index);
    const scale = place.r < 9 ? (9 / place.r) * this.camera.scale : this.camera.scale;
    const margin = 60;
    const outside = place.x < margin || place.y < margin || place.x > this.width - margin || place.y > this.height - margin;
    if (outside || scale !== this.camera.scale) this.moveTo(this.layout.x[index], this.layout.y[index], scale);
    this.listeners.cursor?.(index);
    this._request();
  }

  // ---- input

  _tap(x, y, kind) {
    if (!this.layout) return;
    const finger = kind !== "mouse";
    const index = this.seatAt(x, y, finger ? 9 : 2);
    if (index >= 0) {
      if (this.place(index).r >= (finger ? PICK_RADIUS.touch : PICK_RADIUS.mouse)) {
        this.cursorIndex = index;
        this.listeners.point?.(index, x, y);
        this.listeners.pick?.(index);
        this._request();
        return;
      }
      this._nearer(x, y, this.layout.radius[index]);
      return;
    }
    const number = this.layout.sectionAt(...this.toWorld(x, y));
    if (number < 0) {
      this.listeners.point?.(-1, x, y);
      return;
    }
    const section = this.layout.sections[number];
    if (section.standing) this.listeners.pickArea?.(section.areaId);
    else if (section.count && this.place(section.first).r < PICK_RADIUS.touch) this._nearer(x, y, this.layout.radius[section.first]);
  }

  _doubleTap(x, y, kind) {
    const index = this.seatAt(x, y, 2);
    // A second click on a seat means the seat again, not the map.
    if (index >= 0 && this.place(index).r >= PICK_RADIUS.touch) this._tap(x, y, kind);
    else this._zoomSoft(x, y, 2.2);
  }

  _zoomSoft(x, y, factor) {
    const [worldX, worldY] = this.toWorld(x, y);
    const scale = this._limitScale(this.camera.scale * factor);
    this.moveTo(worldX - (x - this.width / 2) / scale, worldY - (y - this.height / 2) / scale, scale);
  }

  _nearer(x, y, radius) {
    this._zoomSoft(x, y, Math.max(1.6, 9 / (radius * this.camera.scale)));
  }

  _hover(x, y) {
    const index = this.seatAt(x, y, 1);
    const section = index < 0 && this.layout ? this.layout.sectionAt(...this.toWorld(x, y)) : -1;
    this.canvas.classList.toggle("can-pick", index >= 0 || (section >= 0 && this.layout.sections[section].standing));
    if (index === this.hoverIndex && section === this.hoverSection) return;
    this.hoverIndex = index;
    this.hoverSection = section;
    this.listeners.point?.(index, x, y, section);
    this._request();
  }

  _key(name) {
    if (!this.layout) return false;
    if (ARROWS[name] && this.layout.count) {
      const start = this.cursorIndex;
      const [dx, dy] = ARROWS[name];
      const next = start < 0 ? this.layout.nearest(this.camera.x, this.camera.y) : this.layout.neighbour(start, dx, dy);
      if (next >= 0) this.setCursor(next);
      return true;
    }
    switch (name) {
      case "Enter":
      case " ":
        if (this.cursorIndex >= 0) this.listeners.pick?.(this.cursorIndex);
        return true;
      case "+":
      case "=":
        this.zoomBy(1.5);
        return true;
      case "-":
        this.zoomBy(1 / 1.5);
        return true;
      case "0":
        this.fit();
        return true;
      case "Escape":
        this.listeners.leave?.();
        return true;
      default:
        return false;
    }
  }

  // ---- frames

  _resize() {
    const box = this.canvas.getBoundingClientRect();
    const ratio = Math.min(3, window.devicePixelRatio || 1);
    this.width = Math.max(1, box.width);
    this.height = Math.max(1, box.height);
    this.canvas.width = Math.round(this.width * ratio);
    this.canvas.height = Math.round(this.height * ratio);
    if (ratio !== this.ratio) {
      this.ratio = ratio;
      if (this.layout) this._restyle();
    }
    if (this.layout && !this._touched) this.fit(false);
    this._request();
    if (this.layout && this._frame) this._draw(); // a resized canvas is blank until it is drawn
  }

  _restyle() {
    this.theme = this._readTheme();
    this.painter = new SeatPainter(this.layout, this.theme, this._colourOf, this.ratio);
    this.painter.states = this.states;
    this._applyDimmed();
    this._labels.clear();
    this.tiles = new Tiles(this.painter, this.layout.box);
    this.tiles.reset(this._fitScale() * this.ratio);
    this._request();
  }

  _readTheme() {
    return readTheme(this.canvas);
  }

  _applyDimmed() {
    this.painter.dimmed.fill(0);
    for (const category of this._dimmed) this.painter.dimmed[category] = 1;
  }

  _fitScale() {
    const [x0, y0, x1, y1] = this.layout.box;
    const { top, bottom, side } = this.insets;
    const [width, height] = [this.width - side * 2, this.height - top - bottom];
    return Math.max(1e-3, Math.min(width / (x1 - x0 || 1), height / (y1 - y0 || 1)));
  }

  _limitScale(scale) {
    const fit = this._fitScale();
    const radius = this.layout.count ? Math.min(...this.layout.sections.filter((s) => s.count).map((s) => s.spacing)) * 0.41 : 20;
    return Math.max(fit * 0.8, Math.min(Math.max(fit * 2, SEAT_RADIUS_MAX / radius), scale));
  }

  _clamp() {
    const [x0, y0, x1, y1] = this.layout.box;
    this.camera.x = Math.max(x0, Math.min(x1, this.camera.x));
    // What lies over the map may push the hall away from the middle.
    const { top, bottom } = this.insets;
    const reach = 2 * this.camera.scale;
    this.camera.y = Math.max(y0 - top / reach, Math.min(y1 + bottom / reach, this.camera.y));
  }

  _request() {
    if (this._frame === null) this._frame = requestAnimationFrame((now) => this._tick(now));
  }

  _tick() {
    this._frame = null;
    if (!this.layout) return;
    clearTimeout(this._later);
    const started = performance.now();
    if (this._animation) this._animate(started);
    if (this._dirty.size) {
      this.tiles.repaint(this._dirty, started);
      this._dirty.clear();
    }
    const resting = !this._animation && started - this._zoomedAt >= REST_MS;
    if (resting) this.tiles.settle(this.camera.scale * this.ratio);
    const still = resting && started - this._movedAt > STILL_MS;
    const more = this.tiles.work(this._view(), WORK_MS, started, still);
    this._draw();
    if (this._animation || more) this._request();
    else if (!resting) this._later = setTimeout(() => this._request(), REST_MS);
    else if (this.tiles.smudged) this._later = setTimeout(() => this._request(), STILL_MS);
  }

  _animate(now) {
    const { from, to, start, ms } = this._animation;
    const t = Math.min(1, (now - start) / ms);
    const ease = 1 - (1 - t) ** 3;
    // Scale moves by ratio and the place with it, so that the zoom does not swerve.
    const scale = from.scale * (to.scale / from.scale) ** ease;
    const share = to.scale === from.scale ? ease : (1 / from.scale - 1 / scale) / (1 / from.scale - 1 / to.scale);
    this.camera.scale = scale;
    this.camera.x = from.x + (to.x - from.x) * share;
    this.camera.y = from.y + (to.y - from.y) * share;
    if (t >= 1) {
      this._animation = null;
      Object.assign(this.camera, to);
      this._zoomedAt = 0;
    }
  }

  _view() {
    const scale = this.camera.scale * this.ratio;
    const { width, height } = this.canvas;
    return {
      scale,
      left: Math.round(this.camera.x * scale - width / 2),
      top: Math.round(this.camera.y * scale - height / 2),
      width,
      height,
    };
  }

  _draw() {
    const { context, canvas } = this;
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, canvas.width, canvas.height);
    const view = this._view();
    this._drawGround(context);
    this.tiles.draw(context, view);
    context.setTransform(this.ratio, 0, 0, this.ratio, 0, 0);
    this._drawNames(context);
    this._drawOwn(context);
  }

  /** What lies under everything. */
  _drawGround() {}

  _drawNames(context) {
    const { layout, camera } = this;
    const visible = (x, y) => x > -80 && y > -40 && x < this.width + 80 && y < this.height + 40;
    const toScreen = ([x, y]) => [(x - camera.x) * camera.scale + this.width / 2, (y - camera.y) * camera.scale + this.height / 2];
    for (const shape of layout.shapes) {
      if (!shape.label) continue;
      const xs = shape.points.map((point) => point[0]);
      const ys = shape.points.map((point) => point[1]);
      const span = [Math.min(...xs), Math.min(...ys), Math.max(...xs), Math.max(...ys)];
      const [x, y] = toScreen([(span[0] + span[2]) / 2, (span[1] + span[3]) / 2]);
      const room = Math.max(span[2] - span[0], (span[3] - span[1]) * 0.6) * camera.scale;
      if (!visible(x, y) || (room < 24 && shape.points.length > 2)) continue;
      context.font = `600 ${Math.max(9, Math.min(15, room / Math.max(5, shape.label.length)))}px ${this.theme.font}`;
      context.textAlign = "center";
      context.textBaseline = "middle";
      context.fillStyle = this.theme.muted;
      context.fillText(shape.label, x, y);
    }
    const taken = [];
    layout.sections.forEach((section, number) => {
      if (!section.label) return;
      if (section.count && section.spacing * 0.41 * camera.scale > this.namesUntil) return;
      const [x, y] = toScreen(section.label);
      if (!visible(x, y)) return;
      const label = this._label(section, number);
      const width = (section.box[2] - section.box[0]) * camera.scale;
      const height = (section.box[3] - section.box[1]) * camera.scale;
      // A name may cover some of its section: more of it while the seats are too small to be picked anyway.
      const ground = section.count ? section.count * (section.spacing * camera.scale) ** 2 : width * height;
      const covers = section.spacing * 0.41 * camera.scale < PICK_RADIUS.mouse + 0.2 ? 0.6 : 0.28;
      const full = width >= label.width * 1.1 && height >= 52 && label.width * LABEL_HEIGHT < ground * covers;
      const fits = width >= label.nameWidth * 0.75 && height >= 14 && label.nameWidth * NAME_HEIGHT < ground * covers;
      if (!full && !fits) return;
      const [w, h] = full ? [label.width, LABEL_HEIGHT] : [label.nameWidth, NAME_HEIGHT];
      const box = [x - w / 2, y - h / 2, x + w / 2, y + h / 2];
      // Names never lie on each other: who comes first stays.
      if (taken.some((other) => overlap(other, box))) return;
      taken.push(box);
      const from = full ? 0 : LABEL_HEIGHT;
      context.drawImage(
        label.canvas, 0, from * this.ratio, w * this.ratio, h * this.ratio, Math.round(box[0]), Math.round(box[1]), w, h,
      );
    });
  }

  /** A section's name and how many are left, drawn once per count. */
  _label(section, number) {
    const left = section.standing ? this.areasLeft[section.areaId] : this.left[number];
    const known = this._labels.get(number);
    if (known && known.left === left) return known;
    const canvas = known?.canvas ?? document.createElement("canvas");
    const context = canvas.getContext("2d");
    const count = this._countWords(left);
    const name = section.name.length > 22 ? `${section.name.slice(0, 21)}…` : section.name;
    const fonts = [`600 12px ${this.theme.font}`, `11px ${this.theme.font}`, `600 11px ${this.theme.font}`];
    const [nameFull, countFull, nameAlone] = [name, count, name].map((text, at) => {
      context.font = fonts[at];
      return context.measureText(text).width;
    });
    const width = Math.ceil(Math.max(nameFull, countFull) + 14);
    const nameWidth = Math.ceil(nameAlone + 8);
    canvas.width = Math.max(width, nameWidth) * this.ratio;
    canvas.height = (LABEL_HEIGHT + NAME_HEIGHT) * this.ratio;
    context.scale(this.ratio, this.ratio);
    context.textAlign = "center";
    context.textBaseline = "middle";
    context.fillStyle = this.theme.surface;
    context.globalAlpha = 0.9;
    context.beginPath();
    context.roundRect(0, 0, width, LABEL_HEIGHT, 7);
    context.roundRect(0, LABEL_HEIGHT, nameWidth, NAME_HEIGHT, 5);
    context.fill();
    context.globalAlpha = 1;
    const texts = [
      [name, width / 2, 11, this.theme.ink],
      [count, width / 2, 24.5, this.theme.muted],
      [name, nameWidth / 2, LABEL_HEIGHT + NAME_HEIGHT / 2 + 0.5, this.theme.ink],
    ];
    texts.forEach(([text, x, y, colour], at) => {
      context.font = fonts[at];
      context.fillStyle = colour;
      context.fillText(text, x, y);
    });
    const label = { canvas, left, width, nameWidth };
    this._labels.set(number, label);
    return label;
  }

  _countWords(left) {
    if (left === undefined) return "";
    return left === 0 ? "none left" : `${left.toLocaleString()} left`;
  }

  _drawOwn(context) {
    const { theme } = this;
    for (const index of new Set([...this.mine, ...this.pending])) {
      const { x, y, r } = this.place(index);
      drawMine(context, theme, x, y, Math.max(6, r * 1.18), this.pending.has(index));
    }
    for (const [index, until] of this._flashes) {
      if (performance.now() >= until) this._flashes.delete(index);
      else this._ring(context, index, theme.warn, 3, 4);
    }
    if (this.hoverIndex >= 0) this._ring(context, this.hoverIndex, theme.ink, 1.5, 1.5);
    if (this.cursorIndex >= 0 && document.activeElement === this.canvas) this._ring(context, this.cursorIndex, theme.focus, 3, 3.5);
  }

  _ring(context, index, colour, width, gap) {
    const { x, y, r } = this.place(index);
    context.beginPath();
    context.arc(x, y, Math.max(3, r) + gap, 0, Math.PI * 2);
    context.strokeStyle = colour;
    context.lineWidth = width;
    context.stroke();
  }
}

function overlap(a, b) {
  return a[0] < b[2] && a[2] > b[0] && a[1] < b[3] && a[3] > b[1];
}
