/**
 * A layout as the map wants it: flat arrays in canonical order, a grid for finding seats by place, sections as drawn.
 * Pure. World units: the viewport's longer side is `WORLD` long, so that no number depends on the venue's own units.
 */

export const WORLD = 1000;

/** A section's seats sit in a run of indexes, because the canonical order goes section by section. */
export class Layout {
  /** @param {object} source the JSON of `GET /layouts/{id}/{hash}` */
  constructor(source) {
    this.id = source.layout_id;
    this.hash = source.hash;
    this.name = source.name ?? "";
    const width = source.viewport?.width || 1;
    const height = source.viewport?.height || 1;
    const unit = WORLD / Math.max(width, height);
    this.width = width * unit;
    this.height = height * unit;
    const point = ([x, y]) => [x * this.width, y * this.height];

    let count = 0;
    for (const section of source.sections) for (const row of section.rows ?? []) count += row.seats.length;
    this.count = count;
    this.x = new Float32Array(count);
    this.y = new Float32Array(count);
    this.radius = new Float32Array(count);
    this.sectionOf = new Uint16Array(count);
    this.rowOf = new Uint32Array(count);
    this.categoryOf = new Uint16Array(count);
    this.numbers = new Array(count);
    this.seatIds = new Array(count);
    this.notes = new Map(); // index → words such as "wheelchair place"
    this.wholes = new Map(); // index → all seats of its table or box, which sell only together
    this.categories = [];
    this.sections = [];
    this.rows = [];
    const categoryIndex = new Map();
    const category = (name) => {
      if (!categoryIndex.has(name)) {
        categoryIndex.set(name, this.categories.length);
        this.categories.push(name);
      }
      return categoryIndex.get(name);
    };

    let index = 0;
    source.sections.forEach((section, number) => {
      const first = index;
      const rows = [];
      for (const row of section.rows ?? []) {
        const entry = { label: row.label, section: number, first: index, count: row.seats.length };
        for (const seat of row.seats) {
          [this.x[index], this.y[index]] = point([seat.x, seat.y]);
          this.sectionOf[index] = number;
          this.rowOf[index] = this.rows.length;
          this.categoryOf[index] = category(String(seat.category ?? section.category ?? ""));
          this.numbers[index] = String(seat.number);
          this.seatIds[index] = seat.seat_id;
          const note = seatNote(seat);
          if (note) this.notes.set(index, note);
          index += 1;
        }
        if (row.sold_whole) this._sellWhole(entry.first, entry.count, "table");
        rows.push(this.rows.length);
        this.rows.push(entry);
      }
      if (section.sold_whole) this._sellWhole(first, index - first, "box");
      this.sections.push({
        name: section.name,
        standing: section.kind === "standing",
        areaId: section.area_id ?? null,
        capacity: section.capacity ?? 0,
        category: section.kind === "standing" ? category(String(section.category ?? "")) : null,
        outline: section.outline?.length > 2 ? section.outline.map(point) : null,
        first,
        count: index - first,
        rows,
        spacing: 0,
        bands: [],
        box: null,
        label: null,
      });
    });
    this.shapes = (source.shapes ?? [])
      .filter((shape) => shape.points?.length)
      .map((shape) => ({ kind: shape.kind ?? "", label: shape.label ?? "", points: shape.points.map(point) }));
    this.focalPoint = readFocalPoint(source.focal_point, point);
    this.grid = new Grid(this.x, this.y, this.width, this.height);
    for (const section of this.sections) this._measure(section);
    this.box = this._wholeBox();
  }

  /** @returns {{section: string, row: string, seat: string, category: string, note: string}} how a person would name it */
  describe(index) {
    return {
      section: this.sections[this.sectionOf[index]].name,
      row: this.rows[this.rowOf[index]].label,
      seat: this.numbers[index],
      category: this.categories[this.categoryOf[index]],
      note: this.notes.get(index) ?? "",
    };
  }

  /** What is taken or given back with a seat: all of its table or box, else itself. */
  whole(index) {
    return this.wholes.get(index) ?? [index];
  }

