/** Plans drawn without a page: what tests/web/test_web_plan.py asks. */

import * as plans from "/web/plan.js";
import * as edits from "/web/planedits.js";
import * as numbers from "/web/plannumbers.js";
import * as rows from "/web/planrows.js";
import * as renumber from "/web/planrenumber.js";
import * as choice from "/web/planchoice.js";
import * as guides from "/web/planguides.js";
import * as findings from "/web/planfindings.js";
import { Scene, touchedBoxes } from "/web/planscene.js";
import { resize } from "/web/plansheet.js";
import { History } from "/web/planhistory.js";

const hall = (layout) => plans.openPlan(layout);
const keys = (...things) => new Set(things.map((thing) => thing[plans.KEY]));
const seats = (plan) => {
  const all = [];
  plans.eachSeat(plan, (seat) => all.push(seat));
  return all;
};

export function numbering({ labels, seats: rowsOfSeats, following }) {
  return [
    labels.map(([count, scheme]) => numbers.labels(count, scheme)),
    rowsOfSeats.map(([count, scheme, left]) => numbers.seatNumbers(count, scheme, left)),
    following.map(([label]) => numbers.following(label)),
    ["A", "Z", "AA", "ZZ", "AAA"].map((label) => numbers.letters(numbers.letterPlace(label))),
    [[[0, 0], [1, 0]], [[1, 0], [0, 0]], [[0, 1], [0, 0]], [[0, 0]]].map(numbers.leftFirst),
  ];
}

export function bending(layout) {
  const found = [];
  for (const [from, to] of [[[0, 0], [100, 0]], [[10, 80], [10, 20]], [[50, 50], [0, 0]]]) {
    for (const sagitta of [0, 8, -8, 45]) {
      const points = rows.rowPoints(from, to, 21, sagitta);
      const gaps = points.slice(1).map((p, at) => Math.hypot(p[0] - points[at][0], p[1] - points[at][1]));
      found.push({
        ends: Math.hypot(points[0][0] - from[0], points[0][1] - from[1]) + Math.hypot(points[20][0] - to[0], points[20][1] - to[1]),
        bend: rows.sagittaOf(points) - sagitta,
        uneven: Math.max(...gaps) - Math.min(...gaps),
      });
    }
  }
  const block = rows.blockPoints({ from: [0, 0], to: [100, 0], sagitta: -20, spacing: 10, rows: 3, rowSpacing: 15 });
  const straight = rows.blockPoints({ from: [0, 0], to: [100, 0], count: 5, rows: 2, rowSpacing: -10 });
  return {
    found,
    up: rows.rowPoints([0, 0], [10, 0], 3, 2)[1],
    counts: [rows.countFor([0, 0], [100, 0], 10), rows.countFor([0, 0], [0, 0], 10), rows.countFor([0, 0], [1e6, 0], 1)],
    alone: rows.rowPoints([0, 0], [10, 0], 1),
    block: block.map((row) => row.length),
    middles: block.map((row) => rows.sagittaOf(row)),
    straight: straight.map((row) => [row.length, row[4]]),
    inward: rows.blockPoints({ from: [0, 0], to: [10, 0], sagitta: 5, count: 3, rows: 9, rowSpacing: 2 }).length,
    snapped: [rows.snapped([7, 12], 5), rows.snapped([7, 12], 0)],
    turned: rows.turned([0, 0], [10, 1]).map((value) => Math.round(value * 100) / 100),
  };
}

