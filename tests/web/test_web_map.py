"""The seat map: finding seats by place, moving by keys, repainting what changed; and what a seat costs to draw."""

import itertools
import json
from typing import Any

import pytest
from box_office import ROWS, SEATS, hall
from playwright.async_api import Page

pytestmark = pytest.mark.asyncio(loop_scope="session")

MAKE_MAP = """
async (text) => {
  const { hall, states } = JSON.parse(text);
  const { SeatMap } = await import("/web/seatmap.js");
  const { Layout } = await import("/web/layout.js");
  document.body.replaceChildren();
  document.head.innerHTML = '<link rel="stylesheet" href="/web/base.css">';
  await new Promise((done) => { document.head.firstChild.onload = done; });
  const canvas = document.createElement("canvas");
  canvas.tabIndex = 0;
  canvas.style.width = "800px";
  canvas.style.height = "500px";
  canvas.style.display = "block";
  document.body.append(canvas);
  window.picked = [];
  window.map = new SeatMap(canvas, { pick: (index) => picked.push(index), pickArea: (id) => picked.push(id) });
  map.setLayout(new Layout(hall), (category) => category);
  map.setStates(Uint8Array.from(states));
  window.settled = async () => {
    let busy = true;
    while (busy) {
      await new Promise((done) => requestAnimationFrame(done));
      const painted = map.tiles.current.scale === map.camera.scale * map.ratio;
      const rested = painted && performance.now() - map._zoomedAt > 200;
      busy = map._animation || map._frame !== null || !rested;
    }
  };
  await settled();
}
"""

COLOUR_AT = """
async (index) => {
  await settled();
  const { x, y } = map.place(index);
  return [...map.context.getImageData(Math.round(x * map.ratio), Math.round(y * map.ratio), 1, 1).data];
}
"""


async def make_map(blank: Page, states: list[int] | None = None, plan: dict[str, Any] | None = None) -> None:
    # As text: Playwright takes half a minute over an argument of 40,000 seats.
    shown = {"hall": plan or hall(), "states": [0] * (ROWS * SEATS) if states is None else states}
    await blank.evaluate(MAKE_MAP, json.dumps(shown))


async def colour_at(blank: Page, index: int) -> tuple[int, ...]:
    return tuple(await blank.evaluate(COLOUR_AT, index))


async def test_every_seat_is_found_at_its_place_and_nothing_between_them(blank: Page) -> None:
    await make_map(blank)
    found = await blank.evaluate(
        """() => {
          const wrong = [];
          for (let index = 0; index < map.layout.count; index += 1) {
            const { x, y } = map.place(index);
            if (map.seatAt(x, y) !== index) wrong.push(index);
          }
          const [a, b] = [map.place(0), map.place(SEATS + 1)];
          return { wrong, between: map.seatAt((a.x + b.x) / 2, (a.y + b.y) / 2), outside: map.seatAt(2, 2) };
        }""".replace("SEATS", str(SEATS))
    )
    assert found == {"wrong": [], "between": -1, "outside": -1}


async def test_zooming_keeps_the_seat_under_the_pointer(blank: Page) -> None:
    await make_map(blank)
    seat = await blank.evaluate(
        "() => { const p = map.place(57); map.zoomAt(p.x, p.y, 3); return map.seatAt(p.x, p.y); }"
    )
    assert seat == 57


async def test_arrows_move_the_cursor_to_the_neighbour(blank: Page) -> None:
    await make_map(blank)
    for start, keys, end in (
        (45, ["ArrowRight"], 46),
        (45, ["ArrowLeft", "ArrowLeft"], 43),
        (45, ["ArrowDown"], 45 + SEATS),
        (45, ["ArrowUp"], 45 - SEATS),
        (45, ["ArrowDown", "ArrowRight", "ArrowUp", "ArrowLeft"], 45),
        (0, ["ArrowLeft"], 0),
        (0, ["ArrowUp"], 0),
        (ROWS * SEATS - 1, ["ArrowDown"], ROWS * SEATS - 1),
    ):
        await blank.evaluate("(index) => { map.setCursor(index); map.canvas.focus(); }", start)
        for key in keys:
            await blank.keyboard.press(key)
        assert await blank.evaluate("map.cursorIndex") == end, (start, keys)


async def test_arrows_reach_every_seat_of_a_crooked_hall(blank: Page) -> None:
    """No seat is an island: from the first, the four keys lead to all others."""
    plan = hall()
    for number, row in enumerate(plan["sections"][0]["rows"]):
        for n, seat in enumerate(row["seats"]):
            seat["y"] = round(0.2 + 0.06 * number + 0.004 * (n - SEATS / 2) ** 2 / 4, 5)
            seat["x"] = round(seat["x"] * (0.8 + 0.02 * number) + 0.03 * (number % 2), 5)
    await make_map(blank, plan=plan)
    reached = await blank.evaluate(
        """() => {
          const seen = new Set([0]);
          const open = [0];
          while (open.length) {
            const index = open.pop();
            for (const [dx, dy] of [[1, 0], [-1, 0], [0, 1], [0, -1]]) {
              const next = map.layout.neighbour(index, dx, dy);
              if (next >= 0 && !seen.has(next)) { seen.add(next); open.push(next); }
            }
          }
          return seen.size;
        }"""
    )
    assert reached == ROWS * SEATS


