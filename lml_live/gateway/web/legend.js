/** The legend: how seats look, drawn as on the map. */

import { byId, element, fill } from "./dom.js";
import { drawMine, drawSeat, readTheme } from "./paint.js";
import { AVAILABLE, BLOCKED, HELD, SOLD } from "./seats.js";

export function showLegend() {
  const theme = readTheme(byId("map"));
  const ratio = window.devicePixelRatio || 1;
  const looks = [
    ["Available", { state: AVAILABLE, colour: 0 }],
    ["Mine", null],
    ["Held", { state: HELD }],
    ["Sold", { state: SOLD }],
    ["Not for sale", { state: BLOCKED }],
  ];
  fill(
    byId("legend"),
    ...looks.map(([words, look]) => {
      const canvas = element("canvas", { width: 18 * ratio, height: 18 * ratio, "aria-hidden": "true" });
      const context = canvas.getContext("2d");
      context.scale(ratio, ratio);
      if (look) drawSeat(context, look, theme, 9, 9, 6.5);
      else drawMine(context, theme, 9, 9, 7, false);
      return element("li", {}, canvas, words);
    }),
  );
}