export function editing(layout) {
  const plan = hall(layout);
  const [a1, a2] = seats(plan);
  const [stalls, floor] = plan.sections;
  const painted = edits.paint(plan, keys(a1), "B");
  const marked = edits.mark(painted, keys(a1, a2), "aisle", true);
  const plain = edits.mark(edits.mark(marked, keys(a1, a2), "aisle", false), keys(a2), "accessible", false);
  const moved = edits.move(plan, keys(a1), 1e9, -1e9);
  const gone = edits.remove(plan, new Set(stalls.rows[1].seats.map((seat) => seat[plans.KEY])));
  const bare = edits.remove(plan, choice.everything(plan));
  const doubled = edits.duplicate(plan, keys(...stalls.rows[0].seats, floor), 5, 5);
  const apart = edits.moveToSection(plan, keys(...stalls.rows[0].seats, stalls.rows[1].seats[0]), "Circle");
  const renamed = edits.changeCategory(edits.listCategory(plan, "A"), "A", { name: "Best", color: "#00ff00" });
  const drawn = edits.addRows(plan, "Stalls", [{ label: "C", numbers: ["1"], points: [[500, 250]] }], "A");
  const area = edits.addArea(plan, { name: "Floor", capacity: 5, category: "F", outline: [[0, 0], [9, 0], [9, 9]] });
  return {
    same: [edits.paint(plan, keys(a1), "A") === plan, edits.paint(plan, new Set(), "B") === plan, edits.move(plan, new Set(), 5, 5) === plan],
    shared: [painted.sections[1] === floor, painted.sections[0].rows[1] === stalls.rows[1], painted.sections[0].rows[0].seats[1] === a2],
    before: a1.category,
    features: [marked.sections[0].rows[0].seats[0].features, "features" in plain.sections[0].rows[0].seats[0]],
    moved: [moved.sections[0].rows[0].seats[0].x, moved.sections[0].rows[0].seats[0].y],
    gone: gone.sections.map((section) => section.rows?.length),
    bare: [bare.sections.length, bare.shapes.length],
    doubled: [doubled.keys.size, doubled.plan.sections.map((section) => [section.name, section.area_id, section.rows?.map((row) => row.label)])],
    apart: apart.sections.map((section) => [section.name, section.rows?.map((row) => row.label + row.seats.length)]),
    renamed: [new Set(seats(renamed).map((seat) => seat.category)).size, seats(renamed)[0].category, renamed.categories],
    drawn: [drawn.plan.sections[0].rows[2].seats[0].x, drawn.plan.sections[0].rows[2].seats[0].y, drawn.plan.categories],
    area: [area.plan.sections[2].area_id, area.plan.sections[2].outline[1]],
    aligned: edits.align(plan, keys(...stalls.rows[0].seats), "right").sections[0].rows[0].seats.map((seat) => seat.x),
  };
}

export function writing(layout) {
  const plan = hall(layout);
  const before = plans.textOf(plan);
  let written = 0;
  const inner = JSON.stringify;
  JSON.stringify = (...all) => { written += 1; return inner(...all); };
  try { plans.textOf(edits.mark(plan, keys(seats(plan)[0]), "accessible", true)); }
  finally { JSON.stringify = inner; }
  return [JSON.parse(before), written, plans.typeOf(plan), plans.typeOf(plans.emptyPlan("x", "X")), plans.countSeats(plan), plans.countPlaces(plan)];
}

export function stepping(layout) {
  const plan = hall(layout);
  const [first] = seats(plan);
  const history = new History(plan, { stepsMax: 4, weightMax: 10 });
  history.act("nothing", plan);
  const empty = [history.undo(), history.last, history.changed];
  for (const at of [1, 2, 3]) history.act("Move", edits.move(history.plan, keys(first), at, 0), "drag 1");
  const merged = [history.names, history.changed];
  history.undo();
  const back = [history.plan === plan, history.next, history.changed];
  history.redo();
  const forth = [history.plan === plan, history.last];
  history.act("Paint", edits.paint(history.plan, keys(first), "B"));
  history.undo();
  history.act("Mark", edits.mark(history.plan, keys(first), "aisle", true));
  const cut = [history.redo(), history.names];
  history.keep();
  const kept = history.changed;
  for (let at = 0; at < 9; at += 1) history.act(`Paint ${at}`, edits.paint(history.plan, keys(first), String(at)));
  return { empty, merged, back, forth, cut, kept, bounded: history.names };
}

