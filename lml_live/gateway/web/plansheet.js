/** The sheet under a plan: another size leaves everything where it is, measured from the upper left corner. Pure. */

const DECIMALS = 1e5;

/**
 * The plan on a sheet of another size. What would lie outside is moved to the edge, where the check finds it.
 * @param {{width: number, height: number}} viewport in the plan's own units
 */
export function resize(plan, viewport) {
  const [fx, fy] = [plan.viewport.width / viewport.width, plan.viewport.height / viewport.height];
  if (fx === 1 && fy === 1) return plan;
  const part = (value) => Math.round(Math.max(0, Math.min(1, value)) * DECIMALS) / DECIMALS;
  const at = ([x, y]) => [part(x * fx), part(y * fy)];
  const sections = plan.sections.map((section) => ({
    ...section,
    ...(section.outline && { outline: section.outline.map(at) }),
    ...(section.rows && { rows: section.rows.map((row) => resizeRow(row, at, part, fx, fy)) }),
  }));
  const shapes = plan.shapes.map((shape) => ({ ...shape, points: shape.points.map(at) }));
  const entrances = plan.entrances.map((entrance) => ({ ...entrance, point: at(entrance.point) }));
  return { ...plan, viewport, sections, shapes, entrances, ...(plan.focal_point && { focal_point: at(plan.focal_point) }) };
}

function resizeRow(row, at, part, fx, fy) {
  const seats = row.seats.map((seat) => {
    const [x, y] = at([seat.x, seat.y]);
    return { ...seat, x, y };
  });
  if (!row.table) return { ...row, seats };
  const [x, y] = at([row.table.x, row.table.y]);
  return { ...row, seats, table: { ...row.table, x, y, width: part(row.table.width * fx), height: part(row.table.height * fy) } };
}
