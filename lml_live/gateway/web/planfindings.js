/** What the server found in a plan, in words for people and with the seats that are meant. Pure. */

import { KEY } from "./plan.js";

const RULES = Object.freeze({
  area: "Standing area",
  category: "Category",
  color: "Colour",
  coordinate: "Outside the plan",
  count: "Too many",
  entrance: "Entrance",
  label: "Label",
  layout_id: "Id",
  nesting: "Nesting",
  numbering_gap: "Gap in the numbers",
  outline: "Outline",
  outline_crossing: "Outline crosses itself",
  outline_overlap: "Outlines overlap",
  outside: "Outside its section",
  overlap: "Seats overlap",
  point_count: "Points",
  row_count: "No rows",
  seat_count: "No seats",
  section_count: "No sections",
  sold_whole: "Sold as a whole",
  type: "Type",
  unique: "Used twice",
  unreachable_category: "Unused category",
  viewport: "Size of the plan",
});
/** The most seats of one finding that are marked: of a whole section it is enough to see where it is. */
const MARKED_MAX = 4_000;

/**
 * @param {object} plan that was checked: later edits move seats, and their keys stay
 * @param {{path: string, message: string, rule?: string, found?: string, expected?: string}} violation
 * @returns {{title: string, where: string, words: string, keys: Set<number>}} `keys` of seats, areas and shapes
 */
export function explainFinding(plan, violation) {
  const steps = [...(violation.path ?? "").matchAll(/([a-z_]+)(?:\[(\d+)\])?/g)].map(([, name, at]) => [name, at === undefined ? null : Number(at)]);
  const keys = new Set();
  const names = [];
  let [section, row, seat] = [null, null, null];
  for (const [name, at] of steps) {
    if (name === "sections" && at !== null) section = plan.sections[at] ?? null;
    else if (name === "rows" && at !== null) row = section?.rows?.[at] ?? null;
    else if (name === "seats" && at !== null) seat = row?.seats[at] ?? null;
    else if (name === "shapes" && at !== null && plan.shapes[at]) {
      keys.add(plan.shapes[at][KEY]);
      names.push(plan.shapes[at].label || plan.shapes[at].kind);
    } else if (name === "categories" && at !== null && plan.categories[at]) names.push(plan.categories[at].name);
  }
  if (section) names.push(/^\d/.test(section.name) ? `section ${section.name}` : section.name || "a section without a name");
  if (row) names.push(`row ${row.label || "without a label"}`);
  if (seat) names.push(`seat ${seat.number || "without a number"}`);
  if (seat) keys.add(seat[KEY]);
  else if (row) for (const each of row.seats) keys.add(each[KEY]);
  else if (section?.kind === "standing") keys.add(section[KEY]);
  else for (const each of section?.rows ?? []) for (const one of each.seats) if (keys.size < MARKED_MAX) keys.add(one[KEY]);
  const field = steps.length && !["sections", "rows", "seats", "shapes", "categories"].includes(steps[steps.length - 1][0]) ? steps[steps.length - 1][0].replaceAll("_", " ") : "";
  const found = violation.found ? `${field ? `${field} ` : ""}${violation.found}` : violation.message;
  const expected = violation.expected && violation.found !== violation.message ? `; ${violation.expected}` : "";
  return { title: RULES[violation.rule] ?? "Not as it should be", where: names.join(", "), words: `${found}${expected}`.replace(/sections\[\d+\]\S*/g, (path) => shortPath(plan, path)), keys };
}

/**
 * Findings of one rule in one row as one: it is mended as one.
 * @param {{rule?: string, path: string}[]} violations
 */
export function explainFindings(plan, violations, error) {
  const groups = new Map();
  for (const violation of violations) {
    const row = /^sections\[\d+\]\.rows\[\d+\]\.seats(?=\[)/.exec(violation.path ?? "");
    const key = row ? `${violation.rule} ${row[0]}` : violation;
    if (groups.has(key)) groups.get(key).push(violation);
    else groups.set(key, [violation]);
  }
  return [...groups.values()].map((group) => {
    const first = { ...explainFinding(plan, group[0]), error, count: group.length };
    if (group.length === 1) return first;
    const [row] = /^sections\[\d+\]\.rows\[\d+\]/.exec(group[0].path);
    for (const violation of group.slice(1)) for (const key of explainFinding(plan, violation).keys) first.keys.add(key);
    return { ...first, where: explainFinding(plan, { path: row, message: "" }).where, words: `${first.words}; and ${group.length - 1} more` };
  });
}

function shortPath(plan, path) {
  return explainFinding(plan, { path, message: "" }).where || path;
}

/**
 * A difference between two layouts, in lines.
 * @param {{counts: object, areas: object[], other: string[]}} diff
 * @returns {{text: string, tone: string}[]} empty where there is none
 */
export function diffLines(diff) {
  const words = { added: "new", removed: "gone", moved: "moved", recategorised: "in another category", changed: "with other attributes" };
  const lines = [];
  for (const [name, text] of Object.entries(words)) {
    const count = diff.counts?.[name] ?? 0;
    if (count) lines.push({ kind: name, text: `${count.toLocaleString()} ${count === 1 ? "seat" : "seats"} ${text}`, tone: name === "removed" ? "warn" : "", seats: diff[name] ?? [] });
  }
  for (const area of diff.areas ?? []) {
    const text = area.before === null ? `Area ${area.area_id}: new, ${area.after} places` : area.after === null ? `Area ${area.area_id}: gone` : `Area ${area.area_id}: ${area.before} → ${area.after} places`;
    lines.push({ kind: "area", text, tone: area.after === null ? "warn" : "", seats: [] });
  }
  const others = (diff.other ?? []).map((name) => name.replaceAll("_", " "));
  if (others.length) lines.push({ kind: "other", text: `Also changed: ${others.slice(0, 12).join(", ")}${others.length > 12 ? ` and ${others.length - 12} more` : ""}`, tone: "", seats: [] });
  return lines;
}