export function renumbering(layout) {
  const plan = hall(layout);
  const all = choice.everything(plan);
  const right = renumber.renumber(plan, all, { order: "right", kind: "even" });
  const named = renumber.relabelRows(plan, all, { kind: "letters", start: "H", skip: "IO" });
  const last = renumber.relabelRows(plan, all, {}, true);
  const row = plan.sections[0].rows[0].seats;
  const bent = renumber.bend(plan, keys(...row), 30);
  const points = renumber.pointsOf(bent, bent.sections[0].rows[0].seats);
  return {
    right: seats(right).map((seat) => seat.number),
    same: renumber.renumber(plan, all, { order: "left" }) === plan,
    wrong: [renumber.renumber(plan, all, { start: "x" }), renumber.relabelRows(plan, all, { kind: "odd", start: "2" })],
    named: named.sections[0].rows.map((each) => each.label),
    last: last.sections[0].rows.map((each) => each.label),
    bend: rows.sagittaOf(points),
    ends: [bent.sections[0].rows[0].seats[0].x, bent.sections[0].rows[0].seats[3].x],
    more: renumber.recount(plan, plan.sections[0].rows[0][plans.KEY], 7).plan.sections[0].rows[0].seats.map((seat) => [seat.number, seat.x]),
    fewer: renumber.recount(plan, plan.sections[0].rows[0][plans.KEY], 3).plan.sections[0].rows[0].seats.map((seat) => [seat.number, seat.x]),
    equal: renumber.recount(plan, plan.sections[0].rows[0][plans.KEY], 4).plan === plan,
    sheet: resize(plan, { width: 400, height: 100 }).sections[0].rows[0].seats.map((seat) => seat.x),
  };
}

export function choosing(layout) {
  const plan = hall(layout);
  const scene = new Scene(plan);
  const all = seats(plan);
  const far = edits.move(plan, keys(all[7]), 20, 0);
  const boxes = touchedBoxes(scene, new Scene(far));
  const inside = ([x, y]) => boxes.some((box) => x > box[0] && x < box[2] && y > box[1] && y < box[3]);
  const chosen = (set) => set.size;
  return {
    count: [scene.count, scene.rows.length, scene.sections.length, scene.categories],
    keys: all.every((seat, at) => scene.keys[at] === seat[plans.KEY] && scene.indexOfKey(seat[plans.KEY]) === at),
    described: scene.describe(5),
    found: scene.seatAt(scene.x[6], scene.y[6]),
    touched: [inside([scene.x[7], scene.y[7]]), boxes.length > 0],
    nothing: touchedBoxes(scene, new Scene(plan)),
    everything: touchedBoxes(scene, new Scene(edits.addShape(plan, { kind: "bar", points: [[1, 1]] }).plan)),
    box: [...choice.inBox(scene, [0, 0, 1000, 150])].length,
    brush: choice.underBrush(scene, [100, 100], [300, 100], 5),
    miss: choice.underBrush(scene, [150, 140], [150, 140], 5),
    rows: chosen(choice.aroundSeat(scene, 5, "rows")),
    section: chosen(choice.aroundSeat(scene, 5, "sections")),
    modes: ["replace", "add", "remove", "toggle"].map((mode) => [...choice.combined(new Set([1, 2]), new Set([2, 3]), mode)]),
    off: [...choice.combined(new Set([1, 2]), new Set([2]), "toggle")],
    there: choice.stillThere(edits.remove(plan, keys(all[0])), keys(all[0], all[1], plan.sections[1])).size,
    shape: choice.shapeAt(scene, 590, 10, 2)?.kind ?? null,
    lone: new Scene(edits.remove(plan, keys(...all.slice(1)))).radius[0] > 0,
    empty: new Scene(plans.emptyPlan("x", "X")).count,
  };
}