async def test_enter_picks_the_seat_under_the_cursor(blank: Page) -> None:
    await make_map(blank)
    await blank.evaluate("() => { map.setCursor(30); map.canvas.focus(); }")
    await blank.keyboard.press("Enter")
    await blank.keyboard.press(" ")
    assert await blank.evaluate("picked") == [30, 30]


async def test_keys_zoom_and_fit(blank: Page) -> None:
    await make_map(blank)
    fit = await blank.evaluate("() => { map.canvas.focus(); return map.camera.scale; }")
    await blank.keyboard.press("+")
    await blank.evaluate("settled()")
    assert await blank.evaluate("map.camera.scale") == pytest.approx(fit * 1.5)
    await blank.keyboard.press("0")
    await blank.evaluate("settled()")
    assert await blank.evaluate("map.camera.scale") == pytest.approx(fit)


async def test_a_click_picks_a_seat_and_a_drag_does_not(blank: Page) -> None:
    await make_map(blank)
    place = await blank.evaluate(
        "() => { const box = map.canvas.getBoundingClientRect(); const p = map.place(70);"
        " return [p.x + box.x, p.y + box.y]; }"
    )
    await blank.mouse.click(*place)
    assert await blank.evaluate("picked") == [70]
    before = await blank.evaluate("map.place(70)")
    await blank.mouse.move(*place)
    await blank.mouse.down()
    await blank.mouse.move(place[0] + 60, place[1] + 40, steps=4)
    await blank.mouse.up()
    after = await blank.evaluate("map.place(70)")
    assert await blank.evaluate("picked") == [70]
    assert (after["x"] - before["x"], after["y"] - before["y"]) == (pytest.approx(60, abs=1), pytest.approx(40, abs=1))


async def test_a_click_on_a_standing_section_names_its_area(blank: Page) -> None:
    await make_map(blank)
    place = await blank.evaluate(
        """() => {
          const [x0, y0, x1, y1] = map.layout.sections[1].box;
          const { x, y, scale } = map.camera;
          const corner = map.canvas.getBoundingClientRect();
          const [middleX, middleY] = [(x0 + x1) / 2 - x, (y0 + y1) / 2 - y];
          return [middleX * scale + map.width / 2 + corner.left, middleY * scale + map.height / 2 + corner.top];
        }"""
    )
    await blank.mouse.click(*place)
    assert await blank.evaluate("picked") == ["pit"]


async def test_a_diff_repaints_the_changed_seats_and_no_other(blank: Page) -> None:
    await make_map(blank)
    seat, neighbour = 105, 106
    before = await colour_at(blank, seat), await colour_at(blank, neighbour)
    await blank.evaluate("(i) => { const s = map.states.slice(); s[i] = 3; map.update(s, [i]); }", seat)
    after = await colour_at(blank, seat), await colour_at(blank, neighbour)
    assert after[0] != before[0]
    assert after[1] == before[1]
    await blank.evaluate("(i) => { const s = map.states.slice(); s[i] = 0; map.update(s, [i]); }", seat)
    assert await colour_at(blank, seat) == before[0]


