/**
 * The map as square bitmaps per scale: panning copies them, zooming stretches them until the hand rests, and only then
 * are new ones painted, a few milliseconds a frame. A diff repaints single seats inside them.
 */

/** A tile's edge in device pixels: small enough that painting one never takes a frame. */
export const TILE = 256;
const TILES_MAX = 200;
const SMUDGE_MS = 1500;
const REPAIR_MS = 200;
const STALE = -Infinity;

class Layer {
  constructor(scale) {
    this.scale = scale;
    /** @type {Map<string, {canvas: HTMLCanvasElement, context: CanvasRenderingContext2D, smudgedAt: number|null}>} */
    this.tiles = new Map();
  }
}

export class Tiles {
  /** @param {import("./paint.js").SeatPainter} painter @param {number[]} box what there is to see, in world units */
  constructor(painter, box) {
    this.painter = painter;
    this.box = box;
    this.overview = null;
    this.current = null;
    this.previous = null;
    this._spare = [];
    this._repairedAt = 0;
  }

  /** Begins anew at a scale that shows everything; this layer is never dropped. */
  reset(scale) {
    for (const layer of this._layers()) this._drop(layer);
    this.overview = this.current = new Layer(scale);
    this.previous = null;
  }

  /** The hand rests at another scale: paint for it from now on, showing what there is until it is ready. */
  settle(scale) {
    if (this.current.scale === scale) return;
    const old = this.previous;
    this.previous = this.current === this.overview ? null : this.current;
    if (old && old !== this.overview) this._drop(old);
    this.current = this.overview.scale === scale ? this.overview : new Layer(scale);
  }

  /** Everything looks different (theme, filter): keep the bitmaps on screen, repaint them all one by one. */
  smudgeAll() {
    if (this.previous) {
      this._drop(this.previous);
      this.previous = null;
    }
    for (const layer of this._layers()) for (const tile of layer.tiles.values()) tile.smudgedAt = STALE;
  }

  /** The same for what lies in boxes of the world, where that alone looks different. */
  smudgeIn(boxes) {
    if (this.previous) {
      this._drop(this.previous);
      this.previous = null;
    }
    for (const layer of this._layers()) {
      const edge = TILE / layer.scale;
      for (const [key, tile] of layer.tiles) {
        const [column, row] = key.split("/").map(Number);
        const [x, y] = [column * edge, row * edge];
        if (boxes.some((box) => box[0] < x + edge && box[2] > x && box[1] < y + edge && box[3] > y)) tile.smudgedAt = STALE;
      }
    }
  }

  /** Repaints single seats wherever they are on a bitmap. */
  repaint(indexes, now) {
    for (const layer of this._layers()) {
      for (const index of indexes) {
        const [x, y, size] = this.painter.box(index, layer.scale);
        const columnLast = Math.floor((x + size - 1) / TILE);
        const rowLast = Math.floor((y + size - 1) / TILE);
        for (let row = Math.floor(y / TILE); row <= rowLast; row += 1) {
          for (let column = Math.floor(x / TILE); column <= columnLast; column += 1) {
            const tile = layer.tiles.get(`${column}/${row}`);
            if (!tile) continue;
            this.painter.repaintSeat(tile.context, layer.scale, column * TILE, row * TILE, index);
            tile.smudgedAt ??= now;
          }
        }
      }
    }
  }

  /** Copies what is visible to the screen. `view`: {scale, left, top, width, height} in device pixels. */
  draw(context, view) {
    this._drawStack(context, view, this._layers().filter((layer) => layer.tiles.size));
  }

  /** Draws a layer, and the ones after it only where it has no tile: two sharpnesses never lie on each other. */
  _drawStack(context, view, [layer, ...rest]) {
    if (!layer) return;
    const missing = this._drawLayer(context, view, layer);
    if (!missing.length || !rest.length) return;
    context.save();
    context.beginPath();
    for (const [x, y, width, height] of missing) context.rect(x, y, width, height);
    context.clip();
    this._drawStack(context, view, rest);
    context.restore();
  }