  _sellWhole(first, count, noun) {
    const seats = Array.from({ length: count }, (_, at) => first + at);
    for (const seat of seats) {
      this.wholes.set(seat, seats);
      this.notes.set(seat, [this.notes.get(seat), `sold as a whole ${noun} of ${count}`].filter(Boolean).join(", "));
    }
  }

  /** The index of a seat id, or −1. */
  indexOf(seatId) {
    this._indexes ??= new Map(this.seatIds.map((id, index) => [id, index]));
    return this._indexes.get(seatId) ?? -1;
  }

  /** The seat at a world point, or −1. `slack` is an extra distance in world units, for fingers. */
  seatAt(x, y, slack = 0) {
    let best = -1;
    let bestDistance = Infinity;
    const reach = this.grid.maxRadius + slack;
    this.grid.each(x - reach, y - reach, x + reach, y + reach, (index) => {
      const distance = Math.hypot(this.x[index] - x, this.y[index] - y);
      if (distance <= this.radius[index] * 1.15 + slack && distance < bestDistance) {
        best = index;
        bestDistance = distance;
      }
    });
    return best;
  }

  /** The section whose outline or rows are at a world point, or −1. */
  sectionAt(x, y) {
    for (let number = this.sections.length - 1; number >= 0; number -= 1) {
      const { outline } = this.sections[number];
      if (outline && inside(outline, x, y)) return number;
    }
    const near = this.seatAt(x, y, this.grid.maxRadius * 3);
    return near < 0 ? -1 : this.sectionOf[near];
  }

  /**
   * The nearest seat from `index` in a direction, by position: seats straight ahead are preferred to near ones aside.
   * @returns {number} −1 when there is none
   */
  neighbour(index, dx, dy) {
    const x = this.x[index];
    const y = this.y[index];
    const limit = Math.hypot(this.width, this.height);
    for (let reach = this.radius[index] * 8; ; reach *= 2) {
      let best = -1;
      let bestCost = Infinity;
      this.grid.each(x - reach, y - reach, x + reach, y + reach, (other) => {
        if (other === index) return;
        const along = (this.x[other] - x) * dx + (this.y[other] - y) * dy;
        const aside = Math.abs((this.x[other] - x) * dy - (this.y[other] - y) * dx);
        if (along <= this.radius[index] * 0.2 || aside > along * 1.8) return;
        const cost = along + aside * 2;
        if (cost < bestCost) {
          best = other;
          bestCost = cost;
        }
      });
      // A seat whose cost is within the reach cannot be beaten by one outside it.
      if (best >= 0 && (bestCost <= reach || reach >= limit)) return best;
      if (reach >= limit) return best;
    }
  }

  /** The seat nearest to a world point, or −1 in a layout without seats. */
  nearest(x, y) {
    if (!this.count) return -1;
    const limit = Math.hypot(this.width, this.height) * 2;
    for (let reach = this.grid.maxRadius * 4; ; reach *= 2) {
      const found = this.seatAt(x, y, reach);
      if (found >= 0 || reach > limit) return found;
    }
  }

  _measure(section) {
    const { first, count } = section;
    let box = null;
    const extend = (x, y) => {
      box ??= [x, y, x, y];
      box = [Math.min(box[0], x), Math.min(box[1], y), Math.max(box[2], x), Math.max(box[3], y)];
    };
    for (let index = first; index < first + count; index += 1) extend(this.x[index], this.y[index]);
    for (const [x, y] of section.outline ?? []) extend(x, y);
    if (count) {
      const spacing = this._spacing(first, count);
      section.spacing = spacing;
      for (let index = first; index < first + count; index += 1) this.radius[index] = spacing * 0.41;
      this.grid.maxRadius = Math.max(this.grid.maxRadius, spacing * 0.41);
      if (!section.outline) section.bands = this._bands(section);
      const pad = spacing * 1.1;
      box = [box[0] - pad, box[1] - pad, box[2] + pad, box[3] + pad];
    }
    section.box = box;
    section.label = this._labelPoint(section);
  }