export function guiding(layout) {
  const scene = new Scene(hall(layout));
  const ends = guides.rowEnds(scene);
  const spots = guides.besideLast(scene, "Stalls", 50);
  const to = (point) => guides.guided(point, { ends, spots, reach: 6 });
  const round = (list) => list.map((point) => point.map(Math.round));
  return {
    ends: round(ends),
    spots: round(spots),
    nothing: guides.besideLast(scene, "Circle", 50),
    spot: round([to([103, 248]).point]),
    level: round([to([700, 103]).point, to([398, 350]).point, to([403, 97]).point, to([700, 350]).point]),
    lines: [to([103, 248]), to([700, 103]), to([403, 97]), to([700, 350])].map((each) => each.lines.length),
  };
}

export function finding(layout) {
  const plan = hall(layout);
  const one = (path, more = {}) => {
    const { keys: found, ...rest } = findings.explainFinding(plan, { path, message: "is 1; each is used once", ...more });
    return { ...rest, seats: seats(plan).flatMap((seat, at) => (found.has(seat[plans.KEY]) ? [at] : [])), size: found.size };
  };
  const many = findings.explainFindings(plan, ["0", "1", "2"].map((at) => ({ path: `sections[0].rows[1].seats[${at}].number`, message: "m", rule: "label" })), true);
  return [
    one("sections[0].rows[1].seats[2].number", { rule: "unique", found: "is '2', the number of sections[0].rows[1].seats[1] too", expected: "each is used once" }),
    one("sections[0].rows[0].label"),
    one("sections[1].capacity", { rule: "area", found: "is 0", expected: "1 or more" }),
    one("sections"),
    one("sections[9].rows[0]"),
    many.map((each) => [each.title, each.where, each.words, each.keys.size, each.count]),
    findings.diffLines({ counts: { added: 1, removed: 1200, moved: 0 }, removed: [{ section: "S", row: "A", number: "1" }], areas: [{ area_id: "f", before: 5, after: null }], other: ["focal_point"] }).map((line) => [line.text, line.tone]),
    findings.diffLines({ counts: { added: 0 }, areas: [], other: [] }),
  ];
}

/** Two tabs of one manager on one plan, and another manager at the same browser. */
export async function keeping() {
  const [one, other] = [await import("/web/layoutkeep.js"), await import("/web/layoutkeep.js?another")];
  const found = [];
  const texts = async (owner) => (await one.keptPlans(owner, "x")).map((kept) => kept.text).sort();
  for (const act of [
    () => one.keepPlan("ann", "x", { text: "one" }),
    () => other.keepPlan("ann", "x", { text: "two" }),
    () => one.keepPlan("ann", "x", { text: "one more" }),
    () => one.keepPlan("bob", "x", { text: "bob's" }),
    () => other.dropPlan("ann", "x"),
    async () => other.dropPlan("ann", "x", (await one.keptPlans("ann", "x"))[0].page),
  ]) {
    await act();
    found.push([await texts("ann"), await texts("bob")]);
  }
  // So many of one's own, and of all together; whoever keeps much takes nothing from others.
  const owners = ["ann", "carl", "dora", "eve", "finn"];
  for (const owner of owners) for (let at = 0; at < one.KEPT_MAX + 1; at += 1) await one.keepPlan(owner, `plan-${at}`, { text: owner });
  const counts = [];
  for (const owner of ["bob", ...owners]) {
    let count = (await one.keptPlans(owner, "x")).length;
    for (let at = 0; at < one.KEPT_MAX + 1; at += 1) count += (await one.keptPlans(owner, `plan-${at}`)).length;
    counts.push(count);
  }
  return [found, counts];
}

/** What was kept before plans had owners is nobody's. */
export async function keptBefore() {
  await new Promise((done) => (indexedDB.deleteDatabase("lml.plans").onsuccess = done));
  await new Promise((done) => {
    const request = indexedDB.open("lml.plans", 1);
    request.onupgradeneeded = () => request.result.createObjectStore("unsaved", { keyPath: "id" }).put({ id: "x", text: "old" });
    request.onsuccess = () => done(request.result.close());
  });
  const keep = await import("/web/layoutkeep.js");
  await keep.keepPlan("ann", "x", { text: "new" });
  const database = await new Promise((done) => {
    const request = indexedDB.open("lml.plans");
    request.onsuccess = () => done(request.result);
  });
  const stores = [...database.objectStoreNames];
  database.close();
  return [stores, (await keep.keptPlans("ann", "x")).map((kept) => kept.text)];
}

