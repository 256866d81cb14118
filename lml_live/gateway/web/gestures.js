/**
 * Turns pointers, wheel and keys on an element into acts on a map: drag, pinch, wheel, double click, arrows.
 * Positions are in CSS pixels from the element's corner.
 */

const DRAG_PX = 6;
const DOUBLE_MS = 320;

/**
 * Who is given a press (`grab` answers true) gets its moves and its end instead: `drag`, then `drop`, or `cancel` where a
 * second finger makes it a pinch.
 * @param {HTMLElement} element
 * @param {{panBy: Function, zoomAt: Function, tap: Function, doubleTap: Function, hover: Function, leave: Function,
 *   key: (name: string) => boolean, grab?: Function, drag?: Function, drop?: Function, cancel?: Function}} acts
 * @returns {() => void} takes the listeners off
 */
export function attachGestures(element, acts) {
  const pointers = new Map();
  let moved = false;
  let lastTap = null;
  let held = null;
  const controller = new AbortController();
  const on = (type, act, options) => element.addEventListener(type, act, { signal: controller.signal, ...options });
  const place = (happening) => {
    const box = element.getBoundingClientRect();
    return [happening.clientX - box.left, happening.clientY - box.top];
  };
  const spread = () => {
    const [a, b] = [...pointers.values()];
    return { x: (a[0] + b[0]) / 2, y: (a[1] + b[1]) / 2, distance: Math.hypot(a[0] - b[0], a[1] - b[1]) || 1 };
  };

  on("pointerdown", (happening) => {
    // The middle button moves the map, whatever the others do.
    if (happening.pointerType === "mouse" && happening.button !== 0 && !(acts.grab && happening.button === 1)) return;
    element.setPointerCapture(happening.pointerId);
    pointers.set(happening.pointerId, place(happening));
    if (pointers.size === 1) moved = false;
    else moved = true;
    if (pointers.size === 1 && happening.button !== 1 && acts.grab?.(...place(happening), happening)) held = happening.pointerId;
    else if (held !== null) {
      held = null;
      acts.cancel();
    }
  });

  let from = null;
  on("pointermove", (happening) => {
    const now = place(happening);
    const before = pointers.get(happening.pointerId);
    if (!before) {
      acts.hover(now[0], now[1]);
      return;
    }
    if (held === happening.pointerId) {
      pointers.set(happening.pointerId, now);
      acts.drag(now[0], now[1], happening);
    } else if (pointers.size === 1) {
      from ??= before;
      if (!moved && Math.hypot(now[0] - from[0], now[1] - from[1]) < DRAG_PX) return;
      if (!moved) acts.leave();
      moved = true;
      acts.panBy(now[0] - before[0], now[1] - before[1]);
      pointers.set(happening.pointerId, now);
    } else if (pointers.size === 2) {
      const old = spread();
      pointers.set(happening.pointerId, now);
      const next = spread();
      acts.panBy(next.x - old.x, next.y - old.y);
      acts.zoomAt(next.x, next.y, next.distance / old.distance);
    }
  });

  const lift = (happening) => {
    if (!pointers.delete(happening.pointerId)) return;
    from = null;
    if (held === happening.pointerId) {
      held = null;
      if (happening.type === "pointerup") acts.drop(...place(happening), happening);
      else acts.cancel();
      return;
    }
    if (pointers.size || moved || happening.type !== "pointerup") return;
    const [x, y] = place(happening);
    const again = lastTap && happening.timeStamp - lastTap.at < DOUBLE_MS && Math.hypot(x - lastTap.x, y - lastTap.y) < 24;
    lastTap = again ? null : { x, y, at: happening.timeStamp };
    if (again) acts.doubleTap(x, y, happening.pointerType);
    else acts.tap(x, y, happening.pointerType);
  };
  on("pointerup", lift);
  on("pointercancel", lift);
  on("pointerleave", (happening) => {
    if (!pointers.has(happening.pointerId)) acts.leave();
  });

  on(
    "wheel",
    (happening) => {
      happening.preventDefault();
      const [x, y] = place(happening);
      const unit = happening.deltaMode === 1 ? 32 : happening.deltaMode === 2 ? 400 : 1;
      // A pinch on a trackpad comes as a wheel with ctrl and small steps.
      const power = happening.ctrlKey ? 0.012 : 0.0022;
      acts.zoomAt(x, y, Math.exp(-Math.max(-300, Math.min(300, happening.deltaY * unit)) * power));
    },
    { passive: false },
  );

  on("keydown", (happening) => {
    if (happening.ctrlKey || happening.metaKey || happening.altKey) return;
    if (acts.key(happening.key)) happening.preventDefault();
  });

  return () => controller.abort();
}