  /**
   * How far apart the seats of a section are: the 20th percentile of the distances to the nearest seat of the section,
   * because another floor may be drawn over it. A seat that is alone takes its measure from the others.
   */
  _spacing(first, count) {
    const distances = [];
    const section = count > 1 ? this.sectionOf[first] : -1;
    const step = Math.max(1, Math.floor(count / 300));
    for (let index = first; index < first + count; index += step) {
      let nearest = Infinity;
      for (let reach = this.grid.cell; reach < WORLD * 2 && nearest === Infinity; reach *= 2) {
        const [x, y] = [this.x[index], this.y[index]];
        this.grid.each(x - reach, y - reach, x + reach, y + reach, (other) => {
          if (other === index || (section >= 0 && this.sectionOf[other] !== section)) return;
          const distance = Math.hypot(this.x[other] - x, this.y[other] - y);
          if (distance > 1e-3 && distance <= reach && distance < nearest) nearest = distance;
        });
      }
      if (nearest < Infinity) distances.push(nearest);
    }
    distances.sort((a, b) => a - b);
    const found = distances[Math.floor(distances.length * 0.2)] ?? WORLD / 40;
    return Math.min(found, WORLD / 25);
  }

  /** The rows as polylines, cut at aisles and with needless points left out: stroked broadly they are the section. */
  _bands(section) {
    const bands = [];
    for (const number of section.rows) {
      const { first, count } = this.rows[number];
      let line = [];
      for (let index = first; index < first + count; index += 1) {
        const point = [this.x[index], this.y[index]];
        const last = line[line.length - 1];
        if (last && Math.hypot(point[0] - last[0], point[1] - last[1]) > section.spacing * 3.2) {
          bands.push(simplify(line, section.spacing * 0.15));
          line = [];
        }
        line.push(point);
      }
      if (line.length) bands.push(simplify(line, section.spacing * 0.15));
    }
    // The ends of the rows, joined, make the sides of the section straight.
    for (const end of [0, 1]) {
      let line = [];
      for (const number of section.rows) {
        const { first, count } = this.rows[number];
        if (!count) continue;
        const index = end ? first + count - 1 : first;
        const point = [this.x[index], this.y[index]];
        const last = line[line.length - 1];
        if (last && Math.hypot(point[0] - last[0], point[1] - last[1]) > section.spacing * 3.2) {
          if (line.length > 1) bands.push(simplify(line, section.spacing * 0.15));
          line = [];
        }
        line.push(point);
      }
      if (line.length > 1) bands.push(simplify(line, section.spacing * 0.15));
    }
    return bands;
  }

  _labelPoint(section) {
    if (section.count) {
      let x = 0;
      let y = 0;
      for (let index = section.first; index < section.first + section.count; index += 1) {
        x += this.x[index];
        y += this.y[index];
      }
      return [x / section.count, y / section.count];
    }
    if (!section.box) return null;
    return [(section.box[0] + section.box[2]) / 2, (section.box[1] + section.box[3]) / 2];
  }

  _wholeBox() {
    const boxes = this.sections.map((section) => section.box).filter(Boolean);
    for (const shape of this.shapes) for (const [x, y] of shape.points) boxes.push([x, y, x, y]);
    if (!boxes.length) return [0, 0, this.width, this.height];
    return [
      Math.min(...boxes.map((box) => box[0])),
      Math.min(...boxes.map((box) => box[1])),
      Math.max(...boxes.map((box) => box[2])),
      Math.max(...boxes.map((box) => box[3])),
    ];
  }
}