  /**
   * Paints what is missing on screen, then what looks different altogether, until the budget is spent; at rest also, now
   * and then, a tile whose seats were repainted one by one, because at its edges such a seat may cut its neighbour.
   * @param {boolean} still nobody is moving the map
   * @returns {boolean} whether there is more to do in the next frame
   */
  work(view, budgetMs, now, still) {
    const until = performance.now() + budgetMs;
    const steady = this.current.scale === view.scale;
    const wanted = steady ? this._wanted(view, this.current) : [];
    for (const [column, row] of wanted) {
      if (this.current.tiles.has(`${column}/${row}`)) continue;
      if (performance.now() >= until) return true;
      this._paint(this.current, column, row);
    }
    if (steady && this.previous) {
      this._drop(this.previous);
      this.previous = null;
    }
    for (const layer of this._layers()) {
      for (const [key, tile] of layer.tiles) {
        if (tile.smudgedAt === null) continue;
        const stale = tile.smudgedAt === STALE;
        if (stale && performance.now() >= until) return true;
        if (stale || (still && this._mayRepair(tile, now))) this._paint(layer, ...key.split("/").map(Number));
      }
    }
    if (steady) this._trim(wanted);
    return false;
  }

  /** Whether some tile waits to be repaired. */
  get smudged() {
    return this._layers().some((layer) => [...layer.tiles.values()].some((tile) => tile.smudgedAt !== null));
  }

  _mayRepair(tile, now) {
    if (now < tile.smudgedAt + SMUDGE_MS || now < this._repairedAt + REPAIR_MS) return false;
    this._repairedAt = now;
    return true;
  }

  /** The sharpest first; the overview is always whole. */
  _layers() {
    return [...new Set([this.current, this.previous, this.overview])].filter(Boolean);
  }

  /** Copies a layer's tiles and returns the rectangles that it has none for. */
  _drawLayer(context, view, layer) {
    const missing = [];
    const stretch = view.scale / layer.scale;
    context.imageSmoothingEnabled = stretch !== 1;
    for (const [column, row] of this._wanted(view, layer)) {
      const x = Math.floor(column * TILE * stretch - view.left);
      const y = Math.floor(row * TILE * stretch - view.top);
      const width = Math.floor((column + 1) * TILE * stretch - view.left) - x;
      const height = Math.floor((row + 1) * TILE * stretch - view.top) - y;
      const tile = layer.tiles.get(`${column}/${row}`);
      if (tile) context.drawImage(tile.canvas, x, y, width, height);
      else missing.push([x, y, width, height]);
    }
    return missing;
  }

  /** The tiles of a layer that a view shows and that can have something on them. */
  _wanted(view, layer) {
    const stretch = view.scale / layer.scale;
    const edge = TILE * stretch;
    const [x0, y0, x1, y1] = this.box.map((value) => (value * layer.scale) / TILE);
    const found = [];
    const columnLast = Math.min(Math.floor((view.left + view.width) / edge), Math.floor(x1));
    const rowLast = Math.min(Math.floor((view.top + view.height) / edge), Math.floor(y1));
    for (let row = Math.max(Math.floor(view.top / edge), Math.floor(y0)); row <= rowLast; row += 1) {
      for (let column = Math.max(Math.floor(view.left / edge), Math.floor(x0)); column <= columnLast; column += 1) {
        found.push([column, row]);
      }
    }
    return found;
  }

  _paint(layer, column, row) {
    const key = `${column}/${row}`;
    let tile = layer.tiles.get(key);
    if (!tile) {
      tile = this._spare.pop();
      if (!tile) {
        const canvas = document.createElement("canvas");
        canvas.width = canvas.height = TILE;
        tile = { canvas, context: canvas.getContext("2d"), smudgedAt: null };
      }
      layer.tiles.set(key, tile);
    }
    tile.smudgedAt = null;
    this.painter.paintTile(tile.context, layer.scale, column * TILE, row * TILE, TILE);
  }

  /** Lets the tiles go that have been out of sight longest, when there are too many. */
  _trim(wanted) {
    if (this.current === this.overview || this.current.tiles.size <= TILES_MAX) return;
    const keep = new Set(wanted.map(([column, row]) => `${column}/${row}`));
    for (const [key, tile] of this.current.tiles) {
      if (this.current.tiles.size <= TILES_MAX) break;
      if (keep.has(key)) continue;
      this.current.tiles.delete(key);
      this._spare.push(tile);
    }
  }

  _drop(layer) {
    for (const tile of layer.tiles.values()) if (this._spare.length < TILES_MAX) this._spare.push(tile);
    layer.tiles.clear();
  }
}