/** A dialog that is asked for while another is open, names and numbers out of all bounds. */
export async function asking() {
  const { ask } = await import("/web/layoutdialogs.js");
  const { numberField } = await import("/web/layoutforms.js");
  document.body.innerHTML = '<dialog id="dialog"><h2 id="dialog-title" tabindex="-1"></h2><div id="dialog-body"></div><p id="dialog-error"></p><div id="dialog-acts"></div></dialog>';
  const dialog = document.getElementById("dialog");
  const closed = new Promise((done) => dialog.addEventListener("close", done, { once: true }));
  const first = ask("Help", [], [{ value: "close", words: "Close" }]);
  const second = ask("Whose draft?", [], [{ value: "mine", words: "Mine" }]);
  await closed;
  dialog.querySelector("[data-value=mine]").click();
  let published;
  const third = ask("Publish?", [], [{ value: "publish", words: "Publish", act: () => new Promise((done) => (published = done)) }]);
  dialog.querySelector("[data-value=publish]").click();
  const escaped = new Promise((done) => dialog.addEventListener("close", done, { once: true }));
  dialog.close();
  await escaped;
  published();
  let taken = null;
  const field = numberField("n", "N", { get: () => 1, set: (value) => void (taken = value) });
  const [input] = field.node.getElementsByTagName("input");
  const wrong = ["1e300", "-1e300", "NaN", "Infinity", "12,5"].map((text) => {
    input.value = text;
    field.commit();
    return [input.getAttribute("aria-invalid"), taken];
  });
  const long = "9".repeat(20);
  return { answers: await Promise.all([first, second, third]), wrong, free: plans.freeName(long, new Set([long])) !== long, following: numbers.following(`A${long}`) !== `A${long}` };
}

/** How many tiles an edit of one row of 40,000 seats paints anew, and how many there are. */
export async function repainting() {
  const { PlanMap } = await import("/web/planmap.js");
  document.body.replaceChildren();
  const canvas = document.createElement("canvas");
  Object.assign(canvas.style, { width: "800px", height: "500px", display: "block" });
  document.body.append(canvas);
  const rowsOf = Array.from({ length: 160 }, (_, row) => ({ label: String(row), seats: Array.from({ length: 250 }, (__, n) => ({ number: String(n), x: 0.02 + n * 0.0038, y: 0.02 + row * 0.006, category: "A" })) }));
  const plan = plans.openPlan({ layout_id: "big", name: "Big", viewport: { width: 800, height: 500 }, categories: [{ name: "A" }, { name: "B" }], sections: [{ name: "S", kind: "seated", rows: rowsOf }] });
  const map = new PlanMap(canvas, {});
  const frame = () => new Promise((done) => requestAnimationFrame(done));
  let painted = 0;
  const count = () => {
    const { painter } = map.tiles;
    const inner = painter.paintTile;
    painter.paintTile = function (...all) {
      painted += 1;
      return inner.apply(this, all);
    };
  };
  const settle = async () => {
    count();
    // Also where a frame's time is over before its first tile: then the map has asked for another frame.
    for (let quiet = 0, seen = -1; quiet < 3; quiet = painted === seen && map._frame === null ? quiet + 1 : 0) {
      seen = painted;
      await frame();
    }
  };
  map.show(new Scene(plan));
  map.moveTo(500, 300, 3, false);
  await settle();
  const before = painted;
  const edited = edits.paint(plan, keys(...plan.sections[0].rows[80].seats), "B");
  map.show(new Scene(edited));
  await settle();
  const row = painted - before;
  const look = map.layout.categories[map.layout.categoryOf[80 * 250]];
  map.destroy();
  return { before, row, look };
}