/** Seats by place: cells hold runs of one sorted array (counting sort), so a look-up makes no garbage. */
export class Grid {
  constructor(xs, ys, width, height) {
    const count = xs.length;
    const cells = Math.max(1, Math.round(Math.sqrt(count / 4)));
    this.cell = Math.max(width, height) / cells || 1;
    this.columns = Math.max(1, Math.ceil(width / this.cell) + 1);
    this.rows = Math.max(1, Math.ceil(height / this.cell) + 1);
    this.maxRadius = 0;
    this.xs = xs;
    this.ys = ys;
    this.starts = new Uint32Array(this.columns * this.rows + 1);
    const where = new Uint32Array(count);
    for (let index = 0; index < count; index += 1) {
      where[index] = this._row(ys[index]) * this.columns + this._column(xs[index]);
      this.starts[where[index] + 1] += 1;
    }
    for (let cell = 1; cell < this.starts.length; cell += 1) this.starts[cell] += this.starts[cell - 1];
    const next = this.starts.slice();
    this.sorted = new Uint32Array(count);
    for (let index = 0; index < count; index += 1) this.sorted[next[where[index]]++] = index;
  }

  /** Calls `visit(index)` for every seat whose centre is in the rectangle. */
  each(x0, y0, x1, y1, visit) {
    const columnLast = this._column(x1);
    const rowLast = this._row(y1);
    for (let row = this._row(y0); row <= rowLast; row += 1) {
      for (let column = this._column(x0); column <= columnLast; column += 1) {
        const cell = row * this.columns + column;
        for (let at = this.starts[cell]; at < this.starts[cell + 1]; at += 1) {
          const index = this.sorted[at];
          const x = this.xs[index];
          const y = this.ys[index];
          if (x >= x0 && x <= x1 && y >= y0 && y <= y1) visit(index);
        }
      }
    }
  }

  _column(x) {
    return Math.max(0, Math.min(this.columns - 1, Math.floor(x / this.cell)));
  }

  _row(y) {
    return Math.max(0, Math.min(this.rows - 1, Math.floor(y / this.cell)));
  }
}

/** What is said of a seat, in words. */
export function seatNote(seat) {
  const words = [];
  if (seat.accessible) words.push("wheelchair place");
  if (seat.companion) words.push("companion seat");
  if (seat.restricted_view || seat.restricted) words.push("restricted view");
  for (const feature of seat.features ?? []) words.push(FEATURES[feature] ?? feature.replaceAll("_", " "));
  return words.join(", ");
}

const FEATURES = {
  aisle: "on the aisle",
  easy_access: "few or no steps",
  hearing_loop: "hearing loop",
  lift_up_armrests: "armrests lift up",
  plus_size: "wide seat",
  sign_language: "sees the sign language",
};

function readFocalPoint(value, point) {
  if (Array.isArray(value)) return point(value);
  return value && typeof value.x === "number" ? point([value.x, value.y]) : null;
}

function inside(outline, x, y) {
  let within = false;
  for (let i = 0, j = outline.length - 1; i < outline.length; j = i, i += 1) {
    const [xi, yi] = outline[i];
    const [xj, yj] = outline[j];
    if (yi > y !== yj > y && x < ((xj - xi) * (y - yi)) / (yj - yi) + xi) within = !within;
  }
  return within;
}

/** Ramer–Douglas–Peucker without recursion: the points that a line needs to stay within `tolerance`. */
function simplify(line, tolerance) {
  if (line.length < 3) return line;
  const keep = new Uint8Array(line.length);
  keep[0] = keep[line.length - 1] = 1;
  const spans = [[0, line.length - 1]];
  while (spans.length) {
    const [from, to] = spans.pop();
    const [ax, ay] = line[from];
    const dx = line[to][0] - ax;
    const dy = line[to][1] - ay;
    const length = Math.hypot(dx, dy) || 1;
    let worst = -1;
    let distance = tolerance;
    for (let at = from + 1; at < to; at += 1) {
      const off = Math.abs((line[at][0] - ax) * dy - (line[at][1] - ay) * dx) / length;
      if (off > distance) {
        worst = at;
        distance = off;
      }
    }
    if (worst >= 0) {
      keep[worst] = 1;
      spans.push([from, worst], [worst, to]);
    }
  }
  return line.filter((_, at) => keep[at]);
}