async def test_repainting_seat_by_seat_looks_like_painting_anew(blank: Page) -> None:
    """Every state of every seat, reached by diffs and by a snapshot, at two zoom levels: the same picture."""
    keep = "() => { window.kept = map.context.getImageData(0, 0, map.canvas.width, map.canvas.height).data; }"
    differing = """() => {
      const { data } = map.context.getImageData(0, 0, map.canvas.width, map.canvas.height);
      const off = [];
      for (let at = 0; at < data.length; at += 1) {
        // Soft edges that are drawn twice differ by a little.
        if (Math.abs(data[at] - kept[at]) > 8) off.push(at >> 2);
      }
      return [off.length, off.slice(0, 4)];
    }"""
    for zoom in (1, 3):
        states = [(7 * index + index // 13) % 4 for index in range(ROWS * SEATS)]
        await make_map(blank)
        await blank.evaluate("(z) => { map.zoomAt(400, 250, z); return settled(); }", zoom)
        await blank.evaluate("(s) => { map.update(Uint8Array.from(s), s.map((_, i) => i)); return settled(); }", states)
        await blank.evaluate(keep)
        await make_map(blank, states)
        await blank.evaluate("(z) => { map.zoomAt(400, 250, z); return settled(); }", zoom)
        assert await blank.evaluate(differing) == [0, []]


async def test_states_differ_by_shape_not_only_by_colour(blank: Page) -> None:
    """In black and white, the four states and one's own seat still cover their place differently."""
    coverage = await blank.evaluate(
        """async () => {
          const { drawMine, drawSeat } = await import("/web/paint.js");
          const black = "#000";
          const theme = { categories: [black], held: black, sold: black, blocked: black, mine: "#fff", mineInk: black };
          const draw = (paint) => {
            const canvas = document.createElement("canvas");
            canvas.width = canvas.height = 40;
            const context = canvas.getContext("2d");
            paint(context);
            const { data } = context.getImageData(0, 0, 40, 40);
            let dark = 0;
            for (let at = 0; at < data.length; at += 4) dark += data[at + 3] * (255 - data[at]);
            return Math.round(dark / 65025);
          };
          const states = [0, 1, 2, 3].map((state) => draw((c) => drawSeat(c, { state, colour: 0 }, theme, 20, 20, 15)));
          return [...states, draw((c) => drawMine(c, theme, 20, 20, 15, false))];
        }"""
    )
    ordered = sorted(coverage)
    assert all(later - earlier > 40 for earlier, later in itertools.pairwise(ordered)), coverage


async def test_a_filter_dims_the_other_categories(blank: Page) -> None:
    await make_map(blank)
    front, rear = 5, ROWS * SEATS - 5
    before = await colour_at(blank, front), await colour_at(blank, rear)
    await blank.evaluate("map.showOnly(new Set([0]))")
    assert await colour_at(blank, front) == before[0]
    assert await colour_at(blank, rear) != before[1]
    await blank.evaluate("map.showOnly(new Set())")
    assert await colour_at(blank, rear) == before[1]


async def test_of_forty_thousand_seats_only_what_changed_is_painted(blank: Page) -> None:
    """A panned frame copies tiles that are there; a change repaints its own seats, at most four tiles each a layer."""
    await make_map(blank, states=[0] * 40_000, plan=hall(rows=160, seats=250))
    painted = await blank.evaluate(
        """async () => {
          const frame = () => new Promise((done) => requestAnimationFrame(done));
          const count = { tiles: 0, seats: 0 };
          const { painter } = map.tiles;
          for (const [name, what] of [["paintTile", "tiles"], ["repaintSeat", "seats"]]) {
            const inner = painter[name];
            painter[name] = function (...all) { count[what] += 1; return inner.apply(this, all); };
          }
          for (let quiet = 0, seen = -1; quiet < 3; quiet = count.tiles === seen ? quiet + 1 : 0) {
            seen = count.tiles;
            await frame();
          }
          count.tiles = 0;
          for (const step of [9, -9, 9, -9]) { map.panBy(step, 0); await frame(); }
          const panned = count.tiles;
          const states = map.states.slice();
          const changed = Array.from({ length: 200 }, (_, n) => (n * 197) % 40000);
          for (const index of changed) states[index] = 1;
          map.update(states, changed);
          await frame();
          await frame();
          return { panned, repainted: count.seats };
        }"""
    )
    assert painted["panned"] <= 4, "a strip at the edge may come into sight, no more"
    assert 200 <= painted["repainted"] <= 200 * 4 * 2, painted


async def test_a_layout_of_oddities_can_be_shown(blank: Page) -> None:
    """One seat, seats on one spot, empty rows, no seats, an area without an outline: nothing fails, all is found."""
    seat = {"number": "1", "x": 0.5, "y": 0.5, "category": "a"}
    plan = hall() | {
        "sections": [
            {"name": "One", "kind": "seated", "rows": [{"label": "A", "seats": [seat]}, {"label": "B", "seats": []}]},
            {
                "name": "Same spot",
                "kind": "seated",
                "rows": [{"label": "A", "seats": [seat | {"x": 0.2}, seat | {"number": "2", "x": 0.2}]}],
            },
            {"name": "Nothing", "kind": "seated"},
            {"name": "Anywhere", "kind": "standing", "area_id": "any", "capacity": 3, "category": "a"},
        ],
        "shapes": [
            {"kind": "label", "label": "Here", "points": [[0.5, 0.1]]},
            {"kind": "line", "points": [[0, 0], [1, 1]]},
        ],
    }
    await make_map(blank, states=[0, 0, 0], plan=plan)
    assert await blank.evaluate(
        "() => [map.layout.count, map.layout.nearest(0, 0), map.layout.neighbour(0, 1, 0)]"
    ) == [3, 1, -1]
    await make_map(blank, states=[], plan=plan | {"sections": plan["sections"][2:]})
    assert await blank.evaluate("() => [map.layout.count, map.layout.nearest(0, 0), map.seatAt(10, 10)]") == [0, -1, -1]
